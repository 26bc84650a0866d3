"""Calls that change something: claimed in the ledger before, completed after, never silently made twice."""

from collections.abc import Awaitable, Callable, Mapping
from datetime import datetime
from typing import assert_never

from pydantic import JsonValue

from agent.core.engine.call_preparation import Arguments, get_call_key, get_repeatability
from agent.core.engine.outcomes import Doubt
from agent.core.plan.tool_spec import ToolSpec
from agent.events import Emit
from agent.execution.attempts import RetryingCallRunner
from agent.execution.call_log import CallFailed, CallInDoubt, CallOutcome, CallResult, deserialize_call, serialize_call
from agent.execution.concurrency import Slots, Urgency
from agent.execution.ledger import Claimed, FoundDone, FoundStarted, Intent, Ledger, NotApproved
from agent.execution.tool_call import call_tool
from agent.json_values import JsonConversionError, to_json_value
from agent.tools.toolbox import Toolbox

#: Asks the tool's `verify` sibling: it happened (with this output), it did not, or nobody knows.
VerifyCall = Callable[[Arguments], Awaitable["ConfirmedEffect | bool | None"]]


class ConfirmedEffect:
    """An earlier call took effect; `output` is what the verifying tool knows of its result."""

    def __init__(self, output: JsonValue) -> None:
        self.output = output


class LedgerCallRunner:
    """Makes the calls of one task that writes, or that a person had to approve."""

    def __init__(
        self,
        attempts: RetryingCallRunner,
        ledger: Ledger,
        spec: ToolSpec,
        *,
        intent: Callable[[Arguments, int | None], Intent],
        takeover_epochs: Mapping[str, int],
        verify: VerifyCall,
        worker: str | None = None,
    ) -> None:
        """Take `cleared` as the epochs, by item, at which a person said that the call did not happen.

        Of a call by the worker on a task the record keeps that task's name and the arguments.
        """
        self._attempts = attempts
        self._ledger = ledger
        self._spec = spec
        self._intent = intent
        self._takeover_epochs = takeover_epochs
        self._verify = verify
        self._worker = worker

    async def run_call(
        self, args: Arguments, *, item: int | None, slots: Slots, urgency: Urgency, emit: Emit
    ) -> CallOutcome:
        """Make the call unless the ledger knows its result; the claim is taken in the place in which it runs."""
        intent = self._intent(args, item)
        epoch: int | None = None

        async def claim_before_call() -> CallOutcome | None:
            nonlocal epoch
            found = await self._claim(intent, args, item)
            if isinstance(found, int):
                epoch = found
                return None
            return found

        made = await self._attempts.run_call(
            args, item=item, slots=slots, urgency=urgency, emit=emit, before_call=claim_before_call
        )
        if epoch is None or isinstance(made, CallInDoubt):
            return made
        if isinstance(made, CallFailed) and made.may_have_effect and get_repeatability(self._spec) != "yes":
            return await self._resolve_doubt(intent, args, item, epoch, made)
        await self._complete(intent, args, epoch, made)
        return made

    async def confirm_effect(self, args: Arguments, *, item: int | None, epoch: int, output: JsonValue) -> None:
        """Record of a call in doubt, begun at `epoch`, that it happened and returned `output`."""
        await self._complete(self._intent(args, item), args, epoch, CallResult(output, 0, None))

    async def _complete(self, intent: Intent, args: Arguments, epoch: int, made: CallResult | CallFailed) -> None:
        record = serialize_call(made)
        if self._worker is not None:
            record |= {"worker": self._worker, "args": dict(args)}
        await self._ledger.complete(intent, epoch=epoch, record=record)

    async def _claim(self, intent: Intent, args: Arguments, item: int | None) -> int | CallOutcome:
        """Return the epoch under which the call may be made now, or what is known instead."""
        again = self._takeover_epochs.get(get_call_key(item))
        while True:
            claim = await self._ledger.claim(intent, takeover_epoch=again)
            match claim:
                case Claimed(epoch=epoch):
                    return epoch
                case FoundDone(record=record):
                    return deserialize_call(record)
                case NotApproved(reason=reason):
                    return CallFailed("approval", reason, 0, None)
                case FoundStarted(epoch=epoch, since=since, owner=owner):
                    if get_repeatability(self._spec) != "no":
                        again = epoch
                        continue
                    verdict = await self._verify(args)
                    if verdict is False:
                        again = epoch
                        continue
                    if verdict is None:
                        return CallInDoubt(Doubt(item=item, epoch=epoch, since=since, owner=owner), 0, None)
                    return await self._record_success(intent, args, epoch, verdict, attempts=0, started=None)
                case _:
                    assert_never(claim)

    async def _resolve_doubt(
        self, intent: Intent, args: Arguments, item: int | None, epoch: int, made: CallFailed
    ) -> CallOutcome:
        """Find out about a call that ended without an answer; it may have taken effect."""
        verdict = await self._verify(args)
        if verdict is False:
            await self._complete(intent, args, epoch, made)
            return made
        if verdict is None:
            since = made.started_at.isoformat() if made.started_at else ""
            return CallInDoubt(
                Doubt(item=item, epoch=epoch, since=since, owner="this run"), made.attempts, made.started_at
            )
        return await self._record_success(intent, args, epoch, verdict, attempts=made.attempts, started=made.started_at)

    async def _record_success(
        self,
        intent: Intent,
        args: Arguments,
        epoch: int,
        verdict: "ConfirmedEffect | bool",
        *,
        attempts: int,
        started: datetime | None,
    ) -> CallResult:
        output = verdict.output if isinstance(verdict, ConfirmedEffect) else None
        made = CallResult(output, attempts, started)
        await self._complete(intent, args, epoch, made)
        return made


async def verify_effect(args: Arguments, spec: ToolSpec, toolbox: Toolbox) -> ConfirmedEffect | bool | None:
    """Ask the tool that `spec` names under `verify`, with those of `args` that it takes.

    It answers true or false, or `{"happened": true | false | null, "output": ...}`. None: nobody knows, which is also
    the answer where there is no such tool or it fails.
    """
    name = spec.policy.verify
    if name is None:
        return None
    spec = toolbox.specs[name]
    given = {key: args[key] for key in spec.args_schema.get("properties", {}) if key in args}
    try:
        answer = to_json_value(await call_tool(toolbox[name], given, {}, spec=spec))
    except JsonConversionError:
        return None
    except Exception:  # noqa: BLE001 - a tool's own code; a check that fails has found nothing out
        return None
    return _parse_verdict(answer)


def _parse_verdict(answer: JsonValue) -> ConfirmedEffect | bool | None:
    happened = answer.get("happened") if isinstance(answer, dict) else answer
    if happened is True:
        return ConfirmedEffect(answer.get("output") if isinstance(answer, dict) else None)
    return False if happened is False else None
