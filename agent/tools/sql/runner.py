"""The run of one query, with limits on the rows and the bytes of its result; its rows are JSON."""

import json
import math
import re
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, NotRequired, TypedDict

from pydantic import JsonValue

from agent.core.plan.tool_spec import JsonSchema
from agent.errors import ToolFailure
from agent.tools.sql.duckdb_json import build_cell_schema, cell_to_json, deduplicate_names
from agent.tools.sql.statement import format_engine_error, is_total, parse_select

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

#: Rows fetched at once: few at first, because the size of a row is not known before.
_FIRST_BATCH, _MAX_BATCH = 8, 1_000
_FLOAT_TYPE = re.compile(r"\b(DOUBLE|FLOAT)\b")


class QueryColumn(TypedDict):
    """An output column with its DuckDB type."""

    name: str
    type: str


class QueryOutput(TypedDict):
    """The rows of a query; `truncated` is true if a limit cut some off, `warning` says so if it was that of bytes."""

    columns: list[QueryColumn]
    rows: list[dict[str, JsonValue]]
    row_count: int
    truncated: bool
    warning: NotRequired[str]


@dataclass(frozen=True)
class Query:
    """A query, its parameters and its limits."""

    sql: str
    params: Mapping[str, object] = field(default_factory=dict)
    first_row_of_each: str | None = None
    rows_per_value: int = 1
    #: Whether a total over rows that were cut off is what is wanted.
    allow_cut_rows: bool = False
    #: None: as many as fit in the bytes of a result.
    max_rows: int | None = None


@contextmanager
def interrupt_after(seconds: float, connection: "DuckDBPyConnection") -> Iterator[None]:
    """Interrupt what runs on `connection` when the block has taken `seconds`."""
    timer = threading.Timer(seconds, connection.interrupt)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def run_query(
    query: Query, *, connection: "DuckDBPyConnection", max_bytes: int, cuts: Sequence[str] = ()
) -> QueryOutput:
    """Run one SELECT and return its rows, at most `max_bytes` of JSON.

    `cuts` are sentences about what was cut off in the rows and parameters that it is given. Raises `ToolFailure` with
    the engine's message as a sentence, and for a total over rows that were cut off unless the query allows it.
    """
    import duckdb  # noqa: PLC0415 - slow to import

    statement = parse_select(query.sql, connection=connection)
    if problems := check_parameters(statement.parameters, given=query.params):
        raise ToolFailure(" ".join(problems))
    params = {name: bind_value(value, name=name) for name, value in query.params.items()}
    try:
        if (
            cuts
            and not query.allow_cut_rows
            and (query.first_row_of_each or is_total(statement, connection=connection))
        ):
            raise ToolFailure(
                f"The query makes a total or a ranking of rows that are not all there. {' '.join(cuts)} Compute it in "
                "the query that reads the rows, or have that one return all of them; set allow_cut_rows only if these "
                "rows alone are meant."
            )
        # None instead of an empty mapping, with which DuckDB would report parameters as missing.
        connection.execute(statement.sql, params or None)
        output = _fetch_rows(query, connection=connection, max_bytes=max_bytes)
        if not _may_lose_times(output):
            return output
        connection.execute(_show_times_as_they_are(statement.sql, connection=connection), params or None)
        return _fetch_rows(query, connection=connection, max_bytes=max_bytes, columns=output["columns"])
    except UnicodeDecodeError as error:
        raise ToolFailure(f"The query failed: a text is not in UTF-8 ({error.reason}); leave its column out.") from None
    except duckdb.OutOfMemoryException:
        # The engine's advice is about settings that a query cannot change.
        raise
    except duckdb.Error as error:
        raise ToolFailure(f"The query failed: {format_engine_error(error)}") from None


def _may_lose_times(output: QueryOutput) -> bool:
    """Whether a time may not be what it is in Python, which has no infinity, nanoseconds or months of a duration."""
    signs = {"DATE": ("9999-12-31", "0001-01-01"), "TIMESTAMP": ("9999-12-31", "0001-01-01"), "INTERVAL": (" days",)}
    for column in output["columns"]:
        kind = column["type"].partition(" ")[0]
        if kind == "TIMESTAMP_NS":
            return True
        if any(sign in str(row[column["name"]]) for sign in signs.get(kind, ()) for row in output["rows"]):
            return True
    return False


