"""Results of reading tools that are shared between threads, for the tools that ask for it."""

from typing import Protocol

from pydantic import BaseModel, ConfigDict, JsonValue

from agent.core.engine.call_preparation import PreparedTask
from agent.core.plan.tool_spec import ToolSpec
from agent.secret_values import has_secret_arguments


class CachedResult(BaseModel):
    """What a call returned."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: The digest of the work that it is the result of; a row that was moved to another key is recognized by it.
    fingerprint: str
    output: JsonValue
    #: When the call ended: ISO 8601 with UTC offset.
    at: str


class ResultCache(Protocol):
    """Stores results by fingerprint for a time; it may lose any of them."""

    async def get(self, fingerprint: str) -> CachedResult | None:
        """Return the result that was stored; None if there is none, or it has expired."""
        ...

    async def put(self, remembered: CachedResult, *, ttl_s: int) -> None:
        """Store a result for `ttl_s` seconds."""
        ...


def is_cacheable(spec: ToolSpec, prepared: PreparedTask) -> bool:
    """Whether another thread may be given what these calls return.

    Never if they name a secret: what its owner may see is not for everyone who shares the database.
    """
    return spec.policy.cache_ttl_s is not None and not any(has_secret_arguments(call, spec) for call in prepared.calls)
