"""Reads arithmetic in plain Python as a plan: each operation is a task of the tool that does it."""

import ast
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeGuard

from pydantic import JsonValue

from agent.core.plan.json_schema import find_allowed_types
from agent.core.plan.references import find_producers
from agent.core.plan.tool_spec import JsonSchema, ToolSpec
from agent.planning.script_code.statements import ScriptError, parse_statements, quote_code
from agent.planning.small_model.script_grammar import find_operator_tools
from agent.planning.small_model.script_parser import ScriptReader

#: The operators that a calculator must have.
_BASIC_SIGNS: Final = frozenset("+-*/")
_NUMBER_TYPES: Final = frozenset({"integer", "number"})
#: The largest number that is computed while reading.
_MAX_NUMBER: Final = 1e15
#: The largest operand of a function that grows fast.
_MAX_GROWING_OPERAND: Final = 100
#: The largest exponent of a power that is multiplied out if no tool computes powers.
_MAX_EXPONENT: Final = 6
_HALF: Final = 0.5


class _Function(NamedTuple):
    """A Python function, and the names of tools that do the same."""

    compute: Callable[..., float]
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
_OPERATOR_FUNCTIONS: Final[Mapping[type[ast.operator], Callable[[float, float], float]]] = {
    ast.Add: lambda left, right: left + right,
    ast.Sub: lambda left, right: left - right,
    ast.Mult: lambda left, right: left * right,
    ast.Div: lambda left, right: left / right,
    ast.FloorDiv: lambda left, right: left // right,
    ast.Mod: lambda left, right: left % right,
    ast.Pow: pow,
}
_FAST_GROWING: Final = frozenset({pow, math.factorial, math.comb, math.perm})
MATH_CONSTANTS: Final = {"pi": math.pi, "e": math.e}


def is_calculator(specs: Mapping[str, ToolSpec]) -> bool:
    """Return whether these are the tools of a calculator: the four operations, and only reading tools on numbers."""
    signs = {operator.sign for operator in find_operator_tools(specs)}
    return signs >= _BASIC_SIGNS and all(spec.policy.read_only and _has_only_numbers(spec) for spec in specs.values())


def _has_only_numbers(spec: ToolSpec) -> bool:
    root = spec.args_schema
    return all(_is_number_node(part, root) for part in root.get("properties", {}).values())


def _is_number_node(part: JsonSchema, root: JsonSchema) -> bool:
    kinds = find_allowed_types(part, root)
    if kinds is None:
        return False
    if kinds == frozenset({"array"}):
        items = part.get("items")
        return isinstance(items, dict) and _is_number_node(items, root)
    return bool(kinds) and kinds <= _NUMBER_TYPES


def find_python_equivalents(specs: Mapping[str, ToolSpec]) -> frozenset[str]:
    """Return the names of the tools that need not be shown to a model, since Python has an operator or function."""
    operator_tools = {spec.name for spec in find_operator_tools(specs).values()}
    names = frozenset().union(*(function.names for function in _FUNCTIONS.values()))
    return frozenset(name for name in specs if name in operator_tools or name.lower() in names)


def is_python_function(name: str) -> bool:
    """Return whether this is a Python function that is known here."""
    return name in _FUNCTIONS


def find_tool_for(function: str, specs: Mapping[str, ToolSpec]) -> ToolSpec | None:
    """Return the tool that does the same as a Python function, if there is exactly one."""
    known = _FUNCTIONS.get(function)
    tools = [spec for name, spec in specs.items() if known and name.lower() in known.names]
    return tools[0] if len(tools) == 1 else None


def fold_constant(what: str | type[ast.operator], values: Sequence[float]) -> float | None:
    """Apply a Python function or operator to numbers; None if it is unknown, fails, or a number is too large."""
    compute: Callable[..., float] | None = None
    if isinstance(what, type):
        compute = _OPERATOR_FUNCTIONS.get(what)
    elif what in _FUNCTIONS:
        compute = _FUNCTIONS[what].compute
    limit = _MAX_GROWING_OPERAND if compute in _FAST_GROWING else _MAX_NUMBER
    if compute is None or any(abs(value) > limit for value in values):
        return None
    try:
        result = compute(*values)
    except (ArithmeticError, TypeError, ValueError):
        return None
    return result if isinstance(result, int | float) and abs(result) <= _MAX_NUMBER else None


