"""Reads a script of tool calls as a plan: each call is a task, each name a reference to its output."""

import ast
import io
import re
import tokenize
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from pydantic import JsonValue

from agent.core.plan.document import make_free_id
from agent.core.plan.json_schema import find_mismatch, iterate_properties
from agent.core.plan.problems import format_value
from agent.core.plan.tool_spec import JsonSchema, ToolSpec
from agent.planning.small_model.script_grammar import find_operator_tools, split_arguments

_FENCED_BLOCK: Final = re.compile(r"```[a-zA-Z]*\s*\n(.*?)(?:```|\Z)", re.DOTALL)
_MAX_NAMES: Final = 20


class ScriptError(Exception):
    """A script that cannot be read as a plan; the message is a sentence for the model."""


def read_script(
    text: str,
    specs: Mapping[str, ToolSpec],
    *,
    known: Mapping[str, JsonSchema | None],
    taken: Collection[str] = (),
) -> list[dict[str, Any]]:
    """Return the tasks of a script as documents. The script is not executed.

    `known` are finished tasks that it may name, with the schemas of their outputs; no new task gets an id that is
    `taken`. Calls inside calls become tasks of their own; `print(name)` is ignored. Raises `ScriptError`.
    """
    reader = ScriptReader(specs, known, taken)
    for statement, comment in parse_statements(text):
        reader.read_statement(statement, comment=comment)
    if not reader.tasks:
        raise ScriptError("The script calls no tool; give a line `name = tool(arguments)` for each step.")
    return reader.tasks


def parse_statements(text: str) -> list[tuple[ast.stmt, str]]:
    """Return the statements of a program, fenced or not, each with the comment above it. Raises `ScriptError`."""
    fenced = _FENCED_BLOCK.search(text)
    source = (fenced[1] if fenced else text).strip() + "\n"
    try:
        comments = _collect_comments(source)
        return [(each, comments.get(each.lineno - 1, "")) for each in ast.parse(source).body]
    except (SyntaxError, ValueError, RecursionError, MemoryError, tokenize.TokenError) as error:
        line = f" in line {error.lineno}" if isinstance(error, SyntaxError) and error.lineno else ""
        raise ScriptError(f"The script cannot be read{line}; each line must be `name = tool(arguments)`.") from error


def _collect_comments(source: str) -> dict[int, str]:
    """Return the comments that have a line to themselves, by its number, counted from 1."""
    return {
        token.start[0]: token.string.lstrip("# ").strip()
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT and not token.line[: token.start[1]].strip()
    }


class ScriptReader:
    """Reads statements one after the other and collects their tasks; knows the names and outputs so far."""

    def __init__(
        self, specs: Mapping[str, ToolSpec], known: Mapping[str, JsonSchema | None], taken: Collection[str]
    ) -> None:
        self.tasks: list[dict[str, Any]] = []
        self._taken = {*known, *taken}
        self._specs = specs
        self._operators = {operator.node: spec for operator, spec in find_operator_tools(specs).items()}
        self._outputs: dict[str, JsonSchema | None] = dict(known)
        #: What each name stands for: a reference, or a value.
        self._names: dict[str, JsonValue] = {task: _make_reference(task) for task in known}
        self._comment = ""

    def read_statement(self, statement: ast.stmt, *, comment: str) -> None:
        """Read one statement; `comment` becomes the description of its task."""
        self._comment = comment
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call() as call):
                self._names[name] = self._convert_call(call, name=name)
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.BinOp() as value) if not _list_joined_texts(value):
                self._names[name] = self._convert_operation(value, name=name)
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                self._names[name] = self._convert_value(value)
            case ast.Expr(value=ast.Call(func=ast.Name(id="print"), args=args)) if "print" not in self._specs:
                for each in args:
                    if any(isinstance(part, ast.Call) for part in ast.walk(each)):
                        self._convert_value(each)
            case ast.Expr(value=ast.Call() as call):
                self._convert_call(call, name=None)
            case _:
                raise ScriptError(f"{quote_code(statement)} is not a call; each line must be `name = tool(arguments)`.")

    def _convert_call(self, call: ast.Call, *, name: str | None) -> JsonValue:
        tool = call.func.id if isinstance(call.func, ast.Name) else ""
        spec = self._specs.get(tool)
        if spec is None:
            raise ScriptError(f"There is no tool {quote_code(call.func)}; the tools are {_join_names(self._specs)}.")
        return self._add_task(spec, self._convert_arguments(_match_arguments(call, spec)), name=name)

    def _convert_arguments(self, given: Iterable[tuple[str, ast.expr]]) -> dict[str, JsonValue]:
        # The comment is for the task of the whole line, not for those of the calls inside it, which are added first.
        comment, self._comment = self._comment, ""
        values = {key: self._convert_value(value) for key, value in given}
        self._comment = comment
        return values

    def _add_task(self, spec: ToolSpec, values: Mapping[str, JsonValue], *, name: str | None) -> JsonValue:
        comment, self._comment = self._comment, ""
        parts = spec.args_schema.get("properties", {})
        args = {key: self._select_fitting_field(value, parts.get(key, {}), spec) for key, value in values.items()}
        task = name or spec.name
        task = make_free_id(task, self._taken) if task in self._taken else task
        self._taken.add(task)
        description = comment or task.replace("_", " ")
        self.tasks.append({"id": task, "description": description, "tool": spec.name, "args": args})
        self._outputs[task] = spec.output_schema
        return _make_reference(task)

    def _convert_value(self, node: ast.expr) -> JsonValue:
        match node:
            case ast.Constant(value=str() | int() | float() | None as value):
                return value
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
                return -value
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return [self._convert_value(item) for item in items]
            case ast.Dict(keys=keys, values=values):
                return {_read_key(key): self._convert_value(value) for key, value in zip(keys, values, strict=True)}
            case ast.JoinedStr(values=parts):
                return self._convert_template(parts)
            case ast.BinOp(op=ast.Add()) if (joined := _list_joined_texts(node)) is not None:
                return self._convert_template(joined)
            case ast.Call(func=ast.Name(id="str"), args=[value], keywords=[]) if "str" not in self._specs:
                return self._convert_template([ast.FormattedValue(value=value, conversion=-1)])
            case ast.Call():
                return self._convert_call(node, name=None)
            case _:
                return self._resolve_reference(node)

    def _resolve_reference(self, node: ast.expr) -> JsonValue:
        match node:
            case ast.Name(id=name):
                if name not in self._names:
                    raise ScriptError(f"The name {name!r} is not defined yet; there are {_join_names(self._names)}.")
                return self._names[name]
            case ast.Subscript(value=of, slice=ast.Constant(value=str() | int() as step)):
                return _select_part(self._convert_value(of), step, node)
            case ast.Attribute(value=of, attr=step):
                return _select_part(self._convert_value(of), step, node)
            case ast.BinOp():
                return self._convert_operation(node, name=None)
            case _:
                raise ScriptError(f"{quote_code(node)} cannot be used in a script; give a value, a name or a call.")

    def _convert_operation(self, node: ast.BinOp, *, name: str | None) -> JsonValue:
        spec = self._operators.get(type(node.op))
        if spec is None:
            raise ScriptError(f"{quote_code(node)} is worked out by an operator; call a tool for it.")
        given = zip(spec.args_schema["properties"], (node.left, node.right), strict=True)
        return self._add_task(spec, self._convert_arguments(given), name=name)

    def _convert_template(self, parts: Iterable[ast.expr]) -> JsonValue:
        text, values = "", dict[str, JsonValue]()
        for part in parts:
            match part:
                case ast.Constant(value=str() as words):
                    text += words.replace("{", "{{").replace("}", "}}")
                case ast.FormattedValue(value=inner):
                    name = f"v{len(values) + 1}"
                    values[name] = self._convert_value(inner)
                    text += f"{{{name}}}"
        return {"template": text, "values": values}

    def _select_fitting_field(self, value: JsonValue, wanted: JsonSchema, spec: ToolSpec) -> JsonValue:
        """Return `value`; if it is a whole output that does not fit the argument, the only field of it that does."""
        match value:
            case {"output_of": str() as task, "path": []} if (given := self._outputs.get(task)) is not None:
                roots = (given, spec.args_schema)
                if find_mismatch(given, wanted, roots=roots) is None:
                    return value
                fields = [
                    name for name, part in iterate_properties(given) if find_mismatch(part, wanted, roots=roots) is None
                ]
                return {"output_of": task, "path": [fields[0]]} if len(fields) == 1 else value
            case _:
                return value


