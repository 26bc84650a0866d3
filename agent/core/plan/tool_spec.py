"""What the planner and the compiler know of a tool."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

JsonSchema = dict[str, Any]


class SchemaKey:
    """A schema as a cache key, by identity; holding it keeps the identity from being used again."""

    def __init__(self, schema: JsonSchema) -> None:
        self.schema = schema

    def __hash__(self) -> int:
        return id(self.schema)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SchemaKey) and self.schema is other.schema


class Preflight(BaseModel):
    """What a check without effect found out about one call's arguments.

    A tool offers it as a method `preflight(args)` (or as `metadata["preflight"]`), which may return a list of
    sentences, each a problem, or this model. `args` holds what is known before the run: whatever a reference will
    fill in is left out at the nearest object key. A second parameter named `open`, where the signature has it,
    receives the JSON Schemas of what was left out, keyed by dotted path (`"params.customers"`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    problems: tuple[str, ...] = ()
    #: The arguments as the tool would rather have them; None keeps them. Keys left open stay as the plan has them.
    args: dict[str, Any] | None = None
    #: What was changed in them, a sentence each.
    notes: tuple[str, ...] = ()
    #: A schema narrower than the tool's own, known from these very arguments (the columns of a query, say).
    output_schema: JsonSchema | None = None


class Policy(BaseModel):
    """How a tool may be run: MCP's hints and our own limits. A tool that says nothing is a destructive write."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    read_only: bool = False
    destructive: bool = True
    idempotent: bool = False
    open_world: bool = True
    #: Seconds one attempt may take.
    timeout_s: float | None = Field(default=None, gt=0)
    #: Further attempts after the first, only for errors that may pass.
    max_retries: int | None = Field(default=None, ge=0)
    max_concurrency: int | None = Field(default=None, ge=1)
    rate_per_s: float | None = Field(default=None, gt=0)
    #: Seconds for which a result may be given to other threads that ask the same; None: never.
    cache_ttl_s: int | None = Field(default=None, ge=1)
    #: Name of the tool that tells whether an earlier call took effect.
    verify: str | None = None
    #: Name of the tool that undoes a call.
    compensate: str | None = None
    #: The tool takes an `idempotency_key`: the receiver drops a repeated call.
    takes_idempotency_key: bool = False
    #: The tool is called before planning; its output is shown to the planner.
    context_provider: bool = False
    #: The tool makes calls of its own, so it runs as a task of a dispatch only, never while the plan is being written.
    dispatched_only: bool = False


class ToolSpec(BaseModel):
    """A tool's name, purpose, schemas and policy: all that a plan can be checked against."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    name: str
    description: str = ""
    args_schema: JsonSchema
    #: None: nothing is known of the output, every path into it is left to the run.
    output_schema: JsonSchema | None = None
    policy: Policy = Policy()


Effect = Literal["read", "write"]
Catalogue = Mapping[str, ToolSpec]
PreflightCall = Callable[..., Preflight | list[str]]
