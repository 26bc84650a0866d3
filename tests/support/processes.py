"""Programs run as processes of their own, which a test may pause and kill."""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]


def start(module, *arguments):
    """Start a module of `tests` as a program; its output is piped."""
    command = [sys.executable, "-m", f"tests.{module}", *map(str, arguments)]
    return subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": str(ROOT)}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def wait_for(log, text, running):
    """Wait until `text` stands in the file `log`."""
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and running.poll() is None:
        if log.exists() and text in log.read_text():
            return
        time.sleep(0.005)
    raise AssertionError(
        f"never saw {text!r}: {running.communicate() if running.poll() is not None else 'still running'}"
    )
