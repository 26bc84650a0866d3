"""What has happened in a run, read from its state: the snapshot that the next move is chosen by."""

from collections.abc import Collection, Mapping
from datetime import datetime

from agent.core.approval import approval_digest
from agent.core.call import Ready, prepare
from agent.core.compile import UNKNOWN, CompiledPlan
from agent.core.outcome import Outcome
from agent.core.plan import Task
from agent.core.schedule import plan_needs
from agent.core.snapshot import Snapshot
from agent.tools.catalogue import Toolbox
from graphs.lineage import doubt_of
from graphs.recall import Recall
from graphs.state import State, budget_in, compiled_in, elapsed_in, plan_in, spending_in


def snapshot_of(
    state: State,
    toolbox: Toolbox,
    *,
    thread: str,
    now: datetime,
    granted: Collection[str] | None = None,
    recall: Recall | None = None,
    durations: Mapping[str, float] = UNKNOWN,
) -> Snapshot:
    """Make the snapshot that `next_move` chooses by; `granted` are the approvals that the ledger holds, None: all.

    `recall` keeps what is read for the next snapshot of the same run. `durations` are seconds by tool.
    """
    recall = recall or Recall()
    problems = tuple(state.get("problems") or ())
    outcomes = recall.outcomes(state.get("results") or {})
    document, undoing = state.get("plan"), state.get("undo")
    compiled = (
        recall.plan.get(document, lambda: compiled_in(document, toolbox, durations=durations))
        if document and not problems
        else None
    )
    undo = (
        recall.undo.get(undoing, lambda: compiled_in(undoing, toolbox, word="rollback", durations=durations))
        if undoing
        else None
    )
    stop, cut = state.get("stop"), state.get("cut") or {}
    active = undo or compiled
    return Snapshot(
        compiled=compiled,
        outcomes=outcomes,
        problems=problems,
        wanting=bool(state.get("wanted")),
        anew=bool(state.get("anew")),
        unsure=doubt_of(state) or None,
        approved=_still_approved(state, active, outcomes, thread, granted) if active else frozenset(),
        doubts=frozenset(state.get("doubts") or ()),
        unplanned=budget_in(cut.get("")),
        cut=frozenset(cut),
        stuck=state.get("stuck"),
        question=state.get("question"),
        spending=spending_in(state),
        accepted=bool(state.get("accepted")),
        waived=frozenset(state.get("waived") or ()),
        replanned=frozenset(state.get("replanned") or ()),
        replans=state.get("replans") or 0,
        elapsed_s=elapsed_in(state, now=now),
        stop=(stop["status"], stop["reason"]) if stop else None,  # type: ignore[arg-type]  # the closed words of EndStatus
        undo=undo,
        rollback_begun=state.get("rollback") is not None,
        # A plan that does not compile may be of any form.
        frontier=recall.frontier(active) if active else None,
        former=recall.former.get(state.get("lineage"), lambda: former_plans(state)[0]) if compiled else {},
    )


def former_plans(state: State) -> tuple[dict[str, Task], dict[str, tuple[str, ...]]]:
    """Return the tasks of this run's earlier plans that the present one has not, as they last stood, with their needs.

    A task that a replan or an edit dropped may have been done before, and what it changed is still in effect.
    """
    entries = [entry for entry in state.get("lineage") or () if entry["author"] != "rollback"]
    present = {task["id"] for task in (state.get("plan") or {}).get("tasks", ())}
    tasks: dict[str, Task] = {}
    needs: dict[str, tuple[str, ...]] = {}
    for entry in entries[:-1]:
        plan = plan_in(entry["plan"])
        tasks |= {task.id: task for task in plan.tasks if task.id not in present}
        needs |= {task: needed for task, needed in plan_needs(plan).items() if task not in present}
    return tasks, needs


def _still_approved(
    state: State,
    compiled: CompiledPlan,
    outcomes: Mapping[str, Outcome],
    thread: str,
    granted: Collection[str] | None,
) -> frozenset[str]:
    """Return the tasks whose approval holds for the call as it now stands; a changed call is asked about again.

    A call that was in doubt used up its approval when it was begun, and a person has said since that it may be made.
    """
    approvals, cleared = state.get("approvals") or {}, state.get("cleared") or {}
    open_tasks = [task for task in approvals if task in compiled.tasks and task not in outcomes]
    return frozenset(
        task
        for task in open_tasks
        if (granted is None or approvals[task] in granted or task in cleared)
        and digest_of(task, compiled, outcomes, state, thread) == approvals[task]
    )


def digest_of(
    task: str, compiled: CompiledPlan, outcomes: Mapping[str, Outcome], state: State, thread: str
) -> str | None:
    """Return the digest that an approval of `task` must carry now; None where its call cannot be made."""
    revision = state.get("revision") or 1
    ready = prepare(
        compiled.tasks[task], compiled.spec(task), needs=compiled.needs[task], outcomes=outcomes, revision=revision
    )
    if not isinstance(ready, Ready):
        return None
    return approval_digest(
        thread=thread, revision=revision, task=task, tool=compiled.tasks[task].tool, calls=ready.calls
    )
