"""The tasks of a rollback, each behind those that undo what rests on it."""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from pydantic import JsonValue

from agent.core.engine.approvals import call_digest
from agent.core.engine.call_preparation import Arguments, Ready, outputs_of, prepare
from agent.core.engine.outcomes import Done, Failed, Outcome, PartlyFailed
from agent.core.plan.dependencies import Needs
from agent.core.plan.document import Call, Task
from agent.core.plan.references import Unresolved, of_items, producers, resolve, resolve_args
from agent.core.plan.tool_spec import Catalogue, ToolSpec

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


def changed(task: Task, *, spec: ToolSpec | None, outcome: Outcome | None, doubted: bool) -> bool:
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
        case Failed(items=PartlyFailed(returned=returned)) if returned:
            return True
        case Failed(kind="timeout" | "transient"):
            return spec is None or spec.policy.idempotent
        case _:
            return False


def undo_tasks(changes: Changes) -> tuple[tuple[Task, ...], dict[str, str]]:
    """Return one task for each call to undo, waiting for the undoing of all that rests on it.

    Beside them stands what cannot be undone, with the reason. What has no undoing at all holds nothing up; what has
    one that cannot be made is still in effect, and so is then all that it rests on.
    """
    calls: dict[str, tuple[str, Call]] = {}
    hopeless: dict[str, str] = {}
    unknown: dict[str, str] = dict(_unaccounted(changes))
    labels: dict[str, list[str]] = {}
    after: dict[str, str] = {}
    for name in changes.wanted:
        found = undoings_of(name, changes)
        calls |= {label: (name, call) for label, call in found.calls.items()}
        hopeless |= found.hopeless
        unknown |= found.unknown
        labels[name] = [*found.calls, *found.hopeless]
        after |= {earlier: later for later, earlier in pairwise(found.calls)} if found.in_turn else {}
    behind = _behind(changes, {name for name, made in labels.items() if made})
    tasks = tuple(
        Task(
            id=UNDOING + label,
            description=f"Undo {label!r}.",
            tool=call.tool,
            args=call.args,
            depends_on=(
                *(UNDOING + other for later in behind[name] for other in labels[later]),
                *((UNDOING + after[label],) if label in after else ()),
            ),
            on_failure="skip",
        )
        for label, (name, call) in calls.items()
    )
    left, held = without(tasks, hopeless)
    return left, {**unknown, **hopeless, **held}


def _unaccounted(changes: Changes) -> Iterator[tuple[str, str]]:
    """Yield the writes that no task to undo stands for: those of tasks that were changed since."""
    sources = {outcome.reused_from for outcome in changes.outcomes.values() if isinstance(outcome, Done)}
    for call in changes.written:
        spec = changes.catalogue.get(call.tool)
        owner = call.worker or call.task
        if owner not in changes.wanted and owner not in sources and not (spec and spec.policy.read_only):
            label = call.task if call.item is None else f"{call.task}[{call.item}]"
            yield label, f"No task of the plan stands for this call of {call.tool!r}." if call.sure else NOT_KNOWN


def without(tasks: Sequence[Task], hopeless: Iterable[str]) -> tuple[tuple[Task, ...], dict[str, str]]:
    """Return the undoings that neither are nor wait for one that cannot be made, and why the others stay in effect."""
    gone = {UNDOING + name for name in hopeless}
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
        held |= {task.removeprefix(UNDOING): kept_by(need) for task, need in more.items()}


def kept_by(undoing: str) -> str:
    """Return why a change stays in effect of which something else is not undone."""
    return f"{undoing.removeprefix(UNDOING)!r}, which rests on it, was not undone."


def _behind(changes: Changes, undoings: set[str]) -> dict[str, list[str]]:
    """Return for each undoing those of what rests on it: the nearest ones, behind which the others wait in turn."""
    behind: dict[str, list[str]] = {name: [] for name in undoings}
    holders = {
        outcome.reused_from: name
        for name in undoings
        if isinstance(outcome := changes.outcomes.get(name), Done) and outcome.reused_from
    }
    for name in changes.wanted:
        if name in undoings:
            for found in _nearest(name, changes.needs, holders, undoings):
                behind[found].append(name)
    return behind


def _nearest(task: str, needs: Needs, holders: Mapping[str, str], wanted: set[str]) -> Iterator[str]:
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
