"""Finds the programs that answer a goal, and the values of their inputs; a match that is not sure is none.

A program answers a goal that says the same with other values: word for word, or in a wording that has the same reading.
Whatever else a goal says or leaves out, another order or another measure, makes it another goal: a wrong number is
worse than a plan that is made again. Texts that a program looks up in data are taken in any form; whoever takes the
program must see that the data have them.
"""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice, permutations
from typing import Final

from pydantic import JsonValue

from agent.core.compiler.argument_check import find_value_errors
from agent.core.plan.json_schema import as_schema, find_allowed_types
from agent.core.plan.tool_spec import JsonSchema
from agent.programs.goal_reading import Reading, read_goal
from agent.programs.goal_vocabulary import is_grammar
from agent.programs.goal_words import Token, split_goal
from agent.programs.input_proposal import NUMBER_WORDS
from agent.programs.program import Program

_ARTICLES: Final = frozenset({"the", "a", "an"})
#: A name is short, and has none of the words by which a goal goes on to say something else.
_MAX_NAME_WORDS: Final = 5
#: More values of one kind are not tried in each order.
_MAX_VALUES: Final = 4
_CONNECTIVES: Final = frozenset(
    (
        *("and", "or", "but", "not", "no", "without", "except", "excluding", "including", "only", "than", "per", "by"),
        *("with", "who", "which", "that", "whose", "where", "when", "if", "unless", "in", "on", "at", "from", "to"),
        *("for", "since", "until", "before", "after", "between", "each", "every", "then", "as", "over", "under"),
    )
)
#: Words that stand in the place of a name and are none.
_NO_NAMES: Final = frozenset(
    (
        *("all", "any", "both", "each", "everyone", "everybody", "everything", "anyone", "anybody", "nobody", "none"),
        *("me", "us", "them", "him", "her", "it", "this", "that", "these", "those", "now", "last", "next", "other"),
        *("others", "today", "tomorrow", "yesterday", "tonight"),
    )
)
_PERIODS: Final = frozenset(
    (
        *("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday", "spring", "summer", "autumn"),
        *("winter", "january", "february", "march", "april", "may", "june", "july", "august", "september", "october"),
        *("november", "december", "q1", "q2", "q3", "q4", "h1", "h2"),
    )
)
_YEARS: Final = range(1900, 2101)
#: Forms that a text has or has not: a text takes the place of one of the same form only.
_FORMS: Final[Mapping[str, re.Pattern[str]]] = {
    "url": re.compile(r"https?://\S+"),
    "mail": re.compile(r"[\w.+-]+@[\w-]+(\.[\w-]+)+"),
    "date": re.compile(r"\d{4}-\d\d-\d\d"),
    "file": re.compile(r"\S+\.[A-Za-z]\w{1,5}"),
}


@dataclass(frozen=True, slots=True)
class ProgramMatch:
    """A program that answers a goal, with the values of its inputs."""

    program: Program
    values: Mapping[str, JsonValue]

    def __str__(self) -> str:
        values = ", ".join(f"{name} = {value!r}" for name, value in self.values.items())
        return f"the program {self.program.label}{' with ' + values if values else ''}"


def list_matches(goal: str, programs: Iterable[Program]) -> list[ProgramMatch]:
    """Return each of the programs whose words say what `goal` says, with the values that the goal gives it."""
    return [match for program in programs if (match := match_goal(goal, program)) is not None]


def match_programs(goal: str, programs: Iterable[Program]) -> ProgramMatch | None:
    """Return the one program that answers `goal`; None if none does, or if several do."""
    found = list_matches(goal, programs)
    return found[0] if len(found) == 1 else None


def match_goal(goal: str, program: Program) -> ProgramMatch | None:
    """Return `program` with the values that `goal` gives it; None if it does not say the same, or in several ways."""
    schema = program.inputs_schema
    ways: list[dict[str, JsonValue]] = []
    for template in filter(None, (program.goal_template, *program.wordings)):
        given, wanted = split_goal(goal), split_goal(template)
        exact = list(islice(_align(_list_words(wanted), _list_words(given), {}, program), 2))
        ways += exact or islice(_read_values(given, wanted, program), 2)
    ways = [way for at, way in enumerate(ways) if way not in ways[:at]]
    if len(ways) != 1 or find_value_errors(schema, ways[0]):
        return None
    return ProgramMatch(program, ways[0])


