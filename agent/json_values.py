"""Whatever a tool returns, as a JSON value."""

from typing import Any, Final

import pydantic_core
from langchain_core.messages import ToolMessage
from pydantic import JsonValue

#: Characters of an error that are kept: a person and a model read them.
_MAX_ERROR_LENGTH: Final = 2_000


class JsonConversionError(ValueError):
    """A value has no JSON form; the message completes "The output of 'x' ..."."""


def to_json_value(value: object) -> JsonValue:
    """Return `value` in JSON's types: models, dataclasses, dates and tuples are converted, numbers kept exactly.

    A tool that answers with LangChain's `ToolMessage` gave its artifact, or else its content. Numbers that are not
    finite become null, and halves of surrogate pairs the replacement character, since no store keeps them.
    """
    if isinstance(value, ToolMessage):
        value = value.artifact if value.artifact is not None else value.content
    try:
        return _replace_unstorable(pydantic_core.to_jsonable_python(value))
    except (ValueError, RecursionError) as error:
        # What cannot be serialised, holds itself, is nested beyond all depth, or is no text.
        raise JsonConversionError(f"is no JSON value: {error}") from None


def error_text(error: BaseException | None) -> str:
    """Return the words of an error: what can be stored and read of them, whatever a tool has put there."""
    try:
        words = str(error)
    except Exception:  # noqa: BLE001 - an error that cannot be told is still one
        words = "its words cannot be read"
    return replace_surrogates(words if len(words) <= _MAX_ERROR_LENGTH else f"{words[:_MAX_ERROR_LENGTH]}...")


def _replace_unstorable(value: Any) -> JsonValue:  # noqa: ANN401 - any JSON value
    match value:
        case dict():
            return {replace_surrogates(key): _replace_unstorable(inner) for key, inner in value.items()}
        case list():
            return [_replace_unstorable(inner) for inner in value]
        case str():
            return replace_surrogates(value)
        case float() if value != value or value in (float("inf"), float("-inf")):  # noqa: PLR0124 - NaN is the one that differs from itself
            return None
        case _:
            return value  # type: ignore[no-any-return]


def replace_surrogates(value: str) -> str:
    """Return `value` with the replacement character for halves of surrogate pairs."""
    return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
