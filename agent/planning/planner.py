"""The planner: a goal in, a plan that compiles out, or the reasons why there is none."""

from collections.abc import Awaitable, Callable, Mapping, Sequence

from pydantic import BaseModel, ConfigDict, JsonValue

from agent.core.compiler.compiler import CompiledPlan
from agent.core.plan.document import Call, Task
from agent.core.plan.limits import Limits
from agent.core.plan.tool_spec import Preflight
from agent.errors import ModelReplyError
from agent.events import Emit, Thinking
from agent.execution.early_execution import HeadStart
from agent.llm.models import Model
from agent.llm.usage import Spent
from agent.planning.context import Asked
from agent.planning.large_model.one_shot import plan_at_once
from agent.planning.session import Desk, Draft, NoDraft, as_document
from agent.planning.small_model.arithmetic import plan_by_reckoning, several_by_reckoning
from agent.planning.small_model.arithmetic_parser import reckons
from agent.planning.small_model.input_binding import writes_sql
from agent.planning.small_model.notebook_parser import goes_on
from agent.planning.small_model.script import plan_as_script
from agent.planning.small_model.self_consistency import agreed
from agent.planning.small_model.sql_notebook import plan_as_queries, query_tool
from agent.planning.small_model.stepwise import plan_in_stages
from agent.settings import Settings
from agent.tools.toolbox import Toolbox


class Planned(BaseModel):
    """A plan that compiles; `plan` is its document with the arguments as preflight would have them."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    plan: dict[str, JsonValue]
    compiled: CompiledPlan
    #: What preflight found, by task id.
    findings: Mapping[str, Preflight]
    #: How often the model was given problems to mend.
    repairs: int
    usage: Spent
    #: Why it may not be what was meant, where other plans for the goal were tried and no two found the same.
    doubt: str = ""


class NotPlanned(BaseModel):
    """No plan came of it; `problems` are sentences."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    problems: tuple[str, ...]
    usage: Spent


class Wanting(BaseModel):
    """There is no plan yet: the model asks to know more first, and is to be asked again with the answers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    questions: tuple[Call, ...]
    usage: Spent


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
    ahead: HeadStart | None = None,
    may_ask: bool = False,
    guidance: Sequence[str] = (),
) -> Planned | NotPlanned | Wanting:
    """Plan `goal` with the tools of `toolbox`; `context` is what the tools say of themselves, as text.

    A large model writes the plan at once, a small one as a script or in stages. Problems go back to it, at most
    `settings.max_repairs` times. A server that gives no reply is a problem too. `ahead` is handed the tasks of a plan
    that is written at once while it is written; the caller ends it. Where it `may_ask`, a large model can want to know
    more before it plans. `guidance` is what a person has said of plans before.
    """
    desk = Desk(
        # Whatever reads a goal for what it asks reads these words too.
        goal=" ".join([goal, *guidance]),
        context=context,
        toolbox=toolbox,
        model=model,
        limits=limits,
        max_repairs=settings.max_repairs,
        emit=emit,
        used=used or {},
        ahead=ahead,
        variants=settings.plan_variants,
        may_ask=may_ask,
    )
    if not desk.specs:
        return NotPlanned(problems=("There are no tools to plan with.",), usage=desk.tally.spent)
    emit(Thinking(role="planner", text=f"Planning with {model.name}."))
    try:
        found = await _way(desk)(desk)
    except ModelReplyError as error:
        return NotPlanned(problems=(str(error),), usage=desk.tally.spent)
    match found:
        case NoDraft(problems=problems):
            return NotPlanned(problems=problems, usage=desk.tally.spent)
        case Asked(questions=questions):
            return Wanting(questions=questions, usage=desk.tally.spent)
        case Draft(checked=checked, repairs=repairs, doubt=doubt):
            for task, finding in checked.findings.items():
                for note in finding.notes:
                    emit(Thinking(role="planner", text=f"Mended {task!r}: {note}"))
            return Planned(
                plan=as_document(checked.compiled.plan),
                compiled=checked.compiled,
                findings=checked.findings,
                repairs=repairs,
                usage=desk.tally.spent,
                doubt=doubt,
            )


def _way(desk: Desk) -> Callable[[Desk], Awaitable[Draft | NoDraft | Asked]]:
    """Return how the model plans best: a small one as code, over a database as SQL."""
    if desk.model.scale == "large":
        return plan_at_once
    if any(map(writes_sql, desk.specs.values())):
        return _queries_first
    return _best_reckoning if reckons(desk.specs) else _best_script


async def _queries_first(desk: Desk) -> Draft | NoDraft:
    """Plan as a notebook of queries, and in stages where that fits worse, comes to nothing or is not sure.

    Where a goal goes on to speak of what it has found, a small model asks more of one text than it can write.
    """
    tool = query_tool(desk.specs)
    if tool is None or goes_on(desk.goal):
        return await plan_in_stages(desk)
    found = await plan_as_queries(desk, tool)
    if isinstance(found, Draft) and not found.doubt:
        return found
    staged = await plan_in_stages(desk)
    return found if isinstance(found, Draft) and (isinstance(staged, NoDraft) or staged.doubt) else staged


async def _best_reckoning(desk: Desk) -> Draft | NoDraft:
    return await agreed(desk, plan_by_reckoning, several=several_by_reckoning)


async def _best_script(desk: Desk) -> Draft | NoDraft:
    return await agreed(desk, plan_as_script)
