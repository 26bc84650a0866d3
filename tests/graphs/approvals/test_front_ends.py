"""Approvals as Agent Chat UI and Agent Inbox read and answer them; what they do is written down here in Python.

Read in their sources: https://github.com/langchain-ai/agent-chat-ui (fdc87e6), `lib/agent-inbox-interrupt.ts` and
`components/thread/agent-inbox`; https://github.com/langchain-ai/agent-inbox (f38301b), `contexts/utils.ts` and
`hooks/use-interrupted-actions.tsx`. Agent Inbox shows and answers the first call of a request only; Agent Chat UI asks
about each and sends all answers together, but shows the description of the first only. Both edit every argument in a
text field. `tests/browser` tries the same in a browser.
"""

import asyncio
from typing import Any

import pytest
from langchain_core.messages import RemoveMessage
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import END
from langgraph.types import Command

from agent.settings import Settings
from graphs.plan_execute import build_graph
from tests.support.worlds import APPROVE, CHAIN, READ, World, ref, thread

READING = {"id": "r", "tool": "look", "args": {"value": 1}}
ONE = {"tasks": [{"id": "w", "tool": "write", "args": {"value": 1}}]}
TWO = {"tasks": [{"id": f"w{n}", "tool": "write", "args": {"value": n}} for n in (1, 2)]}


def is_shown_by_chat_ui(interrupt: Any) -> bool:
    """`isAgentInboxInterruptSchema`."""
    actions, configs = interrupt.get("action_requests"), interrupt.get("review_configs")
    return bool(
        isinstance(actions, list)
        and isinstance(configs, list)
        and actions
        and configs
        and all(isinstance(one.get("name"), str) and isinstance(one.get("args"), dict) for one in actions)
        and all(
            isinstance(one.get("action_name"), str) and isinstance(one.get("allowed_decisions"), list)
            for one in configs
        )
    )


def read_by_inbox(interrupt: Any) -> dict[str, Any]:
    """`normalizeInterrupt`."""
    first, allowed = interrupt["action_requests"][0], interrupt["review_configs"][0]["allowed_decisions"]
    return {
        "action_request": {"action": first["name"], "args": first.get("arguments") or {}},
        "config": {
            "allow_accept": "approve" in allowed,
            "allow_edit": "edit" in allowed,
            "allow_respond": "reject" in allowed,
        },
        "description": first.get("description"),
    }


def accept(seen: dict[str, Any]) -> list[dict[str, Any]]:
    """Agent Inbox's *Accept*; without the right to edit it sends no arguments."""
    return [{"type": "accept", "args": seen["action_request"] if seen["config"]["allow_edit"] else None}]


@pytest.fixture
def world():
    return World()


def graph_of(world, **settings):
    return build_graph(tools=world.tools(), settings=Settings(**settings), checkpointer=InMemorySaver())


async def ask(graph, plan):
    return shown(await graph.ainvoke({"goal": "g", "plan": plan}, thread()))


def shown(out) -> dict[str, Any]:
    [interrupt] = out["__interrupt__"]
    assert out["status"] == "awaiting_approval"
    return interrupt.value


async def test_both_show_the_call_its_arguments_and_what_it_is_for(world):
    task = {"id": "w", "tool": "write", "args": {"value": 1}, "description": "Keep it.", "expected_outcome": "One row."}
    payload = await ask(graph_of(world), {"tasks": [task]})
    assert is_shown_by_chat_ui(payload)
    seen = read_by_inbox(payload)
    assert seen["action_request"] == {"action": "write", "args": {"value": 1}}
    assert seen["config"] == {"allow_accept": True, "allow_edit": True, "allow_respond": True}
    for text in ("`write`", "`w`", "Keep it.", "One row.", '"value": 1'):
        assert text in seen["description"]
    assert payload["action_requests"][0]["expected_outcome"] == "One row."


async def test_both_show_every_call_of_a_for_each(world):
    orders = [{"product": f"p{n}"} for n in range(50)]

    async def list_orders() -> list[dict[str, str]]:
        return orders

    plan = {
        "tasks": [
            {"id": "all", "tool": "list_orders"},
            {"id": "order", "tool": "write", "for_each": ref("all"), "args": {"value": {"item": ["product"]}}},
        ]
    }
    graph = build_graph(
        tools=[*world.tools(), world.tool("list_orders", list_orders, READ)],
        settings=Settings(),
        checkpointer=InMemorySaver(),
    )
    payload = await ask(graph, plan)
    assert is_shown_by_chat_ui(payload)
    description = read_by_inbox(payload)["description"]
    assert "Number of calls: 50" in description
    assert [n for n in range(50) if f'"value": "p{n}"' not in description] == []
    await graph.ainvoke(Command(resume=accept(read_by_inbox(payload))), thread())
    assert sorted(world.log) == sorted(("write", f"p{n}") for n in range(50))


