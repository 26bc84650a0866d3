"""What a run that is given up undoes, what it cannot undo, and what a person is asked on the way."""

import json

import pytest
from command_line import CommandLine, query, save
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langgraph.types import Command
from shelf import Shelf
from worlds import ref, thread

from agent.settings import Settings
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from graphs.thread_status import get_task_states

MODES = pytest.mark.parametrize("dispatch", ["eager", "wave"])
NOTHING_UNDOES = "Nothing undoes it: the task has no rollback, and its tool 'tell' names none to compensate it."


@pytest.fixture
def shelf():
    return Shelf()


@pytest.fixture
async def persistence(tmp_path):
    async with open_persistence(f"sqlite:///{tmp_path}/undo.db") as opened:
        yield opened


def put(task, *needs, **more):
    return {"id": task, "tool": "put", "args": {"name": task}, "depends_on": list(needs), **more}


def end(*needs, **more):
    return {"id": "end", "tool": "look", "args": {"value": 9}, "depends_on": list(needs), "on_failure": "abort", **more}


def plan(*tasks):
    return {"goal": "g", "plan": {"tasks": list(tasks)}}


def graph_of(shelf, persistence, *, model=None, **settings):
    shelf.failing |= {8, 9}
    return build_graph(tools=shelf.tools(), model=model, settings=Settings(**settings), persistence=persistence)


def asked(out):
    """Return what a person is asked, by task."""
    return {action["task_id"]: action for action in out["__interrupt__"][0].value["action_requests"]}


async def answered(graph, out, answers=None):
    """Answer each request by its task's name, else approve it; go on until nothing is asked."""
    while out["status"] == "awaiting_approval":
        decisions = [(answers or {}).get(task, {"type": "approve"}) for task in asked(out)]
        out = await graph.ainvoke(Command(resume={"decisions": decisions}), thread())
    return out


async def until_undoing(graph, given):
    """Approve the plan's writes and return what the rollback asks."""
    out = await graph.ainvoke(given, thread())
    while not any(task.startswith("undo:") for task in asked(out)):
        decisions = [{"type": "approve"}] * len(asked(out))
        out = await graph.ainvoke(Command(resume={"decisions": decisions}), thread())
    return out


CHAIN = plan(put("a"), put("b", "a"), put("c", "b"), put("z"), end("c", "z"))


@MODES
async def test_all_undoings_are_one_question_and_run_in_reverse(shelf, persistence, dispatch):
    graph = graph_of(shelf, persistence, dispatch=dispatch)
    out = await until_undoing(graph, CHAIN)
    assert set(asked(out)) == {"undo:a", "undo:b", "undo:c", "undo:z"}
    assert {name: action["args"]["name"] for name, action in asked(out).items()} == {
        f"undo:{name}": name for name in "abcz"
    }
    assert not [name for name, _ in shelf.log if name == "take"]
    out = await graph.ainvoke(Command(resume={"decisions": [{"type": "approve"}] * 4}), thread())
    taken = [name for what, name in shelf.log if what == "take"]
    assert taken.index("c") < taken.index("b") < taken.index("a")
    assert (out["status"], shelf.there, out["rollback"]["not_undone"]) == ("failed", {}, {})
    assert sorted(out["rollback"]["undone"]) == ["a", "b", "c", "z"]
    rows = {row.intent.task: row.intent.approval for row in await persistence.ledger.list_rows("t")}
    assert {"undo:a", "undo:b", "undo:c", "undo:z"} <= rows.keys()
    assert all(rows.values())


@MODES
async def test_a_refused_undoing_is_listed_and_the_rest_goes_on(shelf, persistence, dispatch):
    graph = graph_of(shelf, persistence, dispatch=dispatch)
    out = await until_undoing(graph, CHAIN)
    out = await answered(graph, out, {"undo:b": {"type": "reject", "message": "It is in use."}})
    assert sorted(out["rollback"]["undone"]) == ["c", "z"]
    assert out["rollback"]["not_undone"] == {
        "b": "A person refused to undo it: It is in use.",
        "a": "'b', which rests on it, was not undone.",
    }
    assert sorted(shelf.there.values()) == ["a", "b"]
    assert "Undone: " in out["answer"]
    assert "Not undone: a. 'b', which rests on it, was not undone." in out["answer"]


async def test_an_undoing_is_tried_again_within_its_policy(shelf, persistence):
    shelf.broken = {"take b": [ConnectionError("away"), ConnectionError("away")], "take z": [PermissionError("no")]}
    graph = graph_of(shelf, persistence)
    out = await answered(graph, await graph.ainvoke(CHAIN, thread()))
    assert [name for what, name in shelf.log if what == "take"].count("b") == 3
    assert sorted(out["rollback"]["undone"]) == ["a", "b", "c"]
    assert out["rollback"]["not_undone"] == {"z": "PermissionError: no"}
    assert out["results"]["undo:b"]["attempts"] == 3


