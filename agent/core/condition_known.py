"""What a part of a condition can be, as a JSON Schema."""

from collections.abc import Mapping
from typing import NamedTuple

from agent.core.schema import types
from agent.core.tool import JsonSchema


class Known(NamedTuple):
    """What a part of an expression can be; `root` is where its schema's references are looked up."""

    schema: JsonSchema
    root: JsonSchema
    #: As it is written, for sentences; empty where it is no plain path.
    path: str = ""

    @property
    def kinds(self) -> frozenset[str] | None:
        """The JSON types, None where nothing is known."""
        return types(self.schema, self.root)


NOTHING = Known({}, {})
TRUTH = Known({"type": "boolean"}, {})
#: What functions and macros give.
RESULTS: Mapping[str, JsonSchema] = {
    "size": {"type": "integer"},
    "int": {"type": "integer"},
    "double": {"type": "number"},
    "string": {"type": "string"},
    "bool": {"type": "boolean"},
    **{
        name: {"type": "boolean"}
        for name in ("has", "all", "exists", "exists_one", "contains", "startsWith", "endsWith", "matches")
    },
}


def comparable_as(kind: str) -> str:
    """Return what a JSON type is ordered among; empty where it has no order."""
    return {"integer": "number", "number": "number", "string": "string", "boolean": "boolean"}.get(kind, "")


def reckonable_as(kind: str) -> str:
    """Return what a JSON type is reckoned with; empty where it is not."""
    return "number" if kind in {"integer", "number"} else ""


def addable_as(kind: str) -> str:
    """Return what a JSON type is added to; empty where it is not."""
    return kind if kind in {"string", "array"} else reckonable_as(kind)


def total(left: Known, right: Known) -> Known:
    """Return what a sum, or another reckoning, of two parts gives."""
    one, other = left.kinds, right.kinds
    if one is None or other is None or len(one | other) != 1:
        return NOTHING
    return Known({"type": next(iter(one))}, {})


def either(one: Known, other: Known) -> Known:
    """Return what is one part or the other."""
    if {} in (one.schema, other.schema) or one.root != other.root:
        return NOTHING
    return Known({"anyOf": [one.schema, other.schema]}, one.root)
