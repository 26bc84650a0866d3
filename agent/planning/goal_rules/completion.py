"""A draft over tools completed by the words of its goal, before it is compiled; a caller's plan never is."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from agent.core.plan.json_schema import iterate_properties
from agent.core.plan.tool_spec import ToolSpec
from agent.planning.goal_rules.conditions import add_conditions
from agent.planning.goal_rules.draft_tasks import DraftTasks, TaskDocument
from agent.planning.goal_rules.missing import look_up_missing
from agent.planning.goal_rules.ordering import add_order
from agent.planning.goal_rules.repetition import add_repetition
from agent.planning.goal_rules.texts import fill_texts

_SINGULAR: Final = re.compile(r"\bin the singular\b|\bsingular (?:form|name|noun)\b", re.IGNORECASE)
_PLURALS: Final = ((r"(?<=[a-z])ies$", "y"), (r"(?<=(?:ch|sh|ss))es$|(?<=x)es$", ""), (r"(?<=[a-hj-rtv-z])s$", ""))


def complete_tasks(
    goal: str,
    tasks: Sequence[Mapping[str, Any]],
    specs: Mapping[str, ToolSpec],
    *,
    done: Sequence[Mapping[str, Any]] = (),
    context: str = "",
) -> list[TaskDocument]:
    """Return the tasks of a draft with what the goal says and the script left out; `done` are finished tasks.

    Repetition comes first, since it decides what a call is about; order last, since a reference already is one.
    """
    draft = DraftTasks([{**task, "args": dict(task.get("args", {}))} for task in tasks], specs, done=done)
    _use_documented_forms(draft)
    add_repetition(goal, draft)
    look_up_missing(goal, draft, context=context)
    add_conditions(goal, draft)
    fill_texts(goal, draft)
    add_order(goal, draft)
    return draft.tasks


def _use_documented_forms(draft: DraftTasks) -> None:
    """Give a value in the singular where its tool says that it takes it so: goals say most things in the plural."""
    for task in draft:
        spec = draft.specs.get(task["tool"])
        if spec is None:
            continue
        for name, part in iterate_properties(spec.args_schema):
            value = task["args"].get(name)
            if isinstance(value, str) and _SINGULAR.search(f"{spec.description} {part.get('description', '')}"):
                task["args"][name] = next(
                    (re.sub(ending, one, value) for ending, one in _PLURALS if re.search(ending, value)), value
                )
