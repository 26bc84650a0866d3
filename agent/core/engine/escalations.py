"""What a run cannot settle by itself: how it is put to a person, and what an answer chooses.

The request and its answer have the shape of LangChain's human-in-the-loop middleware, as approvals have.
"""

from typing import Any, Final, Literal, assert_never

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from agent.core.engine.approvals import Approve, DecisionType, Edit, Reject, Request, Respond, read_answer
from agent.core.engine.budgets import Exhausted
from agent.core.plan.hashing import digest
from agent.core.plan.tool_spec import JsonSchema

#: A budget is used up; a replan met the failure that it was made for; the replanner found no way on, or has a question;
#: the planner is not sure of its plan.
ImpasseKind = Literal["budget", "same_failure", "no_way_on", "question", "unsure"]
Choice = Literal["guide", "raise", "accept", "abort", "run"]

#: The name under which front ends show the request.
GO_ON: Final = "go_on"
ANSWER: Final = "answer_question"


class Impasse(BaseModel):
    """Why a run cannot go on by itself."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: ImpasseKind
    #: A sentence; of a question, the question.
    reason: str
    #: The tasks that failed or were rejected.
    tasks: tuple[str, ...] = ()
    #: Of their failure; a person's word allows a replan for it again.
    signature: str | None = None
    budget: Exhausted | None = None
    #: Without a plan there is nothing to accept.
    planned: bool = True

    @property
    def choices(self) -> tuple[Choice, ...]:
        """What a person may choose, besides answering a question."""
        if self.kind == "question":
            return ("guide",)
        if self.kind == "unsure":
            return ("run", "guide", "abort")
        guided: tuple[Choice, ...] = ("guide",) if self.budget is None or self.budget.name == "replans" else ()
        kept: tuple[Choice, ...] = ("accept",) if self.planned else ()
        return (*guided, "raise", *kept, "abort")

    @property
    def step(self) -> int | float:
        """By how much a budget is raised where nobody says: as much again, or by one replan."""
        return 1 if self.budget is None or self.budget.name == "replans" else self.budget.limit


class Guide(BaseModel):
    """Plan or replan once more with these words, or the answer to a question."""

    model_config = ConfigDict(frozen=True)

    text: str


class Raise(BaseModel):
    """Go on with so much more of the budget, replans where none is used up."""

    model_config = ConfigDict(frozen=True)

    by: int | float


class Accept(BaseModel):
    """End with what there is; nothing is undone."""

    model_config = ConfigDict(frozen=True)


class Abort(BaseModel):
    """End, and undo what was written."""

    model_config = ConfigDict(frozen=True)

    message: str = ""


class Confirm(BaseModel):
    """Run the plan as it is."""

    model_config = ConfigDict(frozen=True)


class Decline(BaseModel):
    """Leave a question unanswered; the replanner chooses by itself."""

    model_config = ConfigDict(frozen=True)

    message: str = ""


Settlement = Guide | Raise | Accept | Abort | Decline | Confirm


class _Chosen(BaseModel):
    """The arguments of `go_on`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    choice: Choice
    by: int | float | None = Field(default=None, gt=0, allow_inf_nan=False)
    guidance: str = ""


def impasse_payload(impasse: Impasse, *, mark: str) -> dict[str, Any]:
    """Return the payload of the interrupt; `mark` binds an answer to this impasse."""
    question = impasse.kind == "question"
    name = ANSWER if question else GO_ON
    return {
        "action_requests": [
            {
                "name": name,
                "args": _proposed(impasse),
                "description": _description(impasse),
                "task_id": "",
                "digest": mark,
            }
        ],
        "review_configs": [
            {
                "action_name": name,
                "allowed_decisions": list(_allowed(impasse)),
                "args_schema": _schema(impasse) if not question else {"type": "object"},
            }
        ],
        "impasse": impasse.model_dump(mode="json"),
    }


def _proposed(impasse: Impasse) -> dict[str, JsonValue]:
    """Return the arguments of the request: what an approval stands for."""
    match impasse.kind:
        case "question":
            return {"question": impasse.reason}
        case "unsure":
            return {"choice": "run"}
        case "budget" | "same_failure" | "no_way_on":
            return {"choice": "raise", "by": impasse.step}
        case _:
            assert_never(impasse.kind)


def impasse_mark(impasse: Impasse, *, thread: str, revision: int, turn: int) -> str:
    """Return the digest that binds an answer to one impasse; `turn` counts those of a run."""
    return digest({"thread": thread, "revision": revision, "turn": turn, "impasse": impasse.model_dump(mode="json")})


def read_settlement(answer: object, impasse: Impasse, *, mark: str) -> Settlement | str:
    """Read an answer, or return a sentence that says why it is none."""
    name = ANSWER if impasse.kind == "question" else GO_ON
    read = read_answer(answer, [Request(task="", tool=name, args={}, digest=mark)])
    if isinstance(read, str):
        return read
    [decision] = read
    if decision.type not in _allowed(impasse):
        return f"Decision 0: {decision.type!r} is not allowed here; choose one of: {', '.join(_allowed(impasse))}."
    match decision:
        case Respond(message=message):
            return (
                Guide(text=message.strip()) if message.strip() else "The answer has no words; say what is to be done."
            )
        case Reject(message=message):
            return Decline(message=message) if impasse.kind == "question" else Abort(message=message)
        case Approve():
            return Confirm() if impasse.kind == "unsure" else Raise(by=impasse.step)
        case Edit(edited_action=action):
            return _chosen(action.args, impasse)


def _chosen(args: dict[str, JsonValue], impasse: Impasse) -> Settlement | str:
    try:
        chosen = _Chosen.model_validate(args)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        return f"The choice cannot be read: {'.'.join(map(str, first['loc']))}: {first['msg']}."
    if chosen.choice not in impasse.choices:
        return f"{chosen.choice!r} cannot be chosen here; choose one of: {', '.join(impasse.choices)}."
    match chosen.choice:
        case "guide":
            text = chosen.guidance.strip()
            return Guide(text=text) if text else "'guide' needs 'guidance': say what is to be done."
        case "raise":
            return _raise(chosen.by if chosen.by is not None else impasse.step, impasse)
        case "accept":
            return Accept()
        case "abort":
            return Abort(message=chosen.guidance.strip())
        case "run":
            return Confirm()


def _raise(by: float, impasse: Impasse) -> Raise | str:
    if _whole(impasse) and by != int(by):
        return f"'by' is {by!r}; this budget is raised by a whole number."
    return Raise(by=int(by) if _whole(impasse) else by)


def _whole(impasse: Impasse) -> bool:
    return impasse.budget is None or impasse.budget.name not in {"cost", "wall_time_s"}


def _allowed(impasse: Impasse) -> tuple[DecisionType, ...]:
    if impasse.kind == "question":
        return ("respond", "reject")
    return ("approve", "edit", "respond", "reject") if "guide" in impasse.choices else ("approve", "edit", "reject")


def _description(impasse: Impasse) -> str:
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
        f"{impasse.reason} Approve: go on with {impasse.step:.10g} more ({what}).{guide} Edit:{kept} with `raise`, "
        "choose how much more. Reject: end, and undo what can be undone."
    )


def _schema(impasse: Impasse) -> JsonSchema:
    more: JsonSchema = (
        {"type": "integer", "minimum": 1} if _whole(impasse) else {"type": "number", "exclusiveMinimum": 0}
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
