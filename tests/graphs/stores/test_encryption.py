"""Encryption at rest: nothing of a run is readable without its key, and nothing unencrypted is believed with one."""

import os
import subprocess
import sys

import pytest
from langgraph.types import Command

from agent.errors import PersistenceError, SettingsError
from agent.settings import Settings
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from tests.support.processes import ROOT
from tests.support.stored_bytes import execute, stored_bytes
from tests.support.worlds import APPROVE, READ, World, ref, thread

KEY = bytes(range(32))
#: What a run knows, each word in another place: goal, arguments, results, an artifact, a written call, an answer.
SECRETS = ("Grauhimbeere", "Argumentose", "Resultatik", "Grossdatei", "Schreibwerk", "Fehlerteufel")
PLAN = {
    "tasks": [
        {"id": "read", "tool": "look", "args": {"value": "Argumentose"}},
        {"id": "result", "tool": "tell", "args": {"what": "small"}},
        {"id": "large", "tool": "tell", "args": {"what": "large"}},
        {"id": "bad", "tool": "tell", "args": {"what": "bad"}, "on_failure": "skip"},
        {"id": "save", "tool": "write", "args": {"value": "Schreibwerk"}, "depends_on": ["large"]},
        {"id": "after", "tool": "look", "args": {"value": ref("large", 0)}, "depends_on": ["save"]},
    ]
}


def tools(world):
    async def tell(what: str):
        if what == "bad":
            raise ValueError("Fehlerteufel")
        return "Resultatik" if what == "small" else ["Grossdatei" for _ in range(200)]

    return [*world.tools(), world.tool("tell", tell, READ)]


async def run(url, key, *, to_the_end=True):
    world = World()
    async with open_persistence(url, key=key) as persistence:
        graph = build_graph(tools=tools(world), persistence=persistence, settings=Settings(artifact_bytes=1000))
        out = await graph.ainvoke({"goal": "Find the Grauhimbeere", "plan": PLAN}, thread())
        assert out["status"] == "awaiting_approval"
        if to_the_end:
            out = await graph.ainvoke(Command(resume=APPROVE), thread())
            assert out["status"] == "completed"
            assert ("look", "Grossdatei") in world.log
        return out


def readable(url):
    stored = stored_bytes(url)
    return {word for word in SECRETS if word.encode() in stored}


@pytest.mark.parametrize("to_the_end", [False, True], ids=["waiting", "ended"])
async def test_without_the_key_nothing_of_a_run_can_be_read(database_url, to_the_end):
    await run(database_url, KEY, to_the_end=to_the_end)
    assert readable(database_url) == set()


async def test_without_encryption_every_one_of_these_words_is_found(database_url):
    await run(database_url, None)
    assert readable(database_url) == set(SECRETS)


@pytest.mark.parametrize("length", [16, 24, 32])
async def test_what_was_stored_comes_back_with_the_key(database_url, length):
    ended = await run(database_url, KEY[:length])
    async with open_persistence(database_url, key=KEY[:length]) as persistence:
        graph = build_graph(tools=tools(World()), persistence=persistence)
        state = await graph.aget_state(thread())
        assert state.values["goal"] == "Find the Grauhimbeere"
        assert state.values["answer"] == ended["answer"]
        assert await graph.aload_outputs(state.values["results"], thread()) == ended["results"]
        assert [row.state for row in await persistence.ledger.list_rows("t")] == ["done"]


async def test_the_environment_can_give_the_key(database_url, monkeypatch):
    monkeypatch.setenv("PLANWAVE_AES_KEY", KEY.hex())
    await run(database_url, None)
    assert readable(database_url) == set()
    monkeypatch.setenv("PLANWAVE_AES_KEY", "no number")
    with pytest.raises(SettingsError, match="PLANWAVE_AES_KEY"):
        await run(database_url, None)


@pytest.mark.parametrize(
    ("key", "sentence"),
    [(bytes(32), "stored with another key"), (None, "is encrypted; open the database with its key")],
    ids=["another key", "no key"],
)
async def test_a_wrong_key_is_one_clear_error(database_url, key, sentence):
    await run(database_url, KEY, to_the_end=False)
    async with open_persistence(database_url, key=key) as persistence:
        graph = build_graph(tools=tools(World()), persistence=persistence)
        with pytest.raises(PersistenceError, match=sentence):
            await graph.aget_state(thread())
        with pytest.raises(PersistenceError, match=sentence):
            await graph.ainvoke(Command(resume=APPROVE), thread())
    await run_on(database_url)


async def run_on(url):
    """The right key still does."""
    async with open_persistence(url, key=KEY) as persistence:
        graph = build_graph(tools=tools(World()), persistence=persistence)
        assert (await graph.ainvoke(Command(resume=APPROVE), thread()))["status"] == "completed"


async def test_a_thread_that_was_stored_unencrypted_is_not_believed_with_a_key(database_url):
    await run(database_url, None, to_the_end=False)
    async with open_persistence(database_url, key=KEY) as persistence:
        graph = build_graph(tools=tools(World()), persistence=persistence)
        with pytest.raises(PersistenceError, match="not encrypted, although a key is set"):
            await graph.aget_state(thread())


async def test_a_changed_artifact_is_found_out(database_url):
    await run(database_url, KEY, to_the_end=False)
    execute(database_url, "UPDATE planwave_artifacts SET value = ?", bytes(200))
    async with open_persistence(database_url, key=KEY) as persistence:
        graph = build_graph(tools=tools(World()), persistence=persistence)
        with pytest.raises(PersistenceError, match="cannot be decrypted"):
            await graph.ainvoke(Command(resume=APPROVE), thread())


_LISTS = """
import asyncio, sys
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph

async def main():
    for key in (None, bytes(32)):
        async with open_persistence(sys.argv[1], key=key) as persistence:
            saver = build_graph(tools=[], persistence=persistence).checkpointer
            serde = saver.inner.serde
            plain = getattr(serde, "serde", serde)
            allowed = [*(plain._allowed_msgpack_modules or ()), *(plain._allowed_json_modules or ())]
            print(type(serde).__name__, allowed, plain.pickle_fallback)

asyncio.run(main())
"""


@pytest.mark.parametrize("strict", ["true", "false", ""])
def test_no_environment_makes_the_list_of_types_longer(tmp_path, strict):
    env = {**os.environ, "LANGGRAPH_STRICT_MSGPACK": strict, "LANGGRAPH_AES_KEY": "", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", _LISTS, f"sqlite:///{tmp_path}/planwave.db"]
    shown = subprocess.run(command, env=env, capture_output=True, text=True, check=True, timeout=120)
    assert shown.stdout.splitlines() == ["ExactSerializer [] False", "EncryptedOnlySerializer [] False"]
