"""Whatever a tool returns, as a JSON value."""

from typing import Any, Final

import pydantic_core
from langchain_core.messages import ToolMessage
from pydantic import JsonValue

#: Characters of an error that are kept, for humans and models to read.
_MAX_ERROR_LENGTH: Final = 2_000


class JsonConversionError(ValueError):
    """A value has no JSON form; the message completes the sentence "The output of 'x' ..."."""


def to_json_value(value: object) -> JsonValue:
    """Return `value` in JSON types: models, dataclasses, dates and tuples are converted, numbers kept exactly.

    Of a LangChain `ToolMessage` the artifact is taken, or else the content. Numbers that are not finite become null,
    and lone surrogates the replacement character, since databases cannot store them. Raises `JsonConversionError`.
    """
    if isinstance(value, ToolMessage):
        value = value.artifact if value.artifact is not None else value.content
    try:
        return _replace_unstorable(pydantic_core.to_jsonable_python(value))
    except (ValueError, RecursionError) as error:
        # The value cannot be serialized, contains itself, is nested too deeply, or is not valid text.
        raise JsonConversionError(f"is not a JSON value: {error}") from None


def error_text(error: BaseException | None) -> str:
    """Return the message of an error as it can be stored, in at most 2,000 characters, whatever a tool put there."""
    try:
        text = str(error)
    except Exception:  # noqa: BLE001 - an error without a readable message is still an error
        text = "its message cannot be read"
    return replace_surrogates(text if len(text) <= _MAX_ERROR_LENGTH else f"{text[:_MAX_ERROR_LENGTH]}...")


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
    """Return `value` with the replacement character in place of lone surrogates."""
    return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
