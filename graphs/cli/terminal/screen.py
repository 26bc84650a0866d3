"""The output of a command: text for humans, and the one JSON object for programs."""

import json
import os
import sys
import unicodedata
from dataclasses import dataclass
from io import TextIOWrapper
from typing import TextIO

from pydantic import JsonValue
from pydantic_core import to_jsonable_python
from rich.console import Console
from rich.table import Table
from rich.text import Text

#: Line breaks and tabs are layout; every other control character could control the terminal.
_SAFE_CONTROLS = frozenset("\n\t")
#: Marks that change the visible order of text: overrides, isolates and invisible marks of bidirectional text.
_BIDI_CONTROLS = frozenset("\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
#: Columns that no row needs.
_UNLIMITED_WIDTH = 10_000


@dataclass(frozen=True, slots=True)
class Screen:
    """The console for humans, and whether it is a terminal with somebody at it."""

    console: Console
    #: Whether tables may be redrawn in place.
    live: bool
    #: Whether somebody can answer a question.
    interactive: bool

    def say(self, sentence: str, *, style: str = "") -> None:
        """Print a sentence; markup and control characters in it are printed as text."""
        self.console.print(Text(escape_controls(sentence), style=style), soft_wrap=not self.live)


def open_screen(*, as_json: bool) -> Screen:
    """Return the screen of a command: with `as_json` it is standard error, and nobody is asked anything."""
    stream = sys.stderr if as_json else sys.stdout
    _replace_unencodable(stream)
    terminal = stream.isatty() and os.environ.get("TERM") != "dumb"
    console = Console(
        file=stream, force_terminal=terminal, force_interactive=terminal, highlight=False, markup=False, emoji=False
    )
    return Screen(console=console, live=terminal, interactive=stream.isatty() and sys.stdin.isatty() and not as_json)


def print_table(table: Table, *, screen: Screen) -> None:
    """Print a table that fits the terminal; elsewhere each row is one line, however long, and nothing is cut off."""
    if screen.live:
        screen.console.print(table)
        return
    table.expand = False
    for column in table.columns:
        column.max_width, column.ratio, column.no_wrap = None, None, True
    wide = Console(file=screen.console.file, width=_UNLIMITED_WIDTH, highlight=False, markup=False, emoji=False)
    with wide.capture() as printed:
        wide.print(table)
    for line in printed.get().splitlines():
        screen.console.out(line.rstrip(), highlight=False)


def print_error(sentence: str) -> None:
    """Print an error on standard error, in red if that is a terminal."""
    _replace_unencodable(sys.stderr)
    terminal = sys.stderr.isatty()
    console = Console(file=sys.stderr, force_terminal=terminal, highlight=False, markup=False, emoji=False)
    console.print(Text(escape_controls(sentence), style="bold red"), soft_wrap=True)


def print_json(record: object) -> None:
    """Write one JSON object to standard output, in UTF-8 whatever the locale; NaN and infinity become null."""
    plain = to_jsonable_python(record, inf_nan_mode="null", bytes_mode="base64", serialize_unknown=True)
    text = json.dumps(plain, ensure_ascii=False, allow_nan=False, indent=2)
    sys.stdout.flush()
    sys.stdout.buffer.write(text.encode("utf-8", errors="replace") + b"\n")
    sys.stdout.buffer.flush()


def escape_controls(text: str) -> str:
    """Return `text` with each character that could control a terminal or reorder a line replaced by its escape."""
    return "".join(f"\\u{ord(letter):04x}" if _is_unsafe_character(letter) else letter for letter in text)


def as_text(value: JsonValue, *, width: int | None = None) -> str:
    """Return a JSON value for humans: a text as it is, anything else as JSON; with `width`, one line cut to it."""
    text = escape_controls(value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str))
    if width is None:
        return text
    flat = " ".join(text.split())
    return flat if len(flat) <= width else f"{flat[: width - 3]}..."


def _is_unsafe_character(letter: str) -> bool:
    return letter in _BIDI_CONTROLS or (letter not in _SAFE_CONTROLS and unicodedata.category(letter) in {"Cc", "Cs"})


def _replace_unencodable(stream: TextIO) -> None:
    """Write a character that the encoding of `stream` lacks as `?`: a name in some row must not end a run."""
    if isinstance(stream, TextIOWrapper):
        stream.reconfigure(errors="replace")
