"""How what a run costs grows with its plan."""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.bench.figures import Finding, Unmeasured, exponent, figure
from tests.bench.workloads import SHAPES, Shape

BENCH = "growth"
_ROOT = Path(__file__).parents[2]
_SIZES = (10, 100, 1000, 10_000)
_UNITS = {"checkpoint bytes": "B", "database bytes": "B", "peak memory": "B", "peak memory with resume": "B"}
#: Seconds that one size may take.
_PATIENCE_S = 600


def bench(*, quick: bool = False) -> Iterator[Finding]:
    """Yield each quantity at each size, and the exponent by which it grows."""
    yield from measured(_SIZES[:2] if quick else _SIZES)


def measured(sizes: tuple[int, ...]) -> Iterator[Finding]:
    """Yield the figures for both shapes."""
    for shape in SHAPES:
        points: dict[str, list[tuple[float, float]]] = {}
        for size in sizes:
            found, trouble = _child(shape, size)
            for name, value in found.items():
                points.setdefault(name, []).append((size, value))
                yield figure(BENCH, f"{shape} {size}", name, [value], unit=_UNITS.get(name, "s"))
            if trouble:
                yield Unmeasured(BENCH, f"{shape} {size}", trouble)
        for name, measured_at in points.items():
            if len(measured_at) > 1:
                yield _exponent(shape, name, measured_at)


def _exponent(shape: Shape, name: str, points: list[tuple[float, float]]) -> Finding:
    """Fit all sizes; the last step alone shows what small plans hide behind what every run costs."""
    # What is too small to be measured is no point of a line.
    seen = [(size, value) for size, value in points if value > 0]
    if len(seen) < 2:
        return Unmeasured(BENCH, f"{shape}, exponent of {name}", "too small to be measured")
    last = f"{exponent(seen[-2:]):.2f} from {seen[-2][0]:,} to {seen[-1][0]:,} tasks"
    return figure(
        BENCH,
        f"{shape}, {seen[0][0]:,} to {seen[-1][0]:,}",
        f"exponent of {name}",
        [exponent(seen)],
        unit="",
        note=last,
    )


def _child(shape: Shape, size: int) -> tuple[dict[str, float], str]:
    """Return the figures of one size, and why there are no more of them where there are not."""
    command = (sys.executable, "-m", "tests.bench.growth_child", shape, str(size))
    trouble = ""
    try:
        made = subprocess.run(command, cwd=_ROOT, check=True, capture_output=True, timeout=_PATIENCE_S)
        told = made.stdout
    except subprocess.TimeoutExpired as error:
        told, trouble = error.stdout or b"", f"the parts that are missing took longer than {_PATIENCE_S} s"
    except subprocess.CalledProcessError as error:
        told, trouble = error.stdout, " ".join(error.stderr.decode(errors="replace").split())[-300:]
    found: dict[str, float] = {}
    for line in told.decode().splitlines():
        found |= json.loads(line)
    return found, trouble
