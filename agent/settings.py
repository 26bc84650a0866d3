"""The settings of a run: limits, the model, folders."""

from pathlib import Path
from typing import Literal

import platformdirs
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from agent.core.plan.limits import Limits


class Settings(BaseSettings):
    """What a run may do and how; every field can be set as `PLANWAVE_<NAME>` in the environment."""

    # The docstring of a field that is an option of `planwave run` is its help text.
    model_config = SettingsConfigDict(
        env_prefix="PLANWAVE_", frozen=True, extra="forbid", use_attribute_docstrings=True
    )

    dispatch: Literal["eager", "wave"] = "eager"
    """`eager` starts a task as soon as its needs are done; `wave` runs wave by wave, for stepping through."""
    approve: Literal["ask", "never"] = "ask"
    """`never` runs writes without asking: for tests and trusted batch runs."""
    stream_plan: bool = True
    """Begin a plan's reading tasks while a large model still writes the plan, if its server streams."""
    model_scale: Literal["small", "large"] | None = None
    """How a model plans: `large` all at once, `small` in steps or as a script; None: `small` only if it is embedded."""
    plan_variants: int = Field(default=5, ge=1)
    """Plans that a small model may make of reading tools only; the one whose result is the most frequent is taken."""
    max_concurrency: int = Field(default=32, ge=1)
    """Tool calls at the same time."""
    max_replans: int = Field(default=3, ge=0)
    """Replans, failed ones counted, before a human is asked or the run ends as failed; 0: no replanning."""
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
    """Model calls of one run, failed ones counted."""
    max_tokens: int | None = Field(default=None, ge=0)
    """Model tokens of one run, input and output; the last call may exceed it."""
    max_cost: float | None = Field(default=None, ge=0)
    """Cost of one run, as the server reports it, else by the `PLANWAVE_PRICE_*`; the last call may exceed it."""
    price_input: float | None = Field(default=None, ge=0)
    """Price of a million tokens read, if the server reports no cost."""
    price_output: float | None = Field(default=None, ge=0)
    """Price of a million tokens written, if the server reports no cost."""
    max_repairs: int = Field(default=3, ge=0)
    """Times that a plan goes back to the planner with its problems before the run ends as failed."""
    max_context_rounds: int = Field(default=2, ge=0)
    """Times that a large model may ask reading tools for more context before it plans."""
    max_tasks: int = Field(default=10_000, ge=1)
    """Tasks of one plan, and of one run over all its replans."""
    max_retries: int = Field(default=5, ge=0)
    """Upper limit of a task's `max_retries`."""
    default_retries: int = Field(default=2, ge=0)
    """Retries of a call if neither its task nor its tool says."""
    max_timeout_s: float = Field(default=3600.0, gt=0)
    """Upper limit of a task's `timeout_s`."""
    default_timeout_s: float = Field(default=300.0, gt=0)
    """Seconds for one attempt if neither its task nor its tool says."""
    deadline_s: float | None = Field(default=None, gt=0)
    """Seconds from the start of a run after which no further task is started."""
    approval_ttl_s: float | None = Field(default=None, gt=0)
    """Seconds for which an approval is valid; None: without end."""
    artifact_bytes: int = Field(default=2**16, ge=0)
    """Bytes of JSON beyond which an output is stored outside the state, if there is a persistence."""
    grace_s: float = Field(default=5.0, ge=0)
    """Seconds that calls in flight have to finish when a run is stopped."""
    query_timeout_s: float = Field(default=60.0, gt=0)
    """Seconds for one SQL query."""
    query_memory_mb: int | None = Field(default=None, ge=64)
    """Megabytes of memory for one SQL query, beyond which it uses temporary files; None: an eighth of all, at
    most 2048."""
    query_temp_mb: int = Field(default=4096, ge=0)
    """Megabytes of temporary files for one SQL query."""
    query_result_mb: int = Field(default=32, ge=1)
    """Megabytes of JSON in the result of one SQL query; the rows beyond are cut off, and the result says so."""
    data_folder: Path = Field(default_factory=lambda: platformdirs.user_data_path("planwave"))
    """Where the sample shop and the default database are."""
    output_folder: Path = Field(default_factory=lambda: Path("planwave-output"))
    """The folder for charts and saved files; `save_file` writes nowhere else."""

    def build_limits(self, *, can_replan: bool, attended: bool = False) -> Limits:
        """Return the part that pure decisions need; `attended`: the run can wait for a human and continue later."""
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
