"""Sessions with one MCP server: one for each event loop, kept open and made anew when it is lost."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from contextvars import Context
from datetime import timedelta
from typing import Any, assert_never, cast

import httpx
from anyio import BrokenResourceError, ClosedResourceError
from langchain_mcp_adapters.interceptors import MCPToolCallRequest, MCPToolCallResult
from langchain_mcp_adapters.sessions import Connection, StdioConnection, StreamableHttpConnection, create_session
from mcp import ClientSession, McpError
from mcp.types import CONNECTION_CLOSED, CallToolResult

from agent.config_file import HttpServer, StdioServer

#: What a server answers that was started anew and knows nothing of the session: the call was not looked at.
_SESSION_TERMINATED = 32600
#: Seconds for one HTTP exchange to begin; how long an answer may take is the executor's to say.
_REQUEST_TIMEOUT = timedelta(seconds=30)
_READ_TIMEOUT = timedelta(hours=24)

LossCallback = Callable[[], None]
Handler = Callable[[MCPToolCallRequest], Awaitable[MCPToolCallResult]]


class SessionPool:
    """The sessions of this process with one server."""

    def __init__(self, name: str, server: StdioServer | HttpServer) -> None:
        self._name = name
        self._server = server
        self._held: dict[asyncio.AbstractEventLoop, _ManagedSession] = {}
        self._lock = threading.Lock()

    @asynccontextmanager
    async def open(self, on_lost: LossCallback = lambda: None) -> AsyncIterator[ClientSession]:
        """Open a session for the time of the context; `lost` is called where its connection breaks.

        What is raised can be an `ExceptionGroup`, in which anyio packs what happens in its tasks.
        """
        async with create_session(build_connection(self._server, on_lost=on_lost)) as session:
            async with asyncio.timeout(self._server.start_timeout_s):
                await session.initialize()
            yield session

    async def call(self, request: MCPToolCallRequest, handler: Handler) -> CallToolResult:  # noqa: ARG002 - an interceptor's signature
        """Make a call in the session of the running loop: an interceptor that does not ask the adapters to connect.

        Raises `ConnectionRefusedError` where the call was surely not made, `ConnectionError` where nobody knows.
        """
        held = self._get_loop_session()
        session = await held.get_session()
        with held.track_call():
            sending = asyncio.ensure_future(session.call_tool(request.name, dict(request.args)))
            try:
                waits: set[asyncio.Future[Any]] = {sending, held.task}
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                if sending.done():
                    return sending.result()
            except McpError as error:
                if error.error.code == _SESSION_TERMINATED:
                    held.mark_lost()
                    raise ConnectionRefusedError(f"The MCP server {self._name!r} was started anew.") from error
                if error.error.code != CONNECTION_CLOSED:
                    raise
                held.mark_lost()
                await asyncio.wait({held.task})
            except (ClosedResourceError, BrokenResourceError) as error:
                held.mark_lost()
                raise ConnectionRefusedError(f"The MCP server {self._name!r} has gone away.") from error
            finally:
                sending.cancel()
            raise held.make_connection_error()

    def _get_loop_session(self) -> "_ManagedSession":
        loop = asyncio.get_running_loop()
        with self._lock:
            self._held = {each: held for each, held in self._held.items() if not each.is_closed()}
            held = self._held.get(loop)
            if held is None or held.is_lost:
                held = self._held[loop] = _ManagedSession(self._name, self.open)
            return held


class _ManagedSession:
    """A session kept open by a task of its own, since anyio wants it closed by the task that opened it."""

    def __init__(self, name: str, open_: Callable[[LossCallback], AbstractAsyncContextManager[ClientSession]]) -> None:
        self._name = name
        self._open = open_
        self._over = asyncio.Event()
        self._ready: asyncio.Future[ClientSession] = asyncio.get_running_loop().create_future()
        self._calls = 0
        #: Since it was last idle, more than one call was under way at once.
        self._shared = False
        self._cause: BaseException | None = None
        # Without the context of the call that happens to be the first: its trace ends before the session does.
        self.task = asyncio.create_task(self._keep_open(), name=f"MCP server {name}", context=Context())

    @property
    def is_lost(self) -> bool:
        """Whether no further call may go by this session."""
        return self._over.is_set() or self.task.done()

    def mark_lost(self) -> None:
        """Let the session go."""
        self._over.set()

    async def get_session(self) -> ClientSession:
        """Return the session once it is open. Raises `ConnectionRefusedError` where it cannot be opened."""
        waits: set[asyncio.Future[Any]] = {self.task, self._ready}
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        if self._ready.done():
            return self._ready.result()
        raise ConnectionRefusedError(
            f"The MCP server {self._name!r} cannot be reached: {describe_connection_error(self._cause)}."
        )

    @contextmanager
    def track_call(self) -> Iterator[None]:
        """Count a call for the time of the context."""
        self._calls += 1
        self._shared = self._shared or self._calls > 1
        try:
            yield
        finally:
            self._calls -= 1
            self._shared = self._shared and (self._calls > 0 or self.is_lost)

    def make_connection_error(self) -> ConnectionError:
        """Return the error of a call that the session ended under.

        Only where no other call was under way was it this call's own connection that was refused.
        """
        if not self._shared and isinstance(unwrap_exception_group(self._cause), httpx.ConnectError):
            return ConnectionRefusedError(
                f"The MCP server {self._name!r} is not running: {describe_connection_error(self._cause)}."
            )
        return ConnectionError(
            f"The MCP server {self._name!r} went away during the call: {describe_connection_error(self._cause)}."
        )

    async def _keep_open(self) -> None:
        try:
            async with self._open(self.mark_lost) as session:
                self._ready.set_result(session)
                await self._over.wait()
        except Exception as error:  # noqa: BLE001 - whatever ends a session is told by the calls that it ends
            self._cause = error


def unwrap_exception_group(error: BaseException | None) -> BaseException | None:
    """Return the first error that is no group, of what anyio packs together."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def describe_connection_error(error: BaseException | None) -> str:
    """Return the words of an error, without the address that httpx puts there."""
    found = unwrap_exception_group(error)
    if found is None:
        return "the connection was closed"
    if isinstance(found, httpx.HTTPStatusError):
        return f"it answered with status {found.response.status_code}"
    if isinstance(found, TimeoutError):
        return "it did not answer in time"
    return str(found).rstrip(".") or type(found).__name__


