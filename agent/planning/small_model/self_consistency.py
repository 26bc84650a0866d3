"""A vote among several plans of a small model by their results, if the plans only read and can be tried out.

This is self-consistency (X. Wang et al., "Self-Consistency Improves Chain of Thought Reasoning", ICLR 2023) over the
results of plans instead of the text of answers. No more plans are made than it takes to decide (P. Aggarwal et al.,
"Let's Sample Step by Step", EMNLP 2023).
"""

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Final

from pydantic import JsonValue

from agent.core.engine.outcomes import Done
from agent.core.plan.hashing import to_canonical_json
from agent.events import Thinking
from agent.execution.early_execution import EarlyExecution
from agent.planning.session import DraftFailure, PlanDraft, PlanningSession
from agent.results.markdown import extract_rows
from agent.results.summary import preview_value

PlanFunction = Callable[[PlanningSession], Awaitable[PlanDraft | DraftFailure]]
#: Makes the given number of plans in one call of the model, which ends when no more of them are wanted.
BatchPlanFunction = Callable[[PlanningSession, int], AsyncGenerator[PlanDraft | DraftFailure, None]]
#: Numbers that agree to this many digits count as equal: they were computed in another order.
_SIGNIFICANT_DIGITS: Final = 9
#: So many votes for a result end the vote; one more if the checks find something wrong in each plan that has it.
_ENOUGH_VOTES, _ENOUGH_VOTES_IF_CONCERNED = 2, 3
#: Characters of each plan's result in the doubt that a human sees.
_MAX_PREVIEW_LENGTH: Final = 120


async def plan_by_vote(
    session: PlanningSession,
    plan: PlanFunction,
    *,
    plan_batch: BatchPlanFunction | None = None,
    may_end: Callable[[], bool] = lambda: True,
) -> PlanDraft | DraftFailure:
    """Return the plan whose result most of up to `session.variants` plans share, or the first if all results differ.

    No further plan is made once two agree, or once no two can any more. A result that a plan without concerns gives
    goes before one that only plans with concerns give. A failed draft casts no vote. Plans are tried out if all their
    tools only read, need no approval, are idempotent and not open-world; if the first is not such a plan, it is
    returned as it is. The results of a trial are reused when the plan runs. If the model's server writes several texts
    at once, `plan_batch` makes the plans, and `plan` one more if none of them compiles. `may_end` says whether what
    else the caller takes from the plans that were made is there.
    """
    early_execution = session.early_execution
    if early_execution is None or session.variants == 1:
        return await plan(session)
    failure: DraftFailure | None = None
    first: PlanDraft | None = None
    candidates: dict[str, _Candidate] = {}
    drafts = (
        _plan_in_batches(session, plan, plan_batch, candidates, may_end)
        if plan_batch and session.model.max_parallel_texts > 1
        else _plan_one_by_one(session, plan, candidates)
    )
    async with aclosing(drafts):
        async for draft in drafts:
            if isinstance(draft, DraftFailure):
                failure = failure or draft
                continue
            read_only = _is_read_only(draft)
            if first is None and not read_only:
                return draft
            first = first or draft
            outputs = await _try_draft(draft, early_execution) if read_only else None
            if outputs is not None:
                result = "\n".join(sorted(map(_normalize_result, outputs)))
                summary = " and ".join(preview_value(one, max_length=_MAX_PREVIEW_LENGTH) for one in outputs)
                is_empty = not any(map(_has_value, outputs))
                candidates[result] = _count_vote(candidates.get(result), draft, summary, finds_nothing=is_empty)
    _tell_variant(session, 1, of=1)
    if first is None:
        return failure or DraftFailure(problems=("The model's server gave no text.",), repairs=0)
    return _choose_draft(first, list(candidates.values()), session, early_execution)


async def _plan_one_by_one(
    session: PlanningSession, plan: PlanFunction, candidates: Mapping[str, "_Candidate"]
) -> AsyncGenerator[PlanDraft | DraftFailure, None]:
    _tell_variant(session, 1)
    draft = await plan(_limit_repairs(session))
    has_plan = isinstance(draft, PlanDraft)
    yield draft
    for number in range(1, session.variants):
        if _is_decided(list(candidates.values()), left=session.variants - number, has_plan=has_plan):
            return
        session.emit(
            Thinking(role="planner", text=f"Planning in another way, {number + 1} of at most {session.variants}.")
        )
        _tell_variant(session, number + 1)
        draft = await plan(replace(session, variant=number, max_repairs=0))
        has_plan = has_plan or isinstance(draft, PlanDraft)
        yield draft


async def _plan_in_batches(
    session: PlanningSession,
    plan: PlanFunction,
    plan_batch: BatchPlanFunction,
    candidates: Mapping[str, "_Candidate"],
    may_end: Callable[[], bool],
) -> AsyncGenerator[PlanDraft | DraftFailure, None]:
    """Make as many plans at once as can agree, then the rest: on two cores each one more makes all of them slower."""
    made, wanted, has_plan = 0, _ENOUGH_VOTES, False
    while made < session.variants:
        number = min(wanted, session.variants - made, session.model.max_parallel_texts)
        session.emit(Thinking(role="planner", text=f"Planning in {number} ways at once."))
        before = made
        async with aclosing(plan_batch(replace(session, variant=made), number)) as drafts:
            async for draft in drafts:
                made, has_plan = made + 1, has_plan or isinstance(draft, PlanDraft)
                yield draft
                left = session.variants - made
                if _is_decided(list(candidates.values()), left=left, has_plan=has_plan) and may_end():
                    return
        if made < before + number:
            break
        wanted = session.variants
    if not has_plan:
        yield await plan(_limit_repairs(session))


