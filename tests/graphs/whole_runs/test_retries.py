"""Retries on real runs: what is tried again, how long is waited, and what goes to the replanner instead."""

import asyncio
import json
import socket
import threading
import urllib.request
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import aiohttp
import botocore.session
import httpx
import pytest
import requests
import urllib3
from botocore.config import Config
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langgraph.checkpoint.memory import InMemorySaver
from pydantic import BaseModel, Field

from agent.core.plan.limits import Backoff
from agent.events import TaskRetrying, parse_event
from agent.execution.retry_policy import compute_wait_s
from agent.settings import Settings
from graphs.plan_execute import build_graph
from tests.support.worlds import READ, World, ref, thread

#: The answer that closes the connection instead.
CUT = 0


@contextmanager
def server(*answers, headers=None):
    """Serve `answers`, a status each and then 200, and yield the address and the list of requests.

    A header that is a function is called when the answer is sent.
    """
    asked, left = [], list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            asked.append(self.path)
            status = left.pop(0) if left else 200
            if status == CUT:
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in (headers or {}).items() if status != 200 else ():
                self.send_header(name, value() if callable(value) else value)
            body = b'{"n": 7}'
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - what the server looks for

        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        threading.Thread(target=http.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{http.server_port}", asked
        http.shutdown()


async def by_httpx(url: str) -> int:
    async with httpx.AsyncClient() as client:
        return (await client.get(url)).raise_for_status().json()["n"]


async def by_aiohttp(url: str) -> int:
    # A `get` that was cut it makes again by itself.
    async with aiohttp.ClientSession(raise_for_status=True) as client, client.post(url) as answer:
        return (await answer.json(content_type=None))["n"]


async def by_requests(url: str) -> int:
    def get():
        answer = requests.get(url, timeout=5)
        answer.raise_for_status()
        return answer.json()["n"]

    return await asyncio.to_thread(get)


async def by_urllib(url: str) -> int:
    def get():
        with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - loopback
            return json.load(answer)["n"]

    return await asyncio.to_thread(get)


async def by_urllib3(url: str) -> int:
    def get():
        with urllib3.PoolManager(retries=False) as pool:
            return pool.request("GET", url, timeout=5).json()["n"]

    return await asyncio.to_thread(get)


async def by_botocore(url: str) -> int:
    def get():
        config = Config(retries={"total_max_attempts": 1})
        session = botocore.session.get_session()
        session.set_credentials("a", "b")
        client = session.create_client("s3", "eu-west-1", endpoint_url=url, config=config)
        return json.loads(client.get_object(Bucket="b", Key="k")["Body"].read())["n"]

    return await asyncio.to_thread(get)


CLIENTS = [by_httpx, by_aiohttp, by_requests, by_urllib, by_botocore]


async def ran(call, url, *, metadata=READ, retries=None, **settings):
    """Run a plan of one call; return its record and the waits between its attempts."""
    world = World()
    task = {"id": "a", "tool": "get", "args": {"url": url}} | ({"max_retries": retries} if retries else {})
    settings = Settings(max_replans=0, approve="never", **settings)
    graph = build_graph(tools=[world.tool("get", call, metadata)], settings=settings, checkpointer=InMemorySaver())
    waits = []
    async for part in graph.astream({"goal": "g", "plan": {"tasks": [task]}}, thread(), stream_mode="custom"):
        match parse_event(part):
            case TaskRetrying(wait_s=wait_s):
                waits.append(wait_s)
    values = (await graph.aget_state(thread())).values
    return values["results"].get("a") or {"status": "in_doubt", **values["calls_in_doubt"]["a"]}, waits


@pytest.mark.parametrize("call", CLIENTS, ids=lambda call: call.__name__)
@pytest.mark.parametrize("status", [429, 503])
async def test_an_answer_that_may_pass_is_waited_for_as_it_asks_whatever_the_client(call, status):
    with server(status, headers={"Retry-After": "0"}) as (url, asked):
        record, waits = await ran(call, url)
    assert (record["status"], record["output"], record["attempts"], len(asked)) == ("done", 7, 2, 2)
    assert waits == [0.0]


async def test_a_date_is_waited_for_too():
    def later() -> str:
        return format_datetime(datetime.now(UTC) + timedelta(seconds=3), usegmt=True)

    with server(503, headers={"Retry-After": later}) as (url, _):
        record, [wait] = await ran(by_httpx, url)
    assert record["status"] == "done"
    assert 0.5 < wait <= 3  # Without the header at most 0.5 s.


async def test_who_asks_for_an_hour_is_not_asked_again():
    with server(429, 429, headers={"Retry-After": "3600"}) as (url, asked):
        record, waits = await ran(by_httpx, url)
    assert (record["status"], record["kind"], len(asked), waits) == ("failed", "transient", 1, [])
    assert record["error"].endswith("It asks to wait 3600 s.")


@pytest.mark.parametrize("call", [*CLIENTS, by_urllib3], ids=lambda call: call.__name__)
async def test_a_cut_connection_is_tried_again_whatever_the_client(call):
    with server(CUT) as (url, asked):
        record, waits = await ran(call, url)
    assert (record["status"], record["attempts"], len(asked)) == ("done", 2, 2)
    assert 0 <= waits[0] <= 0.5


@pytest.mark.parametrize("call", [*CLIENTS, by_urllib3], ids=lambda call: call.__name__)
async def test_a_write_that_was_cut_is_in_doubt_and_one_that_never_arrived_is_made_again(call):
    with server(CUT) as (url, asked):
        record, waits = await ran(call, url, metadata={})
        assert (record["status"], waits, len(asked)) == ("in_doubt", [], 1)
    with socket.socket() as deaf:
        # Bound and not listening: nobody else gets the port, and nobody answers.
        deaf.bind(("127.0.0.1", 0))
        record, waits = await ran(call, f"http://127.0.0.1:{deaf.getsockname()[1]}", metadata={}, retries=1)
    assert (record["status"], record["kind"], record["attempts"], len(waits)) == ("failed", "transient", 2, 1)


@pytest.mark.parametrize("call", CLIENTS, ids=lambda call: call.__name__)
async def test_what_cannot_pass_is_not_tried_again(call):
    with server(400, 400) as (url, asked):
        record, waits = await ran(call, url)
    assert (record["status"], record["kind"], len(asked), waits) == ("failed", "tool", 1, [])
    record, waits = await ran(call, "nothing://here")
    assert (record["status"], record["attempts"], waits) == ("failed", 1, [])


async def test_waits_grow_at_random_and_attempts_are_bounded():
    with server(*[500] * 9) as (url, asked):
        record, waits = await ran(by_httpx, url, retries=4)
    assert (record["kind"], record["attempts"], len(asked)) == ("transient", 5, 5)
    assert all(0 <= wait <= 0.5 * 2**attempt for attempt, wait in enumerate(waits))
    assert len(set(waits)) == 4


async def test_each_attempt_has_its_own_time():
    times = iter([30, 0])

    async def slow(url: str) -> int:
        await asyncio.sleep(next(times))
        return 7

    record, waits = await ran(slow, "", default_timeout_s=0.05)
    assert (record["status"], record["attempts"], len(waits)) == ("done", 2, 1)


class Small(BaseModel):
    value: int = Field(lt=5)


@pytest.mark.parametrize("dispatch", ["eager", "wave"])
async def test_a_failed_argument_is_not_tried_again_but_replanned(dispatch):
    world = World()

    async def small(value: int) -> int:
        world.log.append(("small", value))
        return value

    tool = world.tool("small", small, READ)
    tool.args_schema = Small
    first = {"tasks": [{"id": "a", "tool": "look", "args": {"value": 9}}, {"id": "b", "tool": "small", "args": {}}]}
    first["tasks"][1]["args"] = {"value": ref("a", "value")}
    second = {"tasks": [first["tasks"][0], {"id": "b2", "tool": "small", "args": {"value": 4}}]}
    model = FakeListChatModel(responses=[json.dumps(second), "4 [b2]."])
    graph = build_graph(
        tools=[*world.tools(), tool],
        model=model,
        settings=Settings(dispatch=dispatch),
        checkpointer=InMemorySaver(),
    )
    out = await graph.ainvoke({"goal": "g", "plan": first}, thread())
    assert (out["status"], out["replans"]) == ("completed", 1)
    assert (out["results"]["b"]["kind"], out["results"]["b"]["attempts"]) == ("argument", 0)
    assert world.log == [("look", 9), ("small", 4)]


async def test_the_backoff_can_be_exact():
    with server(503, 503, 503) as (url, _):
        settings = {"backoff_base_s": 0.01, "backoff_factor": 2, "backoff_jitter": 0}
        record, waits = await ran(by_httpx, url, retries=3, **settings)
    assert (record["status"], waits) == ("done", [0.01, 0.02, 0.04])


def test_waits_grow_by_a_factor_up_to_a_limit_and_shrink_by_jitter():
    backoff = Settings(backoff_base_s=1, backoff_factor=2, backoff_jitter=0, backoff_max_s=5).build_backoff()
    error = ConnectionResetError()
    assert [compute_wait_s(error, retry=retry, backoff=backoff) for retry in (1, 2, 3, 4, 5000)] == [1, 2, 4, 5, 5]
    half = replace(backoff, jitter=0.5)
    waits = [compute_wait_s(error, retry=3, backoff=half) for _ in range(200)]
    assert all(2 <= wait <= 4 for wait in waits)
    assert max(waits) - min(waits) > 1
    assert Settings().build_backoff() == Backoff(0.5, 2.0, 30.0, 1.0)
