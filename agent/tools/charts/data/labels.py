"""Names short enough for their place in a chart, and still different from each other."""

import unicodedata
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from agent.tools.charts.data.frame import Frame, MarkRow

#: Widths in Latin letters; a Chinese one counts as two.
_LIMITS: Final = {"line": 22, "area": 22, "heatmap": 18, "pie": 28, "donut": 28}
_BAR_LIMIT, _SERIES_LIMIT = 40, 40
_ELLIPSIS: Final = "\u2026"


def shorten_names(frame: Frame) -> Frame:
    """Return the frame with names that fit their place; the whole names are kept as `x_full` and `series_full`."""
    limit = _LIMITS.get(frame.kind, _BAR_LIMIT)
    roles = {"x": limit} if frame.x.kind == "text" else {}
    if frame.kind == "heatmap":
        roles |= {"y": limit * 2} if frame.y.kind == "text" else {}
    elif frame.series:
        roles["series"] = _SERIES_LIMIT
    rows: list[MarkRow] = frame.rows
    for role, most in roles.items():
        short = shorten_labels((str(row[role]) for row in rows), limit=most)
        if any(name != label for name, label in short.items()):
            rows = [{**row, role: short[str(row[role])], f"{role}_full": row[role]} for row in rows]
    return replace(frame, rows=rows)


def shorten_labels(names: Iterable[str], *, limit: int) -> dict[str, str]:
    """Return a label for each name, at most about `limit` letters wide; no two are equal.

    The end of a name is cut off, or the middle if names differ only at their ends; what is equal even then is numbered.
    """
    distinct = list(dict.fromkeys(names))
    labels = {name: _cut(name, width=limit) for name in distinct}
    repeated = {label for label, count in Counter(labels.values()).items() if count > 1}
    for name in distinct:
        if labels[name] in repeated:
            tail = _cut(name[::-1], width=limit * 2 // 3, mark="")[::-1].lstrip()
            labels[name] = f"{_cut(name, width=limit // 3, mark='').rstrip()}{_ELLIPSIS}{tail}"
    taken: Counter[str] = Counter()
    whole = set(distinct)
    for name in distinct:
        label = labels[name]
        taken[label] += 1
        if taken[label] > 1 or (label != name and label in whole):
            labels[name] = f"{label} ({taken[label]})"
    return labels


def measure_width(text: str) -> int:
    """Return the width of a text in Latin letters; letters that are drawn twice as wide count as two."""
    return sum(
        2 if unicodedata.east_asian_width(letter) in "WF" else not unicodedata.combining(letter) for letter in text
    )


def _cut(text: str, *, width: int, mark: str = _ELLIPSIS) -> str:
    if measure_width(text) <= width:
        return text
    kept, used = "", 0
    for letter in text:
        used += measure_width(letter)
        if used > width - len(mark):
            break
        kept += letter
    return kept.rstrip() + mark
