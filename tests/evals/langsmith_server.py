"""A LangSmith server on loopback that keeps datasets, examples, experiments, runs and feedback."""

import json
import re
import threading
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from email.parser import BytesParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Self
from urllib.parse import parse_qs, urlsplit

Json = dict[str, Any]


class LangSmithServer:
    """Answers as LangSmith does to what an experiment asks of it; use as a context manager."""

    def __init__(self) -> None:
        self.datasets: dict[str, Json] = {}
        self.examples: dict[str, Json] = {}
        self.experiments: dict[str, Json] = {}
        self.feedback: list[Json] = []
        self.keys: set[str] = set()
        self.unknown: list[str] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"langsmith": self}))
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

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: Any) -> Any:  # noqa: C901 - a row an address
        """Return what the server says, None where it knows no such address."""
        match method, path.strip("/").split("/"):
            case "GET", ["info"]:
                return {
                    "version": "0.12.0",
                    "instance_flags": {"dataset_examples_multipart_enabled": True},
                }
            case "GET", ["datasets"]:
                return [each for each in self.datasets.values() if each["name"] in query.get("name", [each["name"]])]
            case "GET", ["datasets", dataset]:
                return self.datasets[dataset]
            case "POST", ["datasets"]:
                made = {**body, "id": body.get("id") or str(uuid.uuid4()), "created_at": _now(), "modified_at": _now()}
                self.datasets[made["id"]] = {"tenant_id": str(uuid.UUID(int=0)), **made}
                return self.datasets[made["id"]]
            case "GET", ["examples"]:
                wanted = query.get("dataset", [""])[0]
                return [each for each in self.examples.values() if each["dataset_id"] == wanted]
            case "POST", [*_, "datasets", dataset, "examples"]:
                return self._take_examples(dataset, body)
            case "POST", ["sessions"]:
                made = {**body, "id": body.get("id") or str(uuid.uuid4()), "tenant_id": str(uuid.UUID(int=0))}
                self.experiments[made["id"]] = made
                return made
            case "GET", ["sessions"]:
                names = query.get("name", [])
                return [each for each in self.experiments.values() if not names or each["name"] in names]
            case "PATCH" | "GET", ["sessions", experiment]:
                self.experiments[experiment].update(body or {})
                return self.experiments[experiment]
            case "POST", ["feedback", *_]:
                self.feedback += body if isinstance(body, list) else [body]
                return {}
            case "POST", ["runs", *_]:
                self.feedback += [part for name, part in body or () if name.startswith("feedback.")]
                return {}
            case _:
                self.unknown.append(f"{method} {path}")
                return None

    def _take_examples(self, dataset: str, parts: Any) -> Json:
        for name, value in parts:
            example, _, field = name.partition(".")
            known = self.examples.setdefault(example, {"id": example, "dataset_id": dataset, "created_at": _now()})
            known.update({field: value} if field else {key: each for key, each in value.items() if key != "id"})
        return {"count": len(parts), "example_ids": sorted({name.partition(".")[0] for name, _ in parts})}


def _now() -> str:
    return datetime.now(UTC).isoformat()


def _parts(content_type: str, body: bytes) -> Iterator[tuple[str, Any]]:
    message = BytesParser().parsebytes(f"Content-Type: {content_type}\r\n\r\n".encode() + body)
    for part in message.get_payload():
        yield part.get_param("name", header="content-disposition"), json.loads(part.get_payload(decode=True))


class _Handler(BaseHTTPRequestHandler):
    langsmith: LangSmithServer
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        data = self.rfile.read(length)
        content_type = self.headers.get("Content-Type") or ""
        address = urlsplit(self.path)
        self.langsmith.keys.add(self.headers.get("x-api-key") or "")
        if content_type.startswith("multipart/"):
            body: Any = list(_parts(content_type, data))
        else:
            body = json.loads(data) if data else None
        path = re.sub(r"^/(v1|api/v1)/", "/", address.path)
        answer = self.langsmith.answer(self.command, path, parse_qs(address.query), body)
        text = json.dumps({} if answer is None else answer).encode()
        self.send_response(404 if answer is None else 200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def do_POST(self) -> None:
        self.do_GET()

    def do_PATCH(self) -> None:
        self.do_GET()

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has in the base class
        pass
