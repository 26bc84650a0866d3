"""A goal typed in a chat: messages in, and out the plan, its results and the answer, as chat front ends read them.

What Agent Chat UI does is written down from its source (https://github.com/langchain-ai/agent-chat-ui, fdc87e6):
`ensure-tool-responses.ts`, `messages/ai.tsx`, `thread/index.tsx`.
"""

import json
import re
from typing import Annotated, Any, TypedDict

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_core.messages import (
    AIMessage,
    AIMessageChunk,
    AnyMessage,
    HumanMessage,
    HumanMessageChunk,
    SystemMessage,
    ToolMessage,
)
from langchain_core.outputs import ChatGeneration, ChatGenerationChunk, ChatResult
from langchain_core.runnables import RunnableLambda
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, StateGraph, add_messages
from langgraph.types import Command

from agent.errors import UsageError
from agent.settings import Settings
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from tests.support.openai_endpoint import Endpoint
from tests.support.worlds import APPROVE, CHAIN, READ, World, ref, thread

PLAN = {
    "tasks": [
        {"id": "a", "tool": "look", "args": {"value": 1}, "description": "Look at *one*"},
        {"id": "b", "tool": "look", "args": {"value": ref("a", "value")}},
    ]
}
OTHER = {"tasks": [{"id": "c", "tool": "look", "args": {"value": 2}}]}


@pytest.fixture
def world():
    return World()


def graph_of(world, *replies, saver=None, **settings):
    texts = [reply if isinstance(reply, str) else json.dumps(reply) for reply in replies]
    model = FakeListChatModel(responses=texts) if replies else None
    return build_graph(
        tools=world.tools(), model=model, settings=Settings(**settings), checkpointer=saver or InMemorySaver()
    )


def kinds(messages) -> list[str]:
    return [f"{each.type}{len(each.tool_calls) or ''}" if each.type == "ai" else each.type for each in messages]


def results(messages) -> dict[str, str]:
    """By tool call: the text of its result; every call has one, and no result is without a call."""
    calls = [call["id"] for each in messages if isinstance(each, AIMessage) for call in each.tool_calls]
    found = {each.tool_call_id: each.content for each in messages if isinstance(each, ToolMessage)}
    assert list(found) == calls
    assert len({each.id for each in messages}) == len(messages)
    return found


def answer_as_chat_ui(messages) -> list[dict[str, Any]]:
    """`ensureToolCallsHaveResponses`: invented results for calls whose message is not followed by a tool message."""
    return [
        {"type": "tool", "tool_call_id": call["id"], "id": f"do-not-render-{n}", "name": call["name"],
         "content": "Successfully handled tool call."}
        for n, each in enumerate(messages)
        if isinstance(each, AIMessage) and each.tool_calls and kinds(messages[n + 1 : n + 2]) != ["tool"]
        for call in each.tool_calls
    ]  # fmt: skip


@pytest.mark.parametrize(
    "given",
    [
        [HumanMessage("look at 1")],
        HumanMessage("look at 1"),
        "look at 1",
        ["look at 1"],
        [("user", "look at 1")],
        ("human", "look at 1"),
        [{"role": "user", "content": "look at 1"}],
        {"type": "human", "content": "look at 1"},
        [{"type": "human", "id": "1", "content": [{"type": "text", "text": "look at 1"}]}],
        [HumanMessage(["look at 1"])],
        [HumanMessageChunk(content="look at 1")],
        [SystemMessage("Be brief."), HumanMessage("Hello"), AIMessage("Hello!"), HumanMessage("look at 1")],
        [HumanMessage("look at 1"), AIMessage("I shall.")],
    ],
)
async def test_the_last_message_of_a_human_is_the_goal(world, given):
    out = await graph_of(world, PLAN, "Both are 1 [a] [b].").ainvoke({"messages": given}, thread())
    assert out["status"] == "completed"
    assert out["messages"][-1].content == out["answer"] == "Both are 1 [a] [b]."
    assert all(each.id for each in out["messages"])
    humans = [each for each in out["messages"] if each.type == "human"]
    assert humans[-1].text == "look at 1"


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ([AIMessage("Hello.")], "none of the messages is a human's"),
        ([HumanMessage(" ")], "has no text"),
        ([HumanMessage([{"type": "image", "base64": "AAAA", "mime_type": "image/png"}])], "no text but image"),
        ([{"content": "no role"}], "cannot be read"),
        ([{"type": "human", "content": 7}], "cannot be read"),
        ([7], "cannot be read"),
    ],
)
async def test_messages_without_a_goal_are_refused_in_a_sentence(world, given, says):
    with pytest.raises(UsageError, match=says):
        await graph_of(world, PLAN).ainvoke({"messages": given}, thread())


