"""How long Planwave takes to start, and what the largest part of that is."""

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.bench.figures import Finding, figure

BENCH = "start"
_ROOT = Path(__file__).parents[2]
_HELP_S = 0.5


def bench(*, quick: bool = False) -> Iterator[Finding]:
    """Yield the seconds of each part of a start, each time in a new process."""
    repetitions = 3 if quick else 11
    yield from of_graph(repetitions)
    yield from of_command(repetitions)


def of_graph(repetitions: int) -> Iterator[Finding]:
    """Yield how long a program waits for its first node; the profiled start, which fills the caches, is not counted."""
    child = (sys.executable, "-m", "tests.bench.start_child")
    largest = json.loads(_output((*child, "profile")))
    starts = [json.loads(_output(child)) for _ in range(repetitions)]
    largest["import"] = largest_import((sys.executable, "-c", "import graphs.plan_execute"))
    for name in starts[0]:
        note = f"largest part: {largest[name]}"
        yield figure(BENCH, "the graph", name, [start[name] for start in starts], unit="s", note=note)


def of_command(repetitions: int) -> Iterator[Finding]:
    """Yield how long a person waits for the command's help, beside a Python that does nothing."""
    command = planwave()
    _output(command)
    times = [_seconds(command) for _ in range(repetitions)]
    note = f"largest part: {largest_import((sys.executable, '-m', 'graphs.cli.app', '--help'))}"
    yield figure(BENCH, "the command", "planwave --help", times, unit="s", target=_HELP_S, note=note)
    empty = [_seconds((sys.executable, "-c", "pass")) for _ in range(repetitions)]
    yield figure(BENCH, "the command", "python that does nothing", empty, unit="s")


def planwave() -> tuple[str, ...]:
    """Return the installed command, or its module where it is not installed as one."""
    script = Path(sys.executable).with_name("planwave")
    return (str(script), "--help") if script.exists() else (sys.executable, "-m", "graphs.cli.app", "--help")


def largest_import(command: Sequence[str]) -> str:
    """Return the package whose modules took most of the time that imports took (`python -X importtime`)."""
    spent: Counter[str] = Counter()
    made = subprocess.run(
        (command[0], "-X", "importtime", *command[1:]), cwd=_ROOT, check=True, capture_output=True, text=True
    )
    for line in made.stderr.splitlines():
        cells = line.removeprefix("import time:").split("|")
        if line.startswith("import time:") and cells[0].strip().isdigit():
            spent[cells[2].strip().split(".")[0]] += int(cells[0])
    name, most = spent.most_common(1)[0]
    return f"{name} ({100 * most / spent.total():.0f} % of {spent.total() / 1e6:.2f} s of imports)"


def _output(command: Sequence[str]) -> str:
    return subprocess.run(command, cwd=_ROOT, check=True, capture_output=True, text=True).stdout


def _seconds(command: Sequence[str]) -> float:
    begun = time.perf_counter()
    _output(command)
    return time.perf_counter() - begun
