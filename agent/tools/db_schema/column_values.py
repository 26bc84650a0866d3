"""The values that a text column has at the moment of asking, as far as they are like a text."""

from contextlib import suppress
from typing import TYPE_CHECKING

from agent.tools.db_schema.introspection import quote_identifier, quote_relation
from agent.tools.db_schema.model import Column, Relation
from agent.tools.sql.runner import interrupt_after

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

#: Seconds for one column: a value that takes longer to look up is not said to be missing.
_LOOKUP_SECONDS = 3.0
#: Similarity by Jaro and Winkler from 0 to 1: "Iceland" and "Ireland" have 0.92, "Austria" and "Australia" 0.95.
_MIN_SIMILARITY = 0.88
_MAX_VALUES = 20


def find_similar_values(
    relation: Relation, column: Column, text: str, *, connection: "DuckDBPyConnection"
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
    with suppress(duckdb.Error), interrupt_after(_LOOKUP_SECONDS, connection):
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