async def test_a_goal_beside_messages_is_the_goal(world):
    given = {"goal": "look at 1", "messages": [HumanMessage("Hello")]}
    out = await graph_of(world, PLAN, "1 [a].").ainvoke(given, thread())
    assert [each.content for each in out["messages"] if each.type == "human"] == ["Hello", "look at 1"]
    out = await graph_of(world, PLAN, "1 [a].").ainvoke({"goal": "Hello", "messages": "Hello"}, thread())
    assert kinds(out["messages"])[:2] == ["human", "ai2"]
    assert (await graph_of(world).ainvoke({"plan": PLAN, "messages": "look"}, thread()))["status"] == "completed"


@pytest.mark.parametrize("dispatch", ["eager", "wave"])
async def test_a_plan_has_a_call_for_each_task_and_each_call_its_result(world, dispatch):
    graph = graph_of(world, dispatch=dispatch)
    out = await graph.ainvoke({"goal": "g", "plan": CHAIN}, thread())
    assert kinds(out["messages"]) == ["human", "ai4", "tool", "tool"]
    plan = out["messages"][1]
    assert [(call["name"], call["args"]) for call in plan.tool_calls] == [
        (task["tool"], task["args"]) for task in CHAIN["tasks"]
    ]
    assert all(len(call["id"]) <= 40 for call in plan.tool_calls)
    out = await graph.ainvoke(Command(resume=APPROVE), thread())
    assert kinds(out["messages"]) == ["human", "ai4", "tool", "tool", "tool", "tool", "ai"]
    assert [json.loads(text) for text in results(out["messages"]).values()] == [
        {"value": 1},
        {"value": 1},
        {"written": 1},
        {"value": 1},
    ]
    stored = (await graph.aget_state(thread())).values["messages"]
    assert stored == out["messages"]


async def test_text_of_a_plan_is_no_markup(world):
    plan = {"tasks": [{"id": "a", "tool": "look", "args": {"value": 1}, "description": "![x](http://x/) *now*\n# Ok"}]}
    out = await graph_of(world).ainvoke({"goal": "g", "plan": plan}, thread())
    assert r"1. !\[x\](http://x/) \*now\* # Ok (`a`)" in out["messages"][1].content


async def test_failures_revisions_and_what_never_ran_are_told(world):
    world.failing = {1}
    mended = {"tasks": [{"id": "a2", "tool": "look", "args": {"value": 3}}]}
    graph = graph_of(world, PLAN, mended, "3 [a2].", max_replans=1)
    out = await graph.ainvoke({"messages": "look"}, thread())
    assert out["replans"] == 1
    assert kinds(out["messages"]) == ["human", "ai2", "tool", "tool", "ai1", "tool", "ai"]
    failed, skipped, done = results(out["messages"]).values()
    assert failed.startswith("Failed: ")
    assert skipped
    assert json.loads(done) == {"value": 3}
    assert [each.status for each in out["messages"] if each.type == "tool"] == ["error", "error", "success"]


async def test_an_edited_call_and_a_refused_one_are_told_as_they_are(world):
    graph = graph_of(world, max_replans=0)
    plan = {"tasks": [*CHAIN["tasks"][:3], {"id": "v", "tool": "write", "args": {"value": 8}}]}
    await graph.ainvoke({"goal": "g", "plan": plan}, thread())
    edit = {"type": "edit", "edited_action": {"name": "write", "args": {"value": 7}}}
    answer = Command(resume={"decisions": [edit, {"type": "reject", "message": "no"}]})
    updates = [part async for part in graph.astream(answer, thread(), stream_mode="updates")]
    # The plan is written again once, in the place of the old one, and each result once.
    written = [each for part in updates for update in part.values() for each in (update or {}).get("messages") or ()]
    assert sorted(kinds(written)) == ["ai", "ai4", "tool", "tool"]
    out = (await graph.aget_state(thread())).values
    [call] = [call for call in out["messages"][1].tool_calls if call["name"] == "write" and call["args"]["value"] == 7]
    assert world.log[-1] == ("write", 7)
    assert json.loads(results(out["messages"])[call["id"]]) == {"written": 7}
    assert "Rejected by a person: no" in results(out["messages"]).values()


