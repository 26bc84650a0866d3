"""The tasks of a rollback, each behind those that undo what rests on it."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from pydantic import JsonValue

from agent.core.engine.approvals import hash_calls
from agent.core.engine.call_preparation import Arguments, PreparedTask, collect_outputs, prepare
from agent.core.engine.outcomes import Done, Failed, Outcome, PartialFailure
from agent.core.plan.dependencies import DependencyGraph
from agent.core.plan.document import Call, Task
from agent.core.plan.references import UnresolvedReference, find_producers, has_item_reference, resolve, resolve_args
from agent.core.plan.tool_spec import Catalogue, ToolSpec

#: The name of a rollback's task is that of the task it undoes behind this.
UNDO_PREFIX = "undo:"
#: The parameter by which a compensating tool asks for all that the call returned.
OUTPUT_PARAMETER = "output"
EFFECT_UNKNOWN = "Nobody knows whether it took effect."


@dataclass(frozen=True, slots=True)
class WriteRecord:
    """A call that changed something, as the ledger has it."""

    task: str
    item: int | None
    tool: str
    #: Of tool and arguments, as `call_digest` makes it.
    digest: str
    output: JsonValue
    #: The task whose worker made the call, and the arguments, which no plan has.
    worker: str | None = None
    args: Arguments = field(default_factory=dict)
    #: False where the call was begun and nobody knows whether it took effect.
    is_certain: bool = True


@dataclass(frozen=True, slots=True)
class RollbackInput:
    """The tasks of a run that changed something, or may have, with all that undoing them looks at."""

    #: The tasks to undo.
    tasks_to_undo: tuple[str, ...]
    #: Those of every plan that the run had, as they last stood.
    tasks: Mapping[str, Task]
    needs: DependencyGraph
    outcomes: Mapping[str, Outcome]
    catalogue: Catalogue
    writes: tuple[WriteRecord, ...] = ()


@dataclass(slots=True)
class UndoCalls:
    """What undoes one task: by the task's name, or with `for_each` by that and the item's position."""

    calls: dict[str, Call] = field(default_factory=dict)
    #: Undoings that are named and cannot be made, with the reason.
    impossible: dict[str, str] = field(default_factory=dict)
    #: What has no undoing, or may not have happened, with a word on it.
    uncertain: dict[str, str] = field(default_factory=dict)
    #: Whether each call may rest on those behind it, which are then undone after it.
    is_sequential: bool = False


def can_be_undone(task: Task, spec: ToolSpec | None) -> bool:
    """Whether the task names a call that undoes it, or its tool one that undoes any of its calls."""
    return task.rollback is not None or (spec is not None and spec.policy.compensate is not None)


def build_undo_calls(name: str, changes: RollbackInput) -> UndoCalls:
    """Return what undoes a task."""
    task, outcome = changes.tasks[name], changes.outcomes.get(name)
    spec = changes.catalogue.get(task.tool)
    if spec is not None and spec.policy.dispatched_only and not (task.rollback and isinstance(outcome, Done)):
        return _build_worker_undo_calls(name, outcome, changes)
    made = UndoCalls()
    if outcome is None or (task.for_each is None and isinstance(outcome, Failed) and outcome.kind != "output"):
        made.uncertain[name] = _describe_uncertainty(outcome)
        return made
    try:
        calls = _find_effective_calls(task, spec, outcome, changes)
    except UnresolvedReference as error:
        made.impossible[name] = f"Its arguments cannot be told any more: {error}"
        return made
    if isinstance(outcome, Failed) and task.for_each is not None:
        made.uncertain |= _describe_uncertain_items(name, outcome, spec)
        if not calls:
            return made
    if not can_be_undone(task, spec):
        why = f"Nothing undoes it: the task has no rollback, and its tool {task.tool!r} names none to compensate it."
        made.uncertain[name] = why
        return made
    for label, undo in _iterate_undo_calls(task, spec, calls, changes):
        if UNDO_PREFIX + label in changes.outcomes:
            made.impossible[label] = _describe_name_conflict(label)
        elif isinstance(undo, Call):
            made.calls[label] = undo
        else:
            made.impossible[label] = undo
    return made


def _build_worker_undo_calls(name: str, outcome: Outcome | None, changes: RollbackInput) -> UndoCalls:
    """Return what undoes the calls of a task's worker, the last one first."""
    made = UndoCalls(is_sequential=True)
    source = outcome.reused_from if isinstance(outcome, Done) else None
    calls = [call for call in changes.writes if call.worker is not None and call.worker in {name, source}]
    for call in sorted(calls, key=_get_call_position, reverse=True):
        spec = changes.catalogue.get(call.tool)
        if spec is not None and spec.policy.read_only:
            continue
        if not call.is_certain:
            made.uncertain[call.task] = EFFECT_UNKNOWN
        elif spec is None or spec.policy.compensate is None:
            made.uncertain[call.task] = f"Nothing undoes it: its tool {call.tool!r} names none to compensate it."
        elif UNDO_PREFIX + call.task in changes.outcomes:
            made.impossible[call.task] = _describe_name_conflict(call.task)
        else:
            undo = changes.catalogue[spec.policy.compensate]
            made.calls[call.task] = Call(tool=undo.name, args=_bind_compensation_args(undo, call.args, call.output))
    return made


