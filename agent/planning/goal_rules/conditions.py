"""What a goal says by "if", "unless", "only when" and "otherwise" as conditions of the tasks that it is said of."""

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, Literal, NamedTuple

from agent.core.plan.json_schema import iterate_properties
from agent.core.plan.references import JsonPath
from agent.planning.field_choice import list_fields
from agent.planning.goal_rules.draft_tasks import DraftTasks, TaskDocument, fill_arguments
from agent.planning.goal_rules.wording import (
    SPELLED_NUMBERS,
    GoalCondition,
    find_conditions,
    is_action,
    list_stems,
    list_words,
    split_parts,
    split_sentences,
    stem_word,
)
from agent.planning.script_code.condition_writing import negate_condition, write_path

_NUMBER: Final = rf"(?P<number>\d[\d,]*(?:\.\d+)?|{'|'.join(SPELLED_NUMBERS)})"
_UNIT: Final = r"(?:\s*(?:€|\$|£))?\s*"
#: Comparisons in words, the first that fits counts.
_COMPARISONS: Final = (
    tuple(
        (re.compile(rf"\b{words}{_UNIT}{_NUMBER}\b", re.IGNORECASE), sign)
        for words, sign in (
            (r"(?:no|not) (?:more|greater|higher) than", "<="),
            (r"(?:no|not) (?:fewer|less|lower) than", ">="),
            (r"(?:is|are|was|has|have) not (?:below|under)", ">="),
            (r"(?:is|are|was|has|have) not (?:above|over)", "<="),
            (r"(?:fewer|less|lower|smaller|cheaper|colder|shorter|lighter|earlier|drier) than", "<"),
            (r"(?:more|greater|higher|bigger|larger|longer|warmer|hotter|later|dearer|heavier|costlier) than", ">"),
            (r"more expensive than", ">"),
            (r"(?:at least|a minimum of|minimum|from)", ">="),
            (r"(?:at most|up to|a maximum of|maximum)", "<="),
            (r"(?:below|under|beneath|drops? to less than|falls? below)", "<"),
            (r"(?:above|over|beyond|exceeds?|exceeding)", ">"),
            (r"(?:exactly|equals?|equal to)", "=="),
        )
    )
    + tuple(
        (re.compile(rf"{_NUMBER}{words}", re.IGNORECASE), sign)
        for words, sign in (
            (r"(?:\s+[\w%€$]+)?\s+or (?:more|above|over)\b", ">="),
            (r"(?:\s+[\w%€$]+)?\s+or (?:less|fewer|below|under)\b", "<="),
        )
    )
    + (
        (re.compile(rf"\bonly {_NUMBER}\b", re.IGNORECASE), "<="),
        (
            re.compile(rf"\b(?:there (?:are|is)|we have|(?:have|has|are|is)(?: still)?) {_NUMBER}\b", re.IGNORECASE),
            ">=",
        ),
    )
)
_NONE: Final = re.compile(
    r"\b(?:no|none|nothing|nobody|zero|empty|sold out|out of stock|not any|(?:is|are) not|isn't|aren't|unavailable)\b",
    re.IGNORECASE,
)
_SOME: Final = re.compile(
    r"\b(?:any|some|there (?:is|are)|at all|exists?|available|free|in stock|left|found)\b", re.IGNORECASE
)
_EQUALS: Final = re.compile(
    r"\b(?:is|are|was|were|says|equals)\s+(?P<not>not\s+)?(?:(?:still|already|currently|now|yet)\s+)?"
    r"['\"]?(?P<value>[A-Za-z][\w-]*)['\"]?\s*(?:yet|now|already|right now|today)?"
    r"\s*(?:\b(?:at|in|on|for|of|by)\b.*)?$",
    re.IGNORECASE,
)
#: Words that a condition says of a field of another name.
_MEANINGS: Final = (
    "price cost euro dollar amount fee fare cheap expensive dear",
    "count stock left piece quantity number many remain unit",
    "temperature degree celsius warm cold hot",
    "rain rainy wet precipitation",
)
#: Stems of conditions that say how much, and not of what.
_COMPARING: Final = frozenset(
    map(
        stem_word,
        (
            *(
                "below",
                "under",
                "above",
                "over",
                "least",
                "most",
                "exactly",
                "only",
                "still",
                "left",
                "has",
                "have",
                "had",
            ),
            *(
                "was",
                "were",
                "not",
                "no",
                "none",
                "some",
                "percent",
                "piece",
                "unit",
                "point",
                "degree",
                "drops",
                "falls",
            ),
            *(
                "exceeds",
                "equal",
                "empty",
                "lower",
                "higher",
                "greater",
                "fewer",
                "stock",
                "remaining",
                "they",
                "he",
                "she",
            ),
            *SPELLED_NUMBERS,
        ),
    )
)
_STATES: Final = ("status", "state")

