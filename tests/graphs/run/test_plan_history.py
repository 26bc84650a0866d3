"""Where the results of true runs came from, and the same as PROV-JSON that the W3C's model admits."""

import json
from xml.etree import ElementTree as ET

import pytest
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from prov.model import ProvActivity, ProvAssociation, ProvDerivation, ProvDocument, ProvEntity, ProvUsage

from agent.core.engine.outcomes import parse_outcome
from agent.core.provenance.prov_json import to_prov_json
from agent.settings import Settings
from graphs.plan_execute import build_graph
from graphs.run.plan_history import provenance_of
from tests.support.command_line import CommandLine, query
from tests.support.worlds import World, ref, thread

PLAN = {
    "tasks": [
        {"id": "z", "tool": "look", "args": {"value": 7}},
        {"id": "a", "tool": "look", "args": {"value": 1}},
        {"id": "b", "tool": "look", "args": {"value": ref("a", "value")}},
    ]
}
MENDED = {
    "tasks": [
        {"id": "z", "tool": "look", "args": {"value": 7}},
        {"id": "a2", "tool": "look", "args": {"value": 2}},
        {"id": "b", "tool": "look", "args": {"value": ref("a2", "value")}},
    ]
}


@pytest.fixture
def world():
    return World()


async def provenance(graph):
    state = await graph.aget_state(thread())
    results = await graph.aload_outputs(state.values["results"], thread())
    return provenance_of(state.values, {task: parse_outcome(record) for task, record in results.items()})


def read(document):
    """Read PROV-JSON by the W3C's own library, which refuses what is none, and write and read it again."""
    found = ProvDocument.deserialize(content=json.dumps(document), format="json")
    assert ProvDocument.deserialize(content=found.serialize(format="json"), format="json") == found
    assert found.get_provn()
    return found


async def test_a_replanned_run_tells_for_each_result_model_revision_tool_arguments_and_inputs(world):
    world.failing = {1}
    replies = [json.dumps(PLAN), json.dumps(MENDED), "It is 2 [b].\n\nThe other is 7 [z]."]
    graph = build_graph(tools=world.tools(), model=FakeListChatModel(responses=replies), checkpointer=InMemorySaver())
    out = await graph.ainvoke({"goal": "look"}, thread())
    assert out["status"] == "completed"
    found = await provenance(graph)
    assert [(version.revision, version.author, version.model) for version in found.versions] == [
        (1, "model", "FakeListChatModel"),
        (2, "model", "FakeListChatModel"),
    ]
    assert found.chain("b") == ("a2", "b")
    assert found.find_input("b", tool="look") == found.previous_input("b") == "a2"
    origin = found.get_origin("b")
    assert (origin.version.revision, origin.tool, origin.calls) == (2, "look", ({"value": 2},))
    assert found.get_origin("a").version.revision == 1
    assert found.get_origin("a").outcome.error
    assert [statement.tasks for statement in found.split_answer()] == [("b",), ("z",)]
    document = read(to_prov_json(found, thread="t"))
    derived = {(str(each.args[0]), str(each.args[1])) for each in document.get_records(ProvDerivation)}
    assert ("pw:t/result/b", "pw:t/result/a2") in derived
    assert ("pw:t/plan/2", "pw:t/plan/1") in derived
    assert ("pw:t/statement/1", "pw:t/result/b") in derived
    planned = {str(each.args[0]): str(each.args[2]) for each in document.get_records(ProvAssociation) if each.args[2]}
    assert planned == {"pw:t/call/z": "pw:t/plan/1", "pw:t/call/a": "pw:t/plan/1"} | dict.fromkeys(
        ("pw:t/call/a2", "pw:t/call/b"), "pw:t/plan/2"
    )


async def test_what_a_join_of_a_run_rests_on_is_found_by_tool_and_by_prefix(world):
    plan = {
        "tasks": [
            {"id": "source", "tool": "look", "args": {"value": [3, 4]}},
            {"id": "kept", "tool": "write", "args": {"value": ref("source", "value", 0)}},
            {"id": "each", "tool": "look", "for_each": ref("source", "value"), "args": {"value": {"item": []}}},
            {"id": "join", "tool": "look", "args": {"value": [ref("kept", "written"), ref("each")]}},
        ]
    }
    graph = build_graph(tools=world.tools(), settings=Settings(approve="never"), checkpointer=InMemorySaver())
    out = await graph.ainvoke({"goal": "g", "plan": plan}, thread())
    assert out["status"] == "completed", out
    found = await provenance(graph)
    assert found.find_inputs("join") == ("kept", "each", "source")
    assert found.find_inputs("join", tool="look") == ("each", "source")
    assert (found.find_input("join", tool="write"), found.previous_input("join")) == ("kept", "kept")
    assert found.shared(["kept", "each"]) == found.prefix("join", 1) == ("source",)
    assert found.chain("join")[-1] == "join"
    assert found.get_origin("each").calls == ({"value": 3}, {"value": 4})


