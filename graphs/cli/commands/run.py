"""The commands `run` and `resume`."""

import asyncio
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.types import Command, StateSnapshot

from agent.errors import AnswerError, PlanwaveError, UsageError
from agent.events import parse_event
from graphs.cli.commands.config_trust import apply_secrets, read_trusted_configuration
from graphs.cli.commands.exit import report_end, report_failure, report_stop
from graphs.cli.commands.given_answers import GivenAnswers, build_resume_values
from graphs.cli.commands.models import prepare_model
from graphs.cli.commands.run_report import RunReporter
from graphs.cli.commands.tools import make_tools
from graphs.cli.plan_commands.plan_file import PlanFile, parse_inputs, read_plan
from graphs.cli.terminal.approval_prompts import Decisions, approve_all, prompt_approvals
from graphs.cli.terminal.command_context import CommandContext
from graphs.cli.terminal.escalation_prompts import parse_escalation, prompt_escalation
from graphs.cli.terminal.live_view import RunDisplay, create_display
from graphs.cli.terminal.report import format_command, get_outcomes, load_full_results
from graphs.cli.terminal.run_options import OPTIONS_METADATA_KEY, RunOptions, load_run_options
from graphs.cli.terminal.run_view import RunTracker
from graphs.cli.terminal.signals import SignalInterrupt, Stopper
from graphs.compiled_graph import PlanwaveGraph
from graphs.nested_runs import NestedRun, load_nested_runs
from graphs.persistence import Persistence
from graphs.plan_execute import build_graph
from graphs.state import parse_stored_plan
from graphs.thread_status import (
    build_thread_snapshot,
    can_resume_without_answer,
    get_status,
    is_unfinished,
    resume_ended_run,
)
from graphs.workers.client import is_submitted


@dataclass(frozen=True, slots=True)
class RunSession:
    """One thread, run until it ends, waits, or is stopped."""

    graph: PlanwaveGraph
    config: RunnableConfig
    context: CommandContext
    display: RunDisplay
    stopper: Stopper
    reporter: RunReporter

    async def run_until_blocked(
        self,
        given: Any,  # noqa: ANN401 - LangGraph's input: a state, a command, None
        *,
        waiting: StateSnapshot | None = None,
    ) -> StateSnapshot:
        """Run from `given` until the end, or until the thread waits for an answer that nobody here gives.

        `waiting` is the state of a thread that needs an answer before it can run; nothing runs if nobody gives one.
        Raises `SignalInterrupt` on a signal, and what the graph raises.
        """
        state = waiting
        while True:
            if state is not None:
                decisions = self.collect_answers(state)
                if decisions is None:
                    return state
                given = Command(resume=decisions)
            try:
                await self.stopper.run(self._stream_events(given))
            except AnswerError as error:
                if not self.context.screen.interactive or self.context.auto_approve:
                    raise
                self.display.pause()
                self.context.screen.say(str(error), style="bold red")
            except SignalInterrupt:
                self.display.tracker.mark_interrupted()
                raise
            finally:
                self.display.pause()
            state = await self.graph.aget_state(self.config)
            # A prompt blocks this loop, so that a page that is watched could not be made meanwhile.
            await self.reporter.refresh()

    def collect_answers(self, state: StateSnapshot) -> Mapping[str, Any] | None:
        """Return what to resume with, by interrupt id; None if nothing waits or nobody answers."""
        answers: dict[str, Any] = {}
        for waiting in state.interrupts:
            decisions = self._collect_decisions(waiting.value)
            if decisions is None:
                return None
            answers[waiting.id] = {"decisions": decisions}
        return answers or None

    def _collect_decisions(self, payload: Mapping[str, Any]) -> Decisions | None:
        escalation = parse_escalation(payload)
        if escalation is not None and self.context.auto_approve:
            # Answered automatically it would come again without end.
            self.context.screen.say(f"--yes does not answer this: {escalation.reason}", style="yellow")
            return None
        if self.context.auto_approve:
            # An approval that was refused once would be refused again, without end.
            return None if payload.get("error") else approve_all(payload, screen=self.context.screen)
        if not self.context.screen.interactive:
            return None
        with self.stopper.translate_interrupt():
            if escalation is not None:
                return prompt_escalation(payload, escalation, screen=self.context.screen)
            return prompt_approvals(payload, screen=self.context.screen)

    async def _stream_events(self, given: Any) -> None:  # noqa: ANN401 - as in `run_until_blocked`
        stream = self.graph.astream(given, self.config, stream_mode=["custom", "updates"], version="v2")
        async for part in stream:
            if part["type"] == "custom":
                event = parse_event(part["data"])
                self.reporter.note_event(event)
                self.display.show_event(event)


_MAX_ID_WORDS = 4
_MAX_STEM_LENGTH = 32


