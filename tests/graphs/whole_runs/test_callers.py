"""A graph called from inside an event loop and without one, over each kind of saver."""

import queue
import sqlite3
import time

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver
from langgraph.types import Command

from agent.settings import Settings
from graphs import compiled_graph as invocation
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from tests.support.worlds import APPROVE, CHAIN, World, thread


@pytest.fixture
def world():
    return World()


def graph_of(world, saver=None, **settings):
    return build_graph(tools=world.tools(), settings=Settings(**settings), checkpointer=saver or InMemorySaver())


def test_sync_invoke_with_each_kind_of_saver(world, tmp_path):
    connection = sqlite3.connect(tmp_path / "sync.db", check_same_thread=False)
    for saver in (InMemorySaver(), SqliteSaver(connection)):
        graph = graph_of(world, saver)
        assert graph.invoke({"goal": "g", "plan": CHAIN}, thread())["status"] == "awaiting_approval"
        assert graph.invoke(Command(resume=APPROVE), thread())["status"] == "completed"
    connection.close()


async def test_async_invoke_with_the_blocking_and_the_async_sqlite_saver(world, tmp_path):
    connection = sqlite3.connect(tmp_path / "sync.db", check_same_thread=False)
    async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "async.db")) as saver:
        for each in (SqliteSaver(connection), saver):
            graph = graph_of(world, each)
            await graph.ainvoke({"goal": "g", "plan": CHAIN}, thread())
            assert (await graph.ainvoke(Command(resume=APPROVE), thread()))["status"] == "completed"
    connection.close()


async def test_sync_invoke_inside_a_running_loop_does_not_deadlock(world, tmp_path):
    async with open_persistence(f"sqlite:///{tmp_path}/p.db") as persistence:
        graph = build_graph(tools=world.tools(), persistence=persistence)
        assert graph.invoke({"goal": "g", "plan": CHAIN}, thread())["status"] == "awaiting_approval"
        assert graph.invoke(Command(resume=APPROVE), thread())["status"] == "completed"
        assert await persistence.threads() == ["t"]


class LateQueue(queue.SimpleQueue):
    """A queue whose taker goes on before its giver does."""

    def put(self, item):
        super().put(item)
        time.sleep(0.02)


def test_a_sync_run_whose_last_part_is_taken_before_it_has_ended_is_not_taken_for_cancelled(world, monkeypatch):
    monkeypatch.setattr(invocation.queue, "SimpleQueue", LateQueue)
    plan = {"tasks": [{"id": "a", "tool": "look", "args": {"value": 1}}]}
    assert graph_of(world).invoke({"goal": "g", "plan": plan}, thread())["status"] == "completed"
