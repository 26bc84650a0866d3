"""Budgets of real runs: no call beyond them, an end that names them, and the way on once they are raised."""

import json

import pytest
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from agent.settings import Settings
from agent.tools.writing.typed_writing import typed_writing_tools
from agent.tools.writing.write_text import writing_tools
from graphs.delegation.delegate_tool import delegate_tool
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from tests.support.openai_endpoint import Endpoint, Text, ToolCall
from tests.support.worlds import APPROVE, World, ref, thread

MODES = pytest.mark.parametrize("dispatch", ["eager", "wave"])
PLAN = {
    "tasks": [
        {"id": "a", "tool": "look", "args": {"value": 1}},
        {"id": "b", "tool": "look", "args": {"value": ref("a", "value")}},
    ]
}
WRITES = {
    "id": "text",
    "tool": "write_text",
    "args": {"instruction": "Say it.", "inputs": {"found": ref("a", "value")}},
}
SUMS = {"id": "sum", "tool": "summarise", "args": {"inputs": {"found": ref("a", "value")}}}
JOB = {"id": "job", "tool": "delegate", "args": {"task": "Find it."}}
LOOK, SEVEN = PLAN["tasks"][0], {"id": "k", "tool": "look", "args": {"value": 7}}
MENDED = {"tasks": [SEVEN, {"id": "a2", "tool": "look", "args": {"value": 2}}]}
SUMMARY = {"summary": "It is 1.", "points": [{"text": "It is 1.", "inputs": ["found"]}]}
ATTENDED = {"approve": "ask", "escalate_budgets": True}
MODEL_CALLS = {"name": "model_calls", "limit": 1, "used": 1}


@pytest.fixture
def world():
    return World()


def model_at(endpoint):
    return ChatOpenAI(model="scripted", base_url=endpoint.url, api_key="sk-test", timeout=10, max_retries=0)


def tools_of(world, model):
    tools = [*world.tools(), *writing_tools(lambda: model), *typed_writing_tools(lambda: model)]
    return [*tools, delegate_tool(tools, lambda: model)]


def graph_of(world, endpoint, *, saver=None, persistence=None, **settings):
    model = model_at(endpoint)
    settings = {"approve": "never", **settings}
    kept = {"persistence": persistence} if persistence else {"checkpointer": saver or InMemorySaver()}
    return build_graph(tools=tools_of(world, model), model=model, settings=Settings(**settings), **kept)


async def run(world, endpoint, given, config=None, **options):
    return await graph_of(world, endpoint, **options).ainvoke(given, config or thread())


async def test_a_plan_is_not_asked_for_beyond_the_budget_and_is_made_once_it_is_raised(world):
    saver = InMemorySaver()
    with Endpoint(["no json", PLAN, "1 [a] [b]."]) as endpoint:
        out = await run(world, endpoint, {"goal": "look"}, saver=saver, max_model_calls=1)
        assert (out["status"], out["budget"]) == ("failed", MODEL_CALLS)
        assert "The budget of model calls is used up: 1 of 1; raise 'max_model_calls' to go on." in out["answer"]
        assert len(endpoint.requests) == 1
        again = await run(world, endpoint, None, saver=saver, max_model_calls=1)
        assert (again["status"], len(endpoint.requests)) == ("failed", 1)
        out = await run(world, endpoint, None, saver=saver, max_model_calls=3)
    assert (out["status"], out["answer"], out["budget"]) == ("completed", "1 [a] [b].", None)
    assert out["usage"] == {"calls": 3, "input_tokens": 33, "output_tokens": 21}


@MODES
async def test_a_replan_cut_short_is_no_replan_and_is_made_once_the_budget_is_raised(world, dispatch):
    world.failing = {1}
    plan = {"tasks": [SEVEN, LOOK]}
    async with open_persistence("sqlite:///:memory:") as stored:
        with Endpoint(["no json", "no json", MENDED, "7 [k]."]) as endpoint:
            options = {"persistence": stored, "dispatch": dispatch}
            given = {"goal": "look", "plan": plan}
            out = await run(world, endpoint, given, max_model_calls=2, **options)
            assert (out["status"], out["replans"], len(endpoint.requests)) == ("failed", 0, 2)
            assert out["budget"] == {"name": "model_calls", "limit": 2, "used": 2}
            out = await run(world, endpoint, None, max_model_calls=4, **options)
    assert (out["status"], out["replans"], out["usage"]["calls"]) == ("completed", 1, 4)
    assert world.log == [("look", 7), ("look", 1), ("look", 2)]


