"""The serializer of checkpoints: msgpack with a closed list of types, and whole numbers of any size."""

import copy
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from agent.errors import PersistenceError, SettingsError, UsageError, describe_extra
from graphs.langgraph_internals import DeltaSnapshot

_BIG_NUMBER_MARK = "__planwave_int__"
#: No plus sign: what follows one is the name of a cipher (`EncryptedSerializer`).
_BIG_NUMBER_TAG = "msgpack_int"
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
        tag, data = super().dumps_typed(_encode_big_numbers(obj))
        return (_BIG_NUMBER_TAG if tag == "msgpack" else tag), data

    def loads_typed(self, data: tuple[str, bytes]) -> Any:  # noqa: ANN401 - LangGraph's signature
        """Return the value of a type tag and bytes. Raises `PersistenceError` for bytes that nobody here wrote."""
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
            # Bytes from outside can go wrong in any way, and whatever it is, the record is what is wrong.
            raise PersistenceError(f"A stored value of type {tag!r} cannot be read: {error}.") from error


class EncryptedOnlySerializer(EncryptedSerializer):
    """LangGraph's encryption, which takes nothing for true that was not sealed with the key."""

    def loads_typed(self, data: tuple[str, bytes]) -> Any:  # noqa: ANN401 - LangGraph's signature
        """Return the value. Raises `PersistenceError` for what was stored unsealed, with another key, or changed."""
        tag, payload = data
        inner, plus, cipher = tag.rpartition("+")
        if not plus:
            raise PersistenceError(
                f"A stored value of type {tag!r} is not encrypted, though there is a key; do not trust it."
            )
        try:
            opened = self.cipher.decrypt(cipher, payload)
        except (ValueError, AssertionError) as error:
            raise PersistenceError(
                "A stored value cannot be decrypted; it was stored with another key, or changed since."
            ) from error
        return self.serde.loads_typed((inner, opened))


def create_strict_serializer(key: bytes | None = None) -> ExactSerializer | EncryptedOnlySerializer:
    """Return a serializer that makes no type from a checkpoint but LangGraph's own and the plain ones.

    `key`, of 16, 24 or 32 bytes, encrypts with AES in EAX mode. Raises `SettingsError` for one of another length,
    `UsageError` where the extra `encryption` is missing.
    """
    plain = ExactSerializer(allowed_msgpack_modules=(), allowed_json_modules=())
    if key is None:
        return plain
    if len(key) not in {16, 24, 32}:
        raise SettingsError(
            f"The encryption key has {len(key)} bytes; give 16, 24 or 32, such as secrets.token_bytes(32)."
        )
    try:
        sealed = EncryptedOnlySerializer.from_pycryptodome_aes(plain, key=key)
    except ImportError:
        raise UsageError(f"Encryption needs {describe_extra('encryption')}.") from None
    return EncryptedOnlySerializer(sealed.cipher, plain)


def use_exact_serializer(saver: BaseCheckpointSaver[Any]) -> BaseCheckpointSaver[Any]:
    """Return `saver`, as a clone over the same storage where its serializer is LangGraph's own."""
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
