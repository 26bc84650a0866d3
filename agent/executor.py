"""One task made into one outcome: prepared, approved, called with retries and a time limit."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

from pydantic import JsonValue

from agent.attempts import Attempts, CallFailed, CallResult
from agent.core.approval import approval_digest
from agent.core.call import Ready, prepare
from agent.core.outcome import Done, Failed, Outcome
from agent.core.plan import Task
from agent.core.tool import ToolSpec
from agent.events import Emit
from agent.repetition import all_items
from agent.settings import Settings
from agent.slots import Slots, Urgency
from agent.tools.catalogue import Toolbox

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
    approved: str | None = None
    #: Finished work of earlier revisions by fingerprint.
    reusable: Mapping[str, tuple[str, Done]] = field(default_factory=dict)
    urgency: Urgency = ()


class Executor:
    """Runs jobs with the tools of one toolbox, within the settings."""

    def __init__(
        self,
        toolbox: Toolbox,
        settings: Settings,
        *,
        clock: Clock = utc_now,
        let_through: tuple[type[BaseException], ...] = (),
    ) -> None:
        """`let_through` are exceptions by which a tool speaks to the graph; they are not failures."""
        self._toolbox = toolbox
        self._settings = settings
        self._clock = clock
        self._let_through = let_through

    async def run(self, job: Job, *, slots: Slots, emit: Emit) -> Outcome:
        """Return what became of the task. Failures are values; only bugs and `let_through` raise."""
        ready = prepare(job.task, job.spec, needs=job.needs, outcomes=job.outcomes, revision=job.revision)
        if not isinstance(ready, Ready):
            return ready
        earlier = job.reusable.get(ready.fingerprint)
        if earlier is not None:
            return reused(earlier, revision=job.revision)
        refusal = _refusal(job, ready)
        if refusal is not None:
            return refusal
        return await self._call(job, ready, slots=slots, emit=emit)

    async def _call(self, job: Job, ready: Ready, *, slots: Slots, emit: Emit) -> Outcome:
        attempts = Attempts(
            self._toolbox[job.task.tool],
            job.task,
            job.spec,
            settings=self._settings,
            thread=job.thread,
            revision=job.revision,
            clock=self._clock,
            let_through=self._let_through,
        )
        started = self._clock()
        if ready.repeated:
            result = await all_items(attempts, ready.calls, slots=slots, urgency=job.urgency, emit=emit)
        else:
            result = await attempts.make(ready.calls[0], item=None, slots=slots, urgency=job.urgency, emit=emit)
        began = result.started_at or started
        at, finished = began.isoformat(), self._clock().isoformat()
        match result:
            case CallResult(output=output, attempts=made):
                return Done(
                    revision=job.revision,
                    output=output,
                    attempts=made,
                    started_at=at,
                    finished_at=finished,
                    fingerprint=ready.fingerprint,
                )
            case CallFailed(kind=kind, error=error, attempts=made):
                return Failed(
                    revision=job.revision,
                    kind=kind,
                    error=error,
                    attempts=made,
                    started_at=at,
                    finished_at=finished,
                    fingerprint=ready.fingerprint,
                )


def reused(earlier: tuple[str, Done], *, revision: int) -> Done:
    """Return the outcome of work that an earlier revision has done."""
    source, done = earlier
    return done.model_copy(update={"revision": revision, "reused_from": done.reused_from or source})


def job_digest(job: Job, calls: tuple[dict[str, JsonValue], ...]) -> str:
    """Return the digest that an approval of exactly these calls carries."""
    return approval_digest(thread=job.thread, revision=job.revision, task=job.task.id, tool=job.task.tool, calls=calls)


def _refusal(job: Job, ready: Ready) -> Failed | None:
    """Refuse a call that nobody approved as it now stands."""
    if not job.gated or job.approved == job_digest(job, ready.calls):
        return None
    what = "was approved with other arguments" if job.approved else "was never approved"
    return Failed(
        revision=job.revision,
        kind="approval",
        error=f"The call of {job.task.tool!r} by task {job.task.id!r} {what}; it was not made.",
        fingerprint=ready.fingerprint,
    )
