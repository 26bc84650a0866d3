"""Checks of a chart's arguments before anything runs."""

import difflib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, cast, get_args

from pydantic import JsonValue

from agent.core.plan.tool_spec import JsonSchema, Preflight
from agent.errors import ToolFailure
from agent.tools.charts.data.columns import column_names, read_column
from agent.tools.charts.data.data_prep import build_frame
from agent.tools.charts.data.frame import ChartKind
from agent.tools.charts.data.name_hints import names_identifier

# "text" is any column of strings; they may turn out to be dates or exact decimals. "other" is an unknown type.
ExpectedKind = Literal["number", "text", "other"]

SIMILARITY_CUTOFF = 0.8  # of difflib's ratio: "revenu" matches "revenue", "order" does not match "orders_total"


@dataclass(frozen=True)
class _ExpectedColumns:
    """The columns that the rows will have, as far as they are known before the run."""

    kinds: Mapping[str, ExpectedKind]

    def list_numeric(self) -> list[str]:
        return [name for name, kind in self.kinds.items() if kind == "number" and not names_identifier(name)]

    def match_name(self, name: str) -> str | None:
        """Return the only column that a misspelt name can mean; None if none or several can."""
        plain = {column: _normalize_name(column) for column in self.kinds}
        same = [column for column, spelling in plain.items() if spelling == _normalize_name(name)]
        if same:
            return same[0] if len(same) == 1 else None
        close = difflib.get_close_matches(_normalize_name(name), plain.values(), n=2, cutoff=SIMILARITY_CUTOFF)
        found = [column for column, spelling in plain.items() if spelling in close]
        return found[0] if len(found) == 1 else None


def check_chart_arguments(args: Mapping[str, JsonValue], *, schemas: Mapping[str, JsonSchema]) -> Preflight:
    """Check the names and kinds of the columns; if the rows are known, check everything that drawing would.

    `schemas` has the JSON Schemas of the arguments that a reference will fill in, by dotted path. A name that can mean
    only one column is corrected in the arguments.
    """
    rows = args.get("rows")
    literal = isinstance(rows, list) and all(isinstance(row, dict) for row in rows) and "rows" not in schemas
    columns = _read_row_columns(rows) if literal else _read_schema_columns(schemas.get("rows", {}))
    if not columns.kinds:
        return Preflight()
    corrected = dict(args)
    problems = [
        problem
        for role in (("x", "color") if _is_counted(corrected, columns=columns) else ("x", "y", "color"))
        if (problem := _correct_column_name(corrected, role=role, columns=columns))
    ]
    if not problems:
        problems = _check_column_kinds(corrected, columns=columns)
    if not problems and literal and _is_complete(corrected):
        problems = _find_drawing_problems(corrected)
    if problems:
        return Preflight(problems=tuple(problems))
    if corrected == dict(args):
        return Preflight()
    notes = [
        f"{role} is {corrected[role]!r}, not {args.get(role)!r}."
        for role in corrected
        if corrected[role] != args.get(role)
    ]
    return Preflight(args=corrected, notes=tuple(notes))


def _is_counted(args: Mapping[str, JsonValue], *, columns: _ExpectedColumns) -> bool:
    """Whether the chart counts rows by x, so that y need not be a column."""
    return args.get("kind") == "histogram" and columns.kinds.get(str(args.get("x"))) == "number"


def _read_row_columns(rows: JsonValue) -> _ExpectedColumns:
    objects = [row for row in rows if isinstance(row, dict)] if isinstance(rows, list) else []
    kinds: dict[str, ExpectedKind] = {}
    for name in column_names(objects):
        kinds[name] = "number" if read_column(objects, name=name).kind == "number" else "text"
    return _ExpectedColumns(kinds)


def _read_schema_columns(schema: JsonSchema) -> _ExpectedColumns:
    items = schema.get("items")
    properties = items.get("properties") if isinstance(items, dict) else None
    if not isinstance(items, dict) or not isinstance(properties, dict) or items.get("additionalProperties") is True:
        return _ExpectedColumns({})
    return _ExpectedColumns({name: infer_column_kind(column) for name, column in properties.items()})


