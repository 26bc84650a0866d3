"""Approvals in the ledger: each granted for one use and for a limited time."""

from collections.abc import Mapping, Sequence
from datetime import timedelta

from agent.core.engine.approvals import ApprovalRequest, hash_calls
from agent.core.engine.call_preparation import Arguments
from agent.core.engine.outcomes import Doubt
from agent.execution.executor import utc_now
from agent.execution.ledger import Grant, Intent, Ledger
from agent.execution.writes import HUMAN


class Grants:
    """The approvals of one graph's runs.

    With a durable ledger only its own records count, whatever the state says. The ledger of a graph without persistence
    is lost with the process, so there the checkpoint is trusted.
    """

    def __init__(self, ledger: Ledger, *, durable: bool, ttl_s: float | None) -> None:
        self._ledger = ledger
        self._durable = durable
        self._ttl_s = ttl_s

    async def get_valid_digests(self, approvals: Mapping[str, str]) -> set[str] | None:
        """Return the digests that may still be used; None if all of them may."""
        return await self._ledger.find_usable_grants(set(approvals.values())) if self._durable else None

    async def store_approvals(self, approvals: Mapping[str, str], *, thread: str, revision: int) -> None:
        """Store the digests that a human has just approved, by task id."""
        expires = (utc_now() + timedelta(seconds=self._ttl_s)).isoformat() if self._ttl_s is not None else None
        await self._ledger.grant(
            [
                Grant(digest=digest, thread=thread, revision=revision, task=task, expires_at=expires)
                for task, digest in approvals.items()
            ]
        )

    async def clear_doubt(
        self, doubt: Doubt, task: str, tool: str, calls: Sequence[Arguments], *, thread: str, revision: int
    ) -> None:
        """Store that the call in doubt did not happen, as a human has just said; `calls` is that one, as shown."""
        intent = Intent(
            thread=thread,
            revision=revision,
            task=task,
            item=doubt.item,
            tool=tool,
            args_digest=hash_calls(tool, calls),
        )
        await self._ledger.clear_doubt(intent, epoch=doubt.epoch, by=HUMAN)

    async def note_made_calls(
        self, requests: Sequence[ApprovalRequest], *, thread: str, revision: int
    ) -> list[ApprovalRequest]:
        """Return the requests, each with the word that the run has made its call already, if it has.

        That happens where a run is taken up again at a checkpoint before the call, as chats do to say it anew.
        """
        rows = await self._ledger.list_rows(thread)
        made = {
            (row.intent.task, row.intent.item, row.intent.args_digest): row.finished_at
            for row in rows
            if row.state == "done" and row.intent.revision == revision
        }
        return [_note_made(request, made) for request in requests] if made else list(requests)

    async def adopt_checkpoint_approval(self, task: str, digest: str | None, *, thread: str, revision: int) -> None:
        """Take over an approval from the checkpoint, if the ledger is not durable."""
        if digest is not None and not self._durable:
            await self._ledger.grant([Grant(digest=digest, thread=thread, revision=revision, task=task)])


def _note_made(request: ApprovalRequest, made: Mapping[tuple[str, int | None, str], str | None]) -> ApprovalRequest:
    calls = [(None, request.args)] if request.items is None else list(enumerate(request.items))
    times = [made.get((request.task, item, hash_calls(request.tool, [args]))) for item, args in calls]
    known = [time for time in times if time is not None]
    if not known:
        return request
    which = "this call" if request.items is None else f"{len(known)} of these {len(times)} calls"
    note = f"This run has made {which} already, at {max(known)}; that is not made again, its result is taken."
    return request.model_copy(update={"description": f"{request.description} {note}"})
