"""Serves the report of a run on the loopback interface while the run runs.

It only shows: there is one page, under a path that holds a random token, and nothing can be sent to it. Another site
that knows the port is refused by the token, and a name that it makes lead to this machine by the `Host` it asks for.
"""

import asyncio
import hashlib
import secrets
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from time import monotonic
from typing import Final, Self

_HOST: Final = "127.0.0.1"
#: Seconds that a request waits for a newer page; the last one is sent then, as while the run's loop is at a prompt.
_PATIENCE_S: Final = 3.0
#: A browser asks every second; one that has not asked for so long is gone.
_WATCHING_S: Final = 8.0


class LiveServer:
    """One page on a random port; `build` makes it, in the event loop that entered the server."""

    def __init__(self, build: Callable[[], Awaitable[str]]) -> None:
        self._build = build
        self._token = secrets.token_urlsafe(24)
        self._page = b""
        self._asked_at = 0.0
        #: The version that a browser has got last.
        self._sent = ""
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._server: ThreadingHTTPServer | None = None

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        await self.refresh()
        self._server = ThreadingHTTPServer((_HOST, 0), _make_handler(self))
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, name="planwave-report", daemon=True).start()
        return self

    async def __aexit__(self, *_: object) -> None:
        """Stop, once a browser that is watching has got the last page."""
        if self._server is None:
            return
        until = monotonic() + _PATIENCE_S
        while monotonic() < until and monotonic() - self._asked_at < _WATCHING_S and self._sent != self.version:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        await asyncio.to_thread(self._server.shutdown)
        self._server.server_close()
        self._server = None

    @property
    def port(self) -> int:
        """The port that it listens on."""
        if self._server is None:
            raise AssertionError("the server is not running")
        return int(self._server.server_address[1])

    @property
    def url(self) -> str:
        """The address of the page."""
        return f"http://{_HOST}:{self.port}{self.path}"

    @property
    def path(self) -> str:
        """The path of the page, with its token."""
        return f"/{self._token}/"

    @property
    def version(self) -> str:
        """Names the last page by its content."""
        return f'"{hashlib.sha256(self._page).hexdigest()[:32]}"'

    async def refresh(self) -> None:
        """Make the page again."""
        self._page = (await self._build()).encode()

    def is_own_host(self, host: str | None) -> bool:
        """Whether a request was meant for this server, and not for a name that leads here."""
        return host in {f"{_HOST}:{self.port}", f"localhost:{self.port}"}

    def is_own_path(self, path: str) -> bool:
        """Whether a path has the token; takes as long for every wrong one."""
        return secrets.compare_digest(path.partition("?")[0].encode(), self.path.encode())

    def fetch_page(self, known: str | None) -> tuple[str, bytes | None]:
        """Return the version and the content of the page; no content if the browser has that version."""
        with self._lock:
            self._asked_at = monotonic()
            self._try_refresh()
            page, version = self._page, self.version
            self._sent = version
        return version, None if known == version else page

    def _try_refresh(self) -> None:
        if self._loop is None or self._loop.is_closed():
            return
        work: Future[None] = asyncio.run_coroutine_threadsafe(self.refresh(), self._loop)
        try:
            work.result(_PATIENCE_S)
        except Exception:  # noqa: BLE001 - whatever a run meets; the reader keeps the last page
            work.cancel()


def _make_handler(server: LiveServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        server_version = "Planwave"
        sys_version = ""

        def do_GET(self) -> None:
            if not server.is_own_host(self.headers.get("Host")) or not server.is_own_path(self.path):
                self._reply(404, b"Not found.\n", kind="text/plain")
                return
            version, page = server.fetch_page(self.headers.get("If-None-Match"))
            self._reply(304 if page is None else 200, page or b"", kind="text/html", version=version)

        def _reply(self, status: int, content: bytes, *, kind: str, version: str | None = None) -> None:
            self.send_response(status)
            headers = {
                "Content-Type": f"{kind}; charset=utf-8",
                "Content-Length": str(len(content)),
                "Cache-Control": "no-store",
                "Referrer-Policy": "no-referrer",
                "X-Content-Type-Options": "nosniff",
                "X-Frame-Options": "DENY",
                "Cross-Origin-Resource-Policy": "same-origin",
                "Cross-Origin-Opener-Policy": "same-origin",
                **({"ETag": version} if version else {}),
            }
            for name, value in headers.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - as in the standard library
            """Write nothing: the address, which is a secret, would be in it."""

    return Handler
