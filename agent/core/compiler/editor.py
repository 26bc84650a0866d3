"""Edits a plan task by task; no edit may bring in a new problem of ids, references or order."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Self

from pydantic import JsonValue

from agent.core.compiler.argument_check import did_you_mean
from agent.core.compiler.compiler import check_structure
from agent.core.plan.conditions import list_condition_tasks
from agent.core.plan.dependencies import build_dependency_graph
from agent.core.plan.document import ExecutionMode, Plan, Task, get_execution_fields
from agent.core.plan.parser import parse_plan
from agent.core.plan.problems import Problem, ProblemKind, format_value
from agent.core.plan.references import OutputReference, find_argument_producers, find_producers, parse_reference


class EditError(ValueError):
    """An edit that cannot be made; the plan is unchanged. `problems` says why, with places and remedies."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__(" ".join(map(str, self.problems)))


class PlanEditor:
    """One plan, and the plans that edits make of it: every edit returns a new editor and leaves this one unchanged.

    An edit may not bring in a problem of ids, references or order that the plan did not have, so a plan with problems
    can be fixed step by step. Tools and arguments are checked when the plan is compiled.
    """

    def __init__(self, plan: Plan | Mapping[str, JsonValue] | None = None, *, settled: Collection[str] = ()) -> None:
        """`settled` tasks have run: they cannot be changed or removed. Raises `EditError` if `plan` is malformed."""
        found = parse_plan(plan if plan is not None else Plan())
        if not isinstance(found, Plan):
            raise EditError(found)
        self.plan = found
        self.settled = frozenset(settled)

    def __contains__(self, task_id: object) -> bool:
        return any(task.id == task_id for task in self.plan.tasks)

    def get(self, task_id: str) -> Task:
        """Return a task. Raises `EditError` if there is none with that id."""
        return self.plan.tasks[self._find_position(task_id)]

    def find_referring_tasks(self, task_id: str) -> dict[str, tuple[str, ...]]:
        """Return the tasks that name `task_id`, each with the fields that do."""
        found = {task.id: tuple(find_reference_fields(task, task_id)) for task in self.plan.tasks if task.id != task_id}
        return {task: fields for task, fields in found.items() if fields}

    def problems(self) -> tuple[Problem, ...]:
        """Return the problems of ids, references and order; all others are found when the plan is compiled."""
        return check_structure(self.plan)

    def add(self, task: Task | Mapping[str, JsonValue], *, before: str | None = None, after: str | None = None) -> Self:
        """Add a task at the end, or next to another one. Raises `EditError`."""
        new = _parse_task(task)
        self._require_free(new.id)
        tasks = list(self.plan.tasks)
        tasks.insert(self._find_insert_position(before, after), new)
        return self._replace_tasks(tasks)

    def update(self, task_id: str, changes: Mapping[str, JsonValue]) -> Self:
        """Change fields of a task; null resets a field to its default. Raises `EditError`.

        A new `id` is put into every dependency and reference; a condition that names the task must be changed first.
        """
        position = self._find_position(task_id)
        before = self.plan.tasks[position]
        document = before.model_dump(mode="json", exclude_unset=True) | dict(changes)
        new = _parse_task(
            {field: value for field, value in document.items() if value is not None or field not in changes}
        )
        if task_id in self.settled and (new.id != task_id or get_execution_fields(new) != get_execution_fields(before)):
            raise EditError([_make_finished_problem(task_id, "changed")])
        tasks = list(self.plan.tasks)
        tasks[position] = new
        if new.id != task_id:
            self._require_free(new.id)
            tasks = [_rename_references(task, task_id, new.id, settled=self.settled) for task in tasks]
        return self._replace_tasks(tasks)

    def remove(self, task_id: str, *, detach: bool = False, dependents: bool = False) -> Self:
        """Remove a task. Raises `EditError` if others still name it.

        `detach` drops it from the `depends_on` of others; `dependents` also removes all tasks that depend on it.
        """
        gone = {self.get(task_id).id: None, **(dict.fromkeys(self._find_dependents(task_id)) if dependents else {})}
        if finished := [task for task in gone if task in self.settled]:
            raise EditError([_make_finished_problem(task, "removed") for task in finished])
        left = [task for task in self.plan.tasks if task.id not in gone]
        if detach:
            left = [
                task.model_copy(update={"depends_on": tuple(need for need in task.depends_on if need != task_id)})
                for task in left
            ]
        users = [(task.id, fields) for task in left if (fields := tuple(find_reference_fields(task, task_id)))]
        if users:
            raise EditError([_make_reference_problem(task_id, user, fields) for user, fields in users])
        return self._replace_tasks(left)

    def move(self, task_id: str, *, before: str | None = None, after: str | None = None) -> Self:
        """Move a task before or after another one, or to the end. Raises `EditError`."""
        task = self.get(task_id)
        rest = [each for each in self.plan.tasks if each.id != task_id]
        if task_id in {before, after}:
            raise EditError(
                [
                    _make_problem(
                        "unknown_reference", task_id, "it cannot be moved next to itself.", "Name another task."
                    )
                ]
            )
        moved = type(self)(self.plan.model_copy(update={"tasks": tuple(rest)}))
        rest.insert(moved._find_insert_position(before, after), task)  # noqa: SLF001 - another editor of the same class
        return self._replace_tasks(rest)

    def replace_plan(self, plan: Plan) -> Self:
        """Replace the whole plan. Raises `EditError` if that changes a task that has run."""
        tasks = {task.id: task for task in plan.tasks}
        finished = [task for task in self.plan.tasks if task.id in self.settled]
        removed = [_make_finished_problem(task.id, "removed") for task in finished if task.id not in tasks]
        changed = [
            _make_finished_problem(task.id, "changed")
            for task in finished
            if task.id in tasks and get_execution_fields(tasks[task.id]) != get_execution_fields(task)
        ]
        if removed or changed:
            raise EditError([*removed, *changed])
        return self._apply_edit(plan)

    def set_plan_options(
        self, *, execution_mode: ExecutionMode | None = None, phases: Mapping[str, str] | None = None
    ) -> Self:
        """Change the execution mode or the phases, in their order. Raises `EditError`."""
        update: dict[str, object] = {"execution_mode": execution_mode or self.plan.execution_mode}
        return self._apply_edit(
            self.plan.model_copy(update={**update, **({} if phases is None else {"phases": dict(phases)})})
        )

    def _replace_tasks(self, tasks: Iterable[Task]) -> Self:
        return self._apply_edit(self.plan.model_copy(update={"tasks": tuple(tasks)}))

    def _apply_edit(self, plan: Plan) -> Self:
        known = {(problem.kind, problem.task, problem.what) for problem in self.problems()}
        new = [each for each in check_structure(plan) if (each.kind, each.task, each.what) not in known]
        if new:
            raise EditError(new)
        old, new_needs = build_dependency_graph(self.plan), build_dependency_graph(plan)
        if late := [task for task in self.settled if task in self and new_needs.get(task) != old[task]]:
            raise EditError(_make_finished_problem(task, "made to wait for another task") for task in sorted(late))
        return type(self)(plan, settled=self.settled)

    def _require_free(self, task_id: str) -> None:
        if task_id in self:
            raise EditError(
                [_make_problem("duplicate_id", task_id, "there is already a task with this id.", "Choose another id.")]
            )

    def _find_position(self, task_id: str) -> int:
        for position, task in enumerate(self.plan.tasks):
            if task.id == task_id:
                return position
        remedy = did_you_mean(task_id, [task.id for task in self.plan.tasks]) or "Name a task of this plan."
        raise EditError(
            [_make_problem("unknown_reference", task_id, f"there is no task {format_value(task_id)}.", remedy)]
        )

    def _find_insert_position(self, before: str | None, after: str | None) -> int:
        if before is not None and after is not None:
            what = f"a task cannot be both right before {before!r} and right after {after!r}."
            raise EditError([Problem(kind="malformed", place="plan", what=what, remedy="Name one of them.")])
        if before is not None:
            return self._find_position(before)
        return self._find_position(after) + 1 if after is not None else len(self.plan.tasks)

    def _find_dependents(self, task_id: str) -> Iterator[str]:
        gone = {task_id}
        while found := [
            task.id for task in self.plan.tasks if task.id not in gone and any(_test_references(task, gone))
        ]:
            gone.update(found)
            yield from found


