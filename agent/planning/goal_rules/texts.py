"""A text that speaks of earlier results is a template over them: what the goal says that it tells is put in."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import JsonValue

from agent.core.plan.json_schema import find_allowed_types, iterate_properties
from agent.core.plan.references import ItemReference, find_argument_references, find_producers
from agent.core.plan.tool_spec import ToolSpec
from agent.planning.field_choice import list_fields
from agent.planning.goal_rules.draft_tasks import DraftTasks, TaskDocument
from agent.planning.goal_rules.wording import (
    find_numbers,
    find_quoted,
    list_stems,
    list_words,
    split_parts,
    split_sentences,
    stem_word,
)

_TEXT_NAMES: Final = frozenset(
    {
        *("body", "text", "message", "content", "contents", "description", "notes", "note", "comment", "comments"),
        *("summary", "details", "detail", "msg", "reply", "report", "html", "markdown", "memo", "remark", "remarks"),
    }
)
#: Texts that are not told anything: what a thing is called.
_TITLE_NAMES: Final = frozenset({"subject", "title", "topic", "headline", "heading", "label"})
#: A place for a result that was not filled in, or an end after which one was to follow.
_PLACE: Final = re.compile(r"\[[^\]\n]*\]|<[A-Za-z][^>\n]*>|\{[^}\n]*\}|\.\.\.\s*$")
#: "Desks: , chairs: ".
_GAP: Final = re.compile(r"(?<=[:=] )(?=[,;\n]|$)|(?<=[:=])(?=[,;\n]|$)")
_OPEN_END: Final = re.compile(r"[:=]\s*$")
#: Words of a goal that stand for results.
_RESULTS: Final = re.compile(
    r"\b(?:options?|results?|them|these|those|list|findings|details|info(?:rmation)?|data|summary|numbers?|figures?|"
    r"prices?|names?|how many|how much|what (?:it|they) (?:costs?|is|are)|both|it|its|times?|counts?|amounts?|total)\b",
    re.IGNORECASE,
)
#: Words that ask for a result by name, even of an output that already decides a condition.
_ASKED: Final = re.compile(
    r"\b(?:how many|how much|the (?:exact )?(?:number|count|amount|list|prices?|results?|details))\b"
)
_MAX_LABEL: Final = 60


def is_text_argument(name: str) -> bool:
    """Whether an argument is a text that is composed, by its name."""
    words = list_words(name)
    return bool(words) and (words[-1] in _TEXT_NAMES or words[-1] in _TITLE_NAMES)


def is_told_argument(name: str) -> bool:
    """Whether an argument is a text that may tell results, by its name."""
    words = list_words(name)
    return bool(words) and words[-1] in _TEXT_NAMES


def lacks_results(text: str) -> bool:
    """Whether a text has a place for a result, or ends where one was to follow."""
    return bool(_PLACE.search(text) or _OPEN_END.search(text))


def fill_texts(goal: str, draft: DraftTasks) -> None:
    """Put the results that a text of a call speaks of into it, if the script did not."""
    unused = list_unused_tasks(draft)
    for task in draft.list_actions():
        spec = draft.get_spec(task)
        names = [name for name, _ in iterate_properties(spec.args_schema) if is_told_argument(name)]
        parts = _find_own_parts(task, goal, draft)
        for name in names:
            text = task["args"].get(name)
            named = stem_word(name.lower()) in list_stems(" ".join(parts))
            if text is None and not (named or name in spec.args_schema.get("required", ())):
                continue
            if text is not None and not isinstance(text, str):
                break
            if _has_results(task, name) and not lacks_results(text or ""):
                break
            values = _find_told_values(task, text or "", parts, goal, draft, unused=unused)
            if values:
                task["args"][name] = _compose(text or "", values, goal)
            break


def _has_results(task: TaskDocument, name: str) -> bool:
    """Whether a text of the call, or its whole content, already takes something of a result."""
    told = {key: value for key, value in task["args"].items() if key == name or is_text_argument(key)}
    return any(True for _ in find_argument_references(told))


def _find_own_parts(task: TaskDocument, goal: str, draft: DraftTasks) -> list[str]:
    """Return the parts of the goal that speak of a task most, each with those behind it that no other task does."""
    parts = [part for sentence in split_sentences(goal) for part in split_parts(sentence)]
    actions = draft.list_actions()
    owners = [max(actions, key=lambda each: draft.score(each, part), default=task) for part in parts]
    scores = [draft.score(task, part) for part in parts]
    best = max(scores, default=0.0)
    own, is_open = list[str](), False
    for part, owner, score in zip(parts, owners, scores, strict=True):
        is_nobodys = draft.score(owner, part) == 0 and not _names_tool(part, draft)
        is_open = score == best > 0 or (is_open and (owner["id"] == task["id"] or is_nobodys))
        own += [part] if is_open else []
    return own or [goal]


def _names_tool(part: str, draft: DraftTasks) -> bool:
    """Whether a part of the goal begins with a word that a tool is called by: then it is an errand of its own."""
    words = list_words(part)
    first = stem_word(words[0]) if words else ""
    return any(first in map(stem_word, list_words(spec.name)) for spec in draft.specs.values())


def _find_told_values(
    task: TaskDocument, text: str, parts: Sequence[str], goal: str, draft: DraftTasks, *, unused: set[str]
) -> list[tuple[str, JsonValue]]:
    """Return what a text tells, each with a label: fields of the item of a loop, else parts of earlier outputs."""
    said = " ".join(parts)
    if task.get("for_each") is not None:
        return _find_item_values(task, said, draft)
    found = []
    others = [each for each in draft.list_actions() if each is not task and has_told_argument(draft.get_spec(each))]
    for source in draft.list_sources(before=task):
        nouns = _list_nouns(source, draft)
        shared = len(nouns & list_stems(said))
        if any(len(nouns & list_stems(" ".join(_find_own_parts(each, goal, draft)))) > shared for each in others):
            # Another text speaks of it more.
            continue
        speaks = shared > 0
        is_free = source["id"] in unused
        if (is_free and (speaks or lacks_results(text) or _RESULTS.search(said))) or (
            not is_free
            and speaks
            and (_ASKED.search(said) or lacks_results(text))
            and not _is_looked_up_for(task, source)
        ):
            found.append((_make_label(source), _choose_part(source, said, draft)))
    return found


def list_unused_tasks(draft: DraftTasks) -> set[str]:
    """Return the ids of the tasks whose output nothing uses."""
    used = {need for task in draft.all_tasks for need in draft.find_needs(task) - {*task.get("depends_on", ())}}
    return {task["id"] for task in draft.all_tasks} - used


def _is_looked_up_for(task: TaskDocument, source: Mapping[str, Any]) -> bool:
    """Whether the call takes something else of an output, such as the address of a person."""
    return any(source["id"] in find_producers(value) for value in task["args"].values())


def _list_nouns(source: Mapping[str, Any], draft: DraftTasks) -> set[str]:
    """Return the stems of what a task's result may be called in the goal."""
    spec = draft.get_spec(source)
    fields = " ".join(str(path[-1]) for path, _ in draft.list_members(source) if path)
    verb, *nouns = list_words(spec.name)
    literals = {stem for value in source["args"].values() if isinstance(value, str) for stem in list_stems(value)}
    return {*map(stem_word, nouns or [verb]), *list_stems(fields), *literals}


