"""Models that are misspelt, missing or failing: said at once, told in words, and resumed where they failed."""

import json
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from pydantic import Field

from agent.errors import UsageError
from agent.settings import Settings
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from tests.support.command_line import CommandLine
from tests.support.openai_endpoint import Body, Endpoint, Failure, Request
from tests.support.worlds import World, ref, thread

PLAN = {
    "tasks": [
        {"id": "a", "tool": "look", "args": {"value": 1}},
        {"id": "b", "tool": "look", "args": {"value": ref("a", "value")}},
    ]
}
MENDED = {
    "tasks": [
        {"id": "a2", "tool": "look", "args": {"value": 2}},
        {"id": "b", "tool": "look", "args": {"value": ref("a2", "value")}},
    ]
}
NO_MODEL = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "PLANWAVE_MODEL")


class ProviderError(Exception):
    def __init__(self, status: int) -> None:
        super().__init__("scripted failure")
        self.status_code = status


class Scripted(BaseChatModel):
    """A model of another maker that can call no tools; an exception in the script is raised."""

    script: Any = Field(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def _generate(self, messages, stop=None, run_manager=None, **kwargs) -> ChatResult:
        entry = self.script.pop(0)
        if isinstance(entry, Exception):
            raise entry
        text = entry if isinstance(entry, str) else json.dumps(entry)
        return ChatResult(generations=[ChatGeneration(message=AIMessage(text))])


@pytest.fixture
def world():
    return World()


def graph_of(world, model, *, saver=None, **settings):
    return build_graph(
        tools=world.tools(), model=model, settings=Settings(**settings), checkpointer=saver or InMemorySaver()
    )


@pytest.mark.parametrize("name", ["gpt-5-mini", "openai:", "antropic:claude", "anthropic:claude", 42])
async def test_a_misspelt_model_is_told_when_the_graph_is_built(world, name):
    with pytest.raises(UsageError, match=f"{name}"):
        graph_of(world, name)


@pytest.mark.parametrize("name", ["gpt-5-mini", "antropic:claude", "mistralai:small"])
async def test_a_misspelt_model_is_told_where_a_plan_is_given(world, name, monkeypatch):
    graph = graph_of(world, None)
    with pytest.raises(UsageError, match=name):
        await graph.ainvoke({"goal": "look", "plan": PLAN}, thread("by context"), context={"model": name})
    monkeypatch.setenv("PLANWAVE_MODEL", name)
    with pytest.raises(UsageError, match=name):
        await graph.ainvoke({"goal": "look", "plan": PLAN}, thread())
    assert (await graph.aget_state(thread())).created_at is None
    assert world.log == []
    monkeypatch.delenv("PLANWAVE_MODEL")
    assert (await graph.ainvoke({"goal": "look", "plan": PLAN}, thread()))["status"] == "completed"


@pytest.mark.parametrize("answer", [Failure(404, "The model `gpt-5-mimi` does not exist"), Failure(401, "bad key")])
async def test_a_model_that_the_server_does_not_know_is_told_in_the_answer(world, answer, monkeypatch):
    with Endpoint(lambda _: answer) as endpoint:
        for name, value in endpoint.env.items():
            monkeypatch.setenv(name, value)
        out = await graph_of(world, "openai:gpt-5-mimi").ainvoke({"goal": "look", "plan": PLAN}, thread())
    assert out["status"] == "completed"
    assert "no model could write the answer" in out["answer"]
    assert answer.message in out["answer"]


FAILURES = {
    "401": lambda: [ProviderError(401)],
    "429": lambda: [ProviderError(429)] * 3,
    "529": lambda: [ProviderError(529)] * 3,
    "a bug": lambda: [ValueError("odd")],
    "connection": lambda: [ConnectionError("refused")] * 3,
}


@pytest.mark.parametrize("make", FAILURES.values(), ids=FAILURES)
async def test_a_run_that_failed_only_for_its_model_is_resumed_when_that_is_mended(world, make, monkeypatch):
    chat = Scripted(script=make())
    graph = graph_of(world, chat)
    out = await graph.ainvoke({"goal": "look at 1"}, thread())
    assert (out["status"], world.log) == ("failed", [])
    assert out["problems"]
    chat.script.extend([ProviderError(401), PLAN, "Both are 1 [a] [b]."])
    again = await graph.ainvoke(None, thread())
    assert again["status"] == "failed"
    assert "refused the key" in again["problems"][0]
    out = await graph.ainvoke(None, thread())
    assert (out["status"], out["answer"]) == ("completed", "Both are 1 [a] [b].")
    assert out["problems"] == []
    assert world.log == [("look", 1), ("look", 1)]
    assert await graph.ainvoke(None, thread())
    assert world.log == [("look", 1), ("look", 1)]


async def test_a_key_that_is_set_later_lets_the_run_go_on(world, monkeypatch, tmp_path):
    for name in NO_MODEL:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("PLANWAVE_LOCAL_GGUF", str(tmp_path / "none.gguf"))
    async with open_persistence(f"sqlite:///{tmp_path / 'threads.db'}") as stored:
        graph = build_graph(tools=world.tools(), persistence=stored)
        out = await graph.ainvoke({"goal": "look at 1"}, thread())
        assert out["status"] == "failed"
        with Endpoint([PLAN, "Both are 1 [a] [b]."], key="right") as endpoint:
            monkeypatch.setenv("OPENAI_BASE_URL", endpoint.url)
            monkeypatch.setenv("OPENAI_API_KEY", "wrong")
            out = await graph.ainvoke(None, thread())
            assert (out["status"], "refused the key" in out["answer"]) == ("failed", True)
            monkeypatch.setenv("OPENAI_API_KEY", "right")
            out = await graph.ainvoke(None, thread())
    assert (out["status"], out["answer"]) == ("completed", "Both are 1 [a] [b].")


async def test_a_replan_that_failed_only_for_its_model_is_made_when_that_is_mended(world):
    world.failing = {1}
    chat = Scripted(script=[PLAN, ProviderError(401)])
    graph = graph_of(world, chat, escalate=False, max_replans=1)
    out = await graph.ainvoke({"goal": "look"}, thread())
    assert (out["status"], out["replans"]) == ("failed", 1)
    assert "refused the key" in out["answer"]
    assert out["results"]["b"]["status"] == "skipped"
    chat.script.extend([MENDED, "2 [a2] [b]."])
    out = await graph.ainvoke(None, thread())
    assert (out["status"], out["replans"]) == ("completed", 1)
    assert {task: result["status"] for task, result in out["results"].items()} == {
        "a": "failed",
        "a2": "done",
        "b": "done",
    }
    assert world.log == [("look", 1), ("look", 2), ("look", 2)]


async def test_a_human_is_asked_when_a_replan_has_no_model_and_can_have_it_tried_again(world):
    world.failing = {1}
    chat = Scripted(script=[PLAN, ProviderError(401)])
    graph = graph_of(world, chat)
    out = await graph.ainvoke({"goal": "look"}, thread())
    assert out["status"] == "awaiting_approval"
    assert "refused the key" in json.dumps(out["__interrupt__"][0].value)
    chat.script.extend([MENDED, "2 [a2] [b]."])
    out = await graph.ainvoke(Command(resume={"decisions": [{"type": "approve"}]}), thread())
    assert (out["status"], world.log[-1]) == ("completed", ("look", 2))


async def test_a_plan_that_never_compiled_is_not_resumed(world):
    chat = Scripted(script=["no json"] * 9)
    graph = graph_of(world, chat, max_repairs=1)
    assert (await graph.ainvoke({"goal": "look"}, thread()))["status"] == "failed"
    left = len(chat.script)
    assert (await graph.ainvoke(None, thread()))["status"] == "failed"
    assert len(chat.script) == left


def test_the_command_resumes_a_run_that_had_no_model(planwave: CommandLine) -> None:
    plan = {"tasks": [{"id": "a", "tool": "query_database", "args": {"sql": "SELECT 7 AS seven"}}]}
    with Endpoint([Failure(401, "bad key"), plan, "It is 7 [a]."], supports=["json_object"]) as endpoint:
        planwave.env |= endpoint.env
        first = planwave.here("run", "list the tables", "--thread", "t", "--model", "openai:scripted", "--json")
        assert first.exit_code == 1
        assert "refused the key" in first.stdout
        resumed = planwave.here("resume", "t", "--json")
    assert resumed.exit_code == 0
    assert json.loads(resumed.stdout)["answer"] == "It is 7 [a]."


@pytest.mark.parametrize("name", ["gpt-5-mini", "antropic:claude", "anthropic:claude"])
def test_the_command_refuses_a_misspelt_model_beside_a_plan(planwave: CommandLine, name: str) -> None:
    plan = planwave.plan_file({"id": "a", "tool": "describe_data", "args": {}})
    ran = planwave.here("run", "look", "--plan", plan, "--model", name)
    assert ran.exit_code == 2
    assert name in ran.stderr


async def test_a_prompt_that_was_cut_is_said_with_the_answer(world):
    def reply(request: Request):
        tokens = len(request.text) // 4
        if tokens + request.body["max_completion_tokens"] > 2_000:
            words = f"This model's maximum context length is 2000 tokens, and your request has {tokens} input tokens."
            return Failure(400, words, code="context_length_exceeded")
        return "Both are 1 [a] [b]." if "plan" not in request.text[:60].lower() else PLAN

    with Endpoint(reply, supports=["json_object"]) as endpoint:
        chat = ChatOpenAI(model="m", base_url=endpoint.url, api_key="k", use_responses_api=False)
        out = await graph_of(world, chat).ainvoke({"goal": "look at 1"}, thread())
    assert out["status"] == "completed"
    assert "context of 2,000 tokens" in out["answer"]


async def test_a_plan_of_another_makers_model_is_run_and_answered(world):
    class Calling(Scripted):
        def bind_tools(self, tools, **kwargs):
            return self.bind(tools=tools)

        def _generate(self, messages, stop=None, run_manager=None, **kwargs) -> ChatResult:
            if "tools" not in kwargs:
                return super()._generate(messages)
            call = {"name": "plan", "args": self.script.pop(0), "id": "c"}
            return ChatResult(generations=[ChatGeneration(message=AIMessage("", tool_calls=[call]))])

    typed = {
        "tasks": [
            {"id": "a", "tool": "look", "args": {"value": 1}},
            {"id": "b", "tool": "look", "args": {"value": ref("a", "value")}},
        ]
    }
    chat = Calling(script=[typed, "<think>Hm.</think>Both are 1 [a] [b]."])
    out = await graph_of(world, chat.with_retry()).ainvoke({"goal": "look at 1"}, thread())
    assert (out["status"], out["answer"]) == ("completed", "Both are 1 [a] [b].")


async def test_reasoning_is_never_in_an_answer(world):
    chat = Scripted(script=[PLAN, "<think>The user wants 1.\n"])
    out = await graph_of(world, chat).ainvoke({"goal": "look at 1"}, thread())
    assert out["status"] == "completed"
    assert "user wants" not in out["answer"]


async def test_an_error_inside_a_reply_reaches_the_user_in_the_providers_words(world, monkeypatch):
    body = Body(b'{"error": {"message": "Insufficient credits", "code": 402}}', "application/json")
    with Endpoint(lambda _: body) as endpoint:
        for name, value in endpoint.env.items():
            monkeypatch.setenv(name, value)
        out = await graph_of(world, "openai:scripted").ainvoke({"goal": "look at 1"}, thread())
    assert out["status"] == "failed"
    assert "Insufficient credits" in out["answer"]
    assert "OPENAI_BASE_URL" not in out["answer"]