@MODES
@pytest.mark.parametrize(
    ("task", "reply"),
    [(WRITES, "It is 1."), (SUMS, SUMMARY), (JOB, "It is 1.")],
    ids=["write_text", "summarise", "delegate"],
)
async def test_a_tool_does_not_ask_beyond_the_budget_and_the_rest_runs_first(world, dispatch, task, reply):
    saver = InMemorySaver()
    plan = {"tasks": [LOOK, {**task, "depends_on": ["a"]}, {**SEVEN, "depends_on": ["a"]}]}
    plan["tasks"].append({"id": "end", "tool": "look", "args": {"value": 3}, "depends_on": [task["id"]]})
    options = {"saver": saver, "dispatch": dispatch}
    with Endpoint([reply, "It ended [a]."]) as endpoint:
        out = await run(world, endpoint, {"goal": "g", "plan": plan}, max_model_calls=0, **options)
        assert (out["status"], endpoint.requests) == ("failed", [])
        assert out["budget"] == {"name": "model_calls", "limit": 0, "used": 0}
        assert [out["results"][name]["status"] for name in ("a", task["id"], "k", "end")] == [
            "done",
            "cancelled",
            "done",
            "cancelled",
        ]
        out = await run(world, endpoint, None, max_model_calls=2, **options)
    assert (out["status"], out["usage"]["calls"]) == ("completed", 2), out["problems"]
    assert sorted(value for _, value in world.log) == [1, 3, 7]


async def test_calls_side_by_side_do_not_go_beyond_the_budget_together(world):
    texts = [{**WRITES, "id": f"text{number}"} for number in range(5)]
    with Endpoint(lambda _: "It is 1.") as endpoint:
        out = await run(world, endpoint, {"goal": "g", "plan": {"tasks": [LOOK, *texts]}}, max_model_calls=2)
    assert (out["status"], out["usage"]["calls"], len(endpoint.requests)) == ("failed", 2, 2)
    found = [out["results"][text["id"]]["status"] for text in texts]
    assert (found.count("done"), found.count("cancelled")) == (2, 3)


async def test_a_worker_ends_at_the_budget_between_two_of_its_turns(world):
    plan = {"tasks": [JOB]}
    turn = ToolCall("look", '{"value": 5}')
    with Endpoint([turn, "never asked"]) as endpoint:
        out = await run(world, endpoint, {"goal": "g", "plan": plan}, max_model_calls=1)
    assert (out["budget"], len(endpoint.requests), world.log) == (MODEL_CALLS, 1, [("look", 5)])
    assert out["usage"] == {"calls": 1, "input_tokens": 11, "output_tokens": 7}


async def test_an_answer_beyond_the_budget_is_a_listing_and_is_written_once_it_is_raised(world):
    saver = InMemorySaver()
    with Endpoint([PLAN, "1 [a] [b]."]) as endpoint:
        out = await run(world, endpoint, {"goal": "look"}, saver=saver, max_model_calls=1)
        assert (out["status"], out["budget"], len(endpoint.requests)) == ("completed", MODEL_CALLS, 1)
        assert out["answer"]
        out = await run(world, endpoint, None, saver=saver, max_model_calls=2)
    assert (out["status"], out["answer"], out["budget"]) == ("completed", "1 [a] [b].", None)
    assert world.log == [("look", 1), ("look", 1)]


async def test_tokens_count_whatever_a_reply_is_worth(world):
    script = [Text("no json", input_tokens=60, output_tokens=30), Text("cut", "length", 5, 5), PLAN]
    with Endpoint(script) as endpoint:
        out = await run(world, endpoint, {"goal": "look"}, max_tokens=100)
    assert out["budget"] == {"name": "tokens", "limit": 100, "used": 100}
    assert out["usage"] == {"calls": 2, "input_tokens": 65, "output_tokens": 35}
    assert len(endpoint.requests) == 2


async def test_cost_is_what_the_server_reports_else_what_the_prices_make(world):
    reported = [Text("no json", cost=0.02), Text("no json", cost=0.04), PLAN]
    with Endpoint(reported) as endpoint:
        out = await run(world, endpoint, {"goal": "look"}, max_cost=0.05)
    assert (out["budget"]["name"], len(endpoint.requests)) == ("cost", 2)
    assert out["usage"]["cost"] == pytest.approx(0.06)
    priced = [Text("no json", input_tokens=1000, output_tokens=500), PLAN]
    with Endpoint(priced) as endpoint:
        out = await run(world, endpoint, {"goal": "look"}, max_cost=0.003, price_input=1.0, price_output=4.0)
    assert out["budget"] == {"name": "cost", "limit": 0.003, "used": pytest.approx(0.003)}


