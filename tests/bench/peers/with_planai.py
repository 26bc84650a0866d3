"""planai: a graph of workers that are connected by the types of their tasks, so each level needs a type of its own."""

import time
from itertools import pairwise

from planai import Graph, Task, TaskWorker
from protocol import Step, serve


def measure(steps: list[Step]) -> float:
    """Run a plan without joins: many tasks for one worker, or a chain of workers; nothing else can be expressed.

    A worker is connected by the type of its input, and joins take all tasks of one origin: none can name two others.
    """
    if any(len(step["needs"]) > 1 for step in steps):
        raise NotImplementedError("a task that waits for two others by name has no form in planai")
    begun = time.perf_counter()
    depth = len(steps) if any(step["needs"] for step in steps) else 1
    done: list[str] = []
    types = [type(f"Task{level}", (Task,), {"__annotations__": {"label": str}}) for level in range(depth)]
    workers = [_Fan(output_types=[types[0]]), *(_worker(level, types, done)() for level in range(depth))]
    graph = Graph(name="plan")
    graph.add_workers(*workers)
    for first, second in pairwise(workers):
        graph.set_dependency(first, second)
    roots = [step["id"] for step in steps if not step["needs"]]
    graph.run([(workers[0], _Start(labels=roots))], display_terminal=False)
    spent = time.perf_counter() - begun
    if len(done) != len(steps):
        raise RuntimeError(f"{len(done)} of {len(steps)} tasks were done")
    return spent


class _Start(Task):
    labels: list[str]


class _Fan(TaskWorker):
    """Publishes the roots; given to `run` one by one, a hundred of them end it before all are done."""

    def consume_work(self, task: _Start):
        for label in task.labels:
            self.publish_work(self.output_types[0](label=label), input_task=task)


def _worker(level: int, types: list[type[Task]], done: list[str]) -> type[TaskWorker]:
    following = types[level + 1] if level + 1 < len(types) else None

    def consume_work(self, task):
        done.append(task.label)
        if following is not None:
            self.publish_work(following(label=task.label), input_task=task)

    consume_work.__annotations__ = {"task": types[level]}
    made = {"consume_work": consume_work, "output_types": [following] if following else []}
    annotations = {"output_types": list}
    return type(f"Worker{level}", (TaskWorker,), {**made, "__annotations__": annotations})


if __name__ == "__main__":
    serve("planai", measure)
