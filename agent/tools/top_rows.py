"""The first rows for each value of a column, in the order in which they come."""

from collections import Counter
from collections.abc import Mapping, Sequence

from pydantic import JsonValue

from agent.errors import ToolFailure


class FirstRows:
    """Chooses rows as they come: those among the first `per_value` of their value in `column`; all without one."""

    def __init__(self, column: str | None, *, per_value: int, columns: Sequence[str]) -> None:
        """Raise `ToolFailure` if `column` is none of `columns`."""
        problem = column_problem(column, columns=columns)
        if problem:
            raise ToolFailure(problem)
        self._column = column or None
        self._per_value = per_value
        self._seen: Counter[str] = Counter()

    def takes(self, row: Mapping[str, JsonValue]) -> bool:
        """Whether `row`, which comes after all rows asked before, is among the first of its value."""
        if self._column is None:
            return True
        # A list or an object is no key of a counter; its text is as good.
        value = repr(row[self._column])
        self._seen[value] += 1
        return self._seen[value] <= self._per_value


def column_problem(column: str | None, *, columns: Sequence[str]) -> str | None:
    """Return a sentence if `column` is given and is none of `columns`."""
    if not column or column in columns:
        return None
    return (
        f"first_row_of_each names {column!r}, which is no column of the query; it has {', '.join(map(repr, columns))}."
    )
