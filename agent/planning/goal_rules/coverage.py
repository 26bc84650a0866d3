"""What a goal over tools asks for and no task of a plan does, as far as words and schemas tell."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from agent.core.plan.json_schema import find_allowed_types, iterate_properties
from agent.core.plan.references import find_references
from agent.core.plan.tool_spec import ToolSpec
from agent.planning.goal_rules.draft_tasks import DraftTasks, TaskDocument
from agent.planning.goal_rules.missing import find_missing
from agent.planning.goal_rules.repetition import find_repetition
from agent.planning.goal_rules.texts import is_told_argument, lacks_results, list_unused_tasks
from agent.planning.goal_rules.wording import (
    expand_stems,
    find_conditions,
    is_action,
    list_stems,
    list_words,
    score_tool,
    split_parts,
    split_sentences,
    stem_word,
)

#: Verbs that goals use for much else than what they mean as the name of a tool.
_VAGUE_VERBS: Final = frozenset(
    map(stem_word, ("tell", "write", "add", "make", "set", "put", "give", "plan", "open", "file"))
)


def find_uncovered(
    goal: str,
    tasks: Sequence[Mapping[str, Any]],
    specs: Mapping[str, ToolSpec],
    *,
    done: Sequence[Mapping[str, Any]] = (),
    context: str = "",
) -> tuple[str, ...]:
    """Return a sentence for each part of `goal` that no task does, and each argument that nothing gives.

    `tasks` are documents, behind `done`, the finished ones; `context` is what else is known.
    """
    draft = DraftTasks([dict(task) for task in tasks], specs, done=done)
    found = [
        *_find_missing_conditions(goal, draft),
        *_find_uncalled_tools(goal, draft),
        *_find_missing_repetition(goal, draft),
        *(missing.sentence for missing in find_missing(goal, draft, context=context)),
    ]
    for task in draft.list_actions():
        for name, value in task["args"].items():
            if isinstance(value, str) and lacks_results(value):
                found.append(f"{name!r} of {task['id']!r} is {value!r}, which has no result in it.")
            elif isinstance(value, str) and is_told_argument(name) and value.lower() not in goal.lower():
                found += _find_untold(name, task, draft)
    return tuple(dict.fromkeys(found))


def find_open_conditions(
    goal: str,
    tasks: Sequence[Mapping[str, Any]],
    specs: Mapping[str, ToolSpec],
    *,
    done: Sequence[Mapping[str, Any]] = (),
) -> tuple[str, ...]:
    """Return a sentence for each condition of `goal` that no task has, if one of the tasks does something."""
    draft = DraftTasks([dict(task) for task in tasks], specs, done=done)
    return tuple(_find_missing_conditions(goal, draft)) if draft.list_actions() else ()


def _find_untold(name: str, task: TaskDocument, draft: DraftTasks) -> Iterator[str]:
    """Yield a sentence for each lookup in front of a text that tells no result, if nothing else uses it."""
    unused = list_unused_tasks(draft)
    for source in draft.list_sources(before=task):
        if source["id"] in unused and draft.all_tasks.index(source) < draft.all_tasks.index(task):
            yield f"Nothing uses what {source['id']!r} finds out, and {name!r} of {task['id']!r} tells no result."


def _find_missing_conditions(goal: str, draft: DraftTasks) -> Iterator[str]:
    conditional = {task["condition"] for task in draft.all_tasks if task.get("condition")}
    for condition in find_conditions(goal, draft.list_verbs()):
        if not conditional:
            yield f"The goal has a condition ({condition.said!r}), and no task has one: they run in any case."
        elif condition.unmet and len(conditional) < 2:
            yield f"The goal says what to do otherwise ({condition.unmet!r}), and no task is for that."


def _find_uncalled_tools(goal: str, draft: DraftTasks) -> Iterator[str]:
    """Yield a sentence for each tool that a part of the goal speaks of by its whole name, and that no task calls."""
    called = {task["tool"] for task in draft.all_tasks}
    for part in (part for sentence in split_sentences(goal) for part in split_parts(sentence)):
        meant = [spec for spec in draft.specs.values() if _is_meant(spec, part, draft)]
        if meant and not any(spec.name in called for spec in meant):
            spec = max(meant, key=lambda each: score_tool(each, part))
            stems = expand_stems(list_stems(part))
            said = " ".join(word for word in list_words(spec.name) if stem_word(word) in stems)
            yield f"The goal says {said!r}, and no task calls {spec.name!r}."


def _is_meant(spec: ToolSpec, part: str, draft: DraftTasks) -> bool:
    """Whether a part of the goal speaks of a tool."""
    names, stems, words = [stem_word(word) for word in list_words(spec.name)], list_stems(part), list_words(part)
    first = stem_word(words[0]) if words else ""
    if first in names[:1] and set(names) <= stems:
        return True
    if not names:
        return False
    if is_action(spec) and (first in names[:1] or (first in expand_stems(names[:1]) and first not in _VAGUE_VERBS)):
        # An errand that begins with a verb of a single tool is that tool's.
        verbs = [stem_word(next(iter(list_words(each.name)), "")) for each in draft.specs.values() if is_action(each)]
        if sum(verb in expand_stems([first]) for verb in verbs) == 1:
            return True
    if is_action(spec):
        # A word that only means the same is not enough for all of the name, and "the closed tickets" are none to close.
        said = {stem_word(word) for word in words if not word.endswith("ed")}
        return set(names) <= expand_stems(stems) and bool(set(names) & stems) and names[0] in expand_stems(said)
    nouns = set(names[1:])
    others = {stem_word(word) for each in draft.specs.values() if each is not spec for word in list_words(each.name)}
    known = {stem_word(str(path[-1])) for task in draft.all_tasks for path, _ in draft.list_members(task) if path}
    return bool(nouns) and nouns <= stems and not nouns & others and not nouns & known


def _find_missing_repetition(goal: str, draft: DraftTasks) -> Iterator[str]:
    """Yield a sentence if the goal wants something for each of several, a list is there, and a call is made once."""
    if any(task.get("for_each") is not None for task in draft):
        return
    lists = [source for source in draft.list_sources() if draft.find_list(source) is not None]
    for part in (part for sentence in split_sentences(goal) for part in split_parts(sentence)):
        noun = find_repetition(part)
        calls = [task for task in draft.list_actions() if score_tool(draft.get_spec(task), part) > 0]
        if noun is not None and lists and calls and not any(_takes_list(task, draft) for task in calls):
            yield f"The goal says {part.strip()!r}, and {calls[0]['tool']!r} is called once, not for each."


def _takes_list(task: TaskDocument, draft: DraftTasks) -> bool:
    """Whether a call takes several things at once: by a list, or told in a text."""
    if any(True for value in task["args"].values() for _ in find_references(value)):
        return True
    root = draft.get_spec(task).args_schema
    kinds = [find_allowed_types(schema, root) for _, schema in iterate_properties(root)]
    return any(kind is None or "array" in kind for kind in kinds)
