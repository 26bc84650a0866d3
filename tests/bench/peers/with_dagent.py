"""dagent-ai: a static DAG of a registered Python tool, run by its runner."""

import tempfile
import time

import dagent
from dagent.providers.mock import MockProvider
from protocol import Step, serve


@dagent.tool
def work(name: str) -> str:
    """Return a name."""
    return name


async def measure(steps: list[Step]) -> float:
    """Run the plan in a workspace of its own, behind one more task: a task without a neighbour is refused."""
    with tempfile.TemporaryDirectory() as folder:
        runner = dagent.Runner(workspace=folder, provider=MockProvider(), capabilities=[work])
        try:
            begun = time.perf_counter()
            dag = dagent.Dag("plan")
            named = ["first", *(step["id"] for step in steps)]
            nodes = {name: dag.add_node(dagent.Node(id=name, target=work, inputs={"name": name})) for name in named}
            for step in steps:
                for need in step["needs"] or ["first"]:
                    dag.add_edge(nodes[need], nodes[step["id"]])
            result = await runner.run(dag, workspace_root=folder)
            spent = time.perf_counter() - begun
        finally:
            runner.close()
    if result.status != "completed":
        raise RuntimeError(f"the run ended as {result.status}")
    return spent


if __name__ == "__main__":
    serve("dagent-ai", measure)