def list_looked_up_inputs(program: Program) -> frozenset[str]:
    """Return the inputs that are parameters of SQL."""
    found: set[str] = set()
    for task in _list_tasks(program):
        args = task.get("args")
        params = args.get("params") if isinstance(args, dict) and "sql" in args else None
        values = params.values() if isinstance(params, dict) else ()
        found.update(str(value["input"]) for value in values if isinstance(value, dict) and set(value) == {"input"})
    return frozenset(found)


def has_form_of_example(text: str, schema: JsonSchema) -> bool:
    """Whether a text is written as the example of its input is: an address, a file of that kind, or a name."""
    example = _get_example(schema)
    if not isinstance(example, str):
        return True
    for name, form in _FORMS.items():
        if form.fullmatch(example) or form.fullmatch(text):
            same_ending = name != "file" or text.rpartition(".")[2].casefold() == example.rpartition(".")[2].casefold()
            return form.fullmatch(example) is not None and form.fullmatch(text) is not None and same_ending
    words = text.split()
    if example[:1].isupper():
        return all(word[:1].isupper() or word[:1].isdigit() for word in words)
    return len(words) <= len(example.split())


def _list_tasks(program: Program) -> list[dict[str, JsonValue]]:
    tasks = program.plan.get("tasks")
    return [task for task in tasks if isinstance(task, dict)] if isinstance(tasks, list) else []


def _get_example(schema: JsonSchema) -> JsonValue:
    examples = schema.get("examples")
    return examples[0] if isinstance(examples, list) and examples else None


def _get_schema(program: Program, name: str) -> JsonSchema:
    return as_schema(program.inputs_schema["properties"].get(name, {"not": {}}))


def _get_kind(schema: JsonSchema, root: JsonSchema) -> str:
    """Return "year", "count", "file" or "text"."""
    example, types = _get_example(schema), find_allowed_types(schema, root) or frozenset({"string"})
    if types & {"integer", "number"}:
        return "year" if example in _YEARS else "count"
    return "file" if isinstance(example, str) and _FORMS["file"].fullmatch(example) else "text"


# --- Word for word


def _list_words(tokens: list[Token]) -> list[Token]:
    return [token for token in tokens if token.kind != "mark" and token.lower not in _ARTICLES]


def _align(
    wanted: Sequence[Token], given: Sequence[Token], known: Mapping[str, JsonValue], program: Program
) -> Iterator[dict[str, JsonValue]]:
    """Yield each way to read `given` as `wanted`: the value of each slot, those of `known` included."""
    if not wanted:
        if not given:
            yield {**known}
        return
    if wanted[0].kind != "slot":
        if given and wanted[0].lower == given[0].lower:
            yield from _align(wanted[1:], given[1:], known, program)
        return
    name = wanted[0].text
    for length in range(1, min(_MAX_NAME_WORDS, len(given)) + 1):
        value = _read_value(given[:length], name, program)
        if value is not None and known.get(name, value) == value:
            yield from _align(wanted[1:], given[length:], {**known, name: value}, program)


# --- In other words


def _read_values(given: list[Token], wanted: list[Token], program: Program) -> Iterator[dict[str, JsonValue]]:
    """Yield each way to put what `given` says beyond `wanted` into the slots so that both say the same."""
    root = program.inputs_schema
    names = list(dict.fromkeys(token.text for token in wanted if token.kind == "slot"))
    kinds = {name: _get_kind(_get_schema(program, name), root) for name in names}
    known = {token.form for token in wanted if token.kind != "slot"}
    texts, numbers = _find_new_texts(given, known), _find_new_numbers(given, known)
    text_names = [name for name in names if kinds[name] in {"text", "file"}]
    number_names = [name for name in names if kinds[name] in {"year", "count"}]
    if (len(texts), len(numbers)) != (len(text_names), len(number_names)) or max(map(len, (texts, numbers))) > (
        _MAX_VALUES
    ):
        return
    asked = read_goal(wanted, kinds)
    for some in permutations(texts.values()):
        for others in permutations(numbers.values()):
            spans = dict(zip((*text_names, *number_names), (*some, *others), strict=True))
            values = {name: _read_value(places[0], name, program) for name, places in spans.items()}
            if None not in values.values() and _read_with_slots(given, spans, kinds).says_the_same(asked):
                yield values


