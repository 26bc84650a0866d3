"""What the planner is told of the world: the outputs of the tools that give context."""

import asyncio
import json

from agent.core.outcome import Done
from agent.core.plan import Task
from agent.events import Emit, Thinking
from agent.executor import Executor, Job
from agent.planning.report import failure
from agent.slots import Slots
from agent.tools.catalogue import Toolbox

_LONGEST = 24_000


async def gathered(
    toolbox: Toolbox, executor: Executor, *, thread: str, revision: int, slots: Slots, emit: Emit
) -> str:
    """Call every context provider without arguments and return what they said, a section each.

    One that fails says why: planning goes on without it. Raises `Halted` where the run is stopped before all are
    asked.
    """

    async def one(name: str) -> str:
        emit(Thinking(role="context", text=f"Asking {name}"))
        question = Task(id=f"context_{name}", tool=name)
        told = await said(question, executor, toolbox, thread=thread, revision=revision, slots=slots, longest=_LONGEST)
        return f"## {name}\n{told}"

    providers = [name for name, spec in toolbox.specs.items() if spec.policy.context_provider]
    return "\n\n".join(await asyncio.gather(*map(one, providers)))


async def said(
    question: Task, executor: Executor, toolbox: Toolbox, *, thread: str, revision: int, slots: Slots, longest: int
) -> str:
    """Return what a reading tool says, in its own words where it has a method `as_context(output)`; else why not."""
    job = Job(
        task=question,
        spec=toolbox.specs[question.tool],
        needs=(),
        outcomes={},
        thread=thread,
        revision=revision,
        gated=False,
    )
    outcome = await executor.run(job, slots=slots, emit=lambda _: None)
    if not isinstance(outcome, Done):
        return failure(outcome)
    words = getattr(toolbox[question.tool], "as_context", None)
    text = words(outcome.output) if callable(words) else json.dumps(outcome.output, ensure_ascii=False)
    return text if len(text) <= longest else f"{text[:longest]}\n... ({len(text) - longest} more characters)"
