"""What one task has changed, call by call, and the calls that undo it."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field

from pydantic import JsonValue

from agent.core.approval import call_digest
from agent.core.call import Arguments, Ready, outputs_of, prepare
from agent.core.outcome import Done, Failed, Outcome, PartlyFailed
from agent.core.plan import Call, Task
from agent.core.reference import Unresolved, of_items, producers, resolve, resolve_args
from agent.core.schedule import Needs
from agent.core.tool import Catalogue, ToolSpec

#: The name of a rollback's task is that of the task it undoes behind this.
UNDOING = "undo:"
#: The parameter by which a compensating tool asks for all that the call returned.
OUTPUT = "output"
NOT_KNOWN = "Nobody knows whether it took effect."


@dataclass(frozen=True, slots=True)
class Written:
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
    sure: bool = True


@dataclass(frozen=True, slots=True)
class Changes:
    """The tasks of a run that changed something, or may have, with all that undoing them looks at."""

    #: The tasks to undo.
    wanted: tuple[str, ...]
    #: Those of every plan that the run had, as they last stood.
    tasks: Mapping[str, Task]
    needs: Needs
    outcomes: Mapping[str, Outcome]
    catalogue: Catalogue
    written: tuple[Written, ...] = ()


@dataclass(slots=True)
class Undoings:
    """What undoes one task: by the task's name, or with `for_each` by that and the item's position."""

    calls: dict[str, Call] = field(default_factory=dict)
    #: Undoings that are named and cannot be made, with the reason.
    hopeless: dict[str, str] = field(default_factory=dict)
    #: What has no undoing, or may not have happened, with a word on it.
    unknown: dict[str, str] = field(default_factory=dict)
    #: Whether each call may rest on those behind it, which are then undone after it.
    in_turn: bool = False


def can_be_undone(task: Task, spec: ToolSpec | None) -> bool:
    """Whether the task names a call that undoes it, or its tool one that undoes any of its calls."""
    return task.rollback is not None or (spec is not None and spec.policy.compensate is not None)


def undoings_of(name: str, changes: Changes) -> Undoings:
    """Return what undoes a task."""
    task, outcome = changes.tasks[name], changes.outcomes.get(name)
    spec = changes.catalogue.get(task.tool)
    if spec is not None and spec.policy.dispatched_only and not (task.rollback and isinstance(outcome, Done)):
        return _undoings_of_worker(name, outcome, changes)
    made = Undoings()
    if outcome is None or (task.for_each is None and isinstance(outcome, Failed) and outcome.kind != "output"):
        made.unknown[name] = _unsure(outcome)
        return made
    try:
        calls = _changed_calls(task, spec, outcome, changes)
    except Unresolved as error:
        made.hopeless[name] = f"Its arguments cannot be told any more: {error}"
        return made
    if isinstance(outcome, Failed) and task.for_each is not None:
        made.unknown |= _unsure_items(name, outcome, spec)
        if not calls:
            return made
    if not can_be_undone(task, spec):
        why = f"Nothing undoes it: the task has no rollback, and its tool {task.tool!r} names none to compensate it."
        made.unknown[name] = why
        return made
    for label, undo in _attempted(task, spec, calls, changes):
        if UNDOING + label in changes.outcomes:
            made.hopeless[label] = _taken_name(label)
        elif isinstance(undo, Call):
            made.calls[label] = undo
        else:
            made.hopeless[label] = undo
    return made


def _undoings_of_worker(name: str, outcome: Outcome | None, changes: Changes) -> Undoings:
    """Return what undoes the calls of a task's worker, the last one first."""
    made = Undoings(in_turn=True)
    source = outcome.reused_from if isinstance(outcome, Done) else None
    calls = [call for call in changes.written if call.worker is not None and call.worker in {name, source}]
    for call in sorted(calls, key=_turn, reverse=True):
        spec = changes.catalogue.get(call.tool)
        if spec is not None and spec.policy.read_only:
            continue
        if not call.sure:
            made.unknown[call.task] = NOT_KNOWN
        elif spec is None or spec.policy.compensate is None:
            made.unknown[call.task] = f"Nothing undoes it: its tool {call.tool!r} names none to compensate it."
        elif UNDOING + call.task in changes.outcomes:
            made.hopeless[call.task] = _taken_name(call.task)
        else:
            undo = changes.catalogue[spec.policy.compensate]
            made.calls[call.task] = Call(tool=undo.name, args=_taken(undo, call.args, call.output))
    return made


def _turn(call: Written) -> tuple[int, ...]:
    return tuple(int(part) for part in call.task.rpartition("/")[2].split("."))


def _taken_name(label: str) -> str:
    return f"The run has a task {UNDOING + label!r} already, which is how its undoing would be named."


@dataclass(frozen=True, slots=True)
class _Made:
    """A call that was made: its arguments, what it returned, and the item that it was made for."""

    args: Arguments
    output: JsonValue
    item: JsonValue = None


