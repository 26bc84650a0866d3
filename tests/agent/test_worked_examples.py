"""The library of worked examples: each is a plan of a plain calculator, and those nearest to a goal are shown."""

import pytest
from test_arithmetic import FOUR, result, specs

from agent.planning.arithmetic_reading import read_arithmetic
from agent.planning.worked_examples import library, nearest


@pytest.mark.parametrize("example", library(), ids=lambda example: example.question[:30])
def test_every_example_comes_to_what_python_makes_of_it(example):
    names = {}
    exec(example.program, names)  # noqa: S102 - our own text
    tasks = read_arithmetic(example.program, specs(*FOUR, "floor"), known={})
    assert result(tasks) == pytest.approx(names["answer"])
    assert example.program.splitlines()[-1].startswith("answer = ")


def test_the_nearest_stands_last():
    shown = nearest("A train 90 m long runs at 30 km/h. How many seconds for a bridge of 60 m?", number=3)
    assert "train" in shown[-1].question
    assert "bridge" in shown[-1].question
    assert len(set(shown)) == 3


@pytest.mark.parametrize("goal", ["", "xyzzy", '"; DROP TABLE examples', "NEAR( OR AND", "12 34"])
def test_there_are_always_as_many(goal):
    assert len(nearest(goal, number=4)) == 4
