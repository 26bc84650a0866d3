"""Builds the tasks of a rollback: each undoes one call, after the calls that depend on it are undone."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from pydantic import JsonValue

from agent.core.engine.approvals import hash_calls
from agent.core.engine.call_preparation import Arguments, PreparedTask, collect_outputs, prepare
from agent.core.engine.outcomes import Done, Failed, Outcome, PartialFailure
from agent.core.plan.dependencies import DependencyGraph
from agent.core.plan.document import Call, Task
from agent.core.plan.references import (
    UnresolvedReference,
    find_argument_producers,
    find_producers,
    has_item_reference,
    resolve,
    resolve_args,
)
from agent.core.plan.secret_fields import find_named_secrets, find_secret_values
from agent.core.plan.tool_spec import Catalogue, ToolSpec

#: The id of an undo task is this prefix and the id of the task that it undoes.
UNDO_PREFIX = "undo:"
#: The parameter in which a compensating tool receives the whole output of the call.
OUTPUT_PARAMETER = "output"
EFFECT_UNKNOWN = "It is unknown whether it took effect."


@dataclass(frozen=True, slots=True)
class WriteRecord:
    """A call that changed something, as recorded in the ledger."""

    task: str
    item: int | None
    tool: str
    #: Digest of tool and arguments, by `hash_calls`.
    digest: str
    output: JsonValue
    #: The task whose worker made the call; None if the task made it itself.
    worker: str | None = None
    #: The arguments of a worker's call, which are in no plan.
    args: Arguments = field(default_factory=dict)
    #: False if the call was started and it is unknown whether it took effect.
    is_certain: bool = True


@dataclass(frozen=True, slots=True)
class RollbackInput:
    """The tasks of a run that changed something, or may have, and everything needed to undo them."""

    #: The tasks to undo.
    tasks_to_undo: tuple[str, ...]
    #: The tasks of every plan of the run, as they were last.
    tasks: Mapping[str, Task]
    needs: DependencyGraph
    outcomes: Mapping[str, Outcome]
    catalogue: Catalogue
    writes: tuple[WriteRecord, ...] = ()


@dataclass(slots=True)
class UndoCalls:
    """The calls that undo one task, by task id, or for an item of a `for_each` by `id[position]`."""

    calls: dict[str, Call] = field(default_factory=dict)
    #: Calls that have an undo call which cannot be made, with the reason.
    impossible: dict[str, str] = field(default_factory=dict)
    #: Calls that have no undo call, or may not have happened, with a sentence.
    uncertain: dict[str, str] = field(default_factory=dict)
    #: Whether each call may depend on those after it in `calls`, so that it must be undone before them.
    is_sequential: bool = False


@dataclass(frozen=True, slots=True)
class _CompletedCall:
    """A call that was made: its arguments, its output, and the item that it was made for."""

    args: Arguments
    output: JsonValue
    item: JsonValue = None


def build_undo_tasks(changes: RollbackInput) -> tuple[tuple[Task, ...], dict[str, str]]:
    """Return one task for each call to undo, which waits until everything that depends on that call is undone.

    The second value is what is not undone, with the reason. A call without any undo call delays no other; a call whose
    undo call cannot be made stays in effect, and so does everything that it depends on.
    """
    calls: dict[str, tuple[str, Call]] = {}
    impossible: dict[str, str] = {}
    uncertain: dict[str, str] = dict(_find_orphan_writes(changes))
    labels: dict[str, list[str]] = {}
    after: dict[str, str] = {}
    for name in changes.tasks_to_undo:
        found = build_undo_calls(name, changes)
        calls |= {label: (name, call) for label, call in found.calls.items()}
        impossible |= found.impossible
        uncertain |= found.uncertain
        labels[name] = [*found.calls, *found.impossible]
        after |= {earlier: later for later, earlier in pairwise(found.calls)} if found.is_sequential else {}
    dependents = _find_dependents(changes, {name for name, undone in labels.items() if undone})
    tasks = tuple(
        Task(
            id=UNDO_PREFIX + label,
            description=f"Undo {label!r}.",
            tool=call.tool,
            args=call.args,
            depends_on=(
                *(UNDO_PREFIX + other for later in dependents[name] for other in labels[later]),
                *((UNDO_PREFIX + after[label],) if label in after else ()),
            ),
            on_failure="skip",
        )
        for label, (name, call) in calls.items()
    )
    left, kept = drop_impossible_undos(tasks, impossible)
    return left, {**uncertain, **impossible, **kept}


def _find_orphan_writes(changes: RollbackInput) -> Iterator[tuple[str, str]]:
    """Yield the writes that belong to no task to undo, because their task was changed since, each with a sentence."""
    sources = {outcome.reused_from for outcome in changes.outcomes.values() if isinstance(outcome, Done)}
    for call in changes.writes:
        spec = changes.catalogue.get(call.tool)
        owner = call.worker or call.task
        if owner not in changes.tasks_to_undo and owner not in sources and not (spec and spec.policy.read_only):
            label = call.task if call.item is None else f"{call.task}[{call.item}]"
            yield (
                label,
                f"This call of {call.tool!r} belongs to no task of the plan." if call.is_certain else EFFECT_UNKNOWN,
            )


def _find_dependents(changes: RollbackInput, tasks: set[str]) -> dict[str, list[str]]:
    """Return for each of `tasks` its nearest dependents among them; farther ones wait for those in turn."""
    dependents: dict[str, list[str]] = {name: [] for name in tasks}
    reused_by = {
        outcome.reused_from: name
        for name in tasks
        if isinstance(outcome := changes.outcomes.get(name), Done) and outcome.reused_from
    }
    for name in changes.tasks_to_undo:
        if name in tasks:
            for found in _find_nearest_dependencies(name, changes.needs, reused_by, tasks):
                dependents[found].append(name)
    return dependents


def _find_nearest_dependencies(
    task: str, needs: DependencyGraph, reused_by: Mapping[str, str], tasks: set[str]
) -> Iterator[str]:
    """Yield those of `tasks` that `task` waits for without another of them in between."""
    seen = {task}
    stack = list(needs[task])
    while stack:
        need = stack.pop()
        need = reused_by.get(need, need)
        if need in seen:
            continue
        seen.add(need)
        if need in tasks:
            yield need
        else:
            stack.extend(needs.get(need, ()))


def drop_impossible_undos(tasks: Sequence[Task], impossible: Iterable[str]) -> tuple[tuple[Task, ...], dict[str, str]]:
    """Return the undo tasks that do not wait for an impossible one, and why the changes of the others stay."""
    gone = {UNDO_PREFIX + name for name in impossible}
    kept: dict[str, str] = {}
    while True:
        more = {
            task.id: need
            for task in tasks
            if task.id not in gone
            for need in [next((need for need in task.depends_on if need in gone), None)]
            if need is not None
        }
        if not more:
            return tuple(task for task in tasks if task.id not in gone), kept
        gone |= more.keys()
        kept |= {task.removeprefix(UNDO_PREFIX): describe_kept_change(need) for task, need in more.items()}


def describe_kept_change(undoing: str) -> str:
    """Return why a change stays in effect: the undo task `undoing`, which had to run first, was not done."""
    return f"{undoing.removeprefix(UNDO_PREFIX)!r}, which depends on it, was not undone."


def build_undo_calls(name: str, changes: RollbackInput) -> UndoCalls:
    """Return the calls that undo a task."""
    task, outcome = changes.tasks[name], changes.outcomes.get(name)
    spec = changes.catalogue.get(task.tool)
    if spec is not None and spec.policy.dispatched_only and not (task.rollback and isinstance(outcome, Done)):
        return _build_worker_undo_calls(name, outcome, changes)
    undo_calls = UndoCalls()
    if outcome is None or (task.for_each is None and isinstance(outcome, Failed) and outcome.kind != "output"):
        undo_calls.uncertain[name] = _describe_uncertainty(outcome)
        return undo_calls
    try:
        calls = _find_effective_calls(task, spec, outcome, changes)
    except UnresolvedReference as error:
        undo_calls.impossible[name] = f"Its arguments can no longer be determined: {error}"
        return undo_calls
    if isinstance(outcome, Failed) and task.for_each is not None:
        undo_calls.uncertain |= _describe_uncertain_items(name, outcome, spec)
        if not calls:
            return undo_calls
    if not can_be_undone(task, spec):
        why = f"Nothing undoes it: the task has no rollback, and its tool {task.tool!r} names no compensating tool."
        undo_calls.uncertain[name] = why
        return undo_calls
    for label, undo in _iterate_undo_calls(task, spec, calls, changes):
        if UNDO_PREFIX + label in changes.outcomes:
            undo_calls.impossible[label] = _describe_name_conflict(label)
        elif isinstance(undo, Call):
            undo_calls.calls[label] = undo
        else:
            undo_calls.impossible[label] = undo
    return undo_calls


def _build_worker_undo_calls(name: str, outcome: Outcome | None, changes: RollbackInput) -> UndoCalls:
    """Return the calls that undo the calls of a task's worker, the last one first."""
    undo_calls = UndoCalls(is_sequential=True)
    source = outcome.reused_from if isinstance(outcome, Done) else None
    calls = [call for call in changes.writes if call.worker is not None and call.worker in {name, source}]
    for call in sorted(calls, key=_get_call_position, reverse=True):
        spec = changes.catalogue.get(call.tool)
        if spec is not None and spec.policy.read_only:
            continue
        if not call.is_certain:
            undo_calls.uncertain[call.task] = EFFECT_UNKNOWN
        elif spec is None or spec.policy.compensate is None:
            undo_calls.uncertain[call.task] = f"Nothing undoes it: its tool {call.tool!r} names no compensating tool."
        elif UNDO_PREFIX + call.task in changes.outcomes:
            undo_calls.impossible[call.task] = _describe_name_conflict(call.task)
        else:
            undo = changes.catalogue[spec.policy.compensate]
            undo_calls.calls[call.task] = Call(
                tool=undo.name, args=bind_compensation_args(undo, spec, call.args, call.output)
            )
    return undo_calls