def _show_times_as_they_are(sql: str, *, connection: "DuckDBPyConnection") -> str:
    """Return the query of the last run with text for the points in time and durations that Python does not have."""
    columns = []
    for position, column in enumerate(connection.description or []):
        name, kind = f"c{position}", str(column[1])
        # A union keeps what Python has as it is.
        union = f"UNION(word VARCHAR, time {kind})"
        if kind == "TIMESTAMP_NS":
            columns.append(f"replace(CAST({name} AS VARCHAR), ' ', 'T')")
        elif kind.startswith(("DATE", "TIMESTAMP", "INTERVAL")):
            has_months = f"datepart('month', {name}) <> 0 OR datepart('year', {name}) <> 0"
            is_odd = has_months if kind == "INTERVAL" else f"isinf({name})"
            word = f"CAST(CAST({name} AS VARCHAR) AS {union})"
            columns.append(f"CASE WHEN {is_odd} THEN {word} ELSE CAST({name} AS {union}) END")
        else:
            columns.append(name)
    names = ", ".join(f"c{position}" for position in range(len(columns)))
    return f"SELECT {', '.join(columns)} FROM (\n{sql}\n) AS q({names})"  # noqa: S608 - one SELECT, as was checked


def _fetch_rows(
    query: Query,
    *,
    connection: "DuckDBPyConnection",
    max_bytes: int,
    columns: Sequence[QueryColumn] | None = None,
) -> QueryOutput:
    """Fetch the rows of the query that was run; `columns` are those to report, if they are not its own."""
    if columns is None:
        description = connection.description or []
        names = deduplicate_names(column[0] for column in description)
        columns = [{"name": name, "type": str(column[1])} for name, column in zip(names, description, strict=True)]
    names = [column["name"] for column in columns]
    row_filter = FirstRowsFilter(query.first_row_of_each, per_value=query.rows_per_value, columns=names)
    rows: list[dict[str, JsonValue]] = []
    size, batch_size, warning = 0, _FIRST_BATCH, ""
    max_rows = sys.maxsize if query.max_rows is None else query.max_rows
    floats = [position for position, column in enumerate(columns) if _FLOAT_TYPE.search(column["type"])]
    infinite: Counter[str] = Counter()
    while len(rows) <= max_rows and not warning and (batch := connection.fetchmany(batch_size)):
        for values in batch:
            row = dict(zip(names, map(cell_to_json, values), strict=True))
            if not row_filter.accept_row(row):
                continue
            size += len(json.dumps(row))
            if size > max_bytes and len(rows) < max_rows:
                warning = (
                    f"The result is cut off after {len(rows)} rows: more would have over {max_bytes:,} bytes. "
                    "Select fewer or shorter columns, or aggregate."
                )
                break
            rows.append(row)
            if len(rows) > max_rows:
                break
            for place in floats:
                infinite[names[place]] += _count_infinite(values[place])
        batch_size = _choose_batch_size(batch_size, size=size, rows=len(rows), max_bytes=max_bytes)
    truncated = len(rows) > max_rows or bool(warning)
    output: QueryOutput = {
        "columns": list(columns),
        "rows": rows[:max_rows],
        "row_count": min(len(rows), max_rows),
        "truncated": truncated,
    }
    said = [*filter(None, [warning]), *(_describe_infinite(name, infinite[name]) for name in names if infinite[name])]
    return {**output, "warning": " ".join(said)} if said else output


def _count_infinite(value: object) -> int:
    """Return how many numbers of a value, or inside of it, JSON does not have."""
    match value:
        case float():
            return not math.isfinite(value)
        case list() | tuple():
            return sum(map(_count_infinite, value))
        case dict():
            return sum(map(_count_infinite, value.values()))
        case _:
            return 0


def _describe_infinite(column: str, count: int) -> str:
    described = "1 value is" if count == 1 else f"{count:,} values are"
    return f"{described} infinite or no number (NaN) in {column!r}, and given as null."


