"""Large outputs: outside of the state, and no difference to whoever looks into them."""

import asyncio
import copy
import json
import signal
from uuid import UUID

import pytest
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from agent.errors import PersistenceError
from agent.results.artifacts import Artifacts
from agent.settings import Settings
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from tests.support.large_world import KILLED, MARK, LargeWorld
from tests.support.processes import start, wait_for
from tests.support.stored_bytes import execute, rows_of, table_bytes, tables
from tests.support.worlds import APPROVE, ref, thread

NEVER = 10**9
#: Looks into a large output in every way there is.
PLAN = {
    "tasks": [
        {"id": "rows", "tool": "rows", "args": {"count": 200}},
        {"id": "one", "tool": "look", "args": {"value": ref("rows", "rows", 199, "n")}},
        {"id": "all", "tool": "look", "args": {"value": ref("rows", "rows", "*", "name")}},
        {
            "id": "each",
            "tool": "look",
            "for_each": ref("rows", "rows"),
            "args": {"value": {"template": "{n}", "values": {"n": {"item": ["n"]}}}},
        },
        {"id": "yes", "tool": "look", "args": {"value": 1}, "condition": "size(rows.rows) == 200"},
        {"id": "no", "tool": "look", "args": {"value": 2}, "condition": "rows.rows[3].odd == false"},
        {"id": "after", "tool": "look", "args": {"value": 3}, "depends_on": ["rows"]},
        {
            "id": "keep",
            "tool": "keep",
            "args": {"value": ref("rows", "rows", 7)},
            "rollback": {"tool": "unkeep", "args": {"value": ref("keep", "rows", 299, "a", "name")}},
        },
        {"id": "kept", "tool": "look", "args": {"value": ref("keep", "kept", "name")}},
    ]
}
ABORTED = {
    "tasks": [*PLAN["tasks"], {"id": "end", "tool": "look", "args": {"value": ref("kept", "nowhere")}}],
}
ABORTED["tasks"][-1]["on_failure"] = "abort"


def graph_of(world, persistence, *, limit, **more):
    return build_graph(
        tools=world.tools(), persistence=persistence, settings=Settings(artifact_bytes=limit, max_replans=2), **more
    )


def plain(out):
    """Return what a run came to, without times and without where the outputs lie."""
    out = copy.deepcopy({key: value for key, value in out.items() if key not in {"__interrupt__", "messages"}})
    for record in out["results"].values():
        for name in ("artifact", "started_at", "finished_at"):
            record.pop(name, None)
    return json.dumps(out, sort_keys=False)


async def whole_run(url, name, plan, *, limit, fresh):
    """Run and approve all that asks; with `fresh`, each answer is given by a graph that knows nothing yet."""
    world, asked = LargeWorld(), []
    async with open_persistence(url) as persistence:
        out = await graph_of(world, persistence, limit=limit).ainvoke({"goal": "g", "plan": plan}, thread(name))
    while "__interrupt__" in out:
        value = out["__interrupt__"][0].value
        asked.append([(action["args"], action["digest"]) for action in value["action_requests"]])
        decisions = {"decisions": [{"type": "approve"} for _ in value["action_requests"]]}
        async with open_persistence(url) as persistence:
            graph = graph_of(world, persistence, limit=limit)
            out = await graph.ainvoke(Command(resume=decisions), thread(name))
    return out, asked, sorted(world.log, key=repr)


@pytest.mark.parametrize("plan", [PLAN, ABORTED], ids=["to the end", "rolled back"])
async def test_a_run_is_the_same_whether_its_outputs_are_put_away_or_not(database_url, tmp_path, plan, monkeypatch):
    # What is approved is bound to the run; here both are one.
    monkeypatch.setattr("agent.execution.ledger.uuid4", lambda: UUID(int=1))
    other = f"sqlite:///{tmp_path}/other.db"
    away, asked, log = await whole_run(database_url, "t", plan, limit=1, fresh=True)
    there, asked_there, log_there = await whole_run(other, "t", plan, limit=NEVER, fresh=True)
    assert away["status"] == ("completed" if plan is PLAN else "failed")
    assert plain(away) == plain(there)
    assert asked == asked_there
    assert log == log_there
    assert ("unkeep", f"{MARK} 7") in log or plan is PLAN
    assert rows_of(database_url, "planwave_artifacts") > 5
    assert rows_of(other, "planwave_artifacts") == 0