@MODES
@pytest.mark.parametrize(("name", "limit", "more"), [("tokens", 15, 1000), ("cost", 0.015, 1.0)])
async def test_tokens_and_cost_that_ended_a_run_can_be_raised(world, dispatch, name, limit, more):
    saver = InMemorySaver()
    plan = {"tasks": [LOOK, WRITES, {**WRITES, "id": "again", "depends_on": ["text"]}]}
    options = {"saver": saver, "dispatch": dispatch}
    with Endpoint([Text("It is 1.", cost=0.02)] * 2 + ["It is 1 [text]."]) as endpoint:
        out = await run(world, endpoint, {"goal": "g", "plan": plan}, **{f"max_{name}": limit}, **options)
        assert (out["status"], out["budget"]["name"], out["budget"]["limit"]) == ("failed", name, limit)
        assert f"raise 'max_{name}' to go on" in out["answer"]
        assert [out["results"][task]["status"] for task in ("text", "again")] == ["done", "cancelled"]
        out = await run(world, endpoint, None, **{f"max_{name}": more}, **options)
    assert (out["status"], out["budget"], len(endpoint.requests)) == ("completed", None, 3)
    assert world.log == [("look", 1)]


@MODES
async def test_the_tasks_of_a_run_are_bounded_over_its_replans(world, dispatch):
    world.failing = {1}
    saver = InMemorySaver()
    plan = {"tasks": [SEVEN, LOOK]}
    options = {"saver": saver, "dispatch": dispatch}
    with Endpoint([MENDED, "7 [k]."]) as endpoint:
        out = await run(world, endpoint, {"goal": "look", "plan": plan}, max_tasks=2, **options)
        assert (out["status"], out["budget"]) == ("failed", {"name": "tasks", "limit": 2, "used": 2})
        assert out["results"]["a2"]["status"] == "cancelled"
        out = await run(world, endpoint, None, max_tasks=3, **options)
    assert (out["status"], out["results"]["a2"]["status"]) == ("completed", "done")
    assert len(world.log) == 3


async def test_a_given_plan_of_too_many_tasks_runs_once_more_are_allowed(world):
    saver = InMemorySaver()
    with Endpoint(["1 [a]."]) as endpoint:
        out = await run(world, endpoint, {"goal": "g", "plan": PLAN}, saver=saver, max_tasks=1)
        assert (out["status"], out["budget"]) == ("failed", {"name": "tasks", "limit": 1, "used": 2})
        assert world.log == []
        out = await run(world, endpoint, None, saver=saver, max_tasks=2)
    assert (out["status"], len(world.log)) == ("completed", 2)


async def test_wall_time_ends_a_run_that_goes_on_with_more(world):
    saver = InMemorySaver()
    waits = [
        {"id": name, "tool": "wait", "args": {"seconds": 0.2, "name": name}, "depends_on": needs}
        for name, needs in (("t0", []), ("t1", ["t0"]), ("t2", ["t1"]))
    ]
    with Endpoint(["Done [t0]."]) as endpoint:
        options = {"saver": saver, "dispatch": "wave"}
        out = await run(world, endpoint, {"goal": "g", "plan": {"tasks": waits}}, deadline_s=0.15, **options)
        assert (out["status"], out["budget"]["name"]) == ("failed", "wall_time_s")
        out = await run(world, endpoint, None, deadline_s=30, **options)
    assert out["status"] == "completed"
    assert [name for _, name in world.log] == ["t0", "t1", "t2"]


async def test_replans_that_ended_a_run_can_be_raised(world):
    saver = InMemorySaver()
    first = {"tasks": [SEVEN, LOOK]}
    plans = [{"tasks": [SEVEN, {"id": "a", "tool": "look", "args": {"value": 8}}]}, MENDED]
    world.failing = {1, 8}
    with Endpoint([*plans, "7 [k]."]) as endpoint:
        out = await run(world, endpoint, {"goal": "g", "plan": first}, saver=saver, max_replans=1)
        assert out["budget"] == {"name": "replans", "limit": 1, "used": 1}
        out = await run(world, endpoint, None, saver=saver, max_replans=2)
    assert (out["status"], out["replans"]) == ("completed", 2)
    assert world.log.count(("look", 7)) == 1


