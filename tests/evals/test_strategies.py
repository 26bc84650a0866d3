"""What each strategy makes of a model's answers: a goal reached, or why not."""

import json

import pytest
from jsonschema import Draft202012Validator

from agent.tools.toolbox import Toolbox
from tests.evals.sets import goals
from tests.evals.sets.arithmetic import tool
from tests.evals.strategies import STRATEGIES
from tests.evals.strategies.forms import shown
from tests.evals.strategies.llmcompiler import read_plan
from tests.evals.strategies.oneshot import schema
from tests.evals.strategies.references import UnresolvedError, referred, resolved
from tests.evals.toy_case import NUMBERS, oneshot_plan, run
from tests.support.openai_endpoint import Stall

#: Longer than any test may take.
ENDLESS_S = 3_600.0


def planwave_plan(path):
    def task(name, tool_name, args):
        return {"id": name, "description": name, "reasoning": "r", "tool": tool_name, "args": args}

    return {
        "execution_mode": "parallel",
        "tasks": [
            task("sum", "add", {"arg_0": 3, "arg_1": 4}),
            task("twice", "multiply", {"arg_0": {"output_of": "sum", "path": path}, "arg_1": 2}),
        ],
    }


async def test_oneshot_wins_with_a_right_plan(monkeypatch):
    line, endpoint = await run("oneshot", [oneshot_plan({"arg_0": "$sum.result", "arg_1": 2})], monkeypatch)
    assert (line.outcome, line.calls, line.input_tokens, line.output_tokens) == ("right", 1, 11, 7)
    assert line.plan[1]["output"] == {"result": 14}
    assert json.loads(line.raw[0]["text"])["tasks"][0]["id"] == "sum"
    assert "arg_0 (a number): the one number" in endpoint.requests[0].text


@pytest.mark.parametrize(
    ("answer", "outcome", "why"),
    [
        (oneshot_plan({"arg_0": "$total.result", "arg_1": 2}), "broken", "refers to 'total'"),
        (oneshot_plan({"arg_0": "$sum.value", "arg_1": 2}), "broken", "no 'value'"),
        (oneshot_plan({"arg_0": 7}), "no plan", ""),
        ("I would add them first.", "no plan", "not JSON"),
        (oneshot_plan({"arg_0": "$sum", "arg_1": 3}), "wrong", ""),
    ],
)
async def test_oneshot_gets_no_second_chance(answer, outcome, why, monkeypatch):
    line, endpoint = await run("oneshot", [answer], monkeypatch)
    assert line.outcome == outcome
    assert why in " ".join(line.problems)
    assert len(endpoint.requests) == 1


async def test_planwave_wins_after_it_mended_its_plan(monkeypatch):
    line, endpoint = await run(
        "planwave", [planwave_plan(["value"]), planwave_plan(["result"]), "14 [twice]"], monkeypatch
    )
    assert (line.outcome, line.calls, line.repairs) == ("right", 2, 1)
    # The answer that only this strategy words is recorded, and not counted.
    assert len(endpoint.requests) == len(line.raw) == 3
    assert [call["output"] for call in line.plan] == [{"result": 7}, {"result": 14}]
    assert line.plan[1]["needs"] == ("sum",)


async def test_planwave_loses_with_a_plan_that_never_compiles(monkeypatch):
    line, _ = await run("planwave", lambda _request: planwave_plan(["value"]), monkeypatch)
    assert (line.outcome, line.right) == ("no plan", False)
    assert "value" in line.problems[0]


def step(tool_name, args):
    return {"step": {"thought": "Next.", "tool": tool_name, "args": args}}


async def test_react_wins_by_results_it_has_seen_and_goes_on_after_a_failure(monkeypatch):
    script = [
        step("add", {"arg_0": 3, "arg_1": 4}),
        step("multiply", {"arg_0": "$9", "arg_1": 2}),
        "not json",
        step("multiply", {"arg_0": "$1.result", "arg_1": 2}),
        step("finish", {"answer": "14"}),
    ]
    line, endpoint = await run("react", script, monkeypatch)
    assert (line.outcome, line.calls) == ("right", 5)
    told = [request.text for request in endpoint.requests]
    assert 'Result 1: {"result": 7}' in told[1]
    assert "Result 2 is a failure: '$9' refers to '9'" in told[2]
    assert "not JSON" in told[3]


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [(step("add", {"arg_0": 3, "arg_1": 4}), "out of steps"), (step("finish", {"answer": "14"}), "wrong")],
)
async def test_react_loses_without_an_end_or_without_a_call(answer, outcome, monkeypatch):
    line, _ = await run("react", lambda _request: answer, monkeypatch)
    assert line.outcome == outcome


