"""Escalations: a run that cannot go on by itself asks a human, and the answer chooses how it goes on.

Requests and answers have the shape of LangChain's human-in-the-loop middleware, as those of approvals.
"""

from typing import Any, Final, Literal, assert_never

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from agent.core.engine.approvals import (
    ApprovalRequest,
    ApproveDecision,
    DecisionType,
    EditDecision,
    RejectDecision,
    RespondDecision,
    parse_decisions,
)
from agent.core.engine.budgets import ExhaustedBudget
from agent.core.plan.hashing import hash_json
from agent.core.plan.tool_spec import JsonSchema

#: `budget`: a budget is used up; `same_failure`: a replan ran into the failure that it was made for; `no_way_on`: the
#: replanner found no way on; `question`: it has a question; `unsure`: the planner is not sure of its plan.
EscalationKind = Literal["budget", "same_failure", "no_way_on", "question", "unsure"]
EscalationChoice = Literal["guide", "raise", "accept", "abort", "run"]
#: The name under which front ends show the request.
GO_ON_ACTION: Final = "go_on"
ANSWER_ACTION: Final = "answer_question"


class Escalation(BaseModel):
    """Why a run cannot go on by itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: EscalationKind
    #: A sentence; for a question, the question.
    reason: str
    #: The tasks that failed or were rejected.
    tasks: tuple[str, ...] = ()
    #: The signature of their failure; the answer of a human allows a replan for it again.
    signature: str | None = None
    budget: ExhaustedBudget | None = None
    #: Whether there is a plan; without one there is nothing to accept.
    planned: bool = True

    @property
    def choices(self) -> tuple[EscalationChoice, ...]:
        """What a human may choose; for a question only the answer to it."""
        if self.kind == "question":
            return ("guide",)
        if self.kind == "unsure":
            return ("run", "guide", "abort")
        guided: tuple[EscalationChoice, ...] = (
            ("guide",) if self.budget is None or self.budget.name == "replans" else ()
        )
        accepted: tuple[EscalationChoice, ...] = ("accept",) if self.planned else ()
        return (*guided, "raise", *accepted, "abort")

    @property
    def default_increment(self) -> int | float:
        """By how much a budget is raised by default: by its limit again, or by one replan."""
        return 1 if self.budget is None or self.budget.name == "replans" else self.budget.limit


class GiveGuidance(BaseModel):
    """Plan or replan once more with this guidance; or the answer to a question."""

    model_config = ConfigDict(frozen=True)

    text: str


class RaiseBudget(BaseModel):
    """Raise the exhausted budget by so much and go on; if none is exhausted, raise the number of replans."""

    model_config = ConfigDict(frozen=True)

    by: int | float


class AcceptResult(BaseModel):
    """End with the results so far; nothing is undone."""

    model_config = ConfigDict(frozen=True)


class AbortRun(BaseModel):
    """End, and undo what was written."""

    model_config = ConfigDict(frozen=True)

    message: str = ""


class ConfirmPlan(BaseModel):
    """Run the plan as it is."""

    model_config = ConfigDict(frozen=True)


class DeclineQuestion(BaseModel):
    """Leave a question unanswered; the replanner chooses by itself."""

    model_config = ConfigDict(frozen=True)

    message: str = ""


EscalationAnswer = GiveGuidance | RaiseBudget | AcceptResult | AbortRun | DeclineQuestion | ConfirmPlan


class _ChoiceArguments(BaseModel):
    """The arguments of `go_on`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    choice: EscalationChoice
    by: int | float | None = Field(default=None, gt=0, allow_inf_nan=False)
    guidance: str = ""


def build_escalation_payload(escalation: Escalation, *, mark: str) -> dict[str, Any]:
    """Return the payload of the interrupt; `mark` is the digest that binds an answer to this escalation."""
    question = escalation.kind == "question"
    name = ANSWER_ACTION if question else GO_ON_ACTION
    return {
        "action_requests": [
            {
                "name": name,
                "args": _build_default_args(escalation),
                "arguments": _build_default_args(escalation),
                "description": _describe_options(escalation),
                "task_id": "",
                "digest": mark,
            }
        ],
        "review_configs": [
            {
                "action_name": name,
                "allowed_decisions": list(_list_allowed_decisions(escalation)),
                "args_schema": _build_args_schema(escalation) if not question else {"type": "object"},
            }
        ],
        "impasse": escalation.model_dump(mode="json"),
    }


def _build_default_args(escalation: Escalation) -> dict[str, JsonValue]:
    """Return the arguments of the request: what `approve` chooses."""
    match escalation.kind:
        case "question":
            return {"question": escalation.reason}
        case "unsure":
            return {"choice": "run"}
        case "budget" | "same_failure" | "no_way_on":
            return {"choice": "raise", "by": escalation.default_increment}
        case _:
            assert_never(escalation.kind)


