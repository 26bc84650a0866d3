"""Runs to be reported, each finished, waiting or failed in a way that a report has to show."""

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from langchain_openai import ChatOpenAI
from langgraph.types import Command

from agent.report.model import RunReport
from agent.settings import Settings
from agent.tools.analytics import default_tools
from graphs.compiled_graph import PlanwaveGraph
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from tests.support.openai_endpoint import Endpoint
from tests.support.shelf import Shelf
from tests.support.worlds import APPROVE, READ, World, ref, thread

HOSTILE = '</script><script>window.ran = true</script><img src="x" onerror="window.ran = true">'


class Unsteady(World):
    """A world in which `flaky` fails twice before it answers."""

    def __init__(self) -> None:
        super().__init__()
        self.tries = 0

    def tools(self) -> list[Any]:
        return [*super().tools(), self.tool("flaky", self.flaky, READ)]

    async def flaky(self, value: Any) -> dict[str, Any]:
        self.tries += 1
        await asyncio.sleep(0.05)
        if self.tries < 3:
            raise ConnectionError("the line is busy")
        return {"value": value, "warnings": ["The line was busy before."]}


@asynccontextmanager
async def opened(folder: Path, tools: Any, **options: Any) -> AsyncIterator[PlanwaveGraph]:
    """Yield a graph over these tools with a database of its own."""
    async with open_persistence(f"sqlite:///{folder / 'runs.db'}") as stored:
        yield build_graph(tools=tools, persistence=stored, **options)


async def approve_all(graph: PlanwaveGraph, out: dict[str, Any]) -> dict[str, Any]:
    """Approve whatever is asked until nothing is."""
    while out["status"] == "awaiting_approval":
        count = sum(len(each.value["action_requests"]) for each in out["__interrupt__"])
        out = await graph.ainvoke(Command(resume={"decisions": APPROVE["decisions"] * count}), thread())
    return out


async def report_analysis(folder: Path) -> RunReport:
    """Report a run over the sample shop: queries, a chart, a file that is written, and an answer that cites them."""

    def query(task: str, sql: str, about: str) -> dict[str, Any]:
        return {"id": task, "tool": "query_database", "args": {"sql": sql}, "description": about}

    months = (
        "SELECT strftime(order_date, '%Y-%m') AS month, count(*) AS orders FROM orders"
        " WHERE status <> 'cancelled' GROUP BY 1 ORDER BY 1"
    )
    count = "count(*)"
    plan = {
        "phases": {"read": "What the shop knows", "show": "What the reader sees"},
        "tasks": [
            query("months", months, "Orders by month") | {"phase": "read"},
            query(
                "states", f"SELECT status, {count} AS orders FROM orders GROUP BY 1 ORDER BY 2 DESC", "Orders by status"
            ),
            query("customers", "SELECT count(*) AS customers FROM customers", "How many customers there are"),
            query(
                "products",
                f"SELECT category_id, {count} AS products FROM products GROUP BY 1 ORDER BY 2 DESC",
                "Products",
            ),
            {
                "id": "chart",
                "tool": "draw_chart",
                "phase": "show",
                "args": {"rows": ref("months", "rows"), "kind": "line", "x": "month", "y": "orders"},
                "description": "Orders by month, drawn",
            },
            {
                "id": "by_status",
                "tool": "draw_chart",
                "phase": "show",
                "args": {"rows": ref("states", "rows"), "kind": "bar", "x": "status", "y": "orders"},
                "description": "Orders by status, drawn",
            },
            {
                "id": "save",
                "tool": "save_file",
                "args": {"path": "months.csv", "content": ref("months", "rows")},
                "description": "Keep the months as a file",
                "depends_on": ["chart"],
            },
        ],
    }
    settings = Settings(output_folder=folder / "output", data_folder=folder)
    async with opened(folder, default_tools(settings, None), settings=settings) as graph:
        out = await graph.ainvoke({"goal": "How did orders develop, and where do they stand?", "plan": plan}, thread())
        await approve_all(graph, out)
        return await graph.aget_report(thread())


async def report_waiting(folder: Path) -> RunReport:
    """Report a run that waits for an approval, with hostile texts in goal, plan and results."""
    world = Unsteady()
    plan = {
        "tasks": [
            {"id": "orders", "tool": "look", "args": {"value": {"rows": [{"region": HOSTILE, "revenue": 1234.5}]}}},
            {
                "id": "flaky",
                "tool": "flaky",
                "args": {"value": 980.25},
                "max_retries": 3,
                "description": f"Ask {HOSTILE}",
            },
            {"id": HOSTILE.replace(" ", "_"), "tool": "look", "args": {"value": ref("flaky", "value")}},
            {"id": "keep", "tool": "write", "args": {"value": ref("orders", "value")}, "depends_on": ["flaky"]},
        ]
    }
    async with opened(folder, world.tools(), settings=Settings()) as graph:
        await graph.ainvoke({"goal": f"Keep the revenue {HOSTILE}", "plan": plan}, thread())
        return await graph.aget_report(thread())


async def report_failure_with_rollback(folder: Path) -> RunReport:
    """Report a run that is replanned after a failure, fails again, and undoes what it wrote."""
    shelf = Shelf()
    shelf.failing |= {1, 2}
    plan = {
        "tasks": [
            {"id": "start", "tool": "look", "args": {"value": 7}},
            {"id": "w", "tool": "put", "args": {"name": "a"}, "depends_on": ["start"], "description": "Put it there"},
            {"id": "a", "tool": "look", "args": {"value": 1}, "depends_on": ["w"]},
            {"id": "b", "tool": "look", "args": {"value": ref("a", "value")}},
        ]
    }
    script = (
        {
            "reason": "Try the next.",
            "decision": {
                "action": "retry",
                "changes": [{"task": "a", "tool": "look", "args": {"value": 2}}],
                "skip": [],
            },
        },
        {"reason": "Nothing helps.", "decision": {"action": "abort"}},
    )
    with Endpoint(script) as endpoint:
        model = ChatOpenAI(model="scripted", base_url=endpoint.url, api_key="sk-test", timeout=10)
        async with opened(folder, shelf.tools(), model=model) as graph:
            out = await graph.ainvoke({"goal": "Put it where it belongs", "plan": plan}, thread())
            await approve_all(graph, out)
            return await graph.aget_report(thread())


async def report_large(folder: Path, *, tasks: int = 1_000) -> RunReport:
    """Report a run of many tasks: half of them a tangle, the other half wide fans."""
    world, draw = World(), random.Random(7)  # noqa: S311 - the same tangle each time
    listed: list[dict[str, Any]] = [{"id": "t0", "tool": "look", "args": {"value": 0}}]
    for number in range(1, tasks // 2):
        needs = draw.sample(range(max(0, number - 30), number), min(number, draw.choice([1, 1, 2, 2, 3])))
        tool = draw.choice(["look", "look", "wait"])
        args = {"seconds": draw.random() / 50} if tool == "wait" else {"value": number}
        listed.append({"id": f"t{number}", "tool": tool, "args": args, "depends_on": [f"t{need}" for need in needs]})
    for number in range(tasks // 2, tasks):
        args = {"value": {"rows": [{"place": number, "value": draw.random()}] * 5}}
        listed.append({"id": f"fan{number}", "tool": "look", "args": args, "depends_on": [f"t{number % 3}"]})
    async with opened(folder, world.tools(), settings=Settings(max_tasks=tasks)) as graph:
        await graph.ainvoke({"goal": f"Look at {tasks} things", "plan": {"tasks": listed}}, thread())
        return await graph.aget_report(thread())
