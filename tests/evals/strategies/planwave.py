"""Planwave as it is: the plan checked and mended, run by the graph, planned anew where a call fails."""

from collections.abc import Mapping
from typing import Any

from agent.planning.planner import PlanningFailure, make_plan
from agent.settings import Settings
from agent.tools.toolbox import Toolbox
from graphs.plan_execute import build_graph
from tests.evals.cases import Attempt, Call
from tests.evals.strategies.strategy import Bench, Strategy


async def attempt(bench: Bench) -> Attempt:
    """Run the case by the graph; where tools are only described, have the planner make its plan."""
    settings = Settings(approve="never", output_folder=bench.output, grace_s=1.0)
    if not bench.case.runs:
        return await _planned(bench, settings)
    graph = build_graph(tools=list(bench.tools), model=bench.choice, settings=settings)
    given: dict[str, Any] = {"goal": bench.case.goal}
    if bench.case.plan is not None:
        given["plan"] = dict(bench.case.plan)
    out = await graph.ainvoke(given, {"configurable": {"thread_id": bench.case.id}})
    tasks = (out.get("plan") or {}).get("tasks", [])
    results = out.get("results") or {}
    problems = tuple(out.get("problems") or ())
    return Attempt(
        calls=tuple(_call(task, results.get(task["id"]) or {}) for task in tasks),
        ending="finished" if out["status"] == "completed" else "broken" if results else "no plan",
        problems=problems,
        replans=int(out.get("replans") or 0),
    )


def _call(task: Mapping[str, Any], result: Mapping[str, Any]) -> Call:
    return Call(
        id=task["id"],
        tool=task["tool"],
        args=task.get("args", {}),
        needs=tuple(sorted({*task.get("depends_on", ()), *_referred(task.get("args", {}))})),
        text=task.get("description", ""),
        done=result.get("status") == "done",
        output=result.get("output"),
        error=str(result.get("error") or ""),
    )


def _referred(value: Any) -> set[str]:
    if isinstance(value, Mapping):
        own = {str(value["output_of"])} if "output_of" in value else set()
        return own.union(*map(_referred, value.values()))
    return set().union(*map(_referred, value)) if isinstance(value, list) else set()


async def _planned(bench: Bench, settings: Settings) -> Attempt:
    toolbox = Toolbox(bench.tools)
    made = await make_plan(
        bench.case.goal,
        context="",
        toolbox=toolbox,
        model=bench.model,
        settings=settings,
        limits=settings.build_limits(can_replan=False),
        emit=lambda _event: None,
    )
    if isinstance(made, PlanningFailure):
        return Attempt(calls=(), ending="no plan", problems=made.problems)
    calls = tuple(
        Call(id=name, tool=task.tool, args=task.args, needs=tuple(made.compiled.needs[name]), text=task.description)
        for name, task in made.compiled.tasks.items()
    )
    return Attempt(calls=calls, ending="finished")


STRATEGY = Strategy("planwave", attempt, code=("agent", "graphs", "prompts", "tests/evals/strategies/planwave.py"))
