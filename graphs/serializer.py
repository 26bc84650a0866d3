"""The serializer of checkpoints: msgpack with a closed list of types, and whole numbers of any size."""

import copy
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.checkpoint.serde.types import _DeltaSnapshot

_MARK = "__planwave_int__"
_TAG = "msgpack+int"
_LEAST, _MOST = -(2**63), 2**64 - 1


class ExactSerializer(JsonPlusSerializer):
    """LangGraph's serializer, except that numbers beyond 64 bits, which msgpack lacks, keep their value.

    A value without such numbers is stored as ever; one with them gets a type tag of its own.
    """

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:  # noqa: ANN401 - LangGraph's signature
        """Return the type tag and the bytes of `obj`."""
        try:
            return super().dumps_typed(obj)
        except TypeError as error:
            if "64-bit" not in str(error):
                raise
        tag, data = super().dumps_typed(_marked(obj))
        return (_TAG if tag == "msgpack" else tag), data

    def loads_typed(self, data: tuple[str, bytes]) -> Any:  # noqa: ANN401 - LangGraph's signature
        """Return the value of a type tag and bytes."""
        tag, payload = data
        if tag != _TAG:
            return super().loads_typed(data)
        return _unmarked(super().loads_typed(("msgpack", payload)))


def strict_serializer() -> ExactSerializer:
    """Return a serializer that makes no type from a checkpoint but LangGraph's own and the plain ones."""
    return ExactSerializer(allowed_msgpack_modules=(), allowed_json_modules=())


def with_exact_numbers(saver: BaseCheckpointSaver[Any]) -> BaseCheckpointSaver[Any]:
    """Return `saver`, as a clone over the same storage where its serializer is LangGraph's own."""
    if type(saver.serde) is not JsonPlusSerializer:
        return saver
    serde = copy.copy(saver.serde)
    serde.__class__ = ExactSerializer
    clone = copy.copy(saver)
    clone.serde = serde
    return clone


def _marked(value: Any) -> Any:  # noqa: ANN401 - any stored value
    match value:
        case bool():
            return value
        case int() if not _LEAST <= value <= _MOST:
            return {_MARK: hex(value)}
        case dict():
            return {key: _marked(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_marked(inner) for inner in value]
        case _DeltaSnapshot():
            return _DeltaSnapshot(_marked(value.value))
        case _:
            return value


def _unmarked(value: Any) -> Any:  # noqa: ANN401 - any stored value
    match value:
        case dict() if value.keys() == {_MARK}:
            return int(value[_MARK], 16)
        case dict():
            return {key: _unmarked(inner) for key, inner in value.items()}
        case list():
            return [_unmarked(inner) for inner in value]
        case _DeltaSnapshot():
            return _DeltaSnapshot(_unmarked(value.value))
        case _:
            return value