OperandKind = Literal["number", "list", "boolean", "text", "unknown"]


class Operand(NamedTuple):
    """A part of an earlier output that a condition may be about."""

    task: str
    path: JsonPath
    kind: OperandKind
    #: The stems of its own name, and of its tool, its description and its arguments.
    own: frozenset[str]
    around: frozenset[str]
    #: Of a list: the fields of its items that are numbers.
    numbers: tuple[str, ...] = ()

    @property
    def cel(self) -> str:
        """The part as CEL says it."""
        return write_path(self.task, self.path)


def add_conditions(goal: str, draft: DraftTasks) -> None:
    """Give the tasks of the draft the conditions that the goal puts on them, as far as outputs decide them.

    A condition that the script has stays, unless it compares the same part of an output the other way round.
    """
    for condition in find_conditions(goal, draft.list_verbs()):
        actions = [task for task in draft.list_actions() if _find_part(task, condition, goal, draft)]
        if not actions:
            continue
        test = _build_test(condition, goal, draft, actions[0])
        if test is None:
            continue
        met = negate_condition(test) if condition.is_negated else test
        for task in actions:
            part = _find_part(task, condition, goal, draft)
            _set_condition(task, met if part == "met" else negate_condition(met))


def _find_part(task: TaskDocument, condition: GoalCondition, goal: str, draft: DraftTasks) -> str:
    """Return which part of a condition speaks of a task: `met`, `unmet`, or none."""
    # The words of the condition itself belong to neither: it may name what the task is about.
    rest = [part for each in split_sentences(goal) if condition.met not in each for part in split_parts(each)]
    for sentence in split_sentences(goal):
        if condition.met in sentence:
            left = sentence.replace(condition.met, "|").replace(condition.unmet or "\0", "|")
            rest += [part for piece in left.replace(condition.test, "|").split("|") for part in split_parts(piece)]
    scores = {
        "met": max(draft.score(task, part) for part in split_parts(condition.met)),
        "unmet": max(draft.score(task, part) for part in split_parts(condition.unmet)) if condition.unmet else 0.0,
        "": max((draft.score(task, part) for part in rest if part.strip()), default=0.0),
    }
    best = max(scores.values())
    tied = [name for name, score in scores.items() if score == best]
    if best == 0.0:
        # Nothing says what it belongs to: the only action of the plan is what the condition is about.
        return "met" if len(draft.list_actions()) == 1 else ""
    if len(tied) > 1 and {"met", "unmet"} <= set(tied):
        same = [each for each in draft.list_actions() if each["tool"] == task["tool"]]
        return "unmet" if same.index(task) else "met"
    return tied[0]


def _set_condition(task: TaskDocument, condition: str) -> None:
    given = task.get("condition")
    if given is None or _compares_same(given, condition):
        task["condition"] = condition


def _compares_same(given: str, condition: str) -> bool:
    """Whether two conditions compare the same part with the same number: then the goal's words decide which way."""
    sides = [re.sub(r"[!()\s]|<=|>=|==|!=|<|>", " ", each).split() for each in (given, condition)]
    return sides[0] == sides[1]


