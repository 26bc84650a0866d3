"""A plan as numbered lines of calls, in the manner of LLMCompiler (S. Kim et al., ICML 2024): `2. scale($1, by=2)`.

Prompt and parser are our own. Its joiner, which may plan anew, is left out: it is one plan, as in the paper's first
round.
"""

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from langchain_core.messages import BaseMessage, HumanMessage, SystemMessage

from agent.core.plan.tool_spec import ToolSpec
from agent.llm.replies import MalformedReply
from agent.llm.structured_output import ask_text
from tests.evals.cases import Attempt, Call
from tests.evals.strategies.calling import called_in_order
from tests.evals.strategies.forms import prompt, shown
from tests.evals.strategies.oneshot import given_calls
from tests.evals.strategies.references import referred
from tests.evals.strategies.strategy import Bench, Strategy

_MAX_TOKENS = 2_000

_CALL = re.compile(r"^[ \t>*-]*(\d+)[.)][ \t]*`?([A-Za-z_][\w-]*)[ \t]*\(", re.MULTILINE)
_JOIN = "join"
#: A quoted text, or a reference outside of one.
_PIECE = re.compile(
    r'("""(?:.|\n)*?"""|"(?:\\.|[^"\\])*"|\'(?:\\.|[^\'\\])*\')|(\$\{?\d+\}?(?:\.[\w*]+|\[[\w"\'*]+\])*)', re.DOTALL
)
_WORDS: Mapping[str, Any] = {"true": True, "false": False, "null": None}


class UnreadableError(Exception):
    """A line is no call; the message says which and why."""


async def attempt(bench: Bench) -> Attempt:
    """Ask once; a line that cannot be read loses, and so does a plan that breaks."""
    if bench.case.plan is not None:
        return await called_in_order(given_calls(bench.case.plan), bench.tools)
    specs, told = await shown(bench.tools)
    messages: list[BaseMessage] = [
        SystemMessage(prompt("llmcompiler", tools=told)),
        HumanMessage(f"Goal: {bench.case.goal}"),
    ]
    reply = await ask_text(bench.model, messages, max_tokens=_MAX_TOKENS)
    if isinstance(reply, MalformedReply):
        return Attempt((), ending="no plan", problems=(reply.reason,))
    try:
        calls = list(read_plan(reply.text, specs))
    except UnreadableError as error:
        return Attempt((), ending="no plan", problems=(str(error),))
    if not calls:
        return Attempt((), ending="no plan", problems=("The reply has no line that calls a tool.",))
    return await called_in_order(calls, bench.tools) if bench.case.runs else Attempt(tuple(calls), ending="finished")


def read_plan(text: str, specs: Sequence[ToolSpec]) -> Iterator[Call]:
    """Yield the calls up to `join()`; text around them is passed over. Raises `UnreadableError`."""
    parameters = {spec.name: list(spec.args_schema.get("properties", {})) for spec in specs}
    starts = list(_CALL.finditer(text))
    for place, start in enumerate(starts):
        if start[2] == _JOIN:
            return
        end = starts[place + 1].start() if place + 1 < len(starts) else len(text)
        yield _read_call(start[1], start[2], text[start.end() : end], parameters.get(start[2], []))


def _read_call(number: str, tool: str, rest: str, parameters: Sequence[str]) -> Call:
    inside, behind = _split(rest)
    if inside is None:
        raise UnreadableError(f"Call {number} is cut off: {rest[:80]!r}.")
    source = _PIECE.sub(_literal, inside).strip()
    try:
        node = ast.parse(f"f({source})", mode="eval").body
        assert isinstance(node, ast.Call)
        values = [_value(each) for each in node.args]
        args = dict(zip(parameters, values, strict=False))
        args |= {each.arg: _value(each.value) for each in node.keywords if each.arg}
    except (SyntaxError, ValueError) as error:
        raise UnreadableError(f"Call {number} is no call of a tool: {inside[:80]!r} ({error}).") from error
    if len(values) > len(parameters):
        raise UnreadableError(f"Call {number} gives {tool!r} {len(values)} arguments; it takes {len(parameters)}.")
    words = behind.partition("#")[2].split("\n")[0].strip()
    return Call(id=number, tool=tool, args=args, needs=tuple(dict.fromkeys(referred(args))), text=words or tool)


def _split(rest: str) -> tuple[str | None, str]:
    """Return what stands before the bracket that closes the call, and what stands behind it."""
    depth, at = 1, 0
    while at < len(rest):
        if piece := _PIECE.match(rest, at):
            at = piece.end()
            continue
        depth += {"(": 1, "[": 1, "{": 1, ")": -1, "]": -1, "}": -1}.get(rest[at], 0)
        if depth == 0:
            return rest[:at], rest[at + 1 :]
        at += 1
    return None, ""


def _literal(piece: re.Match[str]) -> str:
    if piece[2]:
        return json.dumps(piece[2])
    return piece[1] if piece[1].startswith('"""') else piece[1].replace("\n", "\\n")


def _value(node: ast.expr) -> Any:
    """Return the value that an expression writes out; the words of JSON are taken for Python's."""
    match node:
        case ast.Name(id=word) if word in _WORDS:
            return _WORDS[word]
        case ast.List(elts=parts) | ast.Tuple(elts=parts):
            return [_value(part) for part in parts]
        case ast.Dict(keys=names, values=parts) if None not in names:
            return {str(ast.literal_eval(name)): _value(part) for name, part in zip(names, parts, strict=True) if name}
        case _:
            return ast.literal_eval(node)


STRATEGY = Strategy(
    "llmcompiler",
    attempt,
    code=(
        "tests/evals/strategies/llmcompiler.py",
        "tests/evals/strategies/llmcompiler.md",
        "tests/evals/strategies/oneshot.py",
        "tests/evals/strategies/forms.py",
        "tests/evals/strategies/calling.py",
        "tests/evals/strategies/references.py",
    ),
)
