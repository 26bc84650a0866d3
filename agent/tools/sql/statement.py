"""The check, with DuckDB's own parser, that SQL is a single SELECT statement."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from agent.errors import ToolFailure

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

#: Functions in FROM that read nothing but their arguments. Scanners of other databases and functions that run text as
#: SQL are not among them: DuckDB's own lock on files does not stop those.
_ALLOWED_TABLE_FUNCTIONS = frozenset(
    {"unnest", "range", "generate_series", "json_each", "json_tree", "repeat", "repeat_row"}
)


@dataclass(frozen=True)
class SelectStatement:
    """A SELECT as DuckDB parsed it: its text without a trailing semicolon, and the names of its parameters."""

    sql: str
    parameters: tuple[str, ...]


def parse_select(sql: str, *, connection: "DuckDBPyConnection") -> SelectStatement:
    """Parse `sql`. Raises `ToolFailure` if it is not one SELECT, or uses a table function that is not allowed."""
    import duckdb  # noqa: PLC0415 - slow to import

    try:
        statements = connection.extract_statements(sql)
    except duckdb.Error as error:
        raise ToolFailure(f"The SQL cannot be parsed: {format_engine_error(error)}") from None
    if len(statements) != 1:
        count = f"{len(statements)} statements" if statements else "none"
        raise ToolFailure(f"The SQL must be one SELECT statement, but it has {count}; write one SELECT.")
    # Only a SELECT can be serialized: whatever could write or change a setting is refused here, and again by the lock.
    row = connection.execute("SELECT json_serialize_sql($sql)", {"sql": sql}).fetchone()
    tree: dict[str, Any] = json.loads(row[0]) if row else {"error": True}
    if tree["error"] or len(tree["statements"]) != 1:
        kind = str(statements[0].type).rpartition(".")[2]
        raise ToolFailure(f"Only a SELECT statement can be run, but this is {kind}; the data is read-only.")
    for name in _find_table_functions(tree):
        if name.lower() not in _ALLOWED_TABLE_FUNCTIONS:
            raise ToolFailure(f"The function {name!r} cannot be used in FROM; use a table or a view of the database.")
    parameters = tuple(sorted(statements[0].named_parameters))
    if any(name.isdigit() for name in parameters):
        raise ToolFailure("Parameters have names: write $customer, not ? or $1, and give its value in params.")
    return SelectStatement(statements[0].query.strip().rstrip(";").rstrip(), parameters)


def _find_table_functions(node: Any) -> Iterator[str]:  # noqa: ANN401 - a parsed JSON document
    if isinstance(node, dict):
        if node.get("type") == "TABLE_FUNCTION":
            yield node["function"]["function_name"]
        for inner in node.values():
            yield from _find_table_functions(inner)
    elif isinstance(node, list):
        for inner in node:
            yield from _find_table_functions(inner)


def format_engine_error(error: Exception) -> str:
    """Return the engine's message as one sentence, without the excerpt of the SQL that follows it."""
    text = str(error).split("\n\nLINE ")[0].split("\nLINE ")[0]
    _, _, tail = text.partition(" Error: ")
    sentence = " ".join((tail or text).split())
    return sentence if sentence.endswith((".", "!", "?")) else f"{sentence}."
