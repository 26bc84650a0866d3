"""The plan that several of a small model's plans agree with by what they find, where finding out changes nothing.

Self-consistency (X. Wang et al., "Self-Consistency Improves Chain of Thought Reasoning", ICLR 2023), over the results
of plans instead of the words of answers; no more plans are made than it takes to decide (P. Aggarwal et al., "Let's
Sample Step by Step", EMNLP 2023).
"""

from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final

from pydantic import JsonValue

from agent.core.compiler.compiler import CompiledPlan
from agent.core.engine.outcomes import Done, Outcome
from agent.core.plan.hashing import to_canonical_json
from agent.events import Thinking
from agent.execution.early_execution import EarlyExecution
from agent.planning.session import DraftFailure, PlanDraft, PlanningSession
from agent.results.markdown import extract_rows
from agent.results.summary import preview_value

PlanFunction = Callable[[PlanningSession], Awaitable[PlanDraft | DraftFailure]]
#: Makes so many plans at once.
BatchPlanFunction = Callable[[PlanningSession, int], Awaitable[Sequence[PlanDraft | DraftFailure]]]
#: Numbers that differ behind this many digits were worked out in another order, and are the same.
_SIGNIFICANT_DIGITS: Final = 9
#: By so many plans a result must lead for no more to be made.
_REQUIRED_LEAD: Final = 2
#: A person is told so much of what a plan finds.
_MAX_PREVIEW_LENGTH: Final = 120


async def plan_by_vote(
    session: PlanningSession, plan: PlanFunction, *, plan_batch: BatchPlanFunction | None = None
) -> PlanDraft | DraftFailure:
    """Return the plan whose result most of up to `desk.variants` plans have; the first one where none is repeated.

    Where one way comes to no plan, the next is tried. Plans are tried out where all their tools only read, unasked and
    in a closed world, and give the same for the same; else the first is returned as it is. What a try has found is used
    when the plan runs. Where the model's server writes several texts at once, `several` makes the plans, and where none
    of them compiles, `plan` one more.
    """
    early_execution = session.early_execution
    if early_execution is None or session.variants == 1:
        return await plan(session)
    none: DraftFailure | None = None
    first: PlanDraft | None = None
    found: dict[str, _Candidate] = {}
    votes: Counter[str] = Counter()
    together = min(session.variants, session.model.max_parallel_texts)
    ways = (
        _plan_all_at_once(session, plan, plan_batch, together)
        if plan_batch and together > 1
        else _plan_one_by_one(session, plan, votes)
    )
    async with aclosing(ways):
        async for draft in ways:
            if isinstance(draft, DraftFailure):
                none = none or draft
                continue
            looks = _is_read_only(draft)
            if first is None and not looks:
                return draft
            first = first or draft
            outputs = (
                _find_final_outputs(draft.checked.compiled, await _try_draft(draft, early_execution)) if looks else None
            )
            if outputs is not None:
                result = "\n".join(sorted(map(_normalize_result, outputs)))
                votes[result] += 1
                found.setdefault(
                    result,
                    _Candidate(
                        draft, " and ".join(preview_value(one, max_length=_MAX_PREVIEW_LENGTH) for one in outputs)
                    ),
                )
    if first is None:
        return none or DraftFailure(problems=("The model's server gave no text.",), repairs=0)
    return await _choose_draft(first, found, votes, session, early_execution)


async def _plan_one_by_one(
    session: PlanningSession, plan: PlanFunction, votes: Counter[str]
) -> AsyncGenerator[PlanDraft | DraftFailure, None]:
    yield await plan(_limit_repairs(session))
    for number in range(1, session.variants):
        if _has_winner(votes, left=session.variants - number):
            return
        session.emit(
            Thinking(role="planner", text=f"Planning in another way, {number + 1} of at most {session.variants}.")
        )
        yield await plan(replace(session, variant=number, max_repairs=0))


async def _plan_all_at_once(
    session: PlanningSession, plan: PlanFunction, plan_batch: BatchPlanFunction, number: int
) -> AsyncGenerator[PlanDraft | DraftFailure, None]:
    session.emit(Thinking(role="planner", text=f"Planning in {number} ways at once."))
    drafts = await plan_batch(session, number)
    for draft in drafts:
        yield draft
    if not any(isinstance(draft, PlanDraft) for draft in drafts):
        yield await plan(_limit_repairs(session))