def find_reference_fields(task: Task, task_id: str) -> Iterator[str]:
    """Yield the fields of `task` that name `task_id`."""
    if task_id in task.depends_on:
        yield "depends_on"
    if task_id in find_argument_producers(task.args):
        yield "args"
    if task_id in find_producers(task.for_each):
        yield "for_each"
    if task_id in list_condition_tasks(task.condition):
        yield "condition"
    if task.rollback is not None and task_id in find_argument_producers(task.rollback.args):
        yield "rollback"


def redirect_references(task: Task, old: str, new: str) -> Task:
    """Return the task with its dependencies and references to `old` renamed to `new`; its condition stays as it is."""
    update: dict[str, object] = {
        "depends_on": tuple(new if need == old else need for need in task.depends_on),
        "args": {name: _redirect_value(value, old, new) for name, value in task.args.items()},
    }
    if task.for_each is not None:
        update["for_each"] = _redirect_value(task.for_each, old, new)
    if task.rollback is not None:
        args = {name: _redirect_value(value, old, new) for name, value in task.rollback.args.items()}
        update["rollback"] = task.rollback.model_copy(update={"args": args})
    return task.model_copy(update=update)


def _redirect_value(value: JsonValue, old: str, new: str) -> JsonValue:
    """Return `value` with every reference to `old` in it renamed to `new`."""
    if isinstance(value, dict):
        found = parse_reference(value)
        if isinstance(found, OutputReference):
            return {**value, "output_of": new} if found.task == old else value
        return {key: _redirect_value(inner, old, new) for key, inner in value.items()}
    return [_redirect_value(inner, old, new) for inner in value] if isinstance(value, list) else value


