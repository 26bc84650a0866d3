"""The order to run one task: what the executor has to know of it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

from agent.core.engine.outcomes import Done, Outcome
from agent.core.plan.document import Task
from agent.core.plan.references import JsonPath
from agent.core.plan.secret_fields import find_named_secrets
from agent.core.plan.tool_spec import ToolSpec
from agent.execution.call_log import LoggedCall
from agent.execution.concurrency import Urgency


@dataclass(frozen=True, slots=True)
class Job:
    """One task to run; `outcomes` holds at least the outcomes of its `needs`."""

    task: Task
    spec: ToolSpec
    needs: tuple[str, ...]
    outcomes: Mapping[str, Outcome]
    #: The scope of the run, see `agent.execution.ledger.join_scope`.
    thread: str
    revision: int
    #: Whether a human must have approved the call.
    gated: bool
    #: The digest that a human approved.
    approved_digest: str | None = None
    #: Finished work of earlier revisions by fingerprint: the task that did it and its outcome.
    reusable: Mapping[str, tuple[str, Done]] = field(default_factory=dict)
    #: Digests of calls that a human rejected, or left in doubt.
    rejected_digests: Collection[str] = ()
    #: The failed attempts of earlier processes at this call, if there were any.
    logged_attempts: LoggedCall | None = None
    urgency: Urgency = ()
    #: The task whose worker makes this call. No plan has its arguments, so the ledger keeps them for a rollback.
    worker: str | None = None

    @property
    def named_secrets(self) -> Mapping[JsonPath, str]:
        """The secrets that the task itself names, by place in its arguments."""
        return find_named_secrets(self.spec.args_schema, self.task.args)


def is_ungated_read(job: Job) -> bool:
    """Whether the task has no effect and needs no approval, so that its calls may be made at any time."""
    return job.spec.policy.read_only and not job.gated
