"""The commands `run` and `resume`."""

import asyncio
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, StateSnapshot

from agent.errors import AnswerError, PlanwaveError, UsageError
from agent.events import event_from
from graphs.cli.commands.exit import tell_end, tell_failure, tell_stop
from graphs.cli.commands.models import prepare_model
from graphs.cli.commands.plan_file import read_plan
from graphs.cli.commands.tools import make_tools
from graphs.cli.terminal.approval_prompts import Decisions, approve_all, ask
from graphs.cli.terminal.command_context import Manner
from graphs.cli.terminal.escalation_prompts import ask_way_on, impasse_of
from graphs.cli.terminal.live_view import Watch, watch
from graphs.cli.terminal.report import in_full, outcomes_of, status_of
from graphs.cli.terminal.run_options import REMEMBERED, Wanted, remembered_in
from graphs.cli.terminal.run_view import Track
from graphs.cli.terminal.screen import Screen
from graphs.cli.terminal.signals import Interrupted, Stopper
from graphs.compiled_graph import PlanwaveGraph
from graphs.persistence import Persistence, open_persistence
from graphs.plan_execute import build_graph
from graphs.state import plan_in
from graphs.thread_status import allowed_since, reopened, thread_snapshot

Graph = CompiledStateGraph[Any, Any, Any, Any]


@dataclass(frozen=True, slots=True)
class Session:
    """One thread driven until it ends, waits, or is stopped."""

    graph: Graph
    config: RunnableConfig
    screen: Screen
    watch: Watch
    stopper: Stopper
    #: Approve every call unasked.
    yes: bool

    async def drive(self, given: Any) -> StateSnapshot:  # noqa: ANN401 - LangGraph's input: a state, a command, None
        """Run from `given` until the end, or until it waits for an answer that nobody here gives.

        Raises `Interrupted` on a signal, and what the graph raises.
        """
        while True:
            try:
                await self.stopper.run(self._stream(given))
            except AnswerError as error:
                if not self.screen.interactive or self.yes:
                    raise
                self.watch.rest()
                self.screen.say(str(error), style="bold red")
            except Interrupted:
                self.watch.track.stop()
                raise
            finally:
                self.watch.rest()
            state = await self.graph.aget_state(self.config)
            decisions = self.answers(state)
            if decisions is None:
                return state
            given = Command(resume=decisions)

    def answers(self, state: StateSnapshot) -> Mapping[str, Any] | None:
        """Return what to resume with; None where nothing waits, or nobody answers."""
        answers: dict[str, Any] = {}
        for waiting in state.interrupts:
            decisions = self._decisions(waiting.value)
            if decisions is None:
                return None
            answers[waiting.id] = {"decisions": decisions}
        return answers or None

    def _decisions(self, payload: Mapping[str, Any]) -> Decisions | None:
        impasse = impasse_of(payload)
        if impasse is not None and self.yes:
            # It would be raised again and again.
            self.screen.say(f"--yes does not answer this: {impasse.reason}", style="yellow")
            return None
        if self.yes:
            # An approval that was turned down once would be again, without end.
            return None if payload.get("error") else approve_all(payload, screen=self.screen)
        if not self.screen.interactive:
            return None
        with self.stopper.question():
            if impasse is not None:
                return ask_way_on(payload, impasse, screen=self.screen)
            return ask(payload, screen=self.screen)

    async def _stream(self, given: Any) -> None:  # noqa: ANN401 - as in `drive`
        stream = self.graph.astream(given, self.config, stream_mode=["custom", "updates"], version="v2")
        async for part in stream:
            if part["type"] == "custom":
                self.watch.see(event_from(part["data"]))


_WORDS = 4
_LONGEST = 32


def thread_name(goal: str) -> str:
    """Return a new thread id: the first words of the goal, and four random characters."""
    words = re.findall(r"[a-z0-9]+", goal.lower())[:_WORDS]
    stem = "-".join(words)[:_LONGEST].strip("-") or "run"
    return f"{stem}-{secrets.token_hex(2)}"


def start(goal: str | None, *, plan_file: str | None, thread: str | None, wanted: Wanted, manner: Manner) -> int:
    """Run a goal and return the exit status.

    Raises errors of our tree for what keeps it from beginning, and `Interrupted` where it was stopped before that.
    """
    given = read_plan(plan_file) if plan_file is not None else None
    wish = (goal if goal is not None else (given.goal if given else None) or "").strip()
    if not wish and given is None:
        raise UsageError('The goal is empty; say what is to be found out or done: planwave run "..."')
    name = thread or thread_name(wish)
    wanted.settings()
    stopper = manner.stopper()
    with stopper.catching():
        begin = {"goal": wish, "plan": given.document if given else None}
        return asyncio.run(_start(begin, name, wanted=wanted, manner=manner, stopper=stopper))


def resume(thread: str, *, wanted: Wanted, manner: Manner) -> int:
    """Go on with a thread, with the options that it was started with unless others are given; return the exit status.

    Raises as `start`, and `UsageError` for a thread that is not there.
    """
    stopper = manner.stopper()
    with stopper.catching():
        return asyncio.run(_resume(thread, wanted=wanted, manner=manner, stopper=stopper))


