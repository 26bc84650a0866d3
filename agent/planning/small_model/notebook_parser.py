"""The notebook that a small model writes: named queries, each under a comment, then calls of tools as comments.

A query is kept as text, and may refer to an earlier one by its name, as if that were a table.
"""

import ast
import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from pydantic import JsonValue

from agent.core.plan.json_schema import branches, find_allowed_types, iterate_properties
from agent.core.plan.tool_spec import JsonSchema, ToolSpec
from agent.planning.small_model.input_binding import classify_input, is_sql_tool
from agent.planning.small_model.steps import claim_id, has_file_name

#: `-- name: what it finds` or `-- tool(arguments)`.
_HEADING: Final = re.compile(
    r"^--[ \t]*(?P<name>[A-Za-z_]\w*)[ \t]*(?::(?P<words>.*)|(?P<call>\(.*\)))[ \t]*$", re.MULTILINE
)
_FENCE: Final = re.compile(r"^```.*$", re.MULTILINE)
#: "and their most ...", "and for each of them ...", "and the best of each".
_FOLLOW_UP: Final = re.compile(
    r"(\band\b|\bthen\b|[.,;]\s).*(\b(their|them|these|those)\b|\b(of|for|in|from|to) each\s*([.,;!?]|and\b|$))",
    re.IGNORECASE,
)
#: A goal that is one sentence, a question.
_SINGLE_QUESTION: Final = re.compile(
    r"\s*(\w+\s+)?(how|what|which|who|whom|whose|when|where|why)\b[^?.!;]*\?\s*$", re.IGNORECASE
)
_WORD: Final = re.compile(r"[a-z]+")
#: Words up to this length say little about a purpose.
_SHORT_WORD_LENGTH: Final = 3
_GENERIC_WORDS: Final = frozenset({"data", "from", "given", "only", "rows", "value", "values", "with", "returns"})
_MAX_QUERIES: Final = 4


@dataclass(frozen=True)
class NotebookQuery:
    """A query; `name` is its name in the notebook, `id` a free task id."""

    id: str
    name: str
    question: str
    sql: str


@dataclass(frozen=True)
class NotebookCall:
    """A call of a tool with its plain arguments; `uses` are ids of queries."""

    id: str
    tool: str
    uses: tuple[str, ...]
    arguments: Mapping[str, JsonValue]


@dataclass(frozen=True)
class Notebook:
    """The queries and the calls, each in order."""

    queries: tuple[NotebookQuery, ...]
    calls: tuple[NotebookCall, ...]


def read_notebook(text: str, specs: Mapping[str, ToolSpec], *, goal: str, taken: Iterable[str]) -> Notebook:
    """Read the parts of `text` that can be read; a query without a heading is taken to answer `goal`."""
    used = set(taken)
    queries: list[NotebookQuery] = []
    calls: list[NotebookCall] = []
    plain = _FENCE.sub("", text)
    headings = list(_HEADING.finditer(plain))
    queries += _parse_query("answer", goal, plain[: headings[0].start()] if headings else plain, used)
    for place, heading in enumerate(headings):
        end = headings[place + 1].start() if place + 1 < len(headings) else len(plain)
        body = plain[heading.end() : end]
        if heading["call"] is None:
            queries += _parse_query(heading["name"], heading["words"].strip() or goal, body, used)
        elif heading["name"] in specs:
            if is_relevant_tool(specs[heading["name"]], goal=goal):
                calls.append(_parse_call(specs[heading["name"]], heading["call"], queries, used))
            queries += _parse_query("answer", goal, body, used)
    return Notebook(tuple(queries), tuple(calls))


def _parse_query(name: str, question: str, body: str, used: set[str]) -> list[NotebookQuery]:
    sql = body.partition(";")[0].strip()
    return [NotebookQuery(claim_id(name, used), name, question, sql)] if sql else []


def _parse_call(spec: ToolSpec, written: str, queries: Iterable[NotebookQuery], used: set[str]) -> NotebookCall:
    ids = {query.name: query.id for query in queries}
    root = spec.args_schema
    plain = {name for name, schema in iterate_properties(root) if classify_input(schema, root) == "plain"}
    arguments: dict[str, JsonValue] = {}
    uses: list[str] = []
    for name, node in _parse_call_arguments(f"call{written}"):
        if isinstance(node, ast.Name) and node.id in ids:
            uses.append(ids[node.id])
        elif name in plain and isinstance(node, ast.Constant) and isinstance(node.value, str | int | float):
            arguments[name] = node.value
    return NotebookCall(claim_id(spec.name, used), spec.name, tuple(dict.fromkeys(uses)), arguments)