async def test_the_checkpoint_keeps_a_reference_a_preview_and_a_schema(database_url):
    world = LargeWorld()
    async with open_persistence(database_url) as persistence:
        graph = graph_of(world, persistence, limit=2**16)
        plan = {"tasks": [{"id": "rows", "tool": "rows", "args": {"count": 3000}}]}
        out = await graph.ainvoke({"goal": "g", "plan": plan}, thread())
        assert out["results"]["rows"]["output"] == await LargeWorld().rows(3000)
        stored = (await graph.aget_state(thread())).values["results"]["rows"]
    assert stored["output"] is None
    artifact = stored["artifact"]
    assert len(artifact["digest"]) == 64
    assert artifact["size"] == len(json.dumps(out["results"]["rows"]["output"], separators=(",", ":")))
    assert artifact["preview"] == f'3000 rows, such as {{"n": 0.0, "name": "{MARK} 0", "odd": false}}'
    item = artifact["output_schema"]["properties"]["rows"]["items"]["properties"]
    assert item == {"n": {"type": "number"}, "name": {"type": "string"}, "odd": {"type": "boolean"}}
    held = {table for table in tables(database_url) if f"{MARK} 2999".encode() in table_bytes(database_url, table)}
    assert held == {"planwave_artifacts"}


@pytest.mark.parametrize(("count", "away"), [(1, False), (60, True)])
async def test_the_limit_is_of_json_bytes(database_url, count, away):
    async with open_persistence(database_url) as persistence:
        graph = graph_of(LargeWorld(), persistence, limit=2000)
        plan = {"tasks": [{"id": "rows", "tool": "rows", "args": {"count": count}}]}
        await graph.ainvoke({"goal": "g", "plan": plan}, thread())
        stored = (await graph.aget_state(thread())).values["results"]["rows"]
    assert ("artifact" in stored) is away
    assert (stored["output"] is None) is away


async def test_without_a_persistence_a_large_output_stays_in_the_state():
    graph = build_graph(
        tools=LargeWorld().tools(), checkpointer=InMemorySaver(), settings=Settings(artifact_bytes=1, approve="never")
    )
    out = await graph.ainvoke({"goal": "g", "plan": PLAN}, thread())
    assert out["status"] == "completed"
    state = await graph.aget_state(thread())
    assert all("artifact" not in record for record in state.values["results"].values())
    assert len(state.values["results"]["rows"]["output"]["rows"]) == 200


def test_a_blocking_call_returns_outputs_in_full_too(tmp_path):
    import asyncio

    async def inside():
        async with open_persistence(f"sqlite:///{tmp_path}/t.db") as persistence:
            graph = graph_of(LargeWorld(), persistence, limit=1)
            plan = {"tasks": PLAN["tasks"][:2]}
            return graph.invoke({"goal": "g", "plan": plan}, thread()), graph.invoke(None, thread(), version="v2")

    first, second = asyncio.run(inside())
    assert len(first["results"]["rows"]["output"]["rows"]) == 200
    assert second.value["results"] == first["results"]


