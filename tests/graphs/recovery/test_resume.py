"""Runs taken up again: after SIGKILL in a wave, and from each of their checkpoints."""

import asyncio
import random
import signal
from collections import Counter

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from agent.settings import Settings
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from tests.graphs.recovery import slow_run
from tests.support.processes import start, wait_for
from tests.support.worlds import APPROVE, World, ref, thread

SEED = 20261121


async def recorded(url, log):
    """Return the tasks whose results are stored; one that the log saw end may have been killed a moment before that."""
    async with open_persistence(url) as persistence:
        graph = build_graph(tools=[slow_run.noting(log)], persistence=persistence)
        state = await graph.aget_state(thread())
    written = [(task.result or {}).get("results", {}) for task in state.tasks]
    return {*state.values.get("results", {}), *(name for results in written for name in results)}


@pytest.mark.parametrize("dispatch", ["eager", "wave"])
@pytest.mark.parametrize("seen", ["start a1", "end b1", "end a2", "end long", "start a2b2long"])
async def test_a_killed_run_goes_on_and_repeats_nothing_that_was_recorded(tmp_path, dispatch, seen):
    url, log = f"sqlite:///{tmp_path}/run.db", tmp_path / "log"
    jitter = random.Random(f"{SEED} {dispatch} {seen}").uniform(0, 0.03)  # noqa: S311 - a moment to kill at
    print(f"seed {SEED}: killed {jitter * 1000:.1f} ms after {seen!r}")
    running = start("graphs.recovery.slow_run", url, log, dispatch)
    wait_for(log, seen, running)
    await asyncio.sleep(0.05 + jitter)
    running.send_signal(signal.SIGKILL)
    running.wait()
    kept = await recorded(url, log)
    resumed = start("graphs.recovery.slow_run", url, log, dispatch, "resume")
    out, _ = resumed.communicate(timeout=60)
    assert out.strip() == "completed"
    after = Counter(log.read_text().split("\n"))
    assert [task for task in kept if after[f"start {task}"] > 1] == []
    assert {line for line in after if line.startswith("end ")} >= {
        f"end {name}" for name in ("a1", "a2", "b1", "b2", "long", "a2b2long")
    }


@pytest.mark.parametrize("dispatch", ["eager", "wave"])
async def test_resuming_from_each_checkpoint_gives_the_same_results(dispatch):
    world = World()
    plan = {
        "tasks": [
            {"id": "a", "tool": "look", "args": {"value": 1}},
            {"id": "b", "tool": "look", "args": {"value": ref("a", "value")}},
            {"id": "w", "tool": "write", "args": {"value": ref("b", "value")}},
            {"id": "c", "tool": "look", "args": {"value": ref("w", "written")}},
            {"id": "d", "tool": "look", "args": {"value": [ref("c"), ref("a")]}},
        ]
    }
    graph = build_graph(tools=world.tools(), settings=Settings(dispatch=dispatch), checkpointer=InMemorySaver())
    await graph.ainvoke({"goal": "g", "plan": plan}, thread())
    final = await graph.ainvoke(Command(resume=APPROVE), thread())
    outputs = {task: result["output"] for task, result in final["results"].items()}
    checkpoints = [state async for state in graph.aget_state_history(thread()) if state.next]
    assert len(checkpoints) >= 6
    for state in checkpoints:
        out = await graph.ainvoke(None, state.config)
        if out["status"] == "awaiting_approval":
            out = await graph.ainvoke(Command(resume=APPROVE), thread())
        assert out["status"] == "completed", state.next
        assert {task: result["output"] for task, result in out["results"].items()} == outputs


async def test_a_fork_with_an_edited_plan_is_compiled_again_and_its_approvals_are_void():
    world = World()
    plan = {"tasks": [{"id": "w", "tool": "write", "args": {"value": 1}}]}
    graph = build_graph(tools=world.tools(), settings=Settings(), checkpointer=InMemorySaver())
    await graph.ainvoke({"goal": "g", "plan": plan}, thread())
    await graph.ainvoke(Command(resume=APPROVE), thread())
    approved = await anext(
        state async for state in graph.aget_state_history(thread()) if state.next == ("wave_dispatch",)
    )
    assert world.log == [("write", 1)]

    edited = {"tasks": [{"id": "w", "tool": "write", "args": {"value": 2}}]}
    fork = await graph.aupdate_state(approved.config, {"plan": edited}, as_node="human_approval")
    out = await graph.ainvoke(None, fork)
    assert out["status"] in {"awaiting_approval", "completed"}
    assert ("write", 2) not in world.log

    broken = {"tasks": [{"id": "w", "tool": "wrte", "args": {"value": 2}}]}
    first = [state async for state in graph.aget_state_history(thread()) if state.next == ("planner",)][-1]
    fork = await graph.aupdate_state(first.config, {"plan": broken}, as_node="planner")
    out = await graph.ainvoke(None, fork)
    assert out["status"] == "failed"
    assert "Did you mean 'write'?" in out["problems"][0]
