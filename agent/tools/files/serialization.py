"""Serialization of a value to the bytes of a file; the format follows from the file suffix."""

import csv
import io
import json
import re
from collections.abc import Sequence
from pathlib import PurePosixPath

from pydantic import JsonValue

from agent.errors import ToolFailure
from agent.tools.charts.data.columns import JsonRow, column_names

_NUMBER = re.compile(r"[+-]?\d+(\.\d+)?([eE][+-]?\d+)?%?")


def serialize_content(content: JsonValue, *, path: str) -> bytes:
    """Encode text as UTF-8, rows as a CSV or Markdown table, and anything as JSON if `path` ends in '.json'.

    Raises `ToolFailure` for a value that the kind of file cannot have.
    """
    ending = PurePosixPath(path).suffix.lower()
    if isinstance(content, str):
        return content.encode("utf-8", errors="replace")
    if ending == ".json":
        return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode()
    rows = _as_rows(content)
    if rows is None:
        raise ToolFailure(
            f"{path!r} can have text or rows (a list of objects), not {_describe_kind(content)}; "
            "give one of these, or a path that ends in '.json'."
        )
    return rows_to_csv(rows) if ending == ".csv" else rows_to_markdown(rows)


def rows_to_csv(rows: Sequence[JsonRow]) -> bytes:
    """Return rows as CSV (RFC 4180) in UTF-8.

    Spreadsheets evaluate text that begins with =, +, -, @, tab or carriage return as a formula, so such text gets an
    apostrophe in front (OWASP, "CSV Injection"). Numbers, also as text, are unchanged.
    """
    names = column_names(rows)
    buffer = io.StringIO()
    writer = csv.writer(buffer)
    if names:
        writer.writerow([_escape_formula(name) for name in names])
    writer.writerows([[_escape_formula(_format_cell(row.get(name))) for name in names] for row in rows])
    return buffer.getvalue().encode("utf-8", errors="replace")


def rows_to_markdown(rows: Sequence[JsonRow]) -> bytes:
    """Return rows as a Markdown table, with numbers aligned right."""
    names = column_names(rows)
    if not names:
        return b"No rows.\n"
    lines = [
        [_escape_markdown(name) for name in names],
        ["---:" if _is_numeric(rows, name=name) else "---" for name in names],
        *([_escape_markdown(_format_cell(row.get(name))) for name in names] for row in rows),
    ]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines).encode("utf-8", errors="replace")


def _as_rows(content: JsonValue) -> list[dict[str, JsonValue]] | None:
    if not isinstance(content, list):
        return None
    rows = [row for row in content if isinstance(row, dict)]
    return rows if len(rows) == len(content) else None


def _describe_kind(content: JsonValue) -> str:
    match content:
        case list():
            return "a list of other values"
        case dict():
            return "an object"
        case _:
            return repr(content)


def _format_cell(value: JsonValue) -> str:
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case str():
            return value
        case _:
            return json.dumps(value, ensure_ascii=False)


def _escape_formula(text: str) -> str:
    if text[:1] in ("=", "+", "-", "@", "\t", "\r") and not _NUMBER.fullmatch(text):
        return f"'{text}"
    return text


def _escape_markdown(text: str) -> str:
    return " ".join(text.replace("\\", "\\\\").replace("|", "\\|").replace("<", "&lt;").split())


def _is_numeric(rows: Sequence[JsonRow], *, name: str) -> bool:
    known = [value for row in rows if (value := row.get(name)) is not None]
    return bool(known) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in known)