def _find_new_texts(given: list[Token], known: set[str]) -> dict[str, list[list[Token]]]:
    """Return each text of words that are none of `known`, with the places where it stands."""
    found: dict[str, list[list[Token]]] = {}
    run: list[Token] = []
    for token in (*given, None):
        is_new = token is not None and token.form not in known and token.kind in {"word", "quoted", "literal"}
        if token is not None and is_new and not is_grammar(token) and token.lower not in NUMBER_WORDS:
            run.append(token)
        elif run:
            found.setdefault(" ".join(each.lower for each in run), []).append(run)
            run = []
    return found


def _find_new_numbers(given: list[Token], known: set[str]) -> dict[str, list[list[Token]]]:
    found: dict[str, list[list[Token]]] = {}
    for token in given:
        is_number = token.kind == "number" or (token.kind == "word" and token.lower in NUMBER_WORDS)
        if is_number and token.form not in known:
            found.setdefault(token.form, []).append([token])
    return found


def _read_with_slots(given: list[Token], spans: Mapping[str, list[list[Token]]], kinds: Mapping[str, str]) -> Reading:
    """Return the reading of a goal with a slot in place of each value."""
    starts = {place[0].start: (name, place[-1].end) for name, places in spans.items() for place in places}
    tokens: list[Token] = []
    end = 0
    for token in given:
        if token.start in starts:
            name, end = starts[token.start]
            tokens.append(replace(token, kind="slot", text=name, lower=name, form=name))
        elif token.start >= end:
            tokens.append(token)
    return read_goal(tokens, kinds)


def _read_value(tokens: Sequence[Token], name: str, program: Program) -> JsonValue:
    """Return the value that these tokens are for an input; None if they are none."""
    root, schema = program.inputs_schema, _get_schema(program, name)
    kind = _get_kind(schema, root)
    if kind in {"year", "count"}:
        number = _read_number(tokens)
        is_year = isinstance(number, int) and number in _YEARS and tokens[0].text == str(number)
        is_wrong_kind = is_year is not (kind == "year") and _get_example(schema) is not None
        return None if number is None or is_wrong_kind or find_value_errors(schema, number) else number
    if "string" not in (find_allowed_types(schema, root) or {"string"}):
        return None
    if any(token.lower in _CONNECTIVES or _stands_for_a_name(token) for token in tokens):
        return None
    text = _join(tokens)
    if schema.get("format") == "date" and not _FORMS["date"].fullmatch(text):
        return None
    is_looked_up = name in list_looked_up_inputs(program)
    if not is_looked_up and tokens[0].kind != "quoted" and not has_form_of_example(text, schema):
        return None
    # "In Paris Monday" has no city of that name; data that are looked up tell themselves.
    if not is_looked_up and _has_period(text) and not _has_period(str(_get_example(schema))):
        return None
    return None if find_value_errors(schema, text) else text


def _stands_for_a_name(token: Token) -> bool:
    """Whether a word is none of a name: "us", but not "US"."""
    return token.lower in _NO_NAMES and not token.is_capitals


def _has_period(text: str) -> bool:
    return not _PERIODS.isdisjoint(text.casefold().split())


def _join(tokens: Sequence[Token]) -> str:
    """Return the text of tokens that follow each other, as it was written as far as spaces and hyphens go."""
    text = "".join(token.gap + token.text for token in tokens).removeprefix(tokens[0].gap)
    return text.strip("\"'\u201c\u201d") if tokens[0].kind == "quoted" else text


def _read_number(tokens: Sequence[Token]) -> int | float | None:
    if len(tokens) != 1:
        return None
    word = tokens[0].lower
    if word in NUMBER_WORDS:
        return NUMBER_WORDS[word]
    digits = word.replace(",", "")
    if not re.fullmatch(r"\d+(?:\.\d+)?", digits):
        return None
    return float(digits) if "." in digits else int(digits)
