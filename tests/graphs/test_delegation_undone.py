"""What a worker wrote is undone with the rest of a run that is given up, call by call, the last one first."""

import pytest
from langgraph.types import Command
from scripted_worker import Worker
from shelf import Shelf
from worlds import thread

from agent.settings import Settings
from graphs.delegation.delegate_tool import delegate_tool
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph

MODES = pytest.mark.parametrize("dispatch", ["eager", "wave"])
APPROVE = {"type": "approve"}


def put(name):
    return ("put", {"name": name})


JOB = {"id": "job", "tool": "delegate", "args": {"task": "Put things there."}}
END = {"id": "end", "tool": "look", "args": {"value": 9}, "on_failure": "abort"}


def plan(*tasks):
    return {"goal": "g", "plan": {"tasks": list(tasks)}}


@pytest.fixture
def shelf():
    found = Shelf()
    found.failing = {9}
    return found


@pytest.fixture
async def persistence(database_url):
    async with open_persistence(database_url) as opened:
        yield opened


def graph_of(shelf, worker, persistence, **settings):
    tools = shelf.tools()
    tools.append(delegate_tool(tools, lambda: worker))
    return build_graph(tools=tools, settings=Settings(max_replans=0, **settings), persistence=persistence)


def taken(shelf):
    return [name for what, name in shelf.log if what == "take"]


@MODES
async def test_calls_of_a_worker_are_undone_in_reverse_between_what_rests_on_it_and_what_it_rests_on(
    shelf, persistence, dispatch
):
    worker = Worker(turns=[[put("w1"), put("w2")], [("look", {"value": 1})], [put("w3")], "Put."])
    graph = graph_of(shelf, worker, persistence, dispatch=dispatch, approve="never")
    before = {"id": "a", "tool": "put", "args": {"name": "a"}}
    after = {"id": "z", "tool": "put", "args": {"name": "z"}, "depends_on": ["job"]}
    tasks = (before, {**JOB, "depends_on": ["a"]}, after, {**END, "depends_on": ["z"]})
    out = await graph.ainvoke(plan(*tasks), thread())
    assert (out["status"], shelf.there, out["rollback"]["not_undone"]) == ("failed", {}, {})
    assert taken(shelf) == ["z", "w3", "w2", "w1", "a"]
    assert sorted(out["rollback"]["undone"]) == ["a", "job/1.0", "job/1.1", "job/3.0", "z"]


async def test_each_undoing_is_approved_and_one_that_is_refused_keeps_those_before_it(shelf, persistence):
    graph = graph_of(shelf, Worker(turns=[[put("w1")], [put("w2")], [put("w3")], "Put."]), persistence)
    out = await graph.ainvoke(plan(JOB, {**END, "depends_on": ["job"]}), thread())
    for _ in range(3):
        out = await graph.ainvoke(Command(resume={"decisions": [APPROVE]}), thread())
    asked = {each["task_id"]: each["args"] for each in out["__interrupt__"][0].value["action_requests"]}
    numbers = {name: number for number, name in shelf.there.items()}
    wanted = (("undo:job/1.0", "w1"), ("undo:job/2.0", "w2"), ("undo:job/3.0", "w3"))
    assert asked == {task: {"number": numbers[name], "name": name} for task, name in wanted}
    refuse = {"undo:job/2.0": {"type": "reject", "message": "It is in use."}}
    out = await graph.ainvoke(Command(resume={"decisions": [refuse.get(task, APPROVE) for task in asked]}), thread())
    assert out["rollback"] == {
        "undone": ["job/3.0"],
        "not_undone": {
            "job/2.0": "A person refused to undo it: It is in use.",
            "job/1.0": "'job/2.0', which rests on it, was not undone.",
        },
    }
    rows = {row.intent.task: row.intent.approval for row in await persistence.ledger.list_rows("t")}
    assert rows["undo:job/3.0"]


async def test_a_worker_that_failed_is_undone_too(shelf, persistence):
    worker = Worker(turns=[[put("w1")]])
    graph = graph_of(shelf, worker, persistence, approve="never")
    job = {**JOB, "args": {"task": "Go on.", "max_steps": 2}, "on_failure": "abort"}
    out = await graph.ainvoke(plan(job), thread())
    assert "did not end within 2 turns" in out["results"]["job"]["error"]
    assert (out["rollback"], shelf.there) == ({"undone": ["job/2.0", "job/1.0"], "not_undone": {}}, {})


async def test_what_no_tool_undoes_is_listed(shelf, persistence):
    worker = Worker(turns=[[("tell", {"text": "hello"})], [put("w")], "Told."])
    graph = graph_of(shelf, worker, persistence, approve="never")
    out = await graph.ainvoke(plan(JOB, {**END, "depends_on": ["job"]}), thread())
    why = "Nothing undoes it: its tool 'tell' names none to compensate it."
    assert out["rollback"] == {"undone": ["job/2.0"], "not_undone": {"job/1.0": why}}


async def test_a_rollback_of_the_plan_goes_before_and_a_worker_that_only_read_leaves_nothing(shelf, persistence):
    worker = Worker(turns=[[put("w")], "Put."])
    graph = graph_of(shelf, worker, persistence, approve="never")
    job = {**JOB, "rollback": {"tool": "tell", "args": {"text": "by hand"}}}
    out = await graph.ainvoke(plan(job, {**END, "depends_on": ["job"]}), thread("1"))
    assert (out["rollback"], taken(shelf)) == ({"undone": ["job"], "not_undone": {}}, [])
    reader = graph_of(shelf, Worker(turns=[[("look", {"value": 1})], "Seen."]), persistence, approve="never")
    out = await reader.ainvoke(plan(JOB, {**END, "depends_on": ["job"]}), thread("2"))
    assert (out["status"], out["rollback"]) == ("failed", None)


async def test_a_rollback_goes_on_in_another_process(shelf, persistence):
    graph = graph_of(shelf, Worker(turns=[[put("w1")], [put("w2")], "Put."]), persistence)
    out = await graph.ainvoke(plan(JOB, {**END, "depends_on": ["job"]}), thread())
    for _ in range(2):
        out = await graph.ainvoke(Command(resume={"decisions": [APPROVE]}), thread())
    again = graph_of(shelf, Worker(turns=[]), persistence)
    out = await again.ainvoke(Command(resume={"decisions": [APPROVE] * 2}), thread())
    assert (out["rollback"]["undone"], shelf.there, taken(shelf)) == (["job/2.0", "job/1.0"], {}, ["w2", "w1"])


@pytest.mark.parametrize(
    ("decision", "why"),
    [
        ({"type": "reject"}, "Nobody knows whether it took effect."),
        ({"type": "respond", "message": "it did"}, "Nothing undoes it: its tool 'tell' names none to compensate it."),
    ],
    ids=["left", "it did"],
)
async def test_a_call_in_doubt_is_not_passed_over_once_a_person_has_settled_it(shelf, persistence, decision, why):
    shelf.broken = {"tell hello": [ConnectionError("The line is dead.")]}
    graph = graph_of(shelf, Worker(turns=[[("tell", {"text": "hello"})], "Told."]), persistence, approve="never")
    out = await graph.ainvoke(plan(JOB, {**END, "depends_on": ["job"]}), thread())
    [action] = out["__interrupt__"][0].value["action_requests"]
    assert "nobody knows whether it took effect" in action["doubt"]
    out = await graph.ainvoke(Command(resume={"decisions": [decision]}), thread())
    assert (out["status"], out["rollback"]) == ("failed", {"undone": [], "not_undone": {"job/1.0": why}})
