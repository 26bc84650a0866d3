"""Peers from the package index that run a given plan, each in an environment and a process of its own."""

import asyncio
import json
import shutil
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.bench.workloads import Workload, shaped

_SCRIPTS = Path(__file__).parent
#: Environments are kept here between runs of the bench.
_ENVIRONMENTS = Path(tempfile.gettempdir()) / "planwave-bench-peers"
#: By distribution: the script that drives it, and what else its environment needs.
_PEERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "planai": ("with_planai.py", ()),
    "veska": ("with_veska.py", ()),
    "langgoap": ("with_langgoap.py", ()),
    "efficient-agent-protocol": ("with_eap.py", ()),
    "dagent-ai": ("with_dagent.py", ()),
    # Its server calls FastAPI's `Body` with a parameter that later versions have not; the newest it allows has not.
    "prefect": ("with_prefect.py", ("fastapi<0.140",)),
}
_INSTALL_S = 180
_START_S = 180


@dataclass(frozen=True, slots=True)
class NoPeer:
    """A peer that cannot be run here."""

    name: str
    reason: str


class Peer:
    """An installed peer, which runs plans in a process of its own."""

    def __init__(self, name: str, *, python: Path, script: Path) -> None:
        self.name = name
        self.version = ""
        self._command = (str(python), str(script))
        self._process: asyncio.subprocess.Process | None = None

    async def run(self, workload: Workload) -> float:
        """Return the seconds that the peer took for a plan, as it says itself.

        Raises `RuntimeError` with what the peer says is wrong; cancelled, its process is ended.
        """
        if self._process is None:
            raise RuntimeError("its process has ended")
        try:
            return await self._asked(self._process, workload)
        except asyncio.CancelledError:
            await self.close()
            raise

    async def close(self) -> None:
        """End the process."""
        process, self._process = self._process, None
        if process is not None and process.returncode is None:
            process.terminate()
            try:
                await asyncio.wait_for(process.wait(), timeout=10)
            except TimeoutError:
                process.kill()
                await process.wait()

    async def start(self) -> None:
        """Start the process unless it runs, and have it run a small plan: what it does but once is not measured.

        Raises `RuntimeError` with what the peer says is wrong, `TimeoutError` where it is not ready in time.
        """
        if self._process is not None:
            return
        pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
        self._process = await asyncio.create_subprocess_exec(*self._command, stdin=pipe, stdout=pipe, stderr=nothing)
        try:
            async with asyncio.timeout(_START_S):
                self.version = str((await _answer(self._process))["ready"])
                await self._asked(self._process, shaped("deep", 3))
        except (RuntimeError, TimeoutError):
            await self.close()
            raise

    @staticmethod
    async def _asked(process: asyncio.subprocess.Process, workload: Workload) -> float:
        steps = [{"id": step.id, "needs": step.needs} for step in workload.steps]
        process.stdin.write(json.dumps({"steps": steps}).encode() + b"\n")
        await process.stdin.drain()
        return float((await _answer(process))["seconds"])


async def _answer(process: asyncio.subprocess.Process) -> dict[str, Any]:
    line = await process.stdout.readline()
    if not line:
        raise RuntimeError(f"its process ended with status {await process.wait()}")
    answer: dict[str, Any] = json.loads(line)
    if "error" in answer:
        raise RuntimeError(answer["error"])
    return answer


def found_peers() -> list[Peer | NoPeer]:
    """Return the peers, installed if need be; what cannot be had comes with its reason."""
    return [_installed(name, script, extra) for name, (script, extra) in _PEERS.items()]


def _installed(name: str, script: str, extra: tuple[str, ...]) -> Peer | NoPeer:
    uv = shutil.which("uv")
    if uv is None:
        return NoPeer(name, "uv, which makes its environment, is not on the path")
    folder = _ENVIRONMENTS / name
    python, complete = folder / "bin" / "python", folder / "complete"
    if not complete.exists():
        _ENVIRONMENTS.mkdir(parents=True, exist_ok=True)
        commands = (
            (uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)),
            (uv, "pip", "install", "--quiet", "--python", str(python), name, *extra),
        )
        for command in commands:
            try:
                subprocess.run(command, check=True, capture_output=True, text=True, timeout=_INSTALL_S)
            except subprocess.CalledProcessError as error:
                return NoPeer(name, f"cannot be installed: {' '.join(error.stderr.split())[:200]}")
            except subprocess.TimeoutExpired:
                return NoPeer(name, f"was not installed within {_INSTALL_S} s")
        complete.touch()
    return Peer(name, python=python, script=_SCRIPTS / script)
