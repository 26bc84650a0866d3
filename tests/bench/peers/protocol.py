"""What a peer's process speaks: a plan on each line of its input, seconds or an error on each line of its output.

Run by the interpreter of the peer's own environment, so it imports the standard library only.
"""

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Awaitable, Callable, Iterator
from importlib.metadata import version

Step = dict


def serve(package: str, measure: Callable[[list[Step]], float | Awaitable[float]]) -> None:
    """Answer each plan with what `measure` returns for it: the seconds it took to run."""
    with _own_output() as answer:
        answer({"ready": version(package)})
        with asyncio.Runner() as runner:
            for line in sys.stdin:
                try:
                    seconds = measure(json.loads(line)["steps"])
                    if not isinstance(seconds, float):
                        seconds = runner.run(_awaited(seconds))
                except Exception as error:  # noqa: BLE001 - whatever a peer raises is its answer
                    answer({"error": f"{type(error).__name__}: {error}"})
                else:
                    answer({"seconds": seconds})


async def _awaited(work: Awaitable[float]) -> float:
    return await work


@contextlib.contextmanager
def _own_output() -> Iterator[Callable[[dict], None]]:
    """Keep the output for answers; what a peer prints goes to standard error."""
    sys.stdout.flush()
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)

        def answer(record: dict) -> None:
            answers.write(json.dumps(record) + "\n")
            answers.flush()

        yield answer
