"""The JSON Schema of a plan as a model writes it, and the conversion from there to the plan document.

The strict mode of structured outputs has no objects of free shape. So a map is written as a list of
`{"name", "value"}`, any other shape as `{"json": text}`, and every leaf may be a reference.
"""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any, Final, get_args

from pydantic import JsonValue

from agent.core.plan.document import OnItemFailure
from agent.core.plan.hashing import hash_json
from agent.core.plan.json_schema import find_reference_target, is_closed_object
from agent.core.plan.tool_spec import JsonSchema, ToolSpec

_PATH_SCHEMA: Final[JsonSchema] = {"type": "array", "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]}}
_REFERENCES: Final = ("output", "item", "template")
_PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9_.-]+")
_ODD_LETTERS: Final = re.compile(r"[^A-Za-z0-9_.-]+")
_MAX_ODD_NAME: Final = 40
#: Where a schema keeps the parts that it refers to.
_DEFINITIONS: Final = ("$defs", "definitions")
#: Keywords of a scalar that a reply is held to.
_SCALAR_KEYWORDS: Final = frozenset(
    (
        "type",
        "enum",
        "const",
        "pattern",
        "minLength",
        "maxLength",
        "multipleOf",
        "minimum",
        "maximum",
        "exclusiveMinimum",
        "exclusiveMaximum",
    )
)


class LossyError(ValueError):
    """A reply that cannot become a plan document without losing something; the message is a sentence."""


def build_object_schema(**properties: JsonSchema) -> JsonSchema:
    """Return the schema of an object that has exactly these properties."""
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


def _ref(name: str) -> JsonSchema:
    return {"$ref": f"#/$defs/{name}"}


def _to_definition_name(name: str) -> str:
    """Return a name that stands in a `$ref` as it is, for each text another: a `/` or `%` in it would lead elsewhere.

    Servers that read the schema differ in how they undo an escaping, so there is none.
    """
    if _PLAIN_NAME.fullmatch(name):
        return name
    return f"{re.sub(_ODD_LETTERS, '_', name)[:_MAX_ODD_NAME]}_{hash_json(name)[:8]}"


def refer_to_task(tool: str) -> JsonSchema:
    """Return a reference to the schema of a task with `tool` among `build_definitions`."""
    return _ref(_to_definition_name(f"task_{tool}"))


def refer_to_arguments(tool: str) -> JsonSchema:
    """Return a reference to the schema of the arguments of `tool` among `build_definitions`."""
    return _ref(_to_definition_name(f"args_{tool}"))


def _build_shared_definitions() -> JsonSchema:
    scalar: JsonSchema = {"type": ["string", "number", "boolean", "null"]}
    return {
        "output": build_object_schema(
            output_of={"type": "string", "description": "Id of an earlier task."}, path=_PATH_SCHEMA
        ),
        "item": build_object_schema(item=_PATH_SCHEMA),
        "template": build_object_schema(
            template={"type": "string", "description": "Text with {name} fields."},
            values={"type": "array", "items": _ref("named")},
        ),
        "named": build_object_schema(name={"type": "string"}, value=_ref("open")),
        "open": {
            "anyOf": [
                scalar,
                {"type": "array", "items": scalar},
                *map(_ref, _REFERENCES),
                build_object_schema(json={"type": "string", "description": "Any other value, as JSON text."}),
            ]
        },
    }


def build_plan_schema(specs: Iterable[ToolSpec], *, asking: Iterable[ToolSpec] = ()) -> JsonSchema:
    """Return the schema of a plan that may use these tools: each task is held to the arguments of its own tool.

    With `asking`, the reply may instead list calls of those tools under `need`: questions to answer before the plan.
    """
    specs, asking = list(specs), list(asking)
    known = {spec.name: spec for spec in (*specs, *asking)}
    calls = [
        build_object_schema(tool={"type": "string", "const": spec.name}, args=refer_to_arguments(spec.name))
        for spec in asking
    ]
    need = {"need": {"type": "array", "items": {"anyOf": calls}}} if calls else {}
    return {
        "type": "object",
        "properties": {
            **need,
            "execution_mode": {"enum": ["parallel", "sequential", "conditional"], "type": "string"},
            "tasks": {"type": "array", "items": {"anyOf": [refer_to_task(spec.name) for spec in specs]}},
        },
        "required": ["execution_mode", "tasks"],
        "additionalProperties": False,
        "$defs": build_definitions(known.values()),
    }


