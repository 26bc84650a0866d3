"""JSON Schemas of other dialects in the words of draft 2020-12, which is what plans are checked by.

Words of drafts 3 to 2019-09 and of OpenAPI are translated, and so are regular expressions of JavaScript, as far as
Python has the same. What cannot be checked is left out, so that a call is not refused for it, and described in a
sentence. Where leaving it out would refuse more and not less, as below `not`, the whole word goes.
"""

import re
from collections.abc import Iterable, Mapping
from typing import Any, Final

from jsonschema import Draft202012Validator
from jsonschema.exceptions import SchemaError

from agent.core.plan.json_schema import (
    SCHEMA_KEYWORDS,
    SCHEMA_LIST_KEYWORDS,
    SCHEMA_MAP_KEYWORDS,
    drop_unsupported_keywords,
    find_reference_target,
    is_closed_object,
    is_valid_type,
)
from agent.core.plan.tool_spec import JsonSchema

_META_VALIDATOR: Final = Draft202012Validator(
    Draft202012Validator.META_SCHEMA, format_checker=Draft202012Validator.FORMAT_CHECKER
)
#: Words whose verdict turns round if what stands in them allows more.
_INVERTING_KEYWORDS: Final = ("not", "if", "contains")
#: What belongs to a word that is left out, and says nothing without it.
_DEPENDENT_KEYWORDS: Final = {"if": ("then", "else"), "contains": ("minContains", "maxContains")}
#: A group's name, a letter by its code, a control letter, anything at all: as JavaScript writes them, and Python.
_ECMA_FORMS: Final = (
    (re.compile(r"\(\?<([A-Za-z_]\w*)>"), r"(?P<\1>"),
    (re.compile(r"\\k<([A-Za-z_]\w*)>"), r"(?P=\1)"),
    (re.compile(r"\\u\{([0-9A-Fa-f]{1,6})\}"), lambda found: f"\\U{found.group(1):0>8}"),
    (re.compile(r"\\c([A-Za-z])"), lambda found: f"\\x{ord(found.group(1)) % 32:02x}"),
    (re.compile(r"\[\^\]"), r"[\\s\\S]"),
)
#: A class of letters by its Unicode property, which Python's expressions do not have.
_UNICODE_CLASS: Final = re.compile(r"\\[pP]\{[\w=]+\}")
#: Wrong words that are left out of one schema before it is given up.
_MAX_WRONG_WORDS: Final = 200


def modernize_schema(schema: JsonSchema) -> tuple[JsonSchema, tuple[str, ...]]:
    """Return `schema` in draft 2020-12, with an object in place of each `true` and `false`, and what was left out.

    Each sentence names the place and the word. Raises `SchemaError` for what is no schema in any dialect: at the top,
    or everywhere where a subschema should stand and cannot be left out.
    """
    reader = _SchemaReader(schema)
    found = reader.read(schema, ())
    for _ in range(_MAX_WRONG_WORDS):
        checked = drop_unsupported_keywords(found)
        error = next(iter(_META_VALIDATOR.iter_errors(checked)), None)
        if error is None:
            break
        place, is_schema = _find_wrong_word(tuple(error.absolute_path))
        if len(place) < 2:
            raise SchemaError(error.message)
        reader.tell(place[:-1], str(place[-1]), f"is wrong ({error.message:.120})")
        found = _replace(found, place, {}) if is_schema else _remove(found, place)
    else:
        raise SchemaError(f"it has more than {_MAX_WRONG_WORDS} wrong words")
    return _open_required(found, reader), tuple(dict.fromkeys(reader.left_out))


