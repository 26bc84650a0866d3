"""Proposes inputs for a plan: the literals that its goal names become values that a run is given.

A literal counts as named if the goal has it as a whole word or number ("five" is 5). It is replaced wherever it stands:
as an argument, inside a text by a template, and inside SQL by a parameter; a date in SQL whose year the goal names
becomes a date of that year. What the goal names and the plan has only inside something else is reported, not guessed.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from pydantic import JsonValue

from agent.core.plan.document import Plan
from agent.core.plan.json_schema import branches, get_argument_schema
from agent.core.plan.references import parse_reference
from agent.core.plan.tool_spec import Catalogue, JsonSchema

#: Without "one", which is more often a pronoun than a number.
NUMBER_WORDS: Final[Mapping[str, int]] = {
    "two": 2,
    "three": 3,
    "four": 4,
    "five": 5,
    "six": 6,
    "seven": 7,
    "eight": 8,
    "nine": 9,
    "ten": 10,
    "eleven": 11,
    "twelve": 12,
    "fifteen": 15,
    "twenty": 20,
    "thirty": 30,
    "fifty": 50,
    "hundred": 100,
}
_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
#: The name of an input in a wording.
_BRACES: Final = re.compile(r"\{([A-Za-z]\w*)\}")
_ISO_DATE: Final = re.compile(r"(\d{4})-(\d\d)-(\d\d)")
_YEAR_PREFIX: Final = re.compile(r"(\d{4})(-?%)")
_YEARS: Final = range(1900, 2101)
#: The longest text that counts as one value.
_MAX_VALUE_LENGTH: Final = 80
#: A string or a number of SQL, comments and quoted names being left alone.
_SQL_TOKEN: Final = re.compile(
    r"""(?P<comment>--[^\n]*|/\*.*?\*/)|(?P<quoted>"(?:[^"]|"")*")|(?P<text>'(?:[^']|'')*')"""
    r"""|(?P<word>[$:]?[A-Za-z_][\w$]*)|(?P<number>\d+(?:\.\d+)?)|(?P<other>\S)""",
    re.DOTALL,
)
_COMPARISONS: Final = frozenset({"=", "<", ">", "!", "(", ",", "in", "between", "and", "like", "ilike", "not"})


class ProposedInput(NamedTuple):
    """A literal that is to be an input."""

    name: str
    value: JsonValue
    #: How the goal has it.
    as_written: str
    schema: dict[str, JsonValue]


@dataclass(frozen=True, slots=True)
class Proposal:
    """A plan with inputs in place of the literals that its goal names."""

    plan: dict[str, JsonValue]
    inputs: tuple[ProposedInput, ...]
    #: The goal with `{name}` for each of them, if any; empty if it cannot be told where they stand.
    goal_template: str
    #: What still holds only for the values of now, a sentence each.
    leftovers: tuple[str, ...] = ()


@dataclass(slots=True)
class _Collector:
    """The inputs found so far, each value once."""

    goal: str
    refused: frozenset[str]
    #: Names in the plan's SQL: columns and tables, which the goal may name too.
    identifiers: frozenset[str]
    inputs: dict[str, ProposedInput] = field(default_factory=dict)

    def find(self, value: JsonValue, *, hint: str) -> ProposedInput | None:
        """Return the input for a literal; a new one is named after `hint`. None: the goal does not name it."""
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            return None
        for known in self.inputs.values():
            if known.value == value and type(known.value) is type(value):
                return known
            if isinstance(value, str) and str(known.value).casefold() == value.casefold():
                # Another spelling of it, which a value of that input could not follow.
                return None
        written = find_in_goal(self.goal, value)
        if written is None or {str(value), written} & self.refused or str(value).casefold() in self.identifiers:
            return None
        found = ProposedInput(self._make_name(hint), value, written, _describe(value))
        self.inputs[found.name] = found
        return found

    def _make_name(self, hint: str) -> str:
        words = _NAME.findall(hint)
        stem = (words[-1] if words else "value").lower()
        name, number = stem, 2
        while name in self.inputs or name == "inputs":
            name, number = f"{stem}_{number}", number + 1
        return name


def find_in_goal(goal: str, value: JsonValue) -> str | None:
    """Return how `goal` has a literal, as a whole word or number; None if it does not."""
    if isinstance(value, str):
        text = value.strip()
        if not text or len(text) > _MAX_VALUE_LENGTH or len(text) < 2:
            return None
        found = re.search(rf"(?<![\w-]){re.escape(text)}(?![\w-])", goal, re.IGNORECASE)
        return found[0] if found else None
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    for match in re.finditer(r"(?<![\w.,-])\d+(?:[.,]\d+)*(?![\w-])", goal):
        if match[0].replace(",", "") == str(value) or match[0] == str(value):
            return match[0]
    for word, number in NUMBER_WORDS.items():
        if number == value and (found := re.search(rf"\b{word}\b", goal, re.IGNORECASE)):
            return found[0]
    return None