async def test_a_rollback_is_a_plan_of_its_own():
    done: list[str] = []

    async def post(name: str) -> str:
        done.append(f"post {name}")
        return name

    async def fail() -> str:
        raise PermissionError("no")

    async def take_back(name: str) -> str:
        done.append(f"take back {name}")
        return "gone"

    world = World()
    tools = [world.tool("post", post), world.tool("fail", fail, READ), world.tool("take_back", take_back)]
    plan = {
        "tasks": [
            {
                "id": "p",
                "tool": "post",
                "args": {"name": "x"},
                "rollback": {"tool": "take_back", "args": {"name": "x"}},
            },
            {"id": "f", "tool": "fail", "depends_on": ["p"], "on_failure": "abort"},
        ]
    }
    graph = build_graph(tools=tools, settings=Settings(approve="never"), checkpointer=InMemorySaver())
    out = await graph.ainvoke({"goal": "g", "plan": plan}, thread())
    assert done == ["post x", "take back x"]
    assert kinds(out["messages"]) == ["human", "ai2", "tool", "tool", "ai1", "tool", "ai"]
    assert len(results(out["messages"])) == 3


async def test_messages_hold_previews_of_what_is_large():
    rows = [{"n": n, "text": "x" * 50} for n in range(500)]
    world = World()

    async def read() -> list[dict[str, Any]]:
        return rows

    plan = {
        "tasks": [
            {"id": "r", "tool": "read"},
            {
                "id": "k",
                "tool": "keep",
                "args": {"rows": ref("r"), "text": "y" * 5_000, "more": list(range(99)), "n": 2**60},
            },
        ]
    }

    async def keep(rows: list[Any], text: str, more: list[int], n: int) -> str:
        return text * 10

    graph = build_graph(
        tools=[world.tool("read", read, READ), world.tool("keep", keep, READ)],
        settings=Settings(),
        checkpointer=InMemorySaver(),
    )
    out = await graph.ainvoke({"goal": "g", "plan": plan}, thread())
    first, second = results(out["messages"]).values()
    shown = json.loads(first)
    assert (shown["rows"], shown["rows_in_all"]) == (rows[: shown["rows_shown"]], 500)
    assert len(first) < 1_200
    assert len(second) < 1_200
    assert "(50,000 characters" in second
    args = out["messages"][1].tool_calls[1]["args"]
    assert (len(json.dumps(args)) < 1_000, args["n"], args["rows"]) == (True, str(2**60), ref("r"))


async def test_a_second_message_is_planned_with_the_first_goal_its_results_and_its_answer(world):
    with Endpoint([PLAN, "Both are 1 [a] [b].", OTHER, "It is 2 [c]."]) as endpoint:
        model = ChatOpenAI(model="scripted", base_url=endpoint.url, api_key="sk-test", timeout=10)
        graph = build_graph(tools=world.tools(), model=model, settings=Settings(), checkpointer=InMemorySaver())
        first = await graph.ainvoke({"messages": [HumanMessage("Look at number one")]}, thread())
        out = await graph.ainvoke({"messages": [("user", "And the next one?")]}, thread())
        planned = endpoint.requests[2].text
        assert "Earlier" not in endpoint.requests[0].text
    for said in ("Goal: Look at number one", 'Result of look: {"value": 1}', "Both are 1 [a] [b]."):
        assert said in planned
    assert planned.count("And the next one?") == 1
    assert (out["status"], set(out["results"]), out["answer"]) == ("completed", {"c"}, "It is 2 [c].")
    assert out["messages"][: len(first["messages"])] == first["messages"]
    assert kinds(out["messages"]) == ["human", "ai2", "tool", "tool", "ai", "human", "ai1", "tool", "ai"]
    results(out["messages"])


