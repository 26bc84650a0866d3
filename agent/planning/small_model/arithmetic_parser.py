"""Arithmetic in plain Python read as a plan: each step of it is a task of the tool that does it."""

import ast
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeGuard

from pydantic import JsonValue

from agent.core.plan.json_schema import types
from agent.core.plan.references import producers
from agent.core.plan.tool_spec import JsonSchema, ToolSpec
from agent.planning.small_model.script_grammar import operators
from agent.planning.small_model.script_parser import Reading, Unreadable, statements, written

#: What arithmetic cannot be written without.
_NEEDED: Final = frozenset("+-*/")
_NUMBERS: Final = frozenset({"integer", "number"})
#: Numbers that are worked out while reading stay below this.
_LARGEST: Final = 1e15
#: What grows fast is only worked out of numbers up to here.
_LARGEST_GROWN: Final = 100


class _Function(NamedTuple):
    """A function of Python's, and the names under which tools do the same."""

    work: Callable[..., float]
    names: frozenset[str]


_FUNCTIONS: Final[Mapping[str, _Function]] = {
    "abs": _Function(abs, frozenset({"abs", "absolute"})),
    "ceil": _Function(math.ceil, frozenset({"ceil", "ceiling"})),
    "comb": _Function(math.comb, frozenset({"comb", "choose", "combinations"})),
    "factorial": _Function(math.factorial, frozenset({"factorial"})),
    "floor": _Function(math.floor, frozenset({"floor"})),
    "gcd": _Function(math.gcd, frozenset({"gcd"})),
    "lcm": _Function(math.lcm, frozenset({"lcm"})),
    "max": _Function(max, frozenset({"max", "maximum", "max_number"})),
    "min": _Function(min, frozenset({"min", "minimum", "min_number"})),
    "perm": _Function(math.perm, frozenset({"perm", "permutation", "permutations"})),
    "pow": _Function(pow, frozenset({"pow", "power"})),
    "sqrt": _Function(math.sqrt, frozenset({"sqrt", "square_root"})),
}
_WORK: Final[Mapping[type[ast.operator], Callable[[float, float], float]]] = {
    ast.Add: lambda left, right: left + right,
    ast.Sub: lambda left, right: left - right,
    ast.Mult: lambda left, right: left * right,
    ast.Div: lambda left, right: left / right,
    ast.FloorDiv: lambda left, right: left // right,
    ast.Mod: lambda left, right: left % right,
    ast.Pow: pow,
}
_GROWS: Final = frozenset({pow, math.factorial, math.comb, math.perm})
CONSTANTS: Final = {"pi": math.pi, "e": math.e}


def reckons(specs: Mapping[str, ToolSpec]) -> bool:
    """Return whether these are the tools of a calculator: the four operations, and nothing that takes no numbers."""
    signs = {operator.sign for operator in operators(specs)}
    return signs >= _NEEDED and all(spec.policy.read_only and _takes_numbers(spec) for spec in specs.values())


def _takes_numbers(spec: ToolSpec) -> bool:
    root = spec.args_schema
    return all(_is_number_node(part, root) for part in root.get("properties", {}).values())


def _is_number_node(part: JsonSchema, root: JsonSchema) -> bool:
    kinds = types(part, root)
    if kinds is None:
        return False
    if kinds == frozenset({"array"}):
        items = part.get("items")
        return isinstance(items, dict) and _is_number_node(items, root)
    return bool(kinds) and kinds <= _NUMBERS


def known_to_python(specs: Mapping[str, ToolSpec]) -> frozenset[str]:
    """Return the names of the tools that a model need not be told of, since it writes what they do."""
    signs = {spec.name for spec in operators(specs).values()}
    names = frozenset().union(*(function.names for function in _FUNCTIONS.values()))
    return frozenset(name for name in specs if name in signs or name.lower() in names)


def is_function(name: str) -> bool:
    """Return whether Python has a function of this name that is known here."""
    return name in _FUNCTIONS


def tool_for(function: str, specs: Mapping[str, ToolSpec]) -> ToolSpec | None:
    """Return the one tool that does what a function of Python's does."""
    known = _FUNCTIONS.get(function)
    tools = [spec for name, spec in specs.items() if known and name.lower() in known.names]
    return tools[0] if len(tools) == 1 else None


