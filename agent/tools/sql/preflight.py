"""A query bound on the real database without being run: whether it fits, and the columns it will give."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from pydantic import JsonValue

from agent.core.plan.tool_spec import JsonSchema, Preflight
from agent.errors import ToolFailure
from agent.tools.db_schema.model import DatabaseSchema
from agent.tools.sql.runner import (
    bind_value,
    build_output_schema,
    check_first_row_column,
    check_parameters,
    describe_columns,
    resolve_parameter_column,
)
from agent.tools.sql.statement import format_engine_error, parse_select

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

#: JSON type -> DuckDB type, for values that are not known before the run.
_DUCKDB_TYPES = {"string": "VARCHAR", "integer": "BIGINT", "number": "DOUBLE", "boolean": "BOOLEAN"}
_DUCKDB_FORMAT_TYPES = {"date": "DATE", "date-time": "TIMESTAMP", "time": "TIME", "uuid": "UUID"}


@dataclass(frozen=True)
class BindResult:
    """What the engine says of a query: the schemas of its columns, or why it cannot run."""

    columns: Mapping[str, JsonSchema] | None = None
    problems: tuple[str, ...] = ()


def bind_query(sql: str, *, params: Mapping[str, object], connection: "DuckDBPyConnection") -> BindResult:
    """Let the engine bind `sql`, values and stand-ins as they are in `params`; no row is read."""
    import duckdb  # noqa: PLC0415 - slow to import

    problems: list[str] = []
    try:
        statement = parse_select(sql, connection=connection)
        problems += check_parameters(statement.parameters, given=params)
        # With something in each place the engine tells what else is wrong.
        given = {name: params.get(name) for name in statement.parameters} or None
        connection.execute(f"EXPLAIN {statement.sql}", given)
        # LIMIT 0 gives the columns with their types; the text is one SELECT, as the parser has vouched.
        connection.execute(f"SELECT * FROM (\n{statement.sql}\n) LIMIT 0", given)  # noqa: S608
        return BindResult(columns=describe_columns(connection), problems=tuple(problems))
    except ToolFailure as failure:
        return BindResult(problems=(str(failure),))
    except duckdb.Error as error:
        return BindResult(problems=(*problems, f"The SQL does not fit the tables: {format_engine_error(error)}"))


@dataclass(frozen=True)
class CheckedQuery:
    """A query that has been checked: its text and parameters, mended where they had to be, and how they bind."""

    sql: str
    params: Mapping[str, JsonValue]
    binding: BindResult
    #: What was mended, a sentence each.
    notes: tuple[str, ...] = ()


def check_query(
    sql: str,
    *,
    params: Mapping[str, JsonValue],
    left_open: Mapping[str, JsonSchema],
    schema: DatabaseSchema,
    connection: "DuckDBPyConnection",
) -> CheckedQuery:
    """Bind `sql`, mending what can be looked up: values always, names and joins only where it does not bind as it is.

    What mending does not make bind comes back as it was, with the engine's word on the original.
    """
    from agent.tools.sql_repair.repair import explain_missing_columns, repair_constants, repair_query  # noqa: PLC0415 - sqlglot is slow to import

    try:
        parse_select(sql, connection=connection)
        values = build_bind_values(params, left_open=left_open)
    except ToolFailure as failure:
        return CheckedQuery(sql, params, BindResult(problems=(str(failure),)))
    lists = infer_list_types(params, left_open=left_open)
    for mend in (repair_constants, repair_query):
        mended = mend(sql, schema=schema, params=params, lists=lists)
        values |= build_bind_values(mended.params, left_open={})
        found = bind_query(mended.sql, params=values, connection=connection)
        if not found.problems:
            return CheckedQuery(mended.sql, mended.params, found, mended.notes)
    found = bind_query(sql, params=build_bind_values(params, left_open=left_open), connection=connection)
    return CheckedQuery(
        sql, params, BindResult(problems=(*found.problems, *explain_missing_columns(sql, schema=schema)))
    )


def infer_list_types(params: Mapping[str, JsonValue], *, left_open: Mapping[str, JsonSchema]) -> dict[str, str | None]:
    """Return the parameters that are lists, with the DuckDB type of their items where it is known."""
    found: dict[str, str | None] = {}
    for name, value in params.items():
        if isinstance(value, list):
            texts = any(isinstance(item, str) for item in cast("list[object]", bind_value(value, name=name)))
            found[name] = "VARCHAR" if texts else None
    for name, schema in find_unresolved_params(left_open):
        if "array" in get_json_types(schema):
            items = schema.get("items")
            found[name] = to_duckdb_type(_find_column_schema(items, name=name)) if isinstance(items, dict) else None
    return found


def find_unresolved_params(left_open: Mapping[str, JsonSchema]) -> Iterator[tuple[str, JsonSchema]]:
    """Yield the parameters that a reference will fill in, each with what is known of it."""
    for path, schema in left_open.items():
        root, _, name = path.partition(".")
        if root == "params" and name and "." not in name:
            yield name, schema


def build_bind_values(params: Mapping[str, object], *, left_open: Mapping[str, JsonSchema]) -> dict[str, object]:
    """Return `params` as the engine binds them, a typed empty value for each that a reference will fill in.

    `left_open` holds schemas by dotted path, such as `params.customers`. Raises `ToolFailure` for rows that do
    not hold the column they stand for.
    """
    values = {name: bind_value(value, name=name) for name, value in params.items()}
    for name, schema in find_unresolved_params(left_open):
        values[name] = _build_placeholder(schema, name=name)
    return values


def _build_placeholder(schema: JsonSchema, *, name: str) -> object:
    import duckdb  # noqa: PLC0415 - slow to import

    if "array" in get_json_types(schema):
        items = schema.get("items")
        kind = to_duckdb_type(_find_column_schema(items, name=name) if isinstance(items, dict) else {})
        return duckdb.Value([], duckdb.list_type(kind)) if kind else []
    kind = to_duckdb_type(schema)
    return duckdb.Value(None, duckdb.type(kind)) if kind else None


def _find_column_schema(items: JsonSchema, *, name: str) -> JsonSchema:
    """Return the schema of the column that rows stand for; `items` itself where it is no row."""
    if "object" not in get_json_types(items) or not isinstance(items.get("properties"), dict):
        return items
    properties: dict[str, JsonSchema] = items["properties"]
    return properties[resolve_parameter_column(list(properties), name=name)]


def get_json_types(schema: JsonSchema) -> list[str]:
    """Return the JSON types a schema allows beside null, those of its alternatives too."""
    declared = schema.get("type")
    words = [declared] if isinstance(declared, str) else list(declared or ())
    for word in ("anyOf", "oneOf"):
        for option in schema.get(word) or ():
            words.extend(get_json_types(option))
    return [word for word in dict.fromkeys(words) if word != "null"]


def to_duckdb_type(schema: JsonSchema) -> str | None:
    """Return the DuckDB type for values of `schema`; None where it says too little."""
    words = get_json_types(schema)
    if set(words) == {"integer", "number"}:
        return "DOUBLE"
    if len(words) != 1:
        return None
    if words[0] == "string":
        return _DUCKDB_FORMAT_TYPES.get(str(schema.get("format")), "VARCHAR")
    if words[0] == "array":
        items: Any = schema.get("items")
        inner = to_duckdb_type(items) if isinstance(items, dict) else None
        return f"{inner}[]" if inner else None
    return _DUCKDB_TYPES.get(words[0])


def build_preflight(
    checked: CheckedQuery, *, args: Mapping[str, Any], left_open: Mapping[str, JsonSchema]
) -> Preflight:
    """Return what was found as the call needs it: problems, or its arguments and the columns it will give."""
    found = checked.binding
    if found.problems or found.columns is None:
        return Preflight(problems=found.problems)
    mended = {**args, "sql": checked.sql, **({"params": dict(checked.params)} if "params" in args else {})}
    if args.get("first_row_of_each"):
        mended = _apply_first_row_choice(mended, left_open=left_open, columns=list(found.columns))
    problem = check_first_row_column(mended.get("first_row_of_each"), columns=list(found.columns))
    return Preflight(
        problems=(problem,) if problem else (),
        args=mended,
        notes=checked.notes,
        output_schema=build_output_schema(dict(found.columns)),
    )


def _apply_first_row_choice(
    args: Mapping[str, Any], *, left_open: Mapping[str, JsonSchema], columns: list[str]
) -> dict[str, Any]:
    """Return the arguments of a query whose first row of each value is kept, as they do what was meant."""
    from agent.tools.sql_repair.output_rows import has_one_row_per_value, match_column, remove_limit  # noqa: PLC0415 - slow to import

    column = match_column(str(args["first_row_of_each"]), columns=columns)
    if has_one_row_per_value(args["sql"], column=column):
        return {**args, "first_row_of_each": column}
    lists = infer_list_types(args.get("params") or {}, left_open=left_open)
    sql, rows = remove_limit(args["sql"], lists=lists)
    limits: dict[str, Any] = {} if rows is None else {"max_rows": min(rows, args.get("max_rows") or rows)}
    return {**args, "sql": sql, "first_row_of_each": column, **limits}
