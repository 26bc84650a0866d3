"""Where the data that were made outside lie: beside a checkout, never in the repository."""

import json
from pathlib import Path
from typing import Any

from tests.evals.cases import AbsentError

DATA = Path(__file__).parents[4] / "shared" / "data"


def read_lines(name: str) -> list[dict[str, Any]]:
    """Return the records of a JSON Lines file. Raises `AbsentError`."""
    return [json.loads(line) for line in read(name).splitlines()]


def read(name: str) -> str:
    """Return a file's text. Raises `AbsentError`."""
    file = DATA / name
    if not file.is_file():
        raise AbsentError(f"{name!r} is not there; the data lie beside a development checkout, in ../shared/data.")
    return file.read_text(encoding="utf-8")
