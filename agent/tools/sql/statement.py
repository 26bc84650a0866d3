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

_LENGTHS = frozenset({"len", "length", "cardinality"})


@dataclass(frozen=True)
class SelectStatement:
    """A SELECT as DuckDB parsed it: its text without a trailing semicolon, and the names of its parameters."""

    sql: str
    parameters: tuple[str, ...]
    #: The tree that the parser made, as JSON.
    tree: dict[str, Any]


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
    return SelectStatement(statements[0].query.strip().rstrip(";").rstrip(), parameters, tree)


def _find_table_functions(tree: Any) -> Iterator[str]:  # noqa: ANN401 - a parsed JSON document
    return (node["function"]["function_name"] for node in walk_tree(tree) if node.get("type") == "TABLE_FUNCTION")


def walk_tree(node: Any) -> Iterator[dict[str, Any]]:  # noqa: ANN401 - a parsed JSON document
    """Yield every object of the tree of a statement, outer ones first."""
    if isinstance(node, dict):
        yield node
    for inner in node.values() if isinstance(node, dict) else node if isinstance(node, list) else ():
        yield from walk_tree(inner)


def is_total(statement: SelectStatement, *, connection: "DuckDBPyConnection") -> bool:
    """Whether a row of the result depends on all rows that are read: a total, a count, a ranking, a missing match.

    Filters, sorted lists and matches depend on some rows only: of fewer rows they give fewer, each of which is right.
    """
    listed = connection.execute(
        "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_type = 'aggregate'"
    ).fetchall()
    aggregates = {str(name) for (name,) in listed}
    nodes = list(walk_tree(statement.tree))
    joins = {node.get("join_type") for node in nodes}
    seeks_missing = "OUTER" in joins or (
        bool(joins & {"LEFT", "RIGHT", "FULL"}) and any(node.get("type") == "OPERATOR_IS_NULL" for node in nodes)
    )
    return seeks_missing or "ANTI" in joins or any(_depends_on_all_rows(node, aggregates) for node in nodes)


def _depends_on_all_rows(node: dict[str, Any], aggregates: set[str]) -> bool:
    modifiers = {each.get("type") for each in node.get("modifiers") or ()}
    is_ranking = "ORDER_MODIFIER" in modifiers and bool(modifiers & {"LIMIT_MODIFIER", "LIMIT_PERCENT_MODIFIER"})
    if is_ranking or node.get("group_expressions") or node.get("setop_type") == "EXCEPT" or node.get("sample"):
        return True
    match node.get("class"):
        case "WINDOW":
            return True
        case "FUNCTION":
            name = str(node["function_name"]).lower()
            # Of a list that is a parameter.
            of_list = name in _LENGTHS or name.startswith(("list_", "array_"))
            return name in aggregates or (of_list and _has_class(node, {"PARAMETER"}))
        case "OPERATOR":
            return node["type"] in {"OPERATOR_NOT", "COMPARE_NOT_IN"} and _has_class(node, {"SUBQUERY", "PARAMETER"})
    return False


def _has_class(tree: Any, classes: set[str]) -> bool:  # noqa: ANN401 - a parsed JSON document
    return any(node.get("class") in classes for node in walk_tree(tree))


def format_engine_error(error: Exception) -> str:
    """Return the engine's message as one sentence, without the excerpt of the SQL that follows it."""
    text = str(error).split("\n\nLINE ")[0].split("\nLINE ")[0]
    _, _, tail = text.partition(" Error: ")
    sentence = " ".join((tail or text).split())
    return sentence if sentence.endswith((".", "!", "?")) else f"{sentence}."
