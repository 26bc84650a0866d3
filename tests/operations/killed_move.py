"""A move in a process of its own, which a test may kill and another one take up."""

import os
from typing import Any

from langgraph.types import Command
from region_move import RegionMove
from regions import Company

from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from tests.operations.moving_world import plan


async def move(url: str, company: Company) -> dict[str, Any]:
    """Begin the move, or take up what is left of it, approve all that is asked and bring it to its end."""
    os.setsid()
    config: Any = {"configurable": {"thread_id": "move"}}
    async with open_persistence(url) as persistence:
        graph = build_graph(tools=RegionMove(company).tools(), persistence=persistence)
        left = await graph.aget_state(config)
        out = await graph.ainvoke(None if left.values else {"goal": "Move the orders", "plan": plan()}, config)
        asked = []
        while out["status"] == "awaiting_approval":
            requests = out["__interrupt__"][0].value["action_requests"]
            asked += [(request["task_id"], "doubt" in request) for request in requests]
            out = await graph.ainvoke(Command(resume={"decisions": [{"type": "approve"}] * len(requests)}), config)
        epochs = {row.intent.task: row.epoch for row in await persistence.ledger.list_rows("move")}
    return {"status": out["status"], "results": out["results"], "asked": asked, "epochs": epochs}