async def test_an_undoing_that_may_have_taken_effect_is_asked_about(shelf, persistence):
    shelf.repeatable = False
    shelf.broken = {"take b": [ConnectionResetError("cut off")]}
    graph = graph_of(shelf, persistence)
    out = await until_undoing(graph, CHAIN)
    out = await graph.ainvoke(Command(resume={"decisions": [{"type": "approve"}] * 4}), thread())
    (doubt,) = asked(out).values()
    assert (doubt["task_id"], "nobody knows" in doubt["doubt"]) == ("undo:b", True)
    out = await answered(graph, out)
    assert (sorted(out["rollback"]["undone"]), shelf.there) == (["a", "b", "c", "z"], {})


async def test_what_nothing_undoes_is_listed_and_holds_nothing_up(shelf, persistence):
    tell = {"id": "told", "tool": "tell", "args": {"text": "hello"}, "depends_on": ["a"]}
    graph = graph_of(shelf, persistence, approve="never")
    out = await graph.ainvoke(plan(put("a"), tell, end("told")), thread())
    assert out["rollback"] == {"undone": ["a"], "not_undone": {"told": NOTHING_UNDOES}}
    only_told = {**tell, "depends_on": []}
    out = await graph.ainvoke(plan(only_told, end("told")), thread("other"))
    assert out["rollback"] == {"undone": [], "not_undone": {"told": NOTHING_UNDOES}}


async def test_what_a_replan_dropped_is_undone_too(shelf, persistence):
    first = [put("a"), put("b", "a"), {"id": "bad", "tool": "look", "args": {"value": 9}, "depends_on": ["b"]}]
    then = {"tasks": [put("a"), put("c", "a"), end("c", args={"value": 8})]}
    model = FakeListChatModel(responses=[json.dumps(then)] * 3)
    graph = graph_of(shelf, persistence, model=model, approve="never")
    out = await graph.ainvoke(plan(*first), thread())
    assert out["replans"] == 1
    assert (sorted(out["rollback"]["undone"]), shelf.there) == (["a", "b", "c"], {})
    taken = [name for what, name in shelf.log if what == "take"]
    assert taken.index("a") == 2


async def test_a_rejection_that_ends_the_run_undoes_what_was_done(shelf, persistence):
    graph = graph_of(shelf, persistence)
    out = await graph.ainvoke(plan(put("a"), put("b", "a")), thread())
    out = await answered(graph, out, {"b": {"type": "reject"}})
    assert (out["status"], out["rollback"], shelf.there) == ("cancelled", {"undone": ["a"], "not_undone": {}}, {})


@pytest.mark.parametrize(
    ("answer", "rollback", "there"),
    [
        ({"type": "approve"}, {"undone": ["a"], "not_undone": {}}, []),
        (
            {"type": "reject"},
            {"undone": ["a"], "not_undone": {"b": "Nobody knows whether it took effect."}},
            [],
        ),
        ({"type": "respond", "message": "done"}, {"undone": ["b", "a"], "not_undone": {}}, []),
    ],
)
async def test_a_write_in_doubt_is_asked_about_before_anything_is_undone(shelf, persistence, answer, rollback, there):
    shelf.broken = {"put b": [ConnectionResetError("cut off")]}
    doubtful = put("b", "a", rollback={"tool": "tell", "args": {"text": "take b"}})
    graph = graph_of(shelf, persistence, approve="never")
    out = await graph.ainvoke(plan(put("a"), doubtful, end("a")), thread())
    assert "Approve: it did not. Respond: it did, with this result, and is to be undone." in asked(out)["b"]["doubt"]
    out = await graph.ainvoke(Command(resume={"decisions": [answer]}), thread())
    assert (out["rollback"], sorted(shelf.there.values())) == (rollback, there)
    assert [entry for entry in shelf.log if entry[0] == "put"].count(("put", "b")) == 1


async def test_an_undoing_whose_call_an_earlier_plan_made_is_made_again(shelf, persistence):
    rollback = {"tool": "tell", "args": {"text": "same"}}
    first = [
        {"id": "told", "tool": "tell", "args": {"text": "same"}},
        put("a", "told", rollback=rollback),
        {"id": "bad", "tool": "look", "args": {"value": 9}, "depends_on": ["a"]},
    ]
    model = FakeListChatModel(responses=[json.dumps({"tasks": [*first[:2], end("a")]})] * 3)
    graph = graph_of(shelf, persistence, model=model, approve="never")
    out = await graph.ainvoke(plan(*first), thread())
    assert shelf.log.count(("tell", "same")) == 2
    assert out["rollback"]["undone"] == ["a"]


