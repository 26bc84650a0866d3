"""What a planner asks before it plans: checked, looked up once, shown to it, and bounded."""

import json

import pytest
from langchain_core.tools import StructuredTool
from langchain_openai import ChatOpenAI
from pydantic import SecretStr

from agent.settings import Settings
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from tests.support.openai_endpoint import Endpoint
from tests.support.worlds import READ, World, ref, thread

A = {"id": "a", "description": "Look", "reasoning": "It is asked for.", "tool": "look", "args": {"value": 5}}
PLAN = {"execution_mode": "parallel", "tasks": [A, {**A, "id": "b", "args": {"value": ref("a", "value")}}]}
ANSWER = "It is 5 [a]."


def need(*values, tool="look", **args):
    calls = [{"tool": tool, "args": args or {"value": value}} for value in values or (None,)]
    return {"need": calls, "execution_mode": "parallel", "tasks": []}


async def sealed(token: SecretStr) -> str:
    """Read what only the owner of the token may."""
    return "kept"


@pytest.fixture
def world():
    return World()


def graph_at(endpoint, world, *, persistence=None, **settings):
    model = ChatOpenAI(model="scripted", base_url=endpoint.url, api_key="sk-test", max_retries=0, timeout=10)
    private = StructuredTool.from_function(coroutine=sealed, metadata=READ)
    tools = [*world.tools(), private]
    return build_graph(tools=tools, model=model, settings=Settings(**settings), persistence=persistence)


async def finished(graph, **given):
    told = []
    async for mode, part in graph.astream({"goal": "look", **given}, thread(), stream_mode=["custom", "values"]):
        if mode == "custom":
            told.append(part)
        else:
            out = part
    return out, [event["text"] for event in told if event["event"] == "thinking"]


@pytest.mark.parametrize("streams", ["well", "refused"])
async def test_what_the_planner_asks_is_looked_up_and_shown_to_it(world, streams):
    with Endpoint([need(1, 2), PLAN, ANSWER], streams=streams) as endpoint:
        out, told = await finished(graph_at(endpoint, world))
    assert (out["status"], out["answer"]) == ("completed", ANSWER)
    assert sorted(world.log) == [("look", 1), ("look", 2), ("look", 5), ("look", 5)]
    planner = [request for request in endpoint.requests if "You plan." in request.text]
    assert "## look" not in planner[0].text
    assert '"need"' in json.dumps(planner[0].body["response_format"])
    shown = planner[-1].body["messages"][0]["content"]
    assert '## look {"value": 1}\n{"value": 1}' in shown
    assert '## look {"value": 2}\n{"value": 2}' in shown
    assert [text for text in told if text.startswith("Asking look")] == [
        'Asking look {"value": 1}',
        'Asking look {"value": 2}',
    ]


async def test_at_the_bound_it_must_plan(world):
    with Endpoint([need(1), need(2), PLAN, ANSWER]) as endpoint:
        out, _ = await finished(graph_at(endpoint, world, stream_plan=False))
    assert out["status"] == "completed"
    assert [value for _, value in world.log] == [1, 2, 5, 5]
    schemas = [json.dumps(r.body["response_format"]) for r in endpoint.requests if "You plan." in r.text]
    assert ['"need"' in schema for schema in schemas] == [True, True, False]


async def test_a_planner_that_may_not_ask_is_not_told_that_it_could(world):
    with Endpoint([PLAN, ANSWER]) as endpoint:
        out, _ = await finished(graph_at(endpoint, world, stream_plan=False, max_context_rounds=0))
    assert out["status"] == "completed"
    assert "`need`" not in endpoint.requests[0].text
    assert '"need"' not in json.dumps(endpoint.requests[0].body["response_format"])


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        (need(1, tool="write"), "write"),
        (need(tool="sealed", token="secret:OWNER"), "names a secret"),
        (need(ref("a", "value")), "which is not in the plan"),
        (need(*range(9)), "ask at most 8"),
        (need(tool="wait", seconds="soon"), "seconds"),
    ],
    ids=["write", "secret", "reference", "many", "type"],
)
async def test_what_cannot_be_asked_goes_back_with_the_reason(world, asked, reason, monkeypatch):
    monkeypatch.setenv("PLANWAVE_SECRET_OWNER", "canary-4711")
    with Endpoint([asked, PLAN, ANSWER]) as endpoint:
        out, _ = await finished(graph_at(endpoint, world, stream_plan=False, approve="never"))
    assert out["status"] == "completed"
    assert [name for name, _ in world.log] == ["look", "look"]
    assert reason in endpoint.requests[1].body["messages"][-1]["content"]
    assert all("canary-4711" not in request.text for request in endpoint.requests)


async def test_a_question_that_fails_says_so_and_the_plan_goes_on(world):
    world.failing = {1}
    with Endpoint([need(1), PLAN, ANSWER]) as endpoint:
        out, _ = await finished(graph_at(endpoint, world, stream_plan=False, default_retries=0))
    assert out["status"] == "completed"
    assert "FAILED (tool): LookupError: nothing at 1" in endpoint.requests[1].text


async def test_a_resumed_run_asks_nothing_that_was_answered(world, database_url):
    async with open_persistence(database_url) as persistence:
        with Endpoint([need(1), PLAN, ANSWER]) as endpoint:
            graph = graph_at(endpoint, world, persistence=persistence, stream_plan=False)
            await graph.ainvoke({"goal": "look"}, thread(), interrupt_before=["look_up"])
            await graph.ainvoke(None, thread(), interrupt_before=["planner"])
            assert (await graph.aget_state(thread())).next == ("planner",)
            again = graph_at(endpoint, world, persistence=persistence, stream_plan=False)
            out = await again.ainvoke(None, thread())
            state = (await again.aget_state(thread())).values
        assert out["status"] == "completed"
        assert [value for _, value in world.log] == [1, 5, 5]
        assert state["planning_context"].count("## look") == 1
        assert (state["context_requests"], state["context_rounds"]) == ([], 1)


async def test_a_second_goal_begins_with_no_questions(world, tmp_path):
    async with open_persistence(f"sqlite:///{tmp_path}/run.db") as persistence:
        with Endpoint([need(1), PLAN, ANSWER, PLAN, ANSWER]) as endpoint:
            graph = graph_at(endpoint, world, persistence=persistence, stream_plan=False)
            await finished(graph)
            await finished(graph)
            state = (await graph.aget_state(thread())).values
    # The conversation, and no answer to a question of the first run.
    assert state["planning_context"].startswith("## Earlier on this thread\nGoal: look\n")
    assert ("## look" in state["planning_context"], state["context_rounds"]) == (False, 0)
