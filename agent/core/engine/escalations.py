"""What a run cannot settle by itself: how it is put to a person, and what an answer chooses.

The request and its answer have the shape of LangChain's human-in-the-loop middleware, as approvals have.
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

#: A budget is used up; a replan met the failure that it was made for; the replanner found no way on, or has a question;
#: the planner is not sure of its plan.
EscalationKind = Literal["budget", "same_failure", "no_way_on", "question", "unsure"]
EscalationChoice = Literal["guide", "raise", "accept", "abort", "run"]

#: The name under which front ends show the request.
GO_ON_ACTION: Final = "go_on"
ANSWER_ACTION: Final = "answer_question"


class Escalation(BaseModel):
    """Why a run cannot go on by itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: EscalationKind
    #: A sentence; of a question, the question.
    reason: str
    #: The tasks that failed or were rejected.
    tasks: tuple[str, ...] = ()
    #: Of their failure; a person's word allows a replan for it again.
    signature: str | None = None
    budget: ExhaustedBudget | None = None
    #: Without a plan there is nothing to accept.
    planned: bool = True

    @property
    def choices(self) -> tuple[EscalationChoice, ...]:
        """What a person may choose, besides answering a question."""
        if self.kind == "question":
            return ("guide",)
        if self.kind == "unsure":
            return ("run", "guide", "abort")
        guided: tuple[EscalationChoice, ...] = (
            ("guide",) if self.budget is None or self.budget.name == "replans" else ()
        )
        kept: tuple[EscalationChoice, ...] = ("accept",) if self.planned else ()
        return (*guided, "raise", *kept, "abort")

    @property
    def default_increment(self) -> int | float:
        """By how much a budget is raised where nobody says: as much again, or by one replan."""
        return 1 if self.budget is None or self.budget.name == "replans" else self.budget.limit


class GiveGuidance(BaseModel):
    """Plan or replan once more with these words, or the answer to a question."""

    model_config = ConfigDict(frozen=True)

    text: str


class RaiseBudget(BaseModel):
    """Go on with so much more of the budget, replans where none is used up."""

    model_config = ConfigDict(frozen=True)

    by: int | float


class AcceptResult(BaseModel):
    """End with what there is; nothing is undone."""

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


def build_escalation_payload(impasse: Escalation, *, mark: str) -> dict[str, Any]:
    """Return the payload of the interrupt; `mark` binds an answer to this impasse."""
    question = impasse.kind == "question"
    name = ANSWER_ACTION if question else GO_ON_ACTION
    return {
        "action_requests": [
            {
                "name": name,
                "args": _build_default_args(impasse),
                "description": _describe_options(impasse),
                "task_id": "",
                "digest": mark,
            }
        ],
        "review_configs": [
            {
                "action_name": name,
                "allowed_decisions": list(_list_allowed_decisions(impasse)),
                "args_schema": _build_args_schema(impasse) if not question else {"type": "object"},
            }
        ],
        "impasse": impasse.model_dump(mode="json"),
    }


def _build_default_args(impasse: Escalation) -> dict[str, JsonValue]:
    """Return the arguments of the request: what an approval stands for."""
    match impasse.kind:
        case "question":
            return {"question": impasse.reason}
        case "unsure":
            return {"choice": "run"}
        case "budget" | "same_failure" | "no_way_on":
            return {"choice": "raise", "by": impasse.default_increment}
        case _:
            assert_never(impasse.kind)


def hash_escalation(impasse: Escalation, *, thread: str, revision: int, turn: int) -> str:
    """Return the digest that binds an answer to one impasse; `turn` counts those of a run."""
    return hash_json({"thread": thread, "revision": revision, "turn": turn, "impasse": impasse.model_dump(mode="json")})