def make_thread_id(goal: str) -> str:
    """Return a new thread id: the first words of the goal, and four random characters."""
    words = re.findall(r"[a-z0-9]+", goal.lower())[:_MAX_ID_WORDS]
    stem = "-".join(words)[:_MAX_STEM_LENGTH].strip("-") or "run"
    return f"{stem}-{secrets.token_hex(2)}"


def run_goal(
    goal: str | None,
    *,
    plan_file: str | None,
    inputs: Sequence[str],
    thread: str | None,
    options: RunOptions,
    context: CommandContext,
) -> int:
    """Run a goal and return the exit status; `inputs` are values of the plan's inputs as `NAME=VALUE`.

    Raises `PlanwaveError` if the run cannot start, and `SignalInterrupt` if it was stopped before it started.
    """
    given = read_plan(plan_file) if plan_file is not None else None
    return run_plan(goal, given=given, inputs=inputs, thread=thread, options=options, context=context)


def run_plan(
    goal: str | None,
    *,
    given: PlanFile | None,
    inputs: Sequence[str],
    thread: str | None,
    options: RunOptions,
    context: CommandContext,
) -> int:
    """Run a goal with a plan that was read already, as `run_goal` does."""
    text = (goal if goal is not None else (given.goal if given else None) or "").strip()
    if not text and given is None:
        raise UsageError('The goal is empty; say what to find out or do: planwave run "..."')
    if inputs and given is None:
        raise UsageError("--input is for a plan that declares inputs; give it with --plan.")
    values = parse_inputs(inputs, given.document) if given is not None else {}
    name = thread or make_thread_id(text)
    # A wrong setting is reported before anything else is done.
    options.build_settings()
    stopper = context.create_stopper()
    with stopper.catch_signals():
        graph_input = {"goal": text, "plan": given.document if given else None, "inputs": values}
        return asyncio.run(_run_goal(graph_input, name, options=options, context=context, stopper=stopper))


def resume_thread(thread: str, *, answers: GivenAnswers, options: RunOptions, context: CommandContext) -> int:
    """Continue a thread and return the exit status; options that are not given are those it was last run with.

    If `answers` are given, nobody is asked about the rest: it is approved by --yes, or waits. Raises as `run_goal`,
    and `UsageError` if there is no such thread or if the answers do not fit what waits.
    """
    if answers:
        context = replace(context, screen=replace(context.screen, interactive=False))
    stopper = context.create_stopper()
    with stopper.catch_signals():
        return asyncio.run(_resume(thread, answers=answers, options=options, context=context, stopper=stopper))


async def load_thread_state(thread: str, *, stored: Persistence) -> StateSnapshot:
    """Return the state of a thread, without its tools.

    Raises `UsageError` if there is no such thread, or if it is the thread of another graph.
    """
    state, nested = await load_thread(thread, stored=stored)
    if state is None:
        places = ", ".join(sorted({run.place or "another graph" for run in nested}))
        raise UsageError(
            f"The thread {thread!r} is another graph's, which called Planwave at {places}; look at its runs with "
            "`planwave show`, and resume that graph."
        )
    return state


async def load_thread(
    thread: str, *, stored: Persistence, always_nested: bool = False
) -> tuple[StateSnapshot | None, list[NestedRun]]:
    """Return the state of a thread, without its tools, and the runs on it that graphs around them called.

    The state is None if the thread is the thread of another graph. The runs are loaded only then, or on request.
    Raises `UsageError` if there is no such thread.
    """
    graph = build_graph(tools=[], persistence=stored)
    state = await graph.aget_state({"configurable": {"thread_id": thread}})
    if state.created_at is None and not await stored.has_thread(thread):
        raise UsageError(f"There is no thread {thread!r} in {stored.url}; `planwave threads` lists the existing ones.")
    # Until its first step is stored, a run has no id.
    is_own = state.created_at is not None and bool(state.values.get("run_id") or state.next)
    if is_own and not always_nested:
        return state, []
    nested = await load_nested_runs(thread, state, stored=stored, graph=graph)
    return (state if is_own or not nested else None), nested


def build_tracker(state: StateSnapshot) -> RunTracker:
    """Return a tracker that shows the tasks of a stored thread."""
    tracker = RunTracker()
    if build_thread_snapshot(state.values).compiled is not None:
        tracker.restore(
            parse_stored_plan(state.values["plan"]), get_outcomes(state), revision=state.values.get("revision") or 1
        )
    for waiting in state.interrupts:
        tracker.mark_awaiting_approval(waiting.value)
    return tracker


def build_thread_config(thread: str, options: RunOptions) -> RunnableConfig:
    """Return the config of a thread; its metadata stores the options, for `resume`."""
    stored_options = options.to_persistent().model_dump_json(exclude_none=True)
    return {"configurable": {"thread_id": thread}, "metadata": {OPTIONS_METADATA_KEY: stored_options}}


