"""Approvals: what is put to a person, and what an answer changes."""

from collections.abc import Iterator, Mapping
from typing import Any, assert_never

from agent.core.compiler.argument_check import find_value_errors
from agent.core.compiler.compiler import CompiledPlan
from agent.core.engine.approvals import (
    ApprovalRequest,
    ApproveDecision,
    EditDecision,
    RejectDecision,
    RespondDecision,
    build_hitl_request,
    hash_approval_request,
    hash_calls,
    parse_decisions,
)
from agent.core.engine.call_preparation import (
    PreparedTask,
    find_reusable_results,
    get_call_key,
    prepare,
    required_outputs,
)
from agent.core.engine.next_move import AskHuman
from agent.core.engine.outcomes import Done, Failed, InDoubt, Outcome, Rejected
from agent.core.engine.snapshot import Snapshot
from agent.core.plan.document import Plan, Task
from agent.errors import AnswerError
from agent.execution.executor import build_reused_outcome
from agent.plan_check import CheckedPlan, check_plan
from agent.tools.toolbox import Toolbox
from graphs.run.node_context import NodeContext
from graphs.run.plan_history import get_planner_doubt
from graphs.run.snapshots import get_active_plan
from graphs.run.state_updates import build_plan_update, outcome_to_json
from graphs.state import State, link_stored_plan, parse_outcomes


def build_requests(
    ask: AskHuman, state: State, snapshot: Snapshot, context: NodeContext
) -> tuple[dict[str, Outcome], list[ApprovalRequest]]:
    """Return the requests to put to a person, and the outcomes of tasks that need no question after all.

    A false condition, arguments that do not fit, work that an earlier revision did, and a call that was rejected
    before are settled without asking.
    """
    revision, active, thread = state.get("revision") or 1, get_active_plan(snapshot), context.thread
    done_before = {} if snapshot.undo is not None else find_reusable_results(snapshot.outcomes, revision=revision)
    settled: dict[str, Outcome] = {}
    requests: list[ApprovalRequest] = []
    for task_id in ask.tasks:
        task, spec = active.tasks[task_id], active.get_spec(task_id)
        ready = prepare(task, spec, needs=active.needs[task_id], outcomes=snapshot.outcomes, revision=revision)
        doubt = (state.get("doubts") or {}).get(task_id)
        if not isinstance(ready, PreparedTask):
            settled[task_id] = ready
        elif doubt is not None:
            told = describe_doubt(InDoubt.model_validate(doubt), to_undo=ask.to_undo)
            requests.append(_build_request(task, ready, thread=thread, revision=revision, doubt=told))
        elif ready.fingerprint in done_before:
            settled[task_id] = build_reused_outcome(done_before[ready.fingerprint], revision=revision)
        elif hash_calls(task.tool, ready.calls) in (state.get("rejected") or ()):
            settled[task_id] = Rejected(
                revision=revision,
                message="A person has rejected exactly this call before.",
                digest=hash_calls(task.tool, ready.calls),
            )
        else:
            requests.append(_build_request(task, ready, thread=thread, revision=revision))
    return settled, requests


def describe_doubt(doubt: InDoubt, *, to_undo: bool = False) -> str:
    """Return what a person is told of a call in doubt, which `to_undo` has undone if it happened, and else not made."""
    first = doubt.doubts[0]
    approve = "it did not" if to_undo else "it did not, make it now"
    respond = "it did, with this result" + (", and is to be undone" if to_undo else "")
    return (
        f"This call was begun at {first.since} by {first.owner}, and nobody knows whether it took effect. "
        f"Approve: {approve}. Respond: {respond}. Reject: leave it."
    )


def _build_request(
    task: Task, ready: PreparedTask, *, thread: str, revision: int, doubt: str | None = None
) -> ApprovalRequest:
    calls = list(ready.calls)
    return ApprovalRequest(
        task=task.id,
        tool=task.tool,
        args=next((args for item, args in enumerate(calls) if item not in ready.invalid_items), {}),
        items=tuple(calls) if ready.is_for_each else None,
        description=" ".join([task.description or f"Call {task.tool}.", *_describe_unfit_items(ready)]),
        expected=task.expected_outcome,
        digest=hash_approval_request(thread=thread, revision=revision, task=task.id, tool=task.tool, calls=calls),
        doubt=doubt,
    )


def _describe_unfit_items(ready: PreparedTask) -> Iterator[str]:
    """Yield what a person must know of items that cannot be called: their arguments are shown as empty."""
    if ready.invalid_items:
        first = next(iter(ready.invalid_items.values()))
        count, total = len(ready.invalid_items), len(ready.calls)
        yield f"{count} of {total} items cannot be called and are left out, first item {first.item}: {first.error}"


def build_interrupt_payload(state: State, toolbox: Toolbox) -> dict[str, Any]:
    """Return what the interrupt shows: the requests, and how the plan changed if it did."""
    requests = _parse_pending_requests(state)
    shown = build_hitl_request(requests, [toolbox.specs[request.tool] for request in requests])
    return {
        **shown,
        "revision": state.get("revision"),
        "goal": state.get("goal"),
        "plan_changes": state.get("difference"),
        **({"unsure": doubt} if (doubt := get_planner_doubt(state)) else {}),
    }