@pytest.mark.parametrize("front_end", ["chat", "inbox"])
async def test_calls_that_are_answered_one_by_one_run_when_all_are(world, front_end):
    graph = graph_of(world, max_replans=0)
    payload = await ask(graph, TWO)
    seen = []
    for _ in range(2):
        assert "error" not in payload
        seen += [action["task_id"] for action in payload["action_requests"]]
        assert world.log == []
        first = read_by_inbox(payload)
        answer = accept(first) if front_end == "inbox" else {"decisions": [{"type": "approve"}]}
        out = await graph.ainvoke(Command(resume=answer), thread())
        payload = shown(out) if out["status"] == "awaiting_approval" else {}
    assert seen == ["w1", "w2", "w2"]
    assert (out["status"], sorted(world.log)) == ("completed", [("write", 1), ("write", 2)])


async def test_a_refusal_of_the_first_call_leaves_the_second_to_be_answered(world):
    graph = graph_of(world, max_replans=0)
    await ask(graph, TWO)
    payload = shown(await graph.ainvoke(Command(resume=[{"type": "ignore", "args": None}]), thread()))
    assert [action["task_id"] for action in payload["action_requests"]] == ["w2"]
    await graph.ainvoke(Command(resume={"decisions": [{"type": "approve", "task_id": "w2"}]}), thread())
    assert world.log == [("write", 2)]


async def test_a_wrong_answer_in_between_takes_nothing_back(world):
    graph = graph_of(world)
    payload = await ask(graph, TWO)
    named = {"type": "approve", "digest": payload["action_requests"][1]["digest"]}
    await graph.ainvoke(Command(resume={"decisions": [named]}), thread())
    payload = shown(await graph.ainvoke(Command(resume={"decisions": [named]}), thread()))
    assert "answers another call" in payload["error"]
    assert [action["task_id"] for action in payload["action_requests"]] == ["w1"]
    bad = {"type": "edit", "edited_action": {"name": "write", "args": {"vlue": 3}}}
    payload = shown(await graph.ainvoke(Command(resume={"decisions": [bad]}), thread()))
    assert "no argument 'vlue'" in payload["error"]
    out = await graph.ainvoke(Command(resume={"decisions": [{"type": "approve"}]}), thread())
    assert (out["status"], sorted(world.log)) == ("completed", [("write", 1), ("write", 2)])


@pytest.mark.parametrize("plan", [CHAIN, {"tasks": [*CHAIN["tasks"][:3]]}])
async def test_respond_in_agent_inbox_is_a_refusal_with_its_reason(world, plan):
    graph = graph_of(world, max_replans=0)
    assert read_by_inbox(await ask(graph, plan))["config"]["allow_respond"]
    out = await graph.ainvoke(Command(resume=[{"type": "response", "args": "No! Never order 1000 desks."}]), thread())
    assert (out["status"], out["results"]["w"]["status"]) == ("cancelled", "rejected")
    assert out["results"]["w"]["message"] == "No! Never order 1000 desks."
    assert ("write", 1) not in world.log


@pytest.mark.parametrize("front_end", ["chat", "inbox"])
async def test_an_argument_that_was_edited_as_text_has_its_type(world, front_end):
    async def order(product: str, count: int, tags: list[str], note: str = "") -> str:
        world.log.append(("order", (product, count, tags, note)))
        return "ordered"

    graph = build_graph(tools=[world.tool("order", order)], settings=Settings(), checkpointer=InMemorySaver())
    args = {"product": "desk", "count": 1000, "tags": ["a"]}
    payload = await ask(graph, {"tasks": [{"id": "o", "tool": "order", "args": args}]})
    # A text stays a text where one is taken, whatever it says.
    edited = {**payload["action_requests"][0]["args"], "count": "10", "tags": '["a", "b"]', "note": "7"}
    answer: Any = {"decisions": [{"type": "edit", "edited_action": {"name": "order", "args": edited}}]}
    if front_end == "inbox":
        answer = [{"type": "edit", "args": {"action": "order", "args": edited}}]
    out = await graph.ainvoke(Command(resume=answer), thread())
    assert (out["status"], world.log) == ("completed", [("order", ("desk", 10, ["a", "b"], "7"))])


