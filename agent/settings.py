"""The settings of a run: limits, the model, where things are kept."""

from pathlib import Path
from typing import Literal

import platformdirs
from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

from agent.core.limits import Limits


class Settings(BaseSettings):
    """What a run may do and how; every field can be set as `PLANWAVE_<NAME>` in the environment."""

    model_config = SettingsConfigDict(env_prefix="PLANWAVE_", frozen=True, extra="forbid")

    dispatch: Literal["eager", "wave"] = "eager"
    """`eager` starts a task when its needs are done; `wave` level by level, for stepping through."""
    approve: Literal["ask", "never"] = "ask"
    """`never` runs writes unasked: for tests and trusted batch runs."""
    stream_plan: bool = True
    """Begin a plan's reading tasks while a large model still writes the plan, where its server streams."""
    model_scale: Literal["small", "large"] | None = None
    """How a model plans: `large` all at once, `small` in steps or as a script; None: `small` for the embedded one."""
    plan_variants: int = Field(default=3, ge=1)
    """Plans that a small model may make of tools that only look; the one whose result most have is taken."""
    max_concurrency: int = Field(default=32, ge=1)
    """Tool calls at the same time."""
    max_replans: int = Field(default=3, ge=0)
    """Replans of one run, failed ones counted."""
    max_repairs: int = Field(default=3, ge=0)
    """Times a plan goes back to the planner with its problems before that ends as failed."""
    max_tasks: int = Field(default=10_000, ge=1)
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

    def limits(self, *, can_replan: bool) -> Limits:
        """Return the part that pure decisions need."""
        return Limits(
            dispatch=self.dispatch,
            approve=self.approve,
            max_tasks=self.max_tasks,
            max_replans=self.max_replans,
            max_retries=self.max_retries,
            max_timeout_s=self.max_timeout_s,
            deadline_s=self.deadline_s,
            can_replan=can_replan,
        )