async def thread_state(thread: str, *, stored: Persistence) -> StateSnapshot:
    """Return the state of a thread; no tool is needed for it. Raises `UsageError` where there is none."""
    state = await build_graph(tools=[], persistence=stored).aget_state({"configurable": {"thread_id": thread}})
    if state.created_at is None:
        raise UsageError(f"There is no thread {thread!r} in {stored.url}; `planwave threads` lists those that are.")
    return state


def track_of(state: StateSnapshot) -> Track:
    """Return what is known of a thread's tasks."""
    track = Track()
    if thread_snapshot(state.values).compiled is not None:
        track.restore(plan_in(state.values["plan"]), outcomes_of(state), revision=state.values.get("revision") or 1)
    for waiting in state.interrupts:
        track.ask(waiting.value)
    return track


def thread_config(thread: str, wanted: Wanted) -> RunnableConfig:
    """Return the config of a thread, which remembers what is wanted of it."""
    options = wanted.lasting().model_dump_json(exclude_none=True)
    return {"configurable": {"thread_id": thread}, "metadata": {REMEMBERED: options}}


async def _start(begin: dict[str, Any], thread: str, *, wanted: Wanted, manner: Manner, stopper: Stopper) -> int:
    if wanted.lasting().data_withheld is not None:
        manner.screen.say("The password in --data is not stored; to resume this thread, --data is to be given again.")
    async with open_persistence(manner.database(wanted.settings())) as stored:
        graph = _graph(wanted, stored=stored, manner=manner)
        config = thread_config(thread, wanted)
        before = await graph.aget_state(config)
        if before.next:
            raise UsageError(
                f"The thread {thread!r} is not finished ({status_of(before)}); go on with `planwave resume {thread}` "
                "or choose another --thread."
            )
        if begin["plan"] is None:
            # Last of all, because it may fetch a gigabyte.
            with stopper.question():
                prepare_model(wanted.model, screen=manner.screen)
        return await _driven(graph, config, begin, track=Track(), wanted=wanted, manner=manner, stopper=stopper)


async def _resume(thread: str, *, wanted: Wanted, manner: Manner, stopper: Stopper) -> int:
    async with open_persistence(manner.database(wanted.settings())) as stored:
        state = await thread_state(thread, stored=stored)
        wanted = wanted.over(remembered_in(state.metadata))
        limits = wanted.settings().limits(can_replan=False, attended=True)
        if not state.next and reopened(state.values, limits) is None:
            manner.screen.say(f"The thread {thread!r} has ended before; nothing is run again.")
            state = await in_full(state, stored.artifacts, thread=thread)
            return tell_end(state, thread=thread, wanted=wanted, manner=manner)
        wanted.require_data(thread)
        graph, config, track = (
            _graph(wanted, stored=stored, manner=manner),
            thread_config(thread, wanted),
            track_of(state),
        )
        if not state.values.get("plan"):
            with stopper.question():
                prepare_model(wanted.model, screen=manner.screen)
        given: Command[Any] | None = None
        if state.interrupts and not allowed_since(state.values, limits):
            session = _session(graph, config, track=track, manner=manner, stopper=stopper)
            try:
                decisions = session.answers(state)
            except Interrupted as stop:
                tell_stop(await in_full(state, stored.artifacts, thread=thread), thread=thread, manner=manner)
                return stop.status
            if decisions is None:
                state = await in_full(state, stored.artifacts, thread=thread)
                return tell_end(state, thread=thread, wanted=wanted, manner=manner)
            given = Command(resume=decisions)
        return await _driven(graph, config, given, track=track, wanted=wanted, manner=manner, stopper=stopper)


async def _driven(
    graph: PlanwaveGraph,
    config: RunnableConfig,
    given: Any,  # noqa: ANN401 - LangGraph's input: a state, a command, None
    *,
    track: Track,
    wanted: Wanted,
    manner: Manner,
    stopper: Stopper,
) -> int:
    thread = str(config["configurable"]["thread_id"])
    try:
        state = await _session(graph, config, track=track, manner=manner, stopper=stopper).drive(given)
    except Interrupted as stop:
        state = await in_full(await graph.aget_state(config), graph.artifacts, thread=thread)
        tell_stop(state, thread=thread, manner=manner)
        return stop.status
    except PlanwaveError as error:
        return tell_failure(error, thread=thread, manner=manner)
    state = await in_full(state, graph.artifacts, thread=thread)
    return tell_end(state, thread=thread, wanted=wanted, manner=manner, track=track)


def _session(graph: Graph, config: RunnableConfig, *, track: Track, manner: Manner, stopper: Stopper) -> Session:
    shown = watch(manner.screen, track)
    return Session(graph, config, screen=manner.screen, watch=shown, stopper=stopper, yes=manner.yes)


def _graph(wanted: Wanted, *, stored: Persistence, manner: Manner) -> PlanwaveGraph:
    settings = wanted.settings()
    if manner.screen.interactive and not manner.yes and "ask_if_unsure" not in settings.model_fields_set:
        settings = settings.model_copy(update={"ask_if_unsure": True})
    tools = make_tools(wanted, settings, screen=manner.screen)
    return build_graph(tools=tools, model=wanted.model, settings=settings, persistence=stored)