def _get_call_position(call: WriteRecord) -> tuple[int, ...]:
    return tuple(int(part) for part in call.task.rpartition("/")[2].split("."))


def _describe_name_conflict(label: str) -> str:
    return f"The run has a task {UNDO_PREFIX + label!r} already, which is how its undoing would be named."


@dataclass(frozen=True, slots=True)
class _CompletedCall:
    """A call that was made: its arguments, what it returned, and the item that it was made for."""

    args: Arguments
    output: JsonValue
    item: JsonValue = None


def _find_effective_calls(
    task: Task, spec: ToolSpec | None, outcome: Outcome, changes: RollbackInput
) -> dict[int | None, _CompletedCall]:
    """Return the calls of a task that took effect, by position. Raises `Unresolved`."""
    if task.for_each is None and task.rollback is not None:
        return {None: _CompletedCall({}, outcome.output)}
    if spec is None:
        return {}
    ready = prepare(task, spec, needs=changes.needs[task.id], outcomes=changes.outcomes, revision=outcome.revision)
    if not isinstance(ready, PreparedTask):
        raise UnresolvedReference(ready.error or ready.status)
    if task.for_each is None:
        return {None: _CompletedCall(ready.calls[0], outcome.output)}
    items = resolve(
        task.for_each, outputs=collect_outputs(_select_outcomes(changes, set(find_producers(task.for_each))))
    )
    if not isinstance(items, list):
        raise UnresolvedReference("its 'for_each' does not lead to a list any more")
    found = _collect_item_outputs(task, ready, outcome, changes)
    return {item: _CompletedCall(ready.calls[item], output, items[item]) for item, output in sorted(found.items())}


def _collect_item_outputs(
    task: Task, ready: PreparedTask, outcome: Outcome, changes: RollbackInput
) -> dict[int, JsonValue]:
    """Return what the items returned that took effect under this very task.

    One that the ledger has under another task was taken over from there, and is undone there.
    """
    digests = [hash_calls(task.tool, [args]) for args in ready.calls]
    own = {
        call.item: call.output
        for call in changes.writes
        if call.task == task.id and call.item is not None and digests[call.item : call.item + 1] == [call.digest]
    }
    elsewhere = {call.digest for call in changes.writes if call.is_certain and call.task != task.id}
    for item, output in _iterate_returned_items(task, outcome, total=len(ready.calls)):
        if item not in own and digests[item] not in elsewhere:
            own[item] = output
    return own


def _iterate_returned_items(task: Task, outcome: Outcome, *, total: int) -> Iterator[tuple[int, JsonValue]]:
    """Yield the items of a task that is done and what each returned, null where that is not known."""
    if not isinstance(outcome, Done):
        return
    failed = set(outcome.items.failed) if outcome.items is not None else set[int]()
    positions = [item for item in range(total) if task.on_item_failure == "null" or item not in failed]
    outputs = outcome.output if isinstance(outcome.output, list) else []
    known = outputs if len(outputs) == len(positions) else [None] * len(positions)
    for item, output in zip(positions, known, strict=True):
        if item not in failed:
            yield item, output


