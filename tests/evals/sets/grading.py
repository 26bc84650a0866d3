"""Rows held against gold rows: names and order of columns are free, numbers may differ by a rounding."""

import math
from collections.abc import Mapping, Sequence
from decimal import Decimal
from itertools import product
from typing import Any

Rows = Sequence[Sequence[Any]]
#: Numbers as near as this are the same: two decimals, or one part in ten thousand.
_NEAR, _NEARLY = 0.0051, 1e-4


def same_rows(gold: Rows, given: Sequence[Mapping[str, Any]], *, ordered: bool) -> bool:
    """Whether some columns of `given`, in some order, hold the gold rows; unless `ordered`, in any order of rows."""
    if len(gold) != len(given):
        return False
    if not gold:
        return True
    wanted = list(zip(*gold, strict=True))
    columns = {name: [row.get(name) for row in given] for name in given[0]}
    choices = [
        [name for name, values in columns.items() if _same_column(column, values, ordered=ordered)] for column in wanted
    ]
    return any(_same_table(gold, given, names, ordered=ordered) for names in product(*choices))


def _same_column(wanted: Sequence[Any], values: Sequence[Any], *, ordered: bool) -> bool:
    if ordered:
        return all(map(same_cell, wanted, values))
    return all(map(same_cell, sorted(wanted, key=_rank), sorted(values, key=_rank)))


def _same_table(gold: Rows, given: Sequence[Mapping[str, Any]], names: Sequence[str], *, ordered: bool) -> bool:
    rows = [[row.get(name) for name in names] for row in given]
    if ordered:
        return all(all(map(same_cell, one, other)) for one, other in zip(gold, rows, strict=True))
    for wanted in gold:
        place = next((place for place, row in enumerate(rows) if all(map(same_cell, wanted, row))), None)
        if place is None:
            return False
        rows.pop(place)
    return True


def same_cell(gold: Any, given: Any) -> bool:
    """Whether a value as the database has it and a value as JSON has it are the same."""
    one, other = _number(gold), _number(given)
    if one is not None and other is not None:
        return math.isclose(one, other, rel_tol=_NEARLY, abs_tol=_NEAR)
    return (gold is None) == (given is None) and str(gold) == str(given)


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal | str):
        return None
    try:
        return float(value)
    except ValueError:
        return None


def _rank(value: Any) -> tuple[int, float, str]:
    number = _number(value)
    return (0, number, "") if number is not None else (1, 0.0, str(value))
