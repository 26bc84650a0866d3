"""Checks the arguments of a call against the JSON Schema of its tool; what references will fill in is left open."""

import json
from collections.abc import Iterable, Iterator, Mapping
from difflib import get_close_matches
from functools import lru_cache
from itertools import islice

from jsonschema import Draft202012Validator
from jsonschema.exceptions import ValidationError
from pydantic import JsonValue
from referencing import Registry

from agent.core.plan.json_schema import (
    dereference_schema,
    describe_types,
    drop_unsupported_keywords,
    find_allowed_types,
    get_argument_schema,
    is_closed_object,
    iterate_properties,
)
from agent.core.plan.problems import Problem, ProblemKind, format_path, format_value
from agent.core.plan.references import JsonPath, parse_reference
from agent.core.plan.tool_spec import JsonSchema, SchemaKey, ToolSpec

#: Keywords whose verdict on a value depends on all of it, so also on the references in it.
_WHOLE_VALUE_KEYWORDS = frozenset(
    {
        *("anyOf", "oneOf", "not", "if", "enum", "const", "uniqueItems", "contains", "allOf"),
        *("unevaluatedItems", "unevaluatedProperties"),
    }
)
#: With more candidates than this no similar name is suggested; each costs microseconds.
_MAX_CANDIDATES = 200


class _UnresolvedValue:
    """Stands for a value that a reference will fill in."""

    def __repr__(self) -> str:
        return "<filled in by a reference>"


_UNRESOLVED = _UnresolvedValue()


def check_arguments(
    spec: ToolSpec, args: Mapping[str, JsonValue], *, place: str, task: str | None
) -> Iterator[Problem]:
    """Yield what is missing, extra or of the wrong type in `args`; `place` and `task` go into each problem."""
    listed = spec.args_schema.get("properties")
    known = listed if isinstance(listed, dict) else {}
    is_closed = is_closed_object(spec.args_schema)
    if is_closed:
        for name in args:
            if name not in known:
                yield Problem(
                    kind="extra_argument",
                    place=format_path((place, name)),
                    task=task,
                    what=f"the tool {spec.name!r} takes no argument {format_value(name)}.",
                    remedy=did_you_mean(name, known) or f"It takes {', '.join(map(repr, known)) or 'none'}.",
                )
    instance = {name: _mark_references(value) for name, value in args.items()}
    for error in _get_validator(SchemaKey(spec.args_schema)).iter_errors(instance):
        is_told = is_closed and error.validator == "additionalProperties" and not error.absolute_path
        if not _is_undecided(error) and not is_told:
            yield from _to_problems(error, spec=spec, place=place, task=task)


def find_value_errors(schema: JsonSchema, value: JsonValue) -> list[str]:
    """Return why `value` does not fit `schema`: for each error its place and a message, without a full stop."""
    try:
        return [
            f"{format_path(tuple(error.absolute_path)) or 'the value'}: {_shorten_message(error.message)}"
            for error in _get_validator(SchemaKey(schema)).iter_errors(value)
        ]
    except RecursionError:
        return ["the value: it is nested too deeply for this schema, which refers to itself"]


def parse_typed_texts(args: dict[str, JsonValue], schema: JsonSchema) -> dict[str, JsonValue]:
    """Return `args` with a text parsed as JSON where the schema takes no text, but what the text says.

    Front ends edit every argument in a text field, and send the text.
    """
    wrong = len(find_value_errors(schema, args))
    for name, text in args.items() if wrong else ():
        if not isinstance(text, str):
            continue
        try:
            parsed = {**args, name: json.loads(text, parse_constant=_reject_constant)}
        except (ValueError, RecursionError):
            continue
        if (left := len(find_value_errors(schema, parsed))) < wrong:
            args, wrong = parsed, left
    return args


def _reject_constant(name: str) -> None:
    raise ValueError(f"{name} is not JSON")


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a remedy that names the closest of `known`; empty if none is close or there are too many."""
    candidates = list(islice(known, _MAX_CANDIDATES + 1))
    close = get_close_matches(name, candidates, n=1, cutoff=0.6) if len(candidates) <= _MAX_CANDIDATES else []
    return f"Did you mean {close[0]!r}?" if close else ""


@lru_cache(maxsize=2048)
def _get_validator(key: SchemaKey) -> Draft202012Validator:
    return Draft202012Validator(drop_unsupported_keywords(key.schema), registry=Registry())


def _mark_references(value: JsonValue) -> object:
    if parse_reference(value) is not None:
        return _UNRESOLVED
    if isinstance(value, dict):
        return {name: _mark_references(inner) for name, inner in value.items()}
    if isinstance(value, list):
        return [_mark_references(inner) for inner in value]
    return value


def _is_undecided(error: ValidationError) -> bool:
    """Whether the error may disappear once the references are filled in."""
    return error.instance is _UNRESOLVED or (
        error.validator in _WHOLE_VALUE_KEYWORDS and _has_unresolved(error.instance)
    )


def _has_unresolved(value: object) -> bool:
    if isinstance(value, dict):
        return any(_has_unresolved(inner) for inner in value.values())
    if isinstance(value, list):
        return any(_has_unresolved(inner) for inner in value)
    return value is _UNRESOLVED


def _to_problems(error: ValidationError, *, spec: ToolSpec, place: str, task: str | None) -> Iterator[Problem]:
    path: JsonPath = tuple(error.absolute_path)
    if error.validator == "required" and isinstance(error.instance, dict):
        name = _get_missing_name(error)
        description = get_argument_schema(spec.args_schema, (*path, name)).get("description", "")
        yield Problem(
            kind="missing_argument",
            place=format_path((place, *path)),
            task=task,
            what=f"the tool {spec.name!r} needs {name!r}.",
            remedy=f"Give {name!r}{': ' + description if description else '.'}",
        )
        return
    kind: ProblemKind = "extra_argument" if error.validator == "additionalProperties" else "wrong_type"
    yield Problem(
        kind=kind,
        place=format_path((place, *path)),
        task=task,
        what=f"{_shorten_message(error.message)}.",
        remedy=_suggest_remedy(error, spec, get_argument_schema(spec.args_schema, path)),
    )


def _suggest_remedy(error: ValidationError, spec: ToolSpec, schema: JsonSchema) -> str:
    kinds = find_allowed_types(schema, spec.args_schema)
    if error.validator == "additionalProperties":
        names = ", ".join(repr(name) for name, _ in iterate_properties(dereference_schema(schema, spec.args_schema)))
        return f"It takes {names}." if names else "Remove it."
    if error.validator in {"type", "anyOf", "oneOf"} and kinds:
        return f"{spec.name!r} expects {describe_types(kinds)} here."
    return "Give one of these." if error.validator == "enum" else f"Give a value that {spec.name!r} allows here."


def _get_missing_name(error: ValidationError) -> str:
    """Return the name that this `required` error is about; the library has it only in the message."""
    names: list[str] = error.schema["required"] if isinstance(error.schema, dict) else []
    return next(name for name in names if error.message == f"{name!r} is a required property")


def _shorten_message(message: str) -> str:
    return message if len(message) <= 300 else f"{message[:140]} ... {message[-140:]}"
