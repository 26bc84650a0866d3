"""Digests of JSON values: SHA-256 of a canonical text."""

import hashlib
import json

from pydantic import JsonValue


def to_canonical_json(value: JsonValue) -> str:
    """Return `value` as JSON text that is the same for equal values: keys sorted, no spaces."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True)


def hash_json(value: JsonValue) -> str:
    """Return the SHA-256 of the canonical JSON text of `value`, as 64 hexadecimal digits."""
    return hashlib.sha256(to_canonical_json(value).encode()).hexdigest()
