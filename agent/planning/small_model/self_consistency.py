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
from agent.core.plan.hashing import canonical
from agent.events import Thinking
from agent.execution.early_execution import HeadStart
from agent.planning.session import Desk, Draft, NoDraft
from agent.results.markdown import rows_of
from agent.results.summary import preview

Planning = Callable[[Desk], Awaitable[Draft | NoDraft]]
#: Makes so many plans at once.
Several = Callable[[Desk, int], Awaitable[Sequence[Draft | NoDraft]]]
#: Numbers that differ behind this many digits were worked out in another order, and are the same.
_DIGITS: Final = 9
#: By so many plans a result must lead for no more to be made.
_LEAD: Final = 2
#: A person is told so much of what a plan finds.
_LETTERS: Final = 120


async def agreed(desk: Desk, plan: Planning, *, several: Several | None = None) -> Draft | NoDraft:
    """Return the plan whose result most of up to `desk.variants` plans have; the first one where none is repeated.

    Where one way comes to no plan, the next is tried. Plans are tried out where all their tools only read, unasked and
    in a closed world, and give the same for the same; else the first is returned as it is. What a try has found is used
    when the plan runs. Where the model's server writes several texts at once, `several` makes the plans, and where none
    of them compiles, `plan` one more.
    """
    ahead = desk.ahead
    if ahead is None or desk.variants == 1:
        return await plan(desk)
    none: NoDraft | None = None
    first: Draft | None = None
    found: dict[str, _Found] = {}
    votes: Counter[str] = Counter()
    together = min(desk.variants, desk.model.at_once)
    ways = _at_once(desk, plan, several, together) if several and together > 1 else _one_by_one(desk, plan, votes)
    async with aclosing(ways):
        async for draft in ways:
            if isinstance(draft, NoDraft):
                none = none or draft
                continue
            looks = _only_looks(draft)
            if first is None and not looks:
                return draft
            first = first or draft
            outputs = _last_outputs(draft.checked.compiled, await _tried(draft, ahead)) if looks else None
            if outputs is not None:
                result = "\n".join(sorted(map(_comparable, outputs)))
                votes[result] += 1
                found.setdefault(result, _Found(draft, " and ".join(preview(one, letters=_LETTERS) for one in outputs)))
    if first is None:
        return none or NoDraft(problems=("The model's server gave no text.",), repairs=0)
    return await _chosen(first, found, votes, desk, ahead)


async def _one_by_one(desk: Desk, plan: Planning, votes: Counter[str]) -> AsyncGenerator[Draft | NoDraft, None]:
    yield await plan(_repaired_once(desk))
    for number in range(1, desk.variants):
        if _decided(votes, left=desk.variants - number):
            return
        desk.emit(Thinking(role="planner", text=f"Planning in another way, {number + 1} of at most {desk.variants}."))
        yield await plan(replace(desk, variant=number, max_repairs=0))


async def _at_once(desk: Desk, plan: Planning, several: Several, number: int) -> AsyncGenerator[Draft | NoDraft, None]:
    desk.emit(Thinking(role="planner", text=f"Planning in {number} ways at once."))
    drafts = await several(desk, number)
    for draft in drafts:
        yield draft
    if not any(isinstance(draft, Draft) for draft in drafts):
        yield await plan(_repaired_once(desk))


def _repaired_once(desk: Desk) -> Desk:
    # Told what is wrong, a small model mostly writes the same again: rather another way than another repair.
    return replace(desk, max_repairs=min(desk.max_repairs, 1))


@dataclass(frozen=True, slots=True)
class _Found:
    """A plan, and what it finds in a few words."""

    draft: Draft
    words: str


async def _chosen(
    first: Draft, found: Mapping[str, _Found], votes: Counter[str], desk: Desk, ahead: HeadStart
) -> Draft:
    chosen = found[votes.most_common(1)[0][0]].draft if votes else first
    alone = not votes or max(votes.values()) == 1
    told = "no two of them agree" if alone else f"{max(votes.values())} agree"
    desk.emit(Thinking(role="planner", text=f"Of {votes.total()} plans that lead to a result {told}."))
    # Begun once more, so that the calls of this plan and of no other are kept for its run.
    _begin(chosen, ahead)
    return replace(chosen, doubt=_doubt([each.words for each in found.values()]) if alone else "")


def _doubt(words: Sequence[str]) -> str:
    """Return the sentence about plans of which each finds something else, the chosen one first."""
    match len(words):
        case 0:
            return "Plans for this goal were tried, and none comes to a result."
        case 1:
            return f"Of the plans that were tried for this goal only one comes to a result: {words[0]}."
        case number:
            each = "; ".join(f"({place}) {one}" for place, one in enumerate(words, start=1))
            return f"{number} plans were tried for this goal, and each finds something else: {each}. Taken: the first."


def _only_looks(draft: Draft) -> bool:
    policies = [draft.checked.compiled.spec(task).policy for task in draft.checked.compiled.tasks]
    asks = any(task.requires_approval for task in draft.checked.compiled.tasks.values())
    return not asks and all(
        each.read_only and each.idempotent and not each.open_world and not each.dispatched_only for each in policies
    )


async def _tried(draft: Draft, ahead: HeadStart) -> Mapping[str, Outcome]:
    _begin(draft, ahead)
    return await ahead.settled()


def _begin(draft: Draft, ahead: HeadStart) -> None:
    ahead.begin_text()
    for task in draft.checked.compiled.plan.tasks:
        ahead.take(task.model_dump(mode="json", exclude_defaults=True))


def _last_outputs(compiled: CompiledPlan, outcomes: Mapping[str, Outcome]) -> list[JsonValue] | None:
    """Return what the plan finds: the outputs that no task of it uses; None where it breaks off."""
    used = {need for needs in compiled.needs.values() for need in needs}
    last = [outcomes.get(task) for task in compiled.order if task not in used]
    outputs = [outcome.output for outcome in last if isinstance(outcome, Done)]
    return outputs if len(outputs) == len(last) else None


def _comparable(output: JsonValue) -> str:
    """Return an output as a text that is equal for equal results.

    Of rows neither their order nor the names of their columns count, which each plan chooses.
    """
    rows = rows_of(output)
    if rows is None:
        return canonical(_plain(output))
    return "\n".join(sorted(" ".join(sorted(canonical(_plain(value)) for value in row.values())) for row in rows))


def _plain(value: JsonValue) -> JsonValue:
    match value:
        case bool():
            return value
        case int() | float():
            return float(f"{value:.{_DIGITS}g}")
        case list():
            return [_plain(item) for item in value]
        case dict():
            return {key: _plain(item) for key, item in value.items()}
        case _:
            return value


def _decided(votes: Counter[str], *, left: int) -> bool:
    """Whether a result leads by two, or by more than the plans that are left could make up for."""
    first, second = ([number for _, number in votes.most_common(2)] + [0, 0])[:2]
    return first - second >= min(_LEAD, left + 1)
