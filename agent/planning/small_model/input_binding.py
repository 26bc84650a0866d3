"""Binds outputs of earlier tasks to the arguments of a later one, by their schemas.

A small model writes no references. Code fills in what the schemas determine; if several outputs fit an argument, the
model chooses among their labels.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import JsonValue

from agent.core.plan.json_schema import (
    branches,
    find_allowed_types,
    find_mismatch,
    get_subschema,
    is_closed_object,
    iterate_properties,
)
from agent.core.plan.references import JsonPath
from agent.core.plan.tool_spec import JsonSchema, ToolSpec

#: `map`: named values; `data`: lists of objects and the like, which are never written by hand; `plain`: what the model
#: writes itself.
InputKind = Literal["map", "data", "plain"]
#: The table or view that a small model names before it writes SQL; it is not passed to the tool.
FROM_FIELD = "from"
_PARAMETER = re.compile(r"\$([A-Za-z_]\w*)")
_SCALAR_TYPES = {"string", "number", "integer", "boolean", "null"}


@dataclass(frozen=True)
class OutputRows:
    """A list of objects in an earlier output, with the schemas of their members by name."""

    task: str
    path: JsonPath
    columns: Mapping[str, JsonSchema]

    def refer_to_column(self, name: str) -> dict[str, JsonValue]:
        """Return a reference to one member of every object, as a list."""
        return _make_reference(self.task, (*self.path, "*", name))


@dataclass(frozen=True)
class EarlierOutput:
    """What is known about the output of an earlier task."""

    task: str
    question: str
    schema: JsonSchema

    def find_rows(self) -> OutputRows | None:
        """Return the main list of objects of the output: the one under `rows`, else the first."""
        lists = [rows for path in self._list_paths() if (rows := self._find_rows_at(path)) is not None]
        return next((rows for rows in lists if rows.path == ("rows",)), lists[0] if lists else None)

    def find_best_reference(self, wanted: JsonSchema, root: JsonSchema) -> dict[str, JsonValue] | None:
        """Return a reference to the part that fits an argument best: rows, else a text, else the whole output."""
        rows = self.find_rows()
        texts = [path for path in self._list_paths() if path and self._find_types(path) == frozenset({"string"})]
        paths = [*([rows.path] if rows else []), *(texts if len(texts) == 1 else []), ()]
        for path in paths:
            given = get_subschema(self.schema, path, root=self.schema)
            if find_mismatch(given, wanted, roots=(self.schema, root)) is None:
                return _make_reference(self.task, path)
        return None

    def _list_paths(self) -> list[JsonPath]:
        return [(), *((name,) for name, _ in iterate_properties(self.schema))]

    def _find_types(self, path: JsonPath) -> frozenset[str] | None:
        return find_allowed_types(get_subschema(self.schema, path, root=self.schema), self.schema)

    def _find_rows_at(self, path: JsonPath) -> OutputRows | None:
        for branch in branches(get_subschema(self.schema, path, root=self.schema), self.schema):
            items = branch.get("items")
            if (
                branch.get("type") == "array"
                and isinstance(items, dict)
                and find_allowed_types(items, self.schema) == frozenset({"object"})
            ):
                return OutputRows(self.task, path, dict(iterate_properties(items)))
        return None


def _make_reference(task: str, path: JsonPath) -> dict[str, JsonValue]:
    return {"output_of": task, "path": list(path)}


def classify_input(schema: JsonSchema, root: JsonSchema) -> InputKind:
    """Return how an argument is filled in."""
    kinds = find_allowed_types(schema, root)
    if kinds is None:
        return "data"
    if "object" in kinds:
        objects = [one for one in branches(schema, root) if one.get("type") == "object"]
        return "data" if any(map(is_closed_object, objects)) else "map"
    if "array" in kinds:
        for branch in branches(schema, root):
            items = branch.get("items")
            inner = find_allowed_types(items, root) if isinstance(items, dict) else None
            if branch.get("type") == "array" and (inner is None or not inner <= _SCALAR_TYPES):
                return "data"
    return "plain"


class ColumnParameters:
    """Columns of earlier rows under the names by which a text such as SQL refers to them: `$name`."""

    def __init__(self, sources: Sequence[EarlierOutput]) -> None:
        """Name each column by its own name, prefixed with its task if two tasks have a column of that name."""
        self.references: dict[str, dict[str, JsonValue]] = {}
        self.descriptions: dict[str, str] = {}
        for source in sources:
            rows = source.find_rows()
            for column in rows.columns if rows else ():
                name = column if column.isidentifier() and column not in self.references else f"{source.task}_{column}"
                if rows is not None and name.isidentifier():
                    self.references[name] = rows.refer_to_column(column)
                    self.descriptions[name] = f"{column} of: {source.question}"

    def find_mentioned(self, texts: Iterable[str]) -> dict[str, JsonValue]:
        """Return the references to the columns that `texts` mention; other names are left to the tool's preflight."""
        mentioned = {name for text in texts for name in _PARAMETER.findall(text)}
        return {name: reference for name, reference in self.references.items() if name in mentioned}


