"""The serializer of checkpoints: msgpack with a closed list of types, and integers of any size."""

import copy
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from agent.errors import PersistenceError, SettingsError, UsageError, describe_extra
from graphs.langgraph_internals import DeltaSnapshot

_BIG_NUMBER_MARK = "__planwave_int__"
#: Without a plus sign, after which `EncryptedSerializer` expects the name of a cipher.
_BIG_NUMBER_TAG = "msgpack_int"
_LEAST, _MOST = -(2**63), 2**64 - 1


class ExactSerializer(JsonPlusSerializer):
    """LangGraph's serializer, except that integers beyond 64 bits, which msgpack lacks, keep their value.

    A value with such integers gets its own type tag; any other value is stored as LangGraph does.
    """

    def dumps_typed(self, obj: Any) -> tuple[str, bytes]:  # noqa: ANN401 - LangGraph's signature
        """Return the type tag and the bytes of `obj`."""
        try:
            return super().dumps_typed(obj)
        except TypeError as error:
            if "64-bit" not in str(error):
                raise
        tag, data = super().dumps_typed(_encode_big_numbers(obj))
        return (_BIG_NUMBER_TAG if tag == "msgpack" else tag), data

    def loads_typed(self, data: tuple[str, bytes]) -> Any:  # noqa: ANN401 - LangGraph's signature
        """Return the value of a type tag and bytes. Raises `PersistenceError` if the bytes cannot be read."""
        tag, payload = data
        if "+" in tag:
            raise PersistenceError(
                "A stored value is encrypted; open the database with its key, or set PLANWAVE_AES_KEY to it."
            )
        try:
            if tag != _BIG_NUMBER_TAG:
                return super().loads_typed(data)
            return _decode_big_numbers(super().loads_typed(("msgpack", payload)))
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


def _encode_big_numbers(value: Any) -> Any:  # noqa: ANN401 - any stored value
    match value:
        case bool():
            return value
        case int() if not _LEAST <= value <= _MOST:
            return {_BIG_NUMBER_MARK: hex(value)}
        case dict():
            return {key: _encode_big_numbers(inner) for key, inner in value.items()}
        case list() | tuple():
            return [_encode_big_numbers(inner) for inner in value]
        case DeltaSnapshot():
            return DeltaSnapshot(_encode_big_numbers(value.value))
        case _:
            return value


def _decode_big_numbers(value: Any) -> Any:  # noqa: ANN401 - any stored value
    match value:
        case dict() if value.keys() == {_BIG_NUMBER_MARK}:
            return int(value[_BIG_NUMBER_MARK], 16)
        case dict():
            return {key: _decode_big_numbers(inner) for key, inner in value.items()}
        case list():
            return [_decode_big_numbers(inner) for inner in value]
        case DeltaSnapshot():
            return DeltaSnapshot(_decode_big_numbers(value.value))
        case _:
            return value
