"""Planwave installed from its wheel into an environment of its own, beside a user's modules."""

import os
import shutil
import subprocess
import sys
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]
_OURS = ("PLANWAVE_", "OPENAI_", "LANGSMITH_", "PYTHONPATH", "VIRTUAL_ENV", "UV_PROJECT")


class Installation:
    """A fresh environment with the wheel, and a folder of the user's beside it."""

    def __init__(self, folder: Path, *, extras: str = "", others: tuple[str, ...] = ()) -> None:
        """Install the wheel, as `planwave[extras]`, and `others` from the index or uv's cache."""
        self.home = folder
        self._bin = folder / "venv" / ("Scripts" if os.name == "nt" else "bin")
        run(uv(), "venv", "--quiet", "--python", sys.executable, str(folder / "venv"))
        wanted = f"planwave{extras} @ {build_wheel(folder / 'dist').as_uri()}"
        install = ("pip", "install", "--quiet", "--python", str(self._bin / "python"), wanted, *others)
        # What this environment was made of is in uv's cache, unless that is off or was emptied.
        if subprocess.run([*uv(), *install, "--offline"], capture_output=True, check=False).returncode != 0:
            run(uv(), *install)

    def write(self, name: str, text: str) -> Path:
        """Write a file of the user's."""
        file = self.home / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        return file

    def command(self, program: str, *words: str) -> "subprocess.CompletedProcess[str]":
        """Run a program of the environment in the user's folder."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)}
        env = {**kept, "PLANWAVE_DATA_FOLDER": str(self.home / "data"), "PLANWAVE_OUTPUT_FOLDER": str(self.home)}
        return subprocess.run(
            [self._bin / program, *words], cwd=self.home, env=env, capture_output=True, text=True, check=False
        )


def build_wheel(into: Path) -> Path:
    """Build the wheel of this clone with hatchling, which needs no network."""
    run((sys.executable, "-m", "hatchling"), "build", "--target", "wheel", "--directory", str(into), cwd=ROOT)
    [wheel] = into.glob("*.whl")
    return wheel


@cache
def uv() -> tuple[str, ...]:
    """Return how uv is called: `uv run` says it, else it is a command, or a module of the Python beneath this one."""
    program = os.environ.get("UV") or shutil.which("uv")
    candidates = [(program,)] if program else []
    candidates += [(python, "-m", "uv") for python in (sys._base_executable, shutil.which("python3")) if python]
    for candidate in candidates:
        if subprocess.run([*candidate, "--version"], capture_output=True, check=False).returncode == 0:
            return candidate
    raise FileNotFoundError("uv is not installed: pip install uv")


def run(program: tuple[str, ...], *words: str, cwd: Path | None = None) -> None:
    ended = subprocess.run([*program, *words], cwd=cwd, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