def worked_out(what: str | type[ast.operator], values: Sequence[float]) -> float | None:
    """Return what a function or operator of Python's makes of numbers; None where it is no number to go on with."""
    work: Callable[..., float] | None = None
    if isinstance(what, type):
        work = _WORK.get(what)
    elif what in _FUNCTIONS:
        work = _FUNCTIONS[what].work
    limit = _LARGEST_GROWN if work in _GROWS else _LARGEST
    if work is None or any(abs(value) > limit for value in values):
        return None
    try:
        result = work(*values)
    except (ArithmeticError, TypeError, ValueError):
        return None
    return result if isinstance(result, int | float) and abs(result) <= _LARGEST else None


#: A power that no tool takes is multiplied out up to here.
_LARGEST_FACTORS: Final = 6
_HALF: Final = 0.5


def read_arithmetic(
    text: str,
    specs: Mapping[str, ToolSpec],
    *,
    known: Mapping[str, JsonSchema | None],
    taken: Collection[str] = (),
) -> list[dict[str, Any]]:
    """Return the tasks that the answer of a program rests on, as documents. Nothing of it is run.

    The answer is `answer`, else what is printed last or named last. `known` and `taken` are as for `read_script`.
    Raises `Unreadable`.
    """
    reading = _Arithmetic(specs, known, taken)
    for statement, told in statements(text):
        reading.take(statement, told=told)
    wanted = reading.needed_for(reading.answer())
    return [task for task in reading.tasks if task["id"] in wanted]


