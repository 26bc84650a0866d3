"""How long each tool's calls take, learned from the runs: what the critical path is measured in."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

from langgraph.store.base import BaseStore, GetOp, PutOp

from agent.core.outcome import Done, Outcome

_PLACE: Final = ("planwave", "durations")
#: A new call counts for at least this part of the estimate, so that it follows a tool that has become slower.
_AT_LEAST: Final = 0.2


class Durations:
    """Estimates in seconds by tool: the mean of the first five calls, then an exponentially weighted mean."""

    def __init__(self, store: BaseStore | None) -> None:
        """Keep them in `store` between processes; None: for as long as this process lives."""
        self._store = store
        self._known: dict[str, tuple[float, int]] = {}
        self._asked: set[str] = set()
        self._changed: set[str] = set()

    async def known(self, tools: frozenset[str]) -> Mapping[str, float]:
        """Return the estimates of `tools`; a tool that was never called has none."""
        new = sorted(tools - self._asked)
        if new and self._store is not None:
            found = await self._store.abatch([GetOp(_PLACE, tool) for tool in new])
            for tool, item in zip(new, found, strict=True):
                # A call may have ended while the store was asked; what this process saw itself is newer.
                if item is not None and tool not in self._known:
                    self._known[tool] = _read(item.value)  # type: ignore[union-attr]  # a GetOp gives an item or None
        self._asked.update(new)
        return MappingProxyType({tool: self._known[tool][0] for tool in tools if tool in self._known})

    def note(self, tool: str, outcome: Outcome) -> None:
        """Learn from a call that was made and returned."""
        seconds = outcome.duration_s
        if not isinstance(outcome, Done) or outcome.reused_from is not None or seconds is None:
            return
        before, calls = self._known.get(tool, (0.0, 0))
        weight = max(1 / (calls + 1), _AT_LEAST)
        self._known[tool] = before + weight * (seconds - before), calls + 1
        self._changed.add(tool)

    async def keep(self) -> None:
        """Store what was learned since the last time."""
        changed, self._changed = sorted(self._changed), set()
        if changed and self._store is not None:
            await self._store.abatch([PutOp(_PLACE, tool, _written(self._known[tool])) for tool in changed])


def _read(value: dict[str, Any]) -> tuple[float, int]:
    return float(value["seconds"]), int(value["calls"])


def _written(known: tuple[float, int]) -> dict[str, Any]:
    return {"seconds": round(known[0], 6), "calls": known[1]}
