"""Calls that change something: claimed in the ledger before, completed after, never silently made twice."""

from dataclasses import dataclass
from typing import Any, Final, Literal, assert_never

from pydantic import JsonValue

from agent.core.engine.approvals import hash_calls
from agent.core.engine.call_preparation import Arguments, get_repeatability
from agent.core.engine.outcomes import Doubt
from agent.execution.call_log import CallFailed, CallInDoubt, CallOutcome, CallResult, deserialize_call, serialize_call
from agent.execution.job import Job
from agent.execution.ledger import Claimed, FoundDone, FoundStarted, Intent, Ledger, NotApproved
from agent.execution.retry_policy import is_transient, never_sent
from agent.execution.tool_call import CallPool, PooledCall, PooledResult, call_tool
from agent.json_values import JsonConversionError, error_text, to_json_value
from agent.logging_context import get_logger, shorten_for_log
from agent.settings import Settings
from agent.tools.toolbox import Toolbox

#: Who cleared a doubt, if a human did.
HUMAN: Final = "a human"
#: Why a call that was not seen to end is made again without asking, by its repeatability.
_CLEARANCES: Final = {"yes": "its tool being idempotent", "with_key": "its idempotency key"}
#: Who says that a call was not begun, so that it can be made.
_NOT_BEGUN: Final = "its pool"
_logger = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class ClaimedWrite:
    """A call whose row in the ledger is this run's, from `epoch` on."""

    intent: Intent
    args: Arguments
    epoch: int


@dataclass(frozen=True, slots=True)
class _ConfirmedEffect:
    """An earlier call took effect; `output` is what the verifying tool knows of its result."""

    output: JsonValue


#: The answer of a `verify` tool: it happened, it did not, or nobody knows.
_Verdict = _ConfirmedEffect | Literal[False] | None


