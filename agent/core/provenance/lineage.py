"""Where each result of a run came from: plan revision, author, tool, arguments, and the results it depends on."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from graphlib import TopologicalSorter
from typing import Literal

from pydantic import BaseModel, ConfigDict, JsonValue

from agent.core.engine.outcomes import Done, Outcome
from agent.core.plan.conditions import list_condition_tasks
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

#: `user`: came with the input; `model`: a planner or replanner wrote it; `person`: a human changed it on a waiting or
#: forked thread; `rollback`: made from the plan to undo its finished writes.
Author = Literal["user", "model", "person", "program", "rollback"]
#: `argument`: a part of the output is in the arguments; `item`: the output is the list of a `for_each`; `condition`: it
#: decided whether the task runs; `order`: the task waited for it and did not use its output.
InputRole = Literal["argument", "item", "condition", "order"]
_CITATION = re.compile(r"\[([^\[\]\s]+(?:\s*,\s*[^\[\]\s]+)*)\]")


class _FrozenModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class PlanVersion(_FrozenModel):
    """The plan of one revision, and who wrote it."""

    revision: int
    author: Author
    #: The name of the model, if a model wrote the plan.
    model: str | None = None
    #: Tokens that the model used for the plan, repairs included.
    usage: dict[str, int | float] | None = None
    #: When it was written, ISO 8601.
    at: str | None = None
    plan: Plan


class ResultInput(_FrozenModel):
    """A result that a task depends on; `path` leads to the part that it uses."""

    task: str
    way: InputRole
    path: tuple[PathStep, ...] = ()


class ResultOrigin(_FrozenModel):
    """Where one result came from. If the plan of the task is no longer known, only the outcome is set."""

    task: str
    outcome: Outcome
    version: PlanVersion | None = None
    #: The number of that plan among those of the run, from 1.
    number: int | None = None
    tool: str | None = None
    #: Resolved arguments, for each item of a `for_each` in order; None if an input is not available.
    calls: tuple[dict[str, JsonValue], ...] | None = None
    inputs: tuple[ResultInput, ...] = ()


class AnswerStatement(_FrozenModel):
    """A paragraph of an answer, and the tasks whose results it is based on."""

    text: str
    tasks: tuple[str, ...]


class Provenance:
    """The results of one run, each with its chain of inputs. Every method raises `KeyError` for an unknown task."""

    def __init__(
        self, *, goal: str, versions: Sequence[PlanVersion], outcomes: Mapping[str, Outcome], answer: str = ""
    ) -> None:
        """Take the plans in the order in which they were made, and the outcomes with their outputs loaded."""
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
        input_tasks = {task: [each.task for each in found] for task, found in self.inputs.items()}
        self._order = {task: place for place, task in enumerate(TopologicalSorter(input_tasks).static_order())}

    def __iter__(self) -> Iterator[str]:
        """Iterate over the tasks, each after what it depends on."""
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
        """Return all tasks that `task` depends on and `task` itself, each after its own inputs."""
        found, waiting = {task}, [task]
        while waiting:
            for each in self.inputs[waiting.pop()]:
                if each.task not in found:
                    found.add(each.task)
                    waiting.append(each.task)
        return tuple(sorted(found, key=self._order.__getitem__))

    def prefix(self, task: str, length: int) -> tuple[str, ...]:
        """Return the first `length` tasks of the chain of `task`."""
        return self.chain(task)[:length]

    def shared(self, tasks: Iterable[str]) -> tuple[str, ...]:
        """Return the tasks that all of `tasks` depend on, in order: what branches have in common before they part."""
        chains = [set(self.chain(task)) for task in tasks]
        common = set.intersection(*chains) if chains else set()
        return tuple(sorted(common, key=self._order.__getitem__))

    def find_inputs(self, task: str, *, tool: str | None = None) -> tuple[str, ...]:
        """Return all tasks that `task` depends on, the nearest first; with `tool`, only those that call this tool."""
        level, seen, found = [task], {task}, []
        while level:
            inputs = dict.fromkeys(each.task for one in level for each in self.inputs[one])
            level = [one for one in inputs if one not in seen]
            seen.update(level)
            found += level
        return tuple(one for one in found if tool is None or self._get_tool(one) == tool)

    def find_input(self, task: str, *, tool: str) -> str | None:
        """Return the nearest task that `task` depends on and that calls `tool`; None if there is none."""
        return next(iter(self.find_inputs(task, tool=tool)), None)

    def previous_input(self, task: str) -> str | None:
        """Return the first task whose result `task` uses directly; None if it uses none."""
        return next((each.task for each in self.inputs[task]), None)

    def split_answer(self) -> tuple[AnswerStatement, ...]:
        """Return the paragraphs of the answer with the tasks that each cites, or else those of the paragraph before."""
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
        containing = [place for place, tasks in enumerate(self._tasks) if task in tasks]
        earlier = [place for place in containing if self.versions[place].revision <= self._outcomes[task].revision]
        found = earlier or containing
        return found[-1] if found else None

    def _trace_inputs(self, task: str) -> Iterator[ResultInput]:
        at = self._find_version(task)
        if at is None:
            return
        for each in list_task_inputs(self._tasks[at][task], needs=self._needs[at][task]):
            if each.task in self._outcomes:
                yield each

    def _resolve_calls(self, task: Task) -> tuple[dict[str, JsonValue], ...] | None:
        try:
            if task.for_each is None:
                return (resolve_args(task.args, outputs=self._outputs),)
            items = resolve(task.for_each, outputs=self._outputs)
            listed = items if isinstance(items, list) else []
            return tuple(resolve_args(task.args, outputs=self._outputs, item=item) for item in listed)
        except UnresolvedReference:
            return None


def list_task_inputs(task: Task, *, needs: Iterable[str]) -> Iterator[ResultInput]:
    """Yield what a task uses of other tasks, then those of `needs`, its dependencies, that it only waits for."""
    used: set[str] = set()
    for each in _find_inputs(task):
        used.add(each.task)
        yield each
    for need in needs:
        if need not in used:
            yield ResultInput(task=need, way="order")


def _find_inputs(task: Task) -> Iterator[ResultInput]:
    for _, found in find_argument_references(task.args):
        if isinstance(found, OutputReference):
            yield ResultInput(task=found.task, way="argument", path=found.path)
    for _, found in find_references(task.for_each):
        if isinstance(found, OutputReference):
            yield ResultInput(task=found.task, way="item", path=found.path)
    for name in list_condition_tasks(task.condition):
        yield ResultInput(task=name, way="condition")
