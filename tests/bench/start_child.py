"""One start of Planwave measured in a process of its own; prints one JSON object.

With `profile` each part is profiled instead, and the object names the package that took most of it.
"""

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from cProfile import Profile
from pathlib import PurePath
from pstats import Stats
from typing import Any


def imported() -> Any:
    """Import the graph's module."""
    import graphs.plan_execute

    return graphs.plan_execute


def built() -> Any:
    """Build a graph over one reading tool, in memory."""
    from langchain_core.tools import StructuredTool
    from langgraph.checkpoint.memory import InMemorySaver

    from graphs.plan_execute import build_graph

    async def look(name: str) -> str:
        return name

    metadata = {"readOnlyHint": True}
    tool = StructuredTool.from_function(coroutine=look, name="look", description="Look.", metadata=metadata)
    return build_graph(tools=[tool], checkpointer=InMemorySaver())


async def first_node(graph: Any) -> None:
    """Start a run and wait until its first node begins."""
    given = {"goal": "start", "plan": {"tasks": [{"id": "a", "tool": "look", "args": {"name": "a"}}]}}
    stream = graph.astream(given, {"configurable": {"thread_id": "start"}}, stream_mode=["tasks", "custom"])
    async for _ in stream:
        break
    await stream.aclose()


def main(*, profile: bool) -> None:
    """Measure the parts in the order in which a program comes by them."""
    found: dict[str, Any] = {}

    def part(name: str, work: Callable[[], Any]) -> Any:
        profiler = Profile() if profile else None
        begun = time.perf_counter()
        made = profiler.runcall(work) if profiler else work()
        spent = time.perf_counter() - begun
        found[name] = largest(profiler) if profiler else spent
        return made

    part("import", imported)
    graph = part("build the graph", built)
    part("to the first node", lambda: asyncio.run(first_node(graph)))
    print(json.dumps(found))


def largest(profiler: Profile) -> str:
    """Return the package in which most of the time was spent, with its share."""
    spent: Counter[str] = Counter()
    for (file, _, _), (_, _, own, _, _) in Stats(profiler).stats.items():  # type: ignore[attr-defined]
        spent[_package(file)] += own
    name, most = spent.most_common(1)[0]
    return f"{name} ({100 * most / sum(spent.values()):.0f} %)"


def _package(file: str) -> str:
    parts = PurePath(file).parts
    if "site-packages" in parts:
        return parts[parts.index("site-packages") + 1].removesuffix(".py")
    for room in ("graphs", "agent", "prompts"):
        if room in parts:
            return room
    return "the interpreter" if file.startswith(("~", "<")) else "the standard library"


if __name__ == "__main__":
    main(profile="profile" in sys.argv[1:])
