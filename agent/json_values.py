"""Whatever a tool returns, as a JSON value."""

import base64
import dataclasses
import io
import os
from collections import UserString
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence, ValuesView
from collections.abc import Set as AbstractSet
from enum import Enum
from inspect import isabstract
from itertools import islice
from types import FunctionType, NoneType, UnionType
from typing import IO, Annotated, Any, Final, Union, get_args, get_origin

import pydantic_core
from langchain_core.messages import ToolMessage
from pydantic import JsonValue, PydanticSchemaGenerationError, TypeAdapter
from pydantic.v1 import BaseModel as BaseModelV1

#: Characters of an error that are kept, for humans and models to read.
_MAX_ERROR_LENGTH: Final = 2_000
#: Levels of lists and objects in an output. Stores and pydantic, which stops at 255, keep these and what a run wraps
#: around them.
_MAX_DEPTH: Final = 250
_TOO_DEEP: Final = f"it contains itself, or is nested deeper than {_MAX_DEPTH} levels"
#: Items of a range or an iterator, which may have no end.
_MAX_LAZY_ITEMS: Final = 10_000_000
#: Python writes down any integer up to this length, whatever its limit is set to.
_MIN_LONG_INTEGER_BITS: Final = 2_000
#: How numbers, arrays and tables of numpy, pandas, polars, pyarrow and others give their values.
_ARRAY_METHODS: Final = ("tolist", "to_list", "to_pylist", "to_dicts", "item")


_DATA: Final = frozenset({str, int, float, bool, NoneType, dict, list, tuple})


class JsonConversionError(ValueError):
    """A value has no JSON form; the message completes the sentence "The output of 'x' ..."."""


def to_json_value(value: object) -> JsonValue:
    """Return `value` in JSON types, numbers kept exactly.

    Converted are models, dataclasses, enums, dates and times, tuples, sets, views, ranges, iterators, and arrays and
    tables, known by methods such as `tolist`. Bytes become text if they are UTF-8, else a data URL with their Base64.
    Of a LangChain `ToolMessage` the artifact is taken, or else the content, and of a `Command` of LangGraph that only
    adds such messages, what these give. Numbers that are not finite become null, and lone surrogates the replacement
    character, since databases cannot store them.

    Raises `JsonConversionError` for anything else, for more than 250 levels, for an integer of more than 4,300 digits,
    which no JSON reader takes, and for keys that would be the same text.
    """
    try:
        return _convert(_unpack_command(value), _MAX_DEPTH)
    except RecursionError:
        raise JsonConversionError(f"is not a JSON value: {_TOO_DEEP}") from None
    except Exception as error:  # noqa: BLE001 - the value's own code runs here, a generator's for example
        raise JsonConversionError(f"is not a JSON value: {error_text(error)}") from None


def find_reported_failure(value: object) -> str | None:
    """Return the words of a failure that a tool reports by what it returns; None if it reports none.

    A `ToolMessage` with the status "error" and an MCP result with `isError` report one, alone, within a list or a pair
    of content and artifact, and among the messages of a LangGraph `Command` or of a state.
    """
    if isinstance(value, ToolMessage):
        return _describe_failure(value.content) if value.status == "error" else None
    if isinstance(value, tuple):
        return next(filter(None, (find_reported_failure(each) for each in value if type(each) is not tuple)), None)
    if isinstance(value, list):
        # A long table, or a list that contains itself, has nothing to say.
        return next(filter(None, (find_reported_failure(each) for each in value if type(each) not in _DATA)), None)
    if isinstance(value, Mapping):
        is_message = "tool_call_id" in value and value.get("status") == "error"
        if is_message or (value.get("isError") is True and "content" in value):
            return _describe_failure(value.get("content"))
        messages = value.get("messages")
        return find_reported_failure(messages) if isinstance(messages, list | tuple) else None
    if getattr(value, "isError", None) is True:
        return _describe_failure(getattr(value, "content", None))
    if _is_command(value):
        update = value.update  # type: ignore[attr-defined]  # as `_is_command` says
        parts = list(update.values()) if isinstance(update, Mapping) else update
        return find_reported_failure(tuple(_unpack_writes(parts))) if isinstance(parts, list | tuple) else None
    return None


def _unpack_writes(parts: Sequence[object]) -> Iterator[object]:
    """Yield the values of a `Command`'s update, which may be pairs of a field and its value."""
    for part in parts:
        yield part[1] if isinstance(part, tuple) and len(part) == 2 and isinstance(part[0], str) else part


def _describe_failure(content: object) -> str:
    blocks = [content] if isinstance(content, str) else content if isinstance(content, list | tuple) else []
    texts = (
        block
        if isinstance(block, str)
        else block.get("text")
        if isinstance(block, Mapping)
        else getattr(block, "text", "")
        for block in blocks
    )
    text = replace_surrogates("\n".join(str(text) for text in texts if text))
    return text[:_MAX_ERROR_LENGTH] or "The tool reported a failure without words."