class _SchemaReader:
    """Reads the schemas of one document."""

    def __init__(self, root: JsonSchema) -> None:
        self.root = root
        self.left_out: list[str] = []

    def tell(self, place: Iterable[object], word: str, why: str) -> None:
        """Say that a word was left out."""
        names = ".".join(str(step) for step in place if step != "properties")
        self.left_out.append(f"{word!r}{f' of {names!r}' if names else ''} {why}; it is not checked.")

    def read(self, schema: JsonSchema, place: tuple[object, ...]) -> JsonSchema:
        """Return one schema with all that it contains."""
        read: JsonSchema = {}
        for word, value in _translate_words(schema).items():
            before = len(self.left_out)
            inner = self._read_word(word, value, place)
            loses = len(self.left_out) > before
            if word == "oneOf" and loses:
                # With one of them wider, a value may fit two.
                read["anyOf"] = [*read.get("anyOf", []), *inner]
            elif not (word in _INVERTING_KEYWORDS and loses):
                read[word] = inner
        self._drop_dependents(read, schema)
        self._read_pattern(read, place)
        self._read_property_patterns(read, place)
        self._read_reference(read, place)
        return read

    def _read_word(self, word: str, value: Any, place: tuple[object, ...]) -> Any:  # noqa: ANN401 - a JSON value
        inside = (*place, word)
        if isinstance(value, dict) and word in SCHEMA_MAP_KEYWORDS:
            return {name: self._read_part(part, (*inside, name)) for name, part in value.items()}
        if isinstance(value, list) and word in SCHEMA_LIST_KEYWORDS:
            return [self._read_part(part, (*inside, at)) for at, part in enumerate(value)]
        # A boolean stays: here it says whether there may be more, which is asked for by `is False`.
        return self.read(value, inside) if isinstance(value, dict) and word in SCHEMA_KEYWORDS else value

    def _read_part(self, part: Any, place: tuple[object, ...]) -> Any:  # noqa: ANN401 - a JSON value
        if isinstance(part, bool):
            return {} if part else {"not": {}}
        return self.read(part, place) if isinstance(part, dict) else part

    def _drop_dependents(self, read: JsonSchema, schema: JsonSchema) -> None:
        for word, dependents in _DEPENDENT_KEYWORDS.items():
            if word in schema and word not in read:
                for dependent in dependents:
                    read.pop(dependent, None)

    def _read_pattern(self, read: JsonSchema, place: tuple[object, ...]) -> None:
        pattern = read.get("pattern")
        if not isinstance(pattern, str) or (translated := _translate_pattern(pattern)) == pattern:
            return
        if translated is None:
            self.tell(place, "pattern", f"is {pattern!r}, which Python cannot check")
            del read["pattern"]
        else:
            read["pattern"] = translated

    def _read_property_patterns(self, read: JsonSchema, place: tuple[object, ...]) -> None:
        listed = read.get("patternProperties")
        if not isinstance(listed, dict):
            return
        translated = {pattern: _translate_pattern(pattern) for pattern in listed}
        lost = [pattern for pattern, new in translated.items() if new is None]
        read["patternProperties"] = {new: listed[pattern] for pattern, new in translated.items() if new is not None}
        if lost:
            self.tell(place, "patternProperties", f"has {lost[0]!r}, which Python cannot check")
            # What they listed is additional now.
            read["additionalProperties"] = True
            read.pop("unevaluatedProperties", None)

    def _read_reference(self, read: JsonSchema, place: tuple[object, ...]) -> None:
        reference = read.get("$ref")
        if isinstance(reference, str) and find_reference_target(reference, self.root) is None:
            self.tell(place, "$ref", f"is {reference!r}, which is not in the schema")
            del read["$ref"]


def _translate_words(schema: JsonSchema) -> JsonSchema:
    """Return a schema, not those within it, with the words of 2020-12 in place of those of older drafts and OpenAPI."""
    new = dict(schema)
    for bound, limit in (("exclusiveMinimum", "minimum"), ("exclusiveMaximum", "maximum")):
        if isinstance(new.get(bound), bool) and new.pop(bound) and limit in new:
            new[bound] = new.pop(limit)
    if isinstance(new.get("items"), list):
        new["prefixItems"] = new.pop("items")
        if "additionalItems" in new:
            new["items"] = new.pop("additionalItems")
    if "divisibleBy" in new:
        new.setdefault("multipleOf", new.pop("divisibleBy"))
    if new.get("$recursiveRef") == "#":
        new["$ref"] = new.pop("$recursiveRef")
    return _gather_required(_split_dependencies(_allow_null(new)))


