"""A file of what happened, kept apart from any database; each line is on disk before its writer goes on."""

import os
from pathlib import Path


class Journal:
    """Lines of words; any number of processes append to it."""

    def __init__(self, path: Path | str) -> None:
        self.path = Path(path)

    def note(self, *words: object) -> None:
        file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        try:
            os.write(file, (" ".join(map(str, words)) + "\n").encode())
            os.fsync(file)
        finally:
            os.close(file)

    def lines(self) -> list[list[str]]:
        return [line.split() for line in self.path.read_text().splitlines()] if self.path.exists() else []

    def having(self, *beginning: str) -> list[list[str]]:
        return [line for line in self.lines() if line[: len(beginning)] == list(beginning)]