def build_definitions(specs: Iterable[ToolSpec]) -> JsonSchema:
    """Return the `$defs`: `task_NAME` and `args_NAME` of every tool, and what these refer to."""
    definitions = _build_shared_definitions()
    for spec in specs:
        definitions |= {
            _name_part(spec.name, name): _build_literal_schema(part, tool=spec.name)
            for place in _DEFINITIONS
            for name, part in spec.args_schema.get(place, {}).items()
        }
        definitions[_to_definition_name(f"args_{spec.name}")] = _build_arguments_schema(spec)
        definitions[_to_definition_name(f"task_{spec.name}")] = _build_task_schema(spec)
    return definitions


def _build_task_schema(spec: ToolSpec) -> JsonSchema:
    text: JsonSchema = {"type": "string"}
    task = build_object_schema(
        id={"type": "string", "description": "Short and telling, in snake_case."},
        description={"type": "string", "description": "What the task finds out or does, for a person."},
        reasoning={"type": "string", "description": "Why it is needed, in one sentence."},
        tool={"type": "string", "const": spec.name},
        args=refer_to_arguments(spec.name),
        expected_outcome=text,
        phase=text,
        depends_on={"type": "array", "items": text},
        condition={"type": "string", "description": "CEL over earlier outputs; the task is skipped where it is false."},
        for_each=_ref("output"),
        on_item_failure={"type": "string", "enum": list(get_args(OnItemFailure))},
    )
    return task | {"required": ["id", "description", "reasoning", "tool", "args"]}


def _name_part(tool: str, name: str) -> str:
    return _to_definition_name(f"{tool}__{name}")


def _build_arguments_schema(spec: ToolSpec) -> JsonSchema:
    properties = {
        name: _build_value_schema(part, tool=spec.name) for name, part in spec.args_schema.get("properties", {}).items()
    }
    return build_object_schema(**properties) | {"required": list(spec.args_schema.get("required", ()))}


def _build_value_schema(part: JsonSchema, *, tool: str) -> JsonSchema:
    """Return the schema of an argument, or of a part of one, that may also be a reference."""
    literal = _build_literal_schema(part, tool=tool)
    if literal == _ref("open"):
        return literal
    options = [*literal.get("anyOf", [literal]), *map(_ref, _REFERENCES)]
    described = {"description": part["description"]} if "description" in part else {}
    return described | {"anyOf": options}


def _build_literal_schema(part: JsonSchema, *, tool: str) -> JsonSchema:
    if "$ref" in part:
        place, _, name = str(part["$ref"]).removeprefix("#/").partition("/")
        # An escaped name, or a place within a definition, is found by the compiler.
        return _ref(_name_part(tool, name)) if place in _DEFINITIONS and _PLAIN_NAME.fullmatch(name) else _ref("open")
    for word in ("anyOf", "oneOf"):
        if word in part:
            return {"anyOf": [_build_literal_schema(option, tool=tool) for option in part[word]]}
    kinds = part.get("type")
    if isinstance(kinds, list):
        return {"anyOf": [_build_literal_schema(part | {"type": kind}, tool=tool) for kind in kinds]}
    if kinds == "object":
        return _build_object_literal(part, tool=tool)
    if kinds == "array":
        if "prefixItems" in part or not isinstance(part.get("items"), dict):
            return _ref("open")
        sizes = {key: part[key] for key in ("minItems", "maxItems") if key in part}
        return {"type": "array", "items": _build_value_schema(part["items"], tool=tool)} | sizes
    if kinds is None and not part.keys() & {"enum", "const"}:
        return _ref("open")
    return {key: value for key, value in part.items() if key in _SCALAR_KEYWORDS}


def _build_object_literal(part: JsonSchema, *, tool: str) -> JsonSchema:
    if is_closed_object(part):
        fields = {name: _build_value_schema(inner, tool=tool) for name, inner in part["properties"].items()}
        return build_object_schema(**fields) | {"required": list(part.get("required", ()))}
    if part.get("properties") or part.get("patternProperties"):
        return _ref("open")
    return {"type": "array", "items": _ref("named")}


