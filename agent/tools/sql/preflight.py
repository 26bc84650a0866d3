"""The check of a query without running it: whether it binds to the tables, and the columns it will return."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from pydantic import JsonValue

from agent.core.plan.tool_spec import JsonSchema, Preflight
from agent.errors import ToolFailure
from agent.tools.db_schema.column_values import ValueLookup
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

    from agent.tools.sql_repair.literals import FindSimilarValues

#: JSON type -> DuckDB type, for values that are not known before the run.
_DUCKDB_TYPES = {"string": "VARCHAR", "integer": "BIGINT", "number": "DOUBLE", "boolean": "BOOLEAN"}
_DUCKDB_FORMAT_TYPES = {"date": "DATE", "date-time": "TIMESTAMP", "time": "TIME", "uuid": "UUID"}


@dataclass(frozen=True)
class BindResult:
    """The result of binding a query: the schemas of its columns, or why it cannot run."""

    columns: Mapping[str, JsonSchema] | None = None
    problems: tuple[str, ...] = ()


def bind_query(sql: str, *, params: Mapping[str, object], connection: "DuckDBPyConnection") -> BindResult:
    """Let the engine bind `sql` with the values and placeholders in `params`; no row is read."""
    import duckdb  # noqa: PLC0415 - slow to import

    problems: list[str] = []
    try:
        statement = parse_select(sql, connection=connection)
        problems += check_parameters(statement.parameters, given=params)
        # With a value for every parameter, the engine reports what else is wrong.
        values = {name: params.get(name) for name in statement.parameters} or None
        connection.execute(f"EXPLAIN {statement.sql}", values)
        # LIMIT 0 returns the columns with their types. The parser has checked that the text is one SELECT.
        connection.execute(f"SELECT * FROM (\n{statement.sql}\n) LIMIT 0", values)  # noqa: S608
        return BindResult(columns=describe_columns(connection), problems=tuple(problems))
    except ToolFailure as failure:
        return BindResult(problems=(str(failure),))
    except duckdb.OutOfMemoryException:
        raise
    except duckdb.Error as error:
        return BindResult(problems=(*problems, f"The SQL does not fit the tables: {format_engine_error(error)}"))


@dataclass(frozen=True)
class CheckedQuery:
    """A checked query: its text and parameters, repaired if it may be, and the result of binding them."""

    sql: str
    params: Mapping[str, JsonValue]
    binding: BindResult
    #: A sentence for each repair.
    notes: tuple[str, ...] = ()
    #: A sentence for whatever looks wrong and was not changed.
    warnings: tuple[str, ...] = ()
    #: See `Preflight`; only for a query that is not to be changed.
    known_texts: dict[str, str] | None = None


@dataclass(frozen=True)
class _QueryCheck:
    """A query with what is needed to bind and to repair it."""

    sql: str
    params: Mapping[str, JsonValue]
    left_open: Mapping[str, JsonSchema]
    schema: DatabaseSchema
    connection: "DuckDBPyConnection"
    find_similar: "FindSimilarValues"

    @property
    def lists(self) -> dict[str, str | None]:
        return infer_list_types(self.params, left_open=self.left_open)

    def bind(self, sql: str, params: Mapping[str, JsonValue]) -> BindResult:
        values = build_bind_values(params, left_open=self.left_open)
        return bind_query(sql, params=values, connection=self.connection)

    def repair(self, binding: BindResult, *, goal: str) -> CheckedQuery | None:
        """Return the query repaired for `goal`; None if it does not bind even then."""
        from agent.tools.sql_repair.repair import RepairedQuery, repair_slips, repair_structure  # noqa: PLC0415 - sqlglot is slow to import

        first = RepairedQuery(self.sql, self.params)
        # What a list or a date is compared with may be all that keeps it from binding: names are not looked up first.
        for stage in (first, repair_structure(self.sql, schema=self.schema)) if binding.problems else (first,):
            repaired = repair_slips(
                stage.sql,
                schema=self.schema,
                params=self.params,
                lists=self.lists,
                goal=goal,
                find_similar=self.find_similar,
            )
            bound = self.bind(repaired.sql, repaired.params)
            if not bound.problems:
                notes = (*stage.notes, *repaired.notes)
                return CheckedQuery(repaired.sql, repaired.params, bound, notes, repaired.warnings)
        return None


def check_query(
    sql: str,
    *,
    params: Mapping[str, JsonValue],
    left_open: Mapping[str, JsonSchema],
    schema: DatabaseSchema,
    connection: "DuckDBPyConnection",
    goal: str | None,
) -> CheckedQuery:
    """Bind `sql`; if a model wrote it for `goal`, with the repairs that `agent/tools/sql_repair/README.md` lists.

    Without a goal, and if it does not bind even repaired, the query is returned unchanged, with the engine's message
    about the original.
    """
    from agent.tools.sql_repair.repair import explain_missing_columns, find_doubts  # noqa: PLC0415 - sqlglot is slow to import

    find_similar = ValueLookup(connection)
    check = _QueryCheck(sql, params, left_open, schema, connection, find_similar)
    try:
        parse_select(sql, connection=connection)
        binding = check.bind(sql, params)
    except ToolFailure as failure:
        return CheckedQuery(sql, params, BindResult(problems=(str(failure),)))
    if goal is None and not binding.problems:
        doubts = find_doubts(sql, schema=schema, params=params, lists=check.lists, find_similar=find_similar)
        return CheckedQuery(sql, params, binding, warnings=doubts.warnings, known_texts=doubts.known_texts)
    repaired = check.repair(binding, goal=goal or "")
    if repaired is not None and goal is not None:
        return repaired
    if not binding.problems:
        return CheckedQuery(sql, params, binding)
    remedy = (f"It would fit as {repaired.sql!r}; write that if it is meant.",) if repaired is not None else ()
    hints = remedy or tuple(explain_missing_columns(sql, schema=schema))
    return CheckedQuery(sql, params, BindResult(problems=(*binding.problems, *hints)))


def infer_list_types(params: Mapping[str, JsonValue], *, left_open: Mapping[str, JsonSchema]) -> dict[str, str | None]:
    """Return the parameters that are lists, each with the DuckDB type of its items or None if it is not known."""
    types: dict[str, str | None] = {}
    for name, value in params.items():
        if isinstance(value, list):
            texts = any(isinstance(item, str) for item in cast("list[object]", bind_value(value, name=name)))
            types[name] = "VARCHAR" if texts else None
    for name, schema in find_unresolved_params(left_open):
        if "array" in get_json_types(schema):
            items = schema.get("items")
            types[name] = to_duckdb_type(_find_column_schema(items, name=name)) if isinstance(items, dict) else None
    return types


def find_unresolved_params(left_open: Mapping[str, JsonSchema]) -> Iterator[tuple[str, JsonSchema]]:
    """Yield the parameters that a reference will fill in, each with its schema."""
    for path, schema in left_open.items():
        root, _, name = path.partition(".")
        if root == "params" and name and "." not in name:
            yield name, schema


def build_bind_values(params: Mapping[str, object], *, left_open: Mapping[str, JsonSchema]) -> dict[str, object]:
    """Return `params` as the engine binds them, with a typed empty value for each that a reference will fill in.

    `left_open` has schemas by dotted path, such as `params.customers`. Raises `ToolFailure` for rows that do not have
    the column that is needed.
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
    """Return the schema of the column that is used of a list of rows; `items` itself if it is not a row."""
    if "object" not in get_json_types(items) or not isinstance(items.get("properties"), dict):
        return items
    properties: dict[str, JsonSchema] = items["properties"]
    return properties[resolve_parameter_column(list(properties), name=name)]


