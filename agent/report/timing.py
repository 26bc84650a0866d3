"""How long a run took against what its dependencies allow, from the starts and ends of its tasks."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import NamedTuple

from agent.core.plan.dependencies import DependencyGraph, ranks
from agent.report.model import TimingReport


class Interval(NamedTuple):
    """A span of time, in seconds since some moment."""

    start: float
    end: float


def compute_timing(
    runs: Mapping[str, tuple[str, str]], needs: DependencyGraph, *, asked: Sequence[tuple[str, str]] = ()
) -> TimingReport:
    """Return makespan and critical path of the tasks in `runs`, each with its first start and its end (ISO 8601).

    `needs` says what waits for what; `asked` are the spans in which a human was asked.
    """
    if not runs:
        return TimingReport()
    spans = {task: to_interval(*span) for task, span in runs.items()}
    graph = {task: tuple(need for need in needs.get(task, ()) if need in spans) for task in spans}
    duration = {task: span.end - span.start for task, span in spans.items()}
    path = find_longest_path(graph, duration=duration)
    first, last = min(span.start for span in spans.values()), max(span.end for span in spans.values())
    waits = [Interval(max(first, one.start), min(last, one.end)) for one in (to_interval(*span) for span in asked)]
    return TimingReport(
        makespan_s=round(last - first, 6),
        critical_path_s=round(sum(duration[task] for task in path), 6),
        human_wait_s=round(measure_uncovered(waits, spans.values()), 6),
        critical_path=path,
    )


def find_longest_path(needs: DependencyGraph, *, duration: Mapping[str, float]) -> tuple[str, ...]:
    """Return the tasks of the path with the greatest sum of durations, in order; empty for no tasks."""
    longest = ranks(needs, duration=duration.__getitem__)
    after: dict[str, list[str]] = {task: [] for task in needs}
    for task, own in needs.items():
        for need in own:
            after[need].append(task)
    path: list[str] = []
    candidates = list(needs)
    while candidates:
        path.append(max(candidates, key=longest.__getitem__))
        candidates = after[path[-1]]
    return tuple(path)


def measure_uncovered(spans: Iterable[Interval], covering: Iterable[Interval]) -> float:
    """Return the length of what `spans` cover together and `covering` do not."""
    cover, total = merge_intervals(covering), 0.0
    for span in merge_intervals(spans):
        total += span.end - span.start
        total -= sum(max(0.0, min(span.end, other.end) - max(span.start, other.start)) for other in cover)
    return max(0.0, total)


def merge_intervals(spans: Iterable[Interval]) -> list[Interval]:
    """Return the union of spans as spans that do not touch, in order; empty ones are left out."""
    merged: list[Interval] = []
    for span in sorted(span for span in spans if span.end > span.start):
        if merged and span.start <= merged[-1].end:
            merged[-1] = Interval(merged[-1].start, max(merged[-1].end, span.end))
        else:
            merged.append(span)
    return merged


def to_interval(start: str, end: str) -> Interval:
    """Return the span between two moments (ISO 8601), in seconds since the epoch."""
    return Interval(datetime.fromisoformat(start).timestamp(), datetime.fromisoformat(end).timestamp())
