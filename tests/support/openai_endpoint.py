"""A scripted model server on loopback that speaks the OpenAI chat completions protocol, well or badly."""

import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, assert_never

import pytest

Json = dict[str, Any]


@dataclass(frozen=True)
class Text:
    """A whole answer, or with another `finish_reason` than `stop` a broken one (`length`, `content_filter`)."""

    content: str
    finish_reason: str = "stop"
    input_tokens: int = 11
    output_tokens: int = 7
    #: As a server that reports it does.
    cost: float | None = None


@dataclass(frozen=True)
class Texts:
    """Several whole answers to one question, as by the embedded model's server.

    As one body only the first is counted; as a stream they are written side by side, and each is.
    """

    contents: tuple[str, ...]


def in_batches(*contents: str) -> list[Texts]:
    """Return answers as they are asked for by a vote among plans: two at once, and the others if these differ."""
    return [Texts(contents[:2]), Texts(contents[2:])]


@dataclass(frozen=True)
class Refusal:
    refusal: str


@dataclass(frozen=True)
class ToolCall:
    name: str
    #: Text, so that it may be broken JSON.
    arguments: str


@dataclass(frozen=True)
class Failure:
    """An error status, as a server or a gateway before it gives one."""

    status: int
    message: str = "scripted failure"
    code: str | None = None
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Stall:
    """Nothing for so many seconds, then the connection closes."""

    seconds: float = 30.0


@dataclass(frozen=True)
class Cut:
    """The connection closes in the middle of the body."""


@dataclass(frozen=True)
class Body:
    """Any bytes with status 200: a gateway's login page, say."""

    data: bytes
    content_type: str = "text/html"


Answer = Text | Texts | Refusal | ToolCall | Failure | Stall | Cut | Body
#: A string is a `Text`, an object the JSON text of it.
Scripted = Answer | str | Json


@dataclass(frozen=True)
class Request:
    path: str
    headers: Mapping[str, str]
    body: Json

    @property
    def way(self) -> str:
        """How the answer is to be held to a schema: `json_schema`, `json_object`, `function` or `text`."""
        if "tools" in self.body:
            return "function"
        return str(self.body.get("response_format", {}).get("type", "text"))

    @property
    def text(self) -> str:
        """All messages' text, for looking something up in it."""
        return "\n".join(str(message["content"]) for message in self.body["messages"])


Script = Iterable[Scripted] | Callable[[Request], Scripted]
#: What a server does that is asked for a stream: stream; turn down `stream_options` only; turn all of it down; answer
#: with the whole at once; break off in the middle.
Streams = Literal["well", "uncounted", "refused", "ignored", "cut"]


class Endpoint:
    """A model server that answers by `script`: one answer a call, or a function of the request.

    `supports` names the ways of structured output that it takes; a request by another is turned down with status 400
    and uses up no answer. With `key` every other key is turned down with 401. A call beyond the script gets status 418.
    `streams` says how it streams, in chunks of eight characters, one every `chunk_s` seconds. With `any_path` it
    answers wherever it is asked, as Azure does by deployment. With `slot_folder` it saves and restores slots there.
    Use as a context manager, or start with `open` and end with `close`.
    """

    def __init__(
        self,
        script: Script = (),
        *,
        supports: Iterable[str] = ("json_schema", "function", "json_object"),
        key: str | None = None,
        models: Iterable[str] = ("scripted",),
        streams: Streams = "well",
        chunk_s: float = 0.0,
        any_path: bool = False,
        slot_folder: Path | None = None,
    ) -> None:
        self.requests: list[Request] = []
        #: The slots of the embedded model's server that were saved and restored, and the file of each.
        self.slots: list[tuple[str, str]] = []
        #: Streams that whoever asked did not hear to their end.
        self.deserted = 0
        self.models = tuple(models)
        self._answers: Iterator[Scripted] | None = None if callable(script) else iter(script)
        self._answer_to = script if callable(script) else None
        self._supports = {*supports, "text"}
        self._key = key
        self.streams = streams
        self.chunk_s = chunk_s
        self.any_path = any_path
        self.slot_folder = slot_folder
        self._lock = threading.Lock()
        self._closing = threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"endpoint": self}))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    @property
    def env(self) -> dict[str, str]:
        """The environment that leads Planwave to this server."""
        return {"OPENAI_BASE_URL": self.url, "OPENAI_API_KEY": self._key or "any"}

    def open(self) -> Self:
        self._thread.start()
        return self

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def answer(self, request: Request) -> Answer:
        with self._lock:
            self.requests.append(request)
            if self._key is not None and request.headers.get("authorization") != f"Bearer {self._key}":
                return Failure(401, "Incorrect API key provided.", code="invalid_api_key")
            if request.way not in self._supports:
                return Failure(400, f"'response_format' or 'tools' of kind {request.way!r} is not supported.")
            unknown = {"refused": "stream", "uncounted": "stream_options"}.get(self.streams)
            if unknown is not None and request.body.get(unknown):
                return Failure(422, f"Extra inputs are not permitted: {unknown!r}.")
            if self._answer_to is not None:
                scripted = self._answer_to(request)
            else:
                assert self._answers is not None
                scripted = next(self._answers, Failure(418, f"The script has no answer to call {len(self.requests)}."))
        match scripted:
            case str():
                return Text(scripted)
            case dict():
                return Text(json.dumps(scripted))
            case _:
                return scripted

    def move_slot(self, action: str, name: str) -> bool:
        """Write a file or read one, as `POST /slots/4?action=save` has it; return whether it could."""
        if self.slot_folder is None:
            return False
        self.slots.append((action, name))
        file = self.slot_folder / name
        if action == "save":
            file.write_text("state")
        return file.is_file() and file.read_text() == "state"

    def wait(self, seconds: float) -> None:
        """Stall, but not beyond the end of the test."""
        self._closing.wait(seconds)