async def test_a_long_conversation_is_cut_at_its_old_end(world):
    past = [
        message for n in range(40) for message in (HumanMessage(f"goal {n:03}"), AIMessage(f"answer {n:03} " * 200))
    ]
    with Endpoint([PLAN, "1 [a]."]) as endpoint:
        model = ChatOpenAI(model="scripted", base_url=endpoint.url, api_key="sk-test", timeout=10)
        graph = build_graph(tools=world.tools(), model=model, settings=Settings(), checkpointer=InMemorySaver())
        await graph.ainvoke({"messages": [*past, HumanMessage("look")]}, thread())
        planned = endpoint.requests[0].text
    assert "goal 039" in planned
    assert "goal 000" not in planned
    assert len(planned) < 25_000


async def test_a_message_to_a_thread_that_waits_decides_nothing_and_says_what_waits(world):
    graph = graph_of(world)
    out = await graph.ainvoke({"messages": [HumanMessage("g")], "plan": CHAIN}, thread())
    asked, before = out["__interrupt__"], out["messages"]
    for n, text in enumerate(("yes, do it", "approve", "A new goal"), start=1):
        sent = [*answer_as_chat_ui(before), {"type": "human", "content": [{"type": "text", "text": text}]}]
        out = await graph.ainvoke({"messages": sent}, thread())
        assert (out["status"], out["__interrupt__"]) == ("awaiting_approval", asked)
        # Agent Chat UI shows what waits under the last message, if that is no human's.
        assert kinds(out["messages"]) == ["human", "ai4", "tool", "tool", *["human", "ai"] * n]
        assert "`write` (task `w`)" in out["messages"][-1].content
    state = await graph.aget_state(thread())
    assert (state.values["messages"], state.values["goal"]) == (out["messages"], "g")
    assert ("write", 1) not in world.log
    out = await graph.ainvoke(Command(resume=APPROVE), thread())
    assert (out["status"], world.log.count(("write", 1))) == ("completed", 1)
    assert len(out["messages"]) == 4 + 6 + 3
    again = await graph.aget_state(thread())
    assert again.values["messages"] == out["messages"]


async def test_results_that_a_front_end_invents_are_no_results(world):
    graph = graph_of(world)
    plan = {"tasks": [{"id": "w", "tool": "write", "args": {"value": 1}}]}
    out = await graph.ainvoke({"messages": "g", "plan": plan}, thread())
    invented = answer_as_chat_ui(out["messages"])
    assert len(invented) == 1
    out = await graph.ainvoke({"messages": [*invented, HumanMessage("well?")]}, thread())
    assert kinds(out["messages"]) == ["human", "ai1", "human", "ai"]
    out = await graph.ainvoke(Command(resume=APPROVE), thread())
    assert [json.loads(text) for text in results(out["messages"]).values()] == [{"written": 1}]


async def test_a_message_answers_a_question(world):
    world.failing = {1}
    asks = {"reason": "It is not said.", "decision": {"action": "ask", "question": "Which number?"}}
    retry = {"action": "retry", "changes": [{"task": "a", "tool": "look", "args": {"value": 3}}], "skip": []}
    with Endpoint([asks, {"reason": "As told.", "decision": retry}, "3 [a]."]) as endpoint:
        model = ChatOpenAI(model="scripted", base_url=endpoint.url, api_key="sk-test", timeout=10)
        graph = build_graph(tools=world.tools(), model=model, settings=Settings(), checkpointer=InMemorySaver())
        plan = {"tasks": [{"id": "a", "tool": "look", "args": {"value": 1}}]}
        await graph.ainvoke({"goal": "g", "plan": plan}, thread())
        out = await graph.ainvoke({"messages": [HumanMessage("Three.")]}, thread())
        assert "- Which number? Answer: Three." in endpoint.requests[1].text
    assert (out["status"], [value for _, value in world.log]) == ("completed", [1, 3])
    assert "Three." in [each.content for each in out["messages"] if each.type == "human"]


async def test_a_question_before_there_is_a_plan_is_a_message_too(world):
    with Endpoint([PLAN, "1 [a]."]) as endpoint:
        model = ChatOpenAI(model="scripted", base_url=endpoint.url, api_key="sk-test", timeout=10)
        settings = Settings(max_model_calls=2, escalate_budgets=True)
        graph = build_graph(tools=world.tools(), model=model, settings=settings, checkpointer=InMemorySaver())
        await graph.ainvoke({"messages": "look"}, thread())
        out = await graph.ainvoke({"messages": "again"}, thread(), context={"max_model_calls": 0})
    assert out["status"] == "awaiting_approval"
    assert kinds(out["messages"])[-2:] == ["human", "ai"]
    assert "model calls" in out["messages"][-1].content


