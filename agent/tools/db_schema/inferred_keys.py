"""Foreign keys of sources that declare none, such as a folder of CSV files: found by name, checked by the rows."""

import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from agent.tools.db_schema.model import Column, ForeignKey, Relation
from agent.tools.db_schema.quoting import quote_relation
from agent.tools.sql.engines.attachment import quote_identifier
from agent.tools.sql.runner import interrupt_after
from agent.tools.sql_repair.name_matching import to_singular

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

_KEY_ENDINGS = ("id", "code", "key", "no", "number")
#: Larger tables are not read for it.
_MAX_ROWS = 1_000_000


def infer_foreign_keys(
    relations: Sequence[Relation], *, connection: "DuckDBPyConnection", seconds: float
) -> list[Relation]:
    """Return `relations` with the keys that the names of columns suggest and every row bears out.

    `customer_id` refers to the first column of the table that has the same name there, or to `id` of `customers`: if
    its values are unique there, and each one of the referring column is among them. Reading stops after `seconds`.
    """
    ends = time.monotonic() + seconds
    found = []
    for relation in relations:
        keys = tuple(
            ForeignKey(columns=(column.name,), table=target.name, references=(key.name,))
            for column, target, key in _find_candidates(relation, relations)
            if _rows_agree(relation, column, target, key, connection=connection, seconds=ends - time.monotonic())
        )
        found.append(relation.model_copy(update={"foreign_keys": keys}) if keys else relation)
    return found


def _find_candidates(relation: Relation, relations: Sequence[Relation]) -> Iterator[tuple[Column, Relation, Column]]:
    """Yield each column that may refer to another table, with that table and its key."""
    for place, column in enumerate(relation.columns):
        name = column.name.lower()
        if not name.endswith(_KEY_ENDINGS) or relation.kind == "view":
            continue
        for other in relations:
            if other is relation or other.kind == "view" or not other.columns:
                continue
            key, owns = other.columns[0], to_singular(other.name.lower()) == name.rpartition("_")[0]
            is_key = key.name.lower() == name or (key.name.lower() == "id" and owns)
            if is_key and key.type == column.type and (place > 0 or owns):
                yield column, other, key


def _rows_agree(
    relation: Relation,
    column: Column,
    target: Relation,
    key: Column,
    *,
    connection: "DuckDBPyConnection",
    seconds: float,
) -> bool:
    """Whether the values of `key` are unique, and those of `column` are among them."""
    import duckdb  # noqa: PLC0415 - slow to import

    rows = [each.row_count for each in (relation, target)]
    if seconds <= 0 or any(count is None or count > _MAX_ROWS for count in rows):
        return False
    here, there = quote_identifier(column.name), quote_identifier(key.name)
    # Identifiers are quoted.
    unique = f"SELECT count(*) = count(DISTINCT {there}) FROM {quote_relation(target)}"  # noqa: S608
    known = f"SELECT {there} FROM {quote_relation(target)} WHERE {there} IS NOT NULL"  # noqa: S608
    missing = f"SELECT count(*) FROM {quote_relation(relation)} WHERE {here} NOT IN ({known})"  # noqa: S608
    try:
        with interrupt_after(seconds, connection):
            return connection.execute(unique).fetchone() == (True,) and connection.execute(missing).fetchone() == (0,)
    except duckdb.Error:
        return False