def _parse_call_arguments(call: str) -> Iterable[tuple[str | None, ast.expr]]:
    try:
        tree = ast.parse(call, mode="eval").body
    except (SyntaxError, ValueError):
        return []
    if not isinstance(tree, ast.Call):
        return []
    return [*((None, node) for node in tree.args), *((each.arg, each.value) for each in tree.keywords)]


def build_notebook_grammar(specs: Mapping[str, ToolSpec], *, goal: str) -> str:
    """Return the grammar of notebooks, in the notation of llama.cpp: queries, then calls of these tools.

    A goal that is only a question gets one query and no call. A call has only the arguments that its tool requires,
    none of which can be written without end. Tools that are not relevant to the goal can be called too, because a
    small model that may not draw writes an extra query for the drawing instead; such calls have no arguments, which
    take time to write, and are dropped in reading. A query has no comment inside, where a small model goes on in words.
    """
    max_queries = _MAX_QUERIES
    others = [spec for spec in specs.values() if not is_sql_tool(spec)]
    if _SINGLE_QUESTION.match(goal) and not any(is_relevant_tool(spec, goal=goal) for spec in others):
        others, max_queries = [], 1
    calls = "".join(f" ({_build_call_rule(spec, is_relevant=is_relevant_tool(spec, goal=goal))})?" for spec in others)
    # A query is one line, because a small model that forgets the semicolon would go on with empty lines.
    return (
        f"root ::= query{{1,{max_queries}}}{calls}\n"
        r'query ::= "-- " name ": " [^\n]{1,200} "\n" ("SELECT " | "WITH ") ([^;\n`-] | "-" [^;\n`-])+ ";"? "\n"'
        "\n"
        "name ::= [a-z] [a-z0-9_]{0,40}\n"
        'text ::= "\'" [^\'\\n]{1,60} "\'"\n'
    )


def has_follow_up(goal: str) -> bool:
    """Return whether a goal refers back to its own result: "the 3 best, and for each of them ...".

    A small model would write one query for both parts.
    """
    return _FOLLOW_UP.search(goal) is not None


def is_relevant_tool(spec: ToolSpec, *, goal: str) -> bool:
    """Return whether the goal has a word of the tool's purpose, or a file name for a tool that takes a path.

    Without this check a small model draws charts that nobody asked for.
    """
    return is_file_wanted(spec, goal=goal) or bool(_collect_purpose_words(spec) & set(_WORD.findall(goal.lower())))


def is_file_wanted(spec: ToolSpec, *, goal: str) -> bool:
    """Return whether the goal has the name of a file and the tool takes one."""
    return "path" in spec.args_schema.get("required", ()) and has_file_name(goal)


def _collect_purpose_words(spec: ToolSpec) -> set[str]:
    """Return the words of a tool's name, and the specific words of its description's first clause."""
    first = re.split(r"[.;:]", spec.description, maxsplit=1)[0].lower()
    return {word for word in _WORD.findall(first) if len(word) > _SHORT_WORD_LENGTH} - _GENERIC_WORDS | set(
        spec.name.split("_")
    )


def _build_call_rule(spec: ToolSpec, *, is_relevant: bool) -> str:
    root = spec.args_schema
    required: Collection[str] = root.get("required", ())
    parts = [
        f'"{name}=" {_build_value_rule(schema, root)}'
        for name, schema in iterate_properties(root)
        if is_relevant and name in required and classify_input(schema, root) != "map"
    ]
    separated = ' ", " '.join(parts)
    return f'"-- {spec.name}(" {separated} ")\\n"'


def _build_value_rule(schema: JsonSchema, root: JsonSchema) -> str:
    if classify_input(schema, root) == "data":
        return "name"
    choices = [each for branch in branches(schema, root) for each in branch.get("enum", ())]
    if choices and all(isinstance(each, str) for each in choices):
        return f"({' | '.join(json.dumps(repr(each)) for each in choices)})"
    kinds = find_allowed_types(schema, root) or frozenset()
    return "[0-9]{1,9}" if kinds and kinds <= {"integer", "number"} else "text"


def describe_calls(specs: Iterable[ToolSpec]) -> str:
    """Return each tool as it is called in a notebook, with its purpose, a line each."""
    return "\n".join(map(_describe_call, specs))


def _describe_call(spec: ToolSpec) -> str:
    required: Collection[str] = spec.args_schema.get("required", ())
    names = ", ".join(name for name, _ in iterate_properties(spec.args_schema) if name in required)
    return f"{spec.name}({names}): {' '.join(spec.description.split())}"
