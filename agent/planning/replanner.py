"""The replanner: failed and finished tasks in, a revised plan out, or the reason to stop."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace

from pydantic import BaseModel, ConfigDict, JsonValue

from agent.core.compiler.compiler import CompiledPlan
from agent.core.engine.outcomes import Done, Outcome
from agent.core.plan.document import Task
from agent.core.plan.limits import Limits
from agent.core.plan.tool_spec import Preflight
from agent.errors import ModelReplyError
from agent.events import Emit, Thinking
from agent.llm.models import Model
from agent.llm.usage import UsageTotal
from agent.planning.large_model.replan import decide_at_once
from agent.planning.replan_rules import FailureContext, HumanQuestion, NoRevision, PlanRevision
from agent.planning.session import PlanningSession, as_document
from agent.planning.signs_of_life import report_progress
from agent.planning.small_model.replan import decide_in_stages
from agent.settings import Settings
from agent.tools.toolbox import Toolbox


class RevisionResult(BaseModel):
    """A revised plan; finished tasks stay in it under their ids."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    plan: dict[str, JsonValue]
    compiled: CompiledPlan
    findings: Mapping[str, Preflight]
    #: What was changed in the arguments or looks wrong in them, by task id.
    warnings: dict[str, list[str]]
    #: Failed or rejected tasks that the run goes on without, including those of earlier revisions.
    waived: frozenset[str]
    #: What was decided and why, for a human.
    note: str
    usage: UsageTotal


class RevisionAbandoned(BaseModel):
    """The replanner chose to stop, or made no plan that compiles and makes progress."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    reason: str
    #: Whether stopping was the model's own decision.
    chosen: bool
    usage: UsageTotal
    #: The model gave no reply; it may when asked again.
    is_model_failure: bool = False


class ClarificationRequest(BaseModel):
    """The replanner asks a human a question before it decides."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    question: str
    usage: UsageTotal


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
) -> RevisionResult | ClarificationRequest | RevisionAbandoned:
    """Decide how to go on after the tasks in `failed`: retry with changes, skip, replan the rest, ask, or stop.

    `history` lists earlier replans, a sentence each; `guidance` is what a human said. If it `may_ask`, a large model
    may ask a human a question; a small one gets only the choices that it was measured with. Problems of a decision go
    back to the model, at most `settings.max_repairs` times. Raises `BudgetError` if the budget allows no call.
    """
    session = PlanningSession(
        goal=goal,
        context=context,
        toolbox=toolbox,
        model=model,
        limits=limits,
        max_repairs=settings.max_repairs,
        emit=emit,
        used=_index_settled_tasks(compiled, outcomes, waived=waived),
        repairs_arguments=settings.sql_repair,
        kept=compiled.plan.tasks,
        input_fields=compiled.plan.model_dump(
            mode="json", include={"inputs", "input_values"} if compiled.plan.inputs is not None else set()
        ),
    )
    failure_context = FailureContext(
        compiled, outcomes=outcomes, failed=failed, history=tuple(history), guidance=tuple(guidance), may_ask=may_ask
    )
    decide = decide_in_stages if model.scale == "small" else decide_at_once
    try:
        async with report_progress(emit, role="replanner") as progress:
            deciding = f"Deciding how to go on after {', '.join(map(repr, failed))}."
            progress.emit(Thinking(role="replanner", text=deciding))
            decision = await decide(replace(session, emit=progress.emit, progress=progress), failure_context)
    except ModelReplyError as error:
        return RevisionAbandoned(reason=str(error), chosen=False, usage=session.tally.total, is_model_failure=True)
    match decision:
        case NoRevision(reason=reason, chosen=chosen):
            return RevisionAbandoned(reason=reason, chosen=chosen, usage=session.tally.total)
        case HumanQuestion(text=text):
            return ClarificationRequest(question=text, usage=session.tally.total)
        case PlanRevision(checked=checked):
            return RevisionResult(
                plan=as_document(checked.compiled.plan),
                compiled=checked.compiled,
                findings=checked.findings,
                warnings=checked.list_warnings(),
                waived=frozenset(waived) | decision.waived,
                note=decision.note,
                usage=session.tally.total,
            )


def _index_settled_tasks(
    compiled: CompiledPlan, outcomes: Mapping[str, Outcome], *, waived: Collection[str]
) -> dict[str, Task | None]:
    """Return the ids that have a result, with the task if it may stay as it is: it is done or waived."""
    return {
        task: compiled.tasks.get(task) if isinstance(outcome, Done) or task in waived else None
        for task, outcome in outcomes.items()
    }
