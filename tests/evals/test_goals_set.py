"""The goals over databases: their gold can be had, is the only right answer, and wins; what is nearly right loses."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from tests.evals.cases import Attempt, Call, half
from tests.evals.sets import goals
from tests.evals.sets.goal import Goal, Gold
from tests.evals.sets.goals_bikes import BIKES
from tests.evals.sets.goals_clinic import CLINIC
from tests.evals.sets.goals_shop import SHOP
from tests.evals.sets.grading import same_cell, same_rows
from tests.evals.sets.schemas import worlds
from tests.evals.strategies.calling import called_in_order

STRANGE = {goal: source for held, source in worlds.WORLDS for goal in held}
WORLD = {
    **dict.fromkeys(SHOP, goals.shop),
    **dict.fromkeys(CLINIC, goals.clinic),
    **dict.fromkeys(BIKES, goals.bikes),
    **STRANGE,
}
_LIMIT = re.compile(r"LIMIT (\d+)\s*$")


def no_writer():
    raise AssertionError("no goal asks for prose")


def test_there_are_enough_goals_of_every_kind():
    found = goals.cases()
    assert len({case.id for case in found}) == len(found) == 51
    assert len({case.goal for case in found}) == len(found)
    assert sum(goal.chart for goal in WORLD) >= 6
    assert sum(goal.file is not None for goal in WORLD) >= 4
    assert sum(len(goal.golds) == 2 for goal in WORLD) >= 4
    assert sum("false" in goal.golds[0].sql for goal in WORLD) >= 3


def test_the_strange_schemas_have_goals_in_both_halves():
    found = worlds.cases()
    assert len({case.id for case in found} | {case.id for case in goals.cases()}) == len(found) + 51
    assert len(worlds.WORLDS) >= 4
    assert len(found) >= 40
    held = sum(half(case.id) == "held" for case in found)
    assert 0.4 * len(found) <= held <= 0.6 * len(found)


@pytest.mark.parametrize("goal", WORLD, ids=lambda goal: goal.name)
def test_gold_gives_rows_and_leaves_no_doubt(goal):
    for gold in goal.golds:
        rows = goals.gold_rows(gold, WORLD[goal]())
        assert bool(rows) != ("WHERE false" in gold.sql), gold.sql
        assert len(rows) <= 400
        if limit := _LIMIT.search(gold.sql):
            assert len(rows) == int(limit[1])
            assert _measured(gold, WORLD[goal](), int(limit[1]) + 1), f"a tie decides who is in: {gold.sql}"


def _measured(gold, source, limit):
    """Whether the first `limit` rows have different values of what they are ordered by."""
    body, order = _LIMIT.sub("", gold.sql).rsplit("ORDER BY", 1)
    measure = order.split(",")[0].replace("DESC", "").strip()
    kept = re.split(r"\bFROM\b", body, maxsplit=1)
    if not measure.isdigit():
        body = f"{kept[0]}, {measure} AS measure FROM {kept[1]}"
        measure = str(kept[0].count(",") + 2)
    with source.get_connection() as connection:
        found = connection.execute(f"{body} ORDER BY {order} LIMIT {limit}").fetchall()
    values = [row[int(measure) - 1] for row in found]
    return len(set(values)) == len(values)


async def deliver(goal, output, *, golds=None):
    """Run the gold queries as a plan by hand, with the chart and the file that the goal asks for."""
    case = next(case for case in [*goals.cases(), *worlds.cases()] if case.id == goal.name)
    calls = [Call(str(place), "query_database", {"sql": gold.sql}) for place, gold in enumerate(golds or goal.golds, 1)]
    if goal.chart:
        calls.append(Call("chart", "draw_chart", {"rows": "$1.rows", "kind": "bar", **_axes(goal)}))
    if goal.file:
        calls.append(Call("file", "save_file", {"path": f"rows{goal.file}", "content": "$1.rows"}))
    return case, await called_in_order(calls, case.tools(output, no_writer))


def _axes(goal):
    with WORLD[goal]().get_connection() as connection:
        names = [column[0] for column in connection.execute(goal.golds[0].sql).description]
    return {"x": names[0], "y": names[-1]}


@pytest.mark.parametrize(
    "name",
    [
        "clinic_drug_by_physician",
        "bikes_repair_cost",
        "clinic_save_hillcrest",
        "nothing_sold",
        "days_to_pay",
        "lending_save_fantasy",
        "lending_by_month",
        "music_longest_per_genre",
    ],
)
async def test_gold_wins(name, tmp_path):
    goal = next(goal for goal in WORLD if goal.name == name)
    case, attempt = await deliver(goal, tmp_path)
    assert attempt.ending == "finished", attempt.problems
    verdict = case.judge(attempt, tmp_path)
    assert verdict.right, verdict.why


@pytest.mark.slow
@pytest.mark.parametrize("goal", WORLD, ids=lambda goal: goal.name)
async def test_gold_of_every_goal_wins(goal, tmp_path):
    case, attempt = await deliver(goal, tmp_path)
    assert case.judge(attempt, tmp_path).right, (attempt.problems, case.judge(attempt, tmp_path).why)


async def test_only_the_last_rows_count(tmp_path):
    goal = next(goal for goal in CLINIC if goal.name == "clinic_patients")
    other = Gold("SELECT 1 AS one")
    case, attempt = await deliver(goal, tmp_path, golds=[*goal.golds, other])
    assert "not [(110,)]" in case.judge(attempt, tmp_path).why
    case, attempt = await deliver(goal, tmp_path, golds=[other, *goal.golds])
    assert case.judge(attempt, tmp_path).right


async def test_a_chart_or_file_that_is_missing_loses(tmp_path):
    goal = next(goal for goal in BIKES if goal.name == "bikes_save_students")
    case, attempt = await deliver(goal, tmp_path)
    assert case.judge(attempt, tmp_path).right
    (tmp_path / "rows.csv").write_text("full_name,joined_on\nNobody,2022-01-01\n")
    assert case.judge(attempt, tmp_path).why == "no .csv with these rows was saved"
    chart = Goal("c", "draw", (Gold("SELECT 1 AS one"),), chart=True)
    call = Call("1", "query_database", {}, done=True, output={"rows": [{"one": 1}]})
    assert goals.judged(chart, goals.bikes, Attempt((call,), "finished"), Path()).why == "no chart was drawn"
    undone = replace(call, done=False)
    assert "last rows" in goals.judged(chart, goals.bikes, Attempt((undone,), "finished"), Path()).why


@pytest.mark.parametrize(
    ("gold", "given", "ordered", "same"),
    [
        ([("A", 2)], [{"n": 2.001, "name": "A", "more": 7}], True, True),
        ([("A", 2)], [{"n": 2.02, "name": "A"}], True, False),
        ([("A", 1), ("B", 2)], [{"x": "B", "y": 2}, {"x": "A", "y": 1}], True, False),
        ([("A", 1), ("B", 2)], [{"x": "B", "y": 2}, {"x": "A", "y": 1}], False, True),
        ([("A", 1), ("B", 2)], [{"x": "B", "y": 1}, {"x": "A", "y": 2}], False, False),
        ([(None,)], [{"x": None}], True, True),
        ([(None,)], [{"x": 0}], True, False),
        ([("A",)], [{"x": "A"}, {"x": "A"}], False, False),
        ([], [], True, True),
        ([], [{"x": 1}], True, False),
        ([("A", "A")], [{"x": "A"}], True, True),
    ],
)
def test_rows_are_compared_by_content(gold, given, ordered, same):
    assert same_rows(gold, given, ordered=ordered) is same


def test_cells_are_compared_by_value():
    assert same_cell(1_234_567.0, 1_234_600)
    assert not same_cell(1_234_567.0, 1_235_000)
    assert same_cell("2024-01", "2024-01")
    assert not same_cell(True, "True-ish")
