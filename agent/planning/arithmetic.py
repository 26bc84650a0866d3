"""What plain Python reckons with, and which tools do the same."""

import ast
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Final, NamedTuple

from agent.core.schema import types
from agent.core.tool import JsonSchema, ToolSpec
from agent.planning.operators import operators

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
    return all(_is_number(part, root) for part in root.get("properties", {}).values())


def _is_number(part: JsonSchema, root: JsonSchema) -> bool:
    kinds = types(part, root)
    if kinds is None:
        return False
    if kinds == frozenset({"array"}):
        items = part.get("items")
        return isinstance(items, dict) and _is_number(items, root)
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
