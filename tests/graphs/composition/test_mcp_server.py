"""`planwave mcp`, driven by the official client over standard input and output, and over HTTP."""

import asyncio
import json
import socket
import sys
from contextlib import asynccontextmanager

import pytest
from mcp import ClientSession, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.client.streamable_http import streamable_http_client

from graphs.cli.commands import serve_mcp
from graphs.persistence import open_persistence
from graphs.stores.library import Library
from tests.support.command_line import CommandLine, query, save
from tests.support.processes import ROOT
from tests.support.worlds import ref

COUNT = "SELECT count(*) AS orders FROM orders"
PROGRAM = {
    "inputs": {"country": {"type": "string"}, "top": {"type": "integer", "minimum": 1, "default": 3}},
    "tasks": [
        query(
            "top",
            "SELECT product_name FROM sales WHERE country = $country GROUP BY 1 ORDER BY sum(revenue) DESC LIMIT $top",
        )
    ],
}
PROGRAM["tasks"][0]["args"]["params"] = {"country": {"input": "country"}, "top": {"input": "top"}}
PLAN = {"tasks": [query("orders", COUNT), save("keep", "orders.csv", ref("orders", "rows"))]}


@asynccontextmanager
async def served(planwave: CommandLine, *words: str):
    """Start the server and yield a session with it."""
    command = StdioServerParameters(
        command=sys.executable, args=["-m", "graphs.cli.app", "mcp", *words], env=planwave.env, cwd=ROOT
    )
    async with stdio_client(command) as streams, ClientSession(*streams) as session:
        await session.initialize()
        yield session


async def call(session: ClientSession, tool: str, **args):
    """Return what a tool gives, checked to be the same as text and as structure."""
    told = await session.call_tool(tool, args)
    assert not told.isError, told.content[0].text
    assert json.loads(told.content[0].text) == told.structuredContent
    return told.structuredContent


async def fails(session: ClientSession, tool: str, **args) -> str:
    told = await session.call_tool(tool, args)
    assert told.isError
    [content] = told.content
    return content.text


async def test_a_run_is_planned_checked_carried_out_approved_and_shown(planwave: CommandLine) -> None:
    async with served(planwave) as session:
        tools = {tool.name: tool for tool in (await session.list_tools()).tools}
        assert tools.keys() == {"plan", "validate", "run", "answer", "show"}
        assert tools["validate"].annotations.readOnlyHint
        assert not tools["run"].annotations.readOnlyHint
        wrong = {"tasks": [query("a", "SELECT nothing FROM orders"), save("b", "a.csv", ref("c", "rows"))]}
        checked = await call(session, "validate", plan=wrong)
        assert not checked["valid"]
        assert len(checked["problems"]) == 2
        assert await call(session, "validate", plan=PLAN) == {"valid": True, "problems": [], "warnings": []}
        run = await call(session, "run", goal="Keep the number of orders", plan=PLAN)
        assert run["status"] == "awaiting_approval"
        assert run["results"]["orders"]["output"]["rows"][0]["orders"] > 100
        [request] = run["requests"]
        assert (request["tool"], request["task_id"], request["args"]["path"]) == ("save_file", "keep", "orders.csv")
        file = planwave.home / "output" / "orders.csv"
        assert not file.exists()
        # Another process sees the same run, and could answer it too.
        stored = await asyncio.to_thread(planwave.thread, run["thread"])
        assert stored["status"] == "awaiting_approval"
        told = await fails(
            session, "answer", thread=run["thread"], decisions=[{"digest": "0" * 64, "decision": "approve"}]
        )
        assert told == f"No request has the digest '{'0' * 64}'; those that wait: {request['digest']}."
        yes = {"digest": request["digest"], "decision": "edit", "args": {**request["args"], "path": "other.csv"}}
        done = await call(session, "answer", thread=run["thread"], decisions=[yes])
        if done["status"] == "awaiting_approval":  # an edited call may be shown again as it will be made
            again = {"digest": done["requests"][0]["digest"], "decision": "approve"}
            done = await call(session, "answer", thread=run["thread"], decisions=[again])
        assert (done["status"], done["requests"]) == ("completed", [])
        assert (planwave.home / "output" / "other.csv").read_text().startswith("orders\n")
        assert not file.exists()
        assert await call(session, "show", thread=run["thread"]) == done
        whole = await call(session, "show", thread=run["thread"], task="orders")
        assert whole["output"] == run["results"]["orders"]["output"]


