"""The graph on a LangGraph server with `PLANWAVE_DB`: its stores stay its own, and a killed write is asked about."""

import asyncio
import os
import signal
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command
from langgraph_sdk import get_client

from agent.settings import Settings
from graphs.persistence import open_for_process, open_persistence
from graphs.plan_execute import build_graph
from tests.support.forked_child import KILLED, Child
from tests.support.studio import StudioServer
from tests.support.worlds import APPROVE, World

PLAN = {"tasks": [{"id": "w", "tool": "post", "args": {"name": "one"}}]}
CONFIG: Any = {"configurable": {"thread_id": "t", "graph_id": "planwave"}}


async def serve(url: str, log: str, given: Any, *, kill: bool = False) -> list[Any]:
    """Run as a worker of a server does, which puts its own saver and store into the graph."""

    async def post(name: str) -> str:
        with Path(log).open("a") as file:  # noqa: ASYNC230
            file.write(f"{name}\n")
        if kill:
            os.kill(os.getpid(), signal.SIGKILL)
        return "posted"

    persistence = await asyncio.to_thread(open_for_process, url)
    graph = build_graph(tools=[World().tool("post", post)], settings=Settings(), persistence=persistence)
    served = graph.copy({"checkpointer": InMemorySaver(), "store": InMemoryStore()})
    out = await served.ainvoke(given, CONFIG)
    asked = [action for each in out.get("__interrupt__") or () for action in each.value["action_requests"]]
    return [out["status"], [action.get("doubt") for action in asked]]


def test_a_worker_killed_after_an_unkeyed_write_leaves_a_doubt_to_the_next(tmp_path):
    url, log = f"sqlite:///{tmp_path / 'threads.db'}", tmp_path / "log"
    assert Child(serve, url, str(log), {"goal": "g", "plan": PLAN}).told() == ["awaiting_approval", [None]]
    assert Child(serve, url, str(log), Command(resume=APPROVE), kill=True).told() is KILLED
    status, [doubt] = Child(serve, url, str(log), None).told()
    assert (status, bool(doubt)) == ("awaiting_approval", True)
    assert log.read_text().split() == ["one"]


@pytest.fixture
def server(tmp_path, shop_folder):
    url = f"sqlite:///{tmp_path / 'threads.db'}"
    with StudioServer(tmp_path, data=shop_folder, PLANWAVE_DB=url) as running:
        yield running, url


async def test_the_server_keeps_its_threads_in_the_database(server):
    running, url = server
    plan = {"tasks": [{"id": "save", "tool": "save_file", "args": {"path": "a.txt", "content": "x"}}]}
    async with get_client(url=running.url) as client:
        thread = (await client.threads.create())["thread_id"]
        out = await client.runs.wait(thread, "planwave", input={"goal": "g", "plan": plan})
        assert out["status"] == "awaiting_approval"
        assert (await client.threads.get_state(thread))["values"]["goal"] == "g"
        out = await client.runs.wait(thread, "planwave", command={"resume": APPROVE})
        assert out["status"] == "completed"
    async with open_persistence(url) as persistence:
        assert await persistence.threads() == [thread]
        assert [row.state for row in await persistence.ledger.list_rows(thread)] == ["done"]
    assert "BlockingError" not in running.log.read_text()


async def test_without_a_persistence_a_server_is_told_once_what_is_not_promised(caplog):
    graph = build_graph(tools=World().tools(), settings=Settings(approve="never"))
    plan = {"tasks": [{"id": "a", "tool": "look", "args": {"value": 1}}]}
    for name in ("one", "two"):
        served = graph.copy({"checkpointer": InMemorySaver(), "store": InMemoryStore()})
        await served.ainvoke({"goal": "g", "plan": plan}, {"configurable": {"thread_id": name, "graph_id": "planwave"}})
    said = [record for record in caplog.records if "the record of writes is in this process's memory" in record.message]
    assert len(said) == 1
    assert "Set PLANWAVE_DB" in said[0].message
