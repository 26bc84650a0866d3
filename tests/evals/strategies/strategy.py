"""A strategy: how a model and tools are put to work on a goal."""

import hashlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from langchain_core.tools import BaseTool

from agent.llm.models import Model
from tests.evals.cases import Attempt, Case

_ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class Bench:
    """What a strategy works on a case with."""

    case: Case
    tools: Sequence[BaseTool]
    #: As it is named on the command line: `local` or `openai:NAME`.
    choice: str
    model: Model
    #: Where files go.
    output: Path


@dataclass(frozen=True)
class Strategy:
    """A strategy by name; `code` are the files and folders whose change makes recorded figures old."""

    name: str
    attempt: Callable[[Bench], Awaitable[Attempt]]
    code: tuple[str, ...]

    def digest(self) -> str:
        """Return twelve hexadecimal digits that change with the strategy's code."""
        found = hashlib.sha256()
        for place in sorted(self.code):
            path = _ROOT / place
            files = [path] if path.is_file() else sorted(each for each in path.rglob("*") if _counts(each))
            for file in files:
                found.update(file.relative_to(_ROOT).as_posix().encode() + b"\0" + file.read_bytes())
        return found.hexdigest()[:12]


def _counts(file: Path) -> bool:
    return file.suffix in {".py", ".md", ".sql"} and file.name != "README.md"
