"""The arithmetic set: gold plans win by all measures, and near misses lose."""

from dataclasses import replace
from pathlib import Path

import pytest

from agent.errors import ToolFailure
from tests.evals.cases import AbsentError, Attempt, Call, final_call
from tests.evals.sets import nestful
from tests.evals.sets.arithmetic import FUNCTIONS, tool
from tests.evals.sets.outside import DATA
from tests.evals.strategies import planwave
from tests.evals.strategies.calling import called_in_order
from tests.evals.strategies.strategy import Bench

needs_data = pytest.mark.skipif(not DATA.is_dir(), reason="the data lie beside a development checkout only")
TWO = {"arg_0": {"description": "one", "type": "int"}, "arg_1": {"description": "other", "type": "int or float"}}


def no_writer():
    raise AssertionError("arithmetic writes nothing")


def gold_calls(record):
    def value(given):
        return f"${given['$ref']}.result" if isinstance(given, dict) else given

    return [
        Call(
            id=step["id"],
            tool=step["tool"],
            args={name: value(each) for name, each in step["args"].items()},
            needs=tuple(step["depends_on"]),
        )
        for step in record["plan"]
    ]


@needs_data
async def test_every_gold_plan_is_right_and_in_sequence():
    cases = {case.id: case for case in nestful.cases()}
    records = nestful.records()
    assert len(records) == len(cases) == 428
    for record in records:
        case = cases[record["id"]]
        attempt = await called_in_order(gold_calls(record), case.tools(Path(), no_writer))
        verdict = case.judge(attempt, Path())
        assert verdict.right, (record["id"], verdict.why)
        assert verdict.scores == {"sequence": 1.0}
        spoiled = replace(attempt.calls[-1], output={"result": record["gold_answer"] + 1})
        assert not case.judge(replace(attempt, calls=(*attempt.calls[:-1], spoiled)), Path()).right


@needs_data
async def test_a_gold_plan_wins_through_the_graph_too():
    record = nestful.records()[0]
    case = next(case for case in nestful.cases() if case.id == record["id"])
    given = {
        "tasks": [
            {
                "id": step["id"],
                "tool": step["tool"],
                "args": {
                    name: {"output_of": value["$ref"], "path": value["path"]} if isinstance(value, dict) else value
                    for name, value in step["args"].items()
                },
            }
            for step in record["plan"]
        ]
    }
    bench = Bench(replace(case, plan=given), case.tools(Path(), no_writer), "local", None, Path())  # type: ignore[arg-type]
    attempt = await planwave.attempt(bench)
    verdict = case.judge(attempt, Path())
    assert verdict.right
    assert verdict.scores == {"sequence": 1.0}


def test_there_are_forty_functions_and_each_is_a_tool():
    assert len(FUNCTIONS) == 40
    assert {tool(name, {"description": name, "parameters": TWO}).name for name in FUNCTIONS} == set(FUNCTIONS)


@pytest.mark.parametrize(
    ("name", "args", "result"),
    [
        ("sqrt", [17], 4),
        ("log", [10], 2),
        ("log", [8, 2], 3),
        ("lcm", [4, 6], 12),
        ("floor", [-2.5], -3),
        ("choose", [5, 2], 10),
        ("diagonal", [3, 4], 5.0),
        ("divide", [6, 4], 1.5),
    ],
)
async def test_a_function_gives_what_its_description_says(name, args, result):
    spec = {"description": name, "parameters": dict(list(TWO.items())[: len(args)])}
    assert await tool(name, spec).ainvoke({f"arg_{place}": each for place, each in enumerate(args)}) == {
        "result": result
    }


@pytest.mark.parametrize(
    ("name", "args"),
    [("divide", [1, 0]), ("sqrt", [2.5]), ("power", [9, 9_999]), ("factorial", [10**9]), ("power", [-1, 0.5])],
)
async def test_what_has_no_result_is_a_failure_in_a_sentence(name, args):
    spec = {"description": name, "parameters": dict(list(TWO.items())[: len(args)])}
    with pytest.raises(ToolFailure, match=r"\.$"):
        await tool(name, spec).ainvoke({f"arg_{place}": each for place, each in enumerate(args)})


@pytest.mark.parametrize(
    ("value", "gold", "same"),
    [
        (17.0004, 17.0, True),
        (17.06, 17.0, False),
        (17, 17.0, True),
        (0.333333, 0.33, True),
        (0.34, 0.33, False),
        ((1, 2), [1, 2], True),
        ("17.0", 17.0, False),
        (1.04e-07, 1e-07, True),
        (2e-07, 1e-07, False),
    ],
)
def test_values_are_compared_by_ibms_rule(value, gold, same):
    assert nestful.same_value(value, gold) is same


def test_the_result_is_the_last_call_that_no_other_comes_behind():
    one, two, three = Call("a", "t", {}), Call("b", "t", {}, needs=("c",)), Call("c", "t", {})
    assert final_call([one, two, three]) == two
    assert final_call([one, three]) == three
    assert final_call([]) is None
    assert final_call([Call("a", "t", {}, needs=("a",))]) is None


def test_a_plan_in_another_order_is_no_full_sequence():
    record = {
        "gold_answer": 5.0,
        "plan": [
            {"id": "v1", "tool": "add", "args": {"arg_0": 1, "arg_1": 1}},
            {"id": "v2", "tool": "add", "args": {"arg_0": {"$ref": "v1", "path": ["result"]}, "arg_1": 3}},
        ],
    }
    first = Call("x", "add", {"arg_0": 1, "arg_1": 1}, done=True, output={"result": 2})
    second = Call("y", "add", {"arg_0": "$x", "arg_1": 3}, needs=("x",), done=True, output={"result": 5})
    assert nestful.judged(record, Attempt((first, second), "finished"), Path()).scores == {"sequence": 1.0}
    by_hand = replace(second, args={"arg_0": 2, "arg_1": 3})
    verdict = nestful.judged(record, Attempt((first, by_hand), "finished"), Path())
    assert verdict.right
    assert verdict.scores == {"sequence": 0.0}
    # Referred to in Planwave's own form it is the same call.
    ours = replace(second, args={"arg_0": {"output_of": "x", "path": ["result"]}, "arg_1": 3})
    assert nestful.judged(record, Attempt((first, ours), "finished"), Path()).scores == {"sequence": 1.0}


def test_data_that_are_absent_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr("tests.evals.sets.outside.DATA", tmp_path)
    with pytest.raises(AbsentError, match=r"nestful/tools\.json"):
        nestful.cases()
