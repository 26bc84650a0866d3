"""Agents and graphs that are compiled already as tools of a plan: their calls are asked about, or they say why not."""

from typing import Annotated, Any, TypedDict

import pytest
from langchain.agents import create_agent
from langchain.agents.middleware import AgentMiddleware
from langchain_core.messages import ToolMessage
from langchain_core.tools import InjectedToolCallId, StructuredTool, tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import InjectedState, ToolNode, tools_condition
from langgraph.types import Command
from pydantic import BaseModel

from agent.errors import ToolError
from agent.settings import Settings
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from planwave import agent_tool
from tests.support.openai_endpoint import Endpoint
from tests.support.planning_kit import model_at
from tests.support.scripted_worker import Worker
from tests.support.shelf import Shelf
from tests.support.worlds import APPROVE, World, ref, thread

PLAN = {"tasks": [{"id": "job", "tool": "clerk", "args": {"task": "Do it."}}]}


class Report(BaseModel):
    title: str
    pages: int


@pytest.fixture
def world():
    return World()


def clerk_of(world, *turns, **options):
    own = {name: options.pop(name) for name in ("output_schema", "policies", "trust_nodes") if name in options}
    agent = create_agent(Worker(turns=list(turns)), options.pop("tools", world.tools()), **options)
    return agent_tool(agent, name="clerk", description="Does things.", **own)


def graph_of(*tools, saver=None, **settings):
    return build_graph(tools=tools, settings=Settings(max_replans=0, **settings), checkpointer=saver or InMemorySaver())


async def test_an_agent_reads_freely_and_asks_before_each_write_which_is_made_once(world, tmp_path):
    turns = ([("look", {"value": 1})], [("write", {"value": 5}), ("look", {"value": 2})], "Kept 5.")
    url = f"sqlite:///{tmp_path}/p.db"
    async with open_persistence(url) as stored:
        graph = build_graph(tools=[clerk_of(world, *turns)], persistence=stored)
        out = await graph.ainvoke({"goal": "g", "plan": PLAN}, thread())
        assert out["status"] == "awaiting_approval", out
        [request] = out["__interrupt__"][0].value["action_requests"]
        assert (request["name"], request["args"]) == ("write", {"value": 5})
        assert ("write", 5) not in world.log
    # Another process goes on, with an agent that is made again.
    async with open_persistence(url) as stored:
        graph = build_graph(tools=[clerk_of(world, *turns)], persistence=stored)
        yes = {"decisions": [{"type": "approve", "digest": request["digest"]}]}
        out = await graph.ainvoke(Command(resume=yes), thread())
        assert out["status"] == "completed", out
        rows = await stored.ledger.list_rows("t")
    assert sorted(world.log) == [("look", 1), ("look", 2), ("write", 5)]
    assert [(row.intent.task, row.intent.approval) for row in rows] == [(request["task_id"], request["digest"])]
    job = out["results"]["job"]["output"]
    assert job["answer"] == "Kept 5."
    assert [(step["tool"], step["result"]) for step in job["steps"]] == [
        ("look", '{"value": 1}'),
        ("write", '{"written": 5}'),
        ("look", '{"value": 2}'),
    ]


@pytest.mark.parametrize(
    ("decision", "told", "made"),
    [
        ({"type": "reject", "message": "not today"}, "REJECTED by a human, who said: not today", []),
        ({"type": "respond", "message": "by hand"}, "by hand", []),
        ({"type": "edit", "edited_action": {"name": "write", "args": {"value": 6}}}, '{"written": 6}', [("write", 6)]),
    ],
)
async def test_an_agent_is_told_what_a_person_decided(world, decision, told, made):
    graph = graph_of(clerk_of(world, [("write", {"value": 5})], "Over."))
    await graph.ainvoke({"goal": "g", "plan": PLAN}, thread())
    out = await graph.ainvoke(Command(resume={"decisions": [decision]}), thread())
    assert out["status"] == "completed"
    assert out["results"]["job"]["output"]["steps"][0]["result"] == told
    assert world.log == made


