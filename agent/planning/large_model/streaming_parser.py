"""Finds the tasks of a plan in its text while the text is still being written."""

import json
import re
from collections.abc import Iterator
from typing import Final

#: Where a plan may begin: at the start of the text, or after the fence of a code block.
_PLAN_START: Final = re.compile(r"\s*(```[a-zA-Z]*\s*)?(?=\{)")
_STRUCTURE: Final = re.compile(r'[{}\[\]:,"]')
_STRING_CHARACTERS: Final = re.compile(r'["\\]')
#: The nesting depth of a member of `tasks`: in the plan, in the list.
_TASK_DEPTH: Final = 2
_MAX_OPENING_LENGTH: Final = 100


class StreamingPlanParser:
    """Reads a plan document piece by piece, each character once, and yields each task as soon as it is closed.

    Of JSON (RFC 8259) only brackets and strings are followed: whether a task is valid JSON is left to its parser.
    A text that does not begin with an object has no tasks.
    """

    def __init__(self) -> None:
        #: The plan's execution mode, once it has been read.
        self.execution_mode: str | None = None
        self._opening: str | None = ""
        self._depth = 0
        self._ended = False
        self._in_string = False
        self._escaped = False
        #: The name of the plan's member that is being read, and the last string at its level.
        self._member: str | None = None
        self._last_string: str | None = None
        #: The pieces of what is being collected: a task, or a string at the level of the plan's members.
        self._pieces: list[str] | None = None

    def feed(self, piece: str) -> Iterator[str]:
        """Yield the text of each task that ends in `piece`."""
        if self._opening is not None:
            opening = self._opening + piece
            plan_start = _PLAN_START.match(opening)
            if plan_start is None:
                self._opening = opening[:_MAX_OPENING_LENGTH]
                return
            self._opening, piece = None, opening[plan_start.end() :]
        at, start = 0, 0
        while not self._ended and (at := self._find_next(piece, at)) < len(piece):
            start, ended = self._read_character(piece, at, start)
            if ended is not None:
                yield ended
            at += 1
        if self._pieces is not None:
            self._pieces.append(piece[start:])

    def _find_next(self, piece: str, at: int) -> int:
        """Return the index of the next character, from `at` on, that changes the state; the length if there is none."""
        if self._escaped and at < len(piece):
            self._escaped = False
            at += 1
        match = (_STRING_CHARACTERS if self._in_string else _STRUCTURE).search(piece, at)
        return match.start() if match else len(piece)

    def _read_character(self, piece: str, at: int, start: int) -> tuple[int, str | None]:
        """Read the character at `at`; return where the collected text begins in `piece`, and a task that has ended."""
        match piece[at]:
            case "\\":
                self._escaped = True
            case '"':
                self._in_string = not self._in_string
                if self._depth == 1:
                    start = self._read_quote(piece, at, start)
            case "{" | "[" as opened:
                if opened == "{" and self._depth == _TASK_DEPTH and self._member == "tasks":
                    self._pieces, start = [], at
                self._depth += 1
            case "}" | "]":
                self._depth -= 1
                self._ended = self._depth <= 0
                if self._depth == _TASK_DEPTH and self._pieces is not None:
                    return start, self._collect_text(piece[start : at + 1])
            case ":" if self._depth == 1:
                self._member, self._last_string = self._last_string, None
            case "," if self._depth == 1:
                self._end_member()
        return start, None

    def _read_quote(self, piece: str, at: int, start: int) -> int:
        """Begin or end a string at the level of the plan's members."""
        if self._in_string:
            self._pieces = []
            return at
        self._last_string = _parse_string(self._collect_text(piece[start : at + 1]))
        return start

    def _collect_text(self, last: str) -> str:
        pieces, self._pieces = self._pieces or [], None
        return "".join((*pieces, last))

    def _end_member(self) -> None:
        if self._member == "execution_mode":
            self.execution_mode = self._last_string
        self._member = self._last_string = None


def _parse_string(literal: str) -> str | None:
    try:
        return str(json.loads(literal))
    except ValueError:
        return None
