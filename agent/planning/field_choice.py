"""Which field of an output an argument takes: the one of its name, or of a name that means the same."""

import re
from collections.abc import Mapping, Sequence
from typing import Final

from agent.core.plan.json_schema import branches, find_mismatch, iterate_properties
from agent.core.plan.tool_spec import JsonSchema

#: Arguments and fields that mean the same: who is written to, who somebody is, what something is.
_MEANINGS: Final = (
    frozenset({"to", "recipient", "recipients", "email", "mail", "address", "email_address", "mail_address"}),
    frozenset({"person", "name", "user", "username", "assignee", "guest", "customer", "attendee", "owner", "who"}),
    frozenset({"item", "product", "article", "sku", "name"}),
    frozenset({"id", "number", "key", "code", "identifier"}),
)
#: "Each has id, title and status": the fields that a tool without an output schema speaks of.
_LISTED: Final = re.compile(
    r"(?:\b(?:has|have|having|its|their|with|fields?|keys?|contains?|containing|includes?|including|returns?|gives?)\b|[:({])"
    r"[:\s{]*(?P<names>[^.;\n)}]+)",
    re.IGNORECASE,
)
_BETWEEN: Final = re.compile(r"\s*,\s*(?:and\s+)?|\s+and\s+")


def list_fields(schema: JsonSchema, root: JsonSchema, *, description: str) -> dict[str, JsonSchema]:
    """Return the fields of an object with their schemas; if its schema names none, those that a description lists."""
    listed = {name: part for branch in branches(schema, root) for name, part in iterate_properties(branch)}
    told = [_BETWEEN.split(found["names"].strip()) for found in _LISTED.finditer(description)]
    names = next((each for each in told if len(each) > 1), [])
    return listed or {name: {} for name in names if name.isidentifier()}


def choose_field(
    argument: str,
    wanted: JsonSchema,
    fields: Mapping[str, JsonSchema],
    *,
    roots: tuple[JsonSchema, JsonSchema],
    hints: Sequence[str] = (),
) -> str | None:
    """Return the field that `argument` takes; None if none is meant for sure.

    `roots` are the documents of the fields' schemas and of `wanted`; `hints` are words of the goal in their order.
    """
    fitting = [name for name, part in fields.items() if find_mismatch(part, wanted, roots=roots) is None]
    is_known = any(fields.values())
    last = argument.rpartition("_")[2]
    same = [name for name in fitting if name in {argument, last}]
    hinted = sorted((name for name in fitting if name in hints), key=hints.index)
    near = [name for name in fitting if is_known and (_mean_the_same(argument, name) or _mean_the_same(last, name))]
    only = fitting if is_known and len(fitting) == 1 and wanted.get("type") in {"integer", "number"} else []
    choices = (same, [name for name in near if name in hints], near, hinted, only)
    return next((choice[0] for choice in choices if choice), None)


def _mean_the_same(argument: str, field: str) -> bool:
    parts = {field, *field.split("_")}
    return any(argument in meaning and parts & meaning for meaning in _MEANINGS)
