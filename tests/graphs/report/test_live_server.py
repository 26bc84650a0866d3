"""The page of a run that runs: only here, only with its token, only to be read."""

import asyncio
import http.client
import threading

import pytest

from graphs.report.live_server import LiveServer


@pytest.fixture
def pages():
    return iter(f"page {number}" for number in range(100))


@pytest.fixture
async def server(pages, monkeypatch):
    async def build() -> str:
        return next(pages)

    monkeypatch.setattr("graphs.report.live_server._PATIENCE_S", 0.2)
    async with LiveServer(build) as opened:
        yield opened


async def ask(server, method="GET", path=None, **headers):
    """Return status, headers and body of one request."""

    def request():
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        connection.request(method, server.path if path is None else path, headers=headers)
        reply = connection.getresponse()
        return reply.status, dict(reply.headers), reply.read().decode()

    return await asyncio.to_thread(request)


async def test_each_request_gets_the_run_as_it_is_now(server):
    assert [(await ask(server))[2] for _ in range(2)] == ["page 1", "page 2"]
    assert server.url.startswith("http://127.0.0.1:")


async def test_a_page_that_has_not_changed_is_not_sent_again(server):
    version = (await ask(server))[1]["ETag"]

    async def same() -> str:
        return "page 1"

    server._build = same
    assert (await ask(server, **{"If-None-Match": version}))[0] == 304


async def test_without_the_token_or_by_another_name_there_is_nothing(server):
    for path in ("/", "/wrong/", server.path[:-2], server.path.upper()):
        assert (await ask(server, path=path))[0] == 404
    for host in ("evil.example", f"evil.example:{server.port}", "127.0.0.1"):
        assert (await ask(server, Host=host))[0] == 404


async def test_it_can_only_be_read_and_no_other_origin_may_read_it(server):
    for method in ("POST", "PUT", "DELETE", "OPTIONS"):
        assert (await ask(server, method))[0] == 501
    headers = (await ask(server, Origin="https://evil.example"))[1]
    assert "Access-Control-Allow-Origin" not in headers
    assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    assert headers["Referrer-Policy"] == "no-referrer"
    assert headers["Cache-Control"] == "no-store"


async def test_while_the_loop_is_at_a_prompt_the_last_page_is_sent(server):
    found = []

    def request():
        connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
        connection.request("GET", server.path)
        found.append(connection.getresponse().read().decode())

    other = threading.Thread(target=request)
    other.start()
    other.join(timeout=10)  # blocks this loop, as a prompt does
    assert found == ["page 0"]
