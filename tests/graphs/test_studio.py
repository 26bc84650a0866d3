"""The graph behind LangGraph's development server, driven as Studio drives it."""

from typing import Any

import pytest
from langgraph_sdk import get_client
from pydantic import TypeAdapter

from agent.settings import Settings
from graphs.state import RunInput, State, TaskOrder
from tests.support.studio import StudioServer
from tests.support.worlds import APPROVE, ref

REVENUE = "SELECT status, count(*) AS orders FROM orders GROUP BY status ORDER BY status"


def query(task: str, sql: str, **more: Any) -> dict[str, Any]:
    return {"id": task, "tool": "query_database", "args": {"sql": sql}, **more}


def plan(path: str, sql: str = REVENUE) -> dict[str, Any]:
    """Return a plan of two independent readings and one saving, over the sample shop."""
    return {
        "tasks": [
            {"id": "tables", "tool": "describe_database", "args": {"tables": ["orders"]}},
            query("orders", sql, description="Orders by status"),
            {"id": "save", "tool": "save_file", "args": {"path": path, "content": ref("orders", "rows")}},
        ]
    }


@pytest.fixture(scope="module")
def server(tmp_path_factory, shop_folder):
    with StudioServer(tmp_path_factory.mktemp("studio"), data=shop_folder) as running:
        yield running
        assert "BlockingError" not in running.log.read_text()


@pytest.fixture
async def client(server):
    async with get_client(url=server.url) as client:
        yield client


@pytest.fixture
async def thread(client):
    return (await client.threads.create())["thread_id"]


async def assistant(client) -> dict[str, Any]:
    [found] = await client.assistants.search(graph_id="planwave")
    return found


async def test_the_assistant_has_a_name_and_a_description(client):
    found = await assistant(client)
    assert found["name"] == "planwave"
    assert found["description"].startswith("Plans a goal")


async def test_the_forms_that_a_person_fills_in(client):
    schemas = await client.assistants.get_schemas((await assistant(client))["assistant_id"])
    form = schemas["input_schema"]
    assert "required" not in form
    titles = {name: field["title"] for name, field in form["properties"].items()}
    assert titles == {"goal": "Goal", "messages": "Messages", "plan": "Plan", "inputs": "Inputs"}
    assert all(field["description"] for field in form["properties"].values())
    # A plan is a form, down to its tasks.
    assert form["properties"]["plan"]["anyOf"] == [{"$ref": "#/$defs/Plan"}, {"type": "null"}]
    assert form["$defs"]["Plan"]["properties"]["tasks"]["items"] == {"$ref": "#/$defs/Task"}
    task = form["$defs"]["Task"]["properties"]
    assert {"id", "tool", "args", "depends_on", "condition", "for_each", "rollback", "requires_approval"} <= task.keys()
    assert [name for name, field in task.items() if not field.get("description")] == []
    assert "messages" in schemas["output_schema"]["properties"]
    assert {"status", "answer", "plan", "results", "replans", "problems"} <= schemas["output_schema"][
        "properties"
    ].keys()
    described = {
        name: field
        for schema in (RunInput, State, TaskOrder)
        for name, field in TypeAdapter(schema).json_schema()["properties"].items()
    }
    assert all(field["title"] and field["description"] for field in described.values())
    state = schemas["state_schema"]["properties"]
    assert state.keys() == described.keys()
    for name in state:
        assert (state[name]["title"], state[name]["description"]) == (
            described[name]["title"],
            described[name]["description"],
        )
    context = schemas["context_schema"]["properties"]
    budgets = {"max_replans", "max_model_calls", "max_tokens", "max_cost", "deadline_s", "max_tasks"}
    limits = {"max_repairs", "max_context_rounds", "max_questions", "max_retries", "max_timeout_s"}
    defaults = {"default_retries", "default_timeout_s"}
    assert context.keys() == {"model", "dispatch", "max_concurrency", *budgets, *limits, *defaults}
    assert context.keys() - {"model"} <= Settings.model_fields.keys()
    assert all(field["title"] and field["description"] and field["default"] is None for field in context.values())
    assert context["dispatch"]["anyOf"][0]["enum"] == ["eager", "wave"]


