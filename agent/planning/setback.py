"""What a replanner has before it, and the checks that every way on must pass."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import JsonValue

from agent.check import Checked
from agent.core.compile import CompiledPlan, compile_plan
from agent.core.outcome import Done, Outcome
from agent.core.parse import parse_plan
from agent.core.plan import Plan, Task
from agent.planning.amend import finished, no_progress, with_free_ids
from agent.planning.desk import Desk
from agent.planning.report import failure


@dataclass(frozen=True, slots=True)
class Setback:
    """A plan of which some tasks failed or were rejected."""

    compiled: CompiledPlan
    outcomes: Mapping[str, Outcome]
    failed: tuple[str, ...]
    #: Earlier replans, a sentence each.
    history: tuple[str, ...] = ()
    #: What a person has said about it.
    guidance: tuple[str, ...] = ()
    #: Whether a question may be put to a person.
    may_ask: bool = False

    @property
    def failures(self) -> list[str]:
        """What must be dealt with, a sentence for each failed task."""
        return [f"{task}: {failure(self.outcomes[task])}" for task in self.failed]

    @property
    def done(self) -> list[dict[str, Any]]:
        """The finished tasks as documents."""
        return documents(finished(self.compiled, self.outcomes))

    @property
    def taken(self) -> frozenset[str]:
        """Ids that no new task may have: those with a result. One that never ran means nothing yet."""
        return frozenset(self.outcomes)


@dataclass(frozen=True, slots=True)
class Decided:
    """A way on: a plan that compiles and leads on, and the failed tasks that it does without."""

    checked: Checked
    waived: frozenset[str]
    note: str


@dataclass(frozen=True, slots=True)
class Stop:
    """No way on; `reason` is a sentence."""

    reason: str
    #: The model chose to stop; else it found no way that holds.
    chosen: bool = False


@dataclass(frozen=True, slots=True)
class Question:
    """What a person is asked before there is a decision."""

    text: str


def documents(tasks: Sequence[Task]) -> list[dict[str, Any]]:
    """Return tasks as JSON with what is not the default."""
    return [task.model_dump(mode="json", exclude_defaults=True) for task in tasks]


def without(tasks: Collection[str], setback: Setback, *, note: str) -> Decided:
    """Go on with the same plan but without `tasks` and what rests on them."""
    return Decided(Checked(compiled=setback.compiled, findings={}), frozenset(tasks), note)


async def with_rest(
    new: Sequence[Mapping[str, JsonValue]], desk: Desk, setback: Setback, *, note: str
) -> Decided | tuple[str, ...]:
    """Go on with `new` tasks behind the finished ones."""
    kept = setback.done
    repeated = {task["id"] for task in kept}
    fresh = with_free_ids([task for task in new if task["id"] not in repeated or task not in kept], taken=setback.taken)
    return await accepted([*kept, *fresh], desk, setback, waived=frozenset(), note=note)


async def accepted(
    tasks: Sequence[Mapping[str, Any]], desk: Desk, setback: Setback, *, waived: frozenset[str], note: str
) -> Decided | tuple[str, ...]:
    """Return the way on that `tasks` make, or what is wrong with it as sentences."""
    plan = setback.compiled.plan
    document = {"execution_mode": plan.execution_mode, "phases": plan.phases, "tasks": list(tasks)}
    desk = replace(desk, used={**desk.used, **{task: setback.compiled.tasks[task] for task in waived}})
    checked = await _checked(document, desk, setback)
    if isinstance(checked, tuple):
        return checked
    plan = checked.compiled.plan
    if stuck := tuple(no_progress(setback.compiled, plan, outcomes=setback.outcomes)):
        return stuck
    return Decided(checked=checked, waived=waived, note=note)


async def _checked(document: Mapping[str, Any], desk: Desk, setback: Setback) -> Checked | tuple[str, ...]:
    """Check a plan; what a finished task would meet if it ran again is no problem, since it does not."""
    checked = await desk.check(document)
    if isinstance(checked, Checked):
        return checked
    problems = [
        problem
        for problem in checked
        if not (problem.kind == "preflight" and isinstance(setback.outcomes.get(problem.task or ""), Done))
    ]
    if problems:
        return tuple(map(str, problems))
    plan = parse_plan(document, max_tasks=desk.limits.max_tasks)
    compiled = (
        compile_plan(plan, desk.toolbox.specs, limits=desk.limits, used=desk.used) if isinstance(plan, Plan) else plan
    )
    return tuple(map(str, compiled)) if isinstance(compiled, tuple) else Checked(compiled=compiled, findings={})
