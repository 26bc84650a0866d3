"""A script of tool calls read as a plan: each call is a task, each name a reference to its output."""

import ast
import io
import re
import tokenize
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from pydantic import JsonValue

from agent.core.plan.document import renamed
from agent.core.plan.json_schema import misfit, properties
from agent.core.plan.problems import shown
from agent.core.plan.tool_spec import JsonSchema, ToolSpec
from agent.planning.small_model.script_grammar import operators, split

_FENCED: Final = re.compile(r"```[a-zA-Z]*\s*\n(.*?)(?:```|\Z)", re.DOTALL)
_NAMES: Final = 20


class Unreadable(Exception):  # noqa: N818 - what a model wrote is told back to it; nothing is wrong with the program
    """A script that is no plan; the message is a sentence that the model can be told."""


def read_script(
    text: str,
    specs: Mapping[str, ToolSpec],
    *,
    known: Mapping[str, JsonSchema | None],
    taken: Collection[str] = (),
) -> list[dict[str, Any]]:
    """Return the tasks of a script as documents. Nothing of it is run.

    `known` are finished tasks that it may name, with the schemas of their outputs; no new task has an id that is
    `taken`. Calls inside of calls become tasks of their own; `print(name)` says nothing. Raises `Unreadable`.
    """
    reading = Reading(specs, known, taken)
    for statement, told in statements(text):
        reading.take(statement, told=told)
    if not reading.tasks:
        raise Unreadable("The script calls no tool; give a line `name = tool(arguments)` for each step.")
    return reading.tasks


def statements(text: str) -> list[tuple[ast.stmt, str]]:
    """Return the statements of a program, fenced or not, each with the comment above it. Raises `Unreadable`."""
    fenced = _FENCED.search(text)
    source = (fenced[1] if fenced else text).strip() + "\n"
    try:
        comments = _comments(source)
        return [(each, comments.get(each.lineno - 1, "")) for each in ast.parse(source).body]
    except (SyntaxError, ValueError, RecursionError, MemoryError, tokenize.TokenError) as error:
        line = f" in line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        raise Unreadable(f"The script cannot be read{line}; each line must be `name = tool(arguments)`.") from error


def _comments(source: str) -> dict[int, str]:
    """Return the comments that have a line to themselves, by its number from 1."""
    return {
        token.start[0]: token.string.lstrip("# ").strip()
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT and not token.line[: token.start[1]].strip()
    }


