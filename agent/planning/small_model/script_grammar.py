"""The grammar of scripts of tool calls, to which the model's server holds it.

It is written in GBNF, the notation of llama.cpp (its `grammars/README.md`), and allows only calls of the given tools,
each with its own arguments, the operators that one of the tools implements, texts with results in them, and `for` and
`if` around calls: no other functions.
"""

import ast
import json
from collections.abc import Mapping
from typing import Final, NamedTuple

from agent.core.plan.json_schema import find_allowed_types, iterate_properties
from agent.core.plan.tool_spec import JsonSchema, ToolSpec


class Operator(NamedTuple):
    """An operator: its node in Python's syntax tree, its sign, and the names of tools that do the same."""

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
_MAX_LINES: Final = 16
_COMMON_RULES: Final = r"""
root ::= line{1,%d} "print(" name ")"
line ::= note? (step | loop | branch)
note ::= "# " [^\n]{1,160} "\n"
step ::= (name " = " (amount | text | list) | call) "\n"
loop ::= "for " name " in " part ":\n" (("    " note)? "    " step){1,4}
branch ::= "if " test ":\n" inside{1,4} (note? "else:\n" inside{1,4})?
inside ::= ("    " note)? "    " (step | "for " name " in " part ":\n" ("        " step){1,4})
test ::= claim ((" and " | " or ") claim){0,2}
claim ::= "not " side | side (" " ("<" | "<=" | ">" | ">=" | "==" | "!=") " " side)?
side ::= part | "len(" part ")" | number | quoted | truth
name ::= [a-z] [a-z0-9_]{0,39}
part ::= name ("[" ([0-9]{1,4} | quoted) "]"){0,4}
use ::= part | call
atom ::= use | number%s
amount ::= atom%s
number ::= "-"? [0-9]{1,15} ("." [0-9]{1,9})?
truth ::= "True" | "False"
quoted ::= "\"" ([^"\\\n\x00-\x1f] | "\\" ["\\nt]){0,2000} "\""
filled ::= "f\"" ([^"\\\n\x00-\x1f{}] | "\\" ["\\nt] | "{" field "}")* "\""
field ::= name ("[" ([0-9]{1,4} | "'" [A-Za-z_] [A-Za-z0-9_]{0,39} "'") "]"){0,3}
text ::= quoted | filled
list ::= "[" (any (", " any){0,40})? "]"
object ::= "{" (quoted ": " any (", " quoted ": " any){0,40})? "}"
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


def find_operator_tools(specs: Mapping[str, ToolSpec]) -> dict[Operator, ToolSpec]:
    """Return the operators that exactly one tool implements: it has such a name and takes two numbers."""
    operators = {}
    for operator in _OPERATORS:
        tools = [
            spec for name, spec in specs.items() if _strip_suffixes(name) in operator.names and _has_two_numbers(spec)
        ]
        if len(tools) == 1:
            operators[operator] = tools[0]
    return operators


def _strip_suffixes(name: str) -> str:
    return name.lower().removesuffix("_numbers").removesuffix("_two")


def _has_two_numbers(spec: ToolSpec) -> bool:
    root = spec.args_schema
    listed = root.get("properties", {})
    kinds = [find_allowed_types(part, root) for part in listed.values()]
    return len(kinds) == 2 and all(kind is not None and "number" in kind for kind in kinds)


def build_script_grammar(specs: Mapping[str, ToolSpec]) -> str:
    """Return the grammar of scripts over these tools: required arguments by position, then the others by name.

    A script ends by printing a name, since a small model that may go on after that does so.
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
        # Any argument may come first, and the first has no comma before it.
        choices = [
            f"{first} {' '.join(_make_optional(rest) for rest in named[place + 1 :])}"
            for place, first in enumerate(named)
        ]
        fixed, named = f"({' | '.join(choices)})?", []
    return f'{_quote_literal(spec.name + "(")} {fixed} {" ".join(map(_make_optional, named))} ")"'


def split_arguments(spec: ToolSpec) -> tuple[list[tuple[str, JsonSchema]], list[tuple[str, JsonSchema]]]:
    """Return the required and the optional arguments of a tool, as pairs of name and schema."""
    required = spec.args_schema.get("required", ())
    listed = list(iterate_properties(spec.args_schema))
    return [one for one in listed if one[0] in required], [one for one in listed if one[0] not in required]


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
