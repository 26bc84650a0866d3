"""What else is told of a malformed plan, and what is not because it would only follow."""

from agent.core.compiler.partial_plan import check_partial_plan
from agent.core.plan.limits import Limits
from tests.support.plans import CATALOGUE, ref


def told(*tasks, **plan):
    document = {"tasks": list(tasks), **plan}
    return [(problem.task, problem.kind) for problem in check_partial_plan(document, CATALOGUE, limits=Limits())]


def test_the_sound_parts_are_compiled():
    found = told(
        {"id": "a", "tool": "free", "priority": "high"},
        {"id": "b", "tool": "freee"},
        {"id": "c", "tool": "take", "args": {"number": "x"}, "colour": "red"},
    )
    assert sorted(found) == [("a", "malformed"), ("b", "unknown_tool"), ("c", "malformed"), ("c", "wrong_type")]


def test_what_only_follows_from_a_field_that_was_left_out_is_not_told():
    assert told({"id": "a", "tool": "need", "args": 5}) == [("a", "malformed")]
    assert told({"id": "a"}, {"id": "b", "tool": "free", "depends_on": ["a"]}) == [("a", "malformed")]
    assert told({"tool": "free"}, {"id": "b", "tool": "free", "depends_on": ["z"]}) == [(None, "malformed")]
    bad = {"id": "a", "tool": "free", "args": {"x": {"item": []}}, "for_each": 5}
    assert told(bad) == [("a", "malformed")]


def test_two_tasks_of_one_id_are_told_although_one_is_malformed():
    assert ("a", "duplicate_id") in told({"id": "a"}, {"id": "a", "tool": "free"})


def test_what_cannot_be_stored_is_left_out():
    found = told(
        {"id": "a", "tool": "need", "args": {"key": "\ud800"}}, {"id": "b", "tool": "free", "args": {"x": ref("c")}}
    )
    assert found == [("b", "unknown_reference")]


def test_what_is_no_list_of_tasks_has_no_sound_part():
    for document in (None, 5, {}, {"tasks": 5}, [], {"tasks": [{"id": "a"}] * 10_001}):
        assert check_partial_plan(document, CATALOGUE, limits=Limits()) == ()


def test_a_list_that_is_held_many_times_over_is_not_looked_through():
    value = []
    for _ in range(50):
        value = [value, value]
    assert told({"id": "a", "tool": "free", "args": {"x": value}}, {"id": "b", "tool": "freee"}) == []
