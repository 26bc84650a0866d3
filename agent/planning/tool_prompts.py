"""How tools are described to a model."""

from collections.abc import Iterable, Iterator, Mapping

from agent.core.plan.json_schema import (
    branches,
    dereference_schema,
    describe_types,
    find_allowed_types,
    iterate_properties,
)
from agent.core.plan.tool_spec import JsonSchema, ToolSpec

_MAX_DEPTH = 3


def select_plannable_tools(specs: Mapping[str, ToolSpec]) -> dict[str, ToolSpec]:
    """Return the tools that a planner may use.

    These are all but context providers, which have been called already, and those that agents bring along.
    """
    own = {name: spec for name, spec in specs.items() if not spec.policy.worker_only}
    plannable = {name: spec for name, spec in own.items() if not spec.policy.context_provider}
    return plannable or own


def describe_tools(specs: Iterable[ToolSpec]) -> str:
    """Return each tool's purpose, effect, arguments and output, as lines."""
    return "\n".join(line for spec in specs for line in _describe_tool(spec))


def summarize_tools(specs: Iterable[ToolSpec]) -> str:
    """Return each tool's purpose, a line each."""
    return "\n".join(f"- {spec.name}: {' '.join(spec.description.split())}" for spec in specs)


def describe_arguments(spec: ToolSpec, names: Iterable[str]) -> str:
    """Return the descriptions of those arguments in `names` that have one, as lines."""
    described = {name: part.get("description", "") for name, part in iterate_properties(spec.args_schema)}
    return "\n".join(f"- {name}: {described[name]}" for name in names if described.get(name))


def _describe_tool(spec: ToolSpec) -> Iterator[str]:
    effect = "reads only" if spec.policy.read_only else "writes: a person is asked first"
    yield f"- {spec.name} ({effect}): {' '.join(spec.description.split())}"
    required = spec.args_schema.get("required", ())
    for name, part in iterate_properties(spec.args_schema):
        optional = "" if name in required else ", optional"
        description = f": {part['description']}" if part.get("description") else ""
        yield f"    {name} ({describe_shape(part, spec.args_schema)}{optional}){description}"
    if spec.output_schema is not None:
        yield f"    gives {describe_shape(spec.output_schema, spec.output_schema)}"


def describe_shape(schema: JsonSchema, root: JsonSchema, *, depth: int = _MAX_DEPTH) -> str:
    """Return the values that a schema allows, in words: "a list of {name: a text, total: a number}"."""
    options = [option for option in branches(schema, root) if option.get("type") != "null"]
    if len(options) != 1:
        kinds = find_allowed_types(schema, root)
        return describe_types(kinds) if kinds else "any value"
    option = dereference_schema(options[0], root)
    if "enum" in option:
        return " | ".join(map(repr, option["enum"]))
    kinds = find_allowed_types(option, root)
    if kinds is None:
        return "any value"
    kinds = kinds - {"null"} or kinds
    if kinds == {"array"} and isinstance(option.get("items"), dict) and depth:
        return f"a list of {describe_shape(option['items'], root, depth=depth - 1)}"
    fields = dict(iterate_properties(option))
    if kinds == {"object"} and fields and depth:
        inside = ", ".join(f"{name}: {describe_shape(part, root, depth=depth - 1)}" for name, part in fields.items())
        return f"{{{inside}}}"
    return describe_types(kinds)
