"""A goal run by the embedded model on the sample shop, and its results held against gold rows.

`python -m tests.local.workbench [tuned|shop|NAME ...]` prints plans, rows and verdicts as they are.
"""

import asyncio
import json
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb
from langchain_core.runnables import RunnableConfig
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from agent.settings import Settings
from agent.tools.sample_data import ensure_shop
from graphs.plan_execute import build_graph
from tests.evals.sets.goal import Goal
from tests.evals.sets.goals_shop import SHOP
from tests.evals.sets.grading import same_rows
from tests.local.shop_goals import TUNED

#: Bytes; the axes alone take more.
_SMALLEST_CHART = 3_000


@dataclass(frozen=True)
class Verdict:
    """What is wrong with a run, nothing if it is right, and what it took."""

    wrong: tuple[str, ...]
    seconds: float
    calls: int
    out: dict[str, Any]


async def run_goal(goal: Goal, *, shop_folder: Path, output: Path) -> Verdict:
    """Run a goal by the graph with its default tools and the model `local`; every call that asks is approved."""
    settings = Settings(data_folder=shop_folder, output_folder=output)
    graph = build_graph(model="local", settings=settings, checkpointer=InMemorySaver())
    thread: RunnableConfig = {"configurable": {"thread_id": goal.name}}
    began = time.monotonic()
    out = await graph.ainvoke({"goal": goal.text}, thread)
    while out.get("__interrupt__"):
        asked = out["__interrupt__"][0].value["action_requests"]
        out = await graph.ainvoke(Command(resume={"decisions": [{"type": "approve"}] * len(asked)}), thread)
    seconds = time.monotonic() - began
    with duckdb.connect(str(ensure_shop(shop_folder)), read_only=True) as connection:
        wrong = tuple(_faults(goal, out, connection))
    return Verdict(wrong, seconds, int((out.get("usage") or {}).get("calls", 0)), out)


def _faults(goal: Goal, out: dict[str, Any], connection: duckdb.DuckDBPyConnection) -> Iterable[str]:
    if out["status"] != "completed":
        yield f"it ended as {out['status']}: {out.get('problems')}"
        return
    done = {task: result for task, result in out["results"].items() if result["status"] == "done"}
    outputs = [result["output"] for result in done.values() if isinstance(result["output"], dict)]
    given = [output["rows"] for output in outputs if isinstance(output.get("rows"), list)]
    for gold in goal.golds:
        rows = connection.execute(gold.sql).fetchall()
        if not any(same_rows(rows, one, ordered=gold.ordered) for one in given):
            yield f"no task gave {rows[:5]}"
    charts = [output for output in outputs if "png" in output]
    if goal.chart and not charts:
        yield "no chart was drawn"
    for file in (Path(chart[kind]) for chart in charts for kind in ("png", "svg", "html")):
        if not file.is_file() or file.stat().st_size < _SMALLEST_CHART:
            yield f"{file.name} is missing or empty"
    saved = [Path(str(output["path"])) for output in outputs if "path" in output]
    if goal.file and not any(file.suffix == goal.file and file.is_file() for file in saved):
        yield f"no {goal.file} was saved"
    if not str(out.get("answer") or "").strip():
        yield "the answer is empty"


def chosen(words: Sequence[str]) -> list[Goal]:
    """Return the goals that the command line names."""
    lists = {"tuned": TUNED, "shop": SHOP}
    named = {goal.name: goal for goal in (*TUNED, *SHOP)}
    return [goal for word in words or ("tuned",) for goal in lists.get(word, (named.get(word),)) if goal]


def line(goal: Goal, verdict: Verdict) -> str:
    """Return a run in one line: verdict, seconds, model calls, the plan's tools, what is wrong."""
    tools = ",".join(task["tool"] for task in (verdict.out.get("plan") or {}).get("tasks", []))
    word = "WRONG" if verdict.wrong else "RIGHT"
    told = f"{goal.name:<20} {word} {verdict.seconds:6.1f} s {verdict.calls} calls  {tools}"
    return f"{told}  {'; '.join(verdict.wrong)}".rstrip()


def told(goal: Goal, verdict: Verdict) -> str:
    """Return a run as text: the plan's calls, the first rows of each result, the verdict."""
    lines = [f"=== {goal.name}: {goal.text}"]
    for task in (verdict.out.get("plan") or {}).get("tasks", []):
        lines.append(f"  {task['id']} {task['tool']} {json.dumps(task.get('args', {}), ensure_ascii=False)}")
        result = verdict.out["results"].get(task["id"], {})
        output = result.get("output")
        rows = output.get("rows") if isinstance(output, dict) else None
        shown = rows[:5] if isinstance(rows, list) else output
        lines.append(
            f"    {result.get('status')} {result.get('error') or ''} {json.dumps(shown, ensure_ascii=False)[:500]}"
        )
    lines.append(line(goal, verdict))
    return "\n".join(lines)


async def _main(words: Sequence[str]) -> None:
    shop_folder = Settings().data_folder
    right = 0
    goals = chosen(words)
    for goal in goals:
        with TemporaryDirectory() as folder:
            verdict = await run_goal(goal, shop_folder=shop_folder, output=Path(folder))
            print(told(goal, verdict), flush=True)
            right += not verdict.wrong
    print(f"{right} of {len(goals)} right")


if __name__ == "__main__":
    asyncio.run(_main(sys.argv[1:]))
