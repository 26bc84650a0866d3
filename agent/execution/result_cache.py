"""Results of reading tools kept across threads, for the tools that ask for it."""

from typing import Protocol

from pydantic import BaseModel, ConfigDict, JsonValue

from agent.core.engine.call_preparation import PreparedTask
from agent.core.plan.tool_spec import ToolSpec
from agent.secret_values import has_secret_arguments


class CachedResult(BaseModel):
    """What a call gave when it was made."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: The digest of the work it was kept for; a row moved to another place is told by it.
    fingerprint: str
    output: JsonValue
    #: When the call ended: ISO 8601 with UTC offset.
    at: str


class ResultCache(Protocol):
    """Keeps results by fingerprint for a time; it may lose any of them."""

    async def get(self, fingerprint: str) -> CachedResult | None:
        """Return what was kept; None where there is nothing, or its time is over."""
        ...

    async def put(self, remembered: CachedResult, *, ttl_s: int) -> None:
        """Keep a result for `ttl_s` seconds."""
        ...


def is_cacheable(spec: ToolSpec, ready: PreparedTask) -> bool:
    """Whether another thread may be given what these calls return.

    Never where they name a secret: what its owner may see is not for everyone who shares the database.
    """
    return spec.policy.cache_ttl_s is not None and not any(has_secret_arguments(call, spec) for call in ready.calls)
