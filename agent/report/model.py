"""What a report shows, as one frozen model: texts are as they came from the run, times are ISO 8601 with UTC offset."""

from typing import Literal

from pydantic import BaseModel, ConfigDict

from agent.core.engine.call_preparation import TaskChange
from agent.core.engine.task_status import TaskStatus
from agent.core.provenance.lineage import InputRole

#: What is shown of a result: text, or a table of columns and rows.
ResultForm = Literal["none", "text", "table"]

#: `started`: whether it took effect is not known; `called`: it was approved, and what was called is no write.
WriteState = Literal["done", "failed", "started", "called", "not made"]


class _FrozenModel(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class TaskInput(_FrozenModel):
    """A task that another one waits for; `path` is the part of its output that is used, such as `rows[0].total`."""

    task: str
    way: InputRole
    path: str = ""


class AttemptReport(_FrozenModel):
    """An attempt that failed and was made again."""

    item: int | None = None
    started_at: str
    finished_at: str
    error: str


class ShownResult(_FrozenModel):
    """The beginning of an output."""

    form: ResultForm = "none"
    text: str = ""
    columns: tuple[str, ...] = ()
    #: Which of the columns hold numbers only.
    numeric: tuple[bool, ...] = ()
    rows: tuple[tuple[str, ...], ...] = ()
    #: A sentence about what is left out; empty if nothing is.
    left_out: str = ""


class TaskReport(_FrozenModel):
    """One task: what it was to do, what became of it, and what its result rests on."""

    task: str
    title: str
    tool: str
    status: TaskStatus
    phase: str = ""
    revision: int | None = None
    #: From 1, counted by what it waits for; 0 if no plan of the run has the task.
    wave: int = 0
    attempts: int = 0
    #: The first of those that failed and were made again.
    failed_attempts: tuple[AttemptReport, ...] = ()
    #: When all that it waits for had ended, or the plan was made if that was later.
    ready_at: str | None = None
    started_at: str | None = None
    finished_at: str | None = None
    duration_s: float | None = None
    #: Why it ended as it did, or does not run.
    because: str = ""
    warnings: tuple[str, ...] = ()
    #: Its arguments as JSON text; for a `for_each` those of the first calls.
    arguments: str = ""
    #: Other facts of the plan, each a short text.
    terms: tuple[str, ...] = ()
    result: ShownResult = ShownResult()
    inputs: tuple[TaskInput, ...] = ()
    #: Whether it is on the critical path.
    is_critical: bool = False
    #: Whether it undoes another one.
    is_undo: bool = False
    #: Whether it is in the plan as it is now; others were in an earlier one.
    is_current: bool = True


class WriteReport(_FrozenModel):
    """One write of the ledger, or a call that was approved and not made; with its approval."""

    task: str
    item: int | None = None
    tool: str
    revision: int
    arguments: str = ""
    state: WriteState
    started_at: str | None = None
    finished_at: str | None = None
    epoch: int = 0
    owner: str = ""
    #: Why it was allowed to be made again after an attempt whose effect was not known.
    cleared_by: str = ""
    #: How it was approved, as a sentence.
    approval: str = ""
    approved_by: str = ""
    approved_at: str | None = None
    expires_at: str | None = None


class PendingReport(_FrozenModel):
    """A question that waits for a human."""

    task: str
    tool: str
    description: str
    arguments: str = ""


class ChangedTask(_FrozenModel):
    """A task that a revision changed: its definition before and after, as a diff in lines."""

    task: str
    change: TaskChange
    #: Each line begins with `+`, `-` or a blank.
    lines: tuple[str, ...] = ()


class RevisionReport(_FrozenModel):
    """One plan of the run."""

    number: int
    revision: int
    author: str
    model: str = ""
    at: str | None = None
    usage: str = ""
    kept: tuple[str, ...] = ()
    changes: tuple[ChangedTask, ...] = ()


class ChartReport(_FrozenModel):
    """A picture that `draw_chart` made; without `svg` the file was not there, and `why` says so."""

    task: str
    title: str
    file: str
    svg: str = ""
    why: str = ""


class UsageReport(_FrozenModel):
    """What the models of the run have used."""

    calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost: float = 0.0


class TimingReport(_FrozenModel):
    """How long the run took, against what its dependencies allow; in seconds."""

    #: From the first start of a task to the last end of one.
    makespan_s: float = 0.0
    #: The sum of the durations on the longest path through what ran.
    critical_path_s: float = 0.0
    #: The part of the makespan in which nothing ran because a human was asked.
    human_wait_s: float = 0.0
    #: The tasks of that path in order.
    critical_path: tuple[str, ...] = ()

    @property
    def ratio(self) -> float | None:
        """Makespan divided by critical path; None if nothing ran."""
        return self.makespan_s / self.critical_path_s if self.critical_path_s > 0 else None

    @property
    def ratio_without_humans(self) -> float | None:
        """The same without the time in which only a human was waited for."""
        return (self.makespan_s - self.human_wait_s) / self.critical_path_s if self.critical_path_s > 0 else None


class RunReport(_FrozenModel):
    """Everything that the page of a run shows; of a plan that has not run, most of it is empty."""

    thread: str
    goal: str
    status: str
    answer: str = ""
    started_at: str | None = None
    changed_at: str | None = None
    made_at: str
    tasks: tuple[TaskReport, ...] = ()
    timing: TimingReport = TimingReport()
    charts: tuple[ChartReport, ...] = ()
    pending: tuple[PendingReport, ...] = ()
    writes: tuple[WriteReport, ...] = ()
    revisions: tuple[RevisionReport, ...] = ()
    #: Each a sentence, with the task that it is about, or "".
    warnings: tuple[tuple[str, str], ...] = ()
    problems: tuple[str, ...] = ()
    #: Why the plan was revised, a sentence for each replan.
    replans: tuple[str, ...] = ()
    #: Names of the phases, each with its description.
    phases: tuple[tuple[str, str], ...] = ()
    usage: UsageReport = UsageReport()
    #: Names and values, of a program's run.
    inputs: tuple[tuple[str, str], ...] = ()
    program: str = ""
    undone: tuple[str, ...] = ()
    #: Tasks whose effect stays, each with the reason.
    not_undone: tuple[tuple[str, str], ...] = ()
    budget: str = ""
    #: By task: those numbers of the answer, as written there, that are in its output.
    number_sources: dict[str, tuple[str, ...]] = {}

    def to_html(self) -> str:
        """Return the report as one HTML page, which loads and sends nothing."""
        from agent.report.report_page import render_report  # noqa: PLC0415 - most runs are not reported

        return render_report(self)

    def _repr_html_(self) -> str:
        from agent.report.report_page import render_frame  # noqa: PLC0415 - only a notebook asks for it

        return render_frame(self)
