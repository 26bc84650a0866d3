"""A thread that another process runs, as `threads`, `show` and the overview from Python tell it."""

import asyncio
import json
import signal
import time
from pathlib import Path

import httpx
import pytest

from agent.settings import Settings
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from graphs.thread_status import load_activity, summarize_thread
from tests.support.forked_child import KILLED, Child
from tests.support.worlds import READ, World, thread

PLAN = {
    "tasks": [
        {"id": "done", "tool": "look", "args": {"value": 1}},
        {"id": "read", "tool": "hold", "args": {"name": "read"}, "depends_on": ["done"]},
        {"id": "write", "tool": "change", "args": {"name": "write"}},
        {"id": "flaky", "tool": "fail", "max_retries": 3},
        {"id": "last", "tool": "look", "args": {"value": 2}, "depends_on": ["read", "write"]},
    ]
}


async def run(url: str, log: str, *, dispatch: str) -> None:
    """Run the plan, whose reading and writing tasks never end and whose third one is tried again in a minute."""
    world = World()

    def note(name: str) -> None:
        with Path(log).open("a") as file:
            file.write(f"{name}\n")

    async def hold(name: str) -> None:
        note(name)
        await asyncio.sleep(600)

    async def fail() -> None:
        note("flaky")
        response = httpx.Response(503, headers={"Retry-After": "60"}, request=httpx.Request("GET", "http://x"))
        raise httpx.HTTPStatusError("later", request=response.request, response=response)

    tools = [
        *world.tools(),
        world.tool("hold", hold, READ),
        world.tool("change", hold),
        world.tool("fail", fail, READ),
    ]
    async with open_persistence(url) as persistence:
        settings = Settings(dispatch=dispatch, approve="never")
        await build_graph(tools=tools, settings=settings, persistence=persistence).ainvoke(
            {"goal": "g", "plan": PLAN}, thread()
        )


def wait_until_begun(log: Path, names: set[str]) -> None:
    end = time.monotonic() + 60
    while not log.exists() or set(log.read_text().split()) < names:
        assert time.monotonic() < end
        time.sleep(0.02)


async def read_overview(url):
    async with open_persistence(url) as persistence:
        graph = build_graph(tools=World().tools(), persistence=persistence)
        state = await graph.aget_state(thread())
        activity = await load_activity(state, persistence, thread="t")
        return activity, summarize_thread(state, activity=activity)


@pytest.mark.parametrize("dispatch", ["eager", "wave"])
def test_a_thread_that_another_process_runs_is_running_with_its_running_and_retrying_tasks(
    planwave, tmp_path, dispatch
):
    url, log = planwave.env["PLANWAVE_DB"], tmp_path / "log"
    child = Child(run, url, str(log), dispatch=dispatch)
    begun = {"read", "write", "flaky"} if dispatch == "eager" else {"write", "flaky"}
    wait_until_begun(log, begun)
    expected = {"done": "done", "read": "running", "write": "running", "flaky": "retrying", "last": "waiting"}
    if dispatch == "wave":
        expected["read"] = "ready"
    try:
        end = time.monotonic() + 60
        while planwave.thread("t")["tasks"]["flaky"]["status"] != "retrying":
            assert time.monotonic() < end, planwave.thread("t")["tasks"]
        shown = planwave.thread("t")
        assert {task: each["status"] for task, each in shown["tasks"].items()} == expected
        assert (shown["status"], shown["progress"]["running"]) == ("running", 2 if dispatch == "eager" else 1)
        [listed] = json.loads(planwave.here("threads", "--json").stdout)["threads"]
        assert listed["status"] == "running"
        assert "status   running" in planwave.here("show", "t").stdout
        activity, overview = asyncio.run(read_overview(url))
        assert (activity.running, activity.retrying) == (
            frozenset(task for task, status in expected.items() if status == "running"),
            frozenset({"flaky"}),
        )
        assert {task: each["status"] for task, each in overview["tasks"].items()} == expected
    finally:
        child.send(signal.SIGKILL)
    assert child.told() is KILLED
    shown = planwave.thread("t")
    assert (shown["status"], shown["tasks"]["write"]["status"]) == ("interrupted", "in_doubt")