def _test_references(task: Task, gone: Collection[str]) -> Iterator[bool]:
    return (bool(tuple(find_reference_fields(task, one))) for one in gone)


def _parse_task(document: Task | Mapping[str, JsonValue]) -> Task:
    """Read one task; the places of its problems do not mention a list, since the task is in none."""
    if isinstance(document, Task):
        return document
    found = parse_plan({"tasks": [dict(document)]})
    if isinstance(found, Plan):
        return found.tasks[0]
    raise EditError(
        problem.model_copy(update={"place": problem.place.replace("tasks[0].", "").replace("tasks[0]", "the task")})
        for problem in found
    )


def _rename_references(task: Task, old: str, new: str, *, settled: Collection[str]) -> Task:
    """Return the task with its references to `old` renamed to `new`. Raises `EditError` if one cannot be."""
    fields = tuple(find_reference_fields(task, old))
    if not fields:
        return task
    if "condition" in fields:
        what = f"its condition {format_value(task.condition)} names {old!r}, which is to be renamed to {new!r}."
        raise EditError(
            [_make_problem("bad_condition", task.id, what, "Change this condition first.", field="condition")]
        )
    if task.id in settled:
        raise EditError([_make_finished_problem(task.id, "changed")])
    return redirect_references(task, old, new)


def _make_reference_problem(task_id: str, user: str, fields: tuple[str, ...]) -> Problem:
    where = " and ".join(map(repr, fields))
    remedy = f"Change {user!r} first, or remove it as well."
    return _make_problem("unknown_reference", user, f"it names {task_id!r} in {where}.", remedy)


def _make_finished_problem(task_id: str, what: str) -> Problem:
    remedy = "Add a task with another id instead."
    return _make_problem("used_id", task_id, f"it has run, so it cannot be {what}.", remedy)


def _make_problem(kind: ProblemKind, task_id: str, what: str, remedy: str, *, field: str = "") -> Problem:
    place = f"task {task_id!r}{', ' if field else ''}{field}"
    return Problem(kind=kind, place=place, task=task_id, what=what, remedy=remedy)