def _limit_repairs(session: PlanningSession) -> PlanningSession:
    # Told what is wrong, a small model mostly writes the same again: rather another way than another repair.
    return replace(session, max_repairs=min(session.max_repairs, 1))


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A plan, and what it finds in a few words."""

    draft: PlanDraft
    summary: str


async def _choose_draft(
    first: PlanDraft,
    found: Mapping[str, _Candidate],
    votes: Counter[str],
    session: PlanningSession,
    early_execution: EarlyExecution,
) -> PlanDraft:
    chosen = found[votes.most_common(1)[0][0]].draft if votes else first
    alone = not votes or max(votes.values()) == 1
    told = "no two of them agree" if alone else f"{max(votes.values())} agree"
    session.emit(Thinking(role="planner", text=f"Of {votes.total()} plans that lead to a result {told}."))
    # Begun once more, so that the calls of this plan and of no other are kept for its run.
    _begin_tasks(chosen, early_execution)
    return replace(chosen, doubt=_describe_doubt([each.summary for each in found.values()]) if alone else "")


def _describe_doubt(words: Sequence[str]) -> str:
    """Return the sentence about plans of which each finds something else, the chosen one first."""
    match len(words):
        case 0:
            return "Plans for this goal were tried, and none comes to a result."
        case 1:
            return f"Of the plans that were tried for this goal only one comes to a result: {words[0]}."
        case number:
            each = "; ".join(f"({place}) {one}" for place, one in enumerate(words, start=1))
            return f"{number} plans were tried for this goal, and each finds something else: {each}. Taken: the first."


def _is_read_only(draft: PlanDraft) -> bool:
    policies = [draft.checked.compiled.get_spec(task).policy for task in draft.checked.compiled.tasks]
    asks = any(task.requires_approval for task in draft.checked.compiled.tasks.values())
    return not asks and all(
        each.read_only and each.idempotent and not each.open_world and not each.dispatched_only for each in policies
    )


async def _try_draft(draft: PlanDraft, early_execution: EarlyExecution) -> Mapping[str, Outcome]:
    _begin_tasks(draft, early_execution)
    return await early_execution.wait_for_outcomes()


def _begin_tasks(draft: PlanDraft, early_execution: EarlyExecution) -> None:
    early_execution.begin_text()
    for task in draft.checked.compiled.plan.tasks:
        early_execution.add_task(task.model_dump(mode="json", exclude_defaults=True))


def _find_final_outputs(compiled: CompiledPlan, outcomes: Mapping[str, Outcome]) -> list[JsonValue] | None:
    """Return what the plan finds: the outputs that no task of it uses; None where it breaks off."""
    used = {need for needs in compiled.needs.values() for need in needs}
    last = [outcomes.get(task) for task in compiled.order if task not in used]
    outputs = [outcome.output for outcome in last if isinstance(outcome, Done)]
    return outputs if len(outputs) == len(last) else None


def _normalize_result(output: JsonValue) -> str:
    """Return an output as a text that is equal for equal results.

    Of rows neither their order nor the names of their columns count, which each plan chooses.
    """
    rows = extract_rows(output)
    if rows is None:
        return to_canonical_json(_round_numbers(output))
    return "\n".join(
        sorted(" ".join(sorted(to_canonical_json(_round_numbers(value)) for value in row.values())) for row in rows)
    )


def _round_numbers(value: JsonValue) -> JsonValue:
    match value:
        case bool():
            return value
        case int() | float():
            return float(f"{value:.{_SIGNIFICANT_DIGITS}g}")
        case list():
            return [_round_numbers(item) for item in value]
        case dict():
            return {key: _round_numbers(item) for key, item in value.items()}
        case _:
            return value


def _has_winner(votes: Counter[str], *, left: int) -> bool:
    """Whether a result leads by two, or by more than the plans that are left could make up for."""
    first, second = ([number for _, number in votes.most_common(2)] + [0, 0])[:2]
    return first - second >= min(_REQUIRED_LEAD, left + 1)
