"""The values that a text column has at the moment of asking, as far as they are like a text."""

import time
from contextlib import suppress
from typing import TYPE_CHECKING

from agent.tools.db_schema.model import Column, Relation
from agent.tools.db_schema.quoting import quote_relation
from agent.tools.sql.engines.attachment import quote_identifier
from agent.tools.sql.runner import interrupt_after

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

#: Seconds and values of one query: one that takes longer to look up, or comes later, is not said to be missing.
_LOOKUP_SECONDS = 3.0
_MAX_LOOKUPS = 100
#: Similarity by Jaro and Winkler from 0 to 1: "Iceland" and "Ireland" have 0.92, "Austria" and "Australia" 0.95.
_MIN_SIMILARITY = 0.88
_MAX_VALUES = 20


class ValueLookup:
    """Looks up values of columns for one query, within a bound of time and number for all of them."""

    def __init__(self, connection: "DuckDBPyConnection") -> None:
        self._connection = connection
        self._seconds_left = _LOOKUP_SECONDS
        self._found: dict[tuple[str, str, str], tuple[str, ...] | None] = {}

    def __call__(self, relation: Relation, column: Column, text: str) -> tuple[str, ...] | None:
        """Return what `find_similar_values` does; None, too, if the bound is reached. The same is read only once."""
        key = (relation.name, column.name, text)
        if key not in self._found:
            if self._seconds_left <= 0 or len(self._found) >= _MAX_LOOKUPS:
                return None
            begun, seconds = time.monotonic(), self._seconds_left
            self._found[key] = find_similar_values(relation, column, text, seconds=seconds, connection=self._connection)
            self._seconds_left -= time.monotonic() - begun
        return self._found[key]


def find_similar_values(
    relation: Relation, column: Column, text: str, *, seconds: float, connection: "DuckDBPyConnection"
) -> tuple[str, ...] | None:
    """Return the values of `column` that are like `text`, itself among them if a row has it; the nearest come first.

    They are read at each call, because a schema that was read before may be out of date. None: the table has no row,
    or they could not be read, or not in time.
    """
    import duckdb  # noqa: PLC0415 - slow to import

    value = f"CAST({quote_identifier(column.name)} AS VARCHAR)"
    letters = "regexp_replace(lower(strip_accents({})), '[^\\p{{L}}\\p{{N}}]', '', 'g')"
    same, similar = f"{letters.format('value')} = {letters.format('$text')}", "jaro_winkler_similarity"
    source = quote_relation(relation)
    with suppress(duckdb.Error), interrupt_after(seconds, connection):
        if connection.execute(f"SELECT 1 FROM {source} LIMIT 1").fetchone() is None:  # noqa: S608 - quoted identifiers
            return None
        if connection.execute(f"SELECT 1 FROM {source} WHERE {value} = $text LIMIT 1", {"text": text}).fetchone():  # noqa: S608 - quoted identifiers
            return (text,)
        rows = connection.execute(
            f"SELECT value FROM (SELECT DISTINCT {value} AS value FROM {source}) "  # noqa: S608 - quoted identifiers
            f"WHERE ({same} AND {letters.format('value')} <> '') "
            f"OR {similar}(lower(value), lower($text)) >= {_MIN_SIMILARITY} "
            f"ORDER BY {similar}(lower(value), lower($text)) DESC, value LIMIT {_MAX_VALUES}",
            {"text": text},
        ).fetchall()
        return tuple(found for (found,) in rows)
    return None
