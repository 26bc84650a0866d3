"""Approvals: which tasks need one, what it covers, and how an answer is parsed.

Requests and answers have the shape of LangChain's human-in-the-loop middleware (`HITLRequest`, `HITLResponse`), so
Studio, Agent Inbox and Agent Chat UI can show and answer them.
"""

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
#: Decision types of the older `HumanInterrupt` schema, and their present names.
_LEGACY_DECISION_TYPES = {"accept": "approve", "ignore": "reject", "response": "respond"}


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


def parse_decisions(answer: object, requests: Sequence[ApprovalRequest]) -> list[Decision] | str:
    """Parse an answer to `requests` by position, or return a sentence that says why it is not valid.

    Besides `{"decisions": [...]}` a bare list, a single decision and the older `[{"type": "accept"}]` are accepted. If
    decisions have a `digest`, it must be that of the request at the same position.
    """
    listed = _unwrap_decisions(answer)
    if not isinstance(listed, list) or not listed:
        return (
            "An answer must be {'decisions': [{'type': 'approve'}, ...]}, with one decision for each call, "
            f"not {format_value(answer)}."
        )
    if len(listed) != len(requests):
        return f"{len(requests)} calls wait for an answer and {len(listed)} decisions were given; give one for each."
    try:
        decisions = _decision_list_adapter.validate_python([_upgrade_legacy_decision(entry) for entry in listed])
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        position = first["loc"][0] if first["loc"] else 0
        return f"Decision {position} cannot be read: {first['msg']} (it was {format_value(listed[int(position)])})."
    for position, (entry, decision, request) in enumerate(zip(listed, decisions, requests, strict=True)):
        if decision.type not in list_allowed_decisions(request):
            return f"Decision {position}: {decision.type!r} is not allowed for {request.task!r}."
        claimed = entry.get("digest") if isinstance(entry, dict) else None
        if claimed is not None and claimed != request.digest:
            return f"Decision {position} answers another call than that of {request.task!r}; nothing was approved."
    return decisions


def bind_to_digests(answer: object, digests: Sequence[str]) -> object:
    """Return an answer for `parse_decisions` that is valid only for the calls with these digests."""
    listed = _unwrap_decisions(answer)
    if not isinstance(listed, list) or len(listed) != len(digests):
        return answer
    pairs = zip(listed, digests, strict=True)
    return {"decisions": [{**entry, "digest": digest} if isinstance(entry, dict) else entry for entry, digest in pairs]}


def is_for_other_calls(answer: object, requests: Sequence[ApprovalRequest]) -> bool:
    """Whether an answer is for other calls than those of `requests`, by the digests in it."""
    listed = _unwrap_decisions(answer)
    given = [entry.get("digest") for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    return any(digest is not None for digest in given) and given != [request.digest for request in requests]


def _unwrap_decisions(answer: object) -> object:
    listed = answer.get("decisions", answer) if isinstance(answer, dict) else answer
    return [listed] if isinstance(listed, dict) and "type" in listed else listed


def _upgrade_legacy_decision(entry: object) -> object:
    """Convert an entry of the older schema to the present one; return anything else as it is."""
    if not isinstance(entry, dict) or not isinstance(entry.get("type"), str):
        return entry
    word, args = _LEGACY_DECISION_TYPES.get(entry["type"], entry["type"]), entry.get("args")
    if word == "edit" and "edited_action" not in entry and isinstance(args, dict):
        return {"type": "edit", "edited_action": {"name": args.get("action"), "args": args.get("args")}}
    message = {"message": args} if entry["type"] in _LEGACY_DECISION_TYPES and isinstance(args, str) else {}
    return {**entry, "type": word, **message}