class Reading:
    """What is known at a place of the script."""

    def __init__(
        self, specs: Mapping[str, ToolSpec], known: Mapping[str, JsonSchema | None], taken: Collection[str]
    ) -> None:
        self.tasks: list[dict[str, Any]] = []
        self._taken = {*known, *taken}
        self._specs = specs
        self._operators = {operator.node: spec for operator, spec in operators(specs).items()}
        self._outputs: dict[str, JsonSchema | None] = dict(known)
        #: What each name stands for: a reference, or a value.
        self._names: dict[str, JsonValue] = {task: _reference(task) for task in known}
        self._told = ""

    def take(self, statement: ast.stmt, *, told: str) -> None:
        """Read one line."""
        self._told = told
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call() as call):
                self._names[name] = self._call(call, name=name)
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.BinOp() as value):
                self._names[name] = self._worked_out(value, name=name)
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                self._names[name] = self._value(value)
            case ast.Expr(value=ast.Call(func=ast.Name(id="print"), args=args)) if "print" not in self._specs:
                for each in args:
                    if any(isinstance(part, ast.Call) for part in ast.walk(each)):
                        self._value(each)
            case ast.Expr(value=ast.Call() as call):
                self._call(call, name=None)
            case _:
                raise Unreadable(f"{written(statement)} is no call; each line must be `name = tool(arguments)`.")

    def _call(self, call: ast.Call, *, name: str | None) -> JsonValue:
        tool = call.func.id if isinstance(call.func, ast.Name) else ""
        spec = self._specs.get(tool)
        if spec is None:
            raise Unreadable(f"There is no tool {written(call.func)}; the tools are {_listed(self._specs)}.")
        return self._done(spec, self._values(_arguments(call, spec)), name=name)

    def _values(self, given: Iterable[tuple[str, ast.expr]]) -> dict[str, JsonValue]:
        # What stands inside is done before, and the comment belongs to the whole line.
        told, self._told = self._told, ""
        values = {key: self._value(value) for key, value in given}
        self._told = told
        return values

    def _done(self, spec: ToolSpec, values: Mapping[str, JsonValue], *, name: str | None) -> JsonValue:
        told, self._told = self._told, ""
        parts = spec.args_schema.get("properties", {})
        args = {key: self._fitting(value, parts.get(key, {}), spec) for key, value in values.items()}
        task = name or spec.name
        task = renamed(task, self._taken) if task in self._taken else task
        self._taken.add(task)
        description = told or task.replace("_", " ")
        self.tasks.append({"id": task, "description": description, "tool": spec.name, "args": args})
        self._outputs[task] = spec.output_schema
        return _reference(task)

    def _value(self, node: ast.expr) -> JsonValue:
        match node:
            case ast.Constant(value=str() | int() | float() | None as value):
                return value
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
                return -value
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return [self._value(item) for item in items]
            case ast.Dict(keys=keys, values=values):
                return {_key(key): self._value(value) for key, value in zip(keys, values, strict=True)}
            case ast.JoinedStr(values=parts):
                return self._template(parts)
            case ast.Call():
                return self._call(node, name=None)
            case _:
                return self._named(node)

    def _named(self, node: ast.expr) -> JsonValue:
        match node:
            case ast.Name(id=name):
                if name not in self._names:
                    raise Unreadable(f"The name {name!r} stands for nothing yet; there are {_listed(self._names)}.")
                return self._names[name]
            case ast.Subscript(value=of, slice=ast.Constant(value=str() | int() as step)):
                return _part(self._value(of), step, node)
            case ast.Attribute(value=of, attr=step):
                return _part(self._value(of), step, node)
            case ast.BinOp():
                return self._worked_out(node, name=None)
            case _:
                raise Unreadable(f"{written(node)} cannot stand in a script; give a value, a name or a call.")

    def _worked_out(self, node: ast.BinOp, *, name: str | None) -> JsonValue:
        spec = self._operators.get(type(node.op))
        if spec is None:
            raise Unreadable(f"{written(node)} is worked out by an operator; call a tool for it.")
        given = zip(spec.args_schema["properties"], (node.left, node.right), strict=True)
        return self._done(spec, self._values(given), name=name)

    def _template(self, parts: Iterable[ast.expr]) -> JsonValue:
        text, values = "", dict[str, JsonValue]()
        for part in parts:
            match part:
                case ast.Constant(value=str() as words):
                    text += words.replace("{", "{{").replace("}", "}}")
                case ast.FormattedValue(value=inner):
                    name = f"v{len(values) + 1}"
                    values[name] = self._value(inner)
                    text += f"{{{name}}}"
        return {"template": text, "values": values}

    def _fitting(self, value: JsonValue, wanted: JsonSchema, spec: ToolSpec) -> JsonValue:
        """Return `value`; of a whole output that does not fit the argument, its only field that does."""
        match value:
            case {"output_of": str() as task, "path": []} if (given := self._outputs.get(task)) is not None:
                roots = (given, spec.args_schema)
                if misfit(given, wanted, roots=roots) is None:
                    return value
                fields = [name for name, part in properties(given) if misfit(part, wanted, roots=roots) is None]
                return {"output_of": task, "path": [fields[0]]} if len(fields) == 1 else value
            case _:
                return value


def _arguments(call: ast.Call, spec: ToolSpec) -> list[tuple[str, ast.expr]]:
    required, optional = split(spec)
    names = [name for name, _ in (*required, *optional)]
    if len(call.args) > len(names):
        raise Unreadable(f"{written(call)} gives {len(call.args)} arguments; {spec.name!r} takes {_listed(names)}.")
    given = [*zip(names, call.args, strict=False), *((word.arg or "**", word.value) for word in call.keywords)]
    twice = [name for place, (name, _) in enumerate(given) if name in dict(given[:place])]
    if twice:
        raise Unreadable(f"{written(call)} gives {twice[0]!r} twice.")
    # A name that the tool does not have is for the compiler, which knows what was meant.
    return given


def _part(value: JsonValue, step: str | int, node: ast.expr) -> JsonValue:
    match value:
        case {"output_of": str() as task, "path": list() as path}:
            return {"output_of": task, "path": [*path, step]}
        case dict() if isinstance(step, str) and step in value:
            return value[step]
        case list() if isinstance(step, int) and -len(value) <= step < len(value):
            return value[step]
        case _:
            raise Unreadable(f"{written(node)} is no part of {shown(value)}.")


def _key(key: ast.expr | None) -> str:
    if isinstance(key, ast.Constant) and isinstance(key.value, str):
        return key.value
    raise Unreadable("The keys of an object must be texts in quotes.")


def _reference(task: str) -> JsonValue:
    return {"output_of": task, "path": []}


def written(node: ast.AST) -> str:
    """Return a piece of a script as a message shows it."""
    return f"`{shown(ast.unparse(node))[1:-1]}`"


def _listed(names: Iterable[str]) -> str:
    found = list(names)
    more = [f"and {len(found) - _NAMES} more"] if len(found) > _NAMES else []
    return ", ".join([*map(repr, found[:_NAMES]), *more]) or "none"