async def _run_goal(
    graph_input: dict[str, Any], thread: str, *, options: RunOptions, context: CommandContext, stopper: Stopper
) -> int:
    if options.to_persistent().data_withheld is not None:
        context.screen.say("The password in --data is not stored; give --data again to resume this thread.")
    async with context.open_database() as stored:
        graph = _build_graph(options, stored=stored, context=context, plan=graph_input["plan"])
        config = build_thread_config(thread, options)
        before = await graph.aget_state(config)
        if is_unfinished(before):
            raise UsageError(
                f"The thread {thread!r} is not finished ({get_status(before)}); "
                f"continue it with `{format_command('resume', thread, db=context.db)}` or choose another --thread."
            )
        if graph_input["plan"] is None and await graph.find_program(graph_input["goal"]) is None:
            # Last, because it may download a gigabyte.
            with stopper.translate_interrupt():
                prepare_model(options.model, screen=context.screen)
        return await _run_session(
            graph,
            config,
            graph_input,
            stored=stored,
            tracker=RunTracker(),
            options=options,
            context=context,
            stopper=stopper,
        )


async def _resume(
    thread: str, *, answers: GivenAnswers, options: RunOptions, context: CommandContext, stopper: Stopper
) -> int:
    async with context.open_database() as stored:
        if await is_submitted(thread, stored=stored):
            from graphs.cli.commands.workers import watch_submitted  # noqa: PLC0415 - it needs this module

            return await watch_submitted(
                thread, stored, answers=answers, options=options, context=context, stopper=stopper
            )
        state = await load_thread_state(thread, stored=stored)
        options = options.merge_defaults(load_run_options(state.metadata))
        named_only = options.build_settings().require_named_answers
        given: Command[Any] | None = (
            Command(resume=build_resume_values(answers, state.interrupts, thread=thread, named_only=named_only))
            if answers
            else None
        )
        limits = options.build_settings().build_limits(can_replan=False, attended=True)
        if not is_unfinished(state) and resume_ended_run(state.values, limits) is None:
            context.screen.say(f"The thread {thread!r} has already ended; nothing is run again.")
            graph = build_graph(tools=[], persistence=stored)
            await RunReporter(graph, build_thread_config(thread, options), stored=stored, context=context).write()
            state = await load_full_results(state, stored.artifacts, thread=thread)
            return report_end(state, thread=thread, options=options, context=context)
        options.require_data(thread)
        graph = _build_graph(options, stored=stored, context=context, plan=state.values.get("plan"))
        config, tracker = build_thread_config(thread, options), build_tracker(state)
        if not state.values.get("plan"):
            with stopper.translate_interrupt():
                prepare_model(options.model, screen=context.screen)
        needs_answer = given is None and state.interrupts and not can_resume_without_answer(state.values, limits)
        waiting = state if needs_answer else None
        return await _run_session(
            graph,
            config,
            given,
            waiting=waiting,
            stored=stored,
            tracker=tracker,
            options=options,
            context=context,
            stopper=stopper,
        )


async def _run_session(
    graph: PlanwaveGraph,
    config: RunnableConfig,
    given: Any,  # noqa: ANN401 - LangGraph's input: a state, a command, None
    *,
    waiting: StateSnapshot | None = None,
    stored: Persistence,
    tracker: RunTracker,
    options: RunOptions,
    context: CommandContext,
    stopper: Stopper,
) -> int:
    """Run a thread, report its end or why it stopped, and return the exit status."""
    thread = str(config["configurable"]["thread_id"])
    reporter = RunReporter(graph, config, stored=stored, context=context)
    session = RunSession(graph, config, context, create_display(context.screen, tracker), stopper, reporter)
    try:
        async with reporter:
            state = await session.run_until_blocked(given, waiting=waiting)
    except SignalInterrupt as stop:
        state = await load_full_results(await graph.aget_state(config), graph.artifacts, thread=thread)
        report_stop(state, thread=thread, context=context)
        return stop.status
    except PlanwaveError as error:
        return report_failure(error, thread=thread, context=context)
    run_tracker = tracker if state is not waiting else None
    state = await load_full_results(state, graph.artifacts, thread=thread)
    return report_end(state, thread=thread, options=options, context=context, tracker=run_tracker)


def _build_graph(
    options: RunOptions, *, stored: Persistence, context: CommandContext, plan: Mapping[str, Any] | None
) -> PlanwaveGraph:
    settings = options.build_settings()
    if context.screen.interactive and not context.auto_approve and "ask_if_unsure" not in settings.model_fields_set:
        settings = settings.model_copy(update={"ask_if_unsure": True})
    configured = read_trusted_configuration(options, context=context)
    settings = apply_secrets(settings, configured)
    tools = make_tools(options, settings, configured, screen=context.screen, plan=plan)
    return build_graph(tools=tools, model=options.model, settings=settings, persistence=stored)