async def test_programs_of_the_library_are_tools_typed_by_their_inputs(planwave: CommandLine) -> None:
    async with open_persistence(planwave.env["PLANWAVE_DB"]) as stored:
        await Library(stored).add("top_products", PROGRAM, goal="Top products of a country")
        await Library(stored).add("run", {"tasks": [query("n", COUNT)]}, goal="Count the orders")
    async with served(planwave) as session:
        tools = {tool.name: tool for tool in (await session.list_tools()).tools}
        assert tools["top_products"].inputSchema["required"] == ["country"]
        assert tools["top_products"].inputSchema["properties"]["top"]["minimum"] == 1
        assert tools["top_products"].description.startswith("Top products of a country (a program, top_products")
        out = await call(session, "top_products", country="France", top=2)
        assert (out["status"], len(out["results"]["top"]["output"]["rows"])) == ("completed", 2)
        assert "0 is less than the minimum of 1" in await fails(session, "top_products", country="France", top=0)
        # A name that a tool of the server has does not hide that tool.
        assert (await call(session, "program_run"))["status"] == "completed"
        async with open_persistence(planwave.env["PLANWAVE_DB"]) as stored:
            await Library(stored).add("later", {"tasks": [query("n", COUNT)]})
        assert "later" in {tool.name for tool in (await session.list_tools()).tools}


async def test_what_cannot_be_done_is_told_in_a_sentence(planwave: CommandLine) -> None:
    async with served(planwave) as session:
        assert await fails(session, "rum", goal="x") == "There is no tool 'rum'. Did you mean 'run'?"
        assert (await fails(session, "run")).startswith(
            "The arguments of 'run' do not fit: the value: 'goal' is a required"
        )
        assert await fails(session, "show", thread="none") == "There is no thread 'none'."
        assert await fails(session, "answer", thread="none", decisions=[{"digest": "x", "decision": "approve"}])
        assert "No model is set up" in await fails(session, "plan", goal="Count the orders")
        run = await call(session, "run", goal="Keep it", plan=PLAN, thread="mine")
        assert "is not finished" in await fails(session, "run", goal="Again", plan=PLAN, thread="mine")
        digest = run["requests"][0]["digest"]
        edit = [{"digest": digest, "decision": "edit"}]
        assert "'edit' needs 'args'" in await fails(session, "answer", thread="mine", decisions=edit)
        no = [{"digest": digest, "decision": "reject", "message": "not today"}]
        done = await call(session, "answer", thread="mine", decisions=no)
        assert (done["status"], done["results"]["keep"]["status"]) == ("cancelled", "rejected")
        assert "has no result of a task 'x'" in await fails(session, "show", thread="mine", task="x")
        assert "waits for no answer" in await fails(session, "answer", thread="mine", decisions=no)
        broken = await call(session, "run", goal="Read", plan={"tasks": [query("a", "SELECT nothing FROM orders")]})
        assert (broken["status"], len(broken["problems"])) == ("failed", 1)


async def test_over_http_it_serves_this_machine_and_no_page_of_another_host(planwave: CommandLine) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    process = planwave.apart("mcp", "--http", str(port))
    try:
        async with asyncio.timeout(120):
            while True:
                assert process.poll() is None, process.communicate()[1]
                try:
                    reader, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.1)
                else:
                    break
        head = b"POST /mcp/ HTTP/1.1\r\nHost: evil.example\r\nContent-Type: application/json\r\nContent-Length: 2"
        writer.write(head + b"\r\n\r\n{}")
        assert b"421" in await reader.readline()
        writer.close()
        async with (
            streamable_http_client(f"http://127.0.0.1:{port}/mcp/") as (received, sent, _),
            ClientSession(received, sent) as session,
        ):
            await session.initialize()
            out = await call(session, "run", goal="Count", plan={"tasks": [query("n", COUNT)]})
            assert out["status"] == "completed"
    finally:
        process.terminate()
        process.communicate(timeout=60)


@pytest.mark.parametrize("option", [["--http", "0"], ["--http", "x"]])
def test_a_port_that_is_none_is_bad_use(planwave: CommandLine, option: list[str]) -> None:
    assert planwave.here("mcp", *option).exit_code == 2


def test_without_the_extra_the_command_says_what_to_install(
    planwave: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serve_mcp, "find_spec", lambda _name: None)
    done = planwave.here("mcp")
    assert done.exit_code == 2
    assert done.stderr == "The MCP server needs the extra `mcp` (uv run --extra mcp ...).\n"