async def test_llmcompiler_wins_with_lines_of_calls(monkeypatch):
    text = "Plan:\n1. add(3, arg_1=4)  # Add them\n2. multiply(arg_0=$1.result, arg_1=2)  # Double it\n3. join()\nDone."
    line, _ = await run("llmcompiler", [text], monkeypatch)
    assert (line.outcome, line.calls) == ("right", 1)
    assert [call["text"] for call in line.plan] == ["Add them", "Double it"]
    assert line.plan[1]["needs"] == ("1",)


@pytest.mark.parametrize(
    ("text", "outcome", "why"),
    [
        ("1. add(3, 4)\n2. multiply($7, 2)\n3. join()", "broken", "refers to '7'"),
        ("1. add(3, 4)\n2. multiply($1, 3)\n3. join()", "wrong", ""),
        ("1. add(3, 4, 5)\n2. join()", "no plan", "takes 2"),
        ("1. add(3 +, 4)\n2. join()", "no plan", "no call"),
        ("1. add(3, 4", "no plan", "cut off"),
        ("First add, then multiply.", "no plan", "no line"),
        ("1. double(7)\n2. join()", "no plan", "takes 0"),
    ],
)
async def test_llmcompiler_loses_with_a_plan_that_cannot_be_read_or_run(text, outcome, why, monkeypatch):
    line, _ = await run("llmcompiler", [text], monkeypatch)
    assert line.outcome == outcome
    assert why in " ".join(line.problems)


def test_a_text_plan_keeps_texts_lists_and_references_apart():
    specs = list(Toolbox([tool("add", {"description": "add", "parameters": NUMBERS})]).specs.values())
    text = """1. query(sql="SELECT ')' AS x,\n '$2' FROM t WHERE n IN ($n)", params={"n": $3.rows.*.name})  # See (x)
    - 2) draw(rows=$1.rows, flag=true, kinds=['a', "b"], none=null, n=-1.5)
3. join($2)
4. add(1, 2)"""
    one, two = read_plan(text, specs)
    assert one.args == {
        "sql": "SELECT ')' AS x,\n '$2' FROM t WHERE n IN ($n)",
        "params": {"n": "$3.rows.*.name"},
    }
    assert (one.text, one.needs) == ("See (x)", ("3",))
    assert two.args == {"rows": "$1.rows", "flag": True, "kinds": ["a", "b"], "none": None, "n": -1.5}
    assert (two.id, two.text, two.needs) == ("2", "draw", ("1",))


@pytest.mark.parametrize("strategy", sorted(STRATEGIES))
async def test_a_case_that_goes_over_its_budget_ends_as_a_verdict(strategy, monkeypatch):
    line, _ = await run(strategy, lambda _request: Stall(ENDLESS_S), monkeypatch, budget_s=0.5)
    assert line.outcome == "over budget"
    assert 0.5 <= line.seconds < ENDLESS_S


def test_references_keep_types_and_name_what_is_not_there():
    outputs = {"q": {"rows": [{"name": "A"}, {"name": "B"}], "row_count": 2}, "sum": {"result": 7}, "1": 3}
    assert resolved({"a": "$sum", "b": ["$q.rows.*.name"], "c": "$1", "d": "${1}"}, outputs) == {
        "a": 7,
        "b": [["A", "B"]],
        "c": 3,
        "d": 3,
    }
    assert resolved("$q.rows[0].name", outputs) == "A"
    # A dollar inside a text is the text's own.
    sql = "SELECT 1 WHERE name IN (SELECT unnest($name))"
    assert resolved(sql, outputs) == sql
    assert list(referred({"x": ["$q.rows", "$sum"], "y": "no $ref"})) == ["q", "sum"]
    for wrong in ("$nothing", "$q.columns", "$q.rows.5", "$sum.result.x"):
        with pytest.raises(UnresolvedError):
            resolved(wrong, outputs)


async def test_baselines_are_told_of_references_in_their_own_form(tmp_path):
    case = goals.cases()[0]
    specs, told = await shown(case.tools(tmp_path, lambda: None))
    assert '"$found.rows.*.column"' in told
    assert "output_of" not in told
    assert "describe_database" in told
    assert "describe_database" not in {spec.name for spec in specs}
    held = Draft202012Validator(schema(specs))
    task = {"id": "t", "does": "it", "tool": "analyze_rows", "args": {"sql": "SELECT 1", "tables": {"a": "$q.rows"}}}
    assert held.is_valid({"tasks": [task]})
    assert held.is_valid({"tasks": [{**task, "args": {"sql": "SELECT 1", "tables": "$q"}}]})
    assert not held.is_valid({"tasks": [{**task, "args": {"sql": "SELECT 1"}}]})
    assert not held.is_valid({"tasks": [{**task, "tool": "describe_database"}]})