async def test_the_graph_is_drawn_with_every_way_that_a_run_can_take(client):
    drawn = await client.assistants.get_graph((await assistant(client))["assistant_id"], xray=True)
    nodes = {node["id"]: node.get("metadata") for node in drawn["nodes"]}
    inner = nodes.keys() - {"__start__", "__end__"}
    assert all(nodes[node]["does"] for node in inner)
    edges = {(edge["source"], edge["target"]) for edge in drawn["edges"]}
    workers = {"tool_executor", "human_approval", "replanner", "rollback"}
    assert {("wave_dispatch", node) for node in {*workers, "answer"}} <= edges
    assert {(node, "wave_dispatch") for node in workers} <= edges
    assert {("__start__", "gather_context"), ("gather_context", "planner"), ("answer", "__end__")} <= edges


async def test_a_run_streams_its_events_stops_for_approval_and_goes_on(client, server, thread):
    events: list[dict[str, Any]] = []
    stream = client.runs.stream(
        thread, "planwave", input={"goal": "Orders by status", "plan": plan("a.csv")}, stream_mode=["custom", "tasks"]
    )
    async for part in stream:
        assert part.event != "error", part.data
        if part.event == "custom":
            events.append(part.data)
    names = [event["event"] for event in events]
    assert names[0] == "plan"
    assert names[-1] == "approval"
    finished = {event["task"]: event["status"] for event in events if event["event"] == "task_finished"}
    assert finished == {"tables": "done", "orders": "done"}

    state = await client.threads.get_state(thread)
    assert (state["values"]["status"], state["next"]) == ("awaiting_approval", ["human_approval"])
    assert (await client.threads.get(thread))["status"] == "interrupted"
    [asked] = state["interrupts"]
    [action] = asked["value"]["action_requests"]
    assert (action["name"], action["args"]["path"]) == ("save_file", "a.csv")
    assert "approve" in asked["value"]["review_configs"][0]["allowed_decisions"]
    assert not (server.output / "a.csv").exists()

    out = await client.runs.wait(thread, "planwave", command={"resume": {asked["id"]: APPROVE}})
    assert out["status"] == "completed"
    rows = out["results"]["orders"]["output"]["rows"]
    saved = (server.output / "a.csv").read_text().splitlines()
    assert saved == ["status,orders", *(f"{row['status']},{row['orders']}" for row in rows)]
    assert sum(row["orders"] for row in rows) == out["results"]["tables"]["output"]["relations"][0]["row_count"]


async def test_a_fork_from_history_with_an_edited_plan_does_the_edited_part_again(client, thread):
    await client.runs.wait(thread, "planwave", input={"goal": "Orders by status", "plan": plan("b.csv")})
    history = await client.threads.get_history(thread, limit=50)
    assert [state["next"] for state in history] == [
        ["human_approval"],
        ["wave_dispatch"],
        ["tool_executor", "tool_executor"],
        ["wave_dispatch"],
        ["planner"],
        ["gather_context"],
        ["__start__"],
    ]
    edited = plan("b.csv", sql="SELECT count(*) AS orders FROM orders")
    fork = await client.threads.update_state(
        thread, {"plan": edited}, as_node="planner", checkpoint=history[0]["checkpoint"]
    )
    await client.runs.wait(thread, "planwave", checkpoint=fork["checkpoint"])
    state = await client.threads.get_state(thread)
    before, after = history[0]["values"]["results"], state["values"]["results"]
    assert after["tables"] == before["tables"]
    assert after["orders"]["output"]["rows"] == [{"orders": before_count(before)}]
    assert state["values"]["revision"] == 2
    [asked] = state["interrupts"]
    assert asked["value"]["action_requests"][0]["args"]["content"] == [{"orders": before_count(before)}]
    reject = {"decisions": [{"type": "reject", "message": "not needed"}]}
    out = await client.runs.wait(thread, "planwave", command={"resume": reject})
    assert out["status"] == "cancelled"
    assert out["results"]["save"]["status"] == "rejected"


def before_count(results: dict[str, Any]) -> int:
    return sum(row["orders"] for row in results["orders"]["output"]["rows"])


async def test_the_context_of_a_run_sets_how_tasks_are_started(client, thread):
    chain = {"tasks": [query("a", "SELECT 1 AS n"), query("b", "SELECT 2 AS n", depends_on=["a"])]}
    given = {"goal": "g", "plan": chain}
    for dispatch, supersteps in (("eager", 1), ("wave", 2)):
        stream = client.runs.stream(
            thread, "planwave", input=given, context={"dispatch": dispatch}, stream_mode="updates"
        )
        updates = [part.data async for part in stream if part.event == "updates"]
        sent = [index for index, update in enumerate(updates) if "wave_dispatch" in update]
        assert len(sent) == supersteps + 1


