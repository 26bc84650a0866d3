"""One task made into one outcome: prepared, approved, called with retries and a time limit."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Protocol, assert_never

from pydantic import JsonValue

from agent.core.engine.approvals import hash_approval_request, hash_calls
from agent.core.engine.call_preparation import Arguments, PreparedTask, get_call_key, prepare
from agent.core.engine.outcomes import Done, Doubt, Failed, InDoubt, Outcome, Rejected
from agent.core.plan.document import Task
from agent.core.plan.tool_spec import ToolSpec
from agent.events import Emit
from agent.execution.attempts import PriorAttempts, RetryingCallRunner
from agent.execution.call_log import CallFailed, CallInDoubt, CallLog, CallOutcome, CallResult, CallRunner, LoggedCall
from agent.execution.concurrency import Slots, Urgency
from agent.execution.for_each import BatchResult, ItemBatch, find_finished_items, run_items
from agent.execution.ledger import Intent, Ledger
from agent.execution.result_cache import CachedResult, ResultCache, is_cacheable
from agent.execution.writes import ConfirmedEffect, LedgerCallRunner, verify_effect
from agent.settings import Settings
from agent.tools.toolbox import Toolbox

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """Return the time, with its offset."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class Job:
    """What the executor must know of one task; `outcomes` holds at least those of its needs."""

    task: Task
    spec: ToolSpec
    needs: tuple[str, ...]
    outcomes: Mapping[str, Outcome]
    thread: str
    revision: int
    #: Whether a person must have approved the call.
    gated: bool
    #: The digest that a person approved.
    approved_digest: str | None = None
    #: Finished work of earlier revisions by fingerprint.
    reusable: Mapping[str, tuple[str, Done]] = field(default_factory=dict)
    #: Digests of calls that a person rejected, or left in doubt.
    rejected_digests: Collection[str] = ()
    #: By `call_key`: the epochs of calls that were in doubt and of which a person said that they did not happen.
    takeover_epochs: Mapping[str, int] = field(default_factory=dict)
    #: What earlier processes tried in vain of this call, where they did.
    logged_attempts: LoggedCall | None = None
    urgency: Urgency = ()
    #: The task whose worker makes this call. No plan has its arguments, so the ledger keeps them for the undoing.
    worker: str | None = None


class EarlyOutcomes(Protocol):
    """Knows of calls that were begun while their plan was being written."""

    async def await_outcome(self, fingerprint: str, *, task: str, emit: Emit) -> Outcome | None:
        """Wait for such a call and return its outcome as that of `task`; None where there is none."""
        ...


