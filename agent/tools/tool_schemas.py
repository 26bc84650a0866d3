"""The JSON Schemas of a tool: of its arguments as a call names them, and of its output as far as it is declared."""

from collections.abc import Collection
from inspect import get_annotations
from types import NoneType, UnionType
from typing import Annotated, Any, Final, NamedTuple, Union, get_args, get_origin

from jsonschema.exceptions import SchemaError
from langchain_core.tools import BaseTool, Tool
from pydantic import AliasChoices, AliasPath, BaseModel, TypeAdapter
from pydantic.v1 import BaseModel as BaseModelV1

from agent.core.plan.tool_spec import JsonSchema
from agent.errors import ToolError
from agent.json_values import find_type_without_json_form
from agent.tools.function_signatures import find_function, find_hints
from agent.tools.injected_arguments import find_injections
from agent.tools.schema_dialects import modernize_schema

#: What LangChain calls the only argument of its plain `Tool`, unless a schema names it.
_SINGLE_INPUT: Final = "tool_input"
#: Types that hold an output, or may be any, by name: `agent` imports no LangGraph.
_OPEN_TYPES: Final = frozenset(
    {
        *("ToolMessage", "BaseMessage", "ToolOutputMixin", "Command", "BaseModel", "CallToolResult"),
        *("object", "Any", "NoReturn", "Never"),
    }
)


class ToolSchemas(NamedTuple):
    """What a tool takes and gives."""

    args: JsonSchema
    output: JsonSchema | None
    #: The function's own names of the arguments.
    parameters: frozenset[str]
    #: What of the schemas cannot be checked, one sentence each.
    notes: tuple[str, ...] = ()


def build_schemas(tool: BaseTool, declared_output: object) -> ToolSchemas:
    """Return the schemas of `tool`; `declared_output` is a JSON Schema, a type, or None: as its function is annotated.

    Raises `ToolError` for what is no schema.
    """
    _check_return_type(tool)
    args, parameters = _build_args_schema(tool)
    args, notes = _modernize(tool.name, "args_schema", args)
    args.setdefault("type", "object")
    args.setdefault("properties", {})
    if declared_output is None:
        return ToolSchemas(args, _infer_output_schema(tool), parameters, notes)
    schema = declared_output if isinstance(declared_output, dict) else _build_type_schema(declared_output)
    if schema is None:
        kind = type(declared_output).__name__
        raise ToolError(f"Tool {tool.name!r}: output_schema is {kind}; give a JSON Schema object.")
    output, output_notes = _modernize(tool.name, "output_schema", schema)
    return ToolSchemas(args, output, parameters, (*notes, *output_notes))


def _modernize(name: str, role: str, schema: JsonSchema) -> tuple[JsonSchema, tuple[str, ...]]:
    try:
        modern, left_out = modernize_schema(schema)
    except SchemaError as error:
        raise ToolError(f"Tool {name!r}: {role} is not a JSON Schema: {error.message}.") from error
    return modern, tuple(f"Tool {name!r}, {role}: {each}" for each in left_out)


def _build_args_schema(tool: BaseTool) -> tuple[JsonSchema, frozenset[str]]:
    """Return the schema of the arguments by the names that a call uses, and their names in the function."""
    if isinstance(tool, Tool) and tool.args_schema is None:
        properties = {_SINGLE_INPUT: {"type": "string"}}
        single = {"type": "object", "properties": properties, "required": [_SINGLE_INPUT]}
        return single, frozenset(properties)
    offered = tool.tool_call_schema
    if isinstance(offered, dict):
        return dict(offered), frozenset(offered.get("properties") or ())
    # A copy, because LangChain returns a schema that it keeps.
    schema = dict(offered.model_json_schema() if issubclass(offered, BaseModel) else offered.schema())
    parameters = frozenset(schema.get("properties", {}))
    full = tool.get_input_schema()
    if issubclass(full, BaseModel) and any(
        each.validation_alias is not None and each.alias is None for each in full.model_fields.values()
    ):
        # LangChain does not see such a field; the model itself has it under its alias.
        injected = find_injections(tool).keys()
        names = {field: _choose_name(tool, full, field) for field in full.model_fields}
        hidden = {names[field] for field in injected & names.keys()}
        return _drop_properties(full.model_json_schema(), hidden), frozenset(names.keys() - injected)
    names = {field: _choose_name(tool, full, field) for field in parameters}
    if any(field != name for field, name in names.items()):
        schema["properties"] = {names[field]: part for field, part in schema["properties"].items()}
        schema["required"] = [names[field] for field in schema.get("required", ())]
    if issubclass(full, BaseModel) and full.model_config.get("extra") == "allow":
        hints = {name: hint for each in reversed(full.__mro__) for name, hint in get_annotations(each).items()}
        extra = get_args(hints.get("__pydantic_extra__"))
        schema["additionalProperties"] = (_build_type_schema(extra[1]) if len(extra) == 2 else None) or {}
    return schema, parameters