async def test_what_a_budget_ended_is_told_again_when_it_goes_on(world):
    tasks = [{"id": f"t{n}", "tool": "look", "args": {"value": n}} for n in range(4)]
    saver = InMemorySaver()
    graph = graph_of(world, saver=saver, dispatch="wave", deadline_s=1e-9, approve="never")
    out = await graph.ainvoke({"goal": "g", "plan": {"tasks": tasks}}, thread())
    assert (out["status"], world.log) == ("failed", [])
    assert all(text.startswith("Not finished: ") for text in results(out["messages"]).values())
    out = await graph_of(world, saver=saver, approve="never").ainvoke(None, thread())
    assert (out["status"], len(world.log)) == ("completed", 4)
    assert kinds(out["messages"]) == ["human", "ai4", *["tool"] * 4, "ai", "ai"]
    assert [json.loads(text) for text in results(out["messages"]).values()] == [{"value": n} for n in range(4)]


async def test_the_answer_streams_and_the_plan_of_the_model_does_not(world):
    text = "The first is 1 [a].\n\nThe second is 1 too [b].\n\nSo both are the same."
    with Endpoint([PLAN, text]) as endpoint:
        model = ChatOpenAI(model="scripted", base_url=endpoint.url, api_key="sk-test", timeout=10)
        graph = build_graph(tools=world.tools(), model=model, settings=Settings(), checkpointer=InMemorySaver())
        stream = graph.astream({"messages": "look"}, thread(), stream_mode=["messages", "values"])
        parts, last = [], {}
        async for mode, part in stream:
            if mode == "messages":
                parts.append((part[1]["langgraph_node"], part[0]))
            else:
                last = part
        assert endpoint.requests[1].body["stream"] is True
    assert [(node, message.type) for node, message in parts if not isinstance(message, AIMessageChunk)] == [
        ("wave_dispatch", "ai"),
        ("wave_dispatch", "tool"),
        ("wave_dispatch", "tool"),
    ]
    pieces = [message for node, message in parts if node == "answer"]
    assert len(pieces) > 10
    assert "".join(piece.content for piece in pieces) == text == last["answer"]
    assert {piece.id for piece in pieces} == {last["messages"][-1].id}


async def test_a_paragraph_that_the_results_do_not_support_is_never_streamed(world):
    text = "The first is 1 [a].\n\nThe second is 4711 [b].\n\nBoth are 1 [a]."
    with Endpoint([PLAN, text]) as endpoint:
        model = ChatOpenAI(model="scripted", base_url=endpoint.url, api_key="sk-test", timeout=10)
        graph = build_graph(tools=world.tools(), model=model, settings=Settings(), checkpointer=InMemorySaver())
        stream = graph.astream({"messages": "look"}, thread(), stream_mode="messages")
        pieces = [message.content async for message, meta in stream if meta["langgraph_node"] == "answer"]
        answer = (await graph.aget_state(thread())).values["answer"]
    assert "4711" not in "".join(pieces)
    assert "".join(pieces) == answer


_THOUGHT = '<think>The plan is {"tasks": 9}. Hm, 4711?</think>'
_BLOCKS = [{"type": "thinking", "thinking": "Hm, 4711?", "signature": "s"}]


def thinking_in_text(text: str) -> AIMessage:
    return AIMessage(f"{_THOUGHT}\n{text}")


def thinking_in_blocks(text: str) -> AIMessage:
    return AIMessage([*_BLOCKS, {"type": "text", "text": text}])


class StreamingModel(BaseChatModel):
    """A chat model that is no `ChatOpenAI` and streams its replies, in blocks where they have blocks."""

    replies: list[AIMessage]
    #: Whether it takes a schema, as other providers' models do, by a tool.
    structured: bool = False

    @property
    def _llm_type(self) -> str:
        return "streaming"

    def _generate(self, messages, stop=None, run_manager=None, **more):
        return ChatResult(generations=[ChatGeneration(message=self.replies.pop(0))])

    def _stream(self, messages, stop=None, run_manager=None, **more):
        reply = self.replies.pop(0)
        parts = [[block] for block in reply.content] if isinstance(reply.content, list) else None
        for part in parts or re.findall(r"\S+\s*|\s+", reply.content):
            chunk = ChatGenerationChunk(message=AIMessageChunk(part))
            if run_manager:
                run_manager.on_llm_new_token(str(chunk.text), chunk=chunk)
            yield chunk

    def with_structured_output(self, schema, *, include_raw=False, **more):
        if not self.structured:
            raise NotImplementedError
        parsed = RunnableLambda(lambda raw: {"raw": raw, "parsed": json.loads(raw.text), "parsing_error": None})
        return self | parsed


