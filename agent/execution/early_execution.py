"""Early execution: reading tasks of a plan run while the model still writes the rest of it."""

import asyncio
from collections import defaultdict, deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import partial

from pydantic import BaseModel, JsonValue

from agent.core.engine.approvals import needs_approval
from agent.core.engine.call_preparation import PreparedTask, prepare
from agent.core.engine.outcomes import Done, Outcome
from agent.core.plan.dependencies import list_dependencies
from agent.core.plan.document import Plan, Task
from agent.core.plan.limits import Limits
from agent.core.plan.parser import parse_plan
from agent.core.plan.tool_spec import Preflight
from agent.events import Emit, TaskRetrying, TaskStarted, Thinking
from agent.execution.concurrency import Slots
from agent.execution.executor import Executor, utc_now
from agent.execution.job import Job
from agent.tools.plan_check import PreflightChecker, check_task


@dataclass(eq=False)
class _EarlyCall:
    """A call that was begun early; it can outlive the text that it was begun for."""

    running: "asyncio.Task[Outcome]"
    #: Its events so far, while no task of the whole plan has taken it over.
    pending_events: list[TaskStarted | TaskRetrying] = field(default_factory=list)
    forward_event: Callable[[TaskStarted | TaskRetrying], None] | None = None
    is_begun: bool = False
    #: Whether a task of the current text makes this call.
    is_wanted: bool = True
    #: Whether it was begun for the current text. Another text may set other limits, so that a failure is not final.
    is_current: bool = True

    @property
    def outcome(self) -> Outcome | None:
        """Its outcome; None while it runs, and if it was cancelled or raised."""
        done = self.running.done() and not self.running.cancelled() and self.running.exception() is None
        outcome = self.running.result() if done else None
        return outcome if self.is_current or isinstance(outcome, Done) else None


@dataclass(eq=False)
class _PlanText:
    """What is known of one text of the plan; a repaired plan is another text."""

    incoming_tasks: "asyncio.Queue[Mapping[str, JsonValue] | None]" = field(default_factory=asyncio.Queue)
    reader: "asyncio.Task[None] | None" = None
    tasks: dict[str, Task] = field(default_factory=dict)
    findings: dict[str, Preflight] = field(default_factory=dict)
    #: Tasks that run, have run, or will run as soon as their needs are done.
    started: set[str] = field(default_factory=set)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    dependents: defaultdict[str, list[str]] = field(default_factory=lambda: defaultdict(list))


def _is_running(call: _EarlyCall) -> bool:
    return call.is_wanted and not call.running.done()


