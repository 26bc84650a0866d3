"""Results of reading tools kept in any cache of LangGraph."""

from typing import Any, Final

from langgraph.cache.base import BaseCache
from pydantic import ValidationError

from agent.caching import Remembered

_PLACE: Final = ("planwave", "results")


class CacheMemory:
    """Keeps the contract of `agent.caching.Memory`."""

    def __init__(self, cache: BaseCache[dict[str, Any]]) -> None:
        self._cache = cache

    async def get(self, fingerprint: str) -> Remembered | None:
        """See `Memory.get`. What is there but is not what was put there counts as lost."""
        found = (await self._cache.aget([(_PLACE, fingerprint)])).get((_PLACE, fingerprint))
        try:
            remembered = Remembered.model_validate(found)
        except ValidationError:
            return None
        return remembered if remembered.fingerprint == fingerprint else None

    async def put(self, remembered: Remembered, *, ttl_s: int) -> None:
        """See `Memory.put`."""
        await self._cache.aset({(_PLACE, remembered.fingerprint): (remembered.model_dump(mode="json"), ttl_s)})
