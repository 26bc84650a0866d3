"""The server that LangGraph Studio talks to, on loopback."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Self
from urllib.error import URLError
from urllib.request import urlopen

ROOT = Path(__file__).parents[2]
_OURS = ("PLANWAVE_", "OPENAI_", "LANGSMITH_", "LANGCHAIN_", "LANGGRAPH_")
_STARTING_S = 120.0
_STOPPING_S = 20.0


class StudioServer:
    """`langgraph dev` in a folder of its own, without key, weights or network; use as a context manager."""

    def __init__(
        self,
        folder: Path,
        *,
        data: Path,
        has_own_file: bool = False,
        graphs: dict[str, dict[str, str]] | None = None,
        **settings: str,
    ) -> None:
        """Serve the graphs of `langgraph.json`, or `graphs` in their place, or what the folder's own file names."""
        self._has_own_file = has_own_file
        self.folder = folder
        self.graphs = graphs
        self.output = folder / "out"
        self.log = folder / "server.log"
        self.url = f"http://127.0.0.1:{_free_port()}"
        self._env = {name: value for name, value in os.environ.items() if not name.startswith(_OURS)} | {
            "PYTHONPATH": str(ROOT),
            "LANGGRAPH_CLI_NO_ANALYTICS": "1",
            "NO_PROXY": "127.0.0.1",
            "PLANWAVE_CACHE": str(folder / "cache"),
            "PLANWAVE_DATA_FOLDER": str(data),
            "PLANWAVE_OUTPUT_FOLDER": str(self.output),
            **settings,
        }

    def __enter__(self) -> Self:
        if not self._has_own_file:
            served = json.loads((ROOT / "langgraph.json").read_text(encoding="utf-8"))
            served["graphs"] = self.graphs or served["graphs"]
            (self.folder / "langgraph.json").write_text(json.dumps(served), encoding="utf-8")
        command = [str(Path(sys.executable).with_name("langgraph")), "dev", "--no-browser", "--no-reload"]
        command += ["--n-jobs-per-worker", "10", "--port", self.url.rpartition(":")[2]]
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                command, cwd=self.folder, env=self._env, stdout=log, stderr=log, start_new_session=True
            )
        try:
            self._wait_until_ready()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._stop()

    def _wait_until_ready(self) -> None:
        deadline = time.monotonic() + _STARTING_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise RuntimeError(f"The server ended while starting:\n{self.log.read_text()}")
            try:
                with urlopen(f"{self.url}/ok", timeout=5) as answer:  # noqa: S310 - our own server  # noqa: S310
                    if answer.status == 200:
                        return
            except (URLError, OSError):
                time.sleep(0.1)
        raise TimeoutError(f"The server did not start within {_STARTING_S:g} s:\n{self.log.read_text()}")

    def _stop(self) -> None:
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        try:
            self._process.wait(_STOPPING_S)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