def _iterate_undo_calls(
    task: Task, spec: ToolSpec | None, calls: Mapping[int | None, _CompletedCall], changes: RollbackInput
) -> Iterator[tuple[str, Call | str]]:
    """Yield for each call the one that undoes it, or why there is none; a rollback of the whole comes once."""
    rollback = task.rollback
    if rollback is not None and not (task.for_each is not None and has_item_reference(rollback.args)):
        yield task.id, _resolve_rollback(rollback, changes)
        return
    for item, made in calls.items():
        label = task.id if item is None else f"{task.id}[{item}]"
        if rollback is not None:
            own = Done(revision=1, output=made.output)
            yield label, _resolve_rollback(rollback, changes, own={task.id: own}, item=made.item)
        elif spec is not None and spec.policy.compensate is not None:
            undo = changes.catalogue[spec.policy.compensate]
            yield label, Call(tool=undo.name, args=_bind_compensation_args(undo, made.args, made.output))


def _resolve_rollback(
    rollback: Call, changes: RollbackInput, *, own: Mapping[str, Outcome] | None = None, item: JsonValue = None
) -> Call | str:
    read = {producer for value in rollback.args.values() for producer in find_producers(value)}
    outputs = collect_outputs({**_select_outcomes(changes, read), **(own or {})})
    try:
        return Call(tool=rollback.tool, args=resolve_args(rollback.args, outputs=outputs, item=item))
    except UnresolvedReference as error:
        return str(error)


def _select_outcomes(changes: RollbackInput, tasks: Collection[str]) -> dict[str, Outcome]:
    return {task: outcome for task, outcome in changes.outcomes.items() if task in tasks}


def _bind_compensation_args(undo: ToolSpec, args: Mapping[str, JsonValue], output: JsonValue) -> dict[str, JsonValue]:
    """Return what a compensating tool takes: by name of the output, else of the call's arguments."""
    wanted = undo.args_schema.get("properties", {})
    named = output if isinstance(output, dict) else {}
    whole = {OUTPUT_PARAMETER: output} if output is not None else {}
    known = {**whole, **args, **named}
    return {name: known[name] for name in wanted if name in known}


def find_missing_compensation_args(undo: ToolSpec, spec: ToolSpec) -> list[str]:
    """Return what a compensating tool needs and no call of `spec` has; nothing where the output is not known."""
    output = spec.output_schema or {}
    if output.get("type") != "object" or "properties" not in output or output.get("additionalProperties") is not False:
        return []
    known = {OUTPUT_PARAMETER, *spec.args_schema.get("properties", {}), *output["properties"]}
    return [name for name in undo.args_schema.get("required", []) if name not in known]


def _describe_uncertainty(outcome: Outcome | None) -> str:
    match outcome:
        case Failed(kind="timeout" | "transient", error=error):
            return f"It failed and may have taken effect all the same: {error}"
        case _:
            return EFFECT_UNKNOWN


def _describe_uncertain_items(name: str, outcome: Failed, spec: ToolSpec | None) -> dict[str, str]:
    if outcome.kind == "in_doubt":
        return {name: EFFECT_UNKNOWN}
    again = spec is None or spec.policy.idempotent
    unsure = {"output", *({"timeout", "transient"} if again else ())}
    missing: PartialFailure | None = outcome.items
    return {
        f"{name}[{each.item}]": f"It failed and may have taken effect all the same: {each.error}"
        for each in (missing.errors if missing is not None else ())
        if each.kind in unsure
    }


def may_have_effect(task: Task, *, spec: ToolSpec | None, outcome: Outcome | None, doubted: bool) -> bool:
    """Whether `task` changed something, or may have: one with a rollback, or whose tool is not known to read only.

    So may the worker of a task; which of its calls did is in the ledger.

    A failed call surely had no effect unless it returned what the tool does not promise, was left in doubt, or failed
    in a way that may pass and was idempotent, so that nobody looked.
    """
    if spec is not None and spec.policy.dispatched_only and isinstance(outcome, Done | Failed) and outcome.attempts:
        return True
    if task.rollback is None and spec is not None and spec.policy.read_only:
        return False
    match outcome:
        case None:
            return doubted
        case Done(answered_by_person=by_hand, was_in_doubt=happened):
            return happened or not by_hand
        case Failed(kind="output" | "in_doubt"):
            return True
        case Failed(items=PartialFailure(returned=returned)) if returned:
            return True
        case Failed(kind="timeout" | "transient"):
            return spec is None or spec.policy.idempotent
        case _:
            return False


