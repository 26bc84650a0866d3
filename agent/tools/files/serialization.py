"""Serialization of a value to the bytes of a file; the format follows from the file suffix."""

import json
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Final

from pydantic import JsonValue

from agent.core.plan.tool_spec import JsonSchema
from agent.errors import ToolFailure
from agent.tools.files.table_files import (
    escape_csv_text,
    rows_to_csv,
    rows_to_markdown,
    rows_to_parquet,
    rows_to_xlsx,
)

_CSV_DELIMITERS: Final = {".csv": ",", ".tsv": "\t"}
_JSON_LINES: Final = frozenset({".jsonl", ".ndjson"})
#: Files that hold rows and nothing else.
_TABLE_FILES: Final = frozenset({".xlsx", ".parquet"})
#: Texts in which rows are a Markdown table.
_PLAIN_TEXTS: Final = frozenset({"", ".md", ".markdown", ".txt"})
#: Formats that are no text and that nothing here writes: a file of that name would be damaged.
_UNWRITTEN: Final = frozenset(
    {
        *(".xls", ".xlsm", ".xlsb", ".ods", ".numbers", ".doc", ".docx", ".odt", ".rtf", ".pdf"),
        *(".ppt", ".pptx", ".odp", ".epub", ".png", ".jpg", ".jpeg", ".gif", ".webp", ".bmp", ".tif", ".tiff"),
        *(".ico", ".heic", ".mp3", ".mp4", ".wav", ".avi", ".mov", ".zip", ".gz", ".bz2", ".xz", ".zst", ".7z"),
        *(".rar", ".tar", ".tgz", ".feather", ".arrow", ".ipc", ".avro", ".orc", ".h5", ".hdf5", ".nc", ".npy"),
        *(".npz", ".pkl", ".pickle", ".rds", ".rda", ".mat", ".sav", ".dta", ".sas7bdat", ".dbf", ".mdb", ".accdb"),
        *(".db", ".sqlite", ".sqlite3", ".duckdb", ".wasm", ".exe", ".dll", ".so", ".bin"),
    }
)
_HOLDS: Final = "'.csv', '.tsv', '.xlsx', '.parquet', '.jsonl', '.json' or '.md'"


def find_name_problem(path: str) -> str | None:
    """Return a sentence if the name is that of a format that is not written; None if it can be."""
    ending = _get_ending(path)
    if ending not in _UNWRITTEN:
        return None
    return f"{path!r} cannot be written: {ending!r} is not among the formats there are; use {_HOLDS}."


def find_schema_problem(schema: JsonSchema, *, path: str) -> str | None:
    """Return a sentence if a content that fits `schema` is none for `path`; None if it is, or may be."""
    kind, items, ending = schema.get("type"), schema.get("items"), _get_ending(path)
    item = items.get("type") if isinstance(items, dict) else None
    if ending == ".json" or ending in _JSON_LINES or kind is None or isinstance(kind, list):
        return None
    if kind == "array" and item in (None, "object"):
        return None if _takes_rows(ending) else _describe_misfit(path, "rows")
    if kind == "string" and ending not in _TABLE_FILES:
        return None
    described = (
        "text" if kind == "string" else f"a list of {item} values" if kind == "array" else f"a value of type {kind}"
    )
    return _describe_misfit(path, described)


def serialize_content(content: JsonValue, *, path: str, columns: JsonValue = None, notes: Sequence[str] = ()) -> bytes:
    """Return `content` as the bytes of a file of the format that the suffix of `path` names.

    Rows become a table: CSV, TSV, Excel, Parquet, JSON lines, or Markdown in a text. Text is UTF-8; in CSV, cells that
    spreadsheets would evaluate are made text. `columns` are those of the query that the rows are from; `notes` are
    added where the format has a place for them. Raises `ToolFailure` for a content that the format cannot hold.
    """
    if problem := find_name_problem(path):
        raise ToolFailure(problem)
    ending = _get_ending(path)
    if isinstance(content, str) and ending not in _TABLE_FILES:
        return _serialize_text(content, ending=ending, notes=notes)
    if ending == ".json":
        return (json.dumps(content, indent=2, ensure_ascii=False) + "\n").encode("utf-8", errors="replace")
    if ending in _JSON_LINES:
        lines = content if isinstance(content, list) else [content]
        return "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines).encode("utf-8", errors="replace")
    rows = _as_rows(content)
    if rows is None or not _takes_rows(ending):
        raise ToolFailure(_describe_misfit(path, "rows" if rows is not None else _describe_kind(content)))
    match ending:
        case ".xlsx":
            return rows_to_xlsx(rows, notes=notes, path=path)
        case ".parquet":
            return rows_to_parquet(rows, columns=columns, path=path)
        case ".csv" | ".tsv":
            return rows_to_csv(rows, delimiter=_CSV_DELIMITERS[ending])
        case _:
            return rows_to_markdown(rows) + _render_notes(notes, ending)


def _serialize_text(text: str, *, ending: str, notes: Sequence[str]) -> bytes:
    if ending in _CSV_DELIMITERS:
        return escape_csv_text(text, delimiter="\t" if ending == ".tsv" else None)
    return text.encode("utf-8", errors="replace") + _render_notes(notes, ending)


def _get_ending(path: str) -> str:
    return PurePosixPath(path).suffix.lower()


def _takes_rows(ending: str) -> bool:
    return ending in _CSV_DELIMITERS or ending in _TABLE_FILES or ending in _PLAIN_TEXTS


def _describe_misfit(path: str, content: str) -> str:
    ending = _get_ending(path)
    if content == "rows":
        return f"{path!r} can have text only, but content is rows (a list of objects); use {_HOLDS}."
    holds = "rows (a list of objects)" if ending in _TABLE_FILES else "text or rows (a list of objects)"
    return f"{path!r} can have {holds}, but content is {content}; refer to its text or rows, or use '.json'."


def _render_notes(notes: Sequence[str], ending: str) -> bytes:
    """Return the notes as the last lines of a text that is read by people."""
    if ending not in _PLAIN_TEXTS:
        return b""
    return "".join(f"\nNote: {note}\n" for note in notes).encode()


def _as_rows(content: JsonValue) -> list[dict[str, JsonValue]] | None:
    if not isinstance(content, list):
        return None
    rows = [row for row in content if isinstance(row, dict)]
    return rows if len(rows) == len(content) else None


def _describe_kind(content: JsonValue) -> str:
    match content:
        case str():
            return "text"
        case list():
            return "a list of other values"
        case dict():
            return "an object"
        case _:
            return repr(content)