class Executor:
    """Runs jobs with the tools of one toolbox, within the settings."""

    def __init__(
        self,
        toolbox: Toolbox,
        settings: Settings,
        ledger: Ledger,
        calls: CallLog,
        *,
        clock: Clock = utc_now,
        propagate: tuple[type[BaseException], ...] = (),
        early_outcomes: EarlyOutcomes | None = None,
        cache: ResultCache | None = None,
    ) -> None:
        """`let_through` are exceptions by which a tool speaks to the graph; they are not failures."""
        self._toolbox = toolbox
        self._settings = settings
        self._ledger = ledger
        self._calls = calls
        self._clock = clock
        self._propagate = propagate
        self._early_outcomes = early_outcomes
        self._cache = cache

    async def run(self, job: Job, *, slots: Slots, emit: Emit) -> Outcome:
        """Return what became of the task. Failures are values; only bugs and `let_through` raise."""
        ready = prepare(job.task, job.spec, needs=job.needs, outcomes=job.outcomes, revision=job.revision)
        if not isinstance(ready, PreparedTask):
            return ready
        earlier = job.reusable.get(ready.fingerprint)
        if earlier is not None:
            return build_reused_outcome(earlier, revision=job.revision)
        refusal = _check_approval(job, ready)
        if refusal is not None:
            return refusal
        if self._early_outcomes is not None and is_ungated_read(job):
            begun = await self._early_outcomes.await_outcome(ready.fingerprint, task=job.task.id, emit=emit)
            if begun is not None:
                return begun.model_copy(update={"revision": job.revision})
        memory = self._cache if is_ungated_read(job) and is_cacheable(job.spec, ready) else None
        if memory is not None and (known := await memory.get(ready.fingerprint)) is not None:
            return build_cached_outcome(known, revision=job.revision)
        started = self._clock()
        made = await (self._run_items if ready.is_for_each else self._run_single)(job, ready, slots=slots, emit=emit)
        outcome = _build_outcome(made, job, ready, started=started, finished=self._clock())
        ttl_s = job.spec.policy.cache_ttl_s
        if memory is not None and ttl_s is not None and isinstance(outcome, Done) and outcome.items is None:
            new = CachedResult(fingerprint=ready.fingerprint, output=outcome.output, at=outcome.finished_at or "")
            await memory.put(new, ttl_s=ttl_s)
        return outcome

    async def confirm_effect(self, job: Job, doubt: Doubt, output: JsonValue) -> None:
        """Record of a write in doubt that it happened and returned `output`, as a person knows."""
        ready = prepare(job.task, job.spec, needs=job.needs, outcomes=job.outcomes, revision=job.revision)
        if isinstance(ready, PreparedTask) and isinstance(
            maker := self._build_runner(job, ready, logged=()), LedgerCallRunner
        ):
            args = ready.calls[doubt.item or 0]
            await maker.confirm_effect(args, item=doubt.item, epoch=doubt.epoch, output=output)
            return
        raise AssertionError(f"the call of {job.task.id!r} was never in doubt")

    async def _run_single(self, job: Job, ready: PreparedTask, *, slots: Slots, emit: Emit) -> CallOutcome:
        maker = self._build_runner(job, ready, logged=[job.logged_attempts] if job.logged_attempts else [])
        return await maker.run_call(ready.calls[0], item=None, slots=slots, urgency=job.urgency, emit=emit)

    async def _run_items(
        self, job: Job, ready: PreparedTask, *, slots: Slots, emit: Emit
    ) -> BatchResult | tuple[CallInDoubt, ...]:
        task = job.task
        logged = await self._calls.load_task_calls(job.thread, revision=job.revision, task=task.id, tool=task.tool)
        series = ItemBatch(job.thread, job.revision, task.id, ready, self._calls, task.on_item_failure)
        maker = self._build_runner(job, ready, logged=logged)
        width = min(slots.get_tool_limit(job.spec), task.max_concurrency or len(ready.calls))
        unfit = {item: CallFailed(why.kind, why.error, 0, None) for item, why in ready.invalid_items.items()}
        ended = {**find_finished_items(series, logged), **unfit}
        return await run_items(maker, series, ended, width=width, slots=slots, urgency=job.urgency, emit=emit)

    def _build_runner(self, job: Job, ready: PreparedTask, *, logged: Iterable[LoggedCall]) -> CallRunner:
        def is_own(call: LoggedCall) -> bool:
            own = (call.revision, call.task) == (job.revision, job.task.id) and call.record is None
            return own and call.mark == ready.compute_call_fingerprint(call.item or 0)

        async def save_attempts(item: int | None, tried: PriorAttempts) -> None:
            call = LoggedCall(
                thread=job.thread,
                revision=job.revision,
                task=job.task.id,
                item=item,
                tool=job.task.tool,
                mark=ready.compute_call_fingerprint(item or 0),
                attempts=tried.attempts,
                started_at=tried.started_at.isoformat() if tried.started_at else None,
            )
            await self._calls.save_calls([call])

        attempts = RetryingCallRunner(
            self._toolbox[job.task.tool],
            job.task,
            job.spec,
            settings=self._settings,
            thread=job.thread,
            revision=job.revision,
            clock=self._clock,
            propagate=self._propagate,
            prior={get_call_key(call.item): _get_prior_attempts(call) for call in logged if is_own(call)},
            save_attempts=save_attempts,
        )
        if is_ungated_read(job):
            return attempts

        def build_intent(args: Arguments, item: int | None) -> Intent:
            return Intent(
                thread=job.thread,
                revision=job.revision,
                task=job.task.id,
                item=item,
                tool=job.task.tool,
                args_digest=hash_calls(job.task.tool, [args]),
                approval=job.approved_digest if job.gated else None,
            )

        async def verify_call(args: Arguments) -> ConfirmedEffect | bool | None:
            return await verify_effect(args, job.spec, self._toolbox)

        return LedgerCallRunner(
            attempts,
            self._ledger,
            job.spec,
            intent=build_intent,
            takeover_epochs=job.takeover_epochs,
            verify=verify_call,
            worker=job.worker,
        )