def build_connection(server: StdioServer | HttpServer, *, on_lost: LossCallback) -> Connection:
    """Return how the adapters reach a server."""
    match server:
        case StdioServer():
            return StdioConnection(
                transport="stdio",
                command=server.command,
                args=list(server.args),
                env={name: value.get_secret_value() for name, value in server.env.items()},
                cwd=server.cwd,
            )
        case HttpServer():
            return StreamableHttpConnection(
                transport="streamable_http",
                url=server.url,
                headers={name: value.get_secret_value() for name, value in server.headers.items()},
                timeout=_REQUEST_TIMEOUT,
                sse_read_timeout=_READ_TIMEOUT,
                httpx_client_factory=_make_client_factory(on_lost),
            )
        case _:
            assert_never(server)


def _make_client_factory(on_lost: LossCallback) -> Callable[..., httpx.AsyncClient]:
    """Return a maker of clients that notice an answer's connection breaking: MCP's own code waits on without a word."""

    def make_client(
        headers: dict[str, str] | None = None, timeout: httpx.Timeout | None = None, auth: httpx.Auth | None = None
    ) -> httpx.AsyncClient:
        async def watch(response: httpx.Response) -> None:
            if response.request.method == "POST":
                response.stream = _MonitoredStream(cast("httpx.AsyncByteStream", response.stream), on_lost)

        patience = timeout or httpx.Timeout(_REQUEST_TIMEOUT.total_seconds(), read=_READ_TIMEOUT.total_seconds())
        return httpx.AsyncClient(headers=headers, timeout=patience, auth=auth, event_hooks={"response": [watch]})

    return make_client


class _MonitoredStream(httpx.AsyncByteStream):
    def __init__(self, stream: httpx.AsyncByteStream, on_lost: LossCallback) -> None:
        self._stream = stream
        self._lost = on_lost

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._stream:
                yield part
        except httpx.TransportError:
            self._lost()
            raise

    async def aclose(self) -> None:
        await self._stream.aclose()
