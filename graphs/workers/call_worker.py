"""A call worker: makes the calls of one pool for runs that other processes have."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from procrastinate import JobContext
from procrastinate.jobs import Job

from agent.core.engine.approvals import hash_calls
from agent.core.engine.call_preparation import get_repeatability
from agent.core.plan.tool_spec import ToolSpec
from agent.execution.retry_policy import is_transient, never_sent
from agent.execution.tool_call import call_tool
from agent.json_values import JsonConversionError, to_json_value
from agent.logging_context import bind_log_context, get_logger
from agent.tools.toolbox import IDEMPOTENCY_KEY, Toolbox
from graphs.stores.database import StatementRunner
from graphs.workers.call_pool import pack_error
from graphs.workers.client import ThreadQueue
from graphs.workers.engine import CALL_TASK
from graphs.workers.sweep import WorkerRecord
from graphs.workers.worker import EngineWorker

_logger = get_logger(__name__)

#: Seconds between two looks whether a call that is being made was cancelled.
_CANCEL_POLL_S: Final = 0.5
#: A call that has so often taken its worker with it fails.
_MAX_ATTEMPTS: Final = 3


@dataclass(frozen=True, slots=True)
class _Call:
    thread: str
    task: str
    tool: str
    args: dict[str, Any]
    secrets: Mapping[tuple[Any, ...], str]


class CallWorker(EngineWorker):
    """Makes calls with the tools of one graph; a call that no run has claimed is not made."""

    task_name = CALL_TASK

    def __init__(
        self, threads: ThreadQueue, toolbox: Toolbox, record: WorkerRecord, *, db: str, grace_s: float
    ) -> None:
        super().__init__(threads, record, db=db, grace_s=grace_s)
        self._toolbox = toolbox
        self._database = threads.persistence.backend.database
        self._serde = threads.persistence.saver.serde

    async def handle(self, context: JobContext, /, **args: Any) -> None:  # noqa: ANN401 - a job's
        """Make the call that a job names, or say why it is not made."""
        key = str(args["call"])
        self._record.doing[context.job.id or 0] = key[:12]
        try:
            call = await asyncio.to_thread(self._database.run_in_transaction, lambda run: self._begin(run, key))
            if call is not None:
                with bind_log_context(thread=call.thread, task=call.task, tool=call.tool):
                    await self._make(key, call)
        finally:
            del self._record.doing[context.job.id or 0]

    def retry_after(self, exception: BaseException, job: Job) -> tuple[float, str | None]:
        """Return when a job is tried again: its row says whether its call may be made again."""
        del exception, job
        return 1.0, None

    def _begin(self, run: StatementRunner, key: str) -> _Call | None:
        """Mark a call as begun and return it; None if it must not be made."""
        rows = run(
            "SELECT thread, run, revision, task, item, tool, claimed, epoch, state, attempts, call_type, call"
            " FROM planwave_pool_calls WHERE id = ? FOR UPDATE",
            key,
        )
        if not rows or rows[0][8] not in {"queued", "running"}:
            return None
        thread, name, revision, task, item, tool, claimed, epoch, state, attempts, tag, data = rows[0]
        stored = self._serde.loads_typed((tag, bytes(data)))
        call = _Call(thread, task, tool, stored["args"], {tuple(path): secret for path, secret in stored["secrets"]})
        spec = self._toolbox.specs.get(tool)
        if spec is None:
            self._refuse(run, key, f"the workers of its pool have no tool {tool!r}")
        elif state == "running" and (claimed and get_repeatability(spec) == "no"):
            # Its worker died within it, and it may have taken effect.
            run("UPDATE planwave_pool_calls SET state = 'unknown' WHERE id = ?", key)
        elif attempts >= _MAX_ATTEMPTS:
            self._refuse(run, key, f"its worker died {attempts} times while it made the call")
        elif not _is_claimed(run, call, spec, (thread, name, revision, task, item), claimed=bool(claimed), epoch=epoch):
            _logger.error("Call of %r not made: no run has claimed it", tool, extra={"thread_id": thread})
            self._refuse(run, key, "no run has claimed it")
        else:
            run("UPDATE planwave_pool_calls SET state = 'running', attempts = attempts + 1 WHERE id = ?", key)
            return call
        return None

    def _refuse(self, run: StatementRunner, key: str, why: str) -> None:
        tag, data = self._serde.dumps_typed(
            {"error": {"kind": "failure", "name": "ToolFailure", "text": f"The call was not made: {why}."}}
        )
        run("UPDATE planwave_pool_calls SET state = 'failed', result_type = ?, result = ? WHERE id = ?", tag, data, key)

    async def _make(self, key: str, call: _Call) -> None:
        spec = self._toolbox.specs[call.tool]
        if spec.policy.rate_per_s is not None:
            await asyncio.sleep(await asyncio.to_thread(self._take_turn, spec))
        making = asyncio.ensure_future(
            call_tool(self._toolbox[call.tool], call.args, {}, spec=spec, secrets=call.secrets)
        )
        watching = asyncio.create_task(self._watch(key, making))
        try:
            output = to_json_value(await making)
            state, result = "done", {"output": output}
        except asyncio.CancelledError:
            if self.is_stopping:
                # The worker stops before the call has ended: it is made again, or unknown, as if the worker had died.
                raise
            return
        except JsonConversionError as error:
            state, result = "failed", {"error": pack_error(error, transient=False, unsent=False)}
        except Exception as error:  # noqa: BLE001 - a tool's own, told to the run
            packed = pack_error(error, transient=is_transient(error), unsent=never_sent(error))
            state, result = "failed", {"error": packed}
        finally:
            watching.cancel()
        tag, data = self._serde.dumps_typed(result)
        await asyncio.to_thread(
            self._database.run_in_transaction,
            lambda run: run(
                "UPDATE planwave_pool_calls SET state = ?, result_type = ?, result = ? WHERE id = ?"
                " AND state = 'running'",
                state,
                tag,
                data,
                key,
            ),
        )

    async def _watch(self, key: str, making: "asyncio.Future[object]") -> None:
        """Cancel a call whose run does not wait for it any more."""
        while True:
            await asyncio.sleep(_CANCEL_POLL_S)
            rows = await asyncio.to_thread(
                self._database.run_in_transaction,
                lambda run: run("SELECT 1 FROM planwave_pool_calls WHERE id = ? AND state = 'running'", key),
            )
            if not rows:
                making.cancel()
                return

    def _take_turn(self, spec: ToolSpec) -> float:
        """Return the seconds to wait so that all workers together keep to the tool's rate."""
        now = self._database.now_expression
        rows = self._database.run_in_transaction(
            lambda run: run(
                f"INSERT INTO planwave_rates (tool, next_at) VALUES (?, {now} + ?) ON CONFLICT (tool) DO UPDATE SET"
                f" next_at = GREATEST(planwave_rates.next_at, {now}) + ? RETURNING next_at - {now} - ?",
                spec.name,
                *(1.0 / (spec.policy.rate_per_s or 1.0),) * 3,
            )
        )
        return max(0.0, float(rows[0][0]))


def _is_claimed(
    run: StatementRunner, call: _Call, spec: ToolSpec, place: tuple[Any, ...], *, claimed: bool, epoch: int
) -> bool:
    """Return whether a run has claimed exactly this call in the ledger, or has the thread if the call only reads."""
    if not claimed:
        live = run(
            "SELECT 1 FROM planwave_leases WHERE thread = ? AND epoch = ? AND owner IS NOT NULL", place[0], epoch
        )
        return spec.policy.read_only and bool(live)
    args = {name: value for name, value in call.args.items() if name != IDEMPOTENCY_KEY}
    rows = run(
        "SELECT tool, args_digest FROM planwave_ledger WHERE thread = ? AND run = ? AND revision = ? AND task = ?"
        " AND item = ? AND state = 'started' AND epoch = ?",
        *place,
        epoch,
    )
    return rows == [(call.tool, hash_calls(call.tool, [args]))]