def _choose_batch_size(before: int, *, size: int, rows: int, max_bytes: int) -> int:
    """Return how many rows to fetch next: more each time, but about as many as still fit."""
    fitting = int((max_bytes - size) / (size / rows)) + 1 if rows else _MAX_BATCH
    return max(1, min(before * 4, _MAX_BATCH, fitting))


class FirstRowsFilter:
    """Accepts the first `per_value` rows of each value in `column`; without a column, all rows."""

    def __init__(self, column: str | None, *, per_value: int, columns: Sequence[str]) -> None:
        """Raise `ToolFailure` if `column` is not one of `columns`."""
        problem = check_first_row_column(column, columns=columns)
        if problem:
            raise ToolFailure(problem)
        self._column = column or None
        self._per_value = per_value
        self._seen: Counter[str] = Counter()

    def accept_row(self, row: Mapping[str, JsonValue]) -> bool:
        """Whether `row` is among the first of its value; rows must be passed in the order of the query."""
        if self._column is None:
            return True
        # A list or an object cannot be a key of a counter, so its text is.
        value = repr(row[self._column])
        self._seen[value] += 1
        return self._seen[value] <= self._per_value


def check_first_row_column(column: str | None, *, columns: Sequence[str]) -> str | None:
    """Return a sentence if `column` is given and is not one of `columns`."""
    if not column or column in columns:
        return None
    return (
        f"first_row_of_each names {column!r}, which is not a column of the query; "
        f"use one of {', '.join(map(repr, columns))}."
    )


def check_parameters(used: tuple[str, ...], *, given: Mapping[str, object]) -> list[str]:
    """Return a sentence for each parameter that is used but not given, or given but not used."""
    missing = [
        f"The SQL uses ${name}, but params has no {name!r}; give it there." for name in used if name not in given
    ]
    unused = [
        f"params has {name!r}, but the SQL does not use ${name}; use it or leave it out."
        for name in given
        if name not in used
    ]
    return missing + unused


def bind_value(value: object, *, name: str) -> object:
    """Return a parameter as DuckDB takes it: a list of rows becomes the values of the column named like the parameter.

    Raises `ToolFailure` if the rows have neither that column nor exactly one column.
    """
    if not (isinstance(value, list) and value and all(isinstance(item, Mapping) for item in value)):
        return value
    column = resolve_parameter_column(list(value[0]), name=name)
    return [item.get(column) for item in value]


def resolve_parameter_column(columns: list[str], *, name: str) -> str:
    """Return the column that is used if the parameter `name` is a list of rows. Raises `ToolFailure`."""
    if name in columns:
        return name
    if len(columns) == 1:
        return columns[0]
    raise ToolFailure(
        f"params[{name!r}] is a list of rows with the columns {', '.join(map(repr, columns))}, "
        f"none of which is {name!r}; "
        f'name the parameter after the column, or take one column of the rows with the path ["rows", "*", column].'
    )


def build_output_schema(columns: dict[str, JsonSchema] | None = None) -> JsonSchema:
    """Return the JSON Schema of a `QueryOutput`; if `columns` are known, rows have exactly those."""
    row: JsonSchema = {"type": "object"}
    if columns is not None:
        row = {"type": "object", "properties": columns, "required": list(columns), "additionalProperties": False}
    column = {"name": {"type": "string"}, "type": {"type": "string"}}
    return {
        "type": "object",
        "properties": {
            "columns": {"type": "array", "items": {"type": "object", "properties": column}},
            "rows": {"type": "array", "items": row},
            "row_count": {"type": "integer"},
            "truncated": {"type": "boolean"},
            "warning": {"type": "string"},
        },
        "required": ["columns", "rows", "row_count", "truncated"],
        "additionalProperties": False,
    }


def describe_columns(connection: "DuckDBPyConnection") -> dict[str, JsonSchema]:
    """Return the schemas of the columns of the last query on `connection`."""
    description = connection.description or []
    names = deduplicate_names(column[0] for column in description)
    return {name: build_cell_schema(column[1]) for name, column in zip(names, description, strict=True)}
