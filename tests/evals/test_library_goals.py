"""The library on the goals over databases: what is found is right, and no near miss is taken."""

import json

import pytest

from agent.programs.adoption import adopt_program
from agent.programs.matching import match_goal
from agent.settings import Settings
from tests.evals.library_match import GOALS, build_shelf, list_crossings, read_wordings, try_world
from tests.evals.library_programs import WORLDS


def test_every_goal_has_paraphrases_and_near_misses_of_its_own():
    document = json.loads(GOALS.read_text(encoding="utf-8"))
    names = {goal.name for goals, _ in WORLDS.values() for goal in goals}
    paraphrases, near = document["paraphrases"], document["near_misses"]
    for name in names:
        assert sum(each["program"] == name for each in paraphrases) == 4
        assert any(each["program"] == name for each in near)
    texts = [each["text"] for each in (*paraphrases, *near)]
    assert len(set(texts)) == len(texts)
    assert len(near) > 300
    assert {each["half"] for each in paraphrases} == {"work", "held", "last"}


@pytest.mark.parametrize("world", WORLDS)
async def test_what_is_taken_is_right(world, tmp_path):
    shelf = await build_shelf(world, tmp_path)
    programs, limits = [each.program for each in shelf.programs], Settings().build_limits(can_replan=False)
    found = wrong = 0
    wordings = read_wordings(world)
    for wording in wordings:
        adopted, _ = await adopt_program(wording.text, programs, shelf.toolbox, limits=limits)
        if adopted is not None:
            found += 1
            right = (adopted.match.program.name, dict(adopted.match.values)) == (wording.program, wording.inputs)
            wrong += not right
    assert wrong == 0
    assert found >= 0.65 * sum(wording.program is not None for wording in wordings)
    assert list(list_crossings(shelf.programs)) == []
    # Words alone do not tell a region from a country: the data do.
    assert world != "shop" or match_goal(
        "Save the names, cities and segments of customers from Southern Europe who joined in 2023 as x.csv",
        next(program for program in programs if program.name == "spanish_customers"),
    )


@pytest.mark.slow
@pytest.mark.parametrize("world", WORLDS)
async def test_what_is_found_gives_the_gold_rows(world, tmp_path):
    found, _ = await try_world(world, tmp_path)
    written = [each for each in found if each.wording.kind == "as written"]
    assert all(each.is_right and each.rows_right for each in written)
