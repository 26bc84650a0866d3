"""The report of a run while it runs, for `--watch`, and when it has ended or waits, for `--report`."""

import asyncio
import webbrowser
from pathlib import Path
from typing import Self

from langchain_core.runnables import RunnableConfig

from agent.errors import UsageError
from agent.events import RunEvent, TaskStarted
from agent.report.report_page import PageKind, render_report
from graphs.cli.terminal.command_context import CommandContext
from graphs.cli.terminal.screen import Screen
from graphs.cli.terminal.units import format_size
from graphs.compiled_graph import PlanwaveGraph
from graphs.persistence import Persistence
from graphs.report.live_server import LiveServer
from graphs.report.loading import load_report
from graphs.thread_status import load_activity


class RunReporter:
    """Shows and writes the report of one run, as far as the command asks for it; a context manager around the run."""

    def __init__(
        self, graph: PlanwaveGraph, config: RunnableConfig, *, stored: Persistence, context: CommandContext
    ) -> None:
        self._graph = graph
        self._config = config
        self._stored = stored
        self._context = context
        #: When the first attempt of each task began, as this process has seen it.
        self._begun: dict[str, str] = {}
        self._server: LiveServer | None = None

    async def __aenter__(self) -> Self:
        if self._context.watch:
            self._server = await LiveServer(self._render_live).__aenter__()
            self._context.screen.say(f"watch it at {self._server.url}")
            if self._context.screen.interactive:
                await asyncio.to_thread(webbrowser.open, self._server.url)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._server is not None:
            await self.refresh()
            await self._server.__aexit__()
        await self.write()

    def note_event(self, event: RunEvent) -> None:
        """Note when a task began, which no state has until it has ended."""
        if isinstance(event, TaskStarted):
            self._begun.setdefault(event.task, event.at)

    async def refresh(self) -> None:
        """Make the page that is watched again, if one is."""
        if self._server is not None:
            await self._server.refresh()

    async def write(self) -> None:
        """Write the report, if the command asks for it. Raises `UsageError` if the file cannot be written."""
        if self._context.report is not None:
            save_report(await self._render("file"), self._context.report, screen=self._context.screen)

    async def _render_live(self) -> str:
        return await self._render("live")

    async def _render(self, kind: PageKind) -> str:
        thread = str(self._config["configurable"]["thread_id"])
        state = await self._graph.aget_state(self._config)
        activity = await load_activity(state, self._stored, thread=thread)
        report = await load_report(
            state,
            thread=thread,
            ledger=self._stored.ledger,
            artifacts=self._stored.artifacts,
            activity=activity,
            begun=self._begun,
        )
        return await asyncio.to_thread(render_report, report, kind=kind)


def save_report(page: str, file: Path, *, screen: Screen) -> None:
    """Write a page and say where, and how large it is. Raises `UsageError` if it cannot be written."""
    path, content = file.expanduser(), page.encode()
    try:
        path.write_bytes(content)
    except OSError as error:
        raise UsageError(
            f"The report cannot be written to {str(path)!r}: {error.strerror}; name another file."
        ) from error
    screen.say(f"wrote {path} ({format_size(len(content))})", style="green")
