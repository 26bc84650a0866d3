"""prefect: a flow that submits one task run for each step, on the temporary server that prefect starts itself."""

import os
import tempfile
import time

_HOME = tempfile.TemporaryDirectory(prefix="planwave-bench-prefect-", ignore_cleanup_errors=True)
os.environ |= {
    "DO_NOT_TRACK": "1",
    "PREFECT_HOME": _HOME.name,
    "PREFECT_LOGGING_LEVEL": "ERROR",
    "PREFECT_SERVER_ALLOW_EPHEMERAL_MODE": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",
}

from prefect import flow, task  # noqa: E402 - prefect reads its settings when it is imported
from prefect.task_runners import ThreadPoolTaskRunner  # noqa: E402 - prefect reads its settings when it is imported
from protocol import Step, serve  # noqa: E402 - prefect reads its settings when it is imported


@task
def work(name: str) -> str:
    """Return a name."""
    return name


@flow(task_runner=ThreadPoolTaskRunner(max_workers=64))
def _plan(steps: list[Step]) -> int:
    made: dict = {}
    for step in steps:
        made[step["id"]] = work.submit(step["id"], wait_for=[made[need] for need in step["needs"]])
    return sum(future.result() == name for name, future in made.items())


def measure(steps: list[Step]) -> float:
    """Run the plan; steps come behind what they need."""
    begun = time.perf_counter()
    done = _plan(steps)
    spent = time.perf_counter() - begun
    if done != len(steps):
        raise RuntimeError(f"{done} of {len(steps)} tasks were done")
    return spent


if __name__ == "__main__":
    with _HOME:
        serve("prefect", measure)
