"""What a bench hands back, and how it is shown: figures with their spread, and what was not measured and why."""

import math
import platform
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import version
from os import cpu_count, getloadavg
from typing import Any

_COLUMNS = ("bench", "case", "figure", "value", "quartiles", "max", "runs", "at most", "note")


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured quantity: what `runs` values come to, the quartiles around it, and the largest."""

    bench: str
    case: str
    name: str
    value: float
    low: float
    high: float
    most: float
    runs: int
    unit: str
    #: Upper bounds of `value` and of `most`; None where nothing is promised.
    target: float | None = None
    target_most: float | None = None
    note: str = ""

    @property
    def met(self) -> bool | None:
        """Whether the targets are met; None where there is none."""
        held = [
            got <= goal for got, goal in ((self.value, self.target), (self.most, self.target_most)) if goal is not None
        ]
        return all(held) if held else None


@dataclass(frozen=True, slots=True)
class Unmeasured:
    """A case that was not measured, with the reason."""

    bench: str
    case: str
    reason: str


Finding = Figure | Unmeasured


def figure(
    bench: str,
    case: str,
    name: str,
    values: Sequence[float],
    *,
    unit: str,
    mean: bool = False,
    target: float | None = None,
    target_most: float | None = None,
    note: str = "",
) -> Figure:
    """Sum up `values` by their median, or their mean, which the name then says."""
    value = statistics.fmean(values) if mean else statistics.median(values)
    low, _, high = statistics.quantiles(values, n=4, method="inclusive") if len(values) > 1 else [value] * 3
    return Figure(
        bench,
        case,
        f"{name}, mean" if mean else name,
        value,
        low,
        high,
        max(values),
        len(values),
        unit,
        target=target,
        target_most=target_most,
        note=note,
    )


def exponent(points: Sequence[tuple[float, float]]) -> float:
    """Return the slope of the least-squares line through the logarithms: 1 is linear growth, 2 is quadratic."""
    xs, ys = [math.log(x) for x, _ in points], [math.log(y) for _, y in points]
    return statistics.linear_regression(xs, ys).slope


def table(found: Iterable[Finding]) -> str:
    """Return the findings as one table in plain text."""
    rows = [_row(finding) for finding in found]
    widths = [max(map(len, column)) for column in zip(_COLUMNS, *rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in (_COLUMNS, *rows)]
    return "\n".join(line.rstrip() for line in lines)


def _row(finding: Finding) -> tuple[str, ...]:
    if isinstance(finding, Unmeasured):
        return (finding.bench, finding.case, "not measured", "", "", "", "", "", finding.reason)
    several = finding.runs > 1
    return (
        finding.bench,
        finding.case,
        finding.name,
        f"{_shown(finding.value)} {finding.unit}".strip(),
        f"{_shown(finding.low)}..{_shown(finding.high)}" if several else "",
        _shown(finding.most) if several else "",
        str(finding.runs),
        _goal(finding),
        finding.note,
    )


def _goal(found: Figure) -> str:
    goals = [
        f"{word}{_shown(goal)}" for word, goal in (("", found.target), ("max ", found.target_most)) if goal is not None
    ]
    return f"{', '.join(goals)}: {'met' if found.met else 'MISSED'}" if goals else ""


def _shown(value: float) -> str:
    if value == 0:
        return "0"
    digits = max(0, 2 - math.floor(math.log10(abs(value))))
    return f"{value:,.{min(digits, 4)}f}"


def report(found: Sequence[Finding]) -> dict[str, Any]:
    """Return the findings as a JSON object, with what they were measured on."""
    return {
        "machine": {
            "python": platform.python_version(),
            "system": platform.platform(),
            "cores": cpu_count(),
            "load": getloadavg(),
            "langgraph": version("langgraph"),
            "langchain_core": version("langchain-core"),
        },
        "figures": [{**asdict(one), "met": one.met} for one in found if isinstance(one, Figure)],
        "unmeasured": [asdict(one) for one in found if isinstance(one, Unmeasured)],
    }