def _list_joined_texts(node: ast.expr) -> list[ast.expr] | None:
    """Return what `+` joins if one of it is a text, as the parts of an f-string; None if it adds up numbers."""
    parts: list[ast.expr] = []
    while isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        parts.insert(0, node.right)
        node = node.left
    parts.insert(0, node)
    if not any(isinstance(part, ast.JoinedStr) or _is_text(part) for part in parts):
        return None
    flat: list[ast.expr] = []
    for part in parts:
        if isinstance(part, ast.JoinedStr):
            flat += part.values
        else:
            flat.append(part if _is_text(part) else ast.FormattedValue(value=part, conversion=-1))
    return flat


def _is_text(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _match_arguments(call: ast.Call, spec: ToolSpec) -> list[tuple[str, ast.expr]]:
    required, optional = split_arguments(spec)
    names = [name for name, _ in (*required, *optional)]
    if len(call.args) > len(names):
        raise ScriptError(
            f"{quote_code(call)} gives {len(call.args)} arguments; {spec.name!r} takes {_join_names(names)}."
        )
    given = [*zip(names, call.args, strict=False), *((word.arg or "**", word.value) for word in call.keywords)]
    twice = [name for place, (name, _) in enumerate(given) if name in dict(given[:place])]
    if twice:
        raise ScriptError(f"{quote_code(call)} gives {twice[0]!r} twice.")
    # A name that the tool does not have is reported by the compiler, which can suggest the right one.
    return given


def _select_part(value: JsonValue, step: str | int, node: ast.expr) -> JsonValue:
    match value:
        case {"output_of": str() as task, "path": list() as path}:
            return {"output_of": task, "path": [*path, step]}
        case dict() if isinstance(step, str) and step in value:
            return value[step]
        case list() if isinstance(step, int) and -len(value) <= step < len(value):
            return value[step]
        case _:
            raise ScriptError(f"{quote_code(node)} is not a part of {format_value(value)}.")


def _read_key(key: ast.expr | None) -> str:
    if isinstance(key, ast.Constant) and isinstance(key.value, str):
        return key.value
    raise ScriptError("The keys of an object must be texts in quotes.")


def _make_reference(task: str) -> JsonValue:
    return {"output_of": task, "path": []}


def quote_code(node: ast.AST) -> str:
    """Return a piece of a script as it is quoted in messages."""
    return f"`{format_value(ast.unparse(node))[1:-1]}`"


def _join_names(names: Iterable[str]) -> str:
    listed = list(names)
    more = [f"and {len(listed) - _MAX_NAMES} more"] if len(listed) > _MAX_NAMES else []
    return ", ".join([*map(repr, listed[:_MAX_NAMES]), *more]) or "none"
