"""The harness: what is recorded, resumed, cut off at its budget and printed, with a scripted model."""

import json
import statistics
from dataclasses import replace
from pathlib import Path

import pytest
from jsonschema import Draft202012Validator
from openai_endpoint import Endpoint, Stall

from agent.models import resolve_model
from agent.tools.catalogue import Toolbox
from tests.evals import __main__ as command
from tests.evals.cases import Attempt, Case, Verdict, final_call, half
from tests.evals.records import Key, Line, append, read_lines
from tests.evals.running import run_case
from tests.evals.sets import SETS, goals
from tests.evals.sets.arithmetic import tool
from tests.evals.strategies import STRATEGIES
from tests.evals.strategies.forms import shown
from tests.evals.strategies.llmcompiler import read_plan
from tests.evals.strategies.oneshot import schema
from tests.evals.strategies.references import UnresolvedError, referred, resolved
from tests.evals.tabling import mcnemar, spread, table, wilson

NUMBERS = {
    "arg_0": {"description": "the one number", "type": "int or float"},
    "arg_1": {"description": "the other number", "type": "int or float"},
}


def tools(_output: Path, _writer):
    return [tool(name, {"description": f"{name} numbers", "parameters": NUMBERS}) for name in ("add", "multiply")]


def judged(attempt: Attempt, _output: Path) -> Verdict:
    last = final_call(attempt.calls)
    value = last.output["result"] if last and last.done else None
    return Verdict(right=value == 14, why=f"{value}", scores={"steps": len(attempt.calls) / 10})


CASE = Case(id="twice-seven", goal="What is twice the sum of 3 and 4?", tools=tools, judge=judged)
KEY = Key("toy", "any", "scripted", "c0de")


async def run(
    strategy: str, script, monkeypatch, *, budget_s: float = 20.0, case: Case = CASE
) -> tuple[Line, Endpoint]:
    with Endpoint(script) as endpoint:
        for name, value in endpoint.env.items():
            monkeypatch.setenv(name, value)
        choice = "openai:scripted"
        line = await run_case(
            case, STRATEGIES[strategy], choice=choice, model=resolve_model(choice), key=KEY, budget_s=budget_s
        )
        return line, endpoint


def oneshot_plan(second_args):
    return {
        "tasks": [
            {"id": "sum", "does": "Add them", "tool": "add", "args": {"arg_0": 3, "arg_1": 4}},
            {"id": "twice", "does": "Double it", "tool": "multiply", "args": second_args},
        ]
    }


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
    line, _ = await run(strategy, lambda _request: Stall(20.0), monkeypatch, budget_s=0.5)
    assert line.outcome == "over budget"
    assert line.seconds < 10


@pytest.fixture
def toy(monkeypatch, tmp_path):
    """A set of three cases and a server whose model gets the first question right, the others wrong."""
    cases = [replace(CASE, id=name) for name in ("a", "b", "c")]
    monkeypatch.setitem(SETS, "nestful", lambda: cases)
    right = iter([True])

    def answer(_request):
        return oneshot_plan({"arg_0": "$sum", "arg_1": 2 if next(right, False) else 3})

    with Endpoint(answer) as endpoint:
        monkeypatch.setenv("OPENAI_API_KEY", "any")
        monkeypatch.setenv("OPENAI_BASE_URL", "")
        words = ["nestful", "oneshot", "--model", endpoint.url, "--out", str(tmp_path / "lines.jsonl")]
        yield words, endpoint, tmp_path / "lines.jsonl"


def test_a_run_goes_on_where_it_stopped_and_begins_anew_under_another_tag(toy, capsys):
    words, endpoint, file = toy
    assert command.main([*words, "--limit", "2"]) == 0
    assert len(endpoint.requests) == 2
    with file.open("a") as out:
        out.write('{"key": {"set": "nest')  # killed while it wrote
    assert command.main(words) == 0
    assert len(endpoint.requests) == 3
    assert command.main(words) == 0
    assert len(endpoint.requests) == 3
    assert command.main([*words, "--tag", "again"]) == 0
    assert len(endpoint.requests) == 6
    lines = read_lines([file])
    assert sorted(line.id for line in lines) == ["a", "a", "b", "b", "c", "c"]
    assert sum(line.right for line in lines) == 1
    capsys.readouterr()
    assert command.main(["table", str(file)]) == 0
    assert "33.3%" in capsys.readouterr().out


