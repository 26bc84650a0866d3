"""The serializer of checkpoints: msgpack with a closed list of types, and every JSON value exactly as it was."""

import copy
import dataclasses
import json
from collections.abc import Callable
from typing import Any, Final

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer
from langgraph.types import Send
from pydantic import BaseModel

from agent.errors import PersistenceError, SettingsError, UsageError, describe_extra
from graphs.langgraph_internals import DeltaSnapshot

#: The only key of an object that stands for a value that msgpack lacks. Under it is the hexadecimal text of an integer,
#: or a pair: "json" and the text of what is nested too deeply, "object" and what an object has under this very key.
_MARK: Final = "__planwave_int__"
#: Without a plus sign, after which `EncryptedSerializer` expects the name of a cipher.
_MARKED_TAG: Final = "msgpack_int"
_LEAST, _MOST = -(2**63), 2**64 - 1
#: Levels that are left to msgpack, which takes 255; within an `Interrupt` and its like it is given what is inside anew.
_MSGPACK_DEPTH: Final = 64


class ExactSerializer(JsonPlusSerializer):
    """LangGraph's serializer, with what msgpack lacks: integers beyond 64 bits and deep nesting.

    A value that msgpack refuses gets its own type tag; any other value is stored as LangGraph does.
    """

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:  # noqa: ANN401 - LangGraph's signature
        """Return the type tag and the bytes of `obj`. Raises `TypeError` if it cannot be stored."""
        try:
            return super().dumps_typed(obj)
        except TypeError:
            try:
                marked = _mark(obj, _MSGPACK_DEPTH)
            except (ValueError, RecursionError) as error:
                raise TypeError(f"A value cannot be stored: {error}") from None
        tag, data = super().dumps_typed(marked)
        return (_MARKED_TAG if tag == "msgpack" else tag), data

    def loads_typed(self, data: tuple[str, bytes]) -> Any:  # noqa: ANN401 - LangGraph's signature
        """Return the value of a type tag and bytes. Raises `PersistenceError` if the bytes cannot be read."""
        tag, payload = data
        if "+" in tag:
            raise PersistenceError(
                "A stored value is encrypted; open the database with its key, or set PLANWAVE_AES_KEY to it."
            )
        try:
            if tag != _MARKED_TAG:
                return super().loads_typed(data)
            return _unmark(super().loads_typed(("msgpack", payload)))
        except Exception as error:
            # Changed bytes can raise anything, and whatever it is, the record is at fault.
            raise PersistenceError(f"A stored value of type {tag!r} cannot be read: {error}.") from error


class EncryptedOnlySerializer(EncryptedSerializer):
    """LangGraph's encryption, which refuses every value that was not encrypted with the key."""

    def loads_typed(self, data: tuple[str, bytes]) -> Any:  # noqa: ANN401 - LangGraph's signature
        """Return the value. Raises `PersistenceError` if it is unencrypted, has another key, or was changed."""
        tag, payload = data
        inner, plus, cipher = tag.rpartition("+")
        if not plus:
            raise PersistenceError(
                f"A stored value of type {tag!r} is not encrypted, although a key is set; do not trust it."
            )
        try:
            decrypted = self.cipher.decrypt(cipher, payload)
        except (ValueError, AssertionError) as error:
            raise PersistenceError(
                "A stored value cannot be decrypted; it was stored with another key, or changed since."
            ) from error
        return self.serde.loads_typed((inner, decrypted))


def create_strict_serializer(key: bytes | None = None) -> ExactSerializer | EncryptedOnlySerializer:
    """Return a serializer that loads no types from a checkpoint but LangGraph's own and plain ones.

    `key`, of 16, 24 or 32 bytes, encrypts with AES in EAX mode. Raises `SettingsError` for a key of another length,
    `UsageError` if the extra `encryption` is missing.
    """
    plain = ExactSerializer(allowed_msgpack_modules=(), allowed_json_modules=())
    if key is None:
        return plain
    if len(key) not in {16, 24, 32}:
        raise SettingsError(
            f"The encryption key has {len(key)} bytes; give 16, 24 or 32, such as secrets.token_bytes(32)."
        )
    try:
        encrypted = EncryptedOnlySerializer.from_pycryptodome_aes(plain, key=key)
    except ImportError:
        raise UsageError(f"Encryption needs {describe_extra('encryption')}.") from None
    return EncryptedOnlySerializer(encrypted.cipher, plain)


def use_exact_serializer(saver: BaseCheckpointSaver[Any]) -> BaseCheckpointSaver[Any]:
    """Return `saver`, or a clone over the same storage if its serializer is LangGraph's own."""
    if type(saver.serde) is not JsonPlusSerializer:
        return saver
    serde = copy.copy(saver.serde)
    serde.__class__ = ExactSerializer
    clone = copy.copy(saver)
    clone.serde = serde
    return clone


def _mark(value: Any, levels: int) -> Any:  # noqa: ANN401 - any stored value
    """Return `value` with marks in place of what msgpack lacks. Raises `ValueError` for an integer without a text."""
    match value:
        case bool():
            return value
        case int() if not _LEAST <= value <= _MOST:
            str(value)  # What cannot be written down would stop everything that shows it.
            return {_MARK: hex(value)}
        case dict() | list() | tuple() if levels == 0:
            return {_MARK: ["json", json.dumps(value)]}
        case dict():
            marked = {key: _mark(inner, levels - 1) for key, inner in value.items()}
            return {_MARK: ["object", marked[_MARK]]} if marked.keys() == {_MARK} else marked
        case list() | tuple():
            return [_mark(inner, levels - 1) for inner in value]
        case _:
            return _map_inner(value, lambda inner: _mark(inner, levels))


def _unmark(value: Any) -> Any:  # noqa: ANN401 - any stored value
    match value:
        case dict() if value.keys() == {_MARK}:
            return _read_mark(value[_MARK])
        case dict():
            return {key: _unmark(inner) for key, inner in value.items()}
        case list():
            return [_unmark(inner) for inner in value]
        case _:
            return _map_inner(value, _unmark)


def _read_mark(marked: Any) -> Any:  # noqa: ANN401 - what is stored under the mark
    match marked:
        case str():
            return int(marked, 16)
        case ["json", text]:
            return json.loads(text)
        case ["object", inner]:
            return {_MARK: _unmark(inner)}
        case _:
            raise ValueError(f"{marked!r:.80} is no mark")


def _map_inner(value: Any, change: Callable[[Any], Any]) -> Any:  # noqa: ANN401 - any stored value
    """Return a wrapper, such as `Interrupt` or `Overwrite`, or a worker's message, with what is inside changed."""
    if isinstance(value, DeltaSnapshot):
        return DeltaSnapshot(change(value.value))
    if isinstance(value, Send):
        return Send(value.node, change(value.arg))
    if isinstance(value, BaseModel):
        return value.model_copy(update={name: change(getattr(value, name)) for name in type(value).model_fields})
    if not dataclasses.is_dataclass(value) or isinstance(value, type):
        return value
    changed = copy.copy(value)
    for field in dataclasses.fields(value):
        object.__setattr__(changed, field.name, change(getattr(value, field.name)))
    return changed
