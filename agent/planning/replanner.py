"""The replanner: what failed and what is done in, a plan that goes on out, or the reason to stop."""

from collections.abc import Collection, Mapping, Sequence

from pydantic import BaseModel, ConfigDict, JsonValue

from agent.core.compiler.compiler import CompiledPlan
from agent.core.engine.outcomes import Done, Outcome
from agent.core.plan.document import Task
from agent.core.plan.limits import Limits
from agent.core.plan.tool_spec import Preflight
from agent.errors import ModelReplyError
from agent.events import Emit, Thinking
from agent.llm.models import Model
from agent.llm.usage import Spent
from agent.planning.large_model.replan import decide_at_once
from agent.planning.replan_rules import Decided, Question, Setback, Stop
from agent.planning.session import Desk, as_document
from agent.planning.small_model.replan import decide_in_stages
from agent.settings import Settings
from agent.tools.toolbox import Toolbox


class Revised(BaseModel):
    """A plan that goes on; finished tasks stay in it under their ids."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    plan: dict[str, JsonValue]
    compiled: CompiledPlan
    findings: Mapping[str, Preflight]
    #: Failed or rejected tasks to go on without, those of earlier revisions included.
    waived: frozenset[str]
    #: What was decided and why, for a person.
    note: str
    usage: Spent


class Abandoned(BaseModel):
    """The replanner chose to stop, or made no plan that compiles and leads on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: str
    #: Whether to stop was its choice.
    chosen: bool
    usage: Spent


class Asked(BaseModel):
    """The replanner wants to know something from a person first."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    question: str
    usage: Spent


async def make_revision(
    goal: str,
    *,
    compiled: CompiledPlan,
    outcomes: Mapping[str, Outcome],
    failed: tuple[str, ...],
    history: Sequence[str],
    context: str,
    toolbox: Toolbox,
    model: Model,
    settings: Settings,
    limits: Limits,
    emit: Emit,
    waived: Collection[str],
    guidance: Sequence[str] = (),
    may_ask: bool = False,
) -> Revised | Asked | Abandoned:
    """Decide how to go on after the tasks in `failed`: retry with changes, skip, replan the rest, ask, or stop.

    `history` tells of earlier replans, a sentence each, `guidance` what a person said. `may_ask`: a large model may
    put a question to a person; a small one is given the choices that were measured with it. Problems of a decision go
    back to the model, at most `settings.max_repairs` times. Raises `BudgetError` where the budget allows no call.
    """
    desk = Desk(
        goal=goal,
        context=context,
        toolbox=toolbox,
        model=model,
        limits=limits,
        max_repairs=settings.max_repairs,
        emit=emit,
        used=_used(compiled, outcomes, kept=waived),
    )
    setback = Setback(
        compiled, outcomes=outcomes, failed=failed, history=tuple(history), guidance=tuple(guidance), may_ask=may_ask
    )
    emit(Thinking(role="replanner", text=f"Looking for a way on after {', '.join(map(repr, failed))}."))
    try:
        found = await (decide_in_stages if model.scale == "small" else decide_at_once)(desk, setback)
    except ModelReplyError as error:
        return Abandoned(reason=str(error), chosen=False, usage=desk.tally.spent)
    match found:
        case Stop(reason=reason, chosen=chosen):
            return Abandoned(reason=reason, chosen=chosen, usage=desk.tally.spent)
        case Question(text=text):
            return Asked(question=text, usage=desk.tally.spent)
        case Decided():
            return Revised(
                plan=as_document(found.checked.compiled.plan),
                compiled=found.checked.compiled,
                findings=found.checked.findings,
                waived=frozenset(waived) | found.waived,
                note=found.note,
                usage=desk.tally.spent,
            )


def _used(compiled: CompiledPlan, outcomes: Mapping[str, Outcome], *, kept: Collection[str]) -> dict[str, Task | None]:
    """Return the ids that have a result; what is done, or gone on without, may stay as it is."""
    return {
        task: compiled.tasks.get(task) if isinstance(outcome, Done) or task in kept else None
        for task, outcome in outcomes.items()
    }
