"""The settings of a run: limits, the model, where things are kept."""

import os
from collections.abc import Iterable
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

import platformdirs
from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from agent.core.plan.limits import Limits
from agent.errors import SettingsError

_PREFIX: Final = "PLANWAVE_"
#: What follows the prefix in variables that are no fields of `Settings` and are read where they are used.
OTHER_VARIABLES: Final = frozenset(
    {
        *("AES_KEY", "CACHE", "CONFIG", "DB", "LEASE_TTL_S", "LIBRARY", "LOCAL_GGUF", "LOG_JSON", "MODEL"),
        "WORKER_DEAD_S",
        *("REWRITE_GOLDENS", "SEED"),  # of the tests
    }
)
#: Variables of the user's own naming.
_OPEN_PREFIXES: Final = ("SECRET_",)
_SIMILARITY_CUTOFF: Final = 0.75


class Settings(BaseSettings):
    """What a run may do and how; every field can be set as `PLANWAVE_<NAME>` in the environment.

    Raises `SettingsError` for a value that is out of bounds, a field that there is not, and a variable of the
    environment that begins with PLANWAVE_ and is none of ours.
    """

    model_config = SettingsConfigDict(env_prefix=_PREFIX, frozen=True, extra="forbid")

    if not TYPE_CHECKING:  # a type checker takes the parameters from the fields

        def __init__(self, **values: object) -> None:
            _check_names(values, variables=os.environ)
            try:
                super().__init__(**values)
            except ValidationError as error:
                raise SettingsError(_describe(error)) from None

    dispatch: Literal["eager", "wave"] = "eager"
    """`eager` starts a task when its needs are done; `wave` level by level, for stepping through."""
    approve: Literal["ask", "never"] = "ask"
    """`never` runs writes unasked: for tests and trusted batch runs."""
    stream_plan: bool = True
    """Begin a plan's reading tasks while a large model still writes the plan, where its server streams."""
    model_scale: Literal["small", "large"] | None = None
    """How a model plans: `large` all at once, `small` in steps or as a script; None: `small` for the embedded one."""
    plan_variants: int = Field(default=5, ge=1)
    """Plans that a small model may make of tools that only look; the one whose result most have is taken."""
    max_concurrency: int = Field(default=32, ge=1)
    """Tool calls at the same time."""
    max_replans: int = Field(default=3, ge=0)
    """Replans of one run, failed ones counted; 0 is without replanning."""
    escalate: bool = True
    """Ask a person where a run cannot go on by itself, unless `approve` is `never`; else it ends as failed."""
    escalate_budgets: bool = False
    """Ask too where a budget is used up, be it not that of replans; else it ends the run, to be resumed with more."""
    ask_if_unsure: bool = False
    """Ask a person before a plan is run of which a small model is not sure, where one can be asked; the command does
    so at a terminal. Else the answer says it."""
    max_questions: int = Field(default=2, ge=0)
    """Questions that the replanner may put to a person in one run."""
    max_model_calls: int | None = Field(default=None, ge=0)
    """Calls of the model in one run, failed ones counted."""
    max_tokens: int | None = Field(default=None, ge=0)
    """Tokens of one run, read and written; the last call may go beyond."""
    max_cost: float | None = Field(default=None, ge=0)
    """Cost of one run: as the server reports it with a reply, else by the prices below; the last call may go beyond."""
    price_input: float | None = Field(default=None, ge=0)
    """Price of a million tokens read, where the server reports no cost."""
    price_output: float | None = Field(default=None, ge=0)
    """Price of a million tokens written."""
    max_repairs: int = Field(default=3, ge=0)
    """Times a plan goes back to the planner with its problems before that ends as failed."""
    max_context_rounds: int = Field(default=2, ge=0)
    """Times a large model may ask reading tools for more before it plans."""
    max_tasks: int = Field(default=10_000, ge=1)
    """Tasks of one plan, and tasks run in one run over all its replans."""
    max_retries: int = Field(default=5, ge=0)
    """Upper bound for a task's `max_retries`."""
    default_retries: int = Field(default=2, ge=0)
    """Further attempts of a reading or idempotent call where neither task nor tool says."""
    max_timeout_s: float = Field(default=3600.0, gt=0)
    """Upper bound for a task's `timeout_s`."""
    default_timeout_s: float = Field(default=300.0, gt=0)
    """Seconds for one attempt where neither task nor tool says."""
    deadline_s: float | None = Field(default=None, gt=0)
    """Seconds from the start of a run after which nothing new is begun."""
    approval_ttl_s: float | None = Field(default=None, gt=0)
    """Seconds for which an approval is good; None is without end."""
    artifact_bytes: int = Field(default=2**16, ge=0)
    """Bytes of JSON beyond which an output is kept outside the state, where there is a persistence."""
    grace_s: float = Field(default=5.0, ge=0)
    """Seconds that running calls are given to finish when a run is stopped."""
    data_folder: Path = Field(default_factory=lambda: platformdirs.user_data_path("planwave"))
    """Where the sample shop and the default database lie."""
    output_folder: Path = Field(default_factory=lambda: Path("planwave-output"))
    """Where charts and saved files go; `save_file` cannot leave it."""

    def build_limits(self, *, can_replan: bool, attended: bool = False) -> Limits:
        """Return the part that pure decisions need; `attended`: the run can stop for a person and go on later."""
        return Limits(
            dispatch=self.dispatch,
            approve=self.approve,
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
