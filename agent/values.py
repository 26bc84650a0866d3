"""Whatever a tool returns, as a JSON value."""

from typing import Any

import pydantic_core
from langchain_core.messages import ToolMessage
from pydantic import JsonValue


class NotJson(ValueError):  # noqa: N818 - becomes a value at its only caller
    """A value has no JSON form; the message completes "The output of 'x' ..."."""


def as_json(value: object) -> JsonValue:
    """Return `value` in JSON's types: models, dataclasses, dates and tuples are converted, numbers kept exactly.

    A tool that answers with LangChain's `ToolMessage` gave its artifact, or else its content. Numbers that are not
    finite become null, and halves of surrogate pairs the replacement character, since no store keeps them.
    """
    if isinstance(value, ToolMessage):
        value = value.artifact if value.artifact is not None else value.content
    try:
        plain = pydantic_core.to_jsonable_python(value)
    except (pydantic_core.PydanticSerializationError, UnicodeDecodeError, RecursionError) as error:
        raise NotJson(f"is no JSON value: {error}") from None
    return _storable(plain)


def _storable(value: Any) -> JsonValue:  # noqa: ANN401 - any JSON value
    match value:
        case dict():
            return {_text(key): _storable(inner) for key, inner in value.items()}
        case list():
            return [_storable(inner) for inner in value]
        case str():
            return _text(value)
        case float() if value != value or value in (float("inf"), float("-inf")):  # noqa: PLR0124 - NaN is the one that differs from itself
            return None
        case _:
            return value  # type: ignore[no-any-return]


def _text(value: str) -> str:
    return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