def _build_test(condition: GoalCondition, goal: str, draft: DraftTasks, task: TaskDocument) -> str | None:
    test = _write_test(condition.test, _list_operands(draft, task), condition)
    if test is None and (source := _add_source(condition, goal, draft, task)) is not None:
        test = _write_test(condition.test, _list_operands(draft, task, only=source["id"]), condition)
        if test is None:
            draft.tasks.remove(source)
    return test


def _add_source(condition: GoalCondition, goal: str, draft: DraftTasks, task: TaskDocument) -> TaskDocument | None:
    """Add the call that looks up what a condition is about, if the script forgot it and one tool does so."""
    stems = list_stems(condition.test)
    found = []
    for spec in draft.specs.values():
        if is_action(spec) or any(each["tool"] == spec.name for each in draft.all_tasks):
            continue
        args = fill_arguments(spec, f"{condition.test} {goal}", near=task.get("args"))
        # Its verb and its description say too much that conditions say, too.
        fields = " ".join(name for name, _ in iterate_properties(spec.output_schema or {}))
        about = _add_meanings(list_stems(" ".join([*list_words(spec.name)[1:], fields])))
        if args is not None and (shared := _add_meanings(stems) & about):
            found.append((len(shared), spec.name, args))
    if not found:
        return None
    _, tool, args = max(found, key=lambda each: each[0])
    return draft.insert_before(draft.tasks.index(task), tool, args, f"what the goal says by {condition.said!r}")


def _list_operands(draft: DraftTasks, task: TaskDocument, *, only: str | None = None) -> list[Operand]:
    found = []
    for source in draft.list_sources(before=task):
        if (only is None or source["id"] == only) and not source.get("for_each") and not source.get("condition"):
            found += _list_parts(source, draft)
    return found


def _list_parts(source: Mapping[str, Any], draft: DraftTasks) -> list[Operand]:
    spec = draft.get_spec(source)
    around = frozenset({*draft.list_stems(source), *list_stems(spec.description)})
    # A field that only repeats what was asked for says nothing.
    members = [
        (path, kinds) for path, kinds in draft.list_members(source) if not path or path[-1] not in source["args"]
    ]
    found = []
    for path, kinds in members:
        kind = _name_kind(kinds)
        own = frozenset(_add_meanings({*(stem_word(word) for name in path for word in list_words(str(name)))}))
        found.append(
            Operand(source["id"], path, kind, own, around, _list_numbers(source, path, draft) if kind == "list" else ())
        )
    if not members or (members == [((), frozenset({"object"}))]):
        # Of an output without a schema only the fields that its tool speaks of are known.
        listed = list_fields({}, {}, description=spec.description)
        found += [
            Operand(source["id"], (name,), "unknown", frozenset(_add_meanings({stem_word(name)})), around)
            for name in listed
        ]
    return found


def _name_kind(kinds: frozenset[str]) -> OperandKind:
    kinds = kinds - {"null"}
    if kinds and kinds <= {"integer", "number"}:
        return "number"
    names: dict[str, OperandKind] = {"array": "list", "boolean": "boolean", "string": "text"}
    return names.get(next(iter(kinds)), "unknown") if len(kinds) == 1 else "unknown"


def _list_numbers(source: Mapping[str, Any], path: JsonPath, draft: DraftTasks) -> tuple[str, ...]:
    item = draft.describe_output(source, (*path, 0))
    return tuple(
        name
        for name, _ in iterate_properties(item)
        if _name_kind(draft.find_types(source, (*path, 0, name))) == "number"
    )


def _add_meanings(stems: set[str]) -> set[str]:
    groups = [{stem_word(word) for word in group.split()} for group in _MEANINGS]
    return stems.union(*(group for group in groups if group & stems))


