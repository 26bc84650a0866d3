"""A call that waits for approval as a panel that fits the terminal, and as the whole text."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from pydantic import JsonValue
from rich.cells import cell_len
from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from agent.core.approval_text import flatten_text, format_call, format_default, list_calls
from agent.core.visible_text import escape_invisible
from graphs.cli.terminal.screen import Screen

Action = Mapping[str, Any]
#: Lines of the terminal that the panel leaves to its frame, the question and what is typed.
_RESERVED: Final = 9
_MIN_LINES: Final = 6
#: Columns that the frame of the panel takes.
_FRAME_WIDTH: Final = 4
#: Columns of the names above the arguments.
_HEAD_WIDTH: Final = 8
#: Lines of each of the texts above the arguments, but for these.
_MAX_TEXT_LINES: Final = 2
_NEVER_CUT: Final = frozenset({"in doubt", "", "secrets"})
_MAX_COLUMNS: Final = 6
#: Columns of the number of a call, with the space after it.
_CALL_WIDTH: Final = 6
#: Characters of an argument in the line before the question.
_MAX_NAMED_LENGTH: Final = 40
_IN_DOUBT_HELP: Final = (
    "Approve: it did not happen; make it now. Give its result: it did happen. Reject: leave it as it is."
)
#: Characters of the digest by which a call is named.
SHORT_DIGEST: Final = 8


def show_call(action: Action, *, screen: Screen, number: int, of: int) -> bool:
    """Show one call; return whether something was cut off so that it fits the terminal.

    Elsewhere than on a terminal everything is shown.
    """
    if not screen.live:
        show_whole_call(action, screen=screen, number=number, of=of)
        return False
    view = _CallView(width=screen.console.width - _FRAME_WIDTH, lines=screen.console.height - _RESERVED)
    content = Group(*view.render(action))
    screen.console.print(Panel(content, title=_get_title(number, of), title_align="left", border_style="yellow"))
    return view.is_cut


def show_whole_call(action: Action, *, screen: Screen, number: int, of: int) -> None:
    """Show one call with everything that will be passed, as JSON."""
    text = Text("\n").join(
        Text.assemble((f"{name:{_HEAD_WIDTH}} ", "dim"), (value, style)) for name, value, style in _list_head(action)
    )
    _append_calls(text, action)
    for place, value in (action.get("defaults") or {}).items():
        text.append(f"\n{format_default(place, value)}", style="dim")
    title = _get_title(number, of)
    if screen.live:
        screen.console.print(Panel(text, title=title, title_align="left", border_style="yellow"))
    else:
        screen.say(f"{title}\n{text.plain}")


def name_call(action: Action, *, width: int) -> str:
    """Return a call in one line: its tool, and its arguments as far as there is room."""
    calls = action.get("items")
    line = flatten_text(str(action["name"]))
    if calls:
        return _fit_line(f"{line}, {len(calls)} calls", width)
    for name, value in (action.get("args") or {}).items():
        shown = "" if isinstance(value, dict | list) else _format_value(value)
        if shown and cell_len(shown) <= _MAX_NAMED_LENGTH and cell_len(f"{line} {name}={shown}") <= width:
            line = f"{line} {flatten_text(name)}={shown}"
    return _fit_line(line, width)


def _get_title(number: int, of: int) -> str:
    return f"Approval {number} of {of}" if of > 1 else "Approval"


def _list_head(action: Action) -> Iterator[tuple[str, str, str]]:
    """Yield name, text and style of what stands above the arguments."""
    digest = f" ({action['digest'][:SHORT_DIGEST]})" if action.get("digest") else ""
    yield "tool", flatten_text(action["name"]), "bold"
    yield "task", flatten_text(str(action.get("task_id", ""))) + digest, ""
    yield "purpose", flatten_text(str(action.get("purpose") or action.get("description", ""))), ""
    if action.get("expected_outcome"):
        yield "expected", flatten_text(str(action["expected_outcome"])), ""
    if action.get("doubt"):
        yield "in doubt", flatten_text(str(action["doubt"])), "bold yellow"
        yield "", _IN_DOUBT_HELP, "dim"
    if action.get("secrets"):
        yield "secrets", flatten_text(", ".join(action["secrets"])), "bold"


def _append_calls(text: Text, action: Action) -> None:
    """Append the arguments of a call, or of all calls: the first and the last in full, the others a line each."""
    calls = action.get("items")
    if not calls:
        text.append("\narguments\n", style="dim").append(format_call(action["args"]))
        return
    text.append(f"\narguments of {len(calls)} calls", style="dim")
    text.append("\n1: ", style="dim").append(format_call(calls[0]))
    for line in list_calls(calls):
        text.append(f"\n{line}")
    if len(calls) > 1:
        text.append(f"\n{len(calls)}: ", style="dim").append(format_call(calls[-1]))


class _CallView:
    """Renders a call within a width and a number of lines; `is_cut` says whether something did not fit."""

    def __init__(self, *, width: int, lines: int) -> None:
        self._width = max(20, width)
        self._lines_left = max(_MIN_LINES, lines)
        self.is_cut = False

    def render(self, action: Action) -> Iterator[RenderableType]:
        head = [
            # What is not known about a call is never cut off.
            (name, self._wrap(value, _HEAD_WIDTH + 2, lines=None if name in _NEVER_CUT else _MAX_TEXT_LINES), style)
            for name, value, style in _list_head(action)
        ]
        self._lines_left = max(_MIN_LINES, self._lines_left - sum(len(lines) for _, lines, _ in head) - 1)
        yield _build_grid(head, name_width=_HEAD_WIDTH)
        calls = action.get("items")
        if calls is None:
            yield Text("arguments" if action.get("args") else "no arguments", style="dim")
            yield from self._render_arguments(action.get("args") or {}, action.get("defaults") or {})
        else:
            yield Text(f"arguments of {len(calls)} calls", style="dim")
            yield self._render_rows(calls, self._lines_left, numbered=True)

    def _render_arguments(
        self, args: Mapping[str, JsonValue], defaults: Mapping[str, JsonValue]
    ) -> Iterator[RenderableType]:
        entries = [(flatten_text(name), value, "") for name, value in args.items()]
        entries += [(flatten_text(place), value, " (default)") for place, value in defaults.items()]
        indent = min(max((cell_len(name) for name, _, _ in entries), default=0), self._width // 3) + 2
        shown = entries[: max(1, self._lines_left - (len(entries) > self._lines_left))]
        large = sum(self._is_large(value, indent) for _, value, _ in shown)
        spare = max(0, self._lines_left - len(entries))
        rows_of_grid: list[tuple[str, list[str], str]] = []
        for name, value, note in shown:
            lines = 1
            if self._is_large(value, indent):
                lines, large = 1 + spare // large, large - 1
            rows = _get_rows(value)
            if rows is not None and lines > 2:
                count = "1 row" if len(rows) == 1 else f"{len(rows):,} rows"
                yield _build_grid([*rows_of_grid, (name, [count], "dim")], name_width=indent - 2)
                rows_of_grid, used = [], min(lines, len(rows) + 2)
                yield Padding(self._render_rows(rows, used - 1, indent=2), (0, 0, 0, 2))
            else:
                wrapped = self._wrap(_format_value(value) + note, indent, lines=lines)
                rows_of_grid.append((name, wrapped, "dim" if note else ""))
                used = len(wrapped)
            spare -= used - 1
        yield _build_grid(rows_of_grid, name_width=indent - 2)
        if len(shown) < len(entries):
            self.is_cut = True
            yield Text(f"... and {len(entries) - len(shown)} more arguments", style="dim")

    def _is_large(self, value: JsonValue, indent: int) -> bool:
        text = _format_value(value)
        return "\n" in text or cell_len(text) > self._width - indent or _get_rows(value) is not None

    def _wrap(self, value: str, indent: int, *, lines: int | None) -> list[str]:
        """Return a text in pieces that fit beside a name, at most `lines` of them."""
        width = self._width - indent
        wrapped = [piece for line in value.split("\n") for piece in _wrap_line(line, width)]
        if lines is None or len(wrapped) <= lines:
            return wrapped
        self.is_cut = True
        left = sum(map(len, wrapped[lines - 1 :]))
        last = _cut_cells(wrapped[lines - 1], max(1, width - len(f"... ({left:,} more characters)")))
        return [*wrapped[: lines - 1], f"{last}... ({left - len(last):,} more characters)"]

    def _render_rows(
        self, rows: Sequence[Mapping[str, JsonValue]], lines: int, *, indent: int = 0, numbered: bool = False
    ) -> Table:
        """Return a table of rows, the first ones and the last, in at most `lines` lines with its header."""
        names = list(dict.fromkeys(name for row in rows for name in row))
        shown_names = names[:_MAX_COLUMNS]
        numbers = _choose_rows(len(rows), max(1, lines - 1))
        self.is_cut = self.is_cut or len(numbers) < len(rows) or len(shown_names) < len(names)
        cells = {
            number: [flatten_text(_format_value(row[name])) if name in row else "" for name in shown_names]
            for number, row in ((number, rows[number - 1]) for number in numbers)
        }
        columns = zip(map(flatten_text, shown_names), *cells.values(), strict=True)
        room = self._width - indent - (_CALL_WIDTH if numbered else 0)
        wanted = [max(map(cell_len, column)) for column in columns]
        if len(numbers) < len(rows):
            wanted[0] = max(wanted[0], len(f"... {len(rows):,} more"))
        widths = _share_width(wanted, room)
        table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
        for heading, width in [
            *([("call", _CALL_WIDTH - 2)] if numbered else []),
            *zip(shown_names, widths, strict=True),
        ]:
            table.add_column(Text(_fit_line(flatten_text(heading), width)), no_wrap=True, overflow="ellipsis")
        before = 0
        for number in [*numbers, len(rows) + 1]:
            if (hidden := number - before - 1) > 0:
                table.add_row(*(["..."] if numbered else []), Text(_fit_line(f"... {hidden:,} more", widths[0])))
            if number in cells:
                pairs = list(zip(cells[number], widths, strict=True))
                self.is_cut = self.is_cut or any(cell_len(cell) > width for cell, width in pairs)
                row_cells = [Text(_fit_line(cell, width)) for cell, width in pairs]
                table.add_row(*([str(number)] if numbered else []), *row_cells)
            before = number
        return table


def _share_width(wanted: Sequence[int], room: int) -> list[int]:
    """Return the width of each column: what it wants, or a fair share of what narrower ones leave."""
    widths = dict[int, int]()
    left = room
    for done, position in enumerate(sorted(range(len(wanted)), key=wanted.__getitem__)):
        widths[position] = max(6, min(wanted[position], left // (len(wanted) - done) - 2))
        left -= widths[position] + 2
    return [widths[position] for position in range(len(wanted))]


def _choose_rows(count: int, room: int) -> list[int]:
    """Return the numbers of the rows that are shown in `room` lines: the first ones and, if there is room, the last."""
    if count <= room:
        return list(range(1, count + 1))
    return [*range(1, max(2, room - 1)), *([count] if room > 2 else [])]


def _build_grid(rows: Sequence[tuple[str, Sequence[str], str]], *, name_width: int) -> Table:
    """Return names beside the lines of their values; no line of a value begins where a name does."""
    grid = Table.grid(padding=(0, 2, 0, 0))
    grid.add_column(no_wrap=True, min_width=name_width, max_width=name_width)
    grid.add_column(no_wrap=True, overflow="ellipsis")
    for name, lines, style in rows:
        grid.add_row(Text(_fit_line(name, name_width), style="dim"), Text("\n".join(lines), style=style))
    return grid


def _get_rows(value: JsonValue) -> list[dict[str, JsonValue]] | None:
    """Return a list of flat objects; None for anything else."""
    if not isinstance(value, list) or not value:
        return None
    rows = [row for row in value if isinstance(row, dict) and row]
    is_flat = all(not isinstance(cell, dict | list) for row in rows for cell in row.values())
    return rows if is_flat and len(rows) == len(value) else None


def _format_value(value: JsonValue) -> str:
    """Return a value for humans: a text as it is unless it could be taken for another value, else as JSON."""
    text = json.dumps(value, ensure_ascii=False)
    if isinstance(value, str) and value.strip() == value and value and not _reads_as_json(value):
        text = value
    return escape_invisible(text).replace("\t", "    ")


def _reads_as_json(text: str) -> bool:
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _wrap_line(line: str, width: int) -> list[str]:
    """Return a line in pieces of at most `width` cells, broken at spaces where there are any."""
    pieces: list[str] = []
    rest = line
    while cell_len(rest) > width:
        head = _cut_cells(rest, width)
        space = head.rfind(" ")
        cut = space if space > width // 2 else len(head)
        pieces.append(rest[:cut])
        rest = rest[cut:].removeprefix(" ")
    return [*pieces, rest]


def _cut_cells(text: str, width: int) -> str:
    """Return as much of a text as fits into `width` cells, one character at least."""
    used = 0
    for position, letter in enumerate(text):
        used += cell_len(letter)
        if used > width:
            return text[: max(1, position)]
    return text


def _fit_line(text: str, width: int) -> str:
    return text if cell_len(text) <= width else f"{_cut_cells(text, max(1, width - 3))}..."
