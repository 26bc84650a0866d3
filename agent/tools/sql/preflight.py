"""A query bound on the real database without being run: whether it fits, and the columns it will give."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from pydantic import JsonValue

from agent.core.plan.tool_spec import JsonSchema, Preflight
from agent.errors import ToolFailure
from agent.tools.db_schema.model import DatabaseSchema
from agent.tools.sql.runner import (
    bound_value,
    column_problem,
    described_columns,
    output_schema,
    parameter_problems,
    rows_column,
)
from agent.tools.sql.statement import engine_sentence, parse_select

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

#: JSON type -> DuckDB type, for values that are not known before the run.
_ENGINE_TYPES = {"string": "VARCHAR", "integer": "BIGINT", "number": "DOUBLE", "boolean": "BOOLEAN"}
_FORMATS = {"date": "DATE", "date-time": "TIMESTAMP", "time": "TIME", "uuid": "UUID"}


@dataclass(frozen=True)
class Binding:
    """What the engine says of a query: the schemas of its columns, or why it cannot run."""

    columns: Mapping[str, JsonSchema] | None = None
    problems: tuple[str, ...] = ()


def bind(sql: str, *, params: Mapping[str, object], connection: "DuckDBPyConnection") -> Binding:
    """Let the engine bind `sql`, values and stand-ins as they are in `params`; no row is read."""
    import duckdb  # noqa: PLC0415 - slow to import

    problems: list[str] = []
    try:
        statement = parse_select(sql, connection=connection)
        problems += parameter_problems(statement.parameters, given=params)
        # With something in each place the engine tells what else is wrong.
        given = {name: params.get(name) for name in statement.parameters} or None
        connection.execute(f"EXPLAIN {statement.sql}", given)
        # LIMIT 0 gives the columns with their types; the text is one SELECT, as the parser has vouched.
        connection.execute(f"SELECT * FROM (\n{statement.sql}\n) LIMIT 0", given)  # noqa: S608
        return Binding(columns=described_columns(connection), problems=tuple(problems))
    except ToolFailure as failure:
        return Binding(problems=(str(failure),))
    except duckdb.Error as error:
        return Binding(problems=(*problems, f"The SQL does not fit the tables: {engine_sentence(error)}"))


@dataclass(frozen=True)
class Checked:
    """A query that has been checked: its text and parameters, mended where they had to be, and how they bind."""

    sql: str
    params: Mapping[str, JsonValue]
    binding: Binding
    #: What was mended, a sentence each.
    notes: tuple[str, ...] = ()


def check_query(
    sql: str,
    *,
    params: Mapping[str, JsonValue],
    left_open: Mapping[str, JsonSchema],
    schema: DatabaseSchema,
    connection: "DuckDBPyConnection",
) -> Checked:
    """Bind `sql`, mending what can be looked up: values always, names and joins only where it does not bind as it is.

    What mending does not make bind comes back as it was, with the engine's word on the original.
    """
    from agent.tools.sql_repair.repair import mend_constants, mend_query, owners  # noqa: PLC0415 - sqlglot is slow to import

    try:
        parse_select(sql, connection=connection)
        values = stand_ins(params, left_open=left_open)
    except ToolFailure as failure:
        return Checked(sql, params, Binding(problems=(str(failure),)))
    lists = list_types(params, left_open=left_open)
    for mend in (mend_constants, mend_query):
        mended = mend(sql, schema=schema, params=params, lists=lists)
        values |= stand_ins(mended.params, left_open={})
        found = bind(mended.sql, params=values, connection=connection)
        if not found.problems:
            return Checked(mended.sql, mended.params, found, mended.notes)
    found = bind(sql, params=stand_ins(params, left_open=left_open), connection=connection)
    return Checked(sql, params, Binding(problems=(*found.problems, *owners(sql, schema=schema))))


def list_types(params: Mapping[str, JsonValue], *, left_open: Mapping[str, JsonSchema]) -> dict[str, str | None]:
    """Return the parameters that are lists, with the DuckDB type of their items where it is known."""
    found: dict[str, str | None] = {}
    for name, value in params.items():
        if isinstance(value, list):
            texts = any(isinstance(item, str) for item in cast("list[object]", bound_value(value, name=name)))
            found[name] = "VARCHAR" if texts else None
    for name, schema in open_params(left_open):
        if "array" in json_types(schema):
            items = schema.get("items")
            found[name] = engine_type(_column_of(items, name=name)) if isinstance(items, dict) else None
    return found


def open_params(left_open: Mapping[str, JsonSchema]) -> Iterator[tuple[str, JsonSchema]]:
    """Yield the parameters that a reference will fill in, each with what is known of it."""
    for path, schema in left_open.items():
        root, _, name = path.partition(".")
        if root == "params" and name and "." not in name:
            yield name, schema


def stand_ins(params: Mapping[str, object], *, left_open: Mapping[str, JsonSchema]) -> dict[str, object]:
    """Return `params` as the engine binds them, a typed empty value for each that a reference will fill in.

    `left_open` holds schemas by dotted path, such as `params.customers`. Raises `ToolFailure` for rows that do
    not hold the column they stand for.
    """
    values = {name: bound_value(value, name=name) for name, value in params.items()}
    for name, schema in open_params(left_open):
        values[name] = _stand_in(schema, name=name)
    return values


def _stand_in(schema: JsonSchema, *, name: str) -> object:
    import duckdb  # noqa: PLC0415 - slow to import

    if "array" in json_types(schema):
        items = schema.get("items")
        kind = engine_type(_column_of(items, name=name) if isinstance(items, dict) else {})
        return duckdb.Value([], duckdb.list_type(kind)) if kind else []
    kind = engine_type(schema)
    return duckdb.Value(None, duckdb.type(kind)) if kind else None


def _column_of(items: JsonSchema, *, name: str) -> JsonSchema:
    """Return the schema of the column that rows stand for; `items` itself where it is no row."""
    if "object" not in json_types(items) or not isinstance(items.get("properties"), dict):
        return items
    properties: dict[str, JsonSchema] = items["properties"]
    return properties[rows_column(list(properties), name=name)]


def json_types(schema: JsonSchema) -> list[str]:
    """Return the JSON types a schema allows beside null, those of its alternatives too."""
    declared = schema.get("type")
    words = [declared] if isinstance(declared, str) else list(declared or ())
    for word in ("anyOf", "oneOf"):
        for option in schema.get(word) or ():
            words.extend(json_types(option))
    return [word for word in dict.fromkeys(words) if word != "null"]


def engine_type(schema: JsonSchema) -> str | None:
    """Return the DuckDB type for values of `schema`; None where it says too little."""
    words = json_types(schema)
    if set(words) == {"integer", "number"}:
        return "DOUBLE"
    if len(words) != 1:
        return None
    if words[0] == "string":
        return _FORMATS.get(str(schema.get("format")), "VARCHAR")
    if words[0] == "array":
        items: Any = schema.get("items")
        inner = engine_type(items) if isinstance(items, dict) else None
        return f"{inner}[]" if inner else None
    return _ENGINE_TYPES.get(words[0])


def preflight_findings(checked: Checked, *, args: Mapping[str, Any], left_open: Mapping[str, JsonSchema]) -> Preflight:
    """Return what was found as the call needs it: problems, or its arguments and the columns it will give."""
    found = checked.binding
    if found.problems or found.columns is None:
        return Preflight(problems=found.problems)
    mended = {**args, "sql": checked.sql, **({"params": dict(checked.params)} if "params" in args else {})}
    if args.get("first_row_of_each"):
        mended = _chosen(mended, left_open=left_open, columns=list(found.columns))
    problem = column_problem(mended.get("first_row_of_each"), columns=list(found.columns))
    return Preflight(
        problems=(problem,) if problem else (),
        args=mended,
        notes=checked.notes,
        output_schema=output_schema(dict(found.columns)),
    )


def _chosen(args: Mapping[str, Any], *, left_open: Mapping[str, JsonSchema], columns: list[str]) -> dict[str, Any]:
    """Return the arguments of a query whose first row of each value is kept, as they do what was meant."""
    from agent.tools.sql_repair.output_rows import named_column, one_row_each, without_limit  # noqa: PLC0415 - slow to import

    column = named_column(str(args["first_row_of_each"]), columns=columns)
    if one_row_each(args["sql"], column=column):
        return {**args, "first_row_of_each": column}
    lists = list_types(args.get("params") or {}, left_open=left_open)
    sql, rows = without_limit(args["sql"], lists=lists)
    limits: dict[str, Any] = {} if rows is None else {"max_rows": min(rows, args.get("max_rows") or rows)}
    return {**args, "sql": sql, "first_row_of_each": column, **limits}
