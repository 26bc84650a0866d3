"""Queries run in processes of their own, which are started once, kept warm, and killed if a query cannot be stopped.

The engine stops a query between two batches of rows, not within one call of a function, its memory limit does not count
every allocation, and a server may not answer. So no query runs in the caller's process: the process of one that has
passed its time limit, or whose caller was cancelled, is killed; the next query starts another in half a second. Each is
a new interpreter: a fork of a process with threads may deadlock, and `multiprocessing` would import the caller's main
module again.
"""

import asyncio
import json
import os
import queue
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeVar

import anyio.to_thread

from agent.errors import DataError, ToolFailure

T = TypeVar("T")
Message = dict[str, Any]
_LENGTH_BYTES = 8
_POLL_S = 0.05
_MAX_DEFAULT_MEMORY = 2**31


@dataclass(frozen=True, slots=True)
class QueryLimits:
    """What one query may take, and how its text and its points in time are understood."""

    #: Wall time in seconds.
    seconds: float = 60.0
    #: Bytes of memory, beyond which the engine uses temporary files; None: an eighth of the machine's, at most 2 GiB.
    memory_bytes: int | None = None
    #: Bytes of temporary files.
    temp_bytes: int = 4 * 2**30
    #: Bytes of JSON that a result may have.
    result_bytes: int = 32 * 2**20
    #: Queries of one data source at the same time; further ones wait.
    processes: int = 4
    #: The time zone in which points in time are shown and cut into days.
    time_zone: str = "UTC"
    #: The dialect of SQL that DuckDB does not understand, by sqlglot's name; None: that of the source.
    dialect: str | None = None

    def get_memory_bytes(self) -> int:
        """Return the limit, or its default for this machine."""
        return self.memory_bytes or min(_MAX_DEFAULT_MEMORY, _get_machine_memory() // 8)


def _get_machine_memory() -> int:
    """Return the bytes of memory that this process can have; 16 GiB if the system does not say."""
    with suppress(OSError, ValueError):
        limit = Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii").strip()
        if limit.isdigit():
            return int(limit)
    with suppress(AttributeError, OSError, ValueError):
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    return 16 * 2**30


class Cancellation:
    """Says to a thread that nobody waits any more for what it does."""

    def __init__(self) -> None:
        self.is_cancelled = False

    def cancel(self) -> None:
        """End the queries that run under this."""
        self.is_cancelled = True


_current_cancellation: ContextVar[Cancellation | None] = ContextVar("planwave_query_cancellation", default=None)


async def run_cancellable(work: Callable[..., T], *args: Any) -> T:  # noqa: ANN401 - whatever `work` takes
    """Run blocking `work` in a thread; if the caller is cancelled, the query in it is ended and nobody waits for it."""
    cancellation = Cancellation()
    token = _current_cancellation.set(cancellation)
    try:
        return await anyio.to_thread.run_sync(partial(work, *args), abandon_on_cancel=True)
    except asyncio.CancelledError:
        cancellation.cancel()
        raise
    finally:
        _current_cancellation.reset(token)


class _ProcessEnded(Exception):  # noqa: N818 - says what happened
    """The process ended without an answer."""


class _QueryStopped(Exception):  # noqa: N818 - says what happened
    """The process was killed because of the time limit or a cancellation."""


class QueryProcess:
    """One process; it answers one request at a time."""

    def __init__(self, temp_folder: Path, *, on_stop: Callable[[], None] | None = None) -> None:
        """Start the process. `on_stop` is called in a thread when the process is killed."""
        #: The keys of the shared values that the process has.
        self.known: set[str] = set()
        self._on_stop = on_stop
        self._replies: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._awaits_reply = False
        self._owner = os.getpid()
        self._process = subprocess.Popen(  # noqa: S603 - our own module
            [sys.executable, "-m", f"{__package__}.query_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env=_build_environment(),
            # Ctrl-C goes to the process of the caller, which decides what becomes of the query.
            start_new_session=True,
        )
        self._end = weakref.finalize(self, _end_process, self._process, temp_folder, self._owner)
        reader = threading.Thread(
            target=_read_replies, args=(self._process.stdout, self._replies), name="planwave-query-replies", daemon=True
        )
        reader.start()

    @property
    def has_ended(self) -> bool:
        """Whether the process is gone, or belongs to the process that this one was forked from."""
        return os.getpid() != self._owner or self._process.poll() is not None

    def request(self, message: Message, *, seconds: float | None, cancellation: Cancellation) -> Message:
        """Send a request and return the reply.

        Raises `_QueryStopped` after `seconds` or a cancellation, and `_ProcessEnded`; then the process is gone.
        """
        self._awaits_reply = True
        try:
            self._send(message)
            return self._await_reply(seconds, cancellation)
        finally:
            # After a `KeyboardInterrupt` too: who takes this process next must not get the reply to this request.
            if self._awaits_reply:
                self.kill()

    def _await_reply(self, seconds: float | None, cancellation: Cancellation) -> Message:
        limit = None if seconds is None else time.monotonic() + seconds
        while True:
            left = _POLL_S if limit is None else min(_POLL_S, limit - time.monotonic())
            if left <= 0 or cancellation.is_cancelled:
                raise _QueryStopped
            try:
                frame = self._replies.get(timeout=left)
            except queue.Empty:
                continue
            if frame is None:
                raise _ProcessEnded
            self._awaits_reply = False
            reply: Message = json.loads(frame)
            if reply.get("retire"):
                self.kill()
            return reply

    def _send(self, message: Message) -> None:
        frame = json.dumps(message).encode()
        try:
            if self._process.stdin is None:
                raise AssertionError("the process was started with a pipe")
            write_frame(self._process.stdin, frame)
        except (OSError, ValueError):
            raise _ProcessEnded from None

    def kill(self) -> None:
        """End the process at once."""
        if self._end.alive:
            self._end()
            if self._on_stop is not None:
                threading.Thread(target=self._on_stop, name="planwave-query-stop", daemon=True).start()


def _build_environment() -> dict[str, str]:
    """Return the environment of a query process: without registered secrets, and with the modules of this process."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PLANWAVE_SECRET_")}
    return {**kept, "PYTHONPATH": os.pathsep.join(place or os.fspath(Path.cwd()) for place in sys.path)}


def _end_process(process: "subprocess.Popen[bytes]", temp_folder: Path, owner: int) -> None:
    if os.getpid() != owner:
        return
    process.kill()
    process.wait()
    # Its other pipe is closed by the thread that reads it.
    if process.stdin is not None:
        with suppress(OSError, ValueError):
            process.stdin.close()
    # A killed engine leaves its temporary files.
    shutil.rmtree(temp_folder, ignore_errors=True)


def _read_replies(stdout: IO[bytes], replies: "queue.SimpleQueue[bytes | None]") -> None:
    with suppress(OSError, ValueError):
        while (frame := read_frame(stdout)) is not None:
            replies.put(frame)
    replies.put(None)
    with suppress(OSError):
        stdout.close()


def read_frame(stream: IO[bytes]) -> bytes | None:
    """Return the next frame of a pipe; None at its end."""
    head = stream.read(_LENGTH_BYTES)
    if len(head) < _LENGTH_BYTES:
        return None
    length = int.from_bytes(head, "big")
    frame = stream.read(length)
    return frame if len(frame) == length else None


def write_frame(stream: IO[bytes], frame: bytes) -> None:
    """Write a frame to a pipe."""
    stream.write(len(frame).to_bytes(_LENGTH_BYTES, "big"))
    stream.write(frame)
    stream.flush()


class QueryProcesses:
    """The processes of one data source, started when they are needed and used again; thread-safe."""

    def __init__(
        self,
        limits: QueryLimits,
        opening: Mapping[str, Any] | None = None,
        on_stop: Callable[[], None] | None = None,
    ) -> None:
        """Start nothing yet.

        `opening` is what a new process is told to open first, None if rows come with each request only; `on_stop` ends
        what the processes run on a server.
        """
        self.limits = limits
        self.opening = opening
        self.on_stop = on_stop
        self._idle: list[QueryProcess] = []
        self._busy: set[QueryProcess] = set()
        self._lock = threading.Lock()
        self._is_closed = False
        self._slots = threading.BoundedSemaphore(limits.processes)

    def open(self) -> None:
        """Start the first process. Raises `DataError` if the source cannot be opened."""
        with self._use_process(_get_cancellation()):
            pass

    def run(
        self,
        message: Message,
        *,
        seconds: float,
        subject: str = "The query",
        shared: tuple[str, str, Any] | None = None,
    ) -> Any:  # noqa: ANN401 - the JSON that the request gives
        """Return the result of a request. Blocks; a cancellation of `run_cancellable` ends it.

        `shared` is the name, the key and the value of a part that is sent to each process once. Raises `ToolFailure`
        with a sentence, about `subject`, if the query failed, took longer than `seconds`, or its process ended.
        """
        cancellation = _get_cancellation()
        with self._use_process(cancellation) as process:
            if shared is not None:
                name, key, value = shared
                message = {**message, f"{name}_key": key, **({} if key in process.known else {name: value})}
                process.known.add(key)
            try:
                reply = process.request(message, seconds=seconds, cancellation=cancellation)
            except _QueryStopped:
                if cancellation.is_cancelled:
                    raise ToolFailure(f"{subject} was cancelled.") from None
                raise ToolFailure(
                    f"{subject} took longer than {seconds:g} seconds and was stopped; query less data."
                ) from None
            except _ProcessEnded:
                raise ToolFailure(
                    f"{subject} ended its process, probably because it needed too much memory; query less data."
                ) from None
        if "failure" in reply:
            raise ToolFailure(str(reply["failure"]))
        if "error" in reply:
            raise RuntimeError(f"in the query process: {reply['error']}")
        return reply["result"]

    @contextmanager
    def _use_process(self, cancellation: Cancellation) -> Iterator[QueryProcess]:
        while not self._slots.acquire(timeout=_POLL_S):
            if cancellation.is_cancelled:
                raise ToolFailure("The query was cancelled before it began.")
        try:
            process = self._take_idle() or self._start(cancellation)
            with self._lock:
                self._busy.add(process)
            try:
                yield process
            finally:
                with self._lock:
                    self._busy.discard(process)
                    is_kept = not self._is_closed and not process.has_ended
                    if is_kept:
                        self._idle.append(process)
                if not is_kept:
                    process.kill()
        finally:
            self._slots.release()

    def _take_idle(self) -> QueryProcess | None:
        with self._lock:
            if self._is_closed:
                raise ToolFailure("The data source is closed.")
            while self._idle:
                process = self._idle.pop()
                if not process.has_ended:
                    return process
        return None

    def _start(self, cancellation: Cancellation) -> QueryProcess:
        temp_folder = Path(tempfile.gettempdir()) / f"planwave-{os.getpid()}-{secrets.token_hex(4)}"
        process = QueryProcess(temp_folder, on_stop=self.on_stop)
        opening = {
            "op": "open",
            "temp_folder": os.fspath(temp_folder),
            "memory_bytes": self.limits.get_memory_bytes(),
            "temp_bytes": self.limits.temp_bytes,
            "result_bytes": self.limits.result_bytes,
            "time_zone": self.limits.time_zone,
            "dialect": self.limits.dialect,
            "source": self.opening,
        }
        seconds = (
            None if self.opening and self.opening["kind"] in {"files", "several"} else max(60.0, self.limits.seconds)
        )
        try:
            reply = process.request(opening, seconds=seconds, cancellation=cancellation)
        except (_QueryStopped, _ProcessEnded):
            process.kill()
            label = self.opening["label"] if self.opening else "the rows"
            raise DataError(
                f"The data source {label!r} cannot be opened: its process did not answer. "
                "Remedy: check that the source answers and that there is enough memory."
            ) from None
        if "data_error" in reply:
            process.kill()
            raise DataError(str(reply["data_error"]))
        if "error" in reply:
            process.kill()
            raise RuntimeError(f"in the query process: {reply['error']}")
        return process

    def close(self) -> None:
        """End the processes; queries in flight fail."""
        with self._lock:
            self._is_closed = True
            processes = [*self._idle, *self._busy]
            self._idle.clear()
        for process in processes:
            process.kill()


def _get_cancellation() -> Cancellation:
    return _current_cancellation.get() or Cancellation()