def _make_label(source: Mapping[str, Any]) -> str:
    words = str(source.get("description") or "").strip().rstrip(".:")
    if len(words.split()) < 2:
        literals = [value for value in source["args"].values() if isinstance(value, str)]
        words = " ".join([*list_words(source["tool"])[1:], *literals]) or words
    return words[:1].upper() + words[1:_MAX_LABEL]


def _choose_part(source: Mapping[str, Any], said: str, draft: DraftTasks) -> JsonValue:
    """Return a reference to the field of an output that the goal names, or to the whole."""
    stems = list_stems(said)
    item = draft.describe_output(source)
    is_object = (find_allowed_types(item, item) or frozenset({"object"})) == {"object"}
    fields = list_fields(item, item, description=draft.get_spec(source).description) if is_object else {}
    named = [name for name in fields if stem_word(name) in stems]
    return {"output_of": source["id"], "path": named if len(named) == 1 else []}


def _find_item_values(task: TaskDocument, said: str, draft: DraftTasks) -> list[tuple[str, JsonValue]]:
    loop = task["for_each"]
    source = next(
        (each for each in draft.all_tasks if isinstance(loop, dict) and each["id"] == loop.get("output_of")), None
    )
    if source is None or not isinstance(loop, dict):
        return []
    item = draft.describe_output(source, (*loop.get("path", ()), 0))
    fields = list_fields(item, item, description=draft.get_spec(source).description)
    used = {
        path[-1]
        for _, found in find_argument_references(task["args"])
        if isinstance(found, ItemReference) and (path := found.path)
    }
    # Who is written to is not told who they are.
    stems = list_stems(said) - {stem_word(word) for word in [w for w in list_words(said)[1:] if list_stems(w)][:1]}
    return [
        (name.replace("_", " ").capitalize(), {"item": [name]})
        for name in fields
        if stem_word(name) in stems and name not in used
    ]


def _compose(text: str, values: Sequence[tuple[str, JsonValue]], goal: str) -> JsonValue:
    """Return the text as a template with the values in their places, or behind it."""
    names = {f"v{number}": value for number, (_, value) in enumerate(values, start=1)}
    for pattern in (_PLACE, _GAP) if len(values) > 1 else (_PLACE,):
        places = list(pattern.finditer(text))
        if places and len(places) == len(values):
            return {"template": _fill_in_places(text, places, list(names)), "values": names}
    kept = _PLACE.sub("", text).rstrip()
    known = {*find_numbers(goal)}
    if any(number not in known for number in find_numbers(kept)) and not any(
        each in kept for each in find_quoted(goal) if each
    ):
        # Numbers that nobody gave stand where the results belong.
        kept = ""
    escaped = kept.replace("{", "{{").replace("}", "}}")
    if len(values) == 1:
        return {"template": f"{escaped} {{v1}}".strip() if kept else "{v1}", "values": names}
    lines = [
        f"{label.replace('{', '').replace('}', '')}: {{{name}}}" for name, (label, _) in zip(names, values, strict=True)
    ]
    return {"template": "\n".join([*([escaped] if kept else []), *lines]), "values": names}


def _fill_in_places(text: str, places: Sequence[re.Match[str]], names: Sequence[str]) -> str:
    parts, at = list[str](), 0
    for place, name in zip(places, names, strict=True):
        parts += [text[at : place.start()].replace("{", "{{").replace("}", "}}"), f"{{{name}}}"]
        at = place.end()
    return "".join([*parts, text[at:].replace("{", "{{").replace("}", "}}")])


def has_told_argument(spec: ToolSpec) -> bool:
    """Whether a tool takes a text that may tell results."""
    return any(is_told_argument(name) for name, _ in iterate_properties(spec.args_schema))