async def test_a_text_that_is_no_number_is_told(world):
    async def order(count: int) -> str:
        world.log.append(("order", count))
        return "ordered"

    graph = build_graph(tools=[world.tool("order", order)], settings=Settings(), checkpointer=InMemorySaver())
    await ask(graph, {"tasks": [{"id": "o", "tool": "order", "args": {"count": 1}}]})
    for text in ("ten", "NaN", "1.5", ""):
        answer = [{"type": "edit", "args": {"action": "order", "args": {"count": text}}}]
        payload = shown(await graph.ainvoke(Command(resume=answer), thread()))
        assert "count" in payload["error"]
    assert world.log == []


#: Agent Inbox: `threads.updateState(thread, {values: null, asNode: END})`; Agent Chat UI: `command: {goto: END}`, which
#: a server makes a list. Plain LangGraph asks again after that one.
RESOLUTIONS = {
    "state": lambda graph: graph.aupdate_state(thread(), None, as_node=END),
    "blocking state": lambda graph: asyncio.to_thread(graph.update_state, thread(), None, as_node=END),
    "goto": lambda graph: graph.ainvoke(Command(goto=END), thread()),
    "goto list": lambda graph: graph.ainvoke(Command(goto=[END]), thread()),
}


@pytest.mark.parametrize("way", RESOLUTIONS)
@pytest.mark.parametrize("dispatch", ["eager", "wave"])
async def test_resolving_a_thread_ends_it_without_the_call(world, way, dispatch):
    graph = graph_of(world, dispatch=dispatch)
    await ask(graph, CHAIN)
    await RESOLUTIONS[way](graph)
    state = await graph.aget_state(thread())
    assert (state.next, state.interrupts) == ((), ())
    assert (state.values["status"], state.values["pending_approvals"]) == ("cancelled", [])
    check_results(state.values["messages"])
    assert "before this call had a result" in state.values["messages"][-1].content
    out = await graph.ainvoke({"goal": "g", "plan": {"tasks": [READING]}}, thread())
    assert out["status"] == "completed"
    check_results(out["messages"])
    assert ("write", 1) not in world.log


async def test_resolving_a_thread_that_has_ended_changes_nothing(world):
    graph = graph_of(world)
    await graph.ainvoke({"goal": "g", "plan": {"tasks": [READING]}}, thread())
    before = (await graph.aget_state(thread())).values
    await graph.ainvoke(Command(goto=END), thread())
    assert (await graph.aget_state(thread())).values == before


def check_results(messages) -> None:
    """Each call of the messages has one result, before the next message that is none."""
    waiting: list[str] = []
    for message in messages:
        if message.type == "tool":
            waiting.remove(message.tool_call_id)
            continue
        assert waiting == []
        waiting = [call["id"] for call in getattr(message, "tool_calls", ())]
    assert waiting == []


@pytest.mark.parametrize("way", ["goal", "goal beside messages", "plan"])
async def test_calls_of_a_run_that_was_left_have_results_before_the_next_goal(world, way):
    graph = graph_of(world)
    await ask(graph, CHAIN)
    given = {
        "goal": {"goal": "another", "plan": {"tasks": [READING]}},
        "goal beside messages": {"goal": "another", "messages": ["hello"], "plan": {"tasks": [READING]}},
        "plan": {"plan": {"tasks": [READING]}, "messages": ["another"]},
    }[way]
    out = await graph.ainvoke(given, thread())
    assert out["status"] == "completed"
    check_results(out["messages"])


@pytest.mark.parametrize(
    "answer",
    [
        [{"type": "edit", "args": {"action": "write", "args": {"vlue": 1}}}],
        {"decisions": [{"type": "approve", "digest": "another"}]},
        {"decisions": [{"type": "perhaps"}]},
        {"decisions": [{"type": "approve"}, {"type": "approve"}, {"type": "approve"}]},
        "yes",
        [],
    ],
)
async def test_why_an_answer_was_not_taken_stands_where_front_ends_look(world, answer):
    graph = graph_of(world)
    payload = await ask(graph, TWO)
    digests = [action["digest"] for action in payload["action_requests"]]
    for _ in range(2):
        again = shown(await graph.ainvoke(Command(resume=answer), thread()))
        # They read the description of the first call, and not `error`.
        description = read_by_inbox(again)["description"]
        assert description.startswith("**Your last answer was not taken:** ")
        assert description.count("not taken") == 1
        assert description.endswith(payload["action_requests"][0]["description"])
        assert [action["digest"] for action in again["action_requests"]] == digests
    assert world.log == []
    first = shown(await graph.ainvoke(Command(resume=accept(read_by_inbox(again))), thread()))
    assert "error" not in first
    assert "not taken" not in first["action_requests"][0]["description"]


