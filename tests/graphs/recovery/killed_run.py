"""A run of one query that kills its process before it stores its k-th checkpoint."""

import os
import signal
from pathlib import Path
from typing import Any

from agent.settings import Settings
from agent.tools.analytics import default_tools
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from graphs.stores.sqlite import SqliteCheckpointSaver

PLAN = {"tasks": [{"id": "q", "tool": "query_database", "args": {"sql": "SELECT 1 AS n"}}]}


async def run(url: str, data: str, thread: str, *, kill_before: int | None = None) -> int:
    """Run the plan and return how many checkpoints were stored."""
    put, stored = SqliteCheckpointSaver.put, 0

    def count_or_kill(this: SqliteCheckpointSaver, *args: Any) -> Any:
        nonlocal stored
        stored += 1
        if stored == kill_before:
            os.kill(os.getpid(), signal.SIGKILL)
        return put(this, *args)

    SqliteCheckpointSaver.put = count_or_kill  # type: ignore[method-assign]
    settings = Settings(data_folder=Path(data))
    async with open_persistence(url) as persistence:
        graph = build_graph(tools=default_tools(settings, None), settings=settings, persistence=persistence)
        await graph.ainvoke({"goal": "g", "plan": PLAN}, {"configurable": {"thread_id": thread}})
    return stored
