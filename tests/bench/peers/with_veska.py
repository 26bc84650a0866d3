"""veska: an orchestrator whose scripted model returns the plan, and an agent that answers at once."""

import json
import tempfile
import time

from protocol import Step, serve
from veska import Agent, Orchestrator
from veska.core.agent import AgentResult
from veska.providers.base import BaseProvider, ProviderResponse


class _Scripted(BaseProvider):
    provider_name = "scripted"

    def __init__(self, plan: dict) -> None:
        super().__init__()
        self._plan = plan

    async def chat(self, messages, tools=None, thinking=None, stream=False, **kwargs):
        return ProviderResponse(content=json.dumps(self._plan))

    def supports_thinking(self) -> bool:
        return False


class _Worker(Agent):
    async def arun(self, task, context=None, **kwargs):
        return AgentResult(self.name, success=True, output=task)


async def measure(steps: list[Step]) -> float:
    """Run the plan; veska takes a plan only from its own planning step."""
    tasks = [
        {"id": s["id"], "name": s["id"], "description": s["id"], "agent": "worker", "depends_on": s["needs"]}
        for s in steps
    ]
    provider = _Scripted({"name": "plan", "phases": [{"name": "all", "tasks": tasks}]})
    with tempfile.TemporaryDirectory() as folder:
        worker = _Worker(name="worker", provider=provider)
        orchestrator = Orchestrator(provider=provider, agents=[worker], storage_dir=folder)
        begun = time.perf_counter()
        result = await orchestrator.arun("run the plan")
        spent = time.perf_counter() - begun
    if not result.success or result.progress["completed"] != len(steps):
        raise RuntimeError(f"{result.progress}: {result.error}")
    return spent


if __name__ == "__main__":
    serve("veska", measure)