def test_an_interrupt_keeps_what_is_measured_and_says_how_to_go_on(toy, capsys, monkeypatch):
    words, endpoint, file = toy
    run_alone = run_case

    async def interrupted(case, *rest, **options):
        if len(endpoint.requests) == 1:
            raise KeyboardInterrupt
        return await run_alone(case, *rest, **options)

    monkeypatch.setattr("tests.evals.running.run_case", interrupted)
    assert command.main(words) == 130
    assert "goes on with the next case" in capsys.readouterr().err
    assert len(read_lines([file])) == 1


def test_the_halves_are_fixed_and_about_equal():
    assert [half(each) for each in ("a", "b", "c", "d")] == [half(each) for each in ("a", "b", "c", "d")]
    assert half("000b6bed-2a29-4199-a359-0e107922a1ff") == "work"
    assert 400 < sum(half(str(number)) == "work" for number in range(1_000)) < 600
    cases = [replace(CASE, id=str(number)) for number in range(50)]
    work, held = (command.chosen(cases, half_of=name, seed=1, limit=None) for name in ("work", "held"))
    assert {case.id for case in work} | {case.id for case in held} == {case.id for case in cases}
    assert command.chosen(cases, half_of="work", seed=1, limit=3) == work[:3]
    assert work != command.chosen(cases, half_of="work", seed=2, limit=None)


def line_of(name: str, strategy: str, *, right: bool, tokens: int = 100) -> Line:
    return Line(
        key=replace(KEY, strategy=strategy),
        id=name,
        half="work",
        outcome="right" if right else "wrong",
        why="",
        calls=2,
        input_tokens=tokens,
        output_tokens=0,
        seconds=1.5,
        scores={"f1": 1.0 if right else 0.5},
    )


def test_the_table_has_rates_intervals_and_pairs(tmp_path):
    lines = [line_of(str(each), "one", right=each < 8) for each in range(10)]
    lines += [line_of(str(each), "two", right=each < 2) for each in range(10)]
    file = tmp_path / "lines.jsonl"
    for line in lines:
        append(file, line)
    read = read_lines([file])
    assert [line.id for line in read] == [line.id for line in lines]
    assert [line.right for line in read] == [line.right for line in lines]
    text = table(read)
    # Wilson's interval of 8 of 10 is 49.0% to 94.3%: by hand from the formula with z = 1.96.
    assert "| 80.0% | 49.0% to 94.3% | 2.0 | 100 | 1.5 | 125 | right 8, wrong 2 |" in text
    assert "| f1 | 0.900 |" in text
    # Six cases that only one got right: p = 2 * 0.5 ** 6.
    assert "| 10 | +60.0% | " in text
    assert "| 6 | 0 | 0.031 |" in text


def test_intervals_against_values_computed_by_hand():
    low, high = wilson(0, 10)
    assert (low, round(high, 4)) == (0.0, 0.2775)
    assert mcnemar(6, 0) == pytest.approx(2 * 0.5**6)
    assert mcnemar(0, 0) == 1.0
    assert spread([0.5, 0.5]) == (0.5, 0.5)
    values = [0.0, 1.0] * 50
    low, high = spread(values)
    assert low < statistics.fmean(values) < high
    assert high - low == pytest.approx(2 * 1.96 * 0.5 / 10, rel=0.1)


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


def test_a_digest_changes_with_its_code_only():
    assert STRATEGIES["oneshot"].digest() == STRATEGIES["oneshot"].digest()
    assert STRATEGIES["oneshot"].digest() != STRATEGIES["planwave"].digest()


def test_a_setting_makes_another_measurement_of_planwave_and_none_of_a_baseline(monkeypatch):
    words = ["goals", "planwave", "--tag", "t"]
    assert command._tag(command._options(words)) == "t"
    monkeypatch.setenv("PLANWAVE_MAX_REPAIRS", "1")
    assert command._tag(command._options(words)) == "t max_repairs=1"
    assert command._tag(command._options(["goals", "react"])) == ""


def test_absent_data_end_in_a_sentence(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr("tests.evals.sets.outside.DATA", tmp_path)
    assert command.main(["nestful", "oneshot"]) == 2
    assert "../shared/data" in capsys.readouterr().err