def _tell_variant(session: PlanningSession, number: int, *, of: int | None = None) -> None:
    if session.progress is not None:
        session.progress.begin_variant(number, of=session.variants if of is None else of)


def _limit_repairs(session: PlanningSession) -> PlanningSession:
    # Shown its problems, a small model mostly writes the same again: another draft is worth more than another repair.
    return replace(session, max_repairs=min(session.max_repairs, 1))


def _is_decided(candidates: Sequence["_Candidate"], *, left: int, has_plan: bool) -> bool:
    """Return whether `left` more plans are not worth making: enough agree, or no two of all can agree any more."""
    if has_plan and not candidates and left < _ENOUGH_VOTES:
        return True
    return any(
        each.votes >= (_ENOUGH_VOTES_IF_CONCERNED if each.draft.concerns else _ENOUGH_VOTES) for each in candidates
    )


@dataclass(frozen=True, slots=True)
class _Candidate:
    """A plan, a short text of its result, and how many plans gave that result."""

    draft: PlanDraft
    summary: str
    votes: int = 1
    finds_nothing: bool = False


def _count_vote(known: _Candidate | None, draft: PlanDraft, summary: str, *, finds_nothing: bool) -> _Candidate:
    """Return the candidate with one vote more; the first draft stays unless only the new one has no concerns."""
    if known is None:
        return _Candidate(draft, summary, finds_nothing=finds_nothing)
    is_cleaner = bool(known.draft.concerns) and not draft.concerns
    return replace(known, draft=draft if is_cleaner else known.draft, votes=known.votes + 1)


def _rank_candidate(candidate: _Candidate) -> tuple[bool, bool, bool, int]:
    """Return what is compared of two candidates: those that agree first, then those without concerns.

    One with concerns that finds nothing goes last: that it finds nothing bears the concerns out.
    """
    agrees, has_concerns = candidate.votes >= _ENOUGH_VOTES, bool(candidate.draft.concerns)
    return not (has_concerns and candidate.finds_nothing), agrees, not has_concerns, candidate.votes


def _is_read_only(draft: PlanDraft) -> bool:
    policies = [draft.checked.compiled.get_spec(task).policy for task in draft.checked.compiled.tasks]
    asks = any(task.requires_approval for task in draft.checked.compiled.tasks.values())
    return not asks and all(
        each.read_only and each.idempotent and not each.open_world and not each.dispatched_only for each in policies
    )


async def _try_draft(draft: PlanDraft, early_execution: EarlyExecution) -> list[JsonValue] | None:
    """Run a plan and return its final outputs: those that no other task uses. None if one of them is missing."""
    _start_tasks(draft, early_execution)
    outcomes = await early_execution.wait_for_outcomes()
    compiled = draft.checked.compiled
    used = {need for needs in compiled.needs.values() for need in needs}
    final = [outcomes.get(task) for task in compiled.order if task not in used]
    outputs = [outcome.output for outcome in final if isinstance(outcome, Done)]
    return outputs if len(outputs) == len(final) else None


def _start_tasks(draft: PlanDraft, early_execution: EarlyExecution) -> None:
    early_execution.begin_text()
    for task in draft.checked.compiled.plan.tasks:
        early_execution.add_task(task.model_dump(mode="json", exclude_defaults=True))


def _choose_draft(
    first: PlanDraft,
    candidates: Sequence[_Candidate],
    session: PlanningSession,
    early_execution: EarlyExecution,
) -> PlanDraft:
    # The first of equals: `max` keeps it.
    best = max(candidates, key=_rank_candidate, default=_Candidate(first, "", votes=0))
    all_differ, tried = best.votes < _ENOUGH_VOTES, sum(each.votes for each in candidates)
    agreement = "no two of them agree" if all_differ else f"{best.votes} agree"
    session.emit(Thinking(role="planner", text=f"Of {tried} plans that have a result {agreement}."))
    chosen = best.draft
    # Started again, so that the calls of this plan, and of no other, are kept for its run.
    _start_tasks(chosen, early_execution)
    if not all_differ:
        agreement = f"{best.votes} of {tried} plans that were tried gave the same result."
        rivals = sum(each.votes for each in candidates if each is not best and not each.draft.concerns)
        return replace(chosen, agreement=agreement, votes=best.votes, rivals=rivals, finds_nothing=best.finds_nothing)
    results = [best.summary, *(each.summary for each in candidates if each is not best)] if candidates else []
    is_first = not candidates or best is candidates[0]
    return replace(chosen, doubt=_describe_doubt(results, taken="first" if is_first else "one without concerns"))


def _describe_doubt(results: Sequence[str], *, taken: str) -> str:
    """Return a sentence about plans whose results all differ, given in short with that of the chosen plan first."""
    match len(results):
        case 0:
            return "Plans for this goal were tried, and none comes to a result."
        case 1:
            return f"Of the plans that were tried for this goal only one comes to a result: {results[0]}."
        case number:
            each = "; ".join(f"({place}) {one}" for place, one in enumerate(results, start=1))
            return (
                f"{number} plans were tried for this goal, and each finds something else: {each}. Taken: the {taken}."
            )


def _has_value(output: JsonValue) -> bool:
    """Whether an output has anything but empty rows."""
    rows = extract_rows(output)
    return output is not None if rows is None else any(value is not None for row in rows for value in row.values())


def _normalize_result(output: JsonValue) -> str:
    """Return an output as a text that is equal for equal results.

    The order of rows and the names of their columns do not count: each plan chooses its own.
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
