"""Figures of recorded cases, with their intervals, and strategies held against each other case by case."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby

from scipy.stats import binomtest, bootstrap

from tests.evals.records import Key, Line

_COLUMNS = ("set", "half", "model", "strategy", "n", "right", "95%", "calls", "tokens", "s", "tokens/right", "ended")
_RESAMPLES = 5_000


def wilson(right: int, of: int) -> tuple[float, float]:
    """Return Wilson's 95% interval of a rate (E. B. Wilson, 1927)."""
    interval = binomtest(right, of).proportion_ci(method="wilson")
    return float(interval.low), float(interval.high)


def mcnemar(only_left: int, only_right: int) -> float:
    """Return the exact two-sided p of McNemar's test from the cases that only one of two got right."""
    return float(binomtest(only_left, only_left + only_right).pvalue) if only_left + only_right else 1.0


def spread(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95% percentile bootstrap interval of a mean; the same for the same values."""
    if len(set(values)) == 1:
        return values[0], values[0]
    found = bootstrap((values,), statistics.fmean, n_resamples=_RESAMPLES, method="percentile", rng=0)
    return float(found.confidence_interval.low), float(found.confidence_interval.high)


def table(lines: Sequence[Line]) -> str:
    """Return what was recorded as Markdown: a row for each measurement, then each pair of a set side by side."""
    groups = _groups(lines)
    parts = [_markdown(_COLUMNS, [row for key, group in groups.items() for row in _rows(key, group)])]
    if scored := [row for key, group in groups.items() for row in _score_rows(key, group)]:
        parts.append(_markdown(("set", "half", "model", "strategy", "score", "mean", "95%"), scored))
    if pairs := list(_pairs(groups)):
        parts.append(
            _markdown(("set", "model", "pair", "n", "difference", "95%", "only first", "only second", "p"), pairs)
        )
    return "\n\n".join(parts)


def _groups(lines: Iterable[Line]) -> dict[Key, list[Line]]:
    def by_key(line: Line) -> tuple[str, ...]:
        return (line.key.set, line.key.model, line.key.strategy, line.key.tag, line.key.code)

    ordered = sorted(lines, key=by_key)
    return {group[0].key: group for _, each in groupby(ordered, key=by_key) if (group := list(each))}


def _halves(group: Sequence[Line]) -> dict[str, list[Line]]:
    parts = {name: [line for line in group if line.half == name] for name in ("work", "held")}
    present = {name: part for name, part in parts.items() if part}
    return {"both": list(group), **present} if len(present) > 1 else present


def _rows(key: Key, group: Sequence[Line]) -> Iterable[tuple[str, ...]]:
    for name, lines in _halves(group).items():
        right = sum(line.right for line in lines)
        low, high = wilson(right, len(lines))
        tokens = sum(line.tokens for line in lines)
        yield (
            key.set,
            name,
            key.model,
            _named(key),
            str(len(lines)),
            f"{right / len(lines):.1%}",
            f"{low:.1%} to {high:.1%}",
            f"{statistics.fmean(line.calls for line in lines):.1f}",
            f"{tokens / len(lines):.0f}",
            f"{statistics.fmean(line.seconds for line in lines):.1f}",
            f"{tokens / right:.0f}" if right else "-",
            _endings(lines),
        )


def _endings(lines: Sequence[Line]) -> str:
    counts = {
        each: sum(line.outcome == each for line in lines) for each in dict.fromkeys(line.outcome for line in lines)
    }
    return ", ".join(f"{each} {count}" for each, count in sorted(counts.items(), key=lambda item: -item[1]))


def _score_rows(key: Key, group: Sequence[Line]) -> Iterable[tuple[str, ...]]:
    for name, lines in _halves(group).items():
        for score in dict.fromkeys(score for line in lines for score in line.scores):
            values = [line.scores.get(score, 0.0) for line in lines]
            low, high = spread(values)
            mean = statistics.fmean(values)
            yield (key.set, name, key.model, _named(key), score, f"{mean:.3f}", f"{low:.3f} to {high:.3f}")


def _pairs(groups: Mapping[Key, Sequence[Line]]) -> Iterable[tuple[str, ...]]:
    keys = list(groups)
    for place, one in enumerate(keys):
        for other in keys[place + 1 :]:
            if (one.set, one.model) == (other.set, other.model):
                yield from _pair(one, groups[one], other, groups[other])


def _pair(one: Key, left: Sequence[Line], other: Key, right: Sequence[Line]) -> Iterable[tuple[str, ...]]:
    by_id = {line.id: line for line in right}
    both = [(line.right, by_id[line.id].right) for line in left if line.id in by_id]
    if not both:
        return
    differences = [float(first) - float(second) for first, second in both]
    low, high = spread(differences)
    firsts = sum(first and not second for first, second in both)
    seconds = sum(second and not first for first, second in both)
    yield (
        one.set,
        one.model,
        f"{_named(one)} - {_named(other)}",
        str(len(both)),
        f"{statistics.fmean(differences):+.1%}",
        f"{low:+.1%} to {high:+.1%}",
        str(firsts),
        str(seconds),
        f"{mcnemar(firsts, seconds):.2g}",
    )


def _named(key: Key) -> str:
    return " ".join(each for each in (key.strategy, key.tag, key.code[:6]) if each)


def _markdown(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [columns, ["---"] * len(columns), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