async def test_a_person_is_named_where_one_edited_the_plan_or_gave_the_result(world):
    plan = {
        "tasks": [
            {"id": "w", "tool": "write", "args": {"value": 1}},
            {"id": "v", "tool": "write", "args": {"value": 2}},
            {"id": "c", "tool": "look", "args": {"value": ref("w", "written")}, "depends_on": ["v"]},
        ]
    }
    graph = build_graph(tools=world.tools(), checkpointer=InMemorySaver())
    await graph.ainvoke({"goal": "g", "plan": plan}, thread())
    edit = {"type": "edit", "edited_action": {"name": "write", "args": {"value": 5}}}
    answer = {"decisions": [edit, {"type": "respond", "message": "by hand"}]}
    out = await graph.ainvoke(Command(resume=answer), thread())
    assert out["status"] == "completed"
    found = await provenance(graph)
    assert [version.author for version in found.versions] == ["user", "person"]
    assert found.get_origin("w").calls == ({"value": 5},)
    document = to_prov_json(found, thread="t/1")
    read(document)
    assert [each["prov:entity"] for each in document["wasAttributedTo"].values()] == ["pw:t%2F1/result/v"]
    assert "pw:t%2F1/call/v" not in document["activity"]


async def test_a_rollback_is_a_plan_of_its_own(world):
    world.failing = {9}
    undo = {"tool": "erase", "args": {"value": ref("w", "written")}}
    plan = {
        "tasks": [
            {"id": "w", "tool": "write", "args": {"value": 1}, "rollback": undo},
            {"id": "x", "tool": "look", "args": {"value": 9}, "depends_on": ["w"], "on_failure": "abort"},
        ]
    }
    graph = build_graph(tools=world.tools(), settings=Settings(approve="never"), checkpointer=InMemorySaver())
    await graph.ainvoke({"goal": "g", "plan": plan}, thread())
    found = await provenance(graph)
    assert [version.author for version in found.versions] == ["user", "rollback"]
    (undoing,) = [task for task in found if found.get_origin(task).tool == "erase"]
    assert found.get_origin(undoing).calls == ({"value": 1},)
    read(to_prov_json(found, thread="t"))


async def test_a_fan_out_with_strange_names_is_still_prov(world):
    plan = {
        "tasks": [
            {"id": "a:b/c%ü", "tool": "look", "args": {"value": ["\x07", "pw:x", "<&>"]}},
            {"id": "each", "tool": "look", "for_each": ref("a:b/c%ü", "value"), "args": {"value": {"item": []}}},
        ]
    }
    graph = build_graph(tools=world.tools(), checkpointer=InMemorySaver())
    out = await graph.ainvoke({"goal": "ünïcode", "plan": plan}, thread())
    assert out["status"] == "completed", out
    document = read(to_prov_json(await provenance(graph), thread="t"))
    assert len(list(document.get_records(ProvUsage))) == 2
    assert len(list(document.get_records(ProvActivity))) == 3
    assert len(list(document.get_records(ProvEntity))) >= 4


def test_the_command_shows_provenance_and_xml(planwave: CommandLine) -> None:
    rows = query("rows", "SELECT range AS n, repeat('x', 100) AS pad FROM range(900)")
    total = query("total", "SELECT sum(x) AS s FROM (SELECT unnest($n) AS x)")
    total["args"]["params"] = {"n": ref("rows", "rows", "*", "n")}
    run = planwave.here("run", "Add", "--plan", planwave.plan_file(rows, total), "--thread", "t", "--json")
    assert run.exit_code == 0, run.output
    document = json.loads(planwave.here("show", "t", "--prov").stdout)
    read(document)
    large, small = document["entity"]["pw:t/result/rows"], document["entity"]["pw:t/result/total"]
    assert "prov:value" not in large
    assert large["pw:length"] > 2**16
    assert json.loads(small["prov:value"])["rows"][0]["s"] == 404550
    xml = ET.fromstring(planwave.here("show", "t", "--xml").stdout)  # noqa: S314 - our own
    assert xml.find("{*}map[@key='results']/{*}map[@key='total']/{*}string[@key='status']").text == "done"
    assert planwave.here("show", "t", "--xml", "--prov").exit_code == 2