def _write_test(test: str, operands: Sequence[Operand], condition: GoalCondition) -> str | None:
    """Return a condition in words as CEL over the operands; None if it is not decided over which."""
    first, *rest = re.split(r"\s+(and|or)\s+(?!(?:more|less|fewer|above|below|over|under)\b)", test)
    written = _write_claim(first, operands, condition)
    for word, claim in zip(rest[::2], rest[1::2], strict=True):
        other = _write_claim(claim, operands, condition)
        if written is None or other is None:
            return None
        written = f"({written}) {'&&' if word.lower() == 'and' else '||'} ({other})"
    return written


def _write_claim(test: str, operands: Sequence[Operand], condition: GoalCondition) -> str | None:
    stems = list_stems(f"{test} {condition.met}")
    for pattern, sign in _COMPARISONS:
        if (found := pattern.search(test)) is not None:
            return _write_comparison(sign, found["number"], operands, stems, list_stems(test))
    if (equal := _EQUALS.search(test)) is not None and (
        written := _write_equality(equal["value"], bool(equal["not"]), operands, stems)
    ):
        return written
    if _NONE.search(test):
        return _write_presence(operands, stems, list_stems(test), exists=False)
    if _SOME.search(test):
        return _write_presence(operands, stems, list_stems(test), exists=True)
    return None


def _write_comparison(
    sign: str, number: str, operands: Sequence[Operand], stems: set[str], said: set[str]
) -> str | None:
    value = SPELLED_NUMBERS.get(number.lower(), number.replace(",", ""))
    # What is known by its name only has to be said by it.
    counted = [
        each for each in operands if each.kind in {"number", "list"} or (each.kind == "unknown" and each.own & said)
    ]
    best = _choose_operand(counted, stems, said)
    if best is None:
        return None
    if best.kind in {"number", "unknown"}:
        return f"{best.cel} {sign} {value}"
    named = [name for name in best.numbers if _add_meanings({stem_word(word) for word in list_words(name)}) & said]
    if named:
        return f"{best.cel}.exists(x, {write_path('x', (named[0],))} {sign} {value})"
    return f"size({best.cel}) {sign} {value}"


def _write_equality(value: str, is_not: bool, operands: Sequence[Operand], stems: set[str]) -> str | None:
    word = stem_word(value.lower())
    for each in operands:
        if each.kind == "boolean" and word in each.own:
            return f"!{each.cel}" if is_not else each.cel
    texts = [each for each in operands if each.kind in {"text", "unknown"}]
    named = [each for each in texts if each.own & stems] or [
        each for each in texts if each.path[-1:] and each.path[-1] in _STATES
    ]
    if value.lower() in {"empty", "available", "free", "there", "low", "needed", "possible"} or not named:
        return None
    return f"{named[0].cel} {'!=' if is_not else '=='} {json.dumps(value)}"


def _write_presence(operands: Sequence[Operand], stems: set[str], said: set[str], *, exists: bool) -> str | None:
    best = _choose_operand([each for each in operands if each.kind in {"list", "number", "boolean"}], stems, said)
    if best is None:
        return None
    if best.kind == "boolean":
        return best.cel if exists else f"!{best.cel}"
    counted = f"size({best.cel})" if best.kind == "list" else best.cel
    return f"{counted} > 0" if exists else f"{counted} == 0"


def _choose_operand(operands: Sequence[Operand], stems: set[str], said: set[str]) -> Operand | None:
    """Return the operand that most words of the condition speak of; the only one there is if it has no such words.

    `said` are the stems of the condition, `stems` those of what depends on it, too.
    """
    named = {id(each): 3 * len(each.own & said) + 2 * len(each.around & said) for each in operands}
    if not operands or (max(named.values()) == 0 and said - _COMPARING):
        return None
    scored = [(named[id(each)] + len(each.around & stems), each) for each in operands]
    best, chosen = max(scored, key=lambda pair: pair[0])
    tied = [each for score, each in scored if score == best]
    return chosen if len(tied) == 1 or (best > 0 and len({each.task for each in tied}) > 1) else None
