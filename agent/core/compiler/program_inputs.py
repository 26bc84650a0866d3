"""Inputs of a plan: a plan that declares named values is a program, which runs with other values each time.

`{"input": name, "path": [...]}` may stand anywhere in `args`, `for_each` and `rollback`, and a condition reads
`inputs.name`. A program is checked twice: with the schemas of its inputs, as if a task named `inputs` gave them, which
finds a name, a path or a type that cannot fit without values; then with the values in their places, which is the plan
that runs. So fingerprints, approvals and the ledger count the values, and nothing downstream knows inputs.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError
from pydantic import JsonValue

from agent.core.compiler.argument_check import did_you_mean, find_value_errors
from agent.core.plan.document import INPUTS, INPUTS_TOOL, Call, Plan, Task
from agent.core.plan.problems import Problem, collect_problems, format_path, format_value
from agent.core.plan.references import (
    JsonPath,
    UnresolvedReference,
    follow_path,
    is_input_reference,
    parse_reference,
)
from agent.core.plan.tool_spec import JsonSchema, Policy, ToolSpec

#: Strings of CEL, then the identifier where it is no member of something else.
_CONDITION_INPUTS = re.compile(
    r"""(?P<text>[rR]?(?:'''.*?'''|\"\"\".*?\"\"\"|'(?:\\.|[^'\\])*'|"(?:\\.|[^"\\])*"))|(?<![\w.])(?P<inputs>inputs)\b""",
    re.DOTALL,
)
_CONDITION_MEMBER = re.compile(r"""\s*(?:\.\s*([A-Za-z_]\w*)|\[\s*(?:'([^'\\]*)'|"([^"\\]*)")\s*\])""")


class DeclaredInputs(NamedTuple):
    """The inputs of a plan as one schema of an object, and the plan that is checked without values."""

    schema: JsonSchema
    #: With a task `inputs` in front, which calls a tool of that name, and references to its output for those to inputs.
    abstract: Plan
    #: The tool of that task.
    spec: ToolSpec


def get_inputs_schema(declared: Mapping[str, Any]) -> JsonSchema:
    """Return the schema of the object of all inputs.

    `declared` is such a schema, or a schema for each name; then an input without a default is required.
    """
    properties = declared.get("properties")
    if isinstance(properties, Mapping):
        return {"type": "object", "additionalProperties": False, **declared}
    required = [name for name, schema in declared.items() if not (isinstance(schema, Mapping) and "default" in schema)]
    return {"type": "object", "properties": {**declared}, "required": required, "additionalProperties": False}


def declare_inputs(plan: Plan) -> DeclaredInputs | tuple[Problem, ...]:
    """Return what `plan` declares, or why it cannot be read."""
    schema = get_inputs_schema(plan.inputs or {})
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        at = format_path(("inputs", *error.absolute_path))
        return (_make_problem(at, f"it is no JSON Schema: {error.message[:200]}.", "Write a JSON Schema."),)
    if any(task.id == INPUTS for task in plan.tasks):
        what = "a plan with inputs has a task 'inputs', and conditions could mean either."
        return (_make_problem(f"task {INPUTS!r}", what, "Give the task another id.", task=INPUTS),)
    source = Task(id=INPUTS, tool=INPUTS_TOOL)
    tasks = tuple(_map_task(task, _refer_to_source) for task in plan.tasks)
    spec = ToolSpec(
        name=INPUTS_TOOL, args_schema={"type": "object"}, output_schema=schema, policy=Policy(read_only=True)
    )
    return DeclaredInputs(schema, plan.model_copy(update={"tasks": (source, *tasks), "inputs": None}), spec)


def build_undeclared_inputs_problem(values: Mapping[str, JsonValue]) -> Problem:
    """Return the problem of values that come with a plan without inputs."""
    what = f"values are given for {', '.join(map(repr, values))}, and the plan declares no inputs."
    return _make_problem("inputs", what, "Declare them in the plan's 'inputs', or give none.")


def reword_problem(problem: Problem) -> Problem:
    """Return a problem of the check without values in the words of the plan."""
    text = {
        name: getattr(problem, name)
        .replace("the output of 'inputs'", "the object of the inputs")
        .replace("a task 'inputs'", "the inputs")
        for name in ("what", "remedy")
    }
    return problem.model_copy(update=text)


def bind_input_values(plan: Plan, schema: JsonSchema) -> Plan | tuple[Problem, ...]:
    """Return `plan` with its `input_values` in their places, defaults included, or why they do not fit.

    Binding a bound plan again changes nothing.
    """
    values = fill_defaults(schema, plan.input_values or {})
    if invalid := collect_problems(_check_values(schema, values)):
        return invalid
    problems: list[Problem] = []
    tasks: list[Task] = []
    for task in plan.tasks:
        try:
            bound = _map_task(task, lambda name, path: follow_path(values, (name, *path), of="the inputs"))
            condition = task.condition and _bind_condition(task.condition, values)
            tasks.append(bound.model_copy(update={"condition": condition}))
        except UnresolvedReference as error:
            problems.append(_make_problem(f"task {task.id!r}", str(error), "Give another value.", task=task.id))
    return tuple(problems) or plan.model_copy(update={"tasks": tuple(tasks), "input_values": values})


def fill_defaults(schema: JsonSchema, given: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Return the values of the inputs: those given, else their defaults; null for an optional one without a default."""
    required = schema.get("required", ())
    defaults = {
        name: each.get("default") if isinstance(each, Mapping) else None
        for name, each in schema["properties"].items()
        if name not in required or (isinstance(each, Mapping) and "default" in each)
    }
    return {**defaults, **given}


def _check_values(schema: JsonSchema, values: Mapping[str, JsonValue]) -> Iterator[Problem]:
    properties: Mapping[str, Any] = schema["properties"]
    required = schema.get("required", ())
    for name in required:
        if name not in values:
            yield _make_problem("inputs", f"the input {name!r} is missing.", f"Give a value for {name!r}.")
    if schema.get("additionalProperties") is False:
        for name in values.keys() - properties.keys():
            remedy = did_you_mean(name, properties) or f"The inputs are {', '.join(map(repr, properties))}."
            yield _make_problem(f"inputs.{name}", f"the plan has no input {name!r}.", remedy)
    # What was said above is not said again, and null for an optional input stands for none.
    left = {
        name: value for name, value in values.items() if name in properties and (name in required or value is not None)
    }
    rest = {word: part for word, part in schema.items() if word != "required"}
    for error in find_value_errors(rest, left):
        yield _make_problem("inputs", f"the values do not fit: {error}.", "Give other values.")
    for name, value in left.items():
        if any(map(_is_reference, _walk(value))):
            what = f"{format_value(value)} has the form of a reference, and would be taken for one."
            yield _make_problem(f"inputs.{name}", what, "Give plain values.")


def _walk(value: JsonValue) -> Iterator[JsonValue]:
    yield value
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        yield from _walk(inner)


def _is_reference(value: JsonValue) -> bool:
    return parse_reference(value) is not None or is_input_reference(value)


def _refer_to_source(name: str, path: JsonPath) -> JsonValue:
    return {"output_of": INPUTS, "path": [name, *path]}


def _map_task(task: Task, replace: Any) -> Task:  # noqa: ANN401 - a function of name and path
    """Return `task` with each reference to an input replaced by `replace(name, path)`."""
    changes: dict[str, object] = {"args": _map_args(task.args, replace)}
    if task.for_each is not None:
        changes["for_each"] = _map_value(task.for_each, replace)
    if task.rollback is not None:
        changes["rollback"] = Call(tool=task.rollback.tool, args=_map_args(task.rollback.args, replace))
    return task.model_copy(update=changes)


def _map_args(args: Mapping[str, JsonValue], replace: Any) -> dict[str, JsonValue]:  # noqa: ANN401 - see above
    # The object of all arguments is no reference itself: a tool may have an argument named `input`.
    return {name: _map_value(value, replace) for name, value in args.items()}


def _map_value(value: JsonValue, replace: Any) -> JsonValue:  # noqa: ANN401 - see above
    if isinstance(value, dict):
        if is_input_reference(value):
            path: JsonPath = tuple(value.get("path", ()))  # type: ignore[arg-type] # `is_input_reference` has looked
            return replace(value["input"], path)  # type: ignore[no-any-return]
        return {key: _map_value(inner, replace) for key, inner in value.items()}
    if isinstance(value, list):
        return [_map_value(inner, replace) for inner in value]
    return value


def _bind_condition(expression: str, values: Mapping[str, JsonValue]) -> str:
    """Return a condition with a map of the values that it uses in place of `inputs`."""

    def bind(match: re.Match[str]) -> str:
        if match["text"] is not None:
            return match["text"]
        member = _CONDITION_MEMBER.match(expression, match.end())
        name = next(filter(None, member.groups()), None) if member else None
        used = values if name is None else {name: values[name]} if name in values else {}
        return json.dumps(used, ensure_ascii=False)

    return _CONDITION_INPUTS.sub(bind, expression)


def _make_problem(place: str, what: str, remedy: str, *, task: str | None = None) -> Problem:
    return Problem(kind="bad_input", place=place, what=what, remedy=remedy, task=task)
