"""A call's arguments held against its tool's JSON Schema, with whatever references will fill in left open."""

from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import lru_cache
from itertools import islice

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from pydantic import JsonValue
from referencing import Registry

from agent.core.plan.json_schema import at_argument, closed, dereferenced, known_words, properties, types, words
from agent.core.plan.problems import Problem, ProblemKind, dotted, shown
from agent.core.plan.references import Place, special
from agent.core.plan.tool_spec import JsonSchema, SchemaKey, ToolSpec

_WHOLE = frozenset(
    {
        *("anyOf", "oneOf", "not", "if", "enum", "const", "uniqueItems", "contains", "allOf"),
        *("unevaluatedItems", "unevaluatedProperties"),
    }
)
#: A name has to be found among no more than this many for a suggestion; each costs microseconds.
_COMPARED = 200


class _Open:
    """Stands for a value that a reference will fill in."""

    def __repr__(self) -> str:
        return "<filled in by a reference>"


_OPEN = _Open()


def argument_problems(
    spec: ToolSpec, args: Mapping[str, JsonValue], *, place: str, task: str | None
) -> Iterator[Problem]:
    """Yield what is missing, extra or wrongly typed in `args`; `place` and `task` go into each problem."""
    listed = spec.args_schema.get("properties")
    known = listed if isinstance(listed, dict) else {}
    if closed(spec.args_schema):
        for name in args:
            if name not in known:
                yield Problem(
                    kind="extra_argument",
                    place=dotted((place, name)),
                    task=task,
                    what=f"the tool {spec.name!r} takes no argument {shown(name)}.",
                    remedy=did_you_mean(name, known) or f"It takes {', '.join(map(repr, known)) or 'none'}.",
                )
    instance = {name: _opened(value) for name, value in args.items()}
    for error in _validator(SchemaKey(spec.args_schema)).iter_errors(instance):
        if not _undecided(error) and not (error.validator == "additionalProperties" and not error.absolute_path):
            yield from _as_problems(error, spec=spec, place=place, task=task)


def value_errors(schema: JsonSchema, value: JsonValue) -> list[str]:
    """Return what keeps `value` from fitting `schema`, a sentence part each with its place."""
    return [
        f"{dotted(tuple(error.absolute_path)) or 'the value'}: {_shortened(error.message)}"
        for error in _validator(SchemaKey(schema)).iter_errors(value)
    ]


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a remedy that names the closest of `known`; empty where none is close or there are too many."""
    candidates = list(islice(known, _COMPARED + 1))
    close = get_close_matches(name, candidates, n=1, cutoff=0.6) if len(candidates) <= _COMPARED else []
    return f"Did you mean {close[0]!r}?" if close else ""


@lru_cache(maxsize=2048)
def _validator(key: SchemaKey) -> Draft202012Validator:
    return Draft202012Validator(known_words(key.schema), registry=Registry())


def _opened(value: JsonValue) -> object:
    if special(value) is not None:
        return _OPEN
    if isinstance(value, dict):
        return {name: _opened(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_opened(inner) for inner in value]
    return value


def _undecided(error: ValidationError) -> bool:
    """Whether what is wrong may come right once the references are filled in."""
    return error.instance is _OPEN or (error.validator in _WHOLE and _holds_open(error.instance))


def _holds_open(value: object) -> bool:
    if isinstance(value, dict):
        return any(_holds_open(inner) for inner in value.values())
    if isinstance(value, list):
        return any(_holds_open(inner) for inner in value)
    return value is _OPEN


def _as_problems(error: ValidationError, *, spec: ToolSpec, place: str, task: str | None) -> Iterator[Problem]:
    path: Place = tuple(error.absolute_path)
    if error.validator == "required" and isinstance(error.instance, dict):
        name = _missing(error)
        wanted = at_argument(spec.args_schema, (*path, name)).get("description", "")
        yield Problem(
            kind="missing_argument",
            place=dotted((place, *path)),
            task=task,
            what=f"the tool {spec.name!r} needs {name!r}.",
            remedy=f"Give {name!r}{': ' + wanted if wanted else '.'}",
        )
        return
    kind: ProblemKind = "extra_argument" if error.validator == "additionalProperties" else "wrong_type"
    yield Problem(
        kind=kind,
        place=dotted((place, *path)),
        task=task,
        what=f"{_shortened(error.message)}.",
        remedy=_remedy(error, spec, at_argument(spec.args_schema, path)),
    )


def _remedy(error: ValidationError, spec: ToolSpec, wanted: JsonSchema) -> str:
    kinds = types(wanted, spec.args_schema)
    if error.validator == "additionalProperties":
        names = ", ".join(repr(name) for name, _ in properties(dereferenced(wanted, spec.args_schema)))
        return f"It takes {names}." if names else "Remove it."
    if error.validator in {"type", "anyOf", "oneOf"} and kinds:
        return f"{spec.name!r} wants {words(kinds)} there."
    return "Give one of these." if error.validator == "enum" else f"Give what {spec.name!r} allows there."


def _missing(error: ValidationError) -> str:
    """Return the one name that this `required` error is about; the library has it in the message alone."""
    names: list[str] = error.schema["required"] if isinstance(error.schema, dict) else []
    return next(name for name in names if error.message == f"{name!r} is a required property")


def _shortened(message: str) -> str:
    return message if len(message) <= 300 else f"{message[:140]} ... {message[-140:]}"
