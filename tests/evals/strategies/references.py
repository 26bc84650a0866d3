"""References as the baselines write them, `$id` or `$id.rows.*.name`, and what they stand for."""

import re
from collections.abc import Iterator, Mapping
from typing import Any

#: A whole argument, or a whole part of one. In a longer text a `$name` is the text's own, such as a parameter of SQL.
REFERENCE = re.compile(r"\$\{?([A-Za-z0-9_]+)\}?((?:\.[A-Za-z0-9_ *-]+|\[[^\[\]]+\])*)")
_STEP = re.compile(r"\.([A-Za-z0-9_ *-]+)|\[['\"]?([^\[\]'\"]+)['\"]?\]")


class UnresolvedError(Exception):
    """A reference leads nowhere; the message is a sentence."""


def referred(value: Any) -> Iterator[str]:
    """Yield the id of every reference anywhere in `value`."""
    if isinstance(value, Mapping):
        for each in value.values():
            yield from referred(each)
    elif isinstance(value, list):
        for each in value:
            yield from referred(each)
    elif isinstance(value, str) and (found := REFERENCE.fullmatch(value.strip())):
        yield found[1]


def resolved(value: Any, outputs: Mapping[str, Any]) -> Any:
    """Return `value` with each reference replaced by what it stands for, its type kept. Raises `UnresolvedError`."""
    if isinstance(value, Mapping):
        return {name: resolved(each, outputs) for name, each in value.items()}
    if isinstance(value, list):
        return [resolved(each, outputs) for each in value]
    if isinstance(value, str) and (found := REFERENCE.fullmatch(value.strip())):
        if found[1] not in outputs:
            raise UnresolvedError(f"{value!r} refers to {found[1]!r}, which has no output.")
        path = [name or index for name, index in _STEP.findall(found[2])]
        part = _part(outputs[found[1]], path, reference=value)
        # An output with a single value stands for it: `$sum` is what `$sum.result` is.
        return next(iter(part.values())) if not path and isinstance(part, dict) and len(part) == 1 else part
    return value


def _part(value: Any, path: list[str], *, reference: str) -> Any:
    if not path:
        return value
    name, *rest = path
    if name == "*" and isinstance(value, list):
        return [_part(each, rest, reference=reference) for each in value]
    if isinstance(value, dict) and name in value:
        return _part(value[name], rest, reference=reference)
    if isinstance(value, list) and name.isdigit() and int(name) < len(value):
        return _part(value[int(name)], rest, reference=reference)
    raise UnresolvedError(f"{reference!r} has no {name!r} in what it refers to.")
