"""The queue of calls as a run uses it: one row for each call, waited for by one query for all of them."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any, Final, Literal
from weakref import WeakKeyDictionary

from langgraph.checkpoint.serde.base import SerializerProtocol

from agent.core.plan.hashing import hash_json
from agent.errors import PersistenceError, ToolFailure
from agent.execution.ledger import split_scope
from agent.execution.tool_call import PooledCall, PooledResult
from graphs.persistence import Persistence
from graphs.stores.database import StatementRunner
from graphs.workers.engine import defer_call, require_engine

#: Seconds between two looks at the calls that are waited for.
_POLL_S: Final = 0.05


class UnknownCallError(ConnectionError):
    """The process that made a call died; a connection error, since the call may have had its effect."""


@dataclass(slots=True)
class _Waiting:
    """The calls that one event loop waits for."""

    futures: dict[str, "asyncio.Future[tuple[str, Any]]"] = field(default_factory=dict)
    poller: "asyncio.Task[None] | None" = None


class PostgresCallPool:
    """Implements `agent.execution.tool_call.CallPool` in the database of a persistence."""

    def __init__(self, persistence: Persistence) -> None:
        self._persistence = persistence
        self._database = persistence.backend.database
        self._serde: SerializerProtocol = persistence.saver.serde
        self._is_ready = False
        self._waiting: WeakKeyDictionary[asyncio.AbstractEventLoop, _Waiting] = WeakKeyDictionary()

    async def make_call(self, call: PooledCall) -> object:
        """See `CallPool.make_call`. Raises also `UnknownCallError` if the process that made the call died."""
        await self._make_ready()
        key = _make_key(call)
        await asyncio.to_thread(self._database.run_in_transaction, lambda run: self._put(run, key, call))
        try:
            state, result = await self._wait(key)
        except asyncio.CancelledError:
            # The worker looks whether its call was cancelled; one that nobody has begun is not begun.
            await asyncio.shield(asyncio.to_thread(self._cancel, key))
            raise
        if state == "unknown":
            raise UnknownCallError(f"the process that made the call of {call.tool!r} died")
        if state == "cancelled":
            raise ToolFailure(f"The call of {call.tool!r} was cancelled.")
        found = parse_result(result)
        if found.error is not None:
            raise found.error
        return found.output

    async def find_call(self, call: PooledCall) -> Literal["not_begun", "unknown"] | PooledResult:
        """See `CallPool.find_call`."""
        await self._make_ready()
        key = _make_key(call)
        state = await asyncio.to_thread(self._database.run_in_transaction, lambda run: _withdraw(run, key))
        if state in {None, "queued", "cancelled"}:
            # Without a row the claim was made and the process died before it gave the call away.
            return "not_begun"
        state, result = await self._wait(key)
        return parse_result(result) if state in {"done", "failed"} else "unknown"

    def _put(self, run: StatementRunner, key: str, call: PooledCall) -> None:
        """Store a call and its job, unless it is being made already for the same claim, or was made."""
        thread, name = split_scope(call.scope)
        epoch = call.epoch
        if epoch is None:
            [(epoch,)] = run("SELECT epoch FROM planwave_leases WHERE thread = ?", thread)
        rows = run("SELECT state, epoch, claimed FROM planwave_pool_calls WHERE id = ? FOR UPDATE", key)
        if rows:
            state, earlier, _ = rows[0]
            if state == "running" or (state in {"queued", "done"} and earlier == epoch):
                return
            if state == "done" and call.epoch is None:
                return
        tag, data = self._serde.dumps_typed({"args": dict(call.args), "secrets": _pack_secrets(call.secrets)})
        run(
            "INSERT INTO planwave_pool_calls (id, thread, run, revision, task, item, tool, pool, claimed, epoch, state,"
            " attempts, call_type, call) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'queued', 0, ?, ?) ON CONFLICT (id) DO"
            " UPDATE SET epoch = excluded.epoch, state = 'queued', attempts = 0, call_type = excluded.call_type,"
            " call = excluded.call, result_type = NULL, result = NULL",
            key,
            thread,
            name,
            call.revision,
            call.task,
            -1 if call.item is None else call.item,
            call.tool,
            call.pool,
            int(call.epoch is not None),
            epoch,
            tag,
            data,
        )
        defer_call(run, key, pool=call.pool, priority=0)

    def _cancel(self, key: str) -> None:
        self._database.run_in_transaction(
            lambda run: run(
                "UPDATE planwave_pool_calls SET state = 'cancelled' WHERE id = ? AND state IN ('queued', 'running')",
                key,
            )
        )

    async def _make_ready(self) -> None:
        if not self._is_ready:
            await asyncio.to_thread(require_engine, self._persistence)
            self._is_ready = True

    async def _wait(self, key: str) -> tuple[str, Any]:
        """Wait until a call has ended, and return its state and result; its row stays until the thread is deleted."""
        loop = asyncio.get_running_loop()
        waiting = self._waiting.setdefault(loop, _Waiting())
        future = waiting.futures.setdefault(key, loop.create_future())
        if waiting.poller is None or waiting.poller.done():
            waiting.poller = loop.create_task(self._poll(waiting))
        return await asyncio.shield(future)

    async def _poll(self, waiting: _Waiting) -> None:
        while waiting.futures:
            try:
                ended = await asyncio.to_thread(self._select_ended, list(waiting.futures))
            except PersistenceError as error:
                for future in waiting.futures.values():
                    future.set_exception(error)
                waiting.futures.clear()
                return
            for key, state, result in ended:
                future = waiting.futures.pop(key)
                if not future.done():
                    future.set_result((state, result))
            await asyncio.sleep(_POLL_S)

    def _select_ended(self, keys: list[str]) -> list[tuple[str, str, Any]]:
        rows = self._database.run_in_transaction(
            lambda run: run(
                "SELECT id, state, result_type, result FROM planwave_pool_calls WHERE id = ANY(?)"
                " AND state NOT IN ('queued', 'running')",
                keys,
            )
        )
        return [
            (key, state, None if tag is None else self._serde.loads_typed((tag, bytes(data))))
            for key, state, tag, data in rows
        ]


def open_call_pool(persistence: Persistence) -> PostgresCallPool | None:
    """Return what gives calls to call workers; None without PostgreSQL or the extra `workers`: calls are made here."""
    if persistence.url.startswith("sqlite") or find_spec("procrastinate") is None:
        return None
    return PostgresCallPool(persistence)


def _withdraw(run: StatementRunner, key: str) -> str | None:
    """Cancel a call that was not begun; return the state in which it was, None if there is none."""
    rows = run("SELECT state FROM planwave_pool_calls WHERE id = ? FOR UPDATE", key)
    if rows and rows[0][0] == "queued":
        run("UPDATE planwave_pool_calls SET state = 'cancelled' WHERE id = ?", key)
    return str(rows[0][0]) if rows else None


def _make_key(call: PooledCall) -> str:
    return hash_json([call.scope, call.revision, call.task, call.item])


def _pack_secrets(secrets: Mapping[Any, str]) -> list[list[Any]]:
    return [[list(path), name] for path, name in secrets.items()]


def pack_error(error: BaseException, *, transient: bool, unsent: bool) -> dict[str, Any]:
    """Return an error as it is stored: its name and text, and what decides whether it is retried."""
    kind = (
        "failure" if isinstance(error, ToolFailure) else "unsent" if unsent else "transient" if transient else "other"
    )
    if isinstance(error, TimeoutError):
        kind = "timeout"
    return {"kind": kind, "name": type(error).__name__, "text": str(error)}


#: What an error of another process is here; its own name is kept.
_ERROR_KINDS: Final[Mapping[str, type[Exception]]] = {
    "unsent": ConnectionRefusedError,
    "transient": ConnectionError,
    "timeout": TimeoutError,
    "other": Exception,
}


def parse_result(result: Any) -> PooledResult:  # noqa: ANN401 - what was stored
    """Return what a call in a pool returned or raised."""
    if "error" not in result:
        return PooledResult(result["output"])
    error = result["error"]
    if error["kind"] == "failure":
        return PooledResult(None, ToolFailure(error["text"]))
    return PooledResult(None, type(error["name"], (_ERROR_KINDS[error["kind"]],), {})(error["text"]))