async def apply_decisions(answer: object, state: State, context: NodeContext) -> tuple[dict[str, str], dict[str, Any]]:
    """Return what an answer grants, by task id, and what it changes in the state.

    Raises `AnswerError`, with nothing changed, where it does not fit what was asked.
    """
    requests = _parse_pending_requests(state)
    decisions = parse_decisions(answer, requests)
    if isinstance(decisions, str):
        raise AnswerError(decisions)
    granted: dict[str, str] = {}
    rejected = list(state.get("rejected") or ())
    results: dict[str, Outcome] = {}
    edits: dict[str, EditDecision] = {}
    revision = state.get("revision") or 1
    for request, decision in zip(requests, decisions, strict=True):
        match decision:
            case ApproveDecision():
                # Of what was shown; the digest beside it comes from the state, which may have been edited.
                granted[request.task] = hash_approval_request(
                    thread=context.thread,
                    revision=revision,
                    task=request.task,
                    tool=request.tool,
                    calls=_list_calls(request),
                )
            case EditDecision():
                edits[request.task] = decision
            case RejectDecision(message=message) if request.doubt is not None:
                # It may have happened, so no later plan makes it either.
                rejected.append(hash_calls(request.tool, _list_calls(request)))
                results[request.task] = _leave_in_doubt(message, revision)
            case RejectDecision(message=message):
                mark = hash_calls(request.tool, _list_calls(request))
                rejected.append(mark)
                results[request.task] = Rejected(revision=revision, message=message, digest=mark)
            case RespondDecision(message=message):
                spec = context.toolbox.specs[request.tool]
                results[request.task] = _accept_response(
                    message, spec.output_schema, request=request, revision=revision
                )
            case _:
                assert_never(decision)
    changed = await _apply_edits(edits, state, context) if edits else {}
    granted.update(changed.pop("approvals", {}))
    return granted, {
        "approvals": {**(state.get("approvals") or {}), **granted},
        "rejected": rejected,
        "pending": [],
        "status": "running",
        "results": {task: outcome_to_json(outcome) for task, outcome in results.items()},
        **_clear_doubts(requests, granted, state),
        **changed,
    }


def _leave_in_doubt(message: str, revision: int) -> Failed:
    error = "It is not known whether the call took effect, and a person chose to leave it."
    return Failed(revision=revision, kind="in_doubt", error=f"{error} {message}".strip())


def _clear_doubts(requests: list[ApprovalRequest], granted: dict[str, str], state: State) -> dict[str, Any]:
    """Return what is known now of the calls that were in doubt: those approved did not happen."""
    doubts = state.get("doubts") or {}
    asked = [request.task for request in requests if request.doubt is not None]
    if not asked:
        return {}
    epochs = {
        task: {get_call_key(doubt.item): doubt.epoch for doubt in InDoubt.model_validate(doubts[task]).doubts}
        for task in asked
        if task in granted
    }
    return {"doubts": dict.fromkeys(asked), "cleared": {**(state.get("cleared") or {}), **epochs}}


def _parse_pending_requests(state: State) -> list[ApprovalRequest]:
    return [ApprovalRequest.model_validate(entry) for entry in state.get("pending") or ()]


def _list_calls(request: ApprovalRequest) -> list[dict[str, Any]]:
    return list(request.items) if request.items is not None else [request.args]


def _accept_response(message: str, schema: dict[str, Any] | None, *, request: ApprovalRequest, revision: int) -> Done:
    """Take a person's words as the tool's result. Raises `AnswerError` where they cannot be one."""
    errors = find_value_errors(schema, message) if schema else []
    if errors:
        raise AnswerError(
            f"A text cannot be the result of {request.tool!r} ({errors[0]}); "
            f"approve, edit or reject {request.task!r} instead."
        )
    doubted = request.doubt is not None
    return Done(revision=revision, output=message, answered_by_person=True, was_in_doubt=doubted)


async def _apply_edits(edits: Mapping[str, EditDecision], state: State, context: NodeContext) -> dict[str, Any]:
    """Put edited calls into the plan, check it again as a whole, and approve them as they now stand."""
    word = "undo" if state.get("undo") else "plan"
    before = link_stored_plan(state[word], context.toolbox)  # type: ignore[literal-required]
    tasks = tuple(_apply_edit(task, edits.get(task.id), before) for task in before.plan.tasks)
    checked = await check_plan(
        before.plan.model_copy(update={"tasks": tasks}).model_dump(mode="json"), context.toolbox, limits=context.limits
    )
    if not isinstance(checked, CheckedPlan):
        raise AnswerError("The edited call does not do: " + " ".join(map(str, checked)))
    read = frozenset().union(*(required_outputs(checked.compiled.tasks[task]) for task in edits))
    outcomes = parse_outcomes((await context.load_outputs(state, read))["results"])
    approvals: dict[str, str] = {}
    revision = state.get("revision") or 1
    for task_id in edits:
        task = checked.compiled.tasks[task_id]
        ready = prepare(
            task,
            checked.compiled.get_spec(task_id),
            needs=checked.compiled.needs[task_id],
            outcomes=outcomes,
            revision=revision,
        )
        if not isinstance(ready, PreparedTask):
            raise AnswerError(f"The edited call of {task_id!r} cannot be made: {ready.error or ready.status}.")
        approvals[task_id] = hash_approval_request(
            thread=context.thread, revision=revision, task=task_id, tool=task.tool, calls=ready.calls
        )
    stored = _build_edit_update(checked.compiled.plan, word)
    return {**stored, "approvals": approvals}


def _apply_edit(task: Task, edit: EditDecision | None, before: CompiledPlan) -> Task:
    """Return the task with a person's call; it keeps waiting for all that it waited for."""
    if edit is None:
        return task
    action = edit.edited_action
    return task.model_copy(
        update={"tool": action.name, "args": action.args, "depends_on": before.needs[task.id], "condition": None}
    )


def _build_edit_update(plan: Plan, word: str) -> dict[str, Any]:
    return {"undo": build_plan_update(plan)["plan"]} if word == "undo" else build_plan_update(plan)
