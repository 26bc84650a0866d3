"""The statements of a script, and how one that cannot be read is told back to the model."""

import ast
import io
import re
import tokenize
from typing import Final

from agent.core.plan.problems import format_value

_FENCED_BLOCK: Final = re.compile(r"```[a-zA-Z]*\s*\n(.*?)(?:```|\Z)", re.DOTALL)

_ELSE_NAME: Final = re.compile(r"^else = (?=\w)", re.MULTILINE)


class ScriptError(Exception):
    """A script that cannot be read as a plan; the message is a sentence for the model."""


def quote_code(node: ast.AST) -> str:
    """Return a piece of a script as it is quoted in messages."""
    return f"`{format_value(ast.unparse(node))[1:-1]}`"


def parse_statements(text: str) -> list[tuple[ast.stmt, str]]:
    """Return the statements of a program, fenced or not, each with the comment above it. Raises `ScriptError`."""
    fenced = _FENCED_BLOCK.search(text)
    # Held to a grammar, a model that did not end a block in time writes `else = call` for what is done otherwise.
    source = _ELSE_NAME.sub("else:\n    ", (fenced[1] if fenced else text).strip()) + "\n"
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
