"""Broken worlds: each can be mended as it says, is broken until then, and is judged by what comes of it."""

from dataclasses import replace
from pathlib import Path

import pytest

from agent.llm.models import resolve_model
from tests.evals.records import Key
from tests.evals.running import run_case
from tests.evals.sets import broken
from tests.evals.strategies import STRATEGIES
from tests.evals.strategies.calling import called_in_order
from tests.evals.strategies.oneshot import given_calls
from tests.support.openai_endpoint import Endpoint

CASES = {case.id: case for case in broken.cases()}
WORLDS = {world.name: world for world in broken.WORLDS}
REACHABLE = [name for name, world in WORLDS.items() if world.value is not None]
RIGHT = {
    "Munchen": "Munich",
    "dollar": "USD",
    "office chairs": "office chair",
    "chairs": "office chair",
    2202: 2022,
    "P100": "P-100",
}


def no_writer():
    raise AssertionError("nothing is written here")


async def by_hand(world, *, mended: bool):
    """Run the world's plan as it stands, or with right arguments in a world without faults."""
    if mended:
        world = replace(world, faults={})
    calls = given_calls({"tasks": world.tasks})
    if mended:
        calls = [
            replace(call, args={name: RIGHT.get(each, each) for name, each in call.args.items()}) for call in calls
        ]
    attempt = await called_in_order(calls, broken._tools(world, Path(), no_writer))
    return broken.judged(world, attempt, Path())


@pytest.mark.parametrize("name", REACHABLE)
async def test_a_reachable_world_is_broken_and_can_be_mended(name):
    assert not (await by_hand(WORLDS[name], mended=False)).right
    verdict = await by_hand(WORLDS[name], mended=True)
    assert verdict.right, verdict.why


@pytest.mark.parametrize("name", sorted(WORLDS.keys() - set(REACHABLE)))
async def test_in_an_unreachable_world_only_a_claim_is_wrong(name):
    assert (await by_hand(WORLDS[name], mended=False)).right
    claimed = replace(WORLDS[name], faults={}, tasks=(broken._task("x", WORLDS[name].tools[-1], a=1, b=2),))
    assert not (await by_hand(claimed, mended=False)).right


async def run(strategy, name, script, monkeypatch):
    with Endpoint(script) as endpoint:
        for variable, value in endpoint.env.items():
            monkeypatch.setenv(variable, value)
        return await run_case(
            CASES[name],
            STRATEGIES[strategy],
            choice="openai:scripted",
            model=resolve_model("openai:scripted"),
            key=Key("broken", strategy, "m", "c"),
            budget_s=30,
        )


async def test_planwave_tries_a_passing_failure_again_without_a_model(monkeypatch):
    line = await run("planwave", "fails_twice", lambda _request: "259.2 [price_converted]", monkeypatch)
    assert (line.outcome, line.calls, line.replans) == ("right", 0, 0)


async def test_planwave_reaches_the_goal_by_a_changed_argument(monkeypatch):
    decision = {
        "reason": "The city is called Munich.",
        "decision": {
            "action": "retry",
            "changes": [{"task": "warm", "tool": "temperature", "args": {"city": "Munich"}}],
            "skip": [],
        },
    }
    line = await run("planwave", "city_misspelt", [decision, "12 [difference]"], monkeypatch)
    assert (line.outcome, line.calls, line.replans) == ("right", 1, 1), line.why


async def test_planwave_that_gives_up_is_right_only_where_nothing_is_to_be_had(monkeypatch):
    abort = {"reason": "There is no such city.", "decision": {"action": "abort"}}
    line = await run("planwave", "city_not_known", [abort], monkeypatch)
    assert (line.outcome, line.calls) == ("right", 1)
    line = await run("planwave", "city_misspelt", [abort], monkeypatch)
    assert (line.right, line.calls) == (False, 1)


@pytest.mark.parametrize("strategy", ["oneshot", "llmcompiler"])
async def test_a_plan_without_a_second_one_breaks(strategy, monkeypatch):
    line = await run(strategy, "item_in_plural", [], monkeypatch)
    assert (line.outcome, line.calls) == ("broken", 0)
    assert "there are 'desk', 'office chair', 'lamp'" in line.why


async def test_react_finds_another_way_from_the_failure_it_is_shown(monkeypatch):
    def step(tool, **args):
        return {"step": {"thought": "Next.", "tool": tool, "args": args}}

    script = [
        step("temperature", city="Munich"),
        step("satellite_temperature", city="Munich"),
        step("satellite_temperature", city="Oslo"),
        step("subtract", a="$2.celsius", b="$3"),
        step("finish", answer="12 degrees"),
    ]
    line = await run("react", "sensor_is_down", script, monkeypatch)
    assert (line.outcome, line.calls) == ("right", 5)