async def test_a_budget_ends_a_run_that_a_person_attends_unless_they_want_to_be_asked(world):
    with Endpoint([]) as endpoint:
        given = {"goal": "g", "plan": {"tasks": [LOOK, WRITES]}}
        out = await run(world, endpoint, given, approve="ask", max_model_calls=0)
    assert (out["status"], out["budget"]["name"]) == ("failed", "model_calls")


@MODES
async def test_an_attended_run_asks_raises_and_goes_on(world, dispatch):
    plan = {"tasks": [LOOK, WRITES]}
    with Endpoint(["It is 1.", "It is 1 [text]."]) as endpoint:
        graph = graph_of(world, endpoint, **ATTENDED, dispatch=dispatch, max_model_calls=0)
        out = await graph.ainvoke({"goal": "g", "plan": plan}, thread())
        [asked] = out["__interrupt__"]
        assert (asked.value["impasse"]["kind"], endpoint.requests) == ("budget", [])
        assert asked.value["review_configs"][0]["allowed_decisions"] == ["approve", "edit", "reject"]
        more = {"type": "edit", "edited_action": {"name": "go_on", "args": {"choice": "raise", "by": 2}}}
        out = await graph.ainvoke(Command(resume={"decisions": [more]}), thread())
    assert (out["status"], out["answer"], out["usage"]["calls"]) == ("completed", "It is 1 [text].", 2)
    assert world.log == [("look", 1)]


async def test_a_waiting_run_goes_on_unasked_once_the_settings_allow_more(world):
    saver = InMemorySaver()
    plan = {"tasks": [LOOK, WRITES]}
    with Endpoint(["It is 1.", "It is 1 [text]."]) as endpoint:
        out = await run(world, endpoint, {"goal": "g", "plan": plan}, saver=saver, **ATTENDED, max_model_calls=0)
        assert out["status"] == "awaiting_approval"
        graph = graph_of(world, endpoint, saver=saver, **ATTENDED, max_model_calls=0)
        out = await graph.ainvoke(None, thread())
        assert out["status"] == "awaiting_approval"
        out = await graph.ainvoke(None, thread(), context={"max_model_calls": 2})
    assert out["status"] == "completed"


async def test_a_budget_that_keeps_a_plan_from_being_made_is_put_to_a_person(world):
    with Endpoint([PLAN, "1 [a] [b]."]) as endpoint:
        graph = graph_of(world, endpoint, **ATTENDED, max_model_calls=0)
        out = await graph.ainvoke({"goal": "look"}, thread())
        assert out["__interrupt__"][0].value["impasse"]["planned"] is False
        more = {"type": "edit", "edited_action": {"name": "go_on", "args": {"choice": "raise", "by": 2}}}
        out = await graph.ainvoke(Command(resume={"decisions": [more]}), thread())
        assert (out["status"], out["answer"]) == ("completed", "1 [a] [b].")
        await graph.ainvoke({"goal": "look again"}, thread())
        out = await graph.ainvoke(Command(resume={"decisions": [{"type": "reject"}]}), thread())
    assert (out["status"], out["results"]) == ("cancelled", {})


async def test_what_a_worker_spent_before_an_approval_is_counted(world):
    plan = {"tasks": [JOB]}
    turn = ToolCall("write", '{"value": 5}')

    def script(request):
        return "It is kept." if any(message["role"] == "tool" for message in request.body["messages"]) else turn

    with Endpoint(script) as endpoint:
        graph = graph_of(world, endpoint, approve="ask")
        out = await graph.ainvoke({"goal": "g", "plan": plan}, thread())
        assert out["status"] == "awaiting_approval"
        out = await graph.ainvoke(Command(resume=APPROVE), thread())
        assert out["status"] == "completed"
        assert out["usage"]["calls"] == len(endpoint.requests)
    assert world.log == [("write", 5)]


async def test_usage_survives_a_restart_and_counts_once(world, database_url):
    plan = {"tasks": [LOOK, WRITES, {"id": "w", "tool": "write", "args": {"value": ref("text", "text")}}]}
    with Endpoint([json.dumps(plan), "It is 1.", "It is 1 [text]."]) as endpoint:
        for given in ({"goal": "look"}, Command(resume=APPROVE)):
            async with open_persistence(database_url) as stored:
                out = await run(world, endpoint, given, persistence=stored, approve="ask")
    assert out["status"] == "completed"
    assert out["usage"] == {"calls": 3, "input_tokens": 33, "output_tokens": 21}
