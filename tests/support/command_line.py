"""The `planwave` command as tests run it: in this process, as a process of its own, and on a terminal."""

import fcntl
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path
from typing import Any

from typer.testing import CliRunner, Result

from graphs.cli.app import app

_CONTROL = re.compile(r"\x1b\[[0-9;?]*[a-zA-Z]")
#: What a test sets itself, or what would speak of another terminal than its own.
_OWN = ("PLANWAVE_", "OPENAI_", "COLUMNS", "LINES")
#: A busy machine may take long to import LangGraph.
PATIENCE_S = 120.0


def _heed_interrupts() -> None:
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class CommandLine:
    """Runs the command in a home of its own."""

    def __init__(self, home: Path, *, data: Path) -> None:
        self.home = home
        self.env = {
            **{name: value for name, value in os.environ.items() if not name.startswith(_OWN)},
            "PLANWAVE_DATA_FOLDER": str(data),
            "PLANWAVE_DB": f"sqlite:///{home / 'threads.db'}",
            "PLANWAVE_OUTPUT_FOLDER": str(home / "output"),
            # No file is there, and with this set none is ever fetched.
            "PLANWAVE_LOCAL_GGUF": str(home / "no-weights.gguf"),
            "TERM": "xterm-256color",
            "EDITOR": "",
            "VISUAL": "",
            "LANGSMITH_TRACING": "false",
        }

    def plan_file(self, *tasks: dict[str, Any], name: str = "plan.json") -> str:
        """Write a plan and return its path."""
        file = self.home / name
        file.write_text(json.dumps({"tasks": tasks}), encoding="utf-8")
        return str(file)

    def here(self, *words: str, given: str | bytes | None = None) -> Result:
        """Run in this process, without a terminal."""
        env = {**dict.fromkeys(name for name in os.environ if name.startswith("OPENAI_")), **self.env}
        return CliRunner().invoke(app, list(words), input=given, env=env)

    def apart(self, *words: str, **options: Any) -> "subprocess.Popen[str]":
        """Start as a process of its own."""
        return subprocess.Popen(
            [sys.executable, "-m", "graphs.cli.app", *words],
            env={**self.env, **options.pop("env", {})},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            # Tests that were started in the background of a shell have inherited that Ctrl-C is ignored.
            preexec_fn=_heed_interrupts,  # noqa: PLW1509 - sets one signal
            **options,
        )

    def at_terminal(self, *words: str, rows: int = 50, columns: int = 120, **env: str) -> "Terminal":
        """Start on a terminal of that size."""
        return Terminal([sys.executable, "-m", "graphs.cli.app", *words], env={**self.env, **env}, size=(rows, columns))

    def thread(self, name: str) -> dict[str, Any]:
        """Return what `show --json` says of a thread."""
        return json.loads(self.here("show", name, "--json").stdout)


class Terminal:
    """A process on a pseudo-terminal."""

    def __init__(self, words: list[str], *, env: dict[str, str], size: tuple[int, int]) -> None:
        self._main, side = pty.openpty()
        fcntl.ioctl(side, termios.TIOCSWINSZ, struct.pack("HHHH", *size, 0, 0))
        self.process = subprocess.Popen(
            [sys.executable, "-c", _TAKE_TERMINAL, *words],
            stdin=side,
            stdout=side,
            stderr=side,
            env=env,
            start_new_session=True,
        )
        os.close(side)
        self.shown = ""

    def until(self, text: str) -> str:
        """Return what was shown until `text` came, without control codes."""
        end, start = time.monotonic() + PATIENCE_S, len(self.shown)
        while text not in _plain(self.shown[start:]):
            more = self._read(end)
            assert more is not None, f"{text!r} never came; the terminal shows:\n{_plain(self.shown)}"
            self.shown += more
        return _plain(self.shown[start:])

    def type(self, text: str) -> None:
        """Type at the terminal."""
        os.write(self._main, text.encode())

    def end(self) -> tuple[int, str]:
        """Return the exit status and all that was shown, without control codes."""
        end = time.monotonic() + PATIENCE_S
        while (more := self._read(end)) is not None:
            self.shown += more
        status = self.process.wait(PATIENCE_S)
        os.close(self._main)
        return status, _plain(self.shown)

    def _read(self, end: float) -> str | None:
        ready, _, _ = select.select([self._main], [], [], max(0.0, end - time.monotonic()))
        if not ready:
            return None
        try:
            return os.read(self._main, 65536).decode(errors="replace") or None
        except OSError:
            return None


#: Makes the pseudo-terminal the controlling one, so that Ctrl-C arrives as a signal, then becomes the command.
_TAKE_TERMINAL = (
    "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
)


def _plain(shown: str) -> str:
    return _CONTROL.sub("", shown).replace("\r", "")


def query(name: str, sql: str, **more: Any) -> dict[str, Any]:
    """Return a task that reads."""
    return {"id": name, "tool": "query_database", "description": f"Read {name}", "args": {"sql": sql}, **more}


def save(name: str, path: str, content: Any, **more: Any) -> dict[str, Any]:
    """Return a task that writes."""
    return {
        "id": name,
        "tool": "save_file",
        "description": f"Keep {name}",
        "args": {"path": path, "content": content},
        **more,
    }


#: Takes seconds on any machine, in an engine that can be interrupted.
SLOW = "SELECT count(*) AS n FROM range(200_000_000) r WHERE hash(r.range) % 7 = 1"