class EarlyExecution:
    """Begins the reading tasks of a plan as they are written, and keeps their calls for the tasks of the whole plan.

    Calls are identified by fingerprint, so that a repaired plan keeps what it does not change, whatever its ids are.
    For one event loop only.
    """

    def __init__(
        self,
        executor: Executor,
        preflights: PreflightChecker,
        *,
        limits: Limits,
        slots: Slots,
        thread: str,
        revision: int,
        emit: Emit,
        until: datetime | None = None,
        clock: Callable[[], datetime] = utc_now,
    ) -> None:
        """Take the `slots` that the plan will run in; nothing is begun after `until`."""
        self.preflights = preflights
        self.slots = slots
        self.revision = revision
        self._executor = executor
        self._limits = limits
        self._thread = thread
        self._emit = emit
        self._until = until
        self._clock = clock
        self._open = True
        self._text = _PlanText()
        self._calls: defaultdict[str, deque[_EarlyCall]] = defaultdict(deque)
        self._running: set[asyncio.Task[Outcome]] = set()

    def begin_text(self) -> None:
        """Start over, because the model writes another text. Calls continue; those that failed are forgotten."""
        self._stop_reader()
        self._text = _PlanText()
        for fingerprint, calls in list(self._calls.items()):
            for call in calls:
                call.is_wanted = call.is_current = False
            self._filter_calls(fingerprint, lambda call: not call.running.done() or call.outcome is not None)
        self._text.reader = asyncio.create_task(self._read_tasks(self._text))

    def add_task(self, task: Mapping[str, JsonValue]) -> None:
        """Add the next task of the text, in the form of a plan document; one that cannot be parsed is ignored."""
        if self._open:
            self._text.incoming_tasks.put_nowait(task)

    async def wait_for_outcomes(self) -> Mapping[str, Outcome]:
        """Wait until the text is read and all calls begun for it have ended; return the outcomes of its tasks."""
        text = self._text
        text.incoming_tasks.put_nowait(None)
        if text.reader is not None:
            await asyncio.wait((text.reader,))
        while running := [call.running for calls in self._calls.values() for call in calls if _is_running(call)]:
            await asyncio.wait(running)
            # The tasks that depend on them are begun in their callbacks.
            await asyncio.sleep(0)
        return dict(text.outcomes)

    def close(self) -> None:
        """Begin nothing more, because the run is being stopped."""
        self._open = False
        self._stop_reader()
        self.slots.halt()

    async def finish(self) -> None:
        """Begin nothing more, because the plan is whole; cancel and forget the calls that none of its tasks makes."""
        self._text.incoming_tasks.put_nowait(None)
        if (reader := self._text.reader) is not None:
            await asyncio.wait((reader,))
            if not reader.cancelled():
                reader.result()
        self._open = False
        self._text = _PlanText()
        for fingerprint, calls in list(self._calls.items()):
            for call in calls:
                if not call.is_begun or not call.is_wanted:
                    call.running.cancel()
            # A result that no task of this plan uses could later pass for one that was read after a write.
            self._filter_calls(fingerprint, lambda call: call.is_wanted and not call.running.cancelling())

    async def cancel(self) -> None:
        """Cancel everything and wait until nothing runs."""
        self._open = False
        self._stop_reader()
        self._calls.clear()
        running = [task for task in self._running if not task.done()]
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)

    async def await_outcome(self, fingerprint: str, *, task: str, emit: Emit) -> Outcome | None:
        """Hand a call with this fingerprint over to `task`, each call only once, and wait for its outcome."""
        calls = self._calls.get(fingerprint)
        if not calls:
            return None
        call = calls.popleft()

        def forward_event(event: TaskStarted | TaskRetrying) -> None:
            emit(event.model_copy(update={"task": task}))

        for event in call.pending_events:
            forward_event(event)
        call.forward_event = forward_event
        await asyncio.wait((call.running,))
        return call.outcome

    def _stop_reader(self) -> None:
        if self._text.reader is not None:
            self._text.reader.cancel()

    def _filter_calls(self, fingerprint: str, predicate: Callable[[_EarlyCall], bool]) -> None:
        self._calls[fingerprint] = deque(filter(predicate, self._calls[fingerprint]))

    async def _read_tasks(self, text: _PlanText) -> None:
        while (document := await text.incoming_tasks.get()) is not None:
            plan = parse_plan({"tasks": [document]})
            if not isinstance(plan, Plan) or len(text.tasks) >= self._limits.max_tasks:
                continue
            [task] = plan.tasks
            if task.id in text.tasks:
                continue
            checked = await check_task(task, text.tasks, self.preflights, limits=self._limits, findings=text.findings)
            if checked is not None:
                text.tasks[task.id] = checked
                self._start_task(text, checked)

    def _start_task(self, text: _PlanText, task: Task) -> None:
        spec = self.preflights.toolbox.specs[task.tool]
        needs = list_dependencies(task)
        is_ungated_read = spec.policy.read_only and not needs_approval(task, spec, self._limits)
        if not is_ungated_read or spec.policy.dispatched_only or not text.started.issuperset(needs):
            return
        text.started.add(task.id)
        for need in needs:
            text.dependents[need].append(task.id)
        self._run_ready_tasks(text, task.id)

    def _run_ready_tasks(self, text: _PlanText, first: str) -> None:
        """Run `first` if its needs are done; if its call is done already, run its dependents likewise."""
        ready = deque((first,))
        while ready and self._open and text is self._text:
            name = ready.popleft()
            if not all(isinstance(text.outcomes.get(need), Done) for need in list_dependencies(text.tasks[name])):
                continue
            call = self._find_or_start_call(text, text.tasks[name])
            if call is None:
                continue
            if call.running.done():
                ready.extend(self._record_outcome(text, name, call))
            else:
                call.running.add_done_callback(partial(self._handle_call_done, text, name, call))

    def _handle_call_done(self, text: _PlanText, name: str, call: _EarlyCall, _ended: "asyncio.Task[Outcome]") -> None:
        for waiting in self._record_outcome(text, name, call):
            self._run_ready_tasks(text, waiting)

    def _record_outcome(self, text: _PlanText, name: str, call: _EarlyCall) -> list[str]:
        """Record the outcome of a task, and return the tasks that wait for it."""
        if call.outcome is None:
            return []
        text.outcomes[name] = call.outcome
        return text.dependents.pop(name, [])

    def _find_or_start_call(self, text: _PlanText, task: Task) -> _EarlyCall | None:
        """Return the call that `task` makes, begun for an earlier text or now; None if it cannot be begun."""
        spec, needs = self.preflights.toolbox.specs[task.tool], list_dependencies(task)
        outcomes = {need: text.outcomes[need] for need in needs}
        prepared = prepare(task, spec, needs=needs, outcomes=outcomes, revision=self.revision)
        if not isinstance(prepared, PreparedTask):
            return None
        for call in self._calls[prepared.fingerprint]:
            if not call.is_wanted:
                call.is_wanted = True
                return call
        if self._until is not None and self._clock() >= self._until:
            return None
        job = Job(
            task=task,
            spec=spec,
            needs=needs,
            outcomes=outcomes,
            thread=self._thread,
            revision=self.revision,
            gated=False,
            urgency=(task.priority, 0.0),
        )
        call = self._start_call(job)
        self._calls[prepared.fingerprint].append(call)
        return call

    def _start_call(self, job: Job) -> _EarlyCall:
        def handle_event(event: BaseModel) -> None:
            if not isinstance(event, TaskStarted | TaskRetrying):
                return
            if call.forward_event is not None:
                call.forward_event(event)
                return
            call.pending_events.append(event)
            if not call.is_begun and self._open:
                self._emit(Thinking(role="planner", text=f"Began {job.task.id!r} while the plan is being written."))
            call.is_begun = True

        running = asyncio.create_task(self._executor.run(job, slots=self.slots, emit=handle_event))
        call = _EarlyCall(running)
        self._running.add(running)
        running.add_done_callback(self._running.discard)
        return call
