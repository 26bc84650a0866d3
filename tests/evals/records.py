"""Recorded cases: one JSON line each, appended as soon as the case has ended."""

import json
import os
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from tests.evals.cases import Half

Outcome = Literal["right", "wrong", "no plan", "broken", "out of steps", "over budget", "model failed"]


@dataclass(frozen=True)
class Key:
    """What makes two lines the same measurement; `code` is the digest of the strategy's code, `tag` the caller's."""

    set: str
    strategy: str
    model: str
    code: str
    tag: str = ""


@dataclass(frozen=True)
class Line:
    """One case as it went."""

    key: Key
    id: str
    half: Half
    outcome: Outcome
    why: str
    #: Calls of the model, tokens and seconds without what was spent on wording an answer.
    calls: int
    input_tokens: int
    output_tokens: int
    seconds: float
    repairs: int = 0
    replans: int = 0
    scores: Mapping[str, float] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    plan: tuple[Mapping[str, Any], ...] = ()
    #: What the model wrote, as it came.
    raw: tuple[Mapping[str, Any], ...] = ()

    @property
    def right(self) -> bool:
        return self.outcome == "right"

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens


def append(file: Path, line: Line) -> None:
    """Write a line to the end of `file` and to the disk, so that nothing measured is lost."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("a+b") as out:
        # A line that a kill cut off stays a line of its own.
        out.seek(max(0, out.seek(0, os.SEEK_END) - 1))
        begin = b"" if out.read(1) in {b"", b"\n"} else b"\n"
        out.write(begin + json.dumps(asdict(line), ensure_ascii=False, default=str).encode() + b"\n")
        out.flush()
        os.fsync(out.fileno())


def read_lines(files: Iterable[Path]) -> list[Line]:
    """Return every whole line of `files`, the last of each case; a line cut off by a kill is passed over."""
    found: dict[tuple[Key, str], Line] = {}
    for file in files:
        for text in file.read_text(encoding="utf-8").splitlines() if file.is_file() else ():
            try:
                value = json.loads(text)
            except ValueError:
                continue
            line = Line(**{**value, "key": Key(**value["key"])})
            found[line.key, line.id] = line
    return list(found.values())