def parse_plan_document(value: Mapping[str, Any], specs: Mapping[str, ToolSpec]) -> dict[str, JsonValue]:
    """Return the plan document of a reply in the form of `build_plan_schema`. Raises `LossyError`."""
    return {
        "execution_mode": value["execution_mode"],
        "tasks": [parse_task_document(task, specs) for task in value["tasks"]],
    }


def parse_question_documents(value: Mapping[str, Any], specs: Mapping[str, ToolSpec]) -> list[dict[str, JsonValue]]:
    """Return the calls that a reply lists under `need`. Raises `LossyError`."""
    return [
        {"tool": each["tool"], "args": parse_arguments(each["args"], specs[each["tool"]])}
        for each in value.get("need") or ()
    ]


def parse_task_document(task: Mapping[str, Any], specs: Mapping[str, ToolSpec]) -> dict[str, JsonValue]:
    """Return one task of the plan document, without empty members. Raises `LossyError`."""
    filled = {key: part for key, part in task.items() if part not in (None, "", [])}
    return filled | {"args": parse_arguments(task["args"], specs[task["tool"]])}


def parse_arguments(args: Mapping[str, Any], spec: ToolSpec) -> dict[str, JsonValue]:
    """Return a tool's arguments as the plan document has them. Raises `LossyError`."""
    known = spec.args_schema.get("properties", {})
    return {name: _parse_value(value, known.get(name, {}), root=spec.args_schema) for name, value in args.items()}


def _parse_value(value: Any, part: JsonSchema, *, root: JsonSchema) -> JsonValue:  # noqa: ANN401 - a JSON value
    if isinstance(value, dict):
        if value.keys() == {"template", "values"} and isinstance(value["values"], list):
            return {"template": value["template"], "values": _parse_pairs(value["values"], {}, root=root)}
        if value.keys() == {"output_of", "path"} or value.keys() == {"item"}:
            return value
        if value.keys() == {"json"}:
            return _parse_json_text(value["json"])
    options = _expand_branches(part, root)
    if isinstance(value, list):
        lists = [option for option in options if option.get("type") == "array"]
        maps = [option for option in options if option.get("type") == "object"]
        if maps and not lists:
            extra = maps[0].get("additionalProperties")
            return _parse_pairs(value, extra if isinstance(extra, dict) else {}, root=root)
        items = lists[0].get("items") if lists else None
        return [_parse_value(each, items if isinstance(items, dict) else {}, root=root) for each in value]
    if isinstance(value, dict):
        fields: JsonSchema = {}
        for option in options:
            fields |= option.get("properties", {})
        return {name: _parse_value(inner, fields.get(name, {}), root=root) for name, inner in value.items()}
    return value  # type: ignore[no-any-return]


def _expand_branches(part: JsonSchema, root: JsonSchema, *, depth: int = 8) -> list[JsonSchema]:
    """Return the branches of a schema, each with a single `type` where it has one."""
    if depth == 0:
        return []
    if "$ref" in part:
        target = find_reference_target(str(part["$ref"]), root) or {}
        return _expand_branches(target, root, depth=depth - 1)
    for word in ("anyOf", "oneOf"):
        if word in part:
            return [each for option in part[word] for each in _expand_branches(option, root, depth=depth - 1)]
    kinds = part.get("type")
    return [part | {"type": kind} for kind in kinds] if isinstance(kinds, list) else [part]


def _parse_pairs(pairs: list[Any], part: JsonSchema, *, root: JsonSchema) -> dict[str, JsonValue]:
    parsed: dict[str, JsonValue] = {}
    for pair in pairs:
        if not isinstance(pair, dict) or pair.keys() != {"name", "value"}:
            raise LossyError(f"{pair!r} is no pair; write a map as a list of objects with 'name' and 'value'.")
        if pair["name"] in parsed:
            raise LossyError(f"The name {pair['name']!r} occurs twice in one map; give it once.")
        parsed[pair["name"]] = _parse_value(pair["value"], part, root=root)
    return parsed


def _parse_json_text(text: str) -> JsonValue:
    try:
        return json.loads(text)  # type: ignore[no-any-return]
    except ValueError as error:
        raise LossyError(f"The text under 'json' is not JSON ({error}); write it again: {text[:80]!r}.") from error
