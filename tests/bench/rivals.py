"""The same plan run by less: bare asyncio, and a LangGraph loop written the usual way."""

import asyncio
import operator
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any, TypedDict
from uuid import uuid4

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.graph import START, StateGraph
from langgraph.types import Command, Send

from tests.bench.workloads import Workload

#: Runs a workload; a float that it returns is how long that took by its own account.
Runner = Callable[[Workload], Awaitable[object]]


async def bare_dataflow(workload: Workload, *, scale: float = 1.0) -> float:
    """Run each task as soon as its needs are done, with nothing but coroutines; return the seconds."""
    done = {step.id: asyncio.Event() for step in workload.steps}

    async def work(name: str, needs: tuple[str, ...], seconds: float) -> None:
        for need in needs:
            await done[need].wait()
        await asyncio.sleep(seconds * scale)
        done[name].set()

    now = asyncio.get_running_loop().time
    begun = now()
    await asyncio.gather(*(work(step.id, step.needs, step.seconds) for step in workload.steps))
    return now() - begun


async def gathered_waves(workload: Workload) -> None:
    """Run level by level with `asyncio.gather`."""
    seconds = {step.id: step.seconds for step in workload.steps}
    results: dict[str, str] = {}

    async def work(name: str) -> None:
        if seconds[name] > 0:
            await asyncio.sleep(seconds[name])
        results[name] = name

    for level in workload.levels():
        await asyncio.gather(*map(work, level))
    if len(results) != len(workload.steps):
        raise AssertionError(f"{len(results)} of {len(workload.steps)} tasks were done")


class _State(TypedDict):
    steps: list[dict[str, Any]]
    results: Annotated[dict[str, str], operator.or_]


class _Order(TypedDict):
    step: dict[str, Any]


def send_loop(saver: BaseCheckpointSaver[Any]) -> Runner:
    """Return a plan-and-execute loop as it is usually written: a dict with a reducer, a `Send` for each ready task."""

    def dispatch(state: _State) -> Command[str]:
        results = state["results"]
        ready = [
            step for step in state["steps"] if step["id"] not in results and all(n in results for n in step["needs"])
        ]
        return Command(goto=[Send("execute", {"step": step}) for step in ready])

    async def execute(order: _Order) -> dict[str, Any]:
        step = order["step"]
        if step["seconds"] > 0:
            await asyncio.sleep(step["seconds"])
        return {"results": {step["id"]: step["id"]}}

    builder = StateGraph(_State)
    builder.add_node("dispatch", dispatch, destinations=("execute",))
    builder.add_node("execute", execute, input_schema=_Order)
    builder.add_edge(START, "dispatch")
    builder.add_edge("execute", "dispatch")
    return partial(_looped, builder.compile(checkpointer=saver))


async def _looped(graph: Any, workload: Workload) -> None:
    steps = [{"id": s.id, "needs": list(s.needs), "seconds": s.seconds} for s in workload.steps]
    config = {"configurable": {"thread_id": uuid4().hex}, "recursion_limit": 2 * len(steps) + 10}
    out = await graph.ainvoke({"steps": steps, "results": {}}, config, durability="sync")
    if len(out["results"]) != len(steps):
        raise AssertionError(f"{len(out['results'])} of {len(steps)} tasks were done")
