"""What a person's edit of a plan leaves standing of the work done so far."""

from collections.abc import Mapping

from agent.core.call import Ready, prepare
from agent.core.compile import CompiledPlan
from agent.core.outcome import Done, Outcome


def standing(compiled: CompiledPlan, outcomes: Mapping[str, Outcome], *, revision: int) -> dict[str, Outcome]:
    """Return the outcomes that hold under the edited plan; what is left out is done again.

    Finished work holds while its call and all that it rests on are what they were. A failure, a rejection or a skip
    does not: the edit may be its remedy. Outcomes of tasks that left the plan stay, to be found by fingerprint.
    """
    kept = {task: outcome for task, outcome in outcomes.items() if task not in compiled.tasks}
    for task in compiled.order:
        outcome = outcomes.get(task)
        if isinstance(outcome, Done) and _unchanged(task, outcome, compiled, kept, revision=revision):
            kept[task] = outcome
    return kept


def _unchanged(task: str, done: Done, compiled: CompiledPlan, kept: Mapping[str, Outcome], *, revision: int) -> bool:
    needs = compiled.needs[task]
    ready = prepare(compiled.tasks[task], compiled.spec(task), needs=needs, outcomes=kept, revision=revision)
    # What a person gave as the result was no call and has no fingerprint; it holds for the task as it stands.
    return isinstance(ready, Ready) and (done.answered_by_person or ready.fingerprint == done.fingerprint)