def propose_inputs(plan: Plan, goal: str, catalogue: Catalogue, *, refused: frozenset[str] = frozenset()) -> Proposal:
    """Return `plan` with inputs for the literals that `goal` names, except those in `refused`, as the goal has them.

    A plan that has inputs already, or whose goal names no literal of it, is returned as it is, with the goal as its
    template.
    """
    document = plan.model_dump(mode="json", exclude_defaults=True)
    document.pop("input_values", None)
    if plan.inputs is not None:
        properties = plan.inputs.get("properties")
        names = frozenset(properties if isinstance(properties, Mapping) else plan.inputs)
        return Proposal(document, (), make_template(goal, (), names))
    collector = _Collector(goal, refused, _list_identifiers(document["tasks"]))
    tasks = [_replace_in_task(task, catalogue, collector) for task in document["tasks"]]
    found = tuple(collector.inputs.values())
    if not found:
        return Proposal(document, (), make_template(goal, (), frozenset()))
    # A second pass: texts may contain a value that only a later task has shown to be one.
    tasks = [_fill_templates(task, found) for task in tasks]
    inputs: dict[str, JsonValue] = {each.name: each.schema for each in found}
    program = {**document, "inputs": inputs, "tasks": tasks}
    return Proposal(program, found, make_template(goal, found, frozenset(inputs)), tuple(_find_leftovers(tasks, found)))


def _describe(value: JsonValue) -> dict[str, JsonValue]:
    if isinstance(value, str):
        is_date = bool(_ISO_DATE.fullmatch(value))
        return {"type": "string", **({"format": "date"} if is_date else {"minLength": 1}), "examples": [value]}
    return {"type": "integer" if isinstance(value, int) else "number", "examples": [value]}


def _replace_in_task(task: dict[str, Any], catalogue: Catalogue, collector: _Collector) -> dict[str, Any]:
    args = dict(task.get("args") or {})
    spec = catalogue.get(task["tool"])
    properties = spec.args_schema.get("properties", {}) if spec else {}
    if isinstance(args.get("sql"), str) and "params" in properties and isinstance(args.get("params", {}), dict):
        sql, params = _replace_in_sql(args["sql"], collector, taken=args.get("params") or {})
        args = {**args, "sql": sql, **({"params": {**(args.get("params") or {}), **params}} if params else {})}
        others = {name: value for name, value in args.items() if name not in {"sql", "params"}}
    else:
        others = args
    replaced = {
        name: _replace_value(value, collector, hint=name)
        for name, value in others.items()
        # A choice among the tool's own words is part of the plan, also where the goal has the word.
        if not (spec and _is_choice(get_argument_schema(spec.args_schema, (name,)), spec.args_schema))
    }
    return {**task, "args": {**args, **replaced}}


def _is_choice(schema: JsonSchema, root: JsonSchema) -> bool:
    return any("enum" in branch or "const" in branch for branch in branches(schema, root))


def _list_identifiers(tasks: list[dict[str, Any]]) -> frozenset[str]:
    texts = [task.get("args", {}).get("sql") for task in tasks]
    tokens = (token for text in texts if isinstance(text, str) for token in _SQL_TOKEN.finditer(text))
    return frozenset(token[0].strip('"').casefold() for token in tokens if token.lastgroup in {"word", "quoted"})


def _replace_value(value: JsonValue, collector: _Collector, *, hint: str) -> JsonValue:
    if parse_reference(value) is not None:
        return value
    if isinstance(value, dict):
        return {key: _replace_value(inner, collector, hint=key) for key, inner in value.items()}
    if isinstance(value, list):
        return [_replace_value(inner, collector, hint=hint) for inner in value]
    found = collector.find(value, hint=hint)
    return {"input": found.name} if found else value


def _replace_in_sql(
    sql: str, collector: _Collector, *, taken: Mapping[str, JsonValue]
) -> tuple[str, dict[str, JsonValue]]:
    """Return `sql` with a parameter for each literal that is an input, edited in place, and the parameters."""
    edits: list[tuple[int, int, str]] = []
    params: dict[str, JsonValue] = {}
    column, before = "", re.match("", "")
    words: list[str] = []
    for token in _SQL_TOKEN.finditer(sql):
        kind, text = token.lastgroup, token[0]
        if kind == "comment":
            continue
        if kind in {"text", "number"}:
            value: JsonValue = (
                text[1:-1].replace("''", "'") if kind == "text" else float(text) if "." in text else int(text)
            )
            start = before.start() if kind == "text" and before and before[0].casefold() == "date" else token.start()
            hint = "top" if words[-1:] == ["limit"] else column
            new = _find_parameter(value, collector, hint=hint) if kind == "text" or _is_compared(words) else None
            if new is not None and new[0].name not in taken:
                edits.append((start, token.end(), new[1]))
                params[new[0].name] = {"input": new[0].name}
        elif kind == "quoted" or (kind == "word" and text.casefold() not in _COMPARISONS | {"date", "limit"}):
            column = text.strip('"')
        words.append(text.casefold())
        before = token
    for start, end, text in reversed(edits):
        sql = sql[:start] + text + sql[end:]
    return sql, params