def build_undo_tasks(changes: RollbackInput) -> tuple[tuple[Task, ...], dict[str, str]]:
    """Return one task for each call to undo, waiting for the undoing of all that rests on it.

    Beside them stands what cannot be undone, with the reason. What has no undoing at all holds nothing up; what has
    one that cannot be made is still in effect, and so is then all that it rests on.
    """
    calls: dict[str, tuple[str, Call]] = {}
    hopeless: dict[str, str] = {}
    unknown: dict[str, str] = dict(_find_orphan_writes(changes))
    labels: dict[str, list[str]] = {}
    after: dict[str, str] = {}
    for name in changes.tasks_to_undo:
        found = build_undo_calls(name, changes)
        calls |= {label: (name, call) for label, call in found.calls.items()}
        hopeless |= found.impossible
        unknown |= found.uncertain
        labels[name] = [*found.calls, *found.impossible]
        after |= {earlier: later for later, earlier in pairwise(found.calls)} if found.is_sequential else {}
    behind = _find_undo_order(changes, {name for name, made in labels.items() if made})
    tasks = tuple(
        Task(
            id=UNDO_PREFIX + label,
            description=f"Undo {label!r}.",
            tool=call.tool,
            args=call.args,
            depends_on=(
                *(UNDO_PREFIX + other for later in behind[name] for other in labels[later]),
                *((UNDO_PREFIX + after[label],) if label in after else ()),
            ),
            on_failure="skip",
        )
        for label, (name, call) in calls.items()
    )
    left, held = drop_impossible_undos(tasks, hopeless)
    return left, {**unknown, **hopeless, **held}


def _find_orphan_writes(changes: RollbackInput) -> Iterator[tuple[str, str]]:
    """Yield the writes that no task to undo stands for: those of tasks that were changed since."""
    sources = {outcome.reused_from for outcome in changes.outcomes.values() if isinstance(outcome, Done)}
    for call in changes.writes:
        spec = changes.catalogue.get(call.tool)
        owner = call.worker or call.task
        if owner not in changes.tasks_to_undo and owner not in sources and not (spec and spec.policy.read_only):
            label = call.task if call.item is None else f"{call.task}[{call.item}]"
            yield (
                label,
                f"No task of the plan stands for this call of {call.tool!r}." if call.is_certain else EFFECT_UNKNOWN,
            )


def drop_impossible_undos(tasks: Sequence[Task], hopeless: Iterable[str]) -> tuple[tuple[Task, ...], dict[str, str]]:
    """Return the undoings that neither are nor wait for one that cannot be made, and why the others stay in effect."""
    gone = {UNDO_PREFIX + name for name in hopeless}
    held: dict[str, str] = {}
    while True:
        more = {
            task.id: need
            for task in tasks
            if task.id not in gone
            for need in [next((need for need in task.depends_on if need in gone), None)]
            if need is not None
        }
        if not more:
            return tuple(task for task in tasks if task.id not in gone), held
        gone |= more.keys()
        held |= {task.removeprefix(UNDO_PREFIX): describe_kept_change(need) for task, need in more.items()}


def describe_kept_change(undoing: str) -> str:
    """Return why a change stays in effect of which something else is not undone."""
    return f"{undoing.removeprefix(UNDO_PREFIX)!r}, which rests on it, was not undone."


def _find_undo_order(changes: RollbackInput, undoings: set[str]) -> dict[str, list[str]]:
    """Return for each undoing those of what rests on it: the nearest ones, behind which the others wait in turn."""
    behind: dict[str, list[str]] = {name: [] for name in undoings}
    holders = {
        outcome.reused_from: name
        for name in undoings
        if isinstance(outcome := changes.outcomes.get(name), Done) and outcome.reused_from
    }
    for name in changes.tasks_to_undo:
        if name in undoings:
            for found in _find_nearest_dependencies(name, changes.needs, holders, undoings):
                behind[found].append(name)
    return behind


def _find_nearest_dependencies(
    task: str, needs: DependencyGraph, holders: Mapping[str, str], wanted: set[str]
) -> Iterator[str]:
    seen = {task}
    stack = list(needs[task])
    while stack:
        need = stack.pop()
        need = holders.get(need, need)
        if need in seen:
            continue
        seen.add(need)
        if need in wanted:
            yield need
        else:
            stack.extend(needs.get(need, ()))
