"""The graph for a LangGraph server: with `PLANWAVE_DB` in Planwave's own database, whatever the server brings along."""

import os
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import anyio.to_thread
from langchain_core.runnables import RunnableConfig

from graphs.compiled_graph import PlanwaveGraph
from graphs.langgraph_internals import CONFIG_KEY_CHECKPOINTER
from graphs.persistence import open_for_process
from graphs.plan_execute import build_graph, get_default_graph

_lock = threading.Lock()
_graphs: dict[str, PlanwaveGraph] = {}


@asynccontextmanager
async def graph(config: RunnableConfig) -> AsyncIterator[PlanwaveGraph]:
    """Yield the graph over the default tools, as `langgraph.json` names it; the server calls this for each request.

    The database of `PLANWAVE_DB` is opened once and held for the life of the process, so that leases, the ledger of
    writes and approvals outlive a worker that is killed. Without the variable this is the graph of `get_default_graph`,
    whose ledger is in memory. Raises as `open_persistence`.
    """
    url = os.environ.get("PLANWAVE_DB")
    if not url:
        yield await anyio.to_thread.run_sync(get_default_graph)
        return
    # The server puts its own saver here, and LangGraph would prefer it to that of the graph.
    config.get("configurable", {}).pop(CONFIG_KEY_CHECKPOINTER, None)
    yield await anyio.to_thread.run_sync(_get_stored_graph, url)


def _get_stored_graph(url: str) -> PlanwaveGraph:
    with _lock:
        if url not in _graphs:
            _graphs[url] = build_graph(persistence=open_for_process(url))
        return _graphs[url]
