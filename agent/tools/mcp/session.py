"""Sessions with one MCP server: one per event loop, kept open, and replaced when it is lost."""

import asyncio
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from contextvars import Context
from datetime import timedelta
from typing import Any, Final, assert_never, cast

import httpx
from anyio import BrokenResourceError, ClosedResourceError
from langchain_mcp_adapters.interceptors import MCPToolCallRequest, MCPToolCallResult
from langchain_mcp_adapters.sessions import Connection, StdioConnection, StreamableHttpConnection, create_session
from mcp import ClientSession, McpError
from mcp.types import CONNECTION_CLOSED, CallToolResult

from agent.config_file import HttpServer, StdioServer

#: The error code of a server that was restarted and does not know the session: the call was not made.
_SESSION_TERMINATED = 32600
#: The time for an HTTP response to begin. How long a call may take is limited by the executor.
_REQUEST_TIMEOUT = timedelta(seconds=30)
_READ_TIMEOUT = timedelta(hours=24)

#: The one argument of a call through the adapters, which holds those of the tool.
PACKED_ARGUMENTS: Final = "planwave_arguments"

LossCallback = Callable[[], None]
Handler = Callable[[MCPToolCallRequest], Awaitable[MCPToolCallResult]]


class SessionPool:
    """The sessions of this process with one server."""

    def __init__(self, name: str, server: StdioServer | HttpServer) -> None:
        self._name = name
        self._server = server
        self._sessions: dict[asyncio.AbstractEventLoop, _ManagedSession] = {}
        self._lock = threading.Lock()

    @asynccontextmanager
    async def open(self, on_lost: LossCallback = lambda: None) -> AsyncIterator[ClientSession]:
        """Open a session for the context; `on_lost` is called if its connection breaks.

        May raise an `ExceptionGroup`, because anyio groups the exceptions of its tasks.
        """
        async with create_session(build_connection(self._server, on_lost=on_lost)) as session:
            async with asyncio.timeout(self._server.start_timeout_s):
                await session.initialize()
            yield session

    async def call(self, request: MCPToolCallRequest, handler: Handler) -> CallToolResult:  # noqa: ARG002 - an interceptor's signature
        """Make a call in the session of the running loop, as an interceptor that replaces the adapters' own connection.

        Raises `ConnectionRefusedError` if the call was certainly not made, `ConnectionError` if it may have been.
        """
        managed = self._get_loop_session()
        session = await managed.get_session()
        with managed.track_call():
            sending = asyncio.ensure_future(session.call_tool(request.name, request.args[PACKED_ARGUMENTS]))
            try:
                waits: set[asyncio.Future[Any]] = {sending, managed.task}
                await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
                if sending.done():
                    return sending.result()
            except McpError as error:
                if error.error.code == _SESSION_TERMINATED:
                    managed.mark_lost()
                    raise ConnectionRefusedError(f"The MCP server {self._name!r} was restarted.") from error
                if error.error.code != CONNECTION_CLOSED:
                    raise
                managed.mark_lost()
                await asyncio.wait({managed.task})
            except (ClosedResourceError, BrokenResourceError) as error:
                managed.mark_lost()
                raise ConnectionRefusedError(f"The MCP server {self._name!r} has closed the connection.") from error
            finally:
                sending.cancel()
            raise managed.make_connection_error()

    def _get_loop_session(self) -> "_ManagedSession":
        loop = asyncio.get_running_loop()
        with self._lock:
            self._sessions = {each: managed for each, managed in self._sessions.items() if not each.is_closed()}
            managed = self._sessions.get(loop)
            if managed is None or managed.is_lost:
                managed = self._sessions[loop] = _ManagedSession(self._name, self.open)
            return managed


class _ManagedSession:
    """A session kept open by a task of its own, because anyio requires the task that opens it to close it."""

    def __init__(self, name: str, open_: Callable[[LossCallback], AbstractAsyncContextManager[ClientSession]]) -> None:
        self._name = name
        self._open = open_
        self._over = asyncio.Event()
        self._ready: asyncio.Future[ClientSession] = asyncio.get_running_loop().create_future()
        self._calls = 0
        #: Whether several calls have been in flight at the same time since the session was last idle.
        self._shared = False
        self._cause: BaseException | None = None
        # In an empty context, not in that of the first call, whose trace ends before the session.
        self.task = asyncio.create_task(self._keep_open(), name=f"MCP server {name}", context=Context())

    @property
    def is_lost(self) -> bool:
        """Whether the session cannot be used for further calls."""
        return self._over.is_set() or self.task.done()

    def mark_lost(self) -> None:
        """Close the session; further calls need a new one."""
        self._over.set()

    async def get_session(self) -> ClientSession:
        """Wait until the session is open and return it. Raises `ConnectionRefusedError` if it cannot be opened."""
        waits: set[asyncio.Future[Any]] = {self.task, self._ready}
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
        if self._ready.done():
            return self._ready.result()
        raise ConnectionRefusedError(
            f"The MCP server {self._name!r} cannot be reached: {describe_connection_error(self._cause)}."
        )

    @contextmanager
    def track_call(self) -> Iterator[None]:
        """Count a call as in flight during the context."""
        self._calls += 1
        self._shared = self._shared or self._calls > 1
        try:
            yield
        finally:
            self._calls -= 1
            self._shared = self._shared and (self._calls > 0 or self.is_lost)

    def make_connection_error(self) -> ConnectionError:
        """Return the error for a call during which the session ended.

        A refused connection proves that the call was not made only if no other call was in flight: otherwise it may
        have been the connection of the other call.
        """
        if not self._shared and isinstance(unwrap_exception_group(self._cause), httpx.ConnectError):
            return ConnectionRefusedError(
                f"The MCP server {self._name!r} is not running: {describe_connection_error(self._cause)}."
            )
        return ConnectionError(
            f"The MCP server {self._name!r} was lost during the call: {describe_connection_error(self._cause)}."
        )

    async def _keep_open(self) -> None:
        try:
            async with self._open(self.mark_lost) as session:
                self._ready.set_result(session)
                await self._over.wait()
        except Exception as error:  # noqa: BLE001 - whatever ends a session is reported by the calls in flight
            self._cause = error


def unwrap_exception_group(error: BaseException | None) -> BaseException | None:
    """Return the first error in nested exception groups, as anyio raises them; other errors unchanged."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    return error


def describe_connection_error(error: BaseException | None) -> str:
    """Return the reason of a connection error as text, without the URL that httpx puts into it."""
    reason = unwrap_exception_group(error)
    if reason is None:
        return "the connection was closed"
    if isinstance(reason, httpx.HTTPStatusError):
        return f"it answered with status {reason.response.status_code}"
    if isinstance(reason, TimeoutError):
        return "it did not answer in time"
    return str(reason).rstrip(".") or type(reason).__name__


def build_connection(server: StdioServer | HttpServer, *, on_lost: LossCallback) -> Connection:
    """Return the connection settings of a server for the adapters."""
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
    """Return a factory of clients that report a connection lost during a response; MCP alone would wait forever."""

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
        self._on_lost = on_lost

    async def __aiter__(self) -> AsyncIterator[bytes]:
        try:
            async for part in self._stream:
                yield part
        except httpx.TransportError:
            self._on_lost()
            raise

    async def aclose(self) -> None:
        await self._stream.aclose()