async def test_what_an_agent_wrote_is_undone_with_the_run_call_by_call(tmp_path):
    shelf = Shelf()
    shelf.failing = {9}
    agent = clerk_of(shelf, [("put", {"name": "w1"})], [("put", {"name": "w2"}), ("tell", {"text": "x"})], "Put.")
    end = {"id": "end", "tool": "look", "args": {"value": 9}, "on_failure": "abort", "depends_on": ["job"]}
    async with open_persistence(f"sqlite:///{tmp_path}/p.db") as stored:
        look = next(each for each in shelf.tools() if each.name == "look")
        graph = build_graph(tools=[look, agent], settings=Settings(max_replans=0, approve="never"), persistence=stored)
        out = await graph.ainvoke({"goal": "g", "plan": {"tasks": [*PLAN["tasks"], end]}}, thread())
    assert (out["status"], shelf.there) == ("failed", {})
    assert [name for what, name in shelf.log if what == "take"] == ["w2", "w1"]
    assert len(out["rollback"]["undone"]) == 2
    assert [*out["rollback"]["not_undone"].values()] == [
        "Nothing undoes it: its tool 'tell' names no compensating tool."
    ]


async def test_an_answer_with_a_schema_is_the_output_and_plans_refer_into_it(world):
    agent = clerk_of(world, [("Report", {"title": "T", "pages": 3})], response_format=Report, output_schema=Report)
    graph = graph_of(agent, *world.tools())
    tasks = [*PLAN["tasks"], {"id": "n", "tool": "look", "args": {"value": ref("job", "pages")}}]
    out = await graph.ainvoke({"goal": "g", "plan": {"tasks": tasks}}, thread())
    assert out["status"] == "completed", out
    assert out["results"]["job"]["output"] == {"title": "T", "pages": 3}
    assert world.log == [("look", 3)]
    wrong = [tasks[0], {**tasks[1], "args": {"value": ref("job", "page")}}]
    out = await graph.ainvoke({"goal": "g", "plan": {"tasks": wrong}}, thread("2"))
    assert "'page'" in out["problems"][0]


async def test_a_tool_that_changes_the_state_of_its_agent_still_does(world):
    class Todos(MessagesState):
        todos: list[str]

    class Keeping(AgentMiddleware):
        state_schema = Todos

    @tool
    def add_todo(text: str, state: Annotated[dict, InjectedState], call: Annotated[str, InjectedToolCallId]) -> Command:
        """Add a todo."""
        todos = [*state.get("todos", []), text]
        return Command(update={"todos": todos, "messages": [ToolMessage(f"{len(todos)} todos", tool_call_id=call)]})

    turns = [("add_todo", {"text": "a"})], [("add_todo", {"text": "b"})], "Noted."
    agent = clerk_of(
        world, *turns, tools=[add_todo], middleware=[Keeping()], policies={"add_todo": {"readOnlyHint": True}}
    )
    out = await graph_of(agent).ainvoke({"goal": "g", "plan": PLAN}, thread())
    assert [step["result"] for step in out["results"]["job"]["output"]["steps"]] == ["1 todos", "2 todos"]
    asking = clerk_of(world, *turns, tools=[add_todo], middleware=[Keeping()])
    out = await graph_of(asking).ainvoke({"goal": "g", "plan": PLAN}, thread("2"))
    # The state of an agent is no argument, and is not shown.
    assert out["__interrupt__"][0].value["action_requests"][0]["args"] == {"text": "a"}


async def test_middleware_of_the_agent_sees_a_call_when_it_is_approved(world):
    seen = []

    class Watching(AgentMiddleware):
        async def awrap_tool_call(self, request, handler):
            seen.append(request.tool_call["args"])
            return await handler(request)

    graph = graph_of(clerk_of(world, [("write", {"value": 5})], "Over.", middleware=[Watching()]))
    await graph.ainvoke({"goal": "g", "plan": PLAN}, thread())
    assert seen == []
    edit = {"type": "edit", "edited_action": {"name": "write", "args": {"value": 6}}}
    await graph.ainvoke(Command(resume={"decisions": [edit]}), thread())
    assert (seen, world.log) == ([{"value": 6}], [("write", 6)])


