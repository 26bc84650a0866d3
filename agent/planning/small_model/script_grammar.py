"""What a model may write in a script of tool calls, as a grammar that its server holds it to.

In GBNF, the notation of llama.cpp (its `grammars/README.md`): calls of the tools there are, each with its own
arguments, and no operator, loop or other function.
"""

import ast
import json
from collections.abc import Mapping
from typing import Final, NamedTuple

from agent.core.plan.json_schema import find_allowed_types, iterate_properties
from agent.core.plan.tool_spec import JsonSchema, ToolSpec


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


def find_operator_tools(specs: Mapping[str, ToolSpec]) -> dict[Operator, ToolSpec]:
    """Return the operators that one of the tools does: it goes by such a name and takes two numbers and no more."""
    found = {}
    for operator in _OPERATORS:
        tools = [
            spec for name, spec in specs.items() if _strip_suffixes(name) in operator.names and _has_two_numbers(spec)
        ]
        if len(tools) == 1:
            found[operator] = tools[0]
    return found


def _strip_suffixes(name: str) -> str:
    return name.lower().removesuffix("_numbers").removesuffix("_two")


def _has_two_numbers(spec: ToolSpec) -> bool:
    root = spec.args_schema
    listed = root.get("properties", {})
    kinds = [find_allowed_types(part, root) for part in listed.values()]
    return len(kinds) == 2 and all(kind is not None and "number" in kind for kind in kinds)


_MAX_LINES: Final = 16
_COMMON_RULES: Final = r"""
root ::= line{1,%d} "print(" name ")"
line ::= ("# " [^\n]{1,160} "\n")? name " = " (amount | text | list) "\n"
name ::= [a-z] [a-z0-9_]{0,39}
part ::= name ("[" ([0-9]{1,4} | text) "]"){0,4}
use ::= part | call
atom ::= use | number%s
amount ::= atom%s
number ::= "-"? [0-9]{1,15} ("." [0-9]{1,9})?
truth ::= "True" | "False"
text ::= "\"" ([^"\\\n\x00-\x1f] | "\\" ["\\nt]){0,2000} "\""
list ::= "[" (any (", " any){0,40})? "]"
object ::= "{" (text ": " any (", " text ": " any){0,40})? "}"
any ::= amount | truth | text | list | object | "None"
"""
_RULE_BY_TYPE: Final = {
    "string": "text",
    "number": "amount",
    "integer": "amount",
    "boolean": "truth",
    "array": "list",
    "object": "object",
    "null": '"None"',
}


def build_script_grammar(specs: Mapping[str, ToolSpec]) -> str:
    """Return the grammar of scripts over these tools: required arguments by position, others by name behind them.

    Operators are those that one of the tools does.

    A script ends by printing a name: a small model that may go on behind it does.
    """
    calls = [(f"call-{number}", spec) for number, spec in enumerate(specs.values())]
    signs = " | ".join(_quote_literal(f" {each.sign} ") for each in find_operator_tools(specs))
    brackets, further = (' | "(" amount ")"', f" (({signs}) atom){{0,7}}") if signs else ("", "")
    rules = [f"call ::= {' | '.join(rule for rule, _ in calls)}"]
    rules += [f"{rule} ::= {_build_call_rule(spec)}" for rule, spec in calls]
    return _COMMON_RULES.strip() % (_MAX_LINES, brackets, further) + "\n" + "\n".join(rules) + "\n"


def _build_call_rule(spec: ToolSpec) -> str:
    root = spec.args_schema
    required, optional = split_arguments(spec)
    parts = [_build_argument_rule(part, root) for _, part in required]
    named = [f"{_quote_literal(f'{name}=')} {_build_argument_rule(part, root)}" for name, part in optional]
    fixed = ' ", " '.join(parts)
    if not parts and named:
        # Any of them may be the first, which has no comma before it.
        choices = [
            f"{first} {' '.join(_make_optional(rest) for rest in named[place + 1 :])}"
            for place, first in enumerate(named)
        ]
        fixed, named = f"({' | '.join(choices)})?", []
    return f'{_quote_literal(spec.name + "(")} {fixed} {" ".join(map(_make_optional, named))} ")"'


def split_arguments(spec: ToolSpec) -> tuple[list[tuple[str, JsonSchema]], list[tuple[str, JsonSchema]]]:
    """Return the required and the other arguments of a tool, by name with their schemas."""
    wanted = spec.args_schema.get("required", ())
    listed = list(iterate_properties(spec.args_schema))
    return [one for one in listed if one[0] in wanted], [one for one in listed if one[0] not in wanted]


def _make_optional(argument: str) -> str:
    return f'(", " {argument})?'


def _build_argument_rule(schema: JsonSchema, root: JsonSchema) -> str:
    kinds = find_allowed_types(schema, root)
    if kinds is None:
        return "any"
    rules = dict.fromkeys(_RULE_BY_TYPE[kind] for kind in sorted(kinds))
    return f"({' | '.join(rules if 'amount' in rules else ['use', *rules])})"


def _quote_literal(text: str) -> str:
    return json.dumps(text)