async def test_after_a_kill_a_task_looks_into_what_another_process_put_away(database_url, tmp_path):
    log = tmp_path / "log"
    run = start("support.large_world", database_url, log)
    world = LargeWorld()
    try:
        wait_for(log, "slow", run)
        async with asyncio.timeout(60), open_persistence(database_url) as persistence:
            # `slow` begins as soon as `rows` is done, a moment before that is stored.
            while not any(  # noqa: ASYNC110 - the database tells nobody
                task.result for task in (await graph_of(world, persistence, limit=1000).aget_state(thread())).tasks
            ):
                await asyncio.sleep(0.05)
    finally:
        run.send_signal(signal.SIGKILL)
        run.wait()
    async with open_persistence(database_url) as persistence:
        graph = graph_of(world, persistence, limit=1000)
        before = await graph.aget_state(thread())
        assert [task.result is not None for task in before.tasks if task.name == "tool_executor"].count(True) == 1
        out = await graph.ainvoke(None, thread())
    assert out["status"] == "completed"
    assert world.log == [("slow", f"{MARK} 2999"), ("look", 1.5)]
    assert len(out["results"]["rows"]["output"]["rows"]) == 3000
    assert KILLED["tasks"][0]["args"]["count"] == 3000


class Counted:
    """A real store that notes what is read of it."""

    def __init__(self, inner):
        self._inner = inner
        self.read = []

    async def put(self, thread, digest, text):
        await self._inner.put(thread, digest, text)

    async def get(self, thread, digests):
        self.read += digests
        return await self._inner.get(thread, digests)


async def test_a_dispatch_loads_what_its_calls_look_into_and_nothing_else(database_url):
    tasks = [{"id": f"r{n}", "tool": "rows", "args": {"count": 30 + n}} for n in range(40)]
    asks = [
        {
            "id": f"k{n}",
            "tool": "keep",
            "args": {"value": ref(f"r{n}", "rows", 1)},
            "depends_on": [f"k{n - 1}"] * (n > 0),
        }
        for n in range(3)
    ]
    async with open_persistence(database_url) as persistence:
        out = await graph_of(LargeWorld(), persistence, limit=500).ainvoke(
            {"goal": "g", "plan": {"tasks": [*tasks, *asks]}}, thread()
        )
        assert out["status"] == "awaiting_approval"
    async with open_persistence(database_url) as persistence:
        store = Counted(persistence.artifacts._store)
        persistence.artifacts = Artifacts(store)
        graph = graph_of(LargeWorld(), persistence, limit=500)
        records = (await graph.aget_state(thread())).values["results"]
        digests = {task: record["artifact"]["digest"] for task, record in records.items() if "artifact" in record}
        async for _ in graph.astream(Command(resume=APPROVE), thread()):
            pass
        assert (await graph.aget_state(thread())).next == ("human_approval",)
        assert sorted(store.read) == sorted(digests[f"r{n}"] for n in range(3))


async def test_a_replan_reuses_what_was_put_away(database_url):
    first = {
        "tasks": [
            {"id": "rows", "tool": "rows", "args": {"count": 50}},
            {"id": "bad", "tool": "look", "args": {"value": ref("rows", "nothing")}, "max_retries": 0},
        ]
    }
    second = {
        "tasks": [
            {"id": "again", "tool": "rows", "args": {"count": 50}},
            {"id": "good", "tool": "look", "args": {"value": ref("again", "rows", 49, "n")}},
        ]
    }
    answer = "The last number is 73.5 [again]."
    model = FakeListChatModel(responses=[json.dumps(first), json.dumps(second), answer])
    world = LargeWorld()
    async with open_persistence(database_url) as persistence:
        out = await graph_of(world, persistence, limit=1, model=model).ainvoke({"goal": "g"}, thread())
    assert out["status"] == "completed", out["problems"]
    assert out["results"]["again"]["reused_from"] == "rows"
    assert out["results"]["again"]["output"] == out["results"]["rows"]["output"]
    assert world.log == [("rows", 50), ("look", 73.5)]
    # Borne out by a number that is in the artifact alone.
    assert out["answer"] == answer


async def test_an_answer_that_an_artifact_does_not_bear_out_is_replaced(database_url):
    model = FakeListChatModel(responses=["The last number is 99.25 [rows]."])
    plan = {"tasks": [{"id": "rows", "tool": "rows", "args": {"count": 50}}]}
    async with open_persistence(database_url) as persistence:
        graph = graph_of(LargeWorld(), persistence, limit=1, model=model)
        out = await graph.ainvoke({"goal": "g", "plan": plan}, thread())
    assert "99.25" not in out["answer"]
    assert f"{MARK} 0" in out["answer"]


