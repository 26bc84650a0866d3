"""The settings of a run: limits, the model, folders."""

import os
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import platformdirs
from pydantic import Field, ValidationError, field_validator
from pydantic_settings import BaseSettings, SettingsConfigDict

from agent.core.plan.limits import Backoff, Limits
from agent.errors import SettingsError

_PREFIX: Final = "PLANWAVE_"
#: What follows the prefix in variables that are no fields of `Settings` and are read where they are used.
OTHER_VARIABLES: Final = frozenset(
    {
        *("AES_KEY", "CACHE", "CONFIG", "DB", "LEASE_TTL_S", "LIBRARY", "LOCAL_GGUF", "LOG_JSON", "MODEL"),
        *("PROMPT_CACHE", "WORKER_DEAD_S"),
        *("REWRITE_GOLDENS", "SEED"),  # of the tests
    }
)
#: Variables of the user's own naming.
_OPEN_PREFIXES: Final = ("SECRET_",)
_SIMILARITY_CUTOFF: Final = 0.75
#: The dialects of SQL that are translated, by sqlglot's names.
SQL_DIALECTS: Final = frozenset(
    {
        *("athena", "bigquery", "clickhouse", "databricks", "duckdb", "hive", "mysql", "oracle", "postgres", "presto"),
        *("redshift", "snowflake", "spark", "sqlite", "teradata", "trino", "tsql"),
    }
)


