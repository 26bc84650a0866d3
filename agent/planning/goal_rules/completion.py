"""A draft over tools completed by the words of its goal, before it is compiled; a caller's plan never is."""

from collections.abc import Mapping, Sequence
from typing import Any

from agent.core.plan.tool_spec import ToolSpec
from agent.planning.goal_rules.conditions import add_conditions
from agent.planning.goal_rules.draft_tasks import DraftTasks, TaskDocument
from agent.planning.goal_rules.missing import look_up_missing
from agent.planning.goal_rules.ordering import add_order
from agent.planning.goal_rules.repetition import add_repetition
from agent.planning.goal_rules.texts import fill_texts


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
    add_repetition(goal, draft)
    look_up_missing(goal, draft, context=context)
    add_conditions(goal, draft)
    fill_texts(goal, draft)
    add_order(goal, draft)
    return draft.tasks