def _get_call_position(call: WriteRecord) -> tuple[int, ...]:
    return tuple(int(part) for part in call.task.rpartition("/")[2].split("."))


def _describe_name_conflict(label: str) -> str:
    return f"The run already has a task {UNDO_PREFIX + label!r}, so no task with this id can undo it."


def _find_effective_calls(
    task: Task, spec: ToolSpec | None, outcome: Outcome, changes: RollbackInput
) -> dict[int | None, _CompletedCall]:
    """Return the calls of a task that took effect, by position. Raises `UnresolvedReference`."""
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
        raise UnresolvedReference("its 'for_each' no longer refers to a list.")
    found = _collect_item_outputs(task, ready, outcome, changes)
    return {item: _CompletedCall(ready.calls[item], output, items[item]) for item, output in sorted(found.items())}


def _collect_item_outputs(
    task: Task, ready: PreparedTask, outcome: Outcome, changes: RollbackInput
) -> dict[int, JsonValue]:
    """Return the outputs of the items that took effect under this task, by position.

    An item that the ledger has under another task was reused from there, and is undone there.
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
    """Yield the items of a done task that returned, each with its output, null if that is unknown."""
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
    """Yield each call's label with its undo call, or why there is none; a rollback of the whole task comes once."""
    rollback = task.rollback
    if rollback is not None and not (task.for_each is not None and has_item_reference(rollback.args)):
        yield task.id, _resolve_rollback(rollback, changes)
        return
    for item, call in calls.items():
        label = task.id if item is None else f"{task.id}[{item}]"
        if rollback is not None:
            own = Done(revision=1, output=call.output)
            yield label, _resolve_rollback(rollback, changes, own={task.id: own}, item=call.item)
        elif spec is not None and spec.policy.compensate is not None:
            undo = changes.catalogue[spec.policy.compensate]
            yield label, Call(tool=undo.name, args=bind_compensation_args(undo, spec, call.args, call.output))