class Settings(BaseSettings):
    """What a run may do and how; every field can be set as `PLANWAVE_<NAME>` in the environment.

    Raises `SettingsError` for a value that is out of bounds, a field that does not exist, and a variable of the
    environment that begins with PLANWAVE_ and is none of ours.
    """

    # The docstring of a field that is an option of `planwave run` is its help text.
    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, extra="forbid", use_attribute_docstrings=True)

    if not TYPE_CHECKING:  # a type checker takes the parameters from the fields

        def __init__(self, **values: object) -> None:
            _check_names(values, variables=os.environ)
            try:
                super().__init__(**values)
            except ValidationError as error:
                raise SettingsError(_describe(error)) from None

    dispatch: Literal["eager", "wave"] = "eager"
    """`eager` starts a task as soon as its dependencies are done; `wave` runs level by level, for stepping through."""
    approve: Literal["ask", "never"] = "ask"
    """`never` runs writes without asking: for tests and trusted batch runs."""
    secrets: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    """The tools that may get each secret, by its name; for one without an entry a human is asked."""
    stream_plan: bool = True
    """Begin a plan's reading tasks while a large model still writes the plan, if its server streams."""
    model_scale: Literal["small", "large"] | None = None
    """How a model plans: `large` all at once, `small` in steps or as a script; None: `small` only if it is embedded."""
    plan_variants: int = Field(default=5, ge=1)
    """Plans that a small model may make of reading tools only; the one whose result is the most frequent is taken."""
    max_concurrency: int = Field(default=32, ge=1)
    """Tool calls at the same time."""
    max_replans: int = Field(default=3, ge=0)
    """Replans of one run, including failed ones; 0 turns replanning off."""
    escalate: bool = True
    """Ask a human if a run cannot continue by itself, unless `approve` is `never`; else it ends as failed."""
    escalate_budgets: bool = False
    """Ask also if a budget other than that of replans is used up; else the run ends and can be resumed with more."""
    ask_if_unsure: bool = False
    """Ask a human before a plan is run of which a small model is not sure, if one can be asked; the command line does
    so at a terminal. Else the answer says so."""
    max_questions: int = Field(default=2, ge=0)
    """Questions that the replanner may ask a human in one run."""
    max_model_calls: int | None = Field(default=None, ge=0)
    """Calls of the model in one run, including failed ones."""
    max_tokens: int | None = Field(default=None, ge=0)
    """Tokens of one run, read and written; the last call may exceed it."""
    max_output_tokens: int | None = Field(default=None, ge=64)
    """Tokens of one reply of a large model; None: 12,000 for a plan and 1,200 for the answer. A limit that a chat model
    brings along, or that its server demands, goes first."""
    max_cost: float | None = Field(default=None, ge=0)
    """Cost of one run, as the server reports it or by `PLANWAVE_PRICE_...`; the last call may exceed it."""
    price_input: float | None = Field(default=None, ge=0)
    """Price of a million tokens read, if the server reports no cost."""
    price_output: float | None = Field(default=None, ge=0)
    """Price of a million tokens written, if the server reports no cost."""
    max_repairs: int = Field(default=3, ge=0)
    """Times that a plan goes back to the planner with its problems before the run ends as failed."""
    sql_repair: bool = True
    """Correct what can only be a slip in the SQL and the column names that a model wrote, and say so; else they run as
    written. A given plan always does."""
    max_context_rounds: int = Field(default=2, ge=0)
    """Times that a large model may ask reading tools for more context before it plans."""
    max_tasks: int = Field(default=10_000, ge=1)
    """Tasks of one plan, and tasks that one run may run over all its replans."""
    max_retries: int = Field(default=5, ge=0)
    """Upper limit of a task's `max_retries`."""
    default_retries: int = Field(default=2, ge=0)
    """Retries of a call if neither its task nor its tool says."""
    backoff_base_s: float = Field(default=0.5, ge=0)
    """Seconds before the first retry; a server's Retry-After goes first."""
    backoff_factor: float = Field(default=2.0, ge=1)
    """What each further wait is longer by: with a base of 1 and no jitter, 2 gives 1, 2, 4 s."""
    backoff_max_s: float = Field(default=30.0, ge=0)
    """Upper limit of a wait, in seconds."""
    backoff_jitter: float = Field(default=1.0, ge=0, le=1)
    """The share of a wait that is drawn at random, so that calls that failed together are not made together again; 0
    waits exactly."""
    max_timeout_s: float = Field(default=3600.0, gt=0)
    """Upper limit of a task's `timeout_s`."""
    default_timeout_s: float = Field(default=300.0, gt=0)
    """Seconds for one attempt if neither its task nor its tool says."""
    deadline_s: float | None = Field(default=None, gt=0)
    """Seconds from the start of a run after which nothing new is begun."""
    require_named_answers: bool = False
    """Refuse an answer that names neither the digest of the call nor the id of the interrupt: what waits may have
    changed since it was shown."""
    approval_ttl_s: float | None = Field(default=None, gt=0)
    """Seconds for which an approval is valid; None: without end."""
    artifact_bytes: int = Field(default=2**16, ge=0)
    """Bytes of JSON beyond which an output is stored outside the state, if there is a persistence."""
    grace_s: float = Field(default=5.0, ge=0)
    """Seconds that calls in flight have to finish when a run is stopped."""
    query_timeout_s: float = Field(default=60.0, gt=0)
    """Seconds for one SQL query."""
    query_memory_mb: int | None = Field(default=None, ge=128)
    """Megabytes of memory for one SQL query, beyond which it uses temporary files; None: an eighth of all, at
    most 2048."""
    query_temp_mb: int = Field(default=4096, ge=0)
    """Megabytes of temporary files for one SQL query."""
    query_result_mb: int = Field(default=32, ge=1)
    """Megabytes of JSON in the result of one SQL query; the rows beyond are cut off, and the result says so."""
    otel: bool | None = None
    """Trace runs by OpenTelemetry, with the extra `otel`; None: if the application has set a tracer provider, or the
    environment an OTLP endpoint (`OTEL_EXPORTER_OTLP_ENDPOINT`)."""
    time_zone: str = "UTC"
    """The time zone in which points in time are shown and cut into days, such as Europe/Berlin."""
    sql_dialect: str | None = None
    """The dialect of SQL that DuckDB does not understand, such as tsql or snowflake; None: that of the data source."""
    data_folder: Path = Field(default_factory=lambda: platformdirs.user_data_path("planwave"))
    """Where the sample shop and the default database are."""
    library: Path | None = None
    """A folder of programs, in place of those in the database."""
    use_library: bool = True
    """Look for a program of the library that answers the goal, before a model is asked for a plan."""
    output_folder: Path = Field(default_factory=lambda: Path("planwave-output"))
    """Where charts and saved files go; `save_file` cannot leave it."""

    @field_validator("time_zone")
    @classmethod
    def _check_time_zone(cls, name: str) -> str:
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError, OSError):
            raise ValueError("there is no such time zone; write one such as Europe/Berlin or UTC") from None
        return name

    @field_validator("sql_dialect")
    @classmethod
    def _check_sql_dialect(cls, name: str | None) -> str | None:
        if name is not None and name not in SQL_DIALECTS:
            raise ValueError(f"there is no such dialect; there are {', '.join(sorted(SQL_DIALECTS))}")
        return name

    def build_backoff(self) -> Backoff:
        """Return how long to wait before a call is made again."""
        return Backoff(self.backoff_base_s, self.backoff_factor, self.backoff_max_s, self.backoff_jitter)

    def build_limits(self, *, can_replan: bool, attended: bool = False) -> Limits:
        """Return the part that pure decisions need; `attended`: the run can wait for a human and continue later."""
        return Limits(
            dispatch=self.dispatch,
            approve=self.approve,
            secrets=self.secrets,
            max_tasks=self.max_tasks,
            max_replans=self.max_replans,
            max_retries=self.max_retries,
            max_timeout_s=self.max_timeout_s,
            max_model_calls=self.max_model_calls,
            max_tokens=self.max_tokens,
            max_cost=self.max_cost,
            can_escalate=attended and self.escalate and self.approve == "ask",
            can_escalate_budgets=self.escalate_budgets,
            asks_if_unsure=self.ask_if_unsure,
            deadline_s=self.deadline_s,
            can_replan=can_replan,
        )


def _check_names(values: Iterable[str], *, variables: Iterable[str]) -> None:
    """Raise `SettingsError` for a field that there is not, or for a variable that nothing reads: it is misspelt."""
    fields = list(Settings.model_fields)
    for name in values:
        if name not in fields:
            raise SettingsError(f"There is no setting {name!r}{_suggest(name, fields) or '.'}")
    known = {*map(str.upper, fields), *OTHER_VARIABLES}
    for variable in variables:
        name = variable.upper().removeprefix(_PREFIX)
        if variable.upper().startswith(_PREFIX) and name not in known and not name.startswith(_OPEN_PREFIXES):
            remedy = _suggest(name, known, prefix=_PREFIX) or "; unset it, or see `Settings` for those there are."
            raise SettingsError(f"{variable} is set, but there is no such setting{remedy}")


def _suggest(name: str, known: Iterable[str], *, prefix: str = "") -> str:
    close = get_close_matches(name, sorted(known), n=1, cutoff=_SIMILARITY_CUTOFF)
    return f"; did you mean {prefix}{close[0]}?" if close else ""


def _describe(error: ValidationError) -> str:
    """Return the first mistake in a sentence."""
    first = error.errors(include_url=False)[0]
    name = str(first["loc"][0])
    return f"The setting {name!r} ({_PREFIX}{name.upper()} or an option) is {first['input']!r}: {first['msg']}."
