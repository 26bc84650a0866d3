"""A LangSmith collector on loopback that keeps every byte it is sent."""

import json
import threading
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self


class Collector:
    """Takes traces as LangSmith does; use as a context manager."""

    def __init__(self) -> None:
        self.requests: list[tuple[str, str, bytes]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"collector": self}))
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def received(self) -> bytes:
        """Everything that was sent, addresses included."""
        return b"\n".join(path.encode() + b"\n" + body for path, _, body in self.requests)

    @property
    def runs(self) -> dict[str, dict[str, Any]]:
        """The runs by id, put together from the parts in which they were sent."""
        found: dict[str, dict[str, Any]] = {}
        for path, content_type, body in list(self.requests):
            if path != "/runs/multipart":
                continue
            message = BytesParser().parsebytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
            for part in message.get_payload():
                _, run, *field = part.get_param("name", header="content-disposition").split(".")
                value = json.loads(part.get_payload(decode=True))
                found.setdefault(run, {}).update({field[0]: value} if field else value)
        return found


class _Handler(BaseHTTPRequestHandler):
    collector: Collector
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.collector.requests.append((self.path, "", b""))
        self._answer({"version": "0.10.0", "instance_flags": {}})

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.collector.requests.append((self.path, self.headers["Content-Type"], body))
        self._answer({})

    def do_PATCH(self) -> None:
        self.do_POST()

    def _answer(self, value: dict[str, Any]) -> None:
        data = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has in the base class
        pass
