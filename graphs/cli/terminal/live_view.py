"""A run as it is shown while it runs: redrawn on a terminal, line by line elsewhere."""

from typing import Protocol

from rich.console import Group, RenderableType
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from agent.events import Event, ItemsMade, PlanMade, Replanning, TaskFinished, TaskRetrying, TaskStarted, Thinking
from graphs.cli.terminal.plan_table import STYLES, plan_table, standing
from graphs.cli.terminal.run_view import Row, Track, retry_note
from graphs.cli.terminal.screen import Screen, as_text, visible
from graphs.cli.terminal.units import spell

#: Lines of a terminal that the table leaves to the prompt, its own head and the line of thought.
_RESERVED = 8
#: A `for_each` over fewer items is over before anybody asks how far it is.
_MANY_ITEMS = 20


class Watch(Protocol):
    """Shows a run."""

    track: Track

    def see(self, event: Event) -> None:
        """Show one event."""

    def rest(self) -> None:
        """Leave what is shown standing, because something else is to be written."""


def watch(screen: Screen, track: Track) -> Watch:
    """Return the way of showing that suits the screen."""
    return LiveWatch(screen, track) if screen.live else LineWatch(screen, track)


class LineWatch:
    """Writes one line for each event, for files and pipes."""

    def __init__(self, screen: Screen, track: Track) -> None:
        self._screen = screen
        self.track = track
        self._tenths: dict[str, int] = {}

    def see(self, event: Event) -> None:
        """Write what happened."""
        self.track.see(event)
        for line in self._lines(event):
            self._screen.say(line)

    def rest(self) -> None:
        """Do nothing: a line stands as it is written."""

    def _lines(self, event: Event) -> list[str]:
        match event:
            case Thinking(role=role, text=text):
                return [f"{role}: {as_text(text, width=200)}"]
            case PlanMade():
                return [*_revision_lines(event), *(_plan_line(row) for row in self._by_wave())]
            case TaskStarted(task=task, tool=tool, attempt=1):
                return [f"started {task} ({tool})"]
            case ItemsMade():
                return self._items_lines(event)
            case TaskRetrying(task=task):
                return [f"retrying {task}: {as_text(retry_note(event), width=300)}"]
            case TaskFinished():
                return [_finished_line(event)]
            case Replanning():
                return [_replan_line(event)]
            case _:
                return []

    def _items_lines(self, event: ItemsMade) -> list[str]:
        """Return a line at each tenth of many items."""
        tenth = event.ended * 10 // event.total
        if event.total < _MANY_ITEMS or tenth == self._tenths.get(event.task, 0):
            return []
        self._tenths[event.task] = tenth
        failed = f", {event.failed:,} failed" if event.failed else ""
        return [f"items of {event.task}: {event.ended:,} of {event.total:,}{failed}"]

    def _by_wave(self) -> list[Row]:
        return sorted(self.track.rows.values(), key=lambda row: row.wave)


class LiveWatch:
    """Redraws the plan in place while tasks run."""

    def __init__(self, screen: Screen, track: Track) -> None:
        self._screen = screen
        self.track = track
        ascii_only = screen.console.options.ascii_only
        self._spinner = Spinner("line" if ascii_only else "dots", style="cyan")
        self._live: Live | None = None
        self._left: tuple[object, ...] = ()

    def see(self, event: Event) -> None:
        """Take the event in; what a table cannot show is written above it."""
        self.track.see(event)
        match event:
            case PlanMade() if event.difference is not None:
                self._write(_revision_lines(event))
            case Replanning():
                self._write([_replan_line(event)])
            case _:
                pass
        self._start()

    def rest(self) -> None:
        """Put the whole table in the place of the moving one."""
        if self._live is not None:
            self._live.stop()
            self._live = None
            standing_now = tuple((task, row.status) for task, row in self.track.rows.items())
            if standing_now != self._left:
                self._left = standing_now
                self._screen.console.print(plan_table(self.track, width=self._screen.console.width))

    def _start(self) -> None:
        if self._live is None:
            self._live = Live(
                console=self._screen.console, get_renderable=self._frame, refresh_per_second=8, transient=True
            )
            self._live.start()

    def _frame(self) -> RenderableType:
        size = self._screen.console.size
        parts: list[RenderableType] = []
        if self.track.rows:
            parts.append(plan_table(self.track, width=size.width, rows=max(3, size.height - _RESERVED)))
        self._spinner.update(text=Text(self._now(), no_wrap=True, overflow="ellipsis"))
        return Group(*parts, self._spinner)

    def _now(self) -> str:
        whole = spell(self.track.clock() - self.track.began)
        if self.track.thinking:
            so_far = spell(self.track.clock() - self.track.since)
            return f"{as_text(self.track.thinking, width=160)} ({so_far}; {whole} in all)"
        return f"{standing(self.track)} ({whole})" if self.track.rows else f"Working ({whole})"

    def _write(self, lines: list[str]) -> None:
        for line in lines:
            self._screen.console.print(Text(visible(line), style="yellow"))


def _revision_lines(event: PlanMade) -> list[str]:
    count = len(event.plan.get("tasks") or ())  # type: ignore[arg-type]  # a plan's tasks are a list
    head = f"plan, revision {event.revision}: {_number(count, 'task')} in {_number(len(event.waves), 'wave')}"
    return [head, *([f"  {event.difference}"] if event.difference is not None else [])]


def _plan_line(row: Row) -> str:
    after = f" after {', '.join(row.needs)}" if row.needs else ""
    about = f": {as_text(row.task.description, width=200)}" if row.task.description else ""
    return f"  wave {row.wave}  {row.task.id} ({row.task.tool}){after}{about}"


def _finished_line(event: TaskFinished) -> str:
    took = f" in {spell(event.duration_s)}" if event.duration_s is not None else ""
    tries = f" after {event.attempts} attempts" if event.attempts > 1 else ""
    why = event.error or event.because or event.missing or event.preview or ""
    word = event.status if event.status in STYLES else "ended"
    return f"{word.replace('_', ' ')} {event.task}{took}{tries}{': ' + as_text(why, width=300) if why else ''}"


def _replan_line(event: Replanning) -> str:
    return f"replan {event.replan}, because of {', '.join(event.tasks)}: {as_text(event.reason, width=300)}"


def _number(count: int, word: str) -> str:
    return f"{count} {word}" if count == 1 else f"{count} {word}s"
