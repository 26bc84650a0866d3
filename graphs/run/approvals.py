"""Approvals: the requests that a human is shown, and what an answer changes."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, assert_never

from agent.core.compiler.argument_check import find_value_errors, parse_typed_texts
from agent.core.compiler.compiler import CompiledPlan
from agent.core.cut_results import find_inherited_cuts
from agent.core.engine.approvals import (
    ApprovalRequest,
    ApproveDecision,
    Decision,
    EditDecision,
    RejectDecision,
    RespondDecision,
    build_hitl_request,
    hash_approval_request,
    hash_calls,
    hash_doubt_request,
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
from agent.core.plan.document import Task
from agent.errors import AnswerError
from agent.execution.executor import build_reused_outcome
from agent.tools.plan_check import CheckedPlan, check_plan
from agent.tools.toolbox import Toolbox
from graphs.run.node_context import NodeContext
from graphs.run.plan_history import get_planner_doubt
from graphs.run.snapshots import get_active_plan
from graphs.run.state_updates import build_plan_update, outcome_to_json
from graphs.state import State, link_stored_plan, parse_outcomes


def build_requests(
    ask: AskHuman, state: State, snapshot: Snapshot, context: NodeContext
) -> tuple[dict[str, Outcome], list[ApprovalRequest]]:
    """Return the outcomes of tasks that need no approval after all, by id, and the requests for the others.

    Settled without asking: a false condition, arguments that do not fit, work that an earlier revision did, and a call
    that was rejected before.
    """
    revision, active, thread = state.get("revision") or 1, get_active_plan(snapshot), context.thread
    done_before = {} if snapshot.undo is not None else find_reusable_results(snapshot.outcomes, revision=revision)
    settled: dict[str, Outcome] = {}
    requests: list[ApprovalRequest] = []
    for task_id in ask.tasks:
        task, spec = active.tasks[task_id], active.get_spec(task_id)
        ready = prepare(task, spec, needs=active.needs[task_id], outcomes=snapshot.outcomes, revision=revision)
        doubt = (state.get("calls_in_doubt") or {}).get(task_id)
        if not isinstance(ready, PreparedTask):
            settled[task_id] = ready
        elif doubt is not None:
            parsed = InDoubt.model_validate(doubt)
            request = _build_request(task, ready, snapshot.outcomes, thread=thread, revision=revision)
            update = {
                "doubt": describe_doubt(parsed, to_undo=ask.to_undo),
                "digest": hash_doubt_request(request.digest, parsed.doubts),
            }
            requests.append(request.model_copy(update=update))
        elif ready.fingerprint in done_before:
            settled[task_id] = build_reused_outcome(done_before[ready.fingerprint], revision=revision)
        elif hash_calls(task.tool, ready.calls) in (state.get("rejected_calls") or ()):
            settled[task_id] = Rejected(
                revision=revision,
                message="A person has rejected exactly this call before.",
                digest=hash_calls(task.tool, ready.calls),
            )
        else:
            requests.append(_build_request(task, ready, snapshot.outcomes, thread=thread, revision=revision))
    return settled, requests


def describe_doubt(doubt: InDoubt, *, to_undo: bool = False) -> str:
    """Return the question about a call in doubt.

    With `to_undo`, the call is undone if it happened; it is not made in any case.
    """
    first = doubt.doubts[0]
    approve = "it did not" if to_undo else "it did not, make it now"
    respond = "it did, with this result" + (", and is to be undone" if to_undo else "")
    return (
        f"This call was started at {first.since} by {first.owner}, and nobody knows whether it took effect. "
        f"Approve: {approve}. Respond: {respond}. Reject: leave it."
    )


def _build_request(
    task: Task, ready: PreparedTask, outcomes: Mapping[str, Outcome], *, thread: str, revision: int
) -> ApprovalRequest:
    calls = list(ready.calls)
    return ApprovalRequest(
        task=task.id,
        tool=task.tool,
        args=next((args for item, args in enumerate(calls) if item not in ready.invalid_items), {}),
        items=tuple(calls) if ready.is_for_each else None,
        description=" ".join(
            [
                task.description or f"Call {task.tool}.",
                *_describe_unfit_items(ready),
                *(f"It is made from incomplete data: {cut.what}." for cut in find_inherited_cuts(task, outcomes)),
            ]
        ),
        expected=task.expected_outcome,
        digest=hash_approval_request(thread=thread, revision=revision, task=task.id, tool=task.tool, calls=calls),
    )


def _describe_unfit_items(ready: PreparedTask) -> Iterator[str]:
    """Yield a sentence about items that cannot be called; their arguments are shown as empty."""
    if ready.invalid_items:
        first = next(iter(ready.invalid_items.values()))
        count, total = len(ready.invalid_items), len(ready.calls)
        yield f"{count} of {total} items cannot be called and are left out, first item {first.item}: {first.error}"


def build_interrupt_payload(requests: Sequence[ApprovalRequest], state: State, context: NodeContext) -> dict[str, Any]:
    """Return the payload of the interrupt: LangChain's request form, the goal, and the plan's changes if any."""
    toolbox = context.toolbox
    return {
        **build_hitl_request(requests, [toolbox.specs[request.tool] for request in requests]),
        "revision": state.get("revision"),
        "goal": state.get("goal"),
        "plan_changes": state.get("plan_changes"),
        **({"unsure": doubt} if (doubt := get_planner_doubt(state)) else {}),
    }


class PendingDecisions:
    """The decisions about the calls that wait; a human may answer them one by one."""

    def __init__(self, requests: Sequence[ApprovalRequest]) -> None:
        self.open_requests = list(requests)
        self.taken: list[tuple[ApprovalRequest, Decision]] = []

    async def take_answer(
        self, answer: object, state: State, context: NodeContext
    ) -> tuple[dict[str, str], dict[str, Any]]:
        """Return the digests approved so far, by task id, and the update of the state.

        Raises `AnswerError`, with nothing taken, if the answer does not fit the open requests.
        """
        parsed = parse_decisions(answer, self.open_requests)
        if isinstance(parsed, str):
            raise AnswerError(parsed)
        taken = [*self.taken, *((self.open_requests[position], decision) for position, decision in parsed.items())]
        applied = await _apply_decisions(taken, state, context)
        self.taken = taken
        self.open_requests = [one for position, one in enumerate(self.open_requests) if position not in parsed]
        return applied


async def _apply_decisions(
    decisions: Sequence[tuple[ApprovalRequest, Decision]], state: State, context: NodeContext
) -> tuple[dict[str, str], dict[str, Any]]:
    """Return the digests that are approved, by task id, and the update of the state. Raises `AnswerError`."""
    granted: dict[str, str] = {}
    rejected = list(state.get("rejected_calls") or ())
    results: dict[str, Outcome] = {}
    edits: dict[str, EditDecision] = {}
    revision = state.get("revision") or 1
    for request, decision in decisions:
        match decision:
            case ApproveDecision():
                granted[request.task] = _hash_shown_calls(request, thread=context.thread, revision=revision)
            case EditDecision():
                edits[request.task] = decision
            case RejectDecision(message=message) if request.doubt is not None:
                # It may have happened, so no later plan may make it either.
                rejected.append(hash_calls(request.tool, _list_calls(request)))
                results[request.task] = _leave_in_doubt(message, revision)
            case RejectDecision(message=message):
                mark = hash_calls(request.tool, _list_calls(request))
                rejected.append(mark)
                results[request.task] = Rejected(revision=revision, message=message, digest=mark)
            case RespondDecision(message=message):
                spec = context.toolbox.specs[request.tool]
                # An annotation says what the function gives, not what a person may.
                schema = None if spec.infers_output else spec.output_schema
                results[request.task] = _accept_response(message, schema, request=request, revision=revision)
            case _:
                assert_never(decision)
    changed = await _apply_edits(edits, state, context) if edits else {}
    granted.update(changed.pop("approvals", {}))
    return granted, {
        "approvals": {**(state.get("approvals") or {}), **granted},
        "rejected_calls": rejected,
        "pending_approvals": [],
        "status": "running",
        "results": {task: outcome_to_json(outcome) for task, outcome in results.items()},
        **_clear_doubts([request for request, _ in decisions], granted, state),
        **changed,
    }


def _leave_in_doubt(message: str, revision: int) -> Failed:
    error = "It is not known whether the call took effect, and a person chose to leave it."
    return Failed(revision=revision, kind="in_doubt", error=f"{error} {message}".strip())


def _clear_doubts(requests: list[ApprovalRequest], granted: dict[str, str], state: State) -> dict[str, Any]:
    """Return the update about the calls in doubt that were answered; those approved did not happen."""
    doubts = state.get("calls_in_doubt") or {}
    asked = [request.task for request in requests if request.doubt is not None]
    if not asked:
        return {}
    epochs = {
        task: {get_call_key(doubt.item): doubt.epoch for doubt in InDoubt.model_validate(doubts[task]).doubts}
        for task in asked
        if task in granted and task in doubts
    }
    return {
        "calls_in_doubt": dict.fromkeys(asked),
        "resolved_doubts": {**(state.get("resolved_doubts") or {}), **epochs},
    }


async def store_approvals(granted: Mapping[str, str], state: State, context: NodeContext) -> None:
    """Store in the ledger what an answer has approved, by task id, and which calls in doubt it said did not happen."""
    thread, revision, grants = context.thread, state.get("revision") or 1, context.services.grants
    await grants.store_approvals(granted, thread=thread, revision=revision)
    doubts = state.get("calls_in_doubt") or {}
    for request in parse_pending_requests(state, thread=thread):
        if request.doubt is None or request.task not in granted or request.task not in doubts:
            continue
        calls = _list_calls(request)
        for doubt in InDoubt.model_validate(doubts[request.task]).doubts:
            args = calls[doubt.item or 0 : (doubt.item or 0) + 1]
            await grants.clear_doubt(doubt, request.task, request.tool, args, thread=thread, revision=revision)


def parse_pending_requests(state: State, *, thread: str) -> list[ApprovalRequest]:
    """Return the requests in the state, each with the digest of the very call that it shows.

    The stored digest is not used: the state may have been edited, and an answer must not approve another call than
    that whose digest it names.
    """
    requests = [ApprovalRequest.model_validate(entry) for entry in state.get("pending_approvals") or ()]
    revision, doubts = state.get("revision") or 1, state.get("calls_in_doubt") or {}
    digests = [_hash_shown_calls(request, thread=thread, revision=revision) for request in requests]
    return [
        request.model_copy(
            update={
                "digest": digest
                if request.doubt is None or request.task not in doubts
                else hash_doubt_request(digest, InDoubt.model_validate(doubts[request.task]).doubts)
            }
        )
        for request, digest in zip(requests, digests, strict=True)
    ]


def _hash_shown_calls(request: ApprovalRequest, *, thread: str, revision: int) -> str:
    return hash_approval_request(
        thread=thread, revision=revision, task=request.task, tool=request.tool, calls=_list_calls(request)
    )


def _list_calls(request: ApprovalRequest) -> list[dict[str, Any]]:
    return list(request.items) if request.items is not None else [request.args]


def _accept_response(message: str, schema: dict[str, Any] | None, *, request: ApprovalRequest, revision: int) -> Done:
    """Return a human's words as the tool's result. Raises `AnswerError` if they do not fit its output schema."""
    errors = find_value_errors(schema, message) if schema else []
    if errors:
        raise AnswerError(
            f"A text cannot be the result of {request.tool!r} ({errors[0]}); "
            f"approve, edit or reject {request.task!r} instead."
        )
    was_in_doubt = request.doubt is not None
    return Done(revision=revision, output=message, answered_by_person=True, was_in_doubt=was_in_doubt)


async def _apply_edits(edits: Mapping[str, EditDecision], state: State, context: NodeContext) -> dict[str, Any]:
    """Put edited calls into the plan, check the whole plan again, and return it with approvals of the edited calls.

    Raises `AnswerError` if the plan does not compile or an edited call cannot be made.
    """
    name = "rollback_plan" if state.get("rollback_plan") else "plan"
    before = link_stored_plan(state[name], context.toolbox)  # type: ignore[literal-required]
    tasks = tuple(_apply_edit(task, edits.get(task.id), before, context.toolbox) for task in before.plan.tasks)
    checked = await check_plan(
        before.plan.model_copy(update={"tasks": tasks}).model_dump(mode="json"), context.toolbox, limits=context.limits
    )
    if not isinstance(checked, CheckedPlan):
        raise AnswerError("The edited call cannot be used: " + " ".join(map(str, checked)))
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
    stored = build_plan_update(checked.compiled.plan, warnings=checked.list_warnings())
    return {**(stored if name == "plan" else {name: stored["plan"]}), "approvals": approvals}


def _apply_edit(task: Task, edit: EditDecision | None, before: CompiledPlan, toolbox: Toolbox) -> Task:
    """Return the task with the edited call; it still depends on the same tasks."""
    if edit is None:
        return task
    action, spec = edit.edited_action, toolbox.specs.get(edit.edited_action.name)
    args = parse_typed_texts(action.args, spec.args_schema) if spec is not None else action.args
    return task.model_copy(
        update={"tool": action.name, "args": args, "depends_on": before.needs[task.id], "condition": None}
    )
