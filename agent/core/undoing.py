"""What a run has changed, and the calls that undo it: the tasks of a rollback, each behind those that rest on it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from pydantic import JsonValue

from agent.core.call import Ready, outputs_of, prepare
from agent.core.outcome import Done, Failed, Outcome, PartlyFailed
from agent.core.plan import Call, Task
from agent.core.reference import Unresolved, producers, resolve
from agent.core.schedule import Needs
from agent.core.tool import Catalogue, ToolSpec

#: The name of a rollback's task is that of the task it undoes behind this.
UNDOING = "undo:"
#: The parameter by which a compensating tool asks for all that the call returned.
OUTPUT = "output"
_NOT_KNOWN = "Nobody knows whether it took effect."


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


def changed(task: Task, *, spec: ToolSpec | None, outcome: Outcome | None, doubted: bool) -> bool:
    """Whether `task` changed something, or may have: one with a rollback, or whose tool is not known to read only.

    A failed call surely had no effect unless it returned what the tool does not promise, was left in doubt, or failed
    in a way that may pass and was idempotent, so that nobody looked.
    """
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


def can_be_undone(task: Task, spec: ToolSpec | None) -> bool:
    """Whether the task names a call that undoes it, or its tool one that undoes any of its calls."""
    return task.rollback is not None or (spec is not None and spec.policy.compensate is not None)


def undo_tasks(changes: Changes) -> tuple[tuple[Task, ...], dict[str, str]]:
    """Return one task for each call to undo, waiting for the undoing of all that rests on it.

    Beside them stand the tasks that cannot be undone, with the reason. What has no undoing at all holds nothing up;
    what has one that cannot be made is still in effect, and so is then all that it rests on.
    """
    calls: dict[str, Call] = {}
    hopeless: dict[str, str] = {}
    unknown: dict[str, str] = {}
    for name in changes.wanted:
        made = _undo_call(name, changes)
        match made:
            case Call():
                calls[name] = made
            case _Hopeless(reason):
                hopeless[name] = reason
            case str(reason):
                unknown[name] = reason
    behind = _behind(changes, {*calls, *hopeless})
    tasks = tuple(
        Task(
            id=UNDOING + name,
            description=f"Undo {name!r}.",
            tool=call.tool,
            args=call.args,
            depends_on=tuple(UNDOING + other for other in behind[name]),
            on_failure="skip",
        )
        for name, call in calls.items()
    )
    left, held = without(tasks, hopeless)
    return left, {**unknown, **hopeless, **held}


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


@dataclass(frozen=True, slots=True)
class _Hopeless:
    """An undoing that is named and cannot be made."""

    reason: str


def _undo_call(name: str, changes: Changes) -> "Call | _Hopeless | str":
    task, outcome = changes.tasks[name], changes.outcomes.get(name)
    spec = changes.catalogue.get(task.tool)
    match outcome:
        case None | Failed(kind="in_doubt"):
            return _NOT_KNOWN
        case Failed(items=PartlyFailed(returned=returned, total=total)) if returned:
            return f"{returned} of its {total} items took effect before it failed; nothing undoes a part of them."
        case Failed(kind="timeout" | "transient", error=error):
            return f"It failed and may have taken effect all the same: {error}"
        case _:
            pass
    if UNDOING + name in changes.outcomes:
        return _Hopeless(f"The run has a task {UNDOING + name!r} already, which is how its undoing would be named.")
    try:
        if task.rollback is not None:
            return Call(tool=task.rollback.tool, args=_resolved(task.rollback.args, changes))
        if spec is not None and spec.policy.compensate is not None:
            return _compensation(task, spec, outcome, changes)
    except Unresolved as error:
        return _Hopeless(str(error))
    return f"Nothing undoes it: the task has no rollback, and its tool {task.tool!r} names none to compensate it."


def _resolved(args: Mapping[str, JsonValue], changes: Changes) -> dict[str, JsonValue]:
    read = {producer for value in args.values() for producer in producers(value)}
    outputs = outputs_of({task: outcome for task, outcome in changes.outcomes.items() if task in read})
    return {name: resolve(value, outputs=outputs) for name, value in args.items()}


def _compensation(task: Task, spec: ToolSpec, outcome: Outcome, changes: Changes) -> Call:
    """Return the call of the compensating tool: what it takes of the output by name, else of the call's arguments."""
    undo = changes.catalogue[spec.policy.compensate or ""]
    ready = prepare(task, spec, needs=changes.needs[task.id], outcomes=changes.outcomes, revision=outcome.revision)
    if not isinstance(ready, Ready):
        raise Unresolved(f"Its arguments cannot be told any more: {ready.error or ready.status}")
    return Call(tool=undo.name, args=_taken(undo, ready.calls[0], outcome.output))


def _taken(undo: ToolSpec, args: Mapping[str, JsonValue], output: JsonValue) -> dict[str, JsonValue]:
    wanted = undo.args_schema.get("properties", {})
    named = output if isinstance(output, dict) else {}
    whole = {OUTPUT: output} if output is not None else {}
    known = {**whole, **args, **named}
    return {name: known[name] for name in wanted if name in known}


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