def find_type_without_json_form(annotation: object) -> str | None:
    """Return the name of a type in a return annotation whose values have no JSON form; None if none is known."""
    origin, inner = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return find_type_without_json_form(inner[0])
    if origin is Callable:
        return "Callable"
    if origin in {Union, UnionType}:
        names = [find_type_without_json_form(each) for each in inner if each is not NoneType]
        return None if None in names else next(iter(names), None)
    if isinstance(origin, type) and issubclass(origin, list | set | frozenset | tuple | dict):
        return next(filter(None, map(find_type_without_json_form, inner)), None)
    kind = origin or annotation
    if not isinstance(kind, type) or kind in {Any, object} or _has_json_form(kind):
        return None
    return f"{kind.__module__}.{kind.__qualname__}".removeprefix("builtins.")


def _has_json_form(kind: type) -> bool:
    if issubclass(kind, complex | type | io.IOBase | BaseException | IO | Awaitable | AsyncIterator | FunctionType):
        return False
    if isabstract(kind) or getattr(kind, "_is_protocol", False):
        return True
    if issubclass(kind, Mapping | Sequence | AbstractSet | Iterator | ValuesView | Enum | os.PathLike | BaseModelV1):
        return True
    if any(hasattr(kind, name) for name in (*_ARRAY_METHODS, "to_dict", "__attrs_attrs__", "__dataclass_fields__")):
        return True
    try:
        TypeAdapter(kind)
    except PydanticSchemaGenerationError:
        return False
    except Exception:  # noqa: BLE001 - the type's own code, or a name that is not defined yet
        return True
    return True


def error_text(error: BaseException | None) -> str:
    """Return the message of an error as it can be stored, in at most 2,000 characters, whatever a tool put there."""
    try:
        text = error.message if isinstance(error, BaseExceptionGroup) else str(error)
    except Exception:  # noqa: BLE001 - an error without a readable message is still an error
        text = "its message cannot be read"
    if isinstance(error, BaseExceptionGroup):
        text = f"{text}: {'; '.join(f'{type(each).__name__}: {error_text(each)}' for each in error.exceptions)}"
    return replace_surrogates(text if len(text) <= _MAX_ERROR_LENGTH else f"{text[:_MAX_ERROR_LENGTH]}...")


def replace_surrogates(value: str) -> str:
    """Return `value` with the replacement character in place of lone surrogates."""
    return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _convert(value: Any, levels: int) -> JsonValue:  # noqa: ANN401 - whatever a tool returns
    """Return `value` in at most `levels` levels. Raises `JsonConversionError`, and what the value's own code raises."""
    kind = type(value)
    # Of these a long table consists; the patterns below cost twice the time.
    if kind is str:
        return replace_surrogates(value)
    if kind is dict:
        return _convert_object(value.items(), levels)
    if kind is list or kind is tuple:
        return _convert_list(value, levels)
    match value:
        case None | bool():
            return value
        case Enum():
            return _convert(value.value, levels)
        case str():
            return replace_surrogates(str.__str__(value))
        case int():
            return _convert_integer(int(value))
        case float():
            return float(value) if value - value == 0 else None
        case _:
            return _convert_other(value, levels)


def _convert_integer(value: int) -> int:
    if value.bit_length() > _MIN_LONG_INTEGER_BITS:
        try:
            str(value)
        except ValueError:
            raise JsonConversionError("it has a whole number of more than 4,300 digits") from None
    return value


def _convert_list(items: Iterable[Any], levels: int) -> JsonValue:
    _check_levels(levels)
    converted: list[JsonValue] = []
    # No comprehension, which before Python 3.12 takes a stack frame at each level.
    for item in items:
        converted.append(_convert(item, levels - 1))  # noqa: PERF401 - as above
    return converted


def _convert_object(items: Iterable[tuple[Any, Any]], levels: int) -> JsonValue:
    _check_levels(levels)
    converted: dict[str, JsonValue] = {}
    for key, inner in items:
        name = _convert_key(key)
        if name in converted:
            raise JsonConversionError(f"it has two keys that are both written {name[:80]!r}")
        converted[name] = _convert(inner, levels - 1)
    return converted


def _check_levels(levels: int) -> None:
    if levels == 0:
        raise JsonConversionError(_TOO_DEEP)


def _convert_key(key: Any) -> str:  # noqa: ANN401 - as `_convert`
    if isinstance(key, str) and not isinstance(key, Enum):
        return replace_surrogates(str.__str__(key))
    if callable(getattr(key, "tolist", None)):
        key = key.tolist()
    [name] = pydantic_core.to_jsonable_python({key: None})
    return replace_surrogates(name)


def _unpack_command(value: Any) -> Any:  # noqa: ANN401 - whatever a tool returns
    """Return the messages of a `Command` that does nothing else, one by itself; any other value as it is."""
    if not _is_command(value) or value.goto or value.resume is not None:
        return value
    update = value.update
    fields = dict(update) if isinstance(update, Mapping) or _are_pairs(update) else {}
    messages = fields.get("messages")
    messages = messages if isinstance(messages, list | tuple) else [messages]
    if fields.keys() != {"messages"} or not all(isinstance(each, ToolMessage) for each in messages):
        return value
    return messages[0] if len(messages) == 1 else messages


