"""efficient-agent-protocol: one macro request whose steps refer to each other's outputs, over its SQLite state."""

import tempfile
import time
from pathlib import Path

from eap.environment.executor import AsyncLocalExecutor
from eap.environment.tool_registry import ToolRegistry
from eap.protocol.models import ExecutionLimits
from eap.protocol.state_manager import StateManager
from eap.workflow_helpers import WorkflowBuilder
from protocol import Step, serve

_SCHEMA = {
    "name": "work",
    "description": "Return a name.",
    "parameters": {
        "type": "object",
        "properties": {"name": {"type": "string"}, "needs": {"type": "array"}},
        "required": ["name", "needs"],
    },
}


def _work(name: str, needs: list) -> str:
    return name


async def measure(steps: list[Step]) -> float:
    """Run the plan; a dependency is an argument that refers to the other step, there is no other kind."""
    with tempfile.TemporaryDirectory() as folder:
        registry = ToolRegistry()
        registry.register("work", _work, _SCHEMA)
        limits = ExecutionLimits(max_global_concurrency=len(steps))
        state = StateManager(db_path=str(Path(folder) / "state.db"))
        executor = AsyncLocalExecutor(state, registry, default_execution_limits=limits)
        begun = time.perf_counter()
        builder = WorkflowBuilder()
        for step in steps:
            needs = [f"$step:{need}" for need in step["needs"]]
            builder.step(step["id"], "work", name=step["id"], needs=needs)
        out = await executor.execute_macro(builder.build())
        spent = time.perf_counter() - begun
        summary = state.get_execution_summary(out["metadata"]["execution_run_id"])
    if summary["succeeded_steps"] != len(steps):
        raise RuntimeError(f"{summary['succeeded_steps']} of {len(steps)} steps succeeded")
    return spent


if __name__ == "__main__":
    serve("efficient-agent-protocol", measure)