class WriteLedger:
    """The ledger as the calls of one task use it that write, or that a human had to approve."""

    def __init__(
        self, job: Job, ledger: Ledger, toolbox: Toolbox, settings: Settings, *, pool: CallPool | None = None
    ) -> None:
        self._job = job
        self._pool = pool if job.spec.policy.pool is not None else None
        # By the settings alone: a job that was built where nobody is asked must not be a way around the approval.
        self._is_approval_waived = settings.approve == "never"
        self._ledger = ledger
        self._toolbox = toolbox

    async def claim(self, args: Arguments, *, item: int | None) -> ClaimedWrite | CallOutcome:
        """Claim a call that is about to be made, or return what is known of it: then it must not be made.

        Raises `PersistenceError` if the ledger cannot be used, or another run has the thread.
        """
        intent = self._build_intent(args, item)
        takeover_epoch: int | None = None
        clearance: str | None = None
        while True:
            found = await self._ledger.claim(intent, takeover_epoch=takeover_epoch, clearance=clearance)
            match found:
                case Claimed(epoch=epoch):
                    _logger.info("Write claimed at epoch %d: %s", epoch, intent)
                    return ClaimedWrite(intent, args, epoch)
                case FoundDone(record=record):
                    _logger.info("Write not made again, its result is in the ledger: %s", intent)
                    return deserialize_call(record)
                case NotApproved(reason=reason):
                    _logger.warning("Write refused by the ledger: %s", reason)
                    return CallFailed("approval", reason, 0, None)
                case FoundStarted(epoch=epoch, cleared_by=str(cleared_by)):
                    _logger.info("Write made again, cleared by %s: %s", cleared_by, intent)
                    takeover_epoch, clearance = epoch, None
                case FoundStarted(epoch=epoch, since=since, owner=owner):
                    _logger.warning("Write begun at %s by %s and not seen to end: %s", since, owner, intent)
                    ended = await self._ask_pool(ClaimedWrite(intent, args, epoch))
                    if ended is not None and ended != _NOT_BEGUN:
                        return await self.settle(ClaimedWrite(intent, args, epoch), ended)
                    clearance = _NOT_BEGUN if ended is not None else _CLEARANCES.get(get_repeatability(self._job.spec))
                    if clearance is None:
                        doubt = Doubt(item=item, epoch=epoch, since=since, owner=owner)
                        known = await self._resolve(ClaimedWrite(intent, args, epoch), CallInDoubt(doubt, 0, None))
                        if known is not None:
                            return known
                        clearance = f"the verdict of {self._job.spec.policy.verify!r}"
                    takeover_epoch = epoch
                case _:
                    assert_never(found)

    async def _ask_pool(self, write: ClaimedWrite) -> "CallResult | CallFailed | Literal['its pool'] | None":
        """Return how the pool says that a call ended, or that it never began; None if it does not know."""
        if self._pool is None:
            return None
        args = dict(write.args)
        found = await self._pool.find_call(
            build_pooled_call(self._job, args, item=write.intent.item, epoch=write.epoch)
        )
        if not isinstance(found, PooledResult):
            return _NOT_BEGUN if found == "not_begun" else None
        if found.error is not None:
            text = f"{type(found.error).__name__}: {error_text(found.error)}"
            may_have_effect = is_transient(found.error) and not never_sent(found.error)
            return CallFailed("transient" if may_have_effect else "tool", text, 1, None, may_have_effect)
        try:
            return CallResult(to_json_value(found.output), 1, None)
        except JsonConversionError as error:
            lost = f"The call was made, its output could not be stored. The output of {write.intent.tool!r} {error}."
            return CallResult(None, 1, None, lost_output=lost)

    async def settle(self, write: ClaimedWrite, result: CallResult | CallFailed) -> CallOutcome:
        """Record the result of a claimed call. If it failed but may have taken effect, find out first whether it did.

        Raises `PersistenceError` if the ledger cannot be used, or another run has taken the call over.
        """
        if isinstance(result, CallFailed) and result.may_have_effect and get_repeatability(self._job.spec) != "yes":
            _logger.warning("Write failed and may have taken effect: %s", write.intent)
            since = result.started_at.isoformat() if result.started_at else ""
            doubt = Doubt(item=write.intent.item, epoch=write.epoch, since=since, owner="this run")
            known = await self._resolve(write, CallInDoubt(doubt, result.attempts, result.started_at))
            if known is not None:
                return known
        await self._complete(write, result)
        return result

    async def confirm(self, args: Arguments, *, item: int | None, epoch: int, output: JsonValue) -> None:
        """Record that a call in doubt, claimed at `epoch`, happened and returned `output`."""
        write = ClaimedWrite(self._build_intent(args, item), args, epoch)
        _logger.info("Write in doubt confirmed by a human: %s", write.intent)
        await self._complete(write, CallResult(output, 0, None))

    async def clear_doubt(self, args: Arguments, *, item: int | None, epoch: int) -> None:
        """Record that a call in doubt, claimed at `epoch`, did not happen according to a human."""
        await self._ledger.clear_doubt(self._build_intent(args, item), epoch=epoch, by=HUMAN)

    async def _resolve(self, write: ClaimedWrite, doubt: CallInDoubt) -> CallResult | CallInDoubt | None:
        """Ask whether a call took effect that was begun and not seen to end; None: it did not."""
        verdict = await _verify_effect(write.args, self._job, self._toolbox)
        if verdict is False:
            _logger.info("Write found to have had no effect: %s", write.intent)
            return None
        if verdict is None:
            _logger.warning("Write in doubt, nobody knows whether it took effect: %s", write.intent)
            return doubt
        _logger.info("Write found to have taken effect: %s", write.intent)
        result = CallResult(verdict.output, doubt.attempts, doubt.started_at)
        await self._complete(write, result)
        return result

    async def _complete(self, write: ClaimedWrite, result: CallResult | CallFailed) -> None:
        record = serialize_call(result)
        if self._job.worker is not None:
            record |= {"worker": self._job.worker, "args": dict(write.args)}
        await self._ledger.complete(write.intent, epoch=write.epoch, record=record)

    def _build_intent(self, args: Arguments, item: int | None) -> Intent:
        job = self._job
        return Intent(
            thread=job.thread,
            revision=job.revision,
            task=job.task.id,
            item=item,
            tool=job.task.tool,
            args_digest=hash_calls(job.task.tool, [args]),
            approval=job.approved_digest if job.gated else None,
            is_approval_waived=self._is_approval_waived,
        )


def build_pooled_call(job: Job, args: dict[str, Any], *, item: int | None, epoch: int | None) -> PooledCall:
    """Return a call as its pool takes it."""
    return PooledCall(
        scope=job.thread,
        revision=job.revision,
        task=job.task.id,
        item=item,
        tool=job.task.tool,
        pool=job.spec.policy.pool or "",
        args=args,
        secrets=job.named_secrets,
        epoch=epoch,
    )


async def _verify_effect(args: Arguments, job: Job, toolbox: Toolbox) -> _Verdict:
    """Call the tool that `spec` names under `verify` with those of `args` that it takes, and return its verdict.

    It answers true or false, or `{"happened": true | false | null, "output": ...}`. Without such a tool, or if it
    fails, nobody knows.
    """
    spec, secrets = job.spec, job.named_secrets
    name = spec.policy.verify
    if name is None or not toolbox.specs[name].policy.read_only:
        return None
    verifier = toolbox.specs[name]
    accepted = {key: args[key] for key in verifier.args_schema.get("properties", {}) if key in args}
    try:
        answer = to_json_value(await call_tool(toolbox[name], accepted, {}, spec=verifier, secrets=secrets))
    except Exception as error:  # noqa: BLE001 - a tool's own code; a check that fails has found nothing out
        _logger.warning(
            "The tool %r, which verifies %r, failed: %s",
            name,
            spec.name,
            f"{type(error).__name__}: {shorten_for_log(error_text(error))}",
        )
        return None
    return _parse_verdict(answer)


def _parse_verdict(answer: JsonValue) -> _Verdict:
    happened = answer.get("happened") if isinstance(answer, dict) else answer
    if happened is True:
        return _ConfirmedEffect(answer.get("output") if isinstance(answer, dict) else None)
    return False if happened is False else None
