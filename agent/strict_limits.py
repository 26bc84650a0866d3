"""How large a schema may be that OpenAI's strict mode takes.

Source: the guide "Structured model outputs", section "Supported schemas", as of February 2026. What a `$ref` leads to
counts where it is defined, once.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from agent.core.tool import JsonSchema

_PROPERTIES: Final = 5_000
_LEVELS: Final = 10
_LETTERS: Final = 120_000
_CHOICES: Final = 1_000
_LONG_LIST: Final = 250
_LETTERS_OF_LONG_LIST: Final = 15_000


def too_large(schema: JsonSchema) -> str | None:
    """Return what of a schema is beyond the limits, as a sentence; None where it is within."""
    parts = list(_parts(schema, level=0))
    names = [name for part, _ in parts for word in ("properties", "$defs") for name in part.get(word, {})]
    lists = [part["enum"] for part, _ in parts if isinstance(part.get("enum"), list)]
    values = [value for each in lists for value in each] + [part["const"] for part, _ in parts if "const" in part]
    counted = (
        ("properties", sum(len(part.get("properties", {})) for part, _ in parts), _PROPERTIES),
        ("levels of objects", max((level for _, level in parts), default=0), _LEVELS),
        ("letters of names and values", sum(map(len, names)) + sum(len(str(value)) for value in values), _LETTERS),
        ("values in lists of choices", sum(map(len, lists)), _CHOICES),
        (
            "letters in one list of choices",
            max((sum(map(len, each)) for each in lists if len(each) > _LONG_LIST and _texts(each)), default=0),
            _LETTERS_OF_LONG_LIST,
        ),
    )
    found = [f"{number} {what}, at most {most}" for what, number, most in counted if number > most]
    return f"The schema has {'; '.join(found)}." if found else None


def _parts(part: JsonSchema, *, level: int) -> Iterator[tuple[JsonSchema, int]]:
    """Yield each schema within `part` with the number of objects that it is inside of."""
    level += "properties" in part
    yield part, level
    for word in ("properties", "$defs"):
        start = 0 if word == "$defs" else level
        for inner in part.get(word, {}).values():
            yield from _parts(inner, level=start)
    for inner in part.get("anyOf", ()):
        yield from _parts(inner, level=level)
    if isinstance(part.get("items"), Mapping):
        yield from _parts(part["items"], level=level)


def _texts(values: list[Any]) -> bool:
    return all(isinstance(value, str) for value in values)
