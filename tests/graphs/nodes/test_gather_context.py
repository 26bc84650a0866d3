"""Tools that give context: asked before the plan is made, side by side, within their policy, and shown to it."""

import asyncio
import json
import sys

import pytest
from langchain_openai import ChatOpenAI

from agent.settings import Settings
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from tests.support.command_line import PATIENCE_S, CommandLine
from tests.support.openai_endpoint import Endpoint
from tests.support.processes import ROOT
from tests.support.worlds import READ, World, ref, thread

PROVIDES = {**READ, "context_provider": True}
PLAN = {
    "execution_mode": "parallel",
    "tasks": [
        {"id": "a", "description": "d", "reasoning": "r", "tool": "look", "args": {"value": 5}},
        {"id": "b", "description": "d", "reasoning": "r", "tool": "look", "args": {"value": ref("a", "value")}},
    ],
}
ANSWER = "It is 5 [a]."
MCP_SERVER = ROOT / "tests/support/children/mcp_server.py"


class Surroundings(World):
    """A world that can be asked about: providers that answer, break, and hang."""

    def __init__(self):
        super().__init__()
        self.broken = []
        self.met = asyncio.Barrier(2)

    def providers(self):
        return [
            self.tool("season", self.season, {**PROVIDES, "max_retries": 1}),
            self.tool("stock", self.stock, PROVIDES),
        ]

    async def season(self):
        self.log.append(("season", None))
        if self.broken:
            raise self.broken.pop(0)
        return "It is spring."

    async def stock(self, depth: int = 1):
        self.log.append(("stock", depth))
        return {"desks": 3}

    async def meet(self):
        await self.met.wait()
        return "met"

    async def hang(self):
        await asyncio.sleep(60)


@pytest.fixture
def world():
    return Surroundings()


def graph_at(endpoint, world, *more, persistence=None, **settings):
    model = ChatOpenAI(model="scripted", base_url=endpoint.url, api_key="sk-test", max_retries=0, timeout=10)
    settings = Settings(stream_plan=False, **settings)
    tools = [*world.tools(), *(more or world.providers())]
    return build_graph(tools=tools, model=model, settings=settings, persistence=persistence)


def provided(world):
    return [name for name, _ in world.log if name != "look"]


async def test_providers_are_asked_first_and_shown_to_planner_and_replanner(world):
    world.failing = {5}
    mended = {**PLAN, "tasks": [{**PLAN["tasks"][0], "id": "c", "args": {"value": 6}}]}
    with Endpoint([PLAN, mended, "It is 6 [c]."]) as endpoint:
        out = await graph_at(endpoint, world).ainvoke({"goal": "look"}, thread())
    assert (out["status"], out["replans"]) == ("completed", 1)
    assert sorted(provided(world)[:2]) == sorted(provided(world)) == ["season", "stock"]
    for request in endpoint.requests[:2]:
        assert '## season\n"It is spring."' in request.body["messages"][0]["content"]
        assert '## stock\n{"desks": 3}' in request.body["messages"][0]["content"]


async def test_a_plan_that_is_given_needs_no_context(world):
    with Endpoint([ANSWER]) as endpoint:
        out = await graph_at(endpoint, world).ainvoke({"goal": "look", "plan": PLAN}, thread())
    assert (out["status"], provided(world)) == ("completed", [])


async def test_providers_are_asked_side_by_side(world):
    pair = [world.tool(name, world.meet, PROVIDES) for name in ("one", "two")]
    with Endpoint([PLAN, ANSWER]) as endpoint:
        out = await asyncio.wait_for(graph_at(endpoint, world, *pair).ainvoke({"goal": "look"}, thread()), 20)
    assert out["status"] == "completed"
    assert endpoint.requests[0].text.count('"met"') == 2


async def test_one_that_fails_is_tried_again_within_its_policy_and_then_named(world):
    world.broken = [ConnectionError("away"), ConnectionError("away"), PermissionError("no")]
    with Endpoint([PLAN, ANSWER, PLAN, ANSWER]) as endpoint:
        graph = graph_at(endpoint, world)
        for name in ("1", "2"):
            assert (await graph.ainvoke({"goal": "look"}, thread(name)))["status"] == "completed"
    assert provided(world).count("season") == 3
    assert "## season\nFAILED (transient): ConnectionError: away" in endpoint.requests[0].text
    assert "## season\nFAILED (tool): PermissionError: no" in endpoint.requests[2].text


async def test_one_that_hangs_does_not_hold_the_run_up(world):
    hangs = world.tool("hang", world.hang, {**PROVIDES, "timeout_s": 0.1, "max_retries": 0})
    with Endpoint([PLAN, ANSWER]) as endpoint:
        out = await asyncio.wait_for(graph_at(endpoint, world, hangs).ainvoke({"goal": "look"}, thread()), 20)
    assert out["status"] == "completed"
    assert "## hang\nFAILED (timeout): No answer from 'hang' within 0.1 s." in endpoint.requests[0].text


async def test_a_resumed_run_does_not_ask_again_and_a_second_goal_does(world, database_url):
    async with open_persistence(database_url) as stored:
        with Endpoint([PLAN, ANSWER, PLAN, ANSWER]) as endpoint:
            graph = graph_at(endpoint, world, persistence=stored)
            await graph.ainvoke({"goal": "look"}, thread(), interrupt_before=["planner"])
            out = await graph_at(endpoint, world, persistence=stored).ainvoke(None, thread())
            assert (out["status"], sorted(provided(world))) == ("completed", ["season", "stock"])
            await graph.ainvoke({"goal": "look again"}, thread())
    assert provided(world).count("season") == 2


def test_a_provider_of_an_mcp_server_is_named_in_the_configuration(planwave: CommandLine, tmp_path):
    server = [str(MCP_SERVER), str(tmp_path), "stdio"]
    table = f"[mcp.servers.notes]\ncommand = {json.dumps(sys.executable)}\nargs = {json.dumps(server)}\n"
    table += "trust_hints = true\n"
    plan = {"tasks": [{"id": "t", "tool": "token_length", "args": {}}]}

    def run(tools):
        (tmp_path / "planwave.toml").write_text(f"{table}{tools}\n")
        words = ("run", "How long?", "--model", "openai:scripted", "--json", "--config", "planwave.toml")
        process = planwave.apart(*words, cwd=tmp_path, env=env)
        _, errors = process.communicate(timeout=PATIENCE_S)
        return process.returncode, " ".join(errors.split())

    with Endpoint([plan, "It is 0 [t]."]) as endpoint:
        env = {"OPENAI_BASE_URL": endpoint.url, "OPENAI_API_KEY": "sk-test", "PLANWAVE_MAX_CONTEXT_ROUNDS": "0"}
        assert run("tools.count = { context_provider = true }")[0] == 0
        assert '## count\n{"notes": 0' in endpoint.requests[0].text
        status, errors = run("tools.keep = { context_provider = true }")
    assert status == 2
    assert "Tool 'keep' is a 'context_provider', which is called automatically before planning, and writes." in errors
