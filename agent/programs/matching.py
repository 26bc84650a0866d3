"""Finds the program that answers a goal, and the values of its inputs; a match that is not sure is none.

A program answers a goal that says the same with other values: word for word as the goal it was made of, the words of
courtesy aside, with one value in the place of each that was there. Whatever else a goal says or leaves out, another
order or another measure, makes it another goal: a wrong number is worse than a plan that is made again.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final

from pydantic import JsonValue

from agent.core.compiler.argument_check import find_value_errors
from agent.core.plan.json_schema import as_schema, find_allowed_types
from agent.core.plan.tool_spec import JsonSchema
from agent.programs.input_proposal import NUMBER_WORDS
from agent.programs.program import Program

_WORD: Final = re.compile(
    r"\{(?P<slot>\w+)\}|(?P<number>\d+(?:[.,]\d+)*%?)|(?P<word>[^\W_]+(?:['\u2019\-][^\W_]+)*)|(?P<sign>[<>=%$€£&+/*#@-])"
)
#: What may stand before a goal, or be left out, without changing what is asked.
_OPENINGS: Final = (
    r"(?:please|kindly|can you|could you|would you|i want to know|i would like to know|tell me|give me|show me|show|"
    r"list|find|get|compute|calculate|display|report|what are|what is|what's|which are|which is|who are|who is)"
)
_OPENING: Final = re.compile(rf"^\W*(?:{_OPENINGS}\b[\s,:]*)+", re.IGNORECASE)
_ENDING: Final = re.compile(r"[\s,]*(?:please|thanks|thank you)?[\s.!?]*$", re.IGNORECASE)
_ARTICLES: Final = frozenset({"the", "a", "an"})
#: A name is short, and has none of the words by which a goal goes on to say something else.
_MAX_NAME_WORDS: Final = 5
_CONNECTIVES: Final = frozenset(
    (
        *("and", "or", "but", "not", "no", "without", "except", "excluding", "including", "only", "than", "per", "by"),
        *("with", "who", "which", "that", "whose", "where", "when", "if", "unless", "in", "on", "at", "from", "to"),
        *("for", "since", "until", "before", "after", "between", "each", "every", "then", "as", "over", "under"),
    )
)


@dataclass(frozen=True, slots=True)
class ProgramMatch:
    """A program that answers a goal, with the values of its inputs."""

    program: Program
    values: Mapping[str, JsonValue]

    def __str__(self) -> str:
        values = ", ".join(f"{name} = {value!r}" for name, value in self.values.items())
        return f"the program {self.program.label}{' with ' + values if values else ''}"


def match_programs(goal: str, programs: Iterable[Program]) -> ProgramMatch | None:
    """Return the one program that answers `goal`; None if none does, or if several do."""
    found = [match for program in programs if (match := match_goal(goal, program)) is not None]
    return found[0] if len(found) == 1 else None


def match_goal(goal: str, program: Program) -> ProgramMatch | None:
    """Return `program` with the values that `goal` gives it; None if it does not say the same."""
    if not program.goal_template:
        return None
    schema = program.inputs_schema
    ways = list(islice(_align(_split(program.goal_template), _split(goal), {}, schema), 2))
    if len(ways) != 1 or find_value_errors(schema, ways[0]):
        return None
    return ProgramMatch(program, ways[0])


def _split(text: str) -> list[str]:
    """Return the words, numbers, signs and slots of a goal, without words of courtesy and articles."""
    text = _ENDING.sub("", _OPENING.sub("", text.strip()))
    return [match[0] for match in _WORD.finditer(text) if match[0].casefold() not in _ARTICLES]


def _align(
    wanted: list[str], given: list[str], known: Mapping[str, JsonValue], schema: JsonSchema
) -> Iterator[dict[str, JsonValue]]:
    """Yield each way to read `given` as `wanted`: the value of each slot, those of `known` included."""
    if not wanted:
        if not given:
            yield {**known}
        return
    if not wanted[0].startswith("{"):
        if given and wanted[0].casefold() == given[0].casefold():
            yield from _align(wanted[1:], given[1:], known, schema)
        return
    name = wanted[0][1:-1]
    own = as_schema(schema["properties"].get(name, {"not": {}}))
    for length in range(1, min(_MAX_NAME_WORDS, len(given)) + 1):
        value = _read_value(given[:length], own, schema)
        if value is not None and known.get(name, value) == value:
            yield from _align(wanted[1:], given[length:], {**known, name: value}, schema)


def _read_value(words: list[str], schema: JsonSchema, root: JsonSchema) -> JsonValue:
    """Return the value that these words are for a slot with this schema; None if they are none."""
    types = find_allowed_types(schema, root) or frozenset({"string"})
    text = " ".join(words)
    if types & {"integer", "number"}:
        number = _read_number(words)
        return None if number is None or find_value_errors(schema, number) else number
    if "string" not in types or any(word.casefold() in _CONNECTIVES for word in words):
        return None
    if schema.get("format") == "date" and not re.fullmatch(r"\d{4} ?- ?\d\d ?- ?\d\d", text):
        return None
    examples = schema.get("examples")
    # A name in place of a name: what was written with a capital still is, and what was none is one word.
    if isinstance(examples, list) and examples and isinstance(examples[0], str):
        if examples[0][:1].isupper() and not all(word[:1].isupper() or word[:1].isdigit() for word in words):
            return None
        if not examples[0][:1].isupper() and len(words) > len(examples[0].split()):
            return None
    return None if find_value_errors(schema, text) else text


def _read_number(words: list[str]) -> int | float | None:
    if len(words) != 1:
        return None
    word = words[0].casefold()
    if word in NUMBER_WORDS:
        return NUMBER_WORDS[word]
    digits = word.replace(",", "")
    if not re.fullmatch(r"\d+(?:\.\d+)?", digits):
        return None
    return float(digits) if "." in digits else int(digits)
