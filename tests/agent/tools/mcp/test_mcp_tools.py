"""Tools of a real MCP server, over standard input and output and over HTTP, killed and started again during a run."""

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import pytest
from langchain_mcp_adapters.client import MultiServerMCPClient
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from agent.config_file import HttpServer, StdioServer, ToolPolicy
from agent.errors import ToolError
from agent.settings import Settings
from agent.tools.mcp.tools import mcp_tools
from agent.tools.server_hints import select_server_hints, trust_hints
from agent.tools.toolbox import Toolbox
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from tests.support.command_line import PATIENCE_S, CommandLine
from tests.support.processes import ROOT
from tests.support.stored_bytes import stored_bytes
from tests.support.worlds import APPROVE, ref, thread

SCRIPT = str(ROOT / "tests/support/children/mcp_server.py")
TOKEN = "notes-token-0451"


class Notes:
    """A notes server of a test's own; one that speaks HTTP has a twin that stands by."""

    def __init__(self, folder: Path, way: str, stack: ExitStack) -> None:
        self.folder, self._way, self._stack = folder, way, stack
        self.config: StdioServer | HttpServer = StdioServer(
            command=sys.executable, args=(SCRIPT, str(folder), "stdio"), trust_hints=True
        )
        if way == "http":
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self._port = free.getsockname()[1]
            self.config = HttpServer(url=f"http://127.0.0.1:{self._port}/mcp", trust_hints=True)
            self._running, self._twin = self._process(), self._process()
            self._go(self._running)

    def _process(self) -> "subprocess.Popen[str]":
        command = [sys.executable, SCRIPT, str(self.folder), "http", str(self._port)]
        process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True)
        self._stack.callback(lambda: (process.kill(), process.communicate()))
        return process

    def _go(self, process: "subprocess.Popen[str]") -> None:
        assert process.stdin
        process.stdin.write("go\n")
        process.stdin.flush()
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            try:
                socket.create_connection(("127.0.0.1", self._port)).close()
            except OSError:
                time.sleep(0.02)
            else:
                return
        raise AssertionError("the server never listened")

    @property
    def calls(self) -> list[str]:
        log = self.folder / "calls.log"
        return log.read_text().splitlines() if log.exists() else []

    async def until(self, call: str) -> int:
        """Wait until the server works on a call and return its process."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            if self.calls and self.calls[-1].startswith(call):
                return int(self.calls[-1].split()[1])
            await asyncio.sleep(0.01)
        raise AssertionError(f"{call} never began: {self.calls}")

    async def kill_within(self, call: str) -> None:
        """Kill the server while it works on a call, and let the next one work freely."""
        os.kill(await self.until(call), signal.SIGKILL)
        (self.folder / "hold").unlink()
        if self._way == "http":
            self._running.wait()
            await asyncio.to_thread(self._go, self._twin)


@pytest.fixture(params=["stdio", "http"])
def notes(request, tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    with ExitStack() as stack:
        yield Notes(folder, request.param, stack)


def graph_of(notes, saver=None, **settings):
    return build_graph(
        tools=mcp_tools({"notes": notes.config}), settings=Settings(**settings), checkpointer=saver or InMemorySaver()
    )


async def test_a_plan_runs_on_an_mcp_server_and_its_writes_ask(notes):
    plan = {
        "tasks": [
            {"id": "before", "tool": "count"},
            {"id": "kept", "tool": "keep", "args": {"name": "a", "text": "three"}, "condition": "before.notes == 0"},
            {"id": "text", "tool": "read", "args": {"name": ref("kept", "result")}},
            {"id": "after", "tool": "count", "depends_on": ["kept"]},
        ]
    }
    graph = graph_of(notes)
    out = await graph.ainvoke({"goal": "g", "plan": plan}, thread())
    assert out["status"] == "awaiting_approval"
    assert not any(call.startswith("keep") for call in notes.calls)
    out = await graph.ainvoke(Command(resume=APPROVE), thread())
    assert out["status"] == "completed"
    outputs = {task: result["output"] for task, result in out["results"].items()}
    assert (outputs["kept"], outputs["text"]) == ({"result": "a"}, "three")
    assert (outputs["before"]["notes"], outputs["after"]["notes"]) == (0, 1)
    assert outputs["before"]["process"] == outputs["after"]["process"], "one session served the whole run"


async def test_references_are_checked_against_the_schemas_that_the_server_gives(notes):
    plan = {"tasks": [{"id": "c", "tool": "count"}, {"id": "r", "tool": "read", "args": {"name": ref("c", "numbers")}}]}
    out = await graph_of(notes).ainvoke({"goal": "g", "plan": plan}, thread())
    assert out["status"] == "failed"
    assert "numbers" in out["problems"][0]
    assert notes.calls == []


async def test_what_the_server_calls_an_error_is_the_tools_failure_and_is_not_tried_again(notes):
    plan = {"tasks": [{"id": "r", "tool": "read", "args": {"name": "none"}}]}
    out = await graph_of(notes, max_replans=0).ainvoke({"goal": "g", "plan": plan}, thread())
    result = out["results"]["r"]
    assert (result["status"], result["kind"], result["attempts"]) == ("failed", "tool", 1)
    assert "none.note" in result["error"]


async def test_a_read_whose_server_is_killed_passes_at_the_next_attempt(notes):
    (notes.folder / "hold").touch()
    plan = {"tasks": [{"id": "s", "tool": "slow", "args": {"name": "x"}, "max_retries": 5}]}
    graph = graph_of(notes)
    out, _ = await asyncio.gather(graph.ainvoke({"goal": "g", "plan": plan}, thread()), notes.kill_within("slow"))
    assert out["status"] == "completed"
    assert out["results"]["s"]["output"] == {"result": "x"}
    assert out["results"]["s"]["attempts"] > 1
    assert len({call.split()[1] for call in notes.calls}) == 2


async def test_a_write_whose_server_is_killed_is_in_doubt_and_not_made_again_unasked(notes):
    (notes.folder / "hold").touch()
    plan = {"tasks": [{"id": "k", "tool": "keep", "args": {"name": "a", "text": "t"}}]}
    graph = graph_of(notes)
    await graph.ainvoke({"goal": "g", "plan": plan}, thread())
    out, _ = await asyncio.gather(graph.ainvoke(Command(resume=APPROVE), thread()), notes.kill_within("keep"))
    assert out["status"] == "awaiting_approval"
    assert "nobody knows" in out["__interrupt__"][0].value["action_requests"][0]["doubt"]
    assert len(notes.calls) == 1
    answer = {"decisions": [{"type": "approve"}]}
    out = await graph.ainvoke(Command(resume=answer), thread())
    assert out["status"] == "completed"
    assert len(notes.calls) == 2


async def test_a_server_that_was_killed_between_two_calls_is_no_matter(notes):
    plan = {"tasks": [{"id": "c", "tool": "count", "max_retries": 5}]}
    graph = graph_of(notes)
    await graph.ainvoke({"goal": "g", "plan": plan}, thread("1"))
    (notes.folder / "hold").touch()
    await notes.kill_within("count")
    out = await graph.ainvoke({"goal": "g", "plan": plan}, thread("2"))
    assert out["status"] == "completed"


def test_hints_of_a_server_count_only_where_the_user_trusts_it(tmp_path):
    script = (SCRIPT, str(tmp_path), "stdio")
    told = {"count": ToolPolicy(readOnlyHint=True)}
    doubted = StdioServer(command=sys.executable, args=script, tools=told)
    policies = {name: spec.policy for name, spec in Toolbox(mcp_tools({"notes": doubted})).specs.items()}
    assert [name for name, policy in policies.items() if policy.read_only] == ["count"], "what the user says"
    assert (policies["drop"].destructive, policies["drop"].idempotent) == (True, False)
    assert all(policy.open_world for policy in policies.values())
    assert not any(policy.context_provider or policy.verify for policy in policies.values())


async def test_what_a_server_says_of_its_tools_is_a_write_that_asks(tmp_path):
    server = StdioServer(command=sys.executable, args=(SCRIPT, str(tmp_path), "stdio"))
    graph = build_graph(tools=mcp_tools({"notes": server}), checkpointer=InMemorySaver())
    out = await graph.ainvoke({"goal": "g", "plan": {"tasks": [{"id": "c", "tool": "count"}]}}, thread())
    assert out["status"] == "awaiting_approval"
    assert not (tmp_path / "calls.log").exists()


@pytest.mark.parametrize(
    ("hints", "counts"),
    [
        ({"readOnlyHint": True}, {}),
        ({"readOnlyHint": False, "openWorldHint": True}, {"readOnlyHint": False, "openWorldHint": True}),
        ({"destructiveHint": False, "idempotentHint": True, "openWorldHint": False}, {}),
        ({"idempotentHint": False, "destructiveHint": True}, {"idempotentHint": False, "destructiveHint": True}),
        ({"context_provider": True, "cache_ttl_s": 9, "verify": "x", "compensate": "x", "trust_hints": True}, {}),
        ({"readOnlyHint": "true"}, {}),
    ],
)
async def test_an_untrusted_hint_counts_only_if_it_makes_a_call_stricter(hints, counts):
    assert select_server_hints(hints, trusted=False) == counts
    assert select_server_hints(hints, trusted=True).keys() <= {
        "readOnlyHint",
        "destructiveHint",
        "idempotentHint",
        "openWorldHint",
    }


async def test_tools_of_the_adapters_given_from_python_are_no_more_trusted(tmp_path):
    connection = {"command": sys.executable, "args": [SCRIPT, str(tmp_path), "stdio"], "transport": "stdio"}
    tools = await MultiServerMCPClient({"notes": connection}).get_tools()
    assert [tool.name for tool in tools if (tool.metadata or {}).get("readOnlyHint")] != []
    given, trusted = Toolbox(tools).specs, Toolbox(trust_hints(tools)).specs
    assert [name for name, spec in given.items() if spec.policy.read_only] == []
    assert [name for name, spec in trusted.items() if spec.policy.read_only] == [
        "count",
        "read",
        "slow",
        "token_length",
    ]
    count = next(tool for tool in tools if tool.name == "count")
    count.metadata = {**count.metadata, "context_provider": True, "cache_ttl_s": 60, "timeout_s": 3}
    policy = Toolbox([count]).specs["count"].policy
    assert (policy.read_only, policy.context_provider, policy.cache_ttl_s, policy.timeout_s) == (False, False, None, 3)


def test_trusted_hints_become_policy_and_silence_is_a_write(notes):
    specs = Toolbox(mcp_tools({"notes": notes.config})).specs
    policy = {
        name: (spec.policy.read_only, spec.policy.destructive, spec.policy.idempotent) for name, spec in specs.items()
    }
    assert policy["count"] == (True, False, True)
    assert policy["keep"] == (False, True, False)
    assert policy["drop"] == (False, True, True)
    assert specs["count"].output_schema["properties"].keys() == {"notes", "process"}
    assert specs["read"].output_schema is None
    ours = {"keep": ToolPolicy(readOnlyHint=False, verify="other_read", timeout_s=3)}
    told = notes.config.model_copy(update={"prefix": True, "tools": ours})
    tools = mcp_tools({"notes": notes.config, "other": told})
    policy = Toolbox(tools).specs["other_keep"].policy
    assert (policy.verify, policy.timeout_s, policy.destructive) == ("other_read", 3, True)
    unknown = notes.config.model_copy(update={"tools": {"keeep": ToolPolicy(readOnlyHint=True)}})
    with pytest.raises(ToolError, match="no tool 'keeep' to set a policy for; it has: count, read"):
        mcp_tools({"notes": unknown})


@pytest.mark.parametrize(
    "server",
    [
        StdioServer(command="no-such-program-of-ours"),
        StdioServer(command=sys.executable, args=("-c", "raise SystemExit(3)")),
        StdioServer(command=sys.executable, args=("-c", "input()"), start_timeout_s=1),
        HttpServer(url="http://127.0.0.1:9/mcp"),
    ],
    ids=["absent", "ends", "silent", "refused"],
)
def test_a_server_that_cannot_be_reached_is_named(server):
    with pytest.raises(ToolError, match=r"The MCP server 'notes' cannot be reached: .+; start it"):
        mcp_tools({"notes": server})


async def test_many_calls_share_a_session_with_sync_and_async_runs(notes):
    plan = {"tasks": [{"id": f"c{n}", "tool": "count"} for n in range(40)]}
    graph = graph_of(notes)
    for name in ("1", "2"):
        out = await asyncio.to_thread(graph.invoke, {"goal": "g", "plan": plan}, thread(name))
        assert out["status"] == "completed"
        assert len({result["output"]["process"] for result in out["results"].values()}) == 1
    out = await graph.ainvoke({"goal": "g", "plan": plan}, thread("3"))
    assert out["status"] == "completed"


def test_the_command_reads_the_named_configuration_also_later_and_keeps_the_token(planwave: CommandLine, tmp_path):
    folder = tmp_path / "notes"
    folder.mkdir()
    (tmp_path / "planwave.toml").write_text(
        f"[tools]\nwriting = true\ndelegate = true\n[mcp.servers.notes]\ncommand = {json.dumps(sys.executable)}\n"
        "trust_hints = true\n"
        f'args = {json.dumps([SCRIPT, str(folder), "stdio"])}\nenv = {{ NOTES_TOKEN = "${{TOKEN}}" }}\n'
    )
    env = {"TOKEN": TOKEN}
    listed = planwave.apart("tools", "--json", "--config", "planwave.toml", cwd=tmp_path, env=env)
    names = [spec["name"] for spec in json.loads(listed.communicate(timeout=PATIENCE_S)[0])["tools"]]
    assert {"query_database", "classify", "delegate", "count", "keep"} <= {*names}
    plan = planwave.plan_file(
        {"id": "n", "tool": "token_length"}, {"id": "k", "tool": "keep", "args": {"name": "a", "text": "t"}}
    )
    run = planwave.apart(
        "run", "g", "--plan", plan, "--thread", "t", "--json", "--config", "planwave.toml", cwd=tmp_path, env=env
    )
    said = run.communicate(timeout=PATIENCE_S)
    assert run.returncode == 3, said
    resumed = planwave.apart("resume", "t", "--yes", "--json", cwd=tmp_path.parent, env=env)
    out, err = resumed.communicate(timeout=PATIENCE_S)
    assert resumed.returncode == 0, err
    assert json.loads(out)["results"]["n"]["output"] == {"result": len(TOKEN)}
    assert TOKEN.encode() not in stored_bytes(planwave.env["PLANWAVE_DB"])
    assert TOKEN not in "".join([*said, out, err])


async def test_a_run_resumed_in_a_new_process_goes_on_with_a_server_started_anew(notes, tmp_path):
    plan = {
        "tasks": [
            {"id": "c", "tool": "count"},
            {"id": "k", "tool": "keep", "args": {"name": "a", "text": "t"}, "depends_on": ["c"]},
        ]
    }
    for given in ({"goal": "g", "plan": plan}, Command(resume=APPROVE)):
        async with open_persistence(f"sqlite:///{tmp_path}/p.db") as stored:
            graph = build_graph(tools=mcp_tools({"notes": notes.config}), persistence=stored)
            out = await graph.ainvoke(given, thread())
    assert out["status"] == "completed"
    assert [call.split()[0] for call in notes.calls] == ["count", "keep"]
