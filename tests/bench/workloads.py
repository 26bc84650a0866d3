"""The plans that are measured: two data sets with durations, and shapes of any size."""

import json
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, Literal

DATA = Path(__file__).parents[3] / "shared" / "data"
Shape = Literal["flat", "deep"]
SHAPES: tuple[Shape, ...] = ("flat", "deep")


@dataclass(frozen=True, slots=True)
class Step:
    """One task: what kind of work it is, what it waits for, and how long it takes."""

    id: str
    kind: str
    needs: tuple[str, ...]
    seconds: float


@dataclass(frozen=True)
class Workload:
    """A plan with durations; `bounds` are the lower bounds of its makespan by number of workers, where given."""

    name: str
    steps: tuple[Step, ...]
    bounds: dict[int, float] = field(default_factory=dict)

    @cached_property
    def critical_path(self) -> float:
        """Seconds of the longest path."""
        end: dict[str, float] = {}
        steps = {step.id: step for step in self.steps}
        for name in TopologicalSorter({step.id: step.needs for step in self.steps}).static_order():
            end[name] = steps[name].seconds + max((end[need] for need in steps[name].needs), default=0.0)
        return max(end.values())

    def bound(self, workers: int) -> float:
        """Return a lower bound of the makespan with so many workers: the critical path, or all the work shared."""
        known = self.bounds.get(workers)
        return known if known is not None else max(self.critical_path, sum(s.seconds for s in self.steps) / workers)

    def scaled(self, scale: float) -> "Workload":
        """Return the same plan with all durations times `scale`."""
        steps = tuple(replace(step, seconds=step.seconds * scale) for step in self.steps)
        return Workload(self.name, steps, {workers: bound * scale for workers, bound in self.bounds.items()})

    def levels(self) -> list[list[str]]:
        """Return the tasks level by level."""
        sorter = TopologicalSorter({step.id: step.needs for step in self.steps})
        sorter.prepare()
        found: list[list[str]] = []
        while sorter.is_active():
            ready = sorter.get_ready()
            found.append(list(ready))
            sorter.done(*ready)
        return found

    def document(self, *, scale: float = 1.0) -> dict[str, Any]:
        """Return the plan document; each task waits for its duration times `scale`."""
        return {
            "tasks": [
                {
                    "id": step.id,
                    "tool": step.kind,
                    "args": {"name": step.id, "seconds": step.seconds * scale},
                    "depends_on": list(step.needs),
                }
                for step in self.steps
            ]
        }


def shaped(shape: Shape, tasks: int) -> Workload:
    """Return `tasks` tasks that take no time: all at once (`flat`), or each behind the one before (`deep`)."""
    steps = tuple(Step(f"t{i}", "work", (f"t{i - 1}",) if shape == "deep" and i else (), 0.0) for i in range(tasks))
    return Workload(f"{shape} {tasks}", steps)


def asynchow() -> list[Workload] | None:
    """Return the plans of AsyncHow (Lin et al., ICML 2024, arXiv 2402.02805); None where they are not at hand."""
    records = _records("asynchow")
    if records is None:
        return None
    return [
        Workload(
            record["id"],
            tuple(
                Step(step["id"], "work", tuple(step["depends_on"]), float(step["duration_s"]))
                for step in record["steps"]
            ),
        )
        for record in records
    ]


def wfinstances() -> list[Workload] | None:
    """Return the measured workflows of WfInstances (wfcommons); None where they are not at hand."""
    records = _records("wfinstances")
    return None if records is None else [_workflow(record) for record in records]


def sample(workloads: Sequence[Workload], count: int, *, seed: int = 4) -> list[Workload]:
    """Return `count` of the workloads, always the same ones."""
    chosen = random.Random(seed)  # noqa: S311 - a choice, no secret
    return chosen.sample(list(workloads), min(count, len(workloads)))


def _workflow(record: dict[str, Any]) -> Workload:
    steps = tuple(
        Step(f"t{task['i']}", _kind(task["name"]), tuple(f"t{parent}" for parent in task["parents"]), task["runtime_s"])
        for task in record["tasks"]
    )
    bounds = {int(workers): known["lower_bound_s"] for workers, known in record["reference"]["k"].items()}
    return Workload(record["id"], steps, bounds)


def _kind(name: str) -> str:
    """Return what tasks of the same program have in common, which is the tool that they call."""
    return re.sub(r"[^A-Za-z]+", "_", re.sub(r"[_(]?(ID)?\d+.*$", "", name)).strip("_")[:60] or "work"


def _records(name: str) -> list[dict[str, Any]] | None:
    file = DATA / name / f"{name}.jsonl"
    return list(_lines(file)) if file.is_file() else None


def _lines(file: Path) -> Iterator[dict[str, Any]]:
    with file.open(encoding="utf-8") as lines:
        for line in lines:
            yield json.loads(line)