def _describe_options(escalation: Escalation) -> str:
    if escalation.kind == "question":
        return f"{escalation.reason} Respond: your answer goes to the replanner. Reject: it decides by itself."
    if escalation.kind == "unsure":
        return (
            f"{escalation.reason} Approve: run the plan as it is. Respond: plan once more with your guidance. "
            "Edit: choose one of the options. Reject: end the run."
        )
    guide = " Respond: replan once more with your guidance." if "guide" in escalation.choices else ""
    accept = " with `accept`, end with the results so far;" if escalation.planned else ""
    what = "replans" if escalation.budget is None else escalation.budget.name
    return (
        f"{escalation.reason} Approve: go on with {escalation.default_increment:.10g} more ({what}).{guide} "
        f"Edit:{accept} with `raise`, "
        "choose how much more. Reject: end the run, and undo what can be undone."
    )


def _build_args_schema(escalation: Escalation) -> JsonSchema:
    more: JsonSchema = (
        {"type": "integer", "minimum": 1}
        if _needs_whole_number(escalation)
        else {"type": "number", "exclusiveMinimum": 0}
    )
    return {
        "type": "object",
        "properties": {
            "choice": {"type": "string", "enum": list(escalation.choices)},
            "by": {**more, "description": "With `raise`: how much more."},
            "guidance": {"type": "string", "description": "With `guide`: guidance for the planner."},
        },
        "required": ["choice"],
        "additionalProperties": False,
    }


def hash_escalation(escalation: Escalation, *, thread: str, revision: int, turn: int) -> str:
    """Return the digest that binds an answer to one escalation; `turn` counts the escalations of a run."""
    return hash_json(
        {"thread": thread, "revision": revision, "turn": turn, "impasse": escalation.model_dump(mode="json")}
    )


def parse_escalation_answer(answer: object, escalation: Escalation, *, mark: str) -> EscalationAnswer | str:
    """Parse an answer, or return a sentence that says why it is not valid."""
    name = ANSWER_ACTION if escalation.kind == "question" else GO_ON_ACTION
    options = _list_allowed_decisions(escalation)
    decisions = parse_decisions(
        answer,
        [ApprovalRequest(task="", tool=name, args={}, digest=mark)],
        # A text that answers a question is no refusal.
        legacy_response="respond" if "respond" in options else "reject",
    )
    if isinstance(decisions, str):
        return decisions
    [decision] = decisions.values()
    if decision.type not in options:
        allowed = ", ".join(options)
        return f"Decision 0: {decision.type!r} is not allowed here; choose one of: {allowed}."
    match decision:
        case RespondDecision(message=message):
            text = message.strip()
            return GiveGuidance(text=text) if text else "The answer is empty; say what is to be done."
        case RejectDecision(message=message):
            return DeclineQuestion(message=message) if escalation.kind == "question" else AbortRun(message=message)
        case ApproveDecision():
            return ConfirmPlan() if escalation.kind == "unsure" else RaiseBudget(by=escalation.default_increment)
        case EditDecision(edited_action=action):
            return _parse_choice(action.args, escalation)


def _parse_choice(args: dict[str, JsonValue], escalation: Escalation) -> EscalationAnswer | str:
    try:
        chosen = _ChoiceArguments.model_validate(args)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        return f"The choice cannot be read: {'.'.join(map(str, first['loc']))}: {first['msg']}."
    if chosen.choice not in escalation.choices:
        return f"{chosen.choice!r} cannot be chosen here; choose one of: {', '.join(escalation.choices)}."
    match chosen.choice:
        case "guide":
            text = chosen.guidance.strip()
            return GiveGuidance(text=text) if text else "'guide' needs 'guidance': say what is to be done."
        case "raise":
            return _parse_raise(chosen.by if chosen.by is not None else escalation.default_increment, escalation)
        case "accept":
            return AcceptResult()
        case "abort":
            return AbortRun(message=chosen.guidance.strip())
        case "run":
            return ConfirmPlan()


def _parse_raise(by: float, escalation: Escalation) -> RaiseBudget | str:
    if _needs_whole_number(escalation) and by != int(by):
        return f"'by' is {by!r}; this budget can only be raised by a whole number."
    return RaiseBudget(by=int(by) if _needs_whole_number(escalation) else by)


def _needs_whole_number(escalation: Escalation) -> bool:
    return escalation.budget is None or escalation.budget.name not in {"cost", "wall_time_s"}


def _list_allowed_decisions(escalation: Escalation) -> tuple[DecisionType, ...]:
    if escalation.kind == "question":
        return ("respond", "reject")
    return ("approve", "edit", "respond", "reject") if "guide" in escalation.choices else ("approve", "edit", "reject")