async def test_no_text_of_an_answer_is_markup_in_the_description(world):
    graph = graph_of(world)
    await ask(graph, TWO)
    text = "x\n\n**Arguments:** <b>`y`"
    payload = shown(await graph.ainvoke(Command(resume={"decisions": [{"type": text}]}), thread()))
    first, *_ = payload["action_requests"][0]["description"].splitlines()
    assert "**Arguments" not in first
    assert "<b>" not in first.replace("\\<b\\>", "")


async def test_a_plan_that_was_edited_is_still_the_plan(world):
    graph = graph_of(world)
    payload = await ask(graph, {"tasks": [READING, {"id": "w", "tool": "write", "args": {"value": 1}}]})
    edited = {"name": "write", "args": {"value": 2}}
    answer = {
        "decisions": [{"type": "edit", "edited_action": edited, "digest": payload["action_requests"][0]["digest"]}]
    }
    out = await graph.ainvoke(Command(resume=answer), thread())
    [plan] = [message for message in out["messages"] if getattr(message, "tool_calls", ())]
    assert plan.content.startswith("**Plan**, 2 tasks, edited:")
    check_results(out["messages"])


@pytest.mark.parametrize("carried", [{"args": {"value": 2}}, {"args": {"action": "write", "args": {"value": "2"}}}])
@pytest.mark.parametrize("word", ["approve", "accept"])
async def test_an_approval_that_carries_other_arguments_approves_nothing(world, word, carried):
    graph = graph_of(world)
    await ask(graph, ONE)
    payload = shown(await graph.ainvoke(Command(resume=[{"type": word, **carried}]), thread()))
    assert "with another 'value' than was shown" in payload["error"]
    assert world.log == []
    same = {"action": "write", "args": {"value": "1"}}
    out = await graph.ainvoke(Command(resume=[{"type": word, "args": same}]), thread())
    assert (out["status"], world.log) == ("completed", [("write", 1)])


async def test_a_reason_of_null_is_no_reason(world):
    graph = graph_of(world)
    await ask(graph, ONE)
    out = await graph.ainvoke(Command(resume={"decisions": [{"type": "reject", "message": None}]}), thread())
    assert (out["status"], world.log) == ("cancelled", [])


@pytest.mark.parametrize("then", ["answer", "message"])
async def test_a_thread_whose_messages_are_changed_while_it_waits_waits_on(world, then):
    graph = graph_of(world)
    out = await graph.ainvoke({"messages": "Write it.", "plan": ONE}, thread())
    [plan] = [message for message in out["messages"] if message.type == "ai"]
    await graph.aupdate_state(thread(), {"messages": [RemoveMessage(plan.id)]})
    assert (await graph.aget_state(thread())).next == ("human_approval",)
    if then == "message":
        assert shown(await graph.ainvoke({"messages": "Well?"}, thread()))["action_requests"]
    out = await graph.ainvoke(Command(resume=APPROVE), thread())
    assert (out["status"], world.log) == ("completed", [("write", 1)])


async def test_a_call_that_the_run_has_made_is_not_asked_about_as_if_it_were_new(world):
    graph = graph_of(world)
    assert "already" not in (await ask(graph, ONE))["action_requests"][0]["description"]
    await graph.ainvoke(Command(resume=APPROVE), thread())
    [before, *_] = [state async for state in graph.aget_state_history(thread()) if state.next == ("wave_dispatch",)][
        -1:
    ]
    payload = shown(await graph.ainvoke(None, before.config))
    assert "This run has made this call already, at 20" in payload["action_requests"][0]["description"]
    out = await graph.ainvoke(Command(resume=APPROVE), thread())
    assert (out["status"], world.log) == ("completed", [("write", 1)])


async def test_a_question_that_nobody_can_answer_says_so(world):
    graph = build_graph(tools=world.tools(), settings=Settings())
    out = await graph.ainvoke({"goal": "g", "plan": ONE})
    assert out["status"] == "awaiting_approval"
    assert "the graph has no checkpointer" in out["warnings"][-1]
    assert (await graph_of(world).ainvoke({"goal": "g", "plan": ONE}, thread()))["warnings"] == []
