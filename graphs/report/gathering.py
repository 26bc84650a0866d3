"""Gathers the report of a run from its state and its ledger, without any tool, clock or file."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from types import MappingProxyType
from typing import Any

from agent.core.engine.budgets import ExhaustedBudget
from agent.core.engine.outcomes import Done, Outcome
from agent.core.engine.rollback import UNDO_PREFIX
from agent.core.engine.task_states import TaskState
from agent.core.engine.task_status import TaskStatus
from agent.core.grounding import find_grounded_numbers
from agent.core.plan.dependencies import build_dependency_graph, waves
from agent.core.plan.document import Plan, Task
from agent.core.plan.problems import format_path
from agent.core.provenance.lineage import Provenance, ResultInput, list_task_inputs
from agent.execution.ledger import LedgerRow, StoredGrant
from agent.report.model import (
    AttemptReport,
    ChangedTask,
    ChartReport,
    PendingReport,
    RevisionReport,
    RunReport,
    TaskInput,
    TaskReport,
    UsageReport,
    WriteReport,
    WriteState,
)
from agent.report.plan_report import list_plan_inputs
from agent.report.shown_values import (
    Room,
    choose_room,
    describe_plan_changes,
    describe_terms,
    show_output,
    to_json_text,
    truncate_text,
)
from agent.report.timing import compute_timing, find_longest_path
from graphs.run.plan_history import provenance_of
from graphs.state import StateRecord, parse_outcomes, parse_spending, parse_stored_plan

#: Calls of a `for_each` whose arguments are shown.
_MAX_CALLS = 3
_CHART_TOOL = "draw_chart"
NOTHING_BEGUN: Mapping[str, str] = MappingProxyType({})


@dataclass(frozen=True)
class RunFacts:
    """What is known of a run: its state with every result loaded, and what is stored besides."""

    thread: str
    status: str
    #: The values of the state; `results` with the outputs loaded.
    values: Mapping[str, Any]
    #: The states of the tasks of the plan, by id.
    states: Mapping[str, TaskState]
    rows: Sequence[LedgerRow] = ()
    grants: Sequence[StoredGrant] = ()
    #: The payloads of the interrupts that wait.
    questions: Sequence[Mapping[str, Any]] = ()
    changed_at: str | None = None
    #: By path: the pictures that could be read.
    pictures: Mapping[str, str] = field(default_factory=dict)
    #: By task: when its first attempt began, of tasks that have not ended.
    begun: Mapping[str, str] = field(default_factory=dict)


def gather_report(facts: RunFacts, *, now: datetime) -> RunReport:
    """Return the report of a run as it is at `now`."""
    return _Gathering(facts, now=now).build()


def find_chart_files(results: Mapping[str, StateRecord], tools: Mapping[str, str]) -> Iterator[tuple[str, str, str]]:
    """Yield task, title and SVG path of every chart that `draw_chart` made; `tools` are the tools by task."""
    for task, record in results.items():
        if tools.get(task) != _CHART_TOOL or record.get("status") != "done":
            continue
        output = record.get("output")
        for each in output if isinstance(output, list) else [output]:
            if isinstance(each, dict) and isinstance(each.get("svg"), str):
                yield task, str(each.get("title") or "Chart"), each["svg"]


def list_task_tools(values: Mapping[str, Any]) -> dict[str, str]:
    """Return the tool of every task of any plan of a run."""
    plans = [*(entry["plan"] for entry in values.get("plan_history") or ()), values.get("plan")]
    return {
        str(task["id"]): str(task["tool"])
        for plan in plans
        if isinstance(plan, dict)
        for task in plan.get("tasks") or ()
        if isinstance(task, dict) and "id" in task and "tool" in task
    }


class _Gathering:
    def __init__(self, facts: RunFacts, *, now: datetime) -> None:
        self._facts = facts
        self._now = now.isoformat()
        self._values = facts.values
        self._outcomes: dict[str, Outcome] = parse_outcomes(facts.values.get("results"))
        self._provenance: Provenance = provenance_of(facts.values, self._outcomes)
        self._current = self._parse_plan("plan")
        self._tasks = self._collect_tasks()
        #: When the first plan that has it was made, by task.
        self._made_at = {
            task.id: version.at for version in reversed(self._provenance.versions) for task in version.plan.tasks
        }
        self._room: Room = choose_room(len(self._tasks))
        self._inputs = self._trace_inputs()
        self._needs = {task: tuple(dict.fromkeys(each.task for each in self._inputs[task])) for task in self._tasks}

    def _parse_plan(self, name: str) -> Plan | None:
        document = self._values.get(name)
        if not document or (name == "plan" and self._values.get("problems") and not self._outcomes):
            return None  # it did not compile
        return parse_stored_plan(document, kind=name)

    def _collect_tasks(self) -> dict[str, Task]:
        """Return the last definition of every task of the run: those of the present plan first, undo tasks last."""
        versions = [version.plan for version in self._provenance.versions]
        plans = [*([self._current] if self._current else []), *versions]
        listed = {task.id: task for plan in plans for task in plan.tasks}
        latest = listed | {task.id: task for plan in reversed(plans) for task in plan.tasks}
        order = sorted(listed, key=lambda task: task.startswith(UNDO_PREFIX))
        return {task: latest[task] for task in order}

    def _trace_inputs(self) -> dict[str, tuple[ResultInput, ...]]:
        found: dict[str, tuple[ResultInput, ...]] = {}
        graphs = [
            build_dependency_graph(plan)
            for plan in ([self._current] if self._current else []) + self._list_undo_plans()
        ]
        for task, definition in self._tasks.items():
            listed: Iterable[ResultInput] = self._provenance.inputs.get(task) or ()
            if task not in self._outcomes:
                needs = next((graph[task] for graph in graphs if task in graph), ())
                listed = list_task_inputs(definition, needs=needs)
            found[task] = tuple(each for each in listed if each.task in self._tasks)
        return found

    def _list_undo_plans(self) -> list[Plan]:
        return [version.plan for version in self._provenance.versions if version.author == "rollback"]

    def build(self) -> RunReport:
        values, outcomes = self._values, self._outcomes
        asked = dict(self._find_asked_spans())
        runs = {
            task: (outcome.started_at, outcome.finished_at)
            for task, outcome in outcomes.items()
            if outcome.started_at and outcome.finished_at and not task.startswith(UNDO_PREFIX) and task in self._tasks
        }
        timing = compute_timing(runs, self._needs, asked=list(asked.values()))
        path = timing.critical_path or find_longest_path(self._needs, duration=dict.fromkeys(self._needs, 1.0))
        rollback = values.get("rollback") or {}
        return RunReport(
            thread=self._facts.thread,
            goal=values.get("goal") or "",
            status=self._facts.status,
            answer=values.get("answer") or "",
            started_at=values.get("started_at"),
            changed_at=self._facts.changed_at,
            made_at=self._now,
            tasks=tuple(self._describe_tasks(critical=frozenset(path))),
            timing=timing,
            charts=tuple(self._list_charts()),
            pending=tuple(self._list_questions()),
            writes=tuple(self._list_writes()),
            revisions=tuple(self._list_revisions()),
            warnings=tuple(self._list_warnings()),
            problems=tuple(values.get("problems") or ()),
            replans=tuple(values.get("replan_history") or ()),
            phases=tuple(self._current.phases.items()) if self._current else (),
            usage=UsageReport.model_validate(parse_spending(values).model_dump()),
            inputs=tuple(self._list_inputs()),
            program=self._name_program(),
            undone=tuple(rollback.get("undone") or ()),
            not_undone=tuple((rollback.get("not_undone") or {}).items()),
            budget=str(ExhaustedBudget.model_validate(values["budget"])) if values.get("budget") else "",
            number_sources=self._trace_numbers(),
        )

    def _describe_tasks(self, *, critical: frozenset[str]) -> Iterator[TaskReport]:
        wave_of = {task: number for number, wave in enumerate(waves(self._needs), start=1) for task in wave}
        current = {task.id for task in self._current.tasks} if self._current else set()
        for task, definition in self._tasks.items():
            outcome, state = self._outcomes.get(task), self._facts.states.get(task)
            yield TaskReport(
                task=task,
                title=definition.description or task.replace("_", " "),
                tool=definition.tool,
                status=self._get_status(task),
                phase=definition.phase or "",
                revision=outcome.revision if outcome else None,
                wave=wave_of[task],
                attempts=outcome.attempts if outcome else (state.attempts if state else 0),
                failed_attempts=tuple(
                    AttemptReport.model_validate(each.model_dump())
                    for each in (outcome.failed_attempts if outcome else ())
                ),
                ready_at=self._find_ready_time(task),
                started_at=outcome.started_at if outcome else self._facts.begun.get(task),
                finished_at=outcome.finished_at if outcome else None,
                duration_s=outcome.duration_s if outcome else None,
                because=state.because if state else _get_reason(outcome),
                warnings=outcome.warnings if outcome else (),
                arguments=truncate_text(self._show_arguments(task), room=self._room),
                terms=(*describe_terms(definition), *(_describe_origin(outcome) if isinstance(outcome, Done) else ())),
                result=show_output(
                    outcome.output if outcome else None,
                    room=self._room,
                    artifact=outcome.artifact if isinstance(outcome, Done) else None,
                ),
                inputs=tuple(
                    TaskInput(task=each.task, way=each.way, path=format_path(each.path)) for each in self._inputs[task]
                ),
                is_critical=task in critical,
                is_undo=task.startswith(UNDO_PREFIX),
                is_current=task in current,
            )

    def _get_status(self, task: str) -> TaskStatus:
        state, outcome = self._facts.states.get(task), self._outcomes.get(task)
        if state is not None:
            return state.status
        return outcome.status if outcome is not None else ("waiting" if task.startswith(UNDO_PREFIX) else "skipped")

    def _find_ready_time(self, task: str) -> str | None:
        """Return when the last of what a task waits for ended, or its plan was made if that was later."""
        ends = [each.finished_at for need in self._needs[task] if (each := self._outcomes.get(need))]
        known = [moment for moment in (*ends, self._made_at.get(task)) if moment]
        return max(known, key=datetime.fromisoformat, default=None)

    def _show_arguments(self, task: str) -> str:
        """Return the arguments of a task as JSON: as they were resolved, else as the plan has them."""
        definition = self._tasks[task]
        calls = self._provenance.get_origin(task).calls if task in self._outcomes else None
        if calls is None:
            return to_json_text(dict(definition.args))
        if definition.for_each is None:
            return to_json_text(calls[0]) if calls else ""
        more = f"\n... and {len(calls) - _MAX_CALLS:,} more calls" if len(calls) > _MAX_CALLS else ""
        return "\n".join(to_json_text(call) for call in calls[:_MAX_CALLS]) + more

    def _find_asked_spans(self) -> Iterator[tuple[str, tuple[str, str]]]:
        """Yield the tasks that a human was asked about, with the time from when they could run until the answer."""
        for stored in self._facts.grants:
            task = stored.grant.task
            ready = self._find_ready_time(task) if task in self._tasks else None
            if ready and datetime.fromisoformat(ready) < datetime.fromisoformat(stored.granted_at):
                yield task, (ready, stored.granted_at)

    def _list_charts(self) -> Iterator[ChartReport]:
        results = self._values.get("results") or {}
        for task, title, file in find_chart_files(results, {name: one.tool for name, one in self._tasks.items()}):
            svg = self._facts.pictures.get(file, "")
            yield ChartReport(
                task=task,
                title=title,
                file=file,
                svg=svg,
                why="" if svg else "The file is not there any more, or cannot be read as a picture.",
            )

    def _list_questions(self) -> Iterator[PendingReport]:
        for payload in self._facts.questions:
            for action in payload.get("action_requests") or ():
                yield PendingReport(
                    task=str(action.get("task_id") or ""),
                    tool=str(action.get("name") or ""),
                    description=str(action.get("description") or ""),
                    arguments=truncate_text(to_json_text(action.get("args")), room=self._room),
                )

    def _list_writes(self) -> Iterator[WriteReport]:
        grants = {stored.grant.digest: stored for stored in self._facts.grants}
        used = {row.intent.approval for row in self._facts.rows}
        for row in sorted(self._facts.rows, key=lambda row: row.since):
            stored = grants.get(row.intent.approval or "")
            yield WriteReport(
                task=row.intent.task,
                item=row.intent.item,
                tool=row.intent.tool,
                revision=row.intent.revision,
                arguments=self._show_write_arguments(row),
                state=_get_write_state(row),
                started_at=row.since,
                finished_at=row.finished_at,
                epoch=row.epoch,
                owner=row.owner,
                cleared_by=row.cleared_by or "",
                **_describe_approval(stored, waived=row.intent.approval is None),
            )
        for stored in self._facts.grants:
            if stored.grant.digest not in used:
                grant = stored.grant
                tool = self._tasks[grant.task].tool if grant.task in self._tasks else ""
                yield WriteReport(
                    task=grant.task,
                    tool=tool,
                    revision=grant.revision,
                    state="not made" if stored.used_at is None else "called",
                    **_describe_approval(stored, waived=False),
                )

    def _show_write_arguments(self, row: LedgerRow) -> str:
        """Return what was written, if the outcome of the task is of the same revision."""
        outcome = self._outcomes.get(row.intent.task)
        if outcome is None or outcome.revision != row.intent.revision or row.intent.task not in self._tasks:
            return ""
        calls = self._provenance.get_origin(row.intent.task).calls or ()
        place = row.intent.item or 0
        return truncate_text(to_json_text(calls[place]), room=self._room) if place < len(calls) else ""

    def _list_revisions(self) -> Iterator[RevisionReport]:
        before: Plan | None = None
        for number, version in enumerate(self._provenance.versions, start=1):
            kept: tuple[str, ...] = ()
            changes: tuple[ChangedTask, ...] = ()
            if before is not None and version.author != "rollback":
                kept, changes = describe_plan_changes(before, version.plan)
            before = version.plan if version.author != "rollback" else before
            tokens = version.usage or {}
            yield RevisionReport(
                number=number,
                revision=version.revision,
                author=version.author,
                model=version.model or "",
                at=version.at,
                usage=", ".join(f"{count:,} {name.replace('_', ' ')}" for name, count in tokens.items()),
                kept=kept,
                changes=changes,
            )

    def _list_warnings(self) -> Iterator[tuple[str, str]]:
        """Yield each warning once, with the task that it is about."""
        by_task = {task: list(said) for task, said in (self._values.get("plan_warnings") or {}).items()}
        for task, outcome in self._outcomes.items():
            by_task.setdefault(task, []).extend(outcome.warnings)
            if isinstance(outcome, Done) and outcome.items is not None:
                by_task[task].append(f"Incomplete: {outcome.items}")
            if isinstance(outcome, Done):
                by_task[task].extend(map(str, outcome.cuts))
            if isinstance(outcome, Done) and outcome.error:
                by_task[task].append(outcome.error)
        listed = [(sentence, task) for task, said in by_task.items() for sentence in dict.fromkeys(said)]
        known = {f"{sentence} [{task}]" for sentence, task in listed}
        yield from listed
        yield from ((sentence, "") for sentence in self._values.get("warnings") or () if sentence not in known)

    def _list_inputs(self) -> Iterable[tuple[str, str]]:
        """Return the inputs of the program that the plan was, with their values."""
        documents = [self._values.get("program") or {}, self._values.get("plan") or {}]
        declared = next((each["inputs"] for each in documents if each.get("inputs")), None)
        given: dict[str, object] = next((each["input_values"] for each in documents if each.get("input_values")), {})
        return list_plan_inputs(declared, given)

    def _name_program(self) -> str:
        author = self._values.get("plan_author") or {}
        return str(author.get("model") or "") if author.get("author") == "program" else ""

    def _trace_numbers(self) -> dict[str, tuple[str, ...]]:
        """Return for each task which numbers are in its output, of those in the paragraphs that rest on it."""
        texts: defaultdict[str, list[str]] = defaultdict(list)
        for statement in self._provenance.split_answer():
            for task in statement.tasks:
                texts[task].append(statement.text)
        found: dict[str, tuple[str, ...]] = {}
        for task, paragraphs in texts.items():
            outcome = self._outcomes[task]
            if isinstance(outcome, Done) and outcome.output is not None:
                found[task] = tuple(find_grounded_numbers("\n\n".join(paragraphs), outcome.output))
        return {task: numbers for task, numbers in found.items() if numbers}


def _get_write_state(row: LedgerRow) -> WriteState:
    if row.state == "started":
        return "started"
    return "failed" if (row.record or {}).get("status") == "failed" else "done"


def _list_failed_attempts(outcome: Outcome | None) -> Iterator[AttemptReport]:
    for attempt in outcome.failed_attempts if outcome else ():
        yield AttemptReport.model_validate(attempt.model_dump())


def _get_reason(outcome: Outcome | None) -> str:
    if outcome is None:
        return ""
    return outcome.error or str(getattr(outcome, "because", "") or getattr(outcome, "message", ""))


def _describe_approval(stored: StoredGrant | None, *, waived: bool) -> dict[str, Any]:
    if stored is None:
        said = "The settings of the run let it be made without asking." if waived else "The approval is not stored."
        return {"approval": said}
    return {
        "approval": "Approved by a human.",
        "approved_by": stored.grant.by,
        "approved_at": stored.granted_at,
        "expires_at": stored.grant.expires_at,
    }


def _describe_origin(outcome: Done) -> Iterator[str]:
    if outcome.reused_from:
        yield f"result taken over from {outcome.reused_from}"
    if outcome.cached_at:
        yield f"result of an earlier call, made at {outcome.cached_at}"
    if outcome.answered_by_person:
        yield "a human gave this result instead of the call"
    if outcome.was_in_doubt:
        yield "was in doubt; a human said that it took effect"
