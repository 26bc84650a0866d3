"""The harness: what is recorded, resumed and printed, with a scripted model."""

import statistics
from dataclasses import replace

import pytest

from tests.evals import __main__ as command
from tests.evals.cases import half
from tests.evals.records import Line, append, read_lines
from tests.evals.running import run_case
from tests.evals.sets import SETS
from tests.evals.strategies import STRATEGIES
from tests.evals.tabling import mcnemar, spread, table, wilson
from tests.evals.toy_case import CASE, KEY, oneshot_plan
from tests.support.openai_endpoint import Endpoint


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
