"""What a write costs that is claimed in the ledger of a SQLite file, whose claim waits for the disk."""

import asyncio
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from agent.execution.ledger import Claimed, Intent
from graphs.persistence import open_persistence
from tests.bench.figures import Finding, figure

BENCH = "claims"


def bench(*, quick: bool = False) -> Iterator[Finding]:
    """Yield the milliseconds of a claim, which waits for the disk, and of a completion, which does not."""
    with tempfile.TemporaryDirectory(prefix="planwave-bench-") as folder:
        claims, completions = asyncio.run(measured(Path(folder), writes=30 if quick else 1_000))
    yield figure(BENCH, "SQLite", "claim, on the disk", claims, unit="ms")
    yield figure(BENCH, "SQLite", "completion, in the log", completions, unit="ms")


async def measured(folder: Path, *, writes: int) -> tuple[list[float], list[float]]:
    """Return the milliseconds of each claim and of each completion."""
    claims, completions = [], []
    async with open_persistence(f"sqlite:///{folder}/claims.db") as persistence, persistence.lease("t"):
        for number in range(writes):
            intent = Intent(
                thread="t", revision=1, task=f"w{number}", tool="pay", args_digest="0" * 64, is_approval_waived=True
            )
            begun = time.perf_counter()
            claimed = await persistence.ledger.claim(intent)
            between = time.perf_counter()
            assert isinstance(claimed, Claimed)
            await persistence.ledger.complete(intent, epoch=claimed.epoch, record={"status": "done", "output": 1})
            claims.append((between - begun) * 1e3)
            completions.append((time.perf_counter() - between) * 1e3)
    return claims, completions
