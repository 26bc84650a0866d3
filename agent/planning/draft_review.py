"""The review of a small model's plan before it runs: what rules find wrong in it, and how sure it is."""

from collections.abc import Collection, Iterator, Sequence
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict

from agent.planning.session import PlanDraft, PlanningSession
from agent.planning.small_model.input_binding import is_sql_tool
from agent.tools.plan_check import CheckedPlan
from agent.tools.sql.query_process import run_cancellable


class Confidence(BaseModel):
    """How sure a plan of a small model is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: `sure`: several drafts gave the same result and no rule found anything. `unsure`: they differ, or a rule did.
    #: `untested`: no rule found anything, and the plan was not tried out.
    level: Literal["sure", "unsure", "untested"]
    #: Why, in sentences.
    reason: str

    def __str__(self) -> str:
        """Return one line for humans."""
        word = {"sure": "Sure", "unsure": "Not certain", "untested": "Not tried out"}[self.level]
        return f"{word}. {self.reason}"


#: How sure the plan is that a small model revised after a failure.
REVISED: Final = Confidence(level="untested", reason="The plan was revised after a failure, and not tried out.")


#: Points of doubt from which on a plan is called unsure, although no rule found anything wrong in it.
#: `tests/evals/README.md` has what these and other numbers call right and wrong.
_ENOUGH_DOUBT: Final = 2
#: How the check of a query begins what it says of a text that no row has; its other warnings tell how it is read.
_MISSING_VALUE: Final = "No row has"
#: The share of the plans with a result that must have the same one.
_MAJORITY: Final = 0.5


def rate_plan(draft: PlanDraft, *, notes: Sequence[str]) -> Confidence:
    """Return how sure a draft is; `notes` are what else makes it doubtful.

    What a rule found wrong makes it unsure by itself. Weaker signs have points, and enough of them together do, too.
    """
    if doubts := " ".join(filter(None, (draft.doubt, *draft.concerns, *notes))):
        return Confidence(level="unsure", reason=doubts)
    signs = dict(_find_signs(draft))
    if sum(signs.values()) >= _ENOUGH_DOUBT:
        return Confidence(level="unsure", reason=" ".join(signs))
    if draft.agreement:
        return Confidence(level="sure", reason=f"{draft.agreement} The checks of the plan found nothing.")
    return Confidence(
        level="untested", reason="The checks of the plan found nothing, but only one plan was made and none was tried."
    )


def _find_signs(draft: PlanDraft) -> Iterator[tuple[str, int]]:
    """Yield each weaker sign that a draft is wrong, as a sentence, with its points."""
    findings = draft.checked.findings
    for warning in dict.fromkeys(each for finding in findings.values() for each in finding.warnings):
        if warning.startswith(_MISSING_VALUE):
            yield warning, _ENOUGH_DOUBT
    if draft.rivals:
        share = draft.votes / (draft.votes + draft.rivals)
        yield f"{draft.agreement} Others found something else.", 1 if share > _MAJORITY else 2
    if draft.finds_nothing:
        yield "It finds nothing.", 1


async def review_queries(
    checked: CheckedPlan, session: PlanningSession, *, tasks: Collection[str] | None = None
) -> tuple[str, ...]:
    """Return what looks wrong in the queries of a plan, or in those of `tasks`, in sentences.

    The tool that runs a query reviews it, if it has the methods for it. What the result of a query is used for is
    known: only one that no other task uses has to show names.
    """
    if not session.repairs_arguments:
        return ()
    compiled, found = checked.compiled, list[str]()
    used = {need for needs in compiled.needs.values() for need in needs}
    queries = [task for task in compiled.plan.tasks if is_sql_tool(session.toolbox.specs[task.tool])]
    for task in queries:
        review = getattr(session.toolbox[task.tool], "review_query", None)
        sql = task.args.get("sql")
        if callable(review) and isinstance(sql, str) and (tasks is None or task.id in tasks):
            goal = session.goal if len(queries) == 1 else task.description
            found += await run_cancellable(review, sql, goal, task.id not in used or len(queries) == 1)
    return tuple(dict.fromkeys(found))


async def review_coverage(checked: CheckedPlan, session: PlanningSession) -> tuple[str, ...]:
    """Return what the goal names and no call of the plan does, in sentences."""
    if not session.repairs_arguments:
        return ()
    tasks = checked.compiled.plan.tasks
    texts = [f"{task.args}" for task in tasks]
    reviews = {
        task.tool: review
        for task in tasks
        if callable(review := getattr(session.toolbox[task.tool], "review_coverage", None))
    }
    found: list[str] = []
    for review in reviews.values():
        found += await run_cancellable(review, texts, session.goal)
    return tuple(dict.fromkeys(found))
