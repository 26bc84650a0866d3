"""A small model's plan for a calculator, from a real HTTP server: written several times at once, or one by one."""

from dataclasses import replace
from pathlib import Path

from langchain_core.messages import HumanMessage
from langchain_core.tools import StructuredTool
from pydantic import SecretStr

from agent.llm.embedded.server import LocalEndpoint
from agent.llm.openai_client import build_embedded_model
from agent.planning.planner import PlanningFailure, PlanningResult, make_plan
from agent.tools.toolbox import Toolbox
from graphs.plan_execute import build_graph
from tests.support.openai_endpoint import Endpoint, Text, Texts, in_batches
from tests.support.planning_kit import LIMITS, SETTINGS, model_at


def tools():
    def add(a: float, b: float) -> float:
        return a + b

    def subtract(a: float, b: float) -> float:
        return a - b

    def multiply(a: float, b: float) -> float:
        return a * b

    def divide(a: float, b: float) -> float:
        return a / b

    def fence_length(long: float, wide: float) -> float:
        return 2 * (long + wide)

    metadata = {"readOnlyHint": True, "openWorldHint": False, "output_schema": {"type": "number"}}
    return [
        StructuredTool.from_function(each, description=each.__name__, metadata=metadata)
        for each in (add, subtract, multiply, divide, fence_length)
    ]


TOOLBOX = Toolbox(tools())
COMMON = {"context": "", "toolbox": TOOLBOX, "settings": SETTINGS, "limits": LIMITS, "emit": lambda _event: None}
RIGHT = "# both\nboth = 2 + 3\n# asked\nanswer = both * 4"


async def planned(endpoint, goal="Four times 2 and 3?", **model):
    return await make_plan(goal, model=replace(model_at(endpoint, small=True), **model), **COMMON)


async def test_a_program_becomes_a_plan_and_is_held_to_no_grammar():
    with Endpoint([Text(f"```python\n{RIGHT}\n```")]) as endpoint:
        found = await planned(endpoint, supports_grammar=True)
    assert isinstance(found, PlanningResult)
    assert [(task["id"], task["tool"]) for task in found.plan["tasks"]] == [("both", "add"), ("answer", "multiply")]
    assert "grammar" not in endpoint.requests[0].body
    assert "fence_length" not in endpoint.requests[0].text


async def test_a_formula_that_the_goal_names_is_shown():
    with Endpoint([Text("answer = fence_length(2, 3)")]) as endpoint:
        found = await planned(endpoint, goal="What is the length of the fence?")
    assert isinstance(found, PlanningResult)
    assert "def fence_length(long: a number, wide: a number)" in endpoint.requests[0].text


async def test_problems_go_back_to_the_model_until_the_repairs_are_used_up():
    with Endpoint([Text("answer = 5"), Text(RIGHT)]) as endpoint:
        found = await planned(endpoint)
    assert isinstance(found, PlanningResult)
    assert (found.repairs, found.usage.calls) == (1, 2)
    assert "must be worked out from named quantities" in endpoint.requests[1].text
    with Endpoint([Text("answer = 5")] * 3) as endpoint:
        assert isinstance(await planned(endpoint), PlanningFailure)


async def run(script, monkeypatch, *, at_once=3):
    """Plan and run with a small model whose server writes so many texts at once; return the state and the requests."""
    with Endpoint(script) as endpoint:
        model = replace(model_at(endpoint, small=True), max_parallel_texts=at_once)
        monkeypatch.setattr("graphs.run.services.resolve_model", lambda *_args, **_named: model)
        settings = SETTINGS.model_copy(update={"approve": "never", "max_replans": 0, "plan_variants": 5})
        out = await build_graph(tools=tools(), model="local", settings=settings).ainvoke({"goal": "4 (2 + 3)?"})
    return out, endpoint.requests


async def test_the_result_that_most_of_several_programs_have_is_taken(monkeypatch):
    wrong, other = "answer = 2 + 3", "answer = 4 - 2 * 3"
    out, requests = await run([*in_batches(wrong, RIGHT, "answer = 4 * (2 + 3)"), Text("20.")], monkeypatch)
    assert out["results"]["answer"]["output"] == 20
    assert [request.body["n"] for request in requests[:2]] == [2, 3]
    out, _ = await run([*in_batches(wrong, other, RIGHT), Text("5.")], monkeypatch)
    assert out["results"]["answer"]["output"] == 5


async def test_texts_that_are_no_plans_have_no_vote_and_where_none_is_one_more_is_asked_for(monkeypatch):
    out, _ = await run([*in_batches("Well.", "answer = 5", RIGHT), Text("20.")], monkeypatch)
    assert out["results"]["answer"]["output"] == 20
    out, requests = await run([Texts(("Well.", "answer = 5")), Text("What?"), Text(RIGHT), Text("20.")], monkeypatch)
    assert out["results"]["answer"]["output"] == 20
    assert len(requests) == 3


async def test_a_server_that_gives_no_text_at_all_leads_to_one_more_question(monkeypatch):
    out, _ = await run([Texts(()), Text(RIGHT), Text("20.")], monkeypatch)
    assert out["results"]["answer"]["output"] == 20


async def test_all_texts_of_the_embedded_model_are_counted():
    with Endpoint([Texts(("one two", "one two three", "one"))]) as endpoint:
        local = LocalEndpoint(url=endpoint.url, key=SecretStr("any"), weights=Path("model.gguf"))
        chat = build_embedded_model(local, name="local", timeout_s=20.0)
        result = await chat.agenerate([[HumanMessage("Count.")]], n=3)
    usage = result.generations[0][0].message.usage_metadata
    assert (usage["input_tokens"], usage["output_tokens"]) == (11, 2 + 3 + 1)
    assert usage["input_token_details"] == {"cache_read": 4}
    assert [each.text for each in result.generations[0]] == ["one two", "one two three", "one"]