def _split_dependencies(schema: JsonSchema) -> JsonSchema:
    if not isinstance(schema.get("dependencies"), dict):
        return schema
    new = dict(schema)
    for name, needed in new.pop("dependencies").items():
        word = "dependentSchemas" if isinstance(needed, dict | bool) else "dependentRequired"
        new[word] = {**new.get(word, {}), name: [needed] if isinstance(needed, str) else needed}
    return new


def _allow_null(schema: JsonSchema) -> JsonSchema:
    """Return a schema that OpenAPI calls `nullable` as one of the type null, too."""
    declared = schema.get("type")
    if schema.get("nullable") is not True or declared is None or not is_valid_type(declared):
        return schema
    new = {**schema, "type": list(dict.fromkeys((*(declared if isinstance(declared, list) else [declared]), "null")))}
    if isinstance(new.get("enum"), list) and None not in new["enum"]:
        new["enum"] = [*new["enum"], None]
    return new


def _gather_required(schema: JsonSchema) -> JsonSchema:
    """Return a schema whose properties do not say themselves whether they are required, as in draft 3."""
    listed = schema.get("properties")
    if not isinstance(listed, dict):
        return schema
    marks = {
        name: part["required"]
        for name, part in listed.items()
        if isinstance(part, dict) and isinstance(part.get("required"), bool)
    }
    if not marks:
        return schema
    plain = {
        name: {word: value for word, value in part.items() if word != "required"} if name in marks else part
        for name, part in listed.items()
    }
    required = schema.get("required")
    names = [*(required if isinstance(required, list) else ()), *(name for name, mark in marks.items() if mark)]
    return {**schema, "properties": plain, "required": list(dict.fromkeys(names))}


def _translate_pattern(pattern: str) -> str | None:
    """Return a regular expression of JavaScript as Python writes it; None if it can only be written in JavaScript.

    An expression that is wrong in both languages is returned as it is.
    """
    if _compiles(pattern):
        return pattern
    translated = pattern
    for form, new in _ECMA_FORMS:
        translated = form.sub(new, translated)
    if _compiles(translated):
        return translated
    # Only to tell whether the rest is right.
    return None if _compiles(_UNICODE_CLASS.sub(r"\\w", translated)) else pattern


def _compiles(pattern: str) -> bool:
    try:
        re.compile(pattern)
    except (re.error, OverflowError, RecursionError):
        return False
    return True


def _find_wrong_word(path: tuple[Any, ...]) -> tuple[tuple[Any, ...], bool]:
    """Return the start of the path of an error, up to what is wrong, and whether that is a schema and no word."""
    at = 0
    while at < len(path):
        word = path[at]
        size = 2 if word in SCHEMA_MAP_KEYWORDS or word in SCHEMA_LIST_KEYWORDS else 1 if word in SCHEMA_KEYWORDS else 0
        if not size or at + size > len(path):
            return path[: at + 1], False
        at += size
    return path, True


def _replace(value: Any, place: tuple[Any, ...], new: object) -> Any:  # noqa: ANN401 - a JSON value
    if not place:
        return new
    step, rest = place[0], place[1:]
    if isinstance(value, list):
        return [_replace(part, rest, new) if at == step else part for at, part in enumerate(value)]
    return {**value, step: _replace(value[step], rest, new)}


def _remove(schema: JsonSchema, place: tuple[Any, ...]) -> JsonSchema:
    """Return `schema` without the word at `place`."""
    holder: Any = schema
    for step in place[:-1]:
        holder = holder[step]
    left = {word: part for word, part in holder.items() if word != place[-1]}
    changed: JsonSchema = _replace(schema, place[:-1], left)
    return changed


def _open_required(schema: JsonSchema, reader: _SchemaReader) -> JsonSchema:
    """Return the schema of a tool's arguments with a property for each name that is required and not listed."""
    listed, required = schema.get("properties"), schema.get("required")
    if not isinstance(listed, Mapping) or not isinstance(required, list):
        return schema
    missing = [name for name in required if name not in listed]
    if not missing or not is_closed_object(schema):
        return schema
    if schema.get("additionalProperties") is False:
        for name in missing:
            reader.tell((), "required", f"has {name!r}, which is no property and cannot be given")
        return {**schema, "required": [name for name in required if name in listed]}
    return {**schema, "properties": {**listed, **{name: {} for name in missing}}}
