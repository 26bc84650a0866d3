"""Earlier outputs as inputs of a task: which parts there are, which fit an argument, and filling them in.

A small model writes no references. What code can tell from the schemas it fills in; where several parts fit, the model
chooses among their labels.
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

#: `map`: named values; `data`: lists of objects and other things that nobody writes by hand; `plain`: what the model
#: writes itself.
InputKind = Literal["map", "data", "plain"]
#: The table or view that a small model names before it writes SQL; no tool is given it.
FROM_FIELD = "from"
_PARAMETER = re.compile(r"\$([A-Za-z_]\w*)")
_SCALAR_TYPES = {"string", "number", "integer", "boolean", "null"}


@dataclass(frozen=True)
class OutputRows:
    """A list of objects in an earlier output, with the schemas of what its objects hold."""

    task: str
    path: JsonPath
    columns: Mapping[str, JsonSchema]

    def refer_to_column(self, name: str) -> dict[str, JsonValue]:
        """Refer to one value of each object, as a list."""
        return _make_reference(self.task, (*self.path, "*", name))


@dataclass(frozen=True)
class EarlierOutput:
    """What is known of the output of an earlier task."""

    task: str
    question: str
    schema: JsonSchema

    def find_rows(self) -> OutputRows | None:
        """Return the list of objects that the output is about: the one under `rows`, else the first."""
        found = [rows for place in self._list_places() if (rows := self._find_rows_at(place)) is not None]
        return next((rows for rows in found if rows.path == ("rows",)), found[0] if found else None)

    def find_best_reference(self, wanted: JsonSchema, root: JsonSchema) -> dict[str, JsonValue] | None:
        """Return a reference to the part that suits an argument best: rows, else a text, else the whole output."""
        rows = self.find_rows()
        texts = [place for place in self._list_places() if place and self._find_types(place) == frozenset({"string"})]
        places = [*([rows.path] if rows else []), *(texts if len(texts) == 1 else []), ()]
        for place in places:
            given = get_subschema(self.schema, place, root=self.schema)
            if find_mismatch(given, wanted, roots=(self.schema, root)) is None:
                return _make_reference(self.task, place)
        return None

    def _list_places(self) -> list[JsonPath]:
        return [(), *((name,) for name, _ in iterate_properties(self.schema))]

    def _find_types(self, place: JsonPath) -> frozenset[str] | None:
        return find_allowed_types(get_subschema(self.schema, place, root=self.schema), self.schema)

    def _find_rows_at(self, place: JsonPath) -> OutputRows | None:
        for branch in branches(get_subschema(self.schema, place, root=self.schema), self.schema):
            items = branch.get("items")
            if (
                branch.get("type") == "array"
                and isinstance(items, dict)
                and find_allowed_types(items, self.schema) == frozenset({"object"})
            ):
                return OutputRows(self.task, place, dict(iterate_properties(items)))
        return None


def _make_reference(task: str, path: JsonPath) -> dict[str, JsonValue]:
    return {"output_of": task, "path": list(path)}


def classify_input(schema: JsonSchema, root: JsonSchema) -> InputKind:
    """Tell who fills an argument in."""
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
    """Columns of earlier rows under the names by which a text such as SQL mentions them: `$name`."""

    def __init__(self, sources: Sequence[EarlierOutput]) -> None:
        """Name each column by itself, and by its task where two tasks have one of that name."""
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
        """Return the references for what `texts` mention; a name that is none of them is left to the tool's check."""
        found = {name for text in texts for name in _PARAMETER.findall(text)}
        return {name: reference for name, reference in self.references.items() if name in found}


def is_sql_tool(spec: ToolSpec) -> bool:
    """Whether the tool takes SQL, which a small model is shown examples of."""
    return "sql" in spec.args_schema.get("properties", {})


def needs_tables(spec: ToolSpec) -> bool:
    """Whether the tool must be given named inputs, so that its texts can call them by their names."""
    root = spec.args_schema
    return any(
        name in root.get("required", ()) and classify_input(schema, root) == "map"
        for name, schema in iterate_properties(root)
    )


def needs_input(spec: ToolSpec) -> bool:
    """Whether the tool has nothing to work on without an earlier output."""
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

    `columns_of` tells of arguments that name a column of another argument's rows, such as `{"x": "rows"}`, or of the
    rows that come of it, such as `{"first_row_of_each": "sql"}`: those are `columns`. `tables` are those that SQL may
    be about, all if it is empty.
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
        # Having named the view first, a small model takes the columns from it and joins less.
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
    """Return the columns of all rows that may become the argument of schema `of`."""
    found = [rows for source in sources if source.find_best_reference(of, root) and (rows := source.find_rows())]
    return list(dict.fromkeys(column for rows in found for column in rows.columns))


def bind_inputs(
    written: Mapping[str, JsonValue], spec: ToolSpec, sources: Sequence[EarlierOutput]
) -> dict[str, JsonValue]:
    """Return a call's arguments: what the model wrote, and references where the schemas tell them."""
    root = spec.args_schema
    args: dict[str, JsonValue] = {}
    texts = [value for value in written.values() if isinstance(value, str)]
    for name, schema in iterate_properties(root):
        kind = classify_input(schema, root)
        required = name in root.get("required", ())
        if kind == "map":
            found = (
                _bind_all_sources(schema, root, sources)
                if required
                else ColumnParameters(sources).find_mentioned(texts)
            )
            if found:
                args[name] = found
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
    """Return every source under the name of its task, for an argument that takes named inputs."""
    branch = next((one for one in branches(schema, root) if one.get("type") == "object"), {})
    inner = branch.get("additionalProperties")
    wanted = inner if isinstance(inner, dict) else {}
    return {source.task: one for source in sources if (one := source.find_best_reference(wanted, root))}
