"""Rows counted where the number that each row holds was to be added up."""

from collections.abc import Iterator

from sqlglot import exp

from agent.tools.database_schema import Column
from agent.tools.mend.scopes import Scope

_NUMBERS = ("DECIMAL", "DOUBLE", "FLOAT", "REAL", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT")


def mend_counts(scope: Scope) -> Iterator[str]:
    """Let `COUNT(*) AS docks` be the sum of `docks` where the only table has such a number, in place.

    Who calls a count by the name of a number that each row has wants that number: rows are called by their table.
    """
    relation = scope.sources[0].relation if len(scope.sources) == 1 else None
    if relation is None:
        return
    keys = {name for key in relation.foreign_keys for name in key.columns}
    for item in scope.select.expressions:
        count = item.this if isinstance(item, exp.Alias) else None
        column = relation.column(item.alias) if isinstance(count, exp.Count) else None
        if count is None or column is None or column.name in keys or not _is_amount(column):
            continue
        counted = count.this
        if isinstance(counted, exp.Star) or (isinstance(counted, exp.Column) and counted.name == column.name):
            count.replace(exp.Sum(this=exp.column(column.name, quoted=not column.name.isidentifier())))
            yield f"{column.name!r} is a number of each row, so it was added up and not its rows counted."


def _is_amount(column: Column) -> bool:
    words = column.name.lower().split("_")
    return column.type.startswith(_NUMBERS) and not {"id", "no", "number", "year"} & set(words)