def is_sql_tool(spec: ToolSpec) -> bool:
    """Return whether the tool takes SQL, of which a small model is shown examples."""
    return "sql" in spec.args_schema.get("properties", {})


def needs_tables(spec: ToolSpec) -> bool:
    """Return whether the tool requires named inputs, to which its SQL refers as tables."""
    root = spec.args_schema
    return any(
        name in root.get("required", ()) and classify_input(schema, root) == "map"
        for name, schema in iterate_properties(root)
    )


def needs_input(spec: ToolSpec) -> bool:
    """Return whether the tool requires an earlier output."""
    root = spec.args_schema
    return any(
        name in root.get("required", ()) and classify_input(schema, root) != "plain"
        for name, schema in iterate_properties(root)
    )


def build_argument_schema(
    spec: ToolSpec,
    sources: Sequence[EarlierOutput],
    *,
    columns_of: Mapping[str, str],
    tables: Sequence[str] = (),
    columns: Sequence[str] = (),
) -> JsonSchema:
    """Return the schema of what a small model is asked for: the arguments that code cannot fill in.

    `columns_of` maps an argument that names a column to the argument that has the rows, as in `{"x": "rows"}`, or
    that produces them, as in `{"first_row_of_each": "sql"}`; the latter have the columns `columns`. `tables` are those
    that the SQL may use; empty: all.
    """
    root = spec.args_schema
    fields: dict[str, Any] = {}
    own: dict[str, Any] = {}
    for name, schema in iterate_properties(root):
        match classify_input(schema, root):
            case "plain" if name in columns_of and _is_plain(columns_of[name], root):
                if columns:
                    own[name] = {"type": "string", "enum": ["", *columns]}
            case "plain":
                known = _list_columns(sources, root["properties"].get(columns_of.get(name), {}), root)
                fields[name] = {"type": "string", "enum": known} if known and name in columns_of else schema
            case "data":
                fitting = [source.task for source in sources if source.find_best_reference(schema, root)]
                if not fitting:
                    fields[name] = schema
                elif len(fitting) > 1:
                    fields[name] = {"type": "string", "enum": fitting}
            case "map":
                continue
    required = [name for name in root.get("required", ()) if name in fields]
    if is_sql_tool(spec):
        # A small model that names the view first takes the columns from it and joins less.
        named = (
            {"type": "string", "enum": list(tables)} if tables else {"type": "string", "minLength": 1, "maxLength": 80}
        )
        fields, required = {FROM_FIELD: named, **own, **fields}, [FROM_FIELD, *own, *required]
    return {
        "type": "object",
        "properties": fields,
        "required": required,
        "additionalProperties": False,
        **({"$defs": root["$defs"]} if "$defs" in root else {}),
    }


def _is_plain(name: str, root: JsonSchema) -> bool:
    return name in root["properties"] and classify_input(root["properties"][name], root) == "plain"


def _list_columns(sources: Sequence[EarlierOutput], of: JsonSchema, root: JsonSchema) -> list[str]:
    """Return the columns of all rows that fit an argument with the schema `of`."""
    fitting = [rows for source in sources if source.find_best_reference(of, root) and (rows := source.find_rows())]
    return list(dict.fromkeys(column for rows in fitting for column in rows.columns))


def bind_inputs(
    written: Mapping[str, JsonValue], spec: ToolSpec, sources: Sequence[EarlierOutput]
) -> dict[str, JsonValue]:
    """Return a call's arguments: what the model wrote, and the references that the schemas determine."""
    root = spec.args_schema
    args: dict[str, JsonValue] = {}
    texts = [value for value in written.values() if isinstance(value, str)]
    for name, schema in iterate_properties(root):
        kind = classify_input(schema, root)
        required = name in root.get("required", ())
        if kind == "map":
            bound = (
                _bind_all_sources(schema, root, sources)
                if required
                else ColumnParameters(sources).find_mentioned(texts)
            )
            if bound:
                args[name] = bound
        elif kind == "data":
            fitting = {source.task: one for source in sources if (one := source.find_best_reference(schema, root))}
            chosen = written.get(name)
            if isinstance(chosen, str) and chosen in fitting:
                args[name] = fitting[chosen]
            elif fitting and (required or len(fitting) == 1):
                args[name] = list(fitting.values())[-1]
            elif name in written:
                args[name] = chosen
        elif written.get(name) not in ("", None):
            args[name] = written[name]
    return args


def _bind_all_sources(schema: JsonSchema, root: JsonSchema, sources: Sequence[EarlierOutput]) -> dict[str, JsonValue]:
    """Return references to all sources by the names of their tasks, for an argument that takes named inputs."""
    branch = next((one for one in branches(schema, root) if one.get("type") == "object"), {})
    inner = branch.get("additionalProperties")
    wanted = inner if isinstance(inner, dict) else {}
    return {source.task: one for source in sources if (one := source.find_best_reference(wanted, root))}
