"""The words of a CEL expression, and how its operators bind (cel.dev, "Language Definition", syntax)."""

import re

_TOKEN = re.compile(
    r"""\s+|//[^\n]*
    |(?P<number>0x[0-9a-fA-F]+u?|(?:\d+\.\d+|\.\d+|\d+)(?:[eE][+-]?\d+)?u?)
    |(?P<text>[rRbB]{0,2}(?:\"{3}[\s\S]*?\"{3}|'{3}[\s\S]*?'{3}|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'))
    |(?P<name>[A-Za-z_]\w*)
    |(?P<sign>&&|\|\||[<>=!]=|[-+*/%<>!?:.,()\[\]{}])""",
    re.VERBOSE,
)
ORDERS = frozenset({"<", "<=", ">", ">="})
#: The grammar's levels of two-sided operators, the loosest first.
LEVELS: tuple[frozenset[str], ...] = (
    frozenset({"||"}),
    frozenset({"&&"}),
    ORDERS | {"==", "!=", "in"},
    frozenset({"+", "-"}),
    frozenset({"*", "/", "%"}),
)


def tokens(expression: str) -> list[tuple[str, str]]:
    """Return the words of `expression`, each behind its kind: number, text, name or sign. Empty: it cannot be read."""
    found: list[tuple[str, str]] = []
    at = 0
    while at < len(expression):
        match = _TOKEN.match(expression, at)
        if match is None:
            return []
        if match.lastgroup:
            found.append((match.lastgroup, match.group()))
        at = match.end()
    return found