class _Handler(BaseHTTPRequestHandler):
    endpoint: Endpoint
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        if self.path.rstrip("/") != "/v1/models":
            self._json(404, _NOWHERE)
            return
        models = [{"id": each, "object": "model", "created": 0, "owned_by": "test"} for each in self.endpoint.models]
        self._json(200, {"object": "list", "data": models})

    def do_POST(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path != "/v1/chat/completions" and not self.endpoint.any_path:
            is_slot = self.path.startswith("/slots/")
            moved = is_slot and self.endpoint.move_slot(self.path.partition("=")[2], json.loads(data)["filename"])
            self._json(200, {"id_slot": 4}) if moved else self._json(400 if is_slot else 404, _NOWHERE)
            return
        headers = {name.lower(): value for name, value in self.headers.items()}
        request = Request(self.path, headers, json.loads(data))
        answer = self.endpoint.answer(request)
        match answer:
            case Texts() if request.body.get("stream"):
                self._stream(answer, request.body)
            case Texts():
                self._json(200, _completions(answer, model=request.body["model"]))
            case Text() | Refusal() | ToolCall():
                if request.body.get("stream") and self.endpoint.streams != "ignored":
                    self._stream(answer, request.body)
                else:
                    self._json(200, _completion(answer, model=request.body["model"]))
            case Failure():
                self._json(answer.status, _error(answer.message, code=answer.code), answer.headers)
            case Stall():
                self.endpoint.wait(answer.seconds)
                self.close_connection = True
            case Cut():
                self._head(200, "application/json", {"Content-Length": "1000"})
                self.wfile.write(b'{"id": "cut", "choices": [')
                self.close_connection = True
            case Body():
                self._head(200, answer.content_type, {"Content-Length": str(len(answer.data))})
                self.wfile.write(answer.data)
            case _:
                assert_never(answer)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has in the base class
        pass

    def _head(self, status: int, content_type: str, headers: Mapping[str, str]) -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _json(self, status: int, body: Json, headers: Mapping[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        self._head(status, "application/json", {"Content-Length": str(len(data)), **(headers or {})})
        self.wfile.write(data)

    def _stream(self, answer: Text | Texts | Refusal | ToolCall, body: Json) -> None:
        self._head(200, "text/event-stream", {"Connection": "close"})
        self.close_connection = True
        with_usage = body.get("stream_options", {}).get("include_usage", False)
        chunks = list(_chunks(answer, model=body["model"], with_usage=with_usage))
        if self.endpoint.streams == "cut":
            chunks = chunks[: len(chunks) // 2]
        due = time.monotonic()
        try:
            for chunk in chunks:
                if chunk["choices"] and chunk["choices"][0]["delta"].keys() & {"content", "tool_calls"}:
                    # By the clock, so that what writing a chunk takes does not add up.
                    due += self.endpoint.chunk_s
                    self.endpoint.wait(max(0.0, due - time.monotonic()))
                self.wfile.write(f"data: {json.dumps(chunk)}\n\n".encode())
                self.wfile.flush()
            if self.endpoint.streams != "cut":
                self.wfile.write(b"data: [DONE]\n\n")
        except ConnectionError:
            # Whoever asked has gone.
            self.endpoint.deserted += 1


def _completions(answer: Texts, *, model: str) -> Json:
    singly = [_completion(Text(content), model=model) for content in answer.contents]
    choices = [each["choices"][0] | {"index": place} for place, each in enumerate(singly)]
    return _completion(Text(""), model=model) | {"choices": choices}


def _error(message: str, *, code: str | None) -> Json:
    return {"error": {"message": message, "type": "scripted", "param": None, "code": code}}


_NOWHERE = _error("no such address", code=None)


def _completion(answer: Text | Refusal | ToolCall, *, model: str) -> Json:
    return {
        "id": "chatcmpl-scripted",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": model,
        "choices": [{"index": 0, "message": _message(answer), "finish_reason": _finish(answer), "logprobs": None}],
        "usage": _usage(answer),
    }


def _message(answer: Text | Refusal | ToolCall) -> Json:
    match answer:
        case Text(content=content):
            return {"role": "assistant", "content": content, "refusal": None}
        case Refusal(refusal=refusal):
            return {"role": "assistant", "content": None, "refusal": refusal}
        case ToolCall(name=name, arguments=arguments):
            call = {"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}}
            return {"role": "assistant", "content": None, "refusal": None, "tool_calls": [call]}


def _side_by_side(answer: Texts, *, model: str) -> Iterator[Json]:
    """Yield chunks of several answers in turn, with their timings; a word is a token."""
    rest = [list(_chunks(Text(content), model=model, with_usage=False)) for content in answer.contents]
    words = [0] * len(rest)
    while any(rest):
        for place, chunks in enumerate(rest):
            if chunks:
                chunk = chunks.pop(0)
                words[place] = len(answer.contents[place].split()) if not chunks else words[place]
                timings = {"cache_n": 4, "prompt_n": 7, "predicted_n": words[place]}
                yield chunk | {"choices": [chunk["choices"][0] | {"index": place}], "timings": timings}


def _chunks(answer: Text | Texts | Refusal | ToolCall, *, model: str, with_usage: bool) -> Iterator[Json]:
    if isinstance(answer, Texts):
        yield from _side_by_side(answer, model=model)
        return
    base = {"id": "chatcmpl-scripted", "object": "chat.completion.chunk", "created": int(time.time()), "model": model}

    def chunk(delta: Json, finish: str | None = None) -> Json:
        return {**base, "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}

    yield chunk({"role": "assistant"})
    match answer:
        case Text(content=content):
            for start in range(0, len(content), 8):
                yield chunk({"content": content[start : start + 8]})
        case Refusal(refusal=refusal):
            yield chunk({"refusal": refusal})
        case ToolCall():
            [call] = _message(answer)["tool_calls"]
            arguments = call["function"]["arguments"]
            yield chunk({"tool_calls": [{"index": 0, **call, "function": {**call["function"], "arguments": ""}}]})
            for start in range(0, len(arguments), 8):
                yield chunk({"tool_calls": [{"index": 0, "function": {"arguments": arguments[start : start + 8]}}]})
    yield chunk({}, _finish(answer))
    if with_usage:
        yield {**base, "choices": [], "usage": _usage(answer)}


def _finish(answer: Text | Refusal | ToolCall) -> str:
    match answer:
        case Text(finish_reason=reason):
            return reason
        case Refusal():
            return "stop"
        case ToolCall():
            return "tool_calls"


def _usage(answer: Text | Refusal | ToolCall) -> Json:
    spent, written = (answer.input_tokens, answer.output_tokens) if isinstance(answer, Text) else (11, 7)
    cost = {"cost": answer.cost} if isinstance(answer, Text) and answer.cost is not None else {}
    return {"prompt_tokens": spent, "completion_tokens": written, "total_tokens": spent + written, **cost}


@pytest.fixture
def make_endpoint() -> Iterator[Callable[..., Endpoint]]:
    """A maker of endpoints, with the arguments of `Endpoint`; they are closed when the test ends."""
    opened: list[Endpoint] = []

    def make(script: Script = (), **options: Any) -> Endpoint:
        opened.append(Endpoint(script, **options).open())
        return opened[-1]

    yield make
    for endpoint in opened:
        endpoint.close()