def test_show_and_json_tell_what_is_not_undone(planwave: CommandLine) -> None:
    fails = query("fails", "SELECT error('no') AS n FROM range(1)", depends_on=["keep"], on_failure="abort")
    tasks = (query("read", "SELECT 7 AS n"), save("keep", "a.csv", {"output_of": "read", "path": ["rows"]}), fails)
    ran = planwave.here("run", "Keep", "--thread", "t", "--plan", planwave.plan_file(*tasks), "--yes", "--json")
    why = "Nothing undoes it: the task has no rollback, and its tool 'save_file' names none to compensate it."
    assert json.loads(ran.stdout)["rollback"] == {"undone": [], "not_undone": {"keep": why}}
    assert json.loads(planwave.here("show", "t", "--json").stdout)["rollback"]["not_undone"] == {"keep": why}
    shown = planwave.here("show", "t").stdout
    assert "rollback not undone: keep" in shown
    assert "Not undone: keep. Nothing undoes it" in " ".join(shown.split())


def names(*found, **more):
    """Return a task that reads a list of names."""
    return {"id": "names", "tool": "look", "args": {"value": list(found)}, **more}


def put_each(task="p", **more):
    return {"id": task, "tool": "put", "for_each": ref("names", "value"), "args": {"name": {"item": []}}, **more}


@MODES
@pytest.mark.parametrize(
    "rollback",
    [
        {},
        {"rollback": {"tool": "take", "args": {"number": ref("p", "number"), "name": {"item": []}}}},
    ],
    ids=["compensate", "rollback"],
)
async def test_every_item_is_undone_by_itself(shelf, persistence, dispatch, rollback):
    shelf.broken = {"take b": [PermissionError("in use")]}
    graph = graph_of(shelf, persistence, dispatch=dispatch)
    out = await until_undoing(
        graph, plan(put("a0"), names("a", "b", "c", depends_on=["a0"]), put_each(**rollback), end("p"))
    )
    assert set(asked(out)) == {"undo:p[0]", "undo:p[1]", "undo:p[2]", "undo:a0"}
    out = await answered(graph, out)
    assert sorted(out["rollback"]["undone"]) == ["p[0]", "p[2]"]
    assert out["rollback"]["not_undone"] == {
        "p[1]": "PermissionError: in use",
        "a0": "'p[1]', which rests on it, was not undone.",
    }
    assert sorted(shelf.there.values()) == ["a0", "b"]


@MODES
async def test_the_items_that_took_effect_before_the_task_failed_are_undone(shelf, persistence, dispatch):
    shelf.broken = {"put b": [PermissionError("no")]}
    graph = graph_of(shelf, persistence, dispatch=dispatch)
    out = await until_undoing(graph, plan(names("a", "b", "c"), put_each(on_failure="abort")))
    assert set(asked(out)) == {"undo:p[0]", "undo:p[2]"}
    out = await answered(graph, out)
    assert out["rollback"] == {"undone": ["p[0]", "p[2]"], "not_undone": {}}
    assert shelf.there == {}


async def test_items_that_another_try_took_over_are_undone_once(shelf, persistence):
    shelf.broken = {"put b": [PermissionError("no")]}
    first = [names("a", "b", "c"), put_each()]
    then = {
        "tasks": [names("a", "b", "c"), put_each("q", depends_on=["names"], timeout_s=5), end("q", args={"value": 8})]
    }
    model = FakeListChatModel(responses=[json.dumps(then)] * 3)
    graph = graph_of(shelf, persistence, model=model, approve="never")
    out = await graph.ainvoke(plan(*first), thread())
    assert out["replans"] == 1, out["answer"]
    assert sorted(out["rollback"]["undone"]) in (["p[0]", "p[2]"], ["p[0]", "p[2]", "q[1]"])
    assert shelf.there == {}
    assert len([entry for entry in shelf.log if entry[0] == "take"]) == len(out["rollback"]["undone"])


async def test_a_rollback_of_the_whole_needs_the_whole(shelf, persistence):
    shelf.broken = {"put b": [PermissionError("no")]}
    whole = {"rollback": {"tool": "tell", "args": {"text": ref("p", 0, "number")}}}
    graph = graph_of(shelf, persistence, approve="never")
    out = await graph.ainvoke(plan(names("a", "b"), put_each(on_failure="abort", **whole)), thread())
    assert out["rollback"] == {"undone": [], "not_undone": {"p": "Task 'p' has no output to refer to."}}


async def test_a_task_whose_items_are_all_undone_is_rolled_back(shelf, persistence):
    graph = graph_of(shelf, persistence, approve="never")
    await graph.ainvoke(plan(names("a", "b"), put_each(), end("p")), thread())
    found = get_task_states(await graph.aget_state(thread()))
    assert (found["p"].status, found["names"].status) == ("rolled_back", "done")
