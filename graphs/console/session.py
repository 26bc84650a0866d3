"""A run from the command line: streamed, asked about, stopped, and told as an exit status."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from langchain_core.runnables import RunnableConfig
from langgraph.graph.state import CompiledStateGraph
from langgraph.types import Command, StateSnapshot

from agent.errors import AnswerError
from agent.events import event_from
from graphs.console.approvals import Decisions, approve_all, ask
from graphs.console.impasses import ask_way_on, impasse_of
from graphs.console.screen import Screen
from graphs.console.stopping import Interrupted, Stopper
from graphs.console.watch import Watch

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