def get_json_types(schema: JsonSchema) -> list[str]:
    """Return the JSON types that a schema or one of its alternatives allows, without null."""
    declared = schema.get("type")
    types = [declared] if isinstance(declared, str) else list(declared or ())
    for keyword in ("anyOf", "oneOf"):
        for option in schema.get(keyword) or ():
            types.extend(get_json_types(option))
    return [each for each in dict.fromkeys(types) if each != "null"]


def to_duckdb_type(schema: JsonSchema) -> str | None:
    """Return the DuckDB type for values of `schema`; None if it does not determine one."""
    types = get_json_types(schema)
    if set(types) == {"integer", "number"}:
        return "DOUBLE"
    if len(types) != 1:
        return None
    if types[0] == "string":
        return _DUCKDB_FORMAT_TYPES.get(str(schema.get("format")), "VARCHAR")
    if types[0] == "array":
        items: Any = schema.get("items")
        inner = to_duckdb_type(items) if isinstance(items, dict) else None
        return f"{inner}[]" if inner else None
    return _DUCKDB_TYPES.get(types[0])


def preflight_query(
    args: Mapping[str, Any],
    *,
    left_open: Mapping[str, JsonSchema],
    schema: DatabaseSchema,
    connection: "DuckDBPyConnection",
    goal: str | None,
) -> Preflight:
    """Bind the query of `args` to the tables on `connection`; `goal` as for `check_query`."""
    params = args.get("params") or {}
    checked = check_query(
        args["sql"], params=params, left_open=left_open, schema=schema, connection=connection, goal=goal
    )
    return build_preflight(checked, args=args, left_open=left_open, goal=goal)