def _resolve_rollback(
    rollback: Call, changes: RollbackInput, *, own: Mapping[str, Outcome] | None = None, item: JsonValue = None
) -> Call | str:
    used = set(find_argument_producers(rollback.args))
    outputs = collect_outputs({**_select_outcomes(changes, used), **(own or {})})
    try:
        return Call(tool=rollback.tool, args=resolve_args(rollback.args, outputs=outputs, item=item))
    except UnresolvedReference as error:
        return str(error)


def bind_compensation_args(
    undo: ToolSpec, spec: ToolSpec, args: Mapping[str, JsonValue], output: JsonValue
) -> dict[str, JsonValue]:
    """Return the arguments of a compensating tool: by name from the output, else from the arguments of the call.

    A secret is taken from a secret argument of the call only, as data must not choose it.
    """
    parameters = undo.args_schema.get("properties", {})
    named = output if isinstance(output, dict) else {}
    whole = {OUTPUT_PARAMETER: output} if output is not None else {}
    known = {**whole, **args, **named}
    bound = {name: known[name] for name in parameters if name in known}
    secret = {str(path[0]) for path, _ in find_secret_values(undo.args_schema, bound)}
    own = find_named_secrets(spec.args_schema, args)
    trusted = {
        name: args[name]
        for name in secret & args.keys()
        if all(path in own for path, _ in find_secret_values(undo.args_schema, {name: args[name]}))
    }
    return {name: value for name, value in bound.items() if name not in secret} | trusted