async def test_the_context_of_a_run_sets_its_limits(client, thread):
    given = {"goal": "g", "plan": {"tasks": [query("a", "SELECT 1 AS n"), query("b", "SELECT 2 AS n")]}}
    out = await client.runs.wait(thread, "planwave", input=given, context={"max_tasks": 1})
    assert (out["status"], out["budget"]) == ("failed", {"name": "tasks", "limit": 1, "used": 2})


async def test_a_chat_from_the_first_message_to_the_second_goal(client, thread):
    """As `useStream` of Agent Chat UI does it: modes `values` and `messages-tuple`, and the message in blocks."""

    def said(text: str) -> dict[str, Any]:
        return {"messages": [{"type": "human", "content": [{"type": "text", "text": text}]}]}

    async def send(**given: Any) -> tuple[dict[str, Any], list[Any]]:
        values, shown = {}, []
        async for part in client.runs.stream(thread, "planwave", stream_mode=["values", "messages-tuple"], **given):
            assert part.event != "error", part.data
            if part.event == "values":
                values = part.data
            elif part.event == "messages":
                shown.append(part.data[0])
        return values, shown

    def kinds(values: dict[str, Any]) -> list[str]:
        return [message["type"] for message in values["messages"]]

    values, shown = await send(input={**said("Orders by status"), "plan": plan("chat.csv")})
    assert kinds(values) == ["human", "ai", "tool", "tool"]
    assert [message["type"] for message in shown] == ["ai", "tool", "tool"]
    assert [call["name"] for call in shown[0]["tool_calls"]] == ["describe_database", "query_database", "save_file"]
    assert (await client.threads.get(thread))["status"] == "interrupted"
    values, _ = await send(input=said("Is it done?"))
    assert kinds(values)[-2:] == ["human", "ai"]
    assert "`save_file` (task `save`)" in values["messages"][-1]["content"]
    waiting = await client.threads.get(thread)
    assert waiting["status"] == "interrupted"
    assert [each["value"]["action_requests"][0]["name"] for [each] in waiting["interrupts"].values()] == ["save_file"]
    values, shown = await send(command={"resume": APPROVE})
    assert (values["status"], kinds(values)[-2:]) == ("completed", ["tool", "ai"])
    assert values["messages"][-1]["content"] == values["answer"]
    assert "".join(message["content"] for message in shown if message["type"] == "AIMessageChunk") == values["answer"]
    values, _ = await send(input={**said("Once more"), "plan": {"tasks": [query("x", "SELECT 1 AS n")]}})
    assert (values["status"], set(values["results"])) == ("completed", {"x"})
    assert [message["content"][0]["text"] for message in values["messages"] if message["type"] == "human"] == [
        "Orders by status",
        "Is it done?",
        "Once more",
    ]


async def test_a_goal_without_a_model_ends_as_failed_and_names_the_three_ways(client, thread):
    out = await client.runs.wait(thread, "planwave", input={"goal": "Top five customers"})
    assert out["status"] == "failed"
    assert out["results"] == {}
    for way in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "planwave models pull"):
        assert way in out["problems"][0]
        assert way in out["answer"]


async def test_misuse_reaches_the_client_in_words(client, thread):
    with pytest.raises(Exception, match="The goal is empty; say in a sentence"):
        await client.runs.wait(thread, "planwave", input={"goal": " "})
    with pytest.raises(Exception, match="Nothing on this thread waits for an answer"):
        await client.runs.wait(thread, "planwave", command={"resume": APPROVE})


async def test_a_wrong_answer_is_told_and_the_right_one_still_counts(client, thread):
    await client.runs.wait(thread, "planwave", input={"goal": "g", "plan": plan("c.csv")})
    for wrong in ({"decisions": []}, "yes", True, [], {"decisions": [{"type": "maybe"}]}):
        out = await client.runs.wait(thread, "planwave", command={"resume": wrong})
        [asked] = out["__interrupt__"]
        assert (out["status"], bool(asked["value"]["error"])) == ("awaiting_approval", True)
        assert (await client.threads.get(thread))["status"] == "interrupted"
    out = await client.runs.wait(thread, "planwave", command={"resume": APPROVE})
    assert out["status"] == "completed"
