"""The description of an approval request: Markdown that shows all that will run, and that no text in it can forge."""

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from pydantic import JsonValue

from agent.core.plan.json_schema import dereference_schema
from agent.core.plan.problems import format_path
from agent.core.plan.references import JsonPath
from agent.core.plan.tool_spec import JsonSchema
from agent.core.visible_text import escape_invisible

#: Characters of one call that the text has; the rest of it is in the request's `args` or `items`.
_MAX_CALL_LENGTH: Final = 20_000
#: Characters of each call in a list of calls, and of all together while they are shown whole.
_MAX_LISTED_LENGTH: Final = 200
_MAX_LIST_LENGTH: Final = 20_000
#: What would begin markup within a line; no line of the text begins with a stranger's words.
_MARKUP: Final = re.compile(r"([\\`*\[\]<>|])")
_MAX_DEPTH: Final = 8

Calls = Sequence[Mapping[str, JsonValue]]


def format_call(args: Mapping[str, JsonValue]) -> str:
    """Return the arguments of a call as indented JSON in which everything is visible."""
    return _shorten(escape_invisible(json.dumps(args, ensure_ascii=False, indent=2)), _MAX_CALL_LENGTH)


def list_calls(calls: Calls) -> list[str]:
    """Return the calls between the first and the last of a `for_each`, each as a line that begins with its number."""
    lines = [escape_invisible(json.dumps(call, ensure_ascii=False)) for call in calls[1:-1]]
    longest = _MAX_CALL_LENGTH if sum(map(len, lines)) <= _MAX_LIST_LENGTH else _MAX_LISTED_LENGTH
    return [f"{number}: {_shorten(line, longest)}" for number, line in enumerate(lines, start=2)]


def find_defaults(schema: JsonSchema, calls: Iterable[Mapping[str, JsonValue]]) -> dict[str, JsonValue]:
    """Return the defaults of what the calls leave out, by place: the tool fills them in."""
    return {
        format_path(path): value for call in calls for path, value in _find_defaults(schema, dict(call), schema, ())
    }


def _find_defaults(
    schema: JsonSchema, value: JsonValue, root: JsonSchema, path: JsonPath
) -> Iterator[tuple[JsonPath, JsonValue]]:
    if len(path) > _MAX_DEPTH or not isinstance(value, dict | list):
        return
    resolved = dereference_schema(schema, root) if "$ref" in schema else schema
    for branch in (branch for key in ("anyOf", "oneOf", "allOf") for branch in resolved.get(key) or ()):
        if isinstance(branch, dict):
            yield from _find_defaults(branch, value, root, path)
    inner_values: list[tuple[str | int, object, JsonValue]] = []
    if isinstance(value, list):
        inner_values += [(position, resolved.get("items"), inner) for position, inner in enumerate(value)]
    else:
        properties = resolved.get("properties")
        known = properties if isinstance(properties, dict) else {}
        inner_values += [(name, known[name], value[name]) for name in known if name in value]
        for name, inner_schema in known.items():
            if name not in value and isinstance(inner_schema, dict) and "default" in inner_schema:
                yield (*path, name), inner_schema["default"]
    for step, inner_schema, inner in inner_values:
        if isinstance(inner_schema, dict):
            yield from _find_defaults(inner_schema, inner, root, (*path, step))


def describe_request(
    *,
    tool: str,
    task: str,
    purpose: str,
    expected: str = "",
    doubt: str | None = None,
    secrets: Sequence[str] = (),
    calls: Calls,
    is_for_each: bool,
    defaults: Mapping[str, JsonValue],
) -> str:
    """Return the description of a request in Markdown.

    A line begins with our words only, and what others wrote is one line without markup, or inside a fence that it
    cannot close: so a purpose cannot look like the arguments, nor like another request.
    """
    lines = [f"**Call of {_quote(tool)} by task {_quote(task)}**", "", f"Purpose: {escape_text(purpose)}"]
    if expected:
        lines.append(f"\nExpected outcome: {escape_text(expected)}")
    if doubt:
        lines.append(f"\nIn doubt: {escape_text(doubt)}")
    if secrets:
        lines.append(f"\nSecrets that {_quote(tool)} gets: {', '.join(map(_quote, secrets))}")
    if not is_for_each:
        lines += ["\nArguments:", "", _fence(format_call(calls[0]))]
    else:
        lines += [f"\nNumber of calls: {len(calls)}"]
        if calls:
            lines += [f"\nArguments of call 1 of {len(calls)}:", "", _fence(format_call(calls[0]))]
        if len(calls) > 2:
            lines += [f"\nCalls 2 to {len(calls) - 1}:", "", _fence("\n".join(list_calls(calls)))]
        if len(calls) > 1:
            lines += [f"\nArguments of call {len(calls)} of {len(calls)}:", "", _fence(format_call(calls[-1]))]
    if defaults:
        shown = "\n".join(format_default(place, value) for place, value in defaults.items())
        lines += ["\nNot given, so the tool fills in:", "", _fence(shown)]
    return "\n".join(lines)


def format_default(place: str, value: JsonValue) -> str:
    """Return a default as a line: `max_rows: 100 (default)`."""
    text = escape_invisible(json.dumps(value, ensure_ascii=False))
    return f"{flatten_text(place)}: {_shorten(text, _MAX_LISTED_LENGTH)} (default)"


def flatten_text(text: str) -> str:
    """Return a text as one line in which everything is visible."""
    return escape_invisible(" ".join(text.split()))


def escape_text(text: str) -> str:
    """Return a text as one line of Markdown without markup, in which everything is visible."""
    # The escapes last: their backslashes are no markup, and are not doubled.
    return escape_invisible(_MARKUP.sub(r"\\\1", " ".join(text.split())))


def _quote(name: str) -> str:
    """Return a name as code; it may hold any character but those that end the code."""
    return f"`{flatten_text(name).replace('`', chr(39))}`"


def _fence(text: str) -> str:
    """Return a block of code whose fence is longer than any run of backticks in it."""
    runs = (len(run) for run in re.findall("`+", text))
    fence = "`" * max([3, *(length + 1 for length in runs)])
    return f"{fence}json\n{text}\n{fence}"


def _shorten(text: str, most: int) -> str:
    return (
        text if len(text) <= most else f"{text[:most]} ... ({len(text) - most:,} more characters; the request has all)"
    )