def parse_escalation_answer(answer: object, impasse: Escalation, *, mark: str) -> EscalationAnswer | str:
    """Read an answer, or return a sentence that says why it is none."""
    name = ANSWER_ACTION if impasse.kind == "question" else GO_ON_ACTION
    read = parse_decisions(answer, [ApprovalRequest(task="", tool=name, args={}, digest=mark)])
    if isinstance(read, str):
        return read
    [decision] = read
    if decision.type not in _list_allowed_decisions(impasse):
        allowed = ", ".join(_list_allowed_decisions(impasse))
        return f"Decision 0: {decision.type!r} is not allowed here; choose one of: {allowed}."
    match decision:
        case RespondDecision(message=message):
            return (
                GiveGuidance(text=message.strip())
                if message.strip()
                else "The answer has no words; say what is to be done."
            )
        case RejectDecision(message=message):
            return DeclineQuestion(message=message) if impasse.kind == "question" else AbortRun(message=message)
        case ApproveDecision():
            return ConfirmPlan() if impasse.kind == "unsure" else RaiseBudget(by=impasse.default_increment)
        case EditDecision(edited_action=action):
            return _parse_choice(action.args, impasse)


def _parse_choice(args: dict[str, JsonValue], impasse: Escalation) -> EscalationAnswer | str:
    try:
        chosen = _ChoiceArguments.model_validate(args)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        return f"The choice cannot be read: {'.'.join(map(str, first['loc']))}: {first['msg']}."
    if chosen.choice not in impasse.choices:
        return f"{chosen.choice!r} cannot be chosen here; choose one of: {', '.join(impasse.choices)}."
    match chosen.choice:
        case "guide":
            text = chosen.guidance.strip()
            return GiveGuidance(text=text) if text else "'guide' needs 'guidance': say what is to be done."
        case "raise":
            return _parse_raise(chosen.by if chosen.by is not None else impasse.default_increment, impasse)
        case "accept":
            return AcceptResult()
        case "abort":
            return AbortRun(message=chosen.guidance.strip())
        case "run":
            return ConfirmPlan()


def _parse_raise(by: float, impasse: Escalation) -> RaiseBudget | str:
    if _needs_whole_number(impasse) and by != int(by):
        return f"'by' is {by!r}; this budget is raised by a whole number."
    return RaiseBudget(by=int(by) if _needs_whole_number(impasse) else by)


def _needs_whole_number(impasse: Escalation) -> bool:
    return impasse.budget is None or impasse.budget.name not in {"cost", "wall_time_s"}


def _list_allowed_decisions(impasse: Escalation) -> tuple[DecisionType, ...]:
    if impasse.kind == "question":
        return ("respond", "reject")
    return ("approve", "edit", "respond", "reject") if "guide" in impasse.choices else ("approve", "edit", "reject")


def _describe_options(impasse: Escalation) -> str:
    if impasse.kind == "question":
        return f"{impasse.reason} Respond: your answer goes to the replanner. Reject: it chooses by itself."
    if impasse.kind == "unsure":
        return (
            f"{impasse.reason} Approve: run the plan as it is. Respond: plan once more with your words. "
            "Edit: choose one of these. Reject: end."
        )
    guide = " Respond: replan once more with your words." if "guide" in impasse.choices else ""
    kept = " with `accept`, end with what there is;" if impasse.planned else ""
    what = "replans" if impasse.budget is None else impasse.budget.name
    return (
        f"{impasse.reason} Approve: go on with {impasse.default_increment:.10g} more ({what}).{guide} "
        f"Edit:{kept} with `raise`, "
        "choose how much more. Reject: end, and undo what can be undone."
    )


def _build_args_schema(impasse: Escalation) -> JsonSchema:
    more: JsonSchema = (
        {"type": "integer", "minimum": 1} if _needs_whole_number(impasse) else {"type": "number", "exclusiveMinimum": 0}
    )
    return {
        "type": "object",
        "properties": {
            "choice": {"type": "string", "enum": list(impasse.choices)},
            "by": {**more, "description": "With `raise`: how much more."},
            "guidance": {"type": "string", "description": "With `guide`: words for the one who plans."},
        },
        "required": ["choice"],
        "additionalProperties": False,
    }
