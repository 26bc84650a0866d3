"""What a goal says by "every", "each" and "all" as `for_each` over the list that an earlier task gives."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from pydantic import JsonValue

from agent.core.plan.json_schema import branches, iterate_properties
from agent.core.plan.references import (
    JsonPath,
    OutputReference,
    find_references,
    has_item_reference,
    parse_reference,
)
from agent.core.plan.tool_spec import JsonSchema, ToolSpec
from agent.planning.field_choice import choose_field, list_fields
from agent.planning.goal_rules.draft_tasks import DraftTasks, TaskDocument, fill_arguments, is_scalar
from agent.planning.goal_rules.texts import is_text_argument
from agent.planning.goal_rules.wording import (
    find_numbers,
    find_quoted,
    is_action,
    list_stems,
    list_words,
    score_tool,
    split_parts,
    split_sentences,
    stem_word,
)
from agent.planning.script_code.loops import refer_to_all_items

_EACH: Final = re.compile(
    r"\b(?:every|each|all|both)\b(?:\s+(?:of|one of)\b)?(?:\s+(?:the|these|those|them|my|our|its|their))*"
    r"(?P<noun>(?:\s+(?!(?:to|at|on|in|by|with|that|which|who|whose|from|for|of|and)\b)[\w-]+){0,3})",
    re.IGNORECASE,
)
_CHOICE: Final = re.compile(
    r"\b(?:first|one|any|next|last|latest|top|single|either|best|worst|\w{3,}est)\b", re.IGNORECASE
)
_TO: Final = re.compile(r"\bto\s+(?P<who>[\w.@-]+)\s*[.!]?$", re.IGNORECASE)
_ONE_EACH: Final = re.compile(r"\b(?:each|every|per|separate(?:ly)?|individual(?:ly)?|one by one)\b", re.IGNORECASE)
#: A tool is meant by a part of the goal if so much of its name is in it.
_MIN_SCORE: Final = 1.0


def find_repetition(part: str) -> str | None:
    """Return what a part of the goal says is done for each of, as words; None if it says no such thing."""
    found = _EACH.search(part)
    return found["noun"].strip() or found[0].strip() if found else None


def add_repetition(goal: str, draft: DraftTasks) -> None:
    """Repeat the calls of the draft that the goal wants for each of a list, and add the one that the script forgot."""
    for task in draft.list_actions():
        _tell_at_once(task, goal, draft)
    for task in list(draft):
        if task.get("for_each") is None and (source := _find_misused_list(task, goal, draft)) is not None:
            _repeat_task(task, source, goal, draft)
        elif any(find_repetition(part) for part in _find_own_parts(task, goal, draft)):
            _tell_all_items(task, draft)
    for sentence in split_sentences(goal):
        for part in split_parts(sentence):
            noun = find_repetition(part)
            if noun is not None:
                _repeat_part(part, noun, goal, draft)


def _find_misused_list(task: TaskDocument, goal: str, draft: DraftTasks) -> Mapping[str, Any] | None:
    """Return the task whose list an argument takes as one item: by a field, or whole where one value goes."""
    spec = draft.get_spec(task)
    parts = dict(iterate_properties(spec.args_schema))
    own = _find_own_parts(task, goal, draft)
    repeats = any(find_repetition(part) for part in own)
    sources = {source["id"]: source for source in draft.list_sources(before=task)}
    for name, value in task["args"].items():
        for place, found in find_references(value):
            source = sources.get(found.task) if isinstance(found, OutputReference) else None
            path = draft.find_list(source) if source is not None else None
            if not isinstance(found, OutputReference) or path is None or found.path[: len(path)] != path:
                continue
            rest = found.path[len(path) :]
            is_whole = not rest and not place and is_scalar(parts.get(name, {}), spec.args_schema)
            is_field = bool(rest) and isinstance(rest[0], str) and rest[0] != "*"
            is_first = bool(rest) and isinstance(rest[0], int) and (repeats or _speaks_of_several(source, own))
            if (is_field or is_first or is_whole) and not is_text_argument(name):
                return source
    return None


def _tell_at_once(task: TaskDocument, goal: str, draft: DraftTasks) -> None:
    """Make a loop whose items only its texts tell one call about all of them, unless the goal wants one for each."""
    loop = task.get("for_each")
    told = {name for name, value in task["args"].items() if has_item_reference({name: value})}
    if not isinstance(loop, dict) or not told or not all(map(is_text_argument, told)):
        return
    if any(_ONE_EACH.search(part) for part in _find_own_parts(task, goal, draft)):
        return
    del task["for_each"]
    task["args"] = {name: refer_to_all_items(value, loop) for name, value in task["args"].items()}


def _speaks_of_several(source: Mapping[str, Any] | None, parts: list[str]) -> bool:
    """Whether parts of the goal name the items of a list in the plural, and do not choose one of them."""
    if source is None or any(_CHOICE.search(part) for part in parts):
        return False
    plurals = {stem_word(word) for part in parts for word in list_words(part) if word.endswith("s")}
    return bool(plurals & {stem_word(word) for word in list_words(source["tool"])[1:]})


def _tell_all_items(task: TaskDocument, draft: DraftTasks) -> None:
    """Let the texts of a single call about all items tell them all, and not the first one."""
    lists = {source["id"]: path for source in draft.list_sources() if (path := draft.find_list(source)) is not None}

    def widen(value: JsonValue) -> JsonValue:
        match parse_reference(value):
            case OutputReference(source, path) if source in lists and task.get("for_each") is None:
                start = len(lists[source])
                if path[:start] == lists[source] and len(path) > start and path[start] != "*":
                    rest = path[start + 1 :] if isinstance(path[start], int) else path[start:]
                    return {"output_of": source, "path": [*path[:start], *(["*", *rest] if rest else [])]}
        if isinstance(value, dict):
            return {key: widen(inner) for key, inner in value.items()}
        return [widen(inner) for inner in value] if isinstance(value, list) else value

    task["args"] = {name: widen(value) if is_text_argument(name) else value for name, value in task["args"].items()}


def _find_own_parts(task: TaskDocument, goal: str, draft: DraftTasks) -> list[str]:
    """Return the parts of the goal that speak of a task most."""
    parts = [part for sentence in split_sentences(goal) for part in split_parts(sentence)]
    scores = [draft.score(task, part) for part in parts]
    best = max(scores, default=0.0)
    return [part for part, score in zip(parts, scores, strict=True) if score == best] if best else parts


def _repeat_task(task: TaskDocument, source: Mapping[str, Any], goal: str, draft: DraftTasks) -> None:
    """Make a call that refers to a list one for each of its items."""
    path = draft.find_list(source)
    if path is None:
        return
    spec = draft.get_spec(task)
    parts = dict(iterate_properties(spec.args_schema))
    hints = list_words(goal)
    task["for_each"] = {"output_of": source["id"], "path": list(path)}
    for name, value in task["args"].items():
        item = _refer_to_item(value, source["id"], path)
        if item == {"item": []}:
            field = _choose_item_field(name, parts.get(name, {}), spec, source, path, draft, hints=hints)
            item = {"item": [field]} if field else item
        task["args"][name] = item


def _refer_to_item(value: JsonValue, source: str, path: JsonPath) -> JsonValue:
    match parse_reference(value):
        case OutputReference(task, found) if task == source and found[: len(path)] == path:
            rest = list(found[len(path) :])
            return {"item": list(rest[1:] if rest and (isinstance(rest[0], int) or rest[0] == "*") else rest)}
    if isinstance(value, dict):
        return {key: _refer_to_item(inner, source, path) for key, inner in value.items()}
    return [_refer_to_item(inner, source, path) for inner in value] if isinstance(value, list) else value


def _choose_item_field(
    name: str,
    wanted: JsonSchema,
    spec: ToolSpec,
    source: Mapping[str, Any],
    path: JsonPath,
    draft: DraftTasks,
    *,
    hints: Sequence[str],
) -> str | None:
    item = draft.describe_output(source, (*path, 0))
    fields = list_fields(item, item, description=draft.get_spec(source).description)
    return choose_field(name, wanted, fields, roots=(item, spec.args_schema), hints=hints)


def _repeat_part(part: str, noun: str, goal: str, draft: DraftTasks) -> None:
    meant = [task for task in draft.list_actions() if part in _find_own_parts(task, goal, draft)]
    scores = {spec.name: score_tool(spec, part) for spec in draft.specs.values() if is_action(spec)}
    best = max(scores.values(), default=0.0)
    tools = [name for name, score in scores.items() if score == best and best >= _MIN_SCORE]
    meant = [task for task in meant if not tools or task["tool"] in tools]
    if any(task.get("for_each") is not None for task in meant) or (not meant and len(tools) != 1):
        return
    source = _find_source(noun, part, goal, draft)
    if source is None:
        return
    if not meant:
        _add_repeated_task(tools[0], part, source, goal, draft)
        return
    first, *others = meant
    bound = _bind_item(first["args"], draft.get_spec(first), part, noun, source, goal, draft)
    if bound is None:
        return
    first["args"], first["for_each"] = bound
    for other in others:
        # What a model that cannot know the items made up for the others.
        if other["tool"] == first["tool"] and not draft.find_dependants(other["id"]) - {other["id"]}:
            draft.tasks.remove(other)


def _find_source(noun: str, part: str, goal: str, draft: DraftTasks) -> Mapping[str, Any] | None:
    """Return the task that gives the list that a part of the goal speaks of; it is added if one tool gives it."""
    stems = list_stems(f"{noun} {part}")
    lists = [
        source for source in draft.list_sources() if draft.find_list(source) is not None and not source.get("for_each")
    ]
    near = [source for source in lists if draft.list_stems(source) & list_stems(noun)]
    far = [source for source in lists if draft.list_stems(source) & stems]
    if chosen := (near or far or (lists if len(lists) == 1 else [])):
        return chosen[-1]
    for spec in draft.specs.values():
        about = list_stems(spec.name.replace("_", " "))
        if is_action(spec) or not about & list_stems(noun):
            continue
        args = fill_arguments(spec, f"{part} {goal}")
        if args is not None:
            task = draft.insert_before(0, spec.name, args, noun)
            if draft.find_list(task) is not None:
                return task
            draft.tasks.remove(task)
    return None


def _bind_item(
    args: Mapping[str, JsonValue],
    spec: ToolSpec,
    part: str,
    noun: str,
    source: Mapping[str, Any],
    goal: str,
    draft: DraftTasks,
) -> tuple[dict[str, JsonValue], JsonValue] | None:
    """Return the arguments of a call with those that the goal does not give taken from the item, and the list."""
    path = draft.find_list(source)
    if path is None:
        return None
    hints, bound = list_words(part), dict(args)
    nouns = {stem_word(word) for word in list_words(noun)}
    found = False
    for name, schema in iterate_properties(spec.args_schema):
        value = args.get(name)
        if is_text_argument(name) or (value is not None and _is_given(value, goal, name=name, nouns=nouns)):
            continue
        if value is None and name not in spec.args_schema.get("required", ()):
            continue
        field = _choose_item_field(name, schema, spec, source, path, draft, hints=hints)
        if field is not None and {"item": [field]} not in bound.values():
            bound[name], found = {"item": [field]}, True
        elif draft.find_types(source, (*path, 0)) & {"string", "integer"}:
            bound[name], found = {"item": []}, True
    return (bound, {"output_of": source["id"], "path": list(path)}) if found else None


def _is_given(value: JsonValue, goal: str, *, name: str, nouns: set[str]) -> bool:
    """Whether the goal says the value of an argument; the name of the argument or of the items is no value."""
    if any(True for _ in find_references(value)):
        return True
    if isinstance(value, str):
        stems = {stem_word(word) for word in list_words(value)}
        return value.lower() in goal.lower() and value.lower() != name.lower() and not (stems and stems <= nouns)
    return isinstance(value, int | float) and float(value) in find_numbers(goal)


def _add_repeated_task(tool: str, part: str, source: Mapping[str, Any], goal: str, draft: DraftTasks) -> None:
    """Add the call that the script forgot, if each of its required arguments comes from the item or the goal."""
    spec = draft.specs[tool]
    given = dict[str, JsonValue]()
    numbers, quoted, who = find_numbers(part), find_quoted(part), _TO.search(part)
    noun = find_repetition(part) or ""
    start = _bind_item({}, spec, part, noun, source, goal, draft)
    bound = start[0] if start else {}
    for name, schema in iterate_properties(spec.args_schema):
        if name in bound or name not in spec.args_schema.get("required", ()):
            continue
        kinds = {str(branch.get("type")) for branch in branches(schema, spec.args_schema)}
        if kinds & {"integer", "number"} and len(numbers) == 1:
            given[name] = int(numbers[0])
        elif "string" in kinds and is_text_argument(name) and len(quoted) == 1:
            given[name] = quoted[0]
        elif "string" in kinds and not is_text_argument(name) and who is not None:
            given[name] = who["who"].rstrip(".")
        else:
            return
    if start is None:
        return
    task = draft.insert_before(len(draft.tasks), tool, {**bound, **given}, part.strip())
    task["for_each"] = start[1]
