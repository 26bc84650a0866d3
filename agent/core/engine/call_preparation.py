"""Prepares tasks to run: evaluates conditions, resolves references, checks the arguments again, finds reusable work."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, JsonValue

from agent.core.compiler.argument_check import find_value_errors
from agent.core.compiler.compiler import CompiledPlan
from agent.core.cut_results import find_inherited_cuts
from agent.core.engine.outcomes import Done, Failed, FailureKind, ItemFailure, Outcome, Rejected, Skipped
from agent.core.plan.conditions import evaluate, find_condition_tasks
from agent.core.plan.document import Plan, Task, get_execution_fields
from agent.core.plan.hashing import hash_json
from agent.core.plan.references import (
    UnresolvedReference,
    find_argument_producers,
    find_producers,
    resolve,
    resolve_args,
)
from agent.core.plan.tool_spec import ToolSpec

Arguments = dict[str, JsonValue]
#: Levels of lists and objects in arguments: an output of 250 levels fits in, within a list and under a name.
_MAX_ARGUMENT_DEPTH: Final = 252
#: Whether a call that may have taken effect can be repeated without harm.
Repeatability = Literal["yes", "with_key", "no"]


@dataclass(frozen=True, slots=True)
class PreparedTask:
    """The calls of a task, resolved: one, or with `for_each` one for each item in order."""

    #: The arguments of each call; empty for an item in `invalid_items`.
    calls: tuple[Arguments, ...]
    fingerprint: str
    is_for_each: bool
    tool: str
    #: Fingerprints of what the task waited for.
    dependency_fingerprints: tuple[str | None, ...]
    #: By position: the items that cannot be called, which the task goes on without.
    invalid_items: Mapping[int, ItemFailure] = field(default_factory=dict)

    def compute_call_fingerprint(self, position: int) -> str:
        """Return the fingerprint of the call at `position`."""
        return compute_fingerprint(
            self.tool, [self.calls[position]], dependency_fingerprints=self.dependency_fingerprints
        )


def prepare(
    task: Task, spec: ToolSpec, *, needs: tuple[str, ...], outcomes: Mapping[str, Outcome], revision: int
) -> PreparedTask | Skipped | Failed:
    """Decide whether `task` runs and with which arguments; `outcomes` must contain those of its `needs`."""
    used = required_outputs(task)
    outputs = collect_outputs({need: outcomes[need] for need in needs if need in outcomes and need in used})
    try:
        if task.condition is not None and not evaluate(task.condition, outputs=outputs):
            return Skipped(revision=revision, because=_explain_skip(task, outcomes))
        items = _resolve_items(task, outputs)
    except UnresolvedReference as error:
        return Failed(revision=revision, kind="reference", error=str(error))
    calls, invalid = _resolve_calls(task, spec, outputs, items)
    goes_on = task.on_item_failure in {"skip", "null"} and len(invalid) < len(calls)
    if invalid and not goes_on:
        return _build_failure(task, invalid, revision)
    fingerprints = tuple(outcome.fingerprint for need in needs if isinstance(outcome := outcomes.get(need), Done))
    partial = task.on_item_failure if task.on_item_failure in {"skip", "null"} else None
    return PreparedTask(
        calls=tuple(calls),
        fingerprint=compute_fingerprint(task.tool, calls, dependency_fingerprints=fingerprints, partial=partial),
        is_for_each=task.for_each is not None,
        tool=task.tool,
        dependency_fingerprints=fingerprints,
        invalid_items=invalid,
    )


def _explain_skip(task: Task, outcomes: Mapping[str, Outcome]) -> str:
    """Return why the condition skips the task, and what of the data that it was evaluated on was cut off."""
    condition = Task(id=task.id, tool=task.tool, condition=task.condition)
    cuts = "".join(
        f" It was evaluated on incomplete data: {cut.what}." for cut in find_inherited_cuts(condition, outcomes)
    )
    return f"Its condition is false: {task.condition}{'.' if cuts else ''}{cuts}"


def _resolve_items(task: Task, outputs: Mapping[str, JsonValue]) -> list[JsonValue]:
    """Return the items of `for_each`; a task without it has one item, which nothing refers to."""
    if task.for_each is None:
        return [None]
    items = resolve(task.for_each, outputs=outputs)
    if not isinstance(items, list):
        raise UnresolvedReference("The 'for_each' of this task does not refer to a list.")
    return items


def _resolve_calls(
    task: Task, spec: ToolSpec, outputs: Mapping[str, JsonValue], items: list[JsonValue]
) -> tuple[list[Arguments], dict[int, ItemFailure]]:
    """Return the arguments for each item, and by position why an item has none or why they are not valid."""
    calls: list[Arguments] = []
    invalid: dict[int, ItemFailure] = {}

    def mark_invalid(kind: FailureKind, error: str) -> Arguments:
        invalid[len(calls)] = ItemFailure(item=len(calls), kind=kind, error=error)
        return {}

    for item in items:
        try:
            args = resolve_args(task.args, outputs=outputs, item=item)
        except UnresolvedReference as error:
            calls.append(mark_invalid("reference", str(error)))
            continue
        if _is_too_deep(args):
            sentence = f"The arguments of the tool {spec.name!r} are nested deeper than {_MAX_ARGUMENT_DEPTH} levels."
            calls.append(mark_invalid("argument", sentence))
            continue
        errors = "; ".join(find_value_errors(spec.args_schema, args)[:5])
        sentence = f"The arguments do not fit the tool {spec.name!r}: {errors}."
        calls.append(mark_invalid("argument", sentence) if errors else args)
    return calls, invalid


def _is_too_deep(args: Arguments) -> bool:
    """Whether arguments are nested too deeply to be stored with a question or a result."""
    layer: list[JsonValue] = [args]
    for _ in range(_MAX_ARGUMENT_DEPTH):
        layer = [
            inner
            for each in layer
            for inner in (each.values() if isinstance(each, dict) else each if isinstance(each, list) else ())
            if isinstance(inner, dict | list)
        ]
        if not layer:
            return False
    return True


def _build_failure(task: Task, invalid: Mapping[int, ItemFailure], revision: int) -> Failed:
    """Return the failure of a task that is not called at all because of these items."""
    first = next(iter(invalid.values()))
    at = f"Item {first.item}: " if task.for_each is not None else ""
    more = f" {len(invalid) - 1} more items cannot be called either." if len(invalid) > 1 else ""
    return Failed(revision=revision, kind=first.kind, error=f"{at}{first.error}{more}")


def required_outputs(task: Task) -> frozenset[str]:
    """Return the tasks whose outputs `prepare` reads; a task may wait for others whose outputs it does not use."""
    condition = find_condition_tasks(task.condition) if task.condition is not None else frozenset[str]()
    return condition.union(find_argument_producers(task.args), find_producers(task.for_each))


def collect_outputs(outcomes: Mapping[str, Outcome]) -> dict[str, JsonValue]:
    """Return the outputs of finished tasks by task id; those that are offloaded must have been loaded before."""
    done = {
        task: outcome for task, outcome in outcomes.items() if isinstance(outcome, Done) and not outcome.has_lost_output
    }
    if offloaded := [task for task, outcome in done.items() if outcome.is_offloaded]:
        raise AssertionError(f"the outputs of {offloaded} are in their store and were not loaded")
    return {task: outcome.output for task, outcome in done.items()}


def compute_fingerprint(
    tool: str, calls: Sequence[JsonValue], *, dependency_fingerprints: Iterable[str | None], partial: str | None = None
) -> str:
    """Return the digest of a piece of work: tool, resolved arguments, fingerprints of all that it waited for.

    What it waited for counts although its output is already in the arguments: a read before a write and the same read
    after it are two pieces of work. `partial` is how the output leaves out failed items, None if it does not; a partial
    output cannot replace a whole one.
    """
    fingerprints: list[JsonValue] = [*sorted(one or "" for one in dependency_fingerprints)]
    work: dict[str, JsonValue] = {"tool": tool, "calls": list(calls), "rests_on": fingerprints}
    return hash_json(work | {"partial": partial} if partial else work)


def find_reusable_results(outcomes: Mapping[str, Outcome], *, revision: int) -> dict[str, tuple[str, Done]]:
    """Return the finished work of earlier revisions by fingerprint: the task that did it and its outcome."""
    return {
        outcome.fingerprint: (task, outcome)
        for task, outcome in outcomes.items()
        if isinstance(outcome, Done) and outcome.fingerprint and outcome.revision < revision
    }


def find_valid_outcomes(
    compiled: CompiledPlan, outcomes: Mapping[str, Outcome], *, revision: int
) -> dict[str, Outcome]:
    """Return the outcomes that are still valid under an edited plan; the tasks of the others run again.

    Finished work is valid as long as its call and everything it depends on are unchanged. A failure, a rejection or a
    skip is not: the edit may be the remedy. Outcomes of tasks that left the plan stay, to be found by fingerprint.
    """
    valid = {task: outcome for task, outcome in outcomes.items() if task not in compiled.tasks}
    for task in compiled.order:
        outcome = outcomes.get(task)
        if isinstance(outcome, Done) and _is_unchanged(task, outcome, compiled, valid, revision=revision):
            valid[task] = outcome
    return valid


def _is_unchanged(
    task: str, done: Done, compiled: CompiledPlan, valid: Mapping[str, Outcome], *, revision: int
) -> bool:
    needs = compiled.needs[task]
    ready = prepare(compiled.tasks[task], compiled.get_spec(task), needs=needs, outcomes=valid, revision=revision)
    # A result that a human gave was not a call and has no fingerprint; it is valid for the task as it is now.
    return isinstance(ready, PreparedTask) and (done.answered_by_person or ready.fingerprint == done.fingerprint)


def compute_failure_signature(outcomes: Mapping[str, Outcome], failed: Iterable[str]) -> str:
    """Return the digest of a set of failures by tool calls and kinds of failure, whatever the task ids."""
    marks: list[JsonValue] = []
    for task in failed:
        outcome = outcomes[task]
        if isinstance(outcome, Failed):
            marks.append(f"{outcome.kind} {outcome.fingerprint or outcome.error}")
        elif isinstance(outcome, Rejected):
            marks.append(f"rejected {outcome.digest}")
    return hash_json(sorted(marks, key=str))


TaskChange = Literal["kept", "changed", "new", "dropped"]


class PlanDiff(BaseModel):
    """How one revision of a plan differs from the previous one, by task id."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kept: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    new: tuple[str, ...] = ()
    dropped: tuple[str, ...] = ()

    def __str__(self) -> str:
        parts = (("kept", self.kept), ("changed", self.changed), ("new", self.new), ("dropped", self.dropped))
        return "; ".join(f"{word} {', '.join(tasks)}" for word, tasks in parts if tasks) or "nothing has changed"


def diff_plans(before: Plan, after: Plan) -> PlanDiff:
    """Compare two plans task by task; description, reasoning, expected outcome and phase do not count."""
    old, new = {task.id: task for task in before.tasks}, {task.id: task for task in after.tasks}
    same = {task: get_execution_fields(new[task]) == get_execution_fields(old[task]) for task in new if task in old}
    return PlanDiff(
        kept=tuple(task for task in same if same[task]),
        changed=tuple(task for task in same if not same[task]),
        new=tuple(task for task in new if task not in old),
        dropped=tuple(task for task in old if task not in new),
    )


def get_call_key(item: int | None) -> str:
    """Return the key of a call within its task: the position of the item, or `-` if the task is one call."""
    return "-" if item is None else str(item)


def get_repeatability(spec: ToolSpec) -> Repeatability:
    """Return whether a call that may have taken effect can be made again."""
    if spec.policy.read_only or spec.policy.idempotent:
        return "yes"
    return "with_key" if spec.policy.takes_idempotency_key else "no"
