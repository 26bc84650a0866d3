"""The command `report`."""

import asyncio
import re
import sys
import webbrowser
from pathlib import Path

from agent.errors import UsageError
from agent.report.report_page import render_report
from graphs.cli.commands.run import load_thread_state
from graphs.cli.commands.run_report import save_report
from graphs.cli.terminal.command_context import CommandContext
from graphs.report.loading import load_report
from graphs.thread_status import load_activity

_STANDARD_OUTPUT = Path("-")


def write_thread_report(thread: str, *, to: Path | None, opened: bool, context: CommandContext) -> int:
    """Write the report of a thread, open it if that is asked for, and return 0.

    Raises `UsageError` if there is no such thread, or if the file cannot be written.
    """
    if opened and to == _STANDARD_OUTPUT:
        raise UsageError("--open needs a file; leave out --to, or name one.")
    page = asyncio.run(_render_thread(thread, context=context))
    if to == _STANDARD_OUTPUT:
        sys.stdout.flush()
        sys.stdout.buffer.write(page.encode())
        sys.stdout.buffer.flush()
        return 0
    file = to or Path(f"{re.sub(r'[^A-Za-z0-9._-]+', '-', thread).strip('-.') or 'thread'}.html")
    save_report(page, file, screen=context.screen)
    if opened and not webbrowser.open(file.expanduser().absolute().as_uri()):
        context.screen.say("No browser could be opened here.", style="yellow")
    return 0


async def _render_thread(thread: str, *, context: CommandContext) -> str:
    async with context.open_database() as stored:
        state = await load_thread_state(thread, stored=stored)
        activity = await load_activity(state, stored, thread=thread)
        report = await load_report(
            state, thread=thread, ledger=stored.ledger, artifacts=stored.artifacts, activity=activity
        )
    return render_report(report)
