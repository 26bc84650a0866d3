"""The calls of a `for_each`: side by side, the outputs in order."""

import asyncio

from agent.attempts import CallFailed, CallInDoubt, CallMade, CallResult, Maker
from agent.core.call import Arguments
from agent.events import Emit
from agent.slots import Halted, Slots, Urgency


async def all_items(
    maker: Maker, calls: tuple[Arguments, ...], *, slots: Slots, urgency: Urgency, emit: Emit
) -> CallResult | CallFailed | tuple[CallInDoubt, ...]:
    """Make every call and return the list of outputs, the doubts, or the first failure; every item is tried.

    Raises `Halted` where the run is stopped before every item was begun, once those that were have ended.
    """

    async def one(args: Arguments, index: int) -> CallMade | Halted:
        try:
            return await maker.make(args, item=index, slots=slots, urgency=urgency, emit=emit)
        except Halted as halted:
            # Raised inside the group, it would cancel the items that are under way.
            return halted

    async with asyncio.TaskGroup() as group:
        running = [group.create_task(one(args, index)) for index, args in enumerate(calls)]
    results = []
    for task in running:
        made_or_not = task.result()
        if isinstance(made_or_not, Halted):
            raise made_or_not
        results.append(made_or_not)
    made = sum(result.attempts for result in results)
    started = min((result.started_at for result in results if result.started_at), default=None)
    doubtful = tuple(result for result in results if isinstance(result, CallInDoubt))
    if doubtful:
        return doubtful
    failed = [(index, result) for index, result in enumerate(results) if isinstance(result, CallFailed)]
    if failed:
        index, first = failed[0]
        error = f"{len(failed)} of {len(calls)} items failed, first item {index}: {first.error}"
        return CallFailed(first.kind, error, made, started)
    return CallResult([result.output for result in results if isinstance(result, CallResult)], made, started)
