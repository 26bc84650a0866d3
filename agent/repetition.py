"""The calls of a `for_each`: side by side, the outputs in order."""

import asyncio

from agent.attempts import Attempts, CallFailed, CallResult
from agent.core.call import Arguments
from agent.events import Emit
from agent.slots import Slots, Urgency


async def all_items(
    attempts: Attempts, calls: tuple[Arguments, ...], *, slots: Slots, urgency: Urgency, emit: Emit
) -> CallResult | CallFailed:
    """Make every call and return the list of outputs, or the first failure in order; every item is tried."""
    async with asyncio.TaskGroup() as group:
        running = [
            group.create_task(attempts.make(args, item=index, slots=slots, urgency=urgency, emit=emit))
            for index, args in enumerate(calls)
        ]
    results = [task.result() for task in running]
    made = sum(result.attempts for result in results)
    started = min((result.started_at for result in results if result.started_at), default=None)
    failed = [(index, result) for index, result in enumerate(results) if isinstance(result, CallFailed)]
    if failed:
        index, first = failed[0]
        error = f"{len(failed)} of {len(calls)} items failed, first item {index}: {first.error}"
        return CallFailed(first.kind, error, made, started)
    return CallResult([result.output for result in results if isinstance(result, CallResult)], made, started)