async def test_work_under_an_edited_plan_holds_where_its_large_arguments_are_the_same(database_url):
    world = LargeWorld()
    async with open_persistence(database_url) as persistence:
        graph = graph_of(world, persistence, limit=1)
        await graph.ainvoke({"goal": "g", "plan": PLAN}, thread())
    world.log.clear()
    async with open_persistence(database_url) as persistence:
        graph = graph_of(world, persistence, limit=1)
        [before, *_] = [
            state async for state in graph.aget_state_history(thread()) if state.next == ("human_approval",)
        ]
        tasks = [
            task | {"args": {"value": ref("rows", "rows", 0, "n")}} if task["id"] == "one" else task
            for task in PLAN["tasks"]
        ]
        forked = await graph.aupdate_state(before.config, {"plan": {"tasks": tasks}}, as_node="planner")
        out = await graph.ainvoke(None, forked)
        assert [entry for entry in world.log if entry[0] == "rows"] == []
        assert ("look", 0.0) in world.log
        out = await graph.ainvoke(Command(resume=APPROVE), thread())
    assert out["status"] == "completed"
    assert out["results"]["one"]["output"] == {"value": 0.0}


async def test_an_edited_call_may_look_into_an_artifact(database_url):
    world = LargeWorld()
    async with open_persistence(database_url) as persistence:
        await graph_of(world, persistence, limit=1).ainvoke({"goal": "g", "plan": PLAN}, thread())
    async with open_persistence(database_url) as persistence:
        graph = graph_of(world, persistence, limit=1)
        edit = {"name": "keep", "args": {"value": ref("all", "value", 3)}}
        answer = {"decisions": [{"type": "edit", "edited_action": edit}]}
        out = await graph.ainvoke(Command(resume=answer), thread())
    assert ("keep", f"{MARK} 3") in world.log
    assert out["results"]["keep"]["output"]["kept"] == f"{MARK} 3"


async def test_deleting_a_thread_deletes_its_artifacts_and_no_other(database_url):
    async with open_persistence(database_url) as persistence:
        graph = graph_of(LargeWorld(), persistence, limit=1)
        for name in ("a", "b"):
            await graph.ainvoke({"goal": "g", "plan": PLAN}, thread(name))
        both = rows_of(database_url, "planwave_artifacts", thread="b")
        assert both == rows_of(database_url, "planwave_artifacts", thread="a") > 0
        await persistence.saver.adelete_thread("a")
        assert rows_of(database_url, "planwave_artifacts", thread="a") == 0
        assert rows_of(database_url, "planwave_artifacts", thread="b") == both
        out = await graph.ainvoke(Command(resume=APPROVE), thread("b"))
        assert out["status"] == "completed"


@pytest.mark.parametrize(
    ("change", "values", "sentence"),
    [
        ("DELETE FROM planwave_artifacts", (), "is not in its store"),
        ("UPDATE planwave_artifacts SET value_type = 'bytes', value = ?", (b"[1]",), "is not what was stored"),
        ("UPDATE planwave_artifacts SET value_type = 'pickle', value = ?", (b"x",), "cannot be read"),
        ("UPDATE planwave_artifacts SET value_type = 'msgpack', value = ?", (b"\x01",), "is not what was stored"),
    ],
    ids=["lost", "changed", "of another type", "no text"],
)
async def test_an_artifact_that_is_not_what_was_stored_is_an_error_and_no_result(
    database_url, change, values, sentence
):
    async with open_persistence(database_url) as persistence:
        await graph_of(LargeWorld(), persistence, limit=1).ainvoke({"goal": "g", "plan": PLAN}, thread())
    execute(database_url, change, *values)
    world = LargeWorld()
    async with open_persistence(database_url) as persistence:
        with pytest.raises(PersistenceError, match=sentence):
            await graph_of(world, persistence, limit=1).ainvoke(Command(resume=APPROVE), thread())
    assert world.log == []
