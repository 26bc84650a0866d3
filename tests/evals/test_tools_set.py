"""The goals over tools of one's own: each can be reached by its gold calls, and by nothing less or more."""

import json
from pathlib import Path

import pytest

from agent.llm.models import resolve_model
from agent.tools.toolbox import Toolbox
from tests.evals.cases import Attempt, half
from tests.evals.records import Key
from tests.evals.running import run_case
from tests.evals.sets import tools
from tests.evals.sets.tools_goals import TOOL_GOALS, GoldCall, Says
from tests.evals.sets.tools_world import READS, build_tools
from tests.evals.strategies import STRATEGIES
from tests.support.openai_endpoint import Endpoint, Text

GOALS = {goal.name: goal for goal in TOOL_GOALS}
CASES = {case.id: case for case in tools.cases()}
FINISHED = Attempt(calls=(), ending="finished")
REFUSED = Attempt(calls=(), ending="no plan")


async def make_calls(goal, calls, folder: Path):
    """Make calls in their order; what the gold leaves free is filled in."""
    made = {tool.name: tool for tool in build_tools(goal.parts, folder)}
    for call in calls:
        schema = Toolbox([made[call.tool]]).specs[call.tool].args_schema["properties"]
        free = {name: 1 if part.get("type") == "integer" else "desk" for name, part in schema.items()}
        given = {name: " and ".join(each.words) if isinstance(each, Says) else each for name, each in call.args.items()}
        await made[call.tool].ainvoke({**free, **given})


def test_there_are_goals_of_each_half():
    counts = [half(case.id) for case in tools.cases()]
    assert len(counts) >= 30
    assert min(counts.count("work"), counts.count("held")) >= 15


@pytest.mark.parametrize("name", [name for name, goal in GOALS.items() if not goal.asks])
async def test_a_goal_is_reached_by_its_gold_calls_and_no_others(name, tmp_path):
    goal = GOALS[name]
    await make_calls(goal, (*goal.reads, *goal.writes), tmp_path)
    verdict = tools.judged(goal, FINISHED, tmp_path)
    assert verdict.right, verdict.why
    assert not tools.judged(goal, REFUSED, tmp_path).right
    await make_calls(
        goal, [next(GoldCall(t.name, {}) for t in build_tools(goal.parts, tmp_path) if t.name not in READS)], tmp_path
    )
    assert "was not asked for" in tools.judged(goal, FINISHED, tmp_path).why


@pytest.mark.parametrize("name", [name for name, goal in GOALS.items() if goal.writes])
async def test_a_goal_is_missed_without_the_last_write(name, tmp_path):
    goal = GOALS[name]
    await make_calls(goal, (*goal.reads, *goal.writes[:-1]), tmp_path)
    assert f"no {goal.writes[-1].tool}" in tools.judged(goal, FINISHED, tmp_path).why


@pytest.mark.parametrize("name", [name for name, goal in GOALS.items() if goal.order])
async def test_a_goal_is_missed_in_the_wrong_order(name, tmp_path):
    goal = GOALS[name]
    await make_calls(goal, reversed(goal.writes), tmp_path)
    assert "had ended" in tools.judged(goal, FINISHED, tmp_path).why


@pytest.mark.parametrize("name", [name for name, goal in GOALS.items() if goal.asks])
async def test_what_is_missing_is_asked_for_and_not_invented(name, tmp_path):
    goal = GOALS[name]
    assert tools.judged(goal, REFUSED, tmp_path).right
    assert not tools.judged(goal, FINISHED, tmp_path).right
    written = next(t.name for t in build_tools(goal.parts, tmp_path) if t.name not in READS)
    await make_calls(goal, [GoldCall(written, {})], tmp_path)
    assert not tools.judged(goal, REFUSED, tmp_path).right


async def test_planwave_runs_a_goal_of_the_set(monkeypatch):
    script = "a = list_tickets('open')\nb = send_email('bob@example.com', 'Open', f'Open tickets: {a}')"
    with Endpoint(lambda request: Text(script)) as endpoint:
        for variable, value in {**endpoint.env, "PLANWAVE_MODEL_SCALE": "small"}.items():
            monkeypatch.setenv(variable, value)
        line = await run_case(
            CASES["open_tickets_by_mail"],
            STRATEGIES["planwave"],
            choice="openai:scripted",
            model=resolve_model("openai:scripted", scale="small"),
            key=Key("tools", "planwave", "m", "c"),
            budget_s=30,
        )
    assert line.right, (line.why, json.dumps(line.plan, default=str))