def is_ungated_read(job: Job) -> bool:
    """Whether the task has no effect and nobody must be asked, so that its calls may be made at any time."""
    return job.spec.policy.read_only and not job.gated


def _get_prior_attempts(call: LoggedCall) -> PriorAttempts:
    return PriorAttempts(call.attempts, datetime.fromisoformat(call.started_at) if call.started_at else None)


def _build_outcome(
    made: CallOutcome | BatchResult | tuple[CallInDoubt, ...],
    job: Job,
    ready: PreparedTask,
    *,
    started: datetime,
    finished: datetime,
) -> Outcome:
    if isinstance(made, BatchResult):
        outcome = _build_outcome(made.result, job, ready, started=started, finished=finished)
        return (
            outcome.model_copy(update={"items": made.partial_failure}) if made.partial_failure is not None else outcome
        )
    if isinstance(made, tuple):
        doubts = tuple(each.doubt for each in made)
        return InDoubt(revision=job.revision, doubts=doubts, attempts=sum(each.attempts for each in made))
    at, until = (made.started_at or started).isoformat(), finished.isoformat()
    match made:
        case CallResult(output=output, attempts=attempts):
            return Done(
                revision=job.revision,
                output=output,
                attempts=attempts,
                started_at=at,
                finished_at=until,
                fingerprint=ready.fingerprint,
            )
        case CallFailed(kind=kind, error=error, attempts=attempts):
            return Failed(
                revision=job.revision,
                kind=kind,
                error=error,
                attempts=attempts,
                started_at=at,
                finished_at=until,
                fingerprint=ready.fingerprint,
            )
        case CallInDoubt(doubt=doubt, attempts=attempts):
            return InDoubt(revision=job.revision, doubts=(doubt,), attempts=attempts, started_at=at, finished_at=until)
        case _:
            assert_never(made)


def build_reused_outcome(earlier: tuple[str, Done], *, revision: int) -> Done:
    """Return the outcome of work that an earlier revision has done."""
    source, done = earlier
    return done.model_copy(update={"revision": revision, "reused_from": done.reused_from or source})


def build_cached_outcome(known: CachedResult, *, revision: int) -> Done:
    """Return the outcome of a call that was made for another thread."""
    return Done(revision=revision, output=known.output, fingerprint=known.fingerprint, cached_at=known.at)


def compute_job_digest(job: Job, calls: tuple[dict[str, JsonValue], ...]) -> str:
    """Return the digest that an approval of exactly these calls carries."""
    return hash_approval_request(
        thread=job.thread, revision=job.revision, task=job.task.id, tool=job.task.tool, calls=calls
    )


def _check_approval(job: Job, ready: PreparedTask) -> Failed | Rejected | None:
    """Refuse a call that nobody approved as it now stands, or that runs unasked and was rejected before."""
    if not job.gated:
        mark = hash_calls(job.task.tool, ready.calls)
        message = "A person has rejected exactly this call before."
        return Rejected(revision=job.revision, message=message, digest=mark) if mark in job.rejected_digests else None
    if job.approved_digest == compute_job_digest(job, ready.calls):
        return None
    what = "was approved with other arguments" if job.approved_digest else "was never approved"
    return Failed(
        revision=job.revision,
        kind="approval",
        error=f"The call of {job.task.tool!r} by task {job.task.id!r} {what}; it was not made.",
        fingerprint=ready.fingerprint,
    )
