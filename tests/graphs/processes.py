"""Test scripts run as processes of their own, which a test may pause and kill."""

import os
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]


def start(script, *arguments):
    """Start a script of tests/graphs; its output is piped."""
    paths = os.pathsep.join([str(ROOT), str(ROOT / "tests")])
    command = [sys.executable, str(Path(__file__).parent / script), *map(str, arguments)]
    return subprocess.Popen(
        command, env={**os.environ, "PYTHONPATH": paths}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
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
