"""What the planner and the compiler know about a tool."""

from collections.abc import Callable, Mapping
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

JsonSchema = dict[str, Any]


class SchemaKey:
    """A schema as a cache key, by identity; keeping the schema alive keeps its identity from being reused."""

    def __init__(self, schema: JsonSchema) -> None:
        self.schema = schema

    def __hash__(self) -> int:
        return id(self.schema)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SchemaKey) and self.schema is other.schema


class Preflight(BaseModel):
    """The result of checking the arguments of one call without any effect.

    A tool offers the check as a method `preflight(args)` (or as `metadata["preflight"]`), which returns a list of
    sentences, each a problem, or this model. `args` contains what is known before the run: a value that a reference
    will fill in is left out at the nearest object key. A second parameter named `open`, if the signature has one,
    receives the JSON Schemas of what was left out, by dotted path (`"params.customers"`). One named `goal` receives
    what a model wrote the arguments for; it is None if a caller wrote them, whose arguments are never changed.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    problems: tuple[str, ...] = ()
    #: The arguments that the tool prefers; None keeps them. Keys that were left out stay as the plan has them. Those
    #: that a caller wrote are not replaced by them.
    args: dict[str, Any] | None = None
    #: What was changed in the arguments, one sentence each.
    notes: tuple[str, ...] = ()
    #: What looks wrong in the arguments and was not changed, one sentence each.
    warnings: tuple[str, ...] = ()
    #: The texts in the arguments that the tool looks up in data, as the data have them; those that it does not find are
    #: left out. None: it looks up none.
    known_texts: dict[str, str] | None = None
    #: A schema narrower than the tool's own, derived from these arguments (the columns of a query, for example).
    output_schema: JsonSchema | None = None


class Policy(BaseModel):
    """How a tool may be run: MCP's hints and our own limits. A tool without hints counts as a destructive write."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    read_only: bool = False
    destructive: bool = True
    idempotent: bool = False
    open_world: bool = True
    #: Timeout of one attempt in seconds.
    timeout_s: float | None = Field(default=None, gt=0)
    #: Attempts after the first one, for transient errors only.
    max_retries: int | None = Field(default=None, ge=0)
    max_concurrency: int | None = Field(default=None, ge=1)
    rate_per_s: float | None = Field(default=None, gt=0)
    #: Seconds for which a result may be reused by other threads that make the same call; None: never.
    cache_ttl_s: int | None = Field(default=None, ge=1)
    #: Name of the tool that reports whether an earlier call took effect.
    verify: str | None = None
    #: Name of the tool that undoes a call.
    compensate: str | None = None
    #: The tool takes an `idempotency_key`, by which the receiver ignores a repeated call.
    takes_idempotency_key: bool = False
    #: The tool is called before planning; its output is shown to the planner.
    context_provider: bool = False
    #: The tool makes calls of its own, so it runs only as a task of a dispatch, never while the plan is being written.
    dispatched_only: bool = False
    #: Where there are workers for calls, those of this pool make the calls; None: the process of the run makes them.
    pool: str | None = Field(default=None, pattern=r"^[A-Za-z0-9_.-]{1,64}$")
    #: Only an agent calls the tool, or a rollback; a planner is not shown it.
    worker_only: bool = False


class ToolSpec(BaseModel):
    """A tool's name, description, schemas and policy: all that a plan can be checked against."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    name: str
    description: str = ""
    args_schema: JsonSchema
    #: None: nothing is known about the output, so paths into it are checked when the plan runs.
    output_schema: JsonSchema | None = None
    #: The output schema is that of the function's return annotation: plans are checked by it, outputs are not.
    infers_output: bool = False
    policy: Policy = Policy()


Effect = Literal["read", "write"]
Catalogue = Mapping[str, ToolSpec]
PreflightCall = Callable[..., Preflight | list[str]]
