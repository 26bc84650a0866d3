"""The tasks of a plan found in its text while that is still being written."""

import json
import re
from collections.abc import Iterator
from typing import Final

#: Where a plan may begin: at once, or behind the fence of a block of code.
_PLAN_START: Final = re.compile(r"\s*(```[a-zA-Z]*\s*)?(?=\{)")
_STRUCTURE: Final = re.compile(r'[{}\[\]:,"]')
_STRING_CHARACTERS: Final = re.compile(r'["\\]')
#: How far inside the document a member of `tasks` lies: in the plan, in the list.
_TASK_DEPTH: Final = 2
_MAX_OPENING_LENGTH: Final = 100


class StreamingPlanParser:
    """Reads a plan document piece by piece, each character once, and hands on each task as soon as it is closed.

    JSON (RFC 8259) is followed by its brackets and strings only: whether a task is good JSON is for its reader to say.
    A text that does not begin with an object holds no tasks.
    """

    def __init__(self) -> None:
        #: What the plan says before its tasks, if it does.
        self.execution_mode: str | None = None
        self._opening: str | None = ""
        self._depth = 0
        self._ended = False
        self._in_text = False
        self._escaped = False
        #: The name of the plan's member that is being read, and the last text at its level.
        self._member: str | None = None
        self._last_string: str | None = None
        #: The pieces of what is kept: a task, or a text at the level of the plan's members.
        self._pieces: list[str] | None = None

    def feed(self, piece: str) -> Iterator[str]:
        """Yield the text of each task that ends in `piece`."""
        if self._opening is not None:
            opening = self._opening + piece
            found = _PLAN_START.match(opening)
            if found is None:
                self._opening = opening[:_MAX_OPENING_LENGTH]
                return
            self._opening, piece = None, opening[found.end() :]
        at, start = 0, 0
        while not self._ended and (at := self._find_next(piece, at)) < len(piece):
            start, ended = self._read_character(piece, at, start)
            if ended is not None:
                yield ended
            at += 1
        if self._pieces is not None:
            self._pieces.append(piece[start:])

    def _find_next(self, piece: str, at: int) -> int:
        """Return where the next character stands that changes anything, from `at` on."""
        if self._escaped and at < len(piece):
            self._escaped = False
            at += 1
        found = (_STRING_CHARACTERS if self._in_text else _STRUCTURE).search(piece, at)
        return found.start() if found else len(piece)

    def _read_character(self, piece: str, at: int, start: int) -> tuple[int, str | None]:
        """Take in the character at `at`; return where what is kept begins in `piece`, and a task that has ended."""
        match piece[at]:
            case "\\":
                self._escaped = True
            case '"':
                self._in_text = not self._in_text
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
        """Take in where a text at the level of the plan's members begins or ends."""
        if self._in_text:
            self._pieces = []
            return at
        self._last_string = _parse_string(self._collect_text(piece[start : at + 1]))
        return start

    def _collect_text(self, last: str) -> str:
        kept, self._pieces = self._pieces or [], None
        return "".join((*kept, last))

    def _end_member(self) -> None:
        if self._member == "execution_mode":
            self.execution_mode = self._last_string
        self._member = self._last_string = None


def _parse_string(literal: str) -> str | None:
    try:
        return str(json.loads(literal))
    except ValueError:
        return None