def _changed_calls(task: Task, spec: ToolSpec | None, outcome: Outcome, changes: Changes) -> dict[int | None, _Made]:
    """Return the calls of a task that took effect, by position. Raises `Unresolved`."""
    if task.for_each is None and task.rollback is not None:
        return {None: _Made({}, outcome.output)}
    if spec is None:
        return {}
    ready = prepare(task, spec, needs=changes.needs[task.id], outcomes=changes.outcomes, revision=outcome.revision)
    if not isinstance(ready, Ready):
        raise Unresolved(ready.error or ready.status)
    if task.for_each is None:
        return {None: _Made(ready.calls[0], outcome.output)}
    items = resolve(task.for_each, outputs=outputs_of(_read(changes, set(producers(task.for_each)))))
    if not isinstance(items, list):
        raise Unresolved("its 'for_each' does not lead to a list any more")
    found = _item_outputs(task, ready, outcome, changes)
    return {item: _Made(ready.calls[item], output, items[item]) for item, output in sorted(found.items())}


def _item_outputs(task: Task, ready: Ready, outcome: Outcome, changes: Changes) -> dict[int, JsonValue]:
    """Return what the items returned that took effect under this very task.

    One that the ledger has under another task was taken over from there, and is undone there.
    """
    digests = [call_digest(task.tool, [args]) for args in ready.calls]
    own = {
        call.item: call.output
        for call in changes.written
        if call.task == task.id and call.item is not None and digests[call.item : call.item + 1] == [call.digest]
    }
    elsewhere = {call.digest for call in changes.written if call.sure and call.task != task.id}
    for item, output in _returned(task, outcome, total=len(ready.calls)):
        if item not in own and digests[item] not in elsewhere:
            own[item] = output
    return own


def _returned(task: Task, outcome: Outcome, *, total: int) -> Iterator[tuple[int, JsonValue]]:
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


def _attempted(
    task: Task, spec: ToolSpec | None, calls: Mapping[int | None, _Made], changes: Changes
) -> Iterator[tuple[str, Call | str]]:
    """Yield for each call the one that undoes it, or why there is none; a rollback of the whole comes once."""
    rollback = task.rollback
    if rollback is not None and not (task.for_each is not None and of_items(rollback.args)):
        yield task.id, _resolved(rollback, changes)
        return
    for item, made in calls.items():
        label = task.id if item is None else f"{task.id}[{item}]"
        if rollback is not None:
            own = Done(revision=1, output=made.output)
            yield label, _resolved(rollback, changes, own={task.id: own}, item=made.item)
        elif spec is not None and spec.policy.compensate is not None:
            undo = changes.catalogue[spec.policy.compensate]
            yield label, Call(tool=undo.name, args=_taken(undo, made.args, made.output))


def _resolved(
    rollback: Call, changes: Changes, *, own: Mapping[str, Outcome] | None = None, item: JsonValue = None
) -> Call | str:
    read = {producer for value in rollback.args.values() for producer in producers(value)}
    outputs = outputs_of({**_read(changes, read), **(own or {})})
    try:
        return Call(tool=rollback.tool, args=resolve_args(rollback.args, outputs=outputs, item=item))
    except Unresolved as error:
        return str(error)


def _read(changes: Changes, tasks: Collection[str]) -> dict[str, Outcome]:
    return {task: outcome for task, outcome in changes.outcomes.items() if task in tasks}


def _taken(undo: ToolSpec, args: Mapping[str, JsonValue], output: JsonValue) -> dict[str, JsonValue]:
    """Return what a compensating tool takes: by name of the output, else of the call's arguments."""
    wanted = undo.args_schema.get("properties", {})
    named = output if isinstance(output, dict) else {}
    whole = {OUTPUT: output} if output is not None else {}
    known = {**whole, **args, **named}
    return {name: known[name] for name in wanted if name in known}


def not_found(undo: ToolSpec, spec: ToolSpec) -> list[str]:
    """Return what a compensating tool needs and no call of `spec` has; nothing where the output is not known."""
    output = spec.output_schema or {}
    if output.get("type") != "object" or "properties" not in output or output.get("additionalProperties") is not False:
        return []
    known = {OUTPUT, *spec.args_schema.get("properties", {}), *output["properties"]}
    return [name for name in undo.args_schema.get("required", []) if name not in known]


def _unsure(outcome: Outcome | None) -> str:
    match outcome:
        case Failed(kind="timeout" | "transient", error=error):
            return f"It failed and may have taken effect all the same: {error}"
        case _:
            return NOT_KNOWN


def _unsure_items(name: str, outcome: Failed, spec: ToolSpec | None) -> dict[str, str]:
    if outcome.kind == "in_doubt":
        return {name: NOT_KNOWN}
    again = spec is None or spec.policy.idempotent
    unsure = {"output", *({"timeout", "transient"} if again else ())}
    missing: PartlyFailed | None = outcome.items
    return {
        f"{name}[{each.item}]": f"It failed and may have taken effect all the same: {each.error}"
        for each in (missing.errors if missing is not None else ())
        if each.kind in unsure
    }
