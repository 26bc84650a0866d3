"""Where each result of a run came from: plan revision, author, tool, arguments, and the results that it rests on."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from graphlib import TopologicalSorter
from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue

from agent.core.engine.outcomes import Done, Outcome
from agent.core.plan.conditions import ConditionError, find_condition_tasks
from agent.core.plan.dependencies import build_dependency_graph
from agent.core.plan.document import Plan, Task
from agent.core.plan.references import (
    OutputReference,
    PathStep,
    UnresolvedReference,
    find_argument_references,
    find_references,
    resolve,
    resolve_args,
)

#: `user`: came with the input; `model`: a planner or replanner wrote it; `person`: changed on a waiting or forked
#: thread; `rollback`: made from the plan to undo its finished writes.
Author = Literal["user", "model", "person", "rollback"]
#: `argument`: a part of the output is in the arguments; `item`: the output is the list of a `for_each`; `condition`: it
#: decided whether the task runs; `order`: the task waited for it and did not look into it.
InputRole = Literal["argument", "item", "condition", "order"]
_CITATION = re.compile(r"\[([^\[\]\s]+(?:\s*,\s*[^\[\]\s]+)*)\]")


class _FrozenModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PlanVersion(_FrozenModel):
    """A plan as it stood under one revision, and who wrote it."""

    revision: int
    author: Author
    #: The model's name, where one wrote the plan.
    model: str | None = None
    #: Tokens of that model call, repairs included.
    usage: dict[str, int | float] | None = None
    #: ISO 8601.
    at: str | None = None
    plan: Plan


class ResultInput(_FrozenModel):
    """A result that a task rests on; `path` leads to the part of it."""

    task: str
    way: InputRole
    path: tuple[PathStep, ...] = ()


class ResultOrigin(_FrozenModel):
    """Where one result came from. Of a task whose plan is not known any more only the outcome is."""

    task: str
    outcome: Outcome
    version: PlanVersion | None = None
    #: Which of the run's plans that is, from 1.
    number: int | None = None
    tool: str | None = None
    #: Resolved arguments, for each item of a `for_each` in order; None where an input is not at hand.
    calls: tuple[dict[str, JsonValue], ...] | None = None
    inputs: tuple[ResultInput, ...] = ()


class AnswerStatement(_FrozenModel):
    """A paragraph of an answer, and the tasks whose results it rests on."""

    text: str
    tasks: tuple[str, ...]


class Provenance:
    """The results of one run, each with its chain of inputs; every method raises `KeyError` for an unknown task."""

    def __init__(
        self, *, goal: str, versions: Sequence[PlanVersion], outcomes: Mapping[str, Outcome], answer: str = ""
    ) -> None:
        """Take the plans in the order in which they came, and the outcomes with their outputs at hand."""
        self.goal = goal
        self.versions = tuple(versions)
        self.answer = answer
        self._outcomes = dict(outcomes)
        self._outputs = {
            task: outcome.output
            for task, outcome in outcomes.items()
            if isinstance(outcome, Done) and not outcome.is_offloaded
        }
        self._needs = [build_dependency_graph(version.plan) for version in versions]
        self._tasks = [{task.id: task for task in version.plan.tasks} for version in versions]
        self.inputs: dict[str, tuple[ResultInput, ...]] = {task: tuple(self._trace_inputs(task)) for task in outcomes}
        below = {task: [each.task for each in found] for task, found in self.inputs.items()}
        self._order = {task: place for place, task in enumerate(TopologicalSorter(below).static_order())}

    def __iter__(self) -> Iterator[str]:
        """Go through the tasks, each behind what it rests on."""
        return iter(self._order)

    def get_origin(self, task: str) -> ResultOrigin:
        """Return where the result of `task` came from."""
        outcome, at = self._outcomes[task], self._find_version(task)
        if at is None:
            return ResultOrigin(task=task, outcome=outcome)
        definition = self._tasks[at][task]
        return ResultOrigin(
            task=task,
            outcome=outcome,
            version=self.versions[at],
            number=at + 1,
            tool=definition.tool,
            calls=self._resolve_calls(definition),
            inputs=self.inputs[task],
        )

    def chain(self, task: str) -> tuple[str, ...]:
        """Return all that the result of `task` rests on and `task` itself, each behind its own inputs."""
        found, waiting = {task}, [task]
        while waiting:
            for each in self.inputs[waiting.pop()]:
                if each.task not in found:
                    found.add(each.task)
                    waiting.append(each.task)
        return tuple(sorted(found, key=self._order.__getitem__))

    def prefix(self, task: str, length: int) -> tuple[str, ...]:
        """Return the first `length` tasks of the chain: equal prefixes have a common beginning."""
        return self.chain(task)[:length]

    def shared(self, tasks: Iterable[str]) -> tuple[str, ...]:
        """Return what all of `tasks` rest on, in order: the beginning that branches have in common before a join."""
        chains = [set(self.chain(task)) for task in tasks]
        common = set.intersection(*chains) if chains else set()
        return tuple(sorted(common, key=self._order.__getitem__))

    def find_inputs(self, task: str, *, tool: str | None = None) -> tuple[str, ...]:
        """Return all tasks that `task` rests on, the nearest first; with `tool`, those that this tool did."""
        level, seen, found = [task], {task}, []
        while level:
            above = dict.fromkeys(each.task for one in level for each in self.inputs[one])
            level = [one for one in above if one not in seen]
            seen.update(level)
            found += level
        return tuple(one for one in found if tool is None or self._get_tool(one) == tool)

    def find_input(self, task: str, *, tool: str) -> str | None:
        """Return the nearest task that `task` rests on and that `tool` did; None where there is none."""
        return next(iter(self.find_inputs(task, tool=tool)), None)

    def previous_input(self, task: str) -> str | None:
        """Return the task whose result `task` takes directly, the first in its arguments; None where it takes none."""
        return next((each.task for each in self.inputs[task]), None)

    def split_answer(self) -> tuple[AnswerStatement, ...]:
        """Return the paragraphs of the answer with the tasks that each cites; one without goes by the one before."""
        found: list[AnswerStatement] = []
        before: tuple[str, ...] = ()
        for paragraph in filter(None, re.split(r"\n\s*\n", self.answer.strip())):
            cited = [task for group in _CITATION.findall(paragraph) for task in re.split(r"\s*,\s*", group)]
            before = tuple(dict.fromkeys(task for task in cited if task in self._outcomes)) or before
            found.append(AnswerStatement(text=paragraph, tasks=before))
        return tuple(found)

    def _get_tool(self, task: str) -> str | None:
        at = self._find_version(task)
        return None if at is None else self._tasks[at][task].tool

    def _find_version(self, task: str) -> int | None:
        """Return the position of the plan that `task` ran under: the last of its revision that has it, or any other."""
        having = [place for place, tasks in enumerate(self._tasks) if task in tasks]
        under = [place for place in having if self.versions[place].revision <= self._outcomes[task].revision]
        found = under or having
        return found[-1] if found else None

    def _trace_inputs(self, task: str) -> Iterator[ResultInput]:
        at = self._find_version(task)
        if at is None:
            return
        told: set[str] = set()
        for each in _find_references(self._tasks[at][task]):
            if each.task in self._outcomes:
                told.add(each.task)
                yield each
        for need in self._needs[at][task]:
            if need in self._outcomes and need not in told:
                yield ResultInput(task=need, way="order")

    def _resolve_calls(self, task: Task) -> tuple[dict[str, JsonValue], ...] | None:
        try:
            if task.for_each is None:
                return (resolve_args(task.args, outputs=self._outputs),)
            items = resolve(task.for_each, outputs=self._outputs)
            listed = items if isinstance(items, list) else []
            return tuple(resolve_args(task.args, outputs=self._outputs, item=item) for item in listed)
        except UnresolvedReference:
            return None


def _find_references(task: Task) -> Iterator[ResultInput]:
    for _, found in find_argument_references(task.args):
        if isinstance(found, OutputReference):
            yield ResultInput(task=found.task, way="argument", path=found.path)
    for _, found in find_references(task.for_each):
        if isinstance(found, OutputReference):
            yield ResultInput(task=found.task, way="item", path=found.path)
    try:
        conditions = sorted(find_condition_tasks(task.condition)) if task.condition is not None else []
    except ConditionError:
        conditions = []
    for name in conditions:
        yield ResultInput(task=name, way="condition")