def _drop_properties(schema: JsonSchema, hidden: Collection[str]) -> JsonSchema:
    listed = {name: part for name, part in schema.get("properties", {}).items() if name not in hidden}
    return {
        **schema,
        "properties": listed,
        "required": [name for name in schema.get("required", ()) if name not in hidden],
    }


def _choose_name(tool: BaseTool, model: type[BaseModel | BaseModelV1], field: str) -> str:
    """Return the name by which a call gives the value of a field of the arguments' model. Raises `ToolError`."""
    if not issubclass(model, BaseModel):
        return str(model.__fields__[field].alias) if field in model.__fields__ else field
    if field not in model.model_fields:
        return field
    alias = model.model_fields[field].validation_alias
    choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
    for choice in choices:
        if isinstance(choice, str):
            return choice
        if isinstance(choice, AliasPath) and len(choice.path) == 1:
            return str(choice.path[0])
    if any(isinstance(choice, AliasPath) for choice in choices) and not model.model_config.get("populate_by_name"):
        raise ToolError(
            f"Tool {tool.name!r} takes {field!r} from within another argument, by an AliasPath alone, which no call "
            "can name; give it an alias of its own."
        )
    return field


def _check_return_type(tool: BaseTool) -> None:
    """Raise `ToolError` if the tool returns what cannot be stored, which a call would show when it has been made."""
    kind = find_type_without_json_form(_get_output_type(tool))
    if kind is not None:
        raise ToolError(
            f"Tool {tool.name!r} returns {kind}, which has no JSON form and cannot be stored; return texts, numbers, "
            "lists, objects, models or dataclasses instead."
        )


def _get_output_type(tool: BaseTool) -> object:
    """Return the annotation of what a call gives: of a pair of content and artifact, the artifact."""
    annotation = find_hints(find_function(tool)).get("return", Any)
    if tool.response_format == "content_and_artifact":
        pair = get_args(annotation) if get_origin(annotation) is tuple else ()
        # Without an artifact the content is the output.
        return pair[1] if len(pair) == 2 and NoneType not in get_args(pair[1]) else Any
    return annotation


def _infer_output_schema(tool: BaseTool) -> JsonSchema | None:
    """Return the schema of the return annotation; None if it says nothing, or not how its values look in JSON."""
    return _build_type_schema(_get_output_type(tool))


def _build_type_schema(annotation: object) -> JsonSchema | None:
    """Return the JSON Schema of a type's values as outputs; None for what is no type, or may be anything."""
    if annotation is None or isinstance(annotation, str | bool | int | float | list | tuple) or _is_open(annotation):
        return None
    try:
        kind: Any = annotation
        schema = TypeAdapter(kind).json_schema(mode="serialization")
    except Exception:  # noqa: BLE001 - a type's own code runs here; without a schema its values are checked when they come
        return None
    return schema if schema.keys() - {"title", "description"} else None


def _is_open(annotation: object) -> bool:
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _is_open(inner[0])
    if origin in {Union, UnionType}:
        return any(_is_open(each) for each in inner if each is not NoneType)
    kind = origin or annotation
    if isinstance(kind, type):
        names = {each.__name__ for each in kind.__mro__}
        return kind.__name__ in _OPEN_TYPES or bool(names & {"BaseMessage", "ToolOutputMixin", "Command"})
    return annotation is Any or getattr(annotation, "__name__", "") in _OPEN_TYPES
