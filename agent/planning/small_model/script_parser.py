"""Reads a script of tool calls as a plan: each call is a task, each name a reference to its output."""

import ast
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Final, NamedTuple

from pydantic import JsonValue

from agent.core.plan.document import make_free_id
from agent.core.plan.json_schema import NoSuchPath, find_mismatch, get_subschema, iterate_properties
from agent.core.plan.problems import format_value
from agent.core.plan.references import ItemReference, OutputReference, parse_reference
from agent.core.plan.tool_spec import JsonSchema, ToolSpec
from agent.planning.field_choice import choose_field, list_fields
from agent.planning.script_code.condition_writing import ConditionWriter, negate_condition
from agent.planning.script_code.loops import ScriptLoop, refer_to_all_items
from agent.planning.script_code.statements import ScriptError, parse_statements, quote_code
from agent.planning.script_code.text_building import fill_places, split_text
from agent.planning.small_model.script_grammar import find_operator_tools, split_arguments

_MAX_NAMES: Final = 20


def read_script(
    text: str,
    specs: Mapping[str, ToolSpec],
    *,
    known: Mapping[str, JsonSchema | None],
    taken: Collection[str] = (),
) -> list[dict[str, Any]]:
    """Return the tasks of a script as documents. The script is not executed.

    `known` are finished tasks that it may name, with the schemas of their outputs; no new task gets an id that is
    `taken`. Calls inside calls become tasks of their own, `for` becomes `for_each`, `if` a condition, and a text that
    is put together a template; `print(name)` is ignored. Raises `ScriptError`.
    """
    reader = ScriptReader(specs, known, taken)
    for statement, comment in parse_statements(text):
        reader.read_step(statement, comment=comment)
    if not reader.tasks:
        raise ScriptError("The script calls no tool; give a line `name = tool(arguments)` for each step.")
    return reader.tasks


