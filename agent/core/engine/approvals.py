"""Approvals: which tasks need one, what it covers, and how an answer is parsed.

Requests and answers have the shape of LangChain's human-in-the-loop middleware (`HITLRequest`, `HITLResponse`), so
Studio, Agent Inbox and Agent Chat UI can show and answer them.
"""

import json
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, TypeAdapter, ValidationError

from agent.core.approval_text import describe_request, find_defaults
from agent.core.engine.outcomes import Doubt
from agent.core.plan.document import Task
from agent.core.plan.hashing import hash_json
from agent.core.plan.limits import Limits
from agent.core.plan.problems import format_value
from agent.core.plan.secret_fields import find_named_secrets
from agent.core.plan.tool_spec import ToolSpec

DecisionType = Literal["approve", "edit", "reject", "respond"]


class _BaseDecision(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class EditedAction(_BaseDecision):
    """A tool and its arguments as a human changed them."""

    name: str
    args: dict[str, JsonValue]


class ApproveDecision(_BaseDecision):
    """Run the call exactly as shown."""

    type: Literal["approve"]


class EditDecision(_BaseDecision):
    """Run this call instead; it is checked again."""

    type: Literal["edit"]
    edited_action: EditedAction


class RejectDecision(_BaseDecision):
    """Do not run the call; the message goes to the replanner."""

    type: Literal["reject"]
    message: str = ""


class RespondDecision(_BaseDecision):
    """Do not run the call; use the message as its result."""

    type: Literal["respond"]
    message: str


Decision = Annotated[ApproveDecision | EditDecision | RejectDecision | RespondDecision, Field(discriminator="type")]
_decision_list_adapter: TypeAdapter[list[Decision]] = TypeAdapter(list[Decision])
#: Decision types of the older `HumanInterrupt` schema, and their present names. The third, `response`, is what Agent
#: Inbox sends for a text where `reject` is allowed: why the call is not to be made, and never what the tool returned.
_LEGACY_DECISION_TYPES = {"accept": "approve", "ignore": "reject"}
#: The key of what takes the place of an answer that cannot be used: a sentence that says why.
_REFUSED = "refused_answer"


class ApprovalRequest(BaseModel):
    """One call that waits for a decision; `args` are resolved."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    task: str
    tool: str
    args: dict[str, JsonValue]
    #: With `for_each`: the arguments of every item, in order; `args` are those of the first.
    items: tuple[dict[str, JsonValue], ...] | None = None
    #: What the plan says that the task is for, and what it expects of it.
    description: str = ""
    expected: str = ""
    digest: str
    #: When and by whom the call was started before, if it is unknown whether it took effect.
    doubt: str | None = None


def needs_approval(task: Task, spec: ToolSpec, limits: Limits) -> bool:
    """Whether a human is asked before `task` runs.

    That is every write, what the plan marks as `requires_approval`, and a read that gets a secret, unless its tool
    reaches nothing outside (`openWorldHint: false`) and the user gave it the secret.
    """
    return limits.approve == "ask" and (
        not spec.policy.read_only or task.requires_approval or _exposes_secret(task, spec, limits)
    )


def _exposes_secret(task: Task, spec: ToolSpec, limits: Limits) -> bool:
    names = find_named_secrets(spec.args_schema, task.args).values()
    return any(spec.policy.open_world or spec.name not in limits.secrets.get(name, ()) for name in names)


def hash_approval_request(
    *, thread: str, revision: int, task: str, tool: str, calls: Sequence[dict[str, JsonValue]]
) -> str:
    """Return the digest that binds an approval; `calls` are the resolved arguments of each call of the task."""
    return hash_json({"thread": thread, "revision": revision, "task": task, "tool": tool, "calls": list(calls)})


def hash_doubt_request(digest: str, doubts: Sequence[Doubt]) -> str:
    """Return the digest of a question about calls in doubt: an answer about one attempt is not valid for the next."""
    attempts: list[JsonValue] = [[doubt.item, doubt.epoch] for doubt in doubts]
    return hash_json([digest, attempts])


def hash_calls(tool: str, calls: Sequence[dict[str, JsonValue]]) -> str:
    """Return the digest of calls whatever their task, by which a rejected one is not proposed again."""
    return hash_json({"tool": tool, "calls": list(calls)})


def build_hitl_request(requests: Sequence[ApprovalRequest], specs: Sequence[ToolSpec]) -> dict[str, Any]:
    """Return the payload of the interrupt: `action_requests` and `review_configs`, by position."""
    actions: list[dict[str, Any]] = []
    for request, spec in zip(requests, specs, strict=True):
        calls = request.items if request.items is not None else (request.args,)
        named = {name for call in calls for name in find_named_secrets(spec.args_schema, call).values()}
        secrets, defaults = sorted(named), find_defaults(spec.args_schema, calls)
        actions.append(
            {
                "name": request.tool,
                "args": request.args,
                # Under the name that Agent Inbox reads, too.
                "arguments": request.args,
                "description": describe_request(
                    tool=request.tool,
                    task=request.task,
                    purpose=request.description,
                    expected=request.expected,
                    doubt=request.doubt,
                    secrets=secrets,
                    calls=calls,
                    is_for_each=request.items is not None,
                    defaults=defaults,
                ),
                "purpose": request.description,
                **({"expected_outcome": request.expected} if request.expected else {}),
                **({"secrets": secrets} if secrets else {}),
                **({"defaults": defaults} if defaults else {}),
                "task_id": request.task,
                "digest": request.digest,
                **({"items": list(request.items)} if request.items is not None else {}),
                **({"doubt": request.doubt} if request.doubt is not None else {}),
            }
        )
    configs = [
        {
            "action_name": request.tool,
            "allowed_decisions": list(list_allowed_decisions(request)),
            "args_schema": spec.args_schema,
        }
        for request, spec in zip(requests, specs, strict=True)
    ]
    return {"action_requests": actions, "review_configs": configs}


def list_allowed_decisions(request: ApprovalRequest) -> tuple[DecisionType, ...]:
    """Return the decisions that a request allows; the calls of a `for_each` cannot be edited one by one.

    For a call in doubt `approve` means that it did not happen and is to be made, `respond` that it did happen, with
    this result, and `reject` leaves it as it is.
    """
    if request.doubt is not None:
        return ("approve", "respond", "reject") if request.items is None else ("approve", "reject")
    return ("approve", "edit", "reject", "respond") if request.items is None else ("approve", "reject", "respond")


#: By what a decision can name its call.
_CALL_NAMES = ("digest", "task_id", "id")


def refuse_answer(reason: str) -> dict[str, Any]:
    """Return what takes the place of an answer that cannot be used; `parse_decisions` returns its `reason`."""
    return {_REFUSED: reason}


def is_refused(answer: object) -> bool:
    """Whether this stands in the place of an answer that could not be used."""
    return isinstance(answer, dict) and isinstance(answer.get(_REFUSED), str)


def parse_decisions(
    answer: object, requests: Sequence[ApprovalRequest], *, legacy_response: DecisionType = "reject"
) -> dict[int, Decision] | str:
    """Parse an answer to `requests`: the decisions by the position of their request, or why it is not valid.

    Besides `{"decisions": [...]}` a bare list, a single decision and the older `[{"type": "accept"}]` are accepted.
    Decisions that name their call, by its `digest`, its `task_id` or either as `id`, are taken by name, in any order,
    and may be fewer than the requests. Those that name none are taken by position: one for each request, or a single
    one, which is for the first: Agent Inbox and Agent Chat UI show and answer only that. An older `response` counts as
    `legacy_response`.
    """
    if isinstance(answer, dict) and is_refused(answer):
        return str(answer[_REFUSED])
    listed = _unwrap_decisions(answer)
    if not isinstance(listed, list) or not listed:
        return (
            "An answer must be {'decisions': [{'type': 'approve', 'digest': '...'}, ...]}, with one decision for each "
            f"call, not {format_value(answer)}."
        )
    try:
        upgraded = [_upgrade_legacy_decision(entry, legacy_response) for entry in listed]
        decisions = _decision_list_adapter.validate_python(upgraded)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        position = first["loc"][0] if first["loc"] else 0
        return f"Decision {position} cannot be read: {first['msg']} (it was {format_value(listed[int(position)])})."
    order = _match_requests(listed, requests)
    if isinstance(order, str):
        return order
    for position, decision in enumerate(decisions):
        request = requests[order[position]]
        if decision.type not in list_allowed_decisions(request):
            return f"Decision {position}: {decision.type!r} is not allowed for {request.task!r}."
        if decision.type == "approve" and (name := _find_changed_argument(listed[position], request)) is not None:
            return (
                f"Decision {position} approves {request.task!r} with another {name!r} than was shown; change it by "
                "'edit'. Nothing was approved."
            )
    return dict(sorted(zip(order, decisions, strict=True), key=lambda pair: pair[0]))


def _match_requests(listed: Sequence[object], requests: Sequence[ApprovalRequest]) -> list[int] | str:
    """Return for each decision the position of its request, or why it is not clear which one it is."""
    named = [_find_named_request(position, entry, requests) for position, entry in enumerate(listed)]
    if problem := next((one for one in named if isinstance(one, str)), None):
        return problem
    order = [one for one in named if isinstance(one, int)]
    if not order:
        if len(listed) not in {1, len(requests)}:
            return (
                f"{len(requests)} calls wait for an answer and {len(listed)} decisions were given; give one for each, "
                "or name their calls by digest. Nothing was approved."
            )
        return list(range(len(listed)))
    if len(order) < len(listed):
        unnamed = named.index(None)
        return f"Decision {unnamed} names no call, but others do; name each by its digest. Nothing was approved."
    twice = next((one for one in order if order.count(one) > 1), None)
    if twice is not None:
        return f"Two decisions are for {requests[twice].task!r}; give one for each call. Nothing was approved."
    return order


def _find_named_request(position: int, entry: object, requests: Sequence[ApprovalRequest]) -> int | str | None:
    """Return the position of the request that a decision names; None if it names none; else why that is not clear."""
    found: int | None = None
    for name in _CALL_NAMES:
        value = entry.get(name) if isinstance(entry, dict) else None
        if value is None:
            continue
        at = next((at for at, request in enumerate(requests) if _is_named(request, name, value)), None)
        if at is None and name == "digest":
            other = f"than that of {requests[0].task!r}" if len(requests) == 1 else "than those that wait"
            return f"Decision {position} answers another call {other}; nothing was approved."
        if at is None or (found is not None and at != found):
            clash = f"of {requests[at].task!r}, but its digest or task is another's" if at is not None else "of no call"
            return f"Decision {position} has the {name} {format_value(value)} {clash}; nothing was approved."
        found = at
    return found


def _is_named(request: ApprovalRequest, name: str, value: object) -> bool:
    names = {"digest": (request.digest,), "task_id": (request.task,), "id": (request.digest, request.task)}
    return value in names[name]


def _find_changed_argument(entry: Any, request: ApprovalRequest) -> str | None:  # noqa: ANN401 - as a caller gives it
    """Return the name of an argument that an approval carries with another value than the request shows."""
    carried = entry.get("edited_action") or entry
    args = carried.get("args") if isinstance(carried, dict) else None
    if isinstance(args, dict) and args.keys() <= {"action", "args"} and isinstance(args.get("args"), dict):
        args = args["args"]
    if not isinstance(args, dict):
        return None
    # Front ends send every argument as a text.
    return next(
        (
            name
            for name, value in args.items()
            if name not in request.args or _parse_text(value) != _parse_text(request.args[name])
        ),
        None,
    )


def _parse_text(value: JsonValue) -> JsonValue:
    try:
        parsed: JsonValue = json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        return value
    return parsed


def names_digests(answer: object) -> bool:
    """Whether every decision of an answer names the digest of its call."""
    listed = _unwrap_decisions(answer)
    return isinstance(listed, list) and all(isinstance(entry, dict) and entry.get("digest") for entry in listed)


def bind_to_requests(answer: object, requests: Sequence[ApprovalRequest]) -> object:
    """Return a valid answer to `requests` in their order, such that `parse_decisions` takes it for no other calls."""
    listed = _unwrap_decisions(answer)
    if not isinstance(listed, list) or not listed:
        return answer
    order = _match_requests(listed, requests)
    if isinstance(order, str):
        return answer
    pairs = sorted(zip(order, listed, strict=True), key=lambda pair: pair[0])
    return {
        "decisions": [
            {**entry, "digest": requests[at].digest} if isinstance(entry, dict) else entry for at, entry in pairs
        ]
    }


def is_for_other_calls(answer: object, requests: Sequence[ApprovalRequest]) -> bool:
    """Whether an answer is for other calls than those of `requests`, by the digests in it."""
    listed = _unwrap_decisions(answer)
    given = [entry.get("digest") for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    known = [request.digest for request in requests]
    return any(digest is not None for digest in given) and any(digest not in known for digest in given)


def _unwrap_decisions(answer: object) -> object:
    listed = answer.get("decisions", answer) if isinstance(answer, dict) else answer
    return [listed] if isinstance(listed, dict) and "type" in listed else listed


def _upgrade_legacy_decision(entry: object, legacy_response: DecisionType) -> object:
    """Convert an entry of the older schema to the present one; return anything else as it is, without its nulls."""
    if not isinstance(entry, dict) or not isinstance(entry.get("type"), str):
        return entry
    entry = {name: value for name, value in entry.items() if value is not None}
    legacy = {**_LEGACY_DECISION_TYPES, "response": legacy_response}
    word, args = legacy.get(entry["type"], entry["type"]), entry.get("args")
    if word == "edit" and "edited_action" not in entry and isinstance(args, dict):
        return {"type": "edit", "edited_action": {"name": args.get("action"), "args": args.get("args")}}
    message = {"message": args} if entry["type"] in legacy and isinstance(args, str) else {}
    return {**entry, "type": word, **message}
