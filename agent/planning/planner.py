"""The planner: a goal in, a plan that compiles out, or the reasons why there is none."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace

from pydantic import BaseModel, ConfigDict, JsonValue

from agent.core.compiler.compiler import CompiledPlan
from agent.core.plan.document import Call, Task
from agent.core.plan.limits import Limits
from agent.core.plan.tool_spec import Preflight
from agent.errors import ModelReplyError
from agent.events import Emit, Thinking
from agent.execution.early_execution import EarlyExecution
from agent.llm.models import Model
from agent.llm.usage import UsageTotal
from agent.planning.context import ContextQuestions
from agent.planning.draft_review import Confidence, rate_plan
from agent.planning.large_model.one_shot import plan_at_once
from agent.planning.session import DraftFailure, PlanDraft, PlanningSession, as_document
from agent.planning.signs_of_life import report_progress
from agent.planning.small_model.arithmetic import plan_as_arithmetic, sample_arithmetic_plans
from agent.planning.small_model.arithmetic_parser import is_calculator
from agent.planning.small_model.input_binding import is_sql_tool
from agent.planning.small_model.notebook_parser import has_follow_up
from agent.planning.small_model.script import plan_as_script
from agent.planning.small_model.self_consistency import plan_by_vote
from agent.planning.small_model.sql_notebook import find_query_tool, plan_as_queries
from agent.planning.small_model.stepwise import plan_in_stages
from agent.settings import Settings
from agent.tools.toolbox import Toolbox


class PlanningResult(BaseModel):
    """A plan that compiles; `plan` is its document, with the arguments as preflight corrected them."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    plan: dict[str, JsonValue]
    compiled: CompiledPlan
    #: The findings of preflight, by task id.
    findings: Mapping[str, Preflight]
    #: What was changed in the arguments or looks wrong in them, by task id.
    warnings: dict[str, list[str]]
    #: How often the model was asked to repair problems.
    repairs: int
    usage: UsageTotal
    #: Why it may not be what was meant, if other plans for the goal were tried and no two gave the same result.
    doubt: str = ""
    #: What is to be asked before it runs: values that neither the goal nor a result gives, in sentences.
    questions: tuple[str, ...] = ()
    #: How sure a plan of a small model is; None: a large one wrote it.
    confidence: Confidence | None = None


class PlanningFailure(BaseModel):
    """There is no plan; `problems` are sentences."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    problems: tuple[str, ...]
    usage: UsageTotal
    #: The model gave no reply; it may when asked again.
    is_model_failure: bool = False


class ContextRequest(BaseModel):
    """There is no plan yet: the model needs to know more, and is to be asked again with the answers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    questions: tuple[Call, ...]
    usage: UsageTotal


async def make_plan(
    goal: str,
    *,
    context: str,
    toolbox: Toolbox,
    model: Model,
    settings: Settings,
    limits: Limits,
    emit: Emit,
    used: Mapping[str, Task | None] | None = None,
    early_execution: EarlyExecution | None = None,
    may_ask: bool = False,
    guidance: Sequence[str] = (),
) -> PlanningResult | PlanningFailure | ContextRequest:
    """Plan `goal` with the tools of `toolbox`; `context` is the text that the context providers gave.

    A large model writes the plan in one answer, a small one as SQL, as a script or in stages. Problems go back to the
    model, at most `settings.max_repairs` times. A server that gives no reply is a problem too. `early_execution`
    receives the tasks of a streamed plan while it is written, and the drafts that a small model's vote tries out; the
    caller ends it. If it `may_ask`, a large model can ask questions before it plans. `guidance` is what a human said
    about earlier plans.
    """
    session = PlanningSession(
        # Whatever searches the goal for words must find these too.
        goal=" ".join([goal, *guidance]),
        context=context,
        toolbox=toolbox,
        model=model,
        limits=limits,
        max_repairs=settings.max_repairs,
        emit=emit,
        used=used or {},
        early_execution=early_execution,
        variants=settings.plan_variants,
        may_ask=may_ask,
        repairs_arguments=settings.sql_repair,
    )
    if not session.specs:
        return PlanningFailure(problems=("There are no tools to plan with.",), usage=session.tally.total)
    try:
        async with report_progress(emit, role="planner") as progress:
            progress.emit(Thinking(role="planner", text=f"Planning with {model.name}."))
            result = await _select_strategy(session)(replace(session, emit=progress.emit, progress=progress))
    except ModelReplyError as error:
        return PlanningFailure(problems=(str(error),), usage=session.tally.total, is_model_failure=True)
    match result:
        case DraftFailure(problems=problems):
            return PlanningFailure(problems=problems, usage=session.tally.total)
        case ContextQuestions(questions=questions):
            return ContextRequest(questions=questions, usage=session.tally.total)
        case PlanDraft(checked=checked, repairs=repairs):
            rated = rate_plan(result, notes=session.notes)
            return PlanningResult(
                plan=as_document(checked.compiled.plan),
                compiled=checked.compiled,
                findings=checked.findings,
                warnings=checked.list_warnings(),
                repairs=repairs,
                usage=session.tally.total,
                doubt=rated.reason if rated.level == "unsure" else "",
                questions=result.questions,
                confidence=rated if model.scale == "small" else None,
            )


def _select_strategy(
    session: PlanningSession,
) -> Callable[[PlanningSession], Awaitable[PlanDraft | DraftFailure | ContextQuestions]]:
    """Return the way in which the model plans best: a small one writes code, or SQL if there is a database."""
    if session.model.scale == "large":
        return plan_at_once
    if any(map(is_sql_tool, session.specs.values())):
        return _plan_queries_or_stages
    return _plan_arithmetic_by_vote if is_calculator(session.specs) else _plan_script_by_vote


async def _plan_queries_or_stages(session: PlanningSession) -> PlanDraft | DraftFailure:
    """Plan as a notebook of queries; in stages if that does not suit the goal, fails or leaves a doubt.

    A small model cannot write one notebook for a goal that refers back to its own result.
    """
    tool = find_query_tool(session.specs)
    if tool is None or has_follow_up(session.goal):
        return await plan_in_stages(session)
    notebook = await plan_as_queries(session, tool)
    if isinstance(notebook, DraftFailure):
        return await plan_in_stages(session)
    if not notebook.doubt:
        return notebook
    staged = await plan_in_stages(session)
    return notebook if isinstance(staged, DraftFailure) or staged.doubt else staged


async def _plan_arithmetic_by_vote(session: PlanningSession) -> PlanDraft | DraftFailure:
    return await plan_by_vote(session, plan_as_arithmetic, plan_batch=sample_arithmetic_plans)


async def _plan_script_by_vote(session: PlanningSession) -> PlanDraft | DraftFailure:
    return await plan_by_vote(session, plan_as_script)