def read_arithmetic(
    text: str,
    specs: Mapping[str, ToolSpec],
    *,
    known: Mapping[str, JsonSchema | None],
    taken: Collection[str] = (),
) -> list[dict[str, Any]]:
    """Return the tasks that a program's answer depends on, as documents. The program is not executed.

    The answer is `answer`, else what was printed or assigned last. `known` and `taken` are as for `read_script`.
    Raises `ScriptError`.
    """
    reader = _ArithmeticReader(specs, known, taken)
    for statement, comment in parse_statements(text):
        reader.read_statement(statement, comment=comment)
    needed = reader.find_dependencies(reader.find_answer())
    return [task for task in reader.tasks if task["id"] in needed]


class _ArithmeticReader(ScriptReader):
    """Also reads operators and functions that no tool implements, if other tools do or their operands are numbers."""

    def __init__(
        self, specs: Mapping[str, ToolSpec], known: Mapping[str, JsonSchema | None], taken: Collection[str]
    ) -> None:
        super().__init__(specs, known, taken)
        self._result: JsonValue = None

    def find_answer(self) -> JsonValue:
        """Return the reference to the program's answer. Raises `ScriptError` if it is not the output of a tool."""
        result = self._names.get("answer", self._result)
        if isinstance(result, dict) and "output_of" in result:
            return result
        raise ScriptError("The answer must be worked out from named quantities; put it into `answer` in the last line.")

    def find_dependencies(self, value: JsonValue) -> set[str]:
        """Return the ids of the tasks that `value` depends on."""
        needed = set[str]()
        left = list(find_producers(value))
        args = {task["id"]: task["args"] for task in self.tasks}
        while left:
            task = left.pop()
            if task not in needed:
                needed.add(task)
                left += find_producers(args.get(task, {}))
        return needed

    def read_statement(self, statement: ast.stmt, *, comment: str) -> None:
        self._comment = comment
        match statement:
            case ast.Import() | ast.ImportFrom():
                pass
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                self._result = self._names[name] = self._convert_assignment(value, name)
            case ast.AugAssign(target=ast.Name(id=name) as target, op=op, value=value):
                whole = ast.BinOp(ast.Name(target.id, ast.Load()), op, value)
                self._result = self._names[name] = self._convert_assignment(whole, name)
            case ast.Expr(value=ast.Call(func=ast.Name(id="print"), args=[*_, value])) if "print" not in self._specs:
                if not isinstance(value, ast.JoinedStr):
                    self._result = self._convert_value(value)
            case _:
                raise ScriptError(f"{quote_code(statement)} is not a step; each line must be `name = arithmetic`.")

    def _convert_assignment(self, node: ast.expr, name: str) -> JsonValue:
        match node:
            case ast.Call():
                return self._convert_call(node, name=name)
            case ast.BinOp():
                return self._convert_operation(node, name=name)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self._negate_value(self._convert_value(operand), node, name=name)
            case _:
                return self._convert_value(node)

    def _convert_value(self, node: ast.expr) -> JsonValue:
        match node:
            case ast.UnaryOp(op=ast.UAdd(), operand=operand):
                return self._convert_value(operand)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self._negate_value(self._convert_value(operand), node, name=None)
            case ast.Attribute(value=ast.Name(id="math"), attr=attr) if attr in MATH_CONSTANTS:
                return MATH_CONSTANTS[attr]
            case _:
                return super()._convert_value(node)

    def _negate_value(self, value: JsonValue, node: ast.expr, *, name: str | None) -> JsonValue:
        return -value if _is_number(value) else self._apply_operator(ast.Sub, 0, value, node, name=name)

    def _convert_operation(self, node: ast.BinOp, *, name: str | None) -> JsonValue:
        comment, self._comment = self._comment, ""
        left, right = self._convert_value(node.left), self._convert_value(node.right)
        self._comment = comment
        return self._apply_operator(type(node.op), left, right, node, name=name)

    def _apply_operator(
        self, kind: type[ast.operator], left: JsonValue, right: JsonValue, node: ast.expr, *, name: str | None
    ) -> JsonValue:
        """Apply the operator `kind` to two values: by its tool, by other tools, or directly if they are numbers."""
        spec = self._operators.get(kind)
        if spec is not None:
            return self._add_task(
                spec, dict(zip(spec.args_schema["properties"], (left, right), strict=True)), name=name
            )
        floors = find_tool_for("floor", self._specs) is not None
        match kind, right:
            case ast.Pow, float() if right == _HALF and find_tool_for("sqrt", self._specs):
                return self._apply_function("sqrt", [left], node, name=name)
            case ast.Pow, int() if 1 < right <= _MAX_EXPONENT:
                product = left
                for place in range(2, right + 1):
                    last = name if place == right else None
                    product = self._apply_operator(ast.Mult, product, left, node, name=last)
                return product
            case ast.FloorDiv, _ if floors:
                quotient = self._apply_operator(ast.Div, left, right, node, name=None)
                return self._apply_function("floor", [quotient], node, name=name)
            case ast.Mod, _ if floors:
                whole = self._apply_operator(ast.FloorDiv, left, right, node, name=None)
                covered = self._apply_operator(ast.Mult, right, whole, node, name=None)
                return self._apply_operator(ast.Sub, left, covered, node, name=name)
            case _ if _is_number(left) and _is_number(right):
                return _require_number(fold_constant(kind, (left, right)), node)
            case _:
                return _require_number(None, node)

    def _convert_call(self, call: ast.Call, *, name: str | None) -> JsonValue:
        function = _get_function_name(call.func)
        if (function in self._specs and isinstance(call.func, ast.Name)) or call.keywords:
            return super()._convert_call(call, name=name)
        match function, call.args:
            case (("round" | "float"), [value, *_]):
                # How many digits are shown is decided where they are shown.
                return self._convert_assignment(value, name) if name else self._convert_value(value)
            case "sum", [ast.List(elts=[first, *rest]) | ast.Tuple(elts=[first, *rest])]:
                total = self._convert_value(first)
                for place, each in enumerate(rest, start=1):
                    last = name if place == len(rest) else None
                    total = self._apply_operator(ast.Add, total, self._convert_value(each), call, name=last)
                return total
            case _ if is_python_function(function):
                comment, self._comment = self._comment, ""
                values = self._unpack_arguments(call.args)
                self._comment = comment
                return self._apply_function(function, values, call, name=name)
            case _:
                return super()._convert_call(call, name=name)

    def _unpack_arguments(self, args: list[ast.expr]) -> list[JsonValue]:
        """Return the values of the arguments; a single list is unpacked."""
        match args:
            case [ast.List(elts=items) | ast.Tuple(elts=items)]:
                return [self._convert_value(item) for item in items]
            case _:
                return [self._convert_value(item) for item in args]

    def _apply_function(self, function: str, values: list[JsonValue], node: ast.expr, *, name: str | None) -> JsonValue:
        """Apply a Python function to values: by the tool for it, or directly if they are numbers."""
        tool = find_tool_for(function, self._specs)
        names = list(tool.args_schema["properties"]) if tool else []
        if tool and len(names) == len(values):
            return self._add_task(tool, dict(zip(names, values, strict=True)), name=name)
        if tool and len(names) == 1:
            return self._add_task(tool, {names[0]: values}, name=name)
        numbers = [value for value in values if _is_number(value)]
        return _require_number(fold_constant(function, numbers) if len(numbers) == len(values) else None, node)


def _get_function_name(func: ast.expr) -> str:
    match func:
        case ast.Name(id=name) | ast.Attribute(value=ast.Name(id="math"), attr=name):
            return name
        case _:
            return ""


def _is_number(value: JsonValue) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _require_number(value: float | None, node: ast.expr) -> float:
    if value is None:
        raise ScriptError(f"No tool works out {quote_code(node)}; write it with + - * / only.")
    return value