def _select_outcomes(changes: RollbackInput, tasks: Collection[str]) -> dict[str, Outcome]:
    return {task: outcome for task, outcome in changes.outcomes.items() if task in tasks}


def _describe_uncertainty(outcome: Outcome | None) -> str:
    match outcome:
        case Failed(kind="timeout" | "transient", error=error):
            return f"It failed, but it may have taken effect: {error}"
        case _:
            return EFFECT_UNKNOWN


def _describe_uncertain_items(name: str, outcome: Failed, spec: ToolSpec | None) -> dict[str, str]:
    if outcome.kind == "in_doubt":
        return {name: EFFECT_UNKNOWN}
    is_idempotent = spec is None or spec.policy.idempotent
    uncertain = {"output", *({"timeout", "transient"} if is_idempotent else ())}
    missing: PartialFailure | None = outcome.items
    return {
        f"{name}[{each.item}]": f"It failed, but it may have taken effect: {each.error}"
        for each in (missing.errors if missing is not None else ())
        if each.kind in uncertain
    }


def may_have_effect(task: Task, *, spec: ToolSpec | None, outcome: Outcome | None, doubted: bool) -> bool:
    """Whether `task` changed something, or may have: it has a rollback, or its tool is not known to be read-only.

    A task whose worker makes calls counts too; which of those calls changed something is in the ledger.

    A failed call certainly had no effect unless its output did not fit the tool's schema, it was left in doubt, or it
    failed with a transient error and is idempotent, so that nothing checked whether it took effect.
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


def can_be_undone(task: Task, spec: ToolSpec | None) -> bool:
    """Whether the task has a rollback, or its tool names a compensating tool."""
    return task.rollback is not None or (spec is not None and spec.policy.compensate is not None)


def find_missing_compensation_args(undo: ToolSpec, spec: ToolSpec) -> list[str]:
    """Return the required arguments of a compensating tool that no call of `spec` has; none if outputs are unknown."""
    output = spec.output_schema or {}
    if output.get("type") != "object" or "properties" not in output or output.get("additionalProperties") is not False:
        return []
    known = {OUTPUT_PARAMETER, *spec.args_schema.get("properties", {}), *output["properties"]}
    return [name for name in undo.args_schema.get("required", []) if name not in known]