class _Arithmetic(Reading):
    """Takes operators and functions that no tool does for what they come to, where tools or numbers allow it."""

    def __init__(
        self, specs: Mapping[str, ToolSpec], known: Mapping[str, JsonSchema | None], taken: Collection[str]
    ) -> None:
        super().__init__(specs, known, taken)
        self._result: JsonValue = None

    def answer(self) -> JsonValue:
        """Return what the program comes to. Raises `Unreadable` where no tool has worked it out."""
        result = self._names.get("answer", self._result)
        if isinstance(result, dict) and "output_of" in result:
            return result
        raise Unreadable("The answer must be worked out from named quantities; put it into `answer` in the last line.")

    def needed_for(self, value: JsonValue) -> set[str]:
        """Return the ids of the tasks that `value` rests on."""
        found = set[str]()
        left = list(producers(value))
        args = {task["id"]: task["args"] for task in self.tasks}
        while left:
            task = left.pop()
            if task not in found:
                found.add(task)
                left += producers(args.get(task, {}))
        return found

    def take(self, statement: ast.stmt, *, told: str) -> None:
        self._told = told
        match statement:
            case ast.Import() | ast.ImportFrom():
                pass
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                self._result = self._names[name] = self._named_value(value, name)
            case ast.AugAssign(target=ast.Name(id=name) as target, op=op, value=value):
                whole = ast.BinOp(ast.Name(target.id, ast.Load()), op, value)
                self._result = self._names[name] = self._named_value(whole, name)
            case ast.Expr(value=ast.Call(func=ast.Name(id="print"), args=[*_, value])) if "print" not in self._specs:
                if not isinstance(value, ast.JoinedStr):
                    self._result = self._value(value)
            case _:
                raise Unreadable(f"{written(statement)} is no step; each line must be `name = arithmetic`.")

    def _named_value(self, node: ast.expr, name: str) -> JsonValue:
        match node:
            case ast.Call():
                return self._call(node, name=name)
            case ast.BinOp():
                return self._worked_out(node, name=name)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self._negative(self._value(operand), node, name=name)
            case _:
                return self._value(node)

    def _value(self, node: ast.expr) -> JsonValue:
        match node:
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return self._value(operand)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self._negative(self._value(operand), node, name=None)
            case ast.Attribute(value=ast.Name(id="math"), attr=attr) if attr in CONSTANTS:
                return CONSTANTS[attr]
            case _:
                return super()._value(node)

    def _negative(self, value: JsonValue, node: ast.expr, *, name: str | None) -> JsonValue:
        return -value if _is_number(value) else self._combined(ast.Sub, 0, value, node, name=name)

    def _worked_out(self, node: ast.BinOp, *, name: str | None) -> JsonValue:
        told, self._told = self._told, ""
        left, right = self._value(node.left), self._value(node.right)
        self._told = told
        return self._combined(type(node.op), left, right, node, name=name)

    def _combined(
        self, kind: type[ast.operator], left: JsonValue, right: JsonValue, node: ast.expr, *, name: str | None
    ) -> JsonValue:
        """Return what the operator `kind` makes of two values: by its tool, by other tools, or of numbers at once."""
        spec = self._operators.get(kind)
        if spec is not None:
            return self._done(spec, dict(zip(spec.args_schema["properties"], (left, right), strict=True)), name=name)
        floors = tool_for("floor", self._specs) is not None
        match kind, right:
            case ast.Pow, float() if right == _HALF and tool_for("sqrt", self._specs):
                return self._applied("sqrt", [left], node, name=name)
            case ast.Pow, int() if 1 < right <= _LARGEST_FACTORS:
                product = left
                for place in range(2, right + 1):
                    last = name if place == right else None
                    product = self._combined(ast.Mult, product, left, node, name=last)
                return product
            case ast.FloorDiv, _ if floors:
                quotient = self._combined(ast.Div, left, right, node, name=None)
                return self._applied("floor", [quotient], node, name=name)
            case ast.Mod, _ if floors:
                whole = self._combined(ast.FloorDiv, left, right, node, name=None)
                covered = self._combined(ast.Mult, right, whole, node, name=None)
                return self._combined(ast.Sub, left, covered, node, name=name)
            case _ if _is_number(left) and _is_number(right):
                return _known(worked_out(kind, (left, right)), node)
            case _:
                return _known(None, node)

    def _call(self, call: ast.Call, *, name: str | None) -> JsonValue:
        function = _function(call.func)
        if (function in self._specs and isinstance(call.func, ast.Name)) or call.keywords:
            return super()._call(call, name=name)
        match function, call.args:
            case (("round" | "float"), [value, *_]):
                # How many digits are shown is for who shows them.
                return self._named_value(value, name) if name else self._value(value)
            case "sum", [ast.List(elts=[first, *rest]) | ast.Tuple(elts=[first, *rest])]:
                total = self._value(first)
                for place, each in enumerate(rest, start=1):
                    last = name if place == len(rest) else None
                    total = self._combined(ast.Add, total, self._value(each), call, name=last)
                return total
            case _ if is_function(function):
                told, self._told = self._told, ""
                values = self._listed(call.args)
                self._told = told
                return self._applied(function, values, call, name=name)
            case _:
                return super()._call(call, name=name)

    def _listed(self, args: list[ast.expr]) -> list[JsonValue]:
        """Return arguments by value, those of one list as if they stood by themselves."""
        match args:
            case [ast.List(elts=items) | ast.Tuple(elts=items)]:
                return [self._value(item) for item in items]
            case _:
                return [self._value(item) for item in args]

    def _applied(self, function: str, values: list[JsonValue], node: ast.expr, *, name: str | None) -> JsonValue:
        """Return what a function of Python's makes of values: by the one tool for it, or of numbers at once."""
        tool = tool_for(function, self._specs)
        names = list(tool.args_schema["properties"]) if tool else []
        if tool and len(names) == len(values):
            return self._done(tool, dict(zip(names, values, strict=True)), name=name)
        if tool and len(names) == 1:
            return self._done(tool, {names[0]: values}, name=name)
        numbers = [value for value in values if _is_number(value)]
        return _known(worked_out(function, numbers) if len(numbers) == len(values) else None, node)


def _function(func: ast.expr) -> str:
    match func:
        case ast.Name(id=name) | ast.Attribute(value=ast.Name(id="math"), attr=name):
            return name
        case _:
            return ""


def _is_number(value: JsonValue) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _known(value: float | None, node: ast.expr) -> float:
    if value is None:
        raise Unreadable(f"No tool works out {written(node)}; write it with + - * / only.")
    return value
