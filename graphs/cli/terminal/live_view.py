"""The display of a run while it runs: redrawn in place on a terminal, line by line elsewhere."""

from typing import Protocol

from rich.console import Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from agent.events import (
    Event,
    ItemProgress,
    PlanCompiled,
    ReplanStarted,
    TaskFinished,
    TaskRetrying,
    TaskStarted,
    Thinking,
    ThinkingProgress,
)
from graphs.cli.terminal.plan_table import STATUS_STYLES, build_plan_table, print_plan_table, summarize_statuses
from graphs.cli.terminal.run_view import RunTracker, TaskRow, format_retry
from graphs.cli.terminal.screen import Screen, as_text, escape_controls
from graphs.cli.terminal.units import format_duration

#: Lines of a terminal that the table leaves to the prompt, its own header and the status line.
_RESERVED = 8
#: A `for_each` over fewer items needs no progress lines.
_MANY_ITEMS = 20


class RunDisplay(Protocol):
    """Shows a run on a screen."""

    tracker: RunTracker

    def show_event(self, event: Event) -> None:
        """Show one event."""

    def pause(self) -> None:
        """Stop redrawing and leave what is shown, because something else will be written."""


def create_display(screen: Screen, tracker: RunTracker) -> RunDisplay:
    """Return the display that fits the screen."""
    return LiveDisplay(screen, tracker) if screen.live else LineDisplay(screen, tracker)


class LineDisplay:
    """Writes one line for each event, for files and pipes."""

    def __init__(self, screen: Screen, tracker: RunTracker) -> None:
        self._screen = screen
        self.tracker = tracker
        self._tenths: dict[str, int] = {}

    def show_event(self, event: Event) -> None:
        """Write the lines of an event."""
        self.tracker.apply_event(event)
        for line in self._format_event(event):
            self._screen.say(line)

    def pause(self) -> None:
        """Do nothing: lines are not redrawn."""

    def _format_event(self, event: Event) -> list[str]:
        match event:
            case Thinking(role=role, text=text):
                return [f"{role}: {as_text(text, width=200)}"]
            case ThinkingProgress(role=role):
                work = event.describe_work() or "still working"
                return [f"{role}: {work}, {format_duration(event.elapsed_s)} so far"]
            case PlanCompiled():
                rows = [_format_plan_row(row) for row in self._sort_by_wave()]
                return [*_format_revision(event), *rows, *_format_warnings(event)]
            case TaskStarted(task=task, tool=tool, attempt=1):
                return [f"started {task} ({tool})"]
            case ItemProgress():
                return self._format_items(event)
            case TaskRetrying(task=task):
                return [f"retrying {task}: {as_text(format_retry(event), width=300)}"]
            case TaskFinished():
                return [_format_finish(event)]
            case ReplanStarted():
                return [_format_replan(event)]
            case _:
                return []

    def _format_items(self, event: ItemProgress) -> list[str]:
        """Return a line at each tenth of the items, if they are many."""
        tenth = event.ended * 10 // event.total
        if event.total < _MANY_ITEMS or tenth == self._tenths.get(event.task, 0):
            return []
        self._tenths[event.task] = tenth
        failed = f", {event.failed:,} failed" if event.failed else ""
        return [f"items of {event.task}: {event.ended:,} of {event.total:,}{failed}"]

    def _sort_by_wave(self) -> list[TaskRow]:
        return sorted(self.tracker.rows.values(), key=lambda row: row.wave)


class LiveDisplay:
    """Redraws the plan in place while tasks run."""

    def __init__(self, screen: Screen, tracker: RunTracker) -> None:
        self._screen = screen
        self.tracker = tracker
        ascii_only = screen.console.options.ascii_only
        self._spinner = Spinner("line" if ascii_only else "dots", style="cyan")
        self._live: Live | None = None
        self._printed_statuses: tuple[object, ...] = ()

    def show_event(self, event: Event) -> None:
        """Update the table; what it cannot show is written above it."""
        self.tracker.apply_event(event)
        match event:
            case PlanCompiled() if event.difference is not None:
                self._print_lines([*_format_revision(event), *_format_warnings(event)])
            case PlanCompiled() if event.warnings:
                self._print_lines(_format_warnings(event))
            case ReplanStarted():
                self._print_lines([_format_replan(event)])
            case _:
                pass
        self._start()

    def pause(self) -> None:
        """Replace the redrawn part by the whole table."""
        if self._live is not None:
            self._live.stop()
            self._live = None
            statuses = tuple((task, row.status) for task, row in self.tracker.rows.items())
            if statuses != self._printed_statuses:
                self._printed_statuses = statuses
                print_plan_table(self.tracker, screen=self._screen)

    def _start(self) -> None:
        if self._live is None:
            self._live = Live(
                console=self._screen.console, get_renderable=self._render_frame, refresh_per_second=8, transient=True
            )
            self._live.start()

    def _render_frame(self) -> RenderableType:
        size = self._screen.console.size
        parts: list[RenderableType] = []
        if self.tracker.rows:
            parts.append(build_plan_table(self.tracker, width=size.width, rows=max(3, size.height - _RESERVED)))
        self._spinner.update(text=Text(self._format_status(), no_wrap=True, overflow="ellipsis"))
        return Group(*parts, self._spinner)

    def _format_status(self) -> str:
        whole = format_duration(self.tracker.clock() - self.tracker.started_at)
        if self.tracker.thinking:
            so_far = format_duration(self.tracker.clock() - self.tracker.thinking_since)
            how_far = f"; {self.tracker.thinking_progress}" if self.tracker.thinking_progress else ""
            return f"{as_text(self.tracker.thinking, width=160)} ({so_far}; {whole} in total{how_far})"
        return f"{summarize_statuses(self.tracker)} ({whole})" if self.tracker.rows else f"Working ({whole})"

    def _print_lines(self, lines: list[str]) -> None:
        for line in lines:
            self._screen.console.print(Text(escape_controls(line), style="yellow"))


def _format_revision(event: PlanCompiled) -> list[str]:
    count = len(event.plan.get("tasks") or ())  # type: ignore[arg-type]  # a plan's tasks are a list
    head = f"plan, revision {event.revision}: {_pluralize(count, 'task')} in {_pluralize(len(event.waves), 'wave')}"
    return [head, *([f"  {event.difference}"] if event.difference is not None else [])]


def _format_warnings(event: PlanCompiled) -> list[str]:
    return [f"warning: {as_text(sentence, width=600)}" for sentence in event.warnings]


def _format_plan_row(row: TaskRow) -> str:
    after = f" after {', '.join(row.needs)}" if row.needs else ""
    about = f": {as_text(row.task.description, width=200)}" if row.task.description else ""
    return f"  wave {row.wave}  {row.task.id} ({row.task.tool}){after}{about}"


def _format_finish(event: TaskFinished) -> str:
    took = f" in {format_duration(event.duration_s)}" if event.duration_s is not None else ""
    tries = f" after {event.attempts} attempts" if event.attempts > 1 else ""
    why = event.error or event.because or event.missing or " ".join(event.warnings) or event.preview or ""
    word = event.status if event.status in STATUS_STYLES else "ended"
    return f"{word.replace('_', ' ')} {event.task}{took}{tries}{': ' + as_text(why, width=300) if why else ''}"


def _format_replan(event: ReplanStarted) -> str:
    return f"replan {event.replan}, because of {', '.join(event.tasks)}: {as_text(event.reason, width=300)}"


def _pluralize(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
