"""Tools that Python has an operator for, such as those of a calculator: a script may write the operator instead."""

import ast
from collections.abc import Mapping
from typing import Final, NamedTuple

from agent.core.schema import types
from agent.core.tool import ToolSpec


class Operator(NamedTuple):
    """An operator: its node in Python's grammar, and the names under which tools do the same."""

    node: type[ast.operator]
    sign: str
    names: frozenset[str]


_OPERATORS: Final = (
    Operator(ast.Add, "+", frozenset({"add", "plus", "sum"})),
    Operator(ast.Sub, "-", frozenset({"sub", "subtract", "minus"})),
    Operator(ast.Mult, "*", frozenset({"mul", "multiply", "times"})),
    Operator(ast.Div, "/", frozenset({"div", "divide", "truediv"})),
    Operator(ast.Mod, "%", frozenset({"mod", "modulo", "remainder"})),
    Operator(ast.Pow, "**", frozenset({"pow", "power"})),
)


def operators(specs: Mapping[str, ToolSpec]) -> dict[Operator, ToolSpec]:
    """Return the operators that one of the tools does: it goes by such a name and takes two numbers and no more."""
    found = {}
    for operator in _OPERATORS:
        tools = [spec for name, spec in specs.items() if _plain(name) in operator.names and _takes_two_numbers(spec)]
        if len(tools) == 1:
            found[operator] = tools[0]
    return found


def _plain(name: str) -> str:
    return name.lower().removesuffix("_numbers").removesuffix("_two")


def _takes_two_numbers(spec: ToolSpec) -> bool:
    root = spec.args_schema
    listed = root.get("properties", {})
    kinds = [types(part, root) for part in listed.values()]
    return len(kinds) == 2 and all(kind is not None and "number" in kind for kind in kinds)
