"""The tasks of a rollback, each behind those that undo what rests on it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise

from agent.core.outcome import Done, Failed, Outcome, PartlyFailed
from agent.core.plan import Call, Task
from agent.core.schedule import Needs
from agent.core.tool import ToolSpec
from agent.core.undo_calls import NOT_KNOWN, UNDOING, Changes, undoings_of


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