def graph_with(node, tools):
    builder = StateGraph(MessagesState)
    builder.add_node("chat", node)
    builder.add_node("tools", ToolNode(tools))
    builder.add_edge(START, "chat")
    builder.add_conditional_edges("chat", tools_condition)
    builder.add_edge("tools", "chat")
    return builder.compile(checkpointer=InMemorySaver())


async def test_a_graph_with_code_of_its_own_says_so_and_asks_as_a_whole(world):
    model = Worker(turns=[[("write", {"value": 5})], "Written."])

    async def chat(state: MessagesState) -> dict[str, Any]:
        return {"messages": [await model.ainvoke(state["messages"])]}

    whole = agent_tool(graph_with(chat, world.tools()), name="clerk", description="Does things.")
    assert whole.description.startswith("Does things. What 'clerk' does cannot be asked about")
    graph = graph_of(whole)
    out = await graph.ainvoke({"goal": "g", "plan": PLAN}, thread())
    [request] = out["__interrupt__"][0].value["action_requests"]
    assert (request["name"], request["args"]["task"], world.log) == ("clerk", "Do it.", [])
    assert any("'chat' is code of its own" in warning for warning in out["warnings"])
    out = await graph.ainvoke(Command(resume=APPROVE), thread())
    assert (out["status"], out["results"]["job"]["output"]["answer"]) == ("completed", "Written.")
    assert world.log == [("write", 5)]

    trusted = agent_tool(graph_with(chat, world.tools()), name="clerk", description="Does things.", trust_nodes=True)
    graph = graph_of(trusted)
    out = await graph.ainvoke({"goal": "g", "plan": PLAN}, thread("2"))
    assert out["__interrupt__"][0].value["action_requests"][0]["name"] == "write"
    out = await graph.ainvoke(Command(resume=APPROVE), thread("2"))
    assert out["status"] == "completed"
    assert world.log == [("write", 5), ("write", 5)]


async def test_a_subagent_is_code_whose_calls_ask_as_a_whole(world):
    inner = create_agent(Worker(turns=[[("write", {"value": 7})], "Done."]), world.tools())

    async def consult(question: str) -> str:
        """Ask the expert."""
        return (await inner.ainvoke({"messages": [("user", question)]}))["messages"][-1].text

    outer = clerk_of(
        world, [("consult", {"question": "q"})], "Asked.", tools=[StructuredTool.from_function(coroutine=consult)]
    )
    graph = graph_of(outer)
    out = await graph.ainvoke({"goal": "g", "plan": PLAN}, thread())
    assert out["__interrupt__"][0].value["action_requests"][0]["name"] == "consult"
    assert world.log == []


class Order(TypedDict):
    product: str


class Stocked(TypedDict):
    product: str
    pieces: int


async def test_a_graph_without_messages_takes_its_input_and_gives_its_output(world):
    def count(state: Order) -> dict[str, int]:
        return {"pieces": len(state["product"])}

    builder = StateGraph(Stocked, input_schema=Order)
    builder.add_node("count", count)
    builder.add_edge(START, "count")
    stock = agent_tool(builder.compile(), name="stock", description="Counts.", trust_nodes=True)
    tasks = [
        {"id": "a", "tool": "stock", "args": {"product": "lamp"}},
        {"id": "b", "tool": "look", "args": {"value": ref("a", "pieces")}},
    ]
    graph = graph_of(stock, *world.tools())
    out = await graph.ainvoke({"goal": "g", "plan": {"tasks": tasks}}, thread())
    assert out["results"]["a"]["output"] == {"product": "lamp", "pieces": 4}
    assert world.log == [("look", 4)]
    wrong = [{**tasks[0], "args": {"produkt": "lamp"}}, {**tasks[1], "args": {"value": ref("a", "peices")}}]
    out = await graph.ainvoke({"goal": "g", "plan": {"tasks": wrong}}, thread("2"))
    assert "produkt" in " ".join(out["problems"])
    assert "peices" in " ".join(out["problems"])


