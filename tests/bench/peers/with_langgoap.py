"""langgoap: a planning strategy that returns the given plan, run by its LangGraph loop."""

import time
from uuid import uuid4

from langgoap import ActionSpec, GoalSpec, GoapGraph
from langgoap.planner.types import Plan
from langgraph.checkpoint.memory import InMemorySaver
from protocol import Step, serve


class _Given:
    """Hands out what is left of one plan."""

    def __init__(self, actions: list[ActionSpec]) -> None:
        self._actions = actions

    def plan(self, goal, start, actions, **options):
        return Plan(actions=tuple(self._actions))


def _action(step: Step) -> ActionSpec:
    async def work(state: dict) -> dict:
        return {step["id"]: True}

    return ActionSpec(
        name=step["id"],
        preconditions=dict.fromkeys(step["needs"], True),
        effects={step["id"]: True},
        execute=lambda state: {step["id"]: True},
        aexecute=work,
    )


async def measure(steps: list[Step]) -> float:
    """Run the plan with a checkpointer in memory; its builder wires the executor that takes one action at a time."""
    actions = [_action(step) for step in steps]
    begun = time.perf_counter()
    graph = GoapGraph(actions, strategy=_Given(actions)).compile(checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": uuid4().hex}, "recursion_limit": 10 * len(steps) + 50}
    goal = GoalSpec(conditions={step["id"]: True for step in steps})
    state = {"goal": goal, "world_state": {}}
    out = await graph.ainvoke(state, config)
    spent = time.perf_counter() - begun
    done = sum(result.success for result in out["execution_history"])
    if done != len(steps):
        raise RuntimeError(f"{done} of {len(steps)} actions were done: {out.get('status')}")
    return spent


if __name__ == "__main__":
    serve("langgoap", measure)