def build_preflight(
    checked: CheckedQuery, *, args: Mapping[str, Any], left_open: Mapping[str, JsonSchema], goal: str | None
) -> Preflight:
    """Return the preflight of a call with a checked query: problems, or its repaired arguments and output schema."""
    binding = checked.binding
    if binding.problems or binding.columns is None:
        return Preflight(problems=binding.problems)
    repaired = {**args, "sql": checked.sql, **({"params": dict(checked.params)} if "params" in args else {})}
    notes, warnings, columns = checked.notes, checked.warnings, list(binding.columns)
    if args.get("first_row_of_each") and goal is not None:
        repaired, more = _apply_first_row_choice(repaired, left_open=left_open, columns=columns)
        notes += more
    elif args.get("first_row_of_each"):
        warnings += _warn_of_limit(args, columns=columns)
    problem = check_first_row_column(repaired.get("first_row_of_each"), columns=columns)
    return Preflight(
        problems=(problem,) if problem else (),
        args=repaired,
        notes=notes,
        warnings=warnings,
        known_texts=checked.known_texts,
        output_schema=build_output_schema(dict(binding.columns)),
    )


def _apply_first_row_choice(
    args: Mapping[str, Any], *, left_open: Mapping[str, JsonSchema], columns: list[str]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return the arguments with `first_row_of_each` as the column's exact name, and a LIMIT turned into `max_rows`.

    A query that has one row per value anyway keeps its LIMIT. Also returns a sentence for each change.
    """
    from agent.tools.sql_repair.output_rows import has_one_row_per_value, match_column, remove_limit  # noqa: PLC0415 - slow to import

    named = str(args["first_row_of_each"])
    column = match_column(named, columns=columns)
    notes: tuple[str, ...] = (
        () if column == named else (f"The rows are chosen by {column!r}; there is no column {named!r}.",)
    )
    if has_one_row_per_value(args["sql"], column=column):
        return {**args, "first_row_of_each": column}, notes
    lists = infer_list_types(args.get("params") or {}, left_open=left_open)
    sql, rows = remove_limit(args["sql"], lists=lists)
    if sql != args["sql"]:
        kept = "all of these are kept" if rows is None else f"the first {rows} of these are kept"
        notes += (f"LIMIT was left out before the first rows of each {column!r} were chosen; {kept}.",)
    limits: dict[str, Any] = {} if rows is None else {"max_rows": min(rows, args.get("max_rows") or rows)}
    return {**args, "sql": sql, "first_row_of_each": column, **limits}, notes


def _warn_of_limit(args: Mapping[str, Any], *, columns: list[str]) -> tuple[str, ...]:
    from agent.tools.sql_repair.output_rows import has_one_row_per_value, remove_limit  # noqa: PLC0415 - slow to import

    column = str(args["first_row_of_each"])
    if column not in columns or has_one_row_per_value(args["sql"], column=column):
        return ()
    if remove_limit(args["sql"], lists=())[0] == args["sql"]:
        return ()
    return (
        f"LIMIT cuts rows off before the first of each {column!r} are chosen; give max_rows to limit the chosen rows.",
    )