class _Choice(NamedTuple):
    """What a name stands for where a condition is met, and where it is not."""

    condition: str
    met: JsonValue
    unmet: JsonValue


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
        self._conditions: list[str] = []
        self._loop: ScriptLoop | None = None
        #: Names that an `if` and its `else` give different values: the condition and both values.
        self._choices: dict[str, _Choice] = {}

    def read_step(self, statement: ast.stmt, *, comment: str) -> None:
        """Read one statement with what is inside it; `comment` becomes the description of its first task."""
        match statement:
            case ast.Pass() | ast.Expr(value=ast.Constant()):
                pass
            case ast.If(test=test, body=body, orelse=orelse):
                self._comment = comment
                self._read_branches(test, body, orelse)
            case ast.For(target=ast.Name(id=variable), iter=source, body=body, orelse=[]):
                self._comment = comment
                self._read_loop(variable, source, body)
            case _:
                self._read_for_each_choice(statement, comment)

    def _read_for_each_choice(self, statement: ast.stmt, comment: str) -> None:
        """Read a statement; one that uses what an `if` decided twice, under the condition and under its opposite."""
        used = {node.id for node in ast.walk(statement) if isinstance(node, ast.Name)} & self._choices.keys()
        if not used or _is_print(statement, self._specs):
            self.read_statement(statement, comment=comment)
            return
        choices = {name: self._choices[name] for name in used}
        conditions = {choice.condition for choice in choices.values()}
        if len(conditions) > 1:
            raise ScriptError(
                f"{quote_code(statement)} depends on several conditions; write the calls inside each `if`."
            )
        [condition] = conditions
        for is_met in (True, False):
            self._names.update({name: each.met if is_met else each.unmet for name, each in choices.items()})
            self._conditions.append(condition if is_met else negate_condition(condition))
            self.read_statement(statement, comment=comment)
            self._conditions.pop()

    def _read_branches(self, test: ast.expr, body: Sequence[ast.stmt], orelse: Sequence[ast.stmt]) -> None:
        if self._loop is not None and self._uses_item(test):
            if orelse or not self._is_implied(test):
                raise ScriptError(f"`if` cannot choose among the items of a loop by {quote_code(test)}; drop the `if`.")
            for each in body:
                self.read_step(each, comment=self._take_comment())
            return
        condition = ConditionWriter(self._convert_value, self._describe).convert(test)
        before = dict(self._names)
        self._read_under(condition, body)
        met, self._names = self._names, dict(before)
        self._read_under(negate_condition(condition), orelse)
        for name in met.keys() | self._names.keys():
            one, other = met.get(name), self._names.get(name)
            if name in met and name in self._names and one != other:
                self._choices[name] = _Choice(condition, one, other)
            self._names.setdefault(name, one)

    def _read_under(self, condition: str, body: Sequence[ast.stmt]) -> None:
        self._conditions.append(condition)
        for each in body:
            self.read_step(each, comment=self._take_comment())
        self._conditions.pop()

    def _read_loop(self, variable: str, source: ast.expr, body: Sequence[ast.stmt]) -> None:
        if self._loop is not None:
            raise ScriptError("A loop stands inside a loop; write one after the other.")
        self._loop = ScriptLoop(variable, self._find_items(source))
        hidden = self._names.pop(variable, None)
        self._names[variable] = {"item": []}
        for each in body:
            self.read_step(each, comment=self._take_comment())
        self._end_loop(self._loop, hidden)

    def _find_items(self, source: ast.expr) -> JsonValue:
        items = self._convert_value(source)
        if isinstance(items, list) or isinstance(parse_reference(items), OutputReference):
            return self._select_list(items)
        raise ScriptError(f"{quote_code(source)} is no list; loop over an output or a list of values.")

    def _end_loop(self, loop: ScriptLoop, hidden: JsonValue) -> None:
        self._loop = None
        self._names.pop(loop.variable, None)
        if hidden is not None:
            self._names[loop.variable] = hidden
        # What was put together for an item stands for all of them from here on.
        self._names = {name: refer_to_all_items(value, loop.items) for name, value in self._names.items()}
        for task in loop.tasks:
            self._outputs[task] = {"type": "array", "items": self._outputs[task] or {}}

    def _uses_item(self, node: ast.expr) -> bool:
        names = {part.id for part in ast.walk(node) if isinstance(part, ast.Name)}
        return self._loop is not None and bool(names & {self._loop.variable, *self._loop.tasks})

    def _is_implied(self, test: ast.expr) -> bool:
        """Whether the list of the loop was asked for by the very value that its items are tested for."""
        items = parse_reference(self._loop.items) if self._loop else None
        match test, items:
            case ast.Compare(ops=[ast.Eq()], comparators=[ast.Constant(value=value)]), OutputReference(task):
                args: Mapping[str, JsonValue] = next((each["args"] for each in self.tasks if each["id"] == task), {})
                return any(str(given).lower() == str(value).lower() for given in args.values())
            case _:
                return False

    def _take_comment(self) -> str:
        comment, self._comment = self._comment, ""
        return comment

    def read_statement(self, statement: ast.stmt, *, comment: str) -> None:
        """Read one line; `comment` becomes the description of its task."""
        self._comment = comment
        match statement:
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                self._choices.pop(name, None)
                self._names[name] = self._convert_assigned(value, name)
            case ast.AugAssign(target=ast.Name(id=name) as target, op=ast.Add() as op, value=value):
                whole = ast.BinOp(ast.Name(target.id, ast.Load()), op, value)
                self._names[name] = self._convert_assigned(whole, name)
            case ast.Expr(value=ast.Call(func=ast.Name(id="print"), args=args)) if "print" not in self._specs:
                for each in args:
                    if any(isinstance(part, ast.Call) and self._is_tool(part) for part in ast.walk(each)):
                        self._convert_value(each)
            case ast.Expr(value=ast.Call(func=ast.Attribute(value=ast.Name(id=name), attr="append"), args=[item])):
                if not isinstance(gathered := self._names.get(name), list):
                    raise ScriptError(f"{quote_code(statement)} adds to what is no list.")
                added = self._convert_value(item)
                # Of a loop the list of the outputs is what is gathered.
                self._names[name] = added if self._loop is not None and not gathered else [*gathered, added]
            case ast.Expr(value=ast.Call() as call):
                self._convert_call(call, name=None)
            case ast.Expr(value=ast.ListComp() as value):
                self._convert_value(value)
            case _:
                raise ScriptError(f"{quote_code(statement)} is not a call; each line must be `name = tool(arguments)`.")

    def _convert_assigned(self, node: ast.expr, name: str) -> JsonValue:
        match node:
            case ast.Call() if self._is_tool(node) or self._split_text(node) is None:
                return self._convert_call(node, name=name)
            case ast.BinOp() if self._split_text(node) is None:
                return self._convert_operation(node, name=name)
            case _:
                return self._convert_value(node)

    def _is_tool(self, call: ast.Call) -> bool:
        return isinstance(call.func, ast.Name) and call.func.id in self._specs

    def _split_text(self, node: ast.expr) -> list[ast.expr] | None:
        if isinstance(node, ast.Call) and self._is_tool(node):
            return None
        return split_text(node, self._is_text)

    def _is_text(self, name: str) -> bool:
        value = self._names.get(name)
        if isinstance(value, str) or (isinstance(value, dict) and "template" in value):
            return True
        return isinstance(value, dict) and self._describe(value).get("type") == "string"

    def _describe(self, value: JsonValue) -> JsonSchema:
        """Return the schema of what a reference stands for, with what its own references need; `{}` if unknown."""
        match parse_reference(value):
            case OutputReference(task, path):
                root = self._outputs.get(task) or {}
            case ItemReference(path) if self._loop is not None:
                root = self._describe(self._loop.items)
                path = (0, *path)
            case _:
                return {}
        try:
            found = get_subschema(root, path, root=root)
        except NoSuchPath:
            return {}
        return {**found, "$defs": root["$defs"]} if "$defs" in root else found

    def _select_list(self, items: JsonValue) -> JsonValue:
        """Return `items`; if it is a whole object with a single list in it, that list."""
        schema = self._describe(items)
        lists = [
            name
            for name, part in iterate_properties(schema)
            if find_mismatch(part, {"type": "array"}, roots=(schema, {})) is None and part
        ]
        match items:
            case {"output_of": str() as task, "path": []} if len(lists) == 1:
                return {"output_of": task, "path": [lists[0]]}
            case _:
                return items

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
        args = {key: self._select_fitting_field(value, key, parts.get(key, {}), spec) for key, value in values.items()}
        task = name or spec.name
        task = make_free_id(task, self._taken) if task in self._taken else task
        self._taken.add(task)
        description = comment or task.replace("_", " ")
        document: dict[str, Any] = {"id": task, "description": description, "tool": spec.name, "args": args}
        if self._loop is not None:
            document["for_each"], document["args"] = self._loop.spread(args)
            self._loop.tasks.add(task)
        if self._conditions:
            document["condition"] = self._conditions[0]
            if len(self._conditions) > 1:
                document["condition"] = " && ".join(f"({each})" for each in self._conditions)
        self.tasks.append(document)
        self._outputs[task] = spec.output_schema
        return _make_reference(task)

    def _convert_value(self, node: ast.expr) -> JsonValue:
        match node:
            case ast.Constant(value=str() as text):
                places = fill_places(text, self._is_output)
                return text if places is None else self._convert_template(places)
            case ast.Constant(value=int() | float() | None as value):
                return value
            case ast.UnaryOp(op=ast.USub(), operand=ast.Constant(value=int() | float() as value)):
                return -value
            case ast.List(elts=items) | ast.Tuple(elts=items):
                return [self._convert_value(item) for item in items]
            case ast.Dict(keys=keys, values=values):
                return {_read_key(key): self._convert_value(value) for key, value in zip(keys, values, strict=True)}
            case ast.ListComp(generators=[of]) | ast.GeneratorExp(generators=[of]):
                return self._convert_comprehension(node.elt, of)
            case ast.Name():
                return self._resolve_reference(node)
            case _ if (parts := self._split_text(node)) is not None:
                return self._convert_template(parts)
            case ast.Call():
                return self._convert_call(node, name=None)
            case _:
                return self._resolve_reference(node)

    def _convert_comprehension(self, item: ast.expr, of: ast.comprehension) -> JsonValue:
        match of:
            case ast.comprehension(target=ast.Name(id=variable), iter=source) if self._loop is None:
                self._loop = ScriptLoop(variable, self._find_items(source))
                hidden = self._names.pop(variable, None)
                self._names[variable] = {"item": []}
                if not all(map(self._is_implied, of.ifs)):
                    raise ScriptError(f"`if` cannot choose among {quote_code(source)}; drop the `if`.")
                value, loop = self._convert_value(item), self._loop
                self._end_loop(loop, hidden)
                return refer_to_all_items(value, loop.items)
            case _:
                raise ScriptError(f"{quote_code(item)} is in a loop inside a loop; write one after the other.")

    def _is_output(self, name: str) -> bool:
        return isinstance(parse_reference(self._names.get(name)), OutputReference | ItemReference)

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
        return {"template": text, "values": values} if values else text.format()

    def _select_fitting_field(self, value: JsonValue, name: str, wanted: JsonSchema, spec: ToolSpec) -> JsonValue:
        """Return `value`; if it is a whole output that does not fit the argument, the only field of it that does."""
        match value:
            case {"item": []} if (given := self._describe(value)).get("type") == "object":
                roots = (given, spec.args_schema)
                if find_mismatch(given, wanted, roots=roots) is None:
                    return value
                field = choose_field(name, wanted, list_fields(given, given, description=""), roots=roots)
                return {"item": [field]} if field else value
            case {"output_of": str() as task, "path": []} if (output := self._outputs.get(task)) is not None:
                roots = (output, spec.args_schema)
                if find_mismatch(output, wanted, roots=roots) is None:
                    return value
                fields = dict(iterate_properties(output))
                fitting = [each for each, part in fields.items() if find_mismatch(part, wanted, roots=roots) is None]
                only = fitting[0] if len(fitting) == 1 else choose_field(name, wanted, fields, roots=roots)
                return {"output_of": task, "path": [only]} if only else value
            case _:
                return value


def _is_print(statement: ast.stmt, specs: Mapping[str, ToolSpec]) -> bool:
    match statement:
        case ast.Expr(value=ast.Call(func=ast.Name(id="print"))):
            return "print" not in specs
        case _:
            return False


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
        case {"item": list() as path}:
            return {"item": [*path, step]}
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


def _join_names(names: Iterable[str]) -> str:
    listed = list(names)
    more = [f"and {len(listed) - _MAX_NAMES} more"] if len(listed) > _MAX_NAMES else []
    return ", ".join([*map(repr, listed[:_MAX_NAMES]), *more]) or "none"