def _is_compared(words: list[str]) -> bool:
    """Whether a number after these tokens is what a column is compared with, or a limit: no precision of `round`."""
    if words[-1:] and words[-1] in {"=", "<", ">", "limit", "between"}:
        return True
    if words[-1:] == ["and"]:
        return "between" in words[-4:]
    opened = len(words) - 1 - words[::-1].index("(") if "(" in words else 0
    is_open = opened > 0 and ")" not in words[opened:]
    return is_open and words[opened - 1] == "in" and words[-1] in {"(", ","}


def _find_parameter(value: JsonValue, collector: _Collector, *, hint: str) -> tuple[ProposedInput, str] | None:
    """Return the input that a literal of SQL is, and the SQL that stands for it."""
    if isinstance(value, str) and (date := _ISO_DATE.fullmatch(value)):
        year, month, day = map(int, date.groups())
        if found := collector.find(year, hint="year"):
            return found, f"make_date(${found.name}, {month}, {day})"
        # The exclusive end of a period.
        if (month, day) == (1, 1) and (found := collector.find(year - 1, hint="year")):
            return found, f"make_date(${found.name} + 1, 1, 1)"
    if isinstance(value, str) and (begun := _YEAR_PREFIX.fullmatch(value)):
        # What a month that is kept as a text begins with: LIKE '2024-%'.
        found = collector.find(int(begun[1]), hint="year")
        return (found, f"(CAST(${found.name} AS VARCHAR) || '{begun[2]}')") if found else None
    is_year = isinstance(value, int) and value in _YEARS
    found = collector.find(value, hint="year" if is_year else hint)
    return (found, f"${found.name}") if found else None


def _fill_templates(task: dict[str, Any], inputs: tuple[ProposedInput, ...]) -> dict[str, Any]:
    args = {name: value if name == "sql" else _fill_value(value, inputs) for name, value in task["args"].items()}
    return {**task, "args": args}


def _fill_value(value: JsonValue, inputs: tuple[ProposedInput, ...]) -> JsonValue:
    if isinstance(value, dict):
        found = parse_reference(value)
        if found is not None or set(value) == {"input"}:
            return value
        return {key: _fill_value(inner, inputs) for key, inner in value.items()}
    if isinstance(value, list):
        return [_fill_value(inner, inputs) for inner in value]
    if not isinstance(value, str):
        return value
    spans = list(_find_spans(value, inputs, exact=True))
    if not spans:
        return value
    text, at = "", 0
    for start, end, name in spans:
        text += value[at:start].replace("{", "{{").replace("}", "}}") + f"{{{name}}}"
        at = end
    text += value[at:].replace("{", "{{").replace("}", "}}")
    return {"template": text, "values": {name: {"input": name} for _, _, name in spans}}


def _find_spans(text: str, inputs: tuple[ProposedInput, ...], *, exact: bool = False) -> Iterator[tuple[int, int, str]]:
    """Yield where `text` has the values of `inputs`, in order, without overlaps; `exact`: as the value is written."""
    found: list[tuple[int, int, str]] = []
    for each in inputs:
        written = {str(each.value)} if exact else {str(each.value), each.as_written}
        for form in written:
            pattern = rf"(?<![\w-]){re.escape(form)}(?![\w-])"
            flags = re.RegexFlag(0) if exact else re.IGNORECASE
            found += [(*match.span(), each.name) for match in re.finditer(pattern, text, flags)]
    at = 0
    for start, end, name in sorted(found, key=lambda span: (span[0], -span[1])):
        if start >= at:
            yield start, end, name
            at = end


def make_template(wording: str, inputs: tuple[ProposedInput, ...], names: frozenset[str]) -> str:
    """Return a wording of a goal with `{name}` for each of `inputs`; "" if it does not say where each of them stands.

    It may have the values, or the names of inputs in braces, of which `names` are all that there are.
    """
    written = frozenset(_BRACES.findall(wording))
    if written:
        is_complete = written <= names and {each.name for each in inputs} <= written
        return wording if is_complete and not re.search(r"[{}]", _BRACES.sub("", wording)) else ""
    if "{" in wording or "}" in wording:
        return ""
    text, at, seen = "", 0, set[str]()
    for start, end, name in _find_spans(wording, inputs):
        text += wording[at:start] + f"{{{name}}}"
        at = end
        seen.add(name)
    return text + wording[at:] if seen == {each.name for each in inputs} else ""


def _find_leftovers(tasks: list[dict[str, Any]], inputs: tuple[ProposedInput, ...]) -> Iterator[str]:
    """Yield a sentence for each text that still has a value in another spelling, such as a file name in lower case."""
    names = {each.name: each.value.casefold() for each in inputs if isinstance(each.value, str)}
    for task in tasks:
        for text in (*_walk_texts(task["args"]), task.get("condition") or ""):
            for name in (name for name, value in names.items() if value in text.casefold()):
                yield (
                    f"Task {task['id']!r} has the value of the input {name!r} in {text[:80]!r}, where it stays as it "
                    "is; change that by hand if it should follow the input."
                )


def _walk_texts(value: JsonValue) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            # The name of an input, and the text that has its fields.
            if key not in {"input", "template"}:
                yield from _walk_texts(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _walk_texts(inner)