def _is_command(value: object) -> bool:
    # By name: this room imports no LangGraph.
    return type(value).__name__ == "Command" and hasattr(value, "update")


def _are_pairs(update: object) -> bool:
    return isinstance(update, list | tuple) and all(isinstance(each, tuple) and len(each) == 2 for each in update)


def _convert_other(value: Any, levels: int) -> JsonValue:  # noqa: ANN401 - as `_convert`
    """Return a value that is of none of JSON's own types."""
    match value:
        case Mapping():
            return _convert_object(value.items(), levels)
        case bytes() | bytearray() | memoryview():
            return _convert_bytes(value, levels)
        case UserString():
            return replace_surrogates(str(value))
        case BaseModelV1():
            return _convert_object(value.dict(by_alias=True).items(), levels)
        case type() | io.IOBase() | complex():
            raise JsonConversionError(f"{_describe_type(value)} has no JSON form")
        case range() | Iterator():
            return _convert_lazy(value, levels)
        case Sequence() | AbstractSet() | ValuesView():
            return _convert_list(value, levels)
    if hasattr(type(value), "__pydantic_serializer__"):
        return _convert_model(value, levels)
    fields = dataclasses.fields(value) if dataclasses.is_dataclass(value) else getattr(value, "__attrs_attrs__", None)
    if fields is not None:
        return _convert_object(((each.name, getattr(value, each.name)) for each in fields), levels)
    return _convert_array(value, levels)


def _convert_lazy(value: Iterable[Any], levels: int) -> JsonValue:
    items = list(islice(value, _MAX_LAZY_ITEMS + 1))
    if len(items) > _MAX_LAZY_ITEMS:
        raise JsonConversionError(f"{_describe_type(value)} has more than {_MAX_LAZY_ITEMS:,} items")
    return _convert_list(items, levels)


def _convert_array(value: Any, levels: int) -> JsonValue:  # noqa: ANN401 - as `_convert`
    """Return a number, an array or a table of another library, which is known by its methods, or a scalar."""
    if hasattr(value, "columns") and callable(getattr(value, "to_dict", None)) and not hasattr(value, "to_dicts"):
        return _convert(value.to_dict(orient="records"), levels)
    if getattr(getattr(value, "dtype", None), "kind", None) in {"m", "M"} and callable(getattr(value, "astype", None)):
        # As text: `tolist` gives times of nanoseconds as bare numbers.
        return _convert(_drop_missing_times(value.astype(str).tolist()), levels)
    for method in _ARRAY_METHODS:
        if callable(getattr(value, method, None)):
            plain = getattr(value, method)()
            # A number wider than Python's gives itself.
            return _convert(float(plain) if type(plain) is type(value) else plain, levels)
    return _convert_scalar(value)


def _drop_missing_times(value: Any) -> Any:  # noqa: ANN401 - texts in lists
    if isinstance(value, list):
        return [_drop_missing_times(each) for each in value]
    return None if value == "NaT" else value


def _convert_bytes(value: bytes | bytearray | memoryview, levels: int) -> JsonValue:
    if isinstance(value, memoryview) and value.format not in {"B", "b", "c"}:
        return _convert(value.tolist(), levels)
    data = bytes(value)
    try:
        return data.decode()
    except UnicodeDecodeError:
        return f"data:application/octet-stream;base64,{base64.b64encode(data).decode()}"


def _convert_model(value: Any, levels: int) -> JsonValue:  # noqa: ANN401 - a model or a dataclass of pydantic
    """Return a model as it serializes itself; what pydantic cannot convert in it is converted here."""
    if isinstance(value, ToolMessage):
        return _convert(value.content if value.artifact is None else value.artifact, levels)
    try:
        found = pydantic_core.to_jsonable_python(value, fallback=lambda inner: _convert_other(inner, levels))
    except ValueError:
        found = type(value).__pydantic_serializer__.to_python(value, by_alias=True)
    return _convert(found, levels)


def _convert_scalar(value: Any) -> JsonValue:  # noqa: ANN401 - as `_convert`
    """Return a decimal, time, id, path or address as pydantic writes it; what equals nothing, such as NaT, is null."""
    if type(value).__name__ in {"NAType", "NaTType"}:
        return None
    try:
        return _convert(
            os.fspath(value) if isinstance(value, os.PathLike) else pydantic_core.to_jsonable_python(value), 1
        )
    except pydantic_core.PydanticSerializationError:
        raise JsonConversionError(f"{_describe_type(value)} has no JSON form") from None


def _describe_type(value: object) -> str:
    kind = value if isinstance(value, type) else type(value)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    return f"the type {name}" if isinstance(value, type) else f"a value of type {name}"
