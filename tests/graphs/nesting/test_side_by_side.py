"""Runs that one node calls side by side: each keeps its result and its question, in whatever order they are called."""

import asyncio
import time
from collections.abc import Callable
from typing import Any, TypedDict

import pytest
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.func import entrypoint, task
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode
from langgraph.types import Command

from graphs.composition.planwave_tool import planwave_tool
from graphs.plan_execute import build_graph
from tests.support.worlds import APPROVE, thread

PROGRAM = {
    "inputs": {"who": {"type": "string"}},
    "tasks": [{"id": "p", "tool": "pay", "args": {"who": {"input": "who"}}}],
}


def paying(*, seconds: float = 0.0) -> tuple[list[str], Callable[..., Any]]:
    """Return whom the tool has paid, and the tool."""
    paid: list[str] = []

    async def pay(who: str) -> str:
        """Pay somebody."""
        await asyncio.sleep(seconds)
        paid.append(who)
        return f"paid {who}"

    return paid, pay


def pay_plan(who: str) -> Any:
    return {"goal": "Pay.", "plan": {"tasks": [{"id": "p", "tool": "pay", "args": {"who": who}}]}}


def tool_node_of(*tools: Any) -> Any:
    builder: Any = StateGraph(MessagesState)
    builder.add_node("tools", ToolNode(list(tools)))
    builder.add_edge(START, "tools")
    return builder.compile(checkpointer=InMemorySaver())


def calls_of(name: str, *names: str) -> Any:
    return {"messages": [AIMessage("", tool_calls=[{"name": name, "args": {"who": who}, "id": who} for who in names])]}


def shown(out: Any) -> str:
    [question] = out["__interrupt__"]
    [request] = question.value["action_requests"]
    return request["args"]["who"]


def answer(who: str) -> Command[Any]:
    refusal = {"decisions": [{"type": "reject", "message": "Not him."}]}
    return Command(resume=refusal if who == "bob" else APPROVE)


def results_of(out: Any) -> dict[str, str]:
    return {each.tool_call_id: each.status for each in out["messages"] if each.type == "tool"}


def test_calls_of_a_tool_node_in_threads_keep_their_answers_in_another_order():
    paid, pay = paying()
    child, begun = build_graph(tools=[pay]), list[str]()

    @tool
    def payer(who: str) -> str:
        """Pay."""
        place, is_first = ["ann", "bob", "eve"].index(who), who not in begun
        begun.append(who)
        # After the first time in the reverse order.
        time.sleep(0.2 * (place if is_first else 2 - place))
        return str(child.invoke(pay_plan(who))["results"]["p"].get("output"))

    graph = tool_node_of(payer)
    out = graph.invoke(calls_of("payer", "ann", "bob", "eve"), thread())
    asked = []
    while "__interrupt__" in out:
        asked.append(shown(out))
        out = graph.invoke(answer(asked[-1]), thread())
    assert sorted(asked) == ["ann", "bob", "eve"]
    assert sorted(paid) == ["ann", "eve"]
    found = {each.tool_call_id: each.content for each in out["messages"] if each.type == "tool"}
    assert found == {"ann": "paid ann", "bob": "None", "eve": "paid eve"}


@pytest.mark.parametrize("blocking", [True, False])
async def test_a_tool_of_planwave_called_three_times_at_once_asks_three_times(blocking):
    paid, pay = paying(seconds=0.05)
    graph = tool_node_of(planwave_tool(PROGRAM, tools=[pay], name="payer", description="Pays."))

    async def run(given: Any) -> Any:
        return await (asyncio.to_thread(graph.invoke, given, thread()) if blocking else graph.ainvoke(given, thread()))

    out, asked = await run(calls_of("payer", "ann", "bob", "eve")), []
    while "__interrupt__" in out:
        asked.append(shown(out))
        out = await run(answer(asked[-1]))
    assert sorted(asked) == ["ann", "bob", "eve"]
    assert sorted(paid) == ["ann", "eve"]
    assert results_of(out) == {"ann": "success", "bob": "error", "eve": "success"}


class Parent(TypedDict, total=False):
    outs: list[Any]


async def test_a_question_does_not_cut_off_the_write_of_another_run_in_the_node():
    paid, pay = paying(seconds=0.3)
    child = build_graph(tools=[pay])

    async def both(state: Parent) -> Parent:
        outs = await asyncio.gather(*(child.ainvoke(pay_plan(who)) for who in ("ann", "ann", "eve")))
        return {"outs": [out["results"]["p"]["output"] for out in outs]}

    builder: Any = StateGraph(Parent)
    builder.add_node("both", both)
    builder.add_edge(START, "both")
    graph = builder.compile(checkpointer=InMemorySaver())
    out = await graph.ainvoke({}, thread())
    for count in range(3):
        assert (shown(out) != "", len(paid)) == (True, count)
        out = await graph.ainvoke(Command(resume=APPROVE), thread())
    assert (out["outs"], sorted(paid)) == (["paid ann", "paid ann", "paid eve"], ["ann", "ann", "eve"])


async def test_in_tasks_side_by_side_each_is_answered_by_its_id():
    paid, pay = paying()
    child = build_graph(tools=[pay])

    @task
    async def one(who: str) -> str:
        return (await child.ainvoke(pay_plan(who)))["results"]["p"].get("output") or "not paid"

    @entrypoint(checkpointer=InMemorySaver())
    async def flow(names: list[str]) -> list[str]:
        return await asyncio.gather(*map(one, names))

    out = await flow.ainvoke(["ann", "bob", "ann"], thread())
    while isinstance(out, dict) and "__interrupt__" in out:
        answers = {}
        for question in out["__interrupt__"]:
            answers[question.id] = answer(question.value["action_requests"][0]["args"]["who"]).resume
        out = await flow.ainvoke(Command(resume=answers), thread())
    assert (out, sorted(paid)) == (["paid ann", "not paid", "paid ann"], ["ann", "ann"])