def infer_column_kind(schema: object) -> ExpectedKind:
    """Return what a column with the JSON Schema `schema` has."""
    if not isinstance(schema, dict):
        return "other"
    if isinstance(options := schema.get("anyOf") or schema.get("oneOf"), list):
        kinds = {infer_column_kind(option) for option in options if option != {"type": "null"}}
        return kinds.pop() if len(kinds) == 1 else "other"
    stated = schema.get("type")
    types = set(stated if isinstance(stated, list) else [stated]) - {"null"}
    if types and types <= {"number", "integer"}:
        return "number"
    return "text" if types == {"string"} else "other"


def _correct_column_name(args: dict[str, JsonValue], *, role: str, columns: _ExpectedColumns) -> str | None:
    name = args.get(role)
    if not isinstance(name, str) or name in columns.kinds:
        return None
    if meant := columns.match_name(name):
        args[role] = meant
        return None
    known = ", ".join(repr(column) for column in columns.kinds)
    return f"{role} names the column {name!r}, which rows will not have; use one of {known}."


def _check_column_kinds(args: dict[str, JsonValue], *, columns: _ExpectedColumns) -> list[str]:
    x, y, color, kind = (args.get(role) for role in ("x", "y", "color", "kind"))
    numbers = columns.list_numeric()
    listed = ", ".join(repr(name) for name in numbers)
    if kind == "histogram":
        return _check_histogram(x, y, columns=columns)
    if isinstance(x, str) and x == y and kind != "box":
        return [f"x and y both name the column {x!r}; y needs a column of numbers: {listed or 'query one'}."]
    if kind == "heatmap":
        return _check_heatmap_color(color, columns=columns)
    if isinstance(y, str) and columns.kinds[y] == "number" and names_identifier(y):
        others = [name for name in numbers if name not in (x, y)]
        if others and not (kind == "horizontal_bar" and x in numbers):
            return [f"y names the column {y!r}, which has identifiers, not amounts; use one of {listed}."]
    if not isinstance(y, str) or columns.kinds[y] != "text":
        return []
    if kind != "scatter" and isinstance(x, str) and columns.kinds[x] == "number":
        return []
    if len(numbers) == 1 and numbers[0] not in (x, color):
        args["y"] = numbers[0]
        return []
    remedy = f"use one of {listed}" if numbers else "rows will have no column of numbers; query one"
    return [f"y names the column {y!r}, which has text, not numbers; {remedy}."]


def _check_histogram(x: JsonValue, y: JsonValue, *, columns: _ExpectedColumns) -> list[str]:
    given = {columns.kinds[name] for name in (x, y) if isinstance(name, str) and name in columns.kinds}
    if given != {"text"}:
        return []
    listed = ", ".join(repr(name) for name in columns.list_numeric())
    return [f"A histogram needs a column of numbers in x, not {x!r}; use one of {listed or '(there are none)'}."]


def _check_heatmap_color(color: JsonValue, *, columns: _ExpectedColumns) -> list[str]:
    numbers = ", ".join(repr(name) for name in columns.list_numeric())
    if isinstance(color, str) and columns.kinds[color] == "text":
        return [
            f"color of a heatmap names {color!r}, which has text; use a column of numbers: {numbers or 'query one'}."
        ]
    if color is None and not numbers and "other" not in columns.kinds.values():
        return ["A heatmap needs a column of numbers as color, and rows will have none; query one."]
    return []


def _is_complete(args: Mapping[str, JsonValue]) -> bool:
    return all(isinstance(args.get(role), str) for role in ("kind", "x", "y"))


def _find_drawing_problems(args: Mapping[str, JsonValue]) -> list[str]:
    """Return the error that preparing the known rows would raise, if any."""
    rows, kind, color = args["rows"], args["kind"], args.get("color")
    if not isinstance(rows, list) or kind not in get_args(ChartKind) or not (color is None or isinstance(color, str)):
        return []
    try:
        build_frame(
            [row for row in rows if isinstance(row, dict)],
            kind=cast("ChartKind", kind),
            x=str(args["x"]),
            y=str(args["y"]),
            color=color,
        )
    except ToolFailure as failure:
        return [str(failure)]
    return []


def _normalize_name(name: str) -> str:
    return re.sub(r"[^a-z0-9]", "", name.casefold())