async def test_the_models_of_an_agent_are_within_the_budget_of_the_run(world):
    agent = clerk_of(world, [("look", {"value": 1})])
    out = await graph_of(agent, max_model_calls=3).ainvoke({"goal": "g", "plan": PLAN}, thread())
    assert out["status"] == "failed"
    assert out["budget"]["name"] == "model_calls"
    assert len(world.log) == 3


def test_the_planner_is_shown_the_agent_and_not_what_undoes_its_calls():
    shelf = Shelf()
    plan = {"tasks": [{"id": "a", "tool": "clerk", "args": {"task": "Say hello."}}]}
    with Endpoint([plan, "Hello [a]."]) as endpoint:
        graph = build_graph(tools=[clerk_of(shelf, "Hello.")], model=model_at(endpoint).chat)
        assert graph.invoke({"goal": "Greet"})["status"] == "completed"
        shown = endpoint.requests[0].text
    assert "- clerk (reads only): Does things." in shown
    assert "- put " not in shown
    assert "- take " not in shown


async def test_two_agents_with_tools_of_one_name_work_side_by_side(world):
    other = World()
    agents = [
        agent_tool(
            create_agent(Worker(turns=[[("write", {"value": number})], "Over."]), each.tools()),
            name=f"clerk{number}",
            description="Does things.",
        )
        for number, each in enumerate((world, other))
    ]
    graph = graph_of(*agents)
    tasks = [{"id": f"j{number}", "tool": f"clerk{number}", "args": {"task": "Go."}} for number in range(2)]
    out = await graph.ainvoke({"goal": "g", "plan": {"tasks": tasks}}, thread())
    assert len(out["__interrupt__"]) == 2
    out = await graph.ainvoke(Command(resume={each.id: APPROVE for each in out["__interrupt__"]}), thread())
    assert out["status"] == "completed", out
    assert (world.log, other.log) == ([("write", 0)], [("write", 1)])


def test_what_is_no_agent_is_told_when_it_is_made(world):
    agent = create_agent(Worker(turns=["x"]), world.tools())
    with pytest.raises(ToolError, match="is a Worker; give a compiled graph"):
        agent_tool(Worker(turns=["x"]), name="a", description="A.")
    with pytest.raises(ToolError, match="has no tool 'lok' to set a policy for; it has: look"):
        agent_tool(agent, name="a", description="A.", policies={"lok": {}})
    with pytest.raises(ToolError, match="'timeout_s' is wrong"):
        agent_tool(agent, name="a", description="A.", policies={"look": {"timeout_s": -1}})


async def test_a_deep_agent_keeps_its_files_and_asks_before_it_writes(world):
    deepagents = pytest.importorskip("deepagents")
    note = {"file_path": "/a.md", "content": "hello"}
    turns = [("write_file", note)], [("read_file", {"file_path": "/a.md"})], [("write", {"value": 1})], "Done."
    deep = deepagents.create_deep_agent(model=Worker(turns=list(turns)), tools=world.tools())
    own = {name: {"readOnlyHint": True} for name in ("write_file", "read_file")}  # its files are in its state
    graph = graph_of(agent_tool(deep, name="clerk", description="Does things.", policies=own))
    out = await graph.ainvoke({"goal": "g", "plan": PLAN}, thread())
    assert out["__interrupt__"][0].value["action_requests"][0]["name"] == "write"
    out = await graph.ainvoke(Command(resume=APPROVE), thread())
    assert (out["status"], world.log) == ("completed", [("write", 1)])
    assert "hello" in out["results"]["job"]["output"]["steps"][1]["result"]