WRAPPERS = {
    "alone": lambda model: model,
    "bind": lambda model: model.bind(stop=["never"]),
    "with_retry": lambda model: model.with_retry(),
    "with_fallbacks": lambda model: model.with_fallbacks([model]),
    "with_config": lambda model: model.with_config(tags=["mine"]),
}


@pytest.mark.parametrize("thinking", [thinking_in_text, thinking_in_blocks, AIMessage])
@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize("structured", [False, True])
async def test_no_plan_and_no_thought_of_another_model_is_streamed(world, thinking, wrapper, structured):
    text = "The first is 1 [a].\n\nThe second is 1 too [b]."
    plan = AIMessage(json.dumps(PLAN)) if structured else thinking(json.dumps(PLAN))
    model = WRAPPERS[wrapper](StreamingModel(replies=[plan, thinking(text)], structured=structured))
    graph = build_graph(tools=world.tools(), model=model, settings=Settings(), checkpointer=InMemorySaver())
    stream = graph.astream({"messages": "look"}, thread(), stream_mode=["messages", "values"], subgraphs=True)
    parts, last = [], {}
    async for _, mode, part in stream:
        if mode == "messages":
            parts.append((part[1]["langgraph_node"], part[0]))
        else:
            last = part
    assert last["answer"] == text
    assert {node for node, _ in parts} == {"wave_dispatch", "answer"}
    pieces = [message for node, message in parts if node == "answer"]
    assert "".join(str(piece.text) for piece in pieces) == text
    assert len(pieces) > 5
    assert {piece.id for piece in pieces} == {last["messages"][-1].id}
    shown = json.dumps([message.model_dump(mode="json") for _, message in parts] + [last["answer"]], default=str)
    assert [word for word in ("4711", "think", '\\"tasks\\": [') if word in shown] == []


async def test_a_conversation_goes_on_in_another_process(world, tmp_path):
    url = f"sqlite:///{tmp_path / 'chat.db'}"
    async with open_persistence(url) as stored:
        graph = build_graph(tools=world.tools(), persistence=stored)
        first = await graph.ainvoke({"messages": "g", "plan": CHAIN}, thread())
    async with open_persistence(url) as stored:
        graph = build_graph(tools=world.tools(), persistence=stored)
        out = await graph.ainvoke(Command(resume=APPROVE), thread())
        assert out["messages"][: len(first["messages"])] == first["messages"]
        assert kinds(out["messages"]) == ["human", "ai4", "tool", "tool", "tool", "tool", "ai"]
        results(out["messages"])


class Chat(TypedDict):
    messages: Annotated[list[AnyMessage], add_messages]


async def test_a_graph_of_messages_has_it_as_a_node_and_as_a_subagent(world):
    parent = StateGraph(Chat)
    parent.add_node(
        "work", build_graph(tools=world.tools(), model=FakeListChatModel(responses=[json.dumps(PLAN), "1 [a]."]))
    )
    parent.add_edge(START, "work")
    out = await parent.compile(checkpointer=InMemorySaver()).ainvoke({"messages": [("user", "look")]}, thread())
    assert kinds(out["messages"]) == ["human", "ai2", "tool", "tool", "ai"]
    assert out["messages"][-1].content == "1 [a]."
    # As deepagents' `CompiledSubAgent` calls one.
    alone = build_graph(tools=world.tools(), model=FakeListChatModel(responses=[json.dumps(PLAN), "1 [a]."]))
    out = await alone.ainvoke({"messages": [HumanMessage("look")], "files": {}})
    assert out["messages"][-1].text == "1 [a]."


def test_the_blocking_call_does_the_same(world):
    out = graph_of(world, PLAN, "1 [a].").invoke({"messages": [{"role": "user", "content": "look"}]}, thread())
    assert (out["status"], out["messages"][-1].content) == ("completed", "1 [a].")
