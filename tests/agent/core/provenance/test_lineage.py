"""The chain of a result: inputs by their way, nearest first, prefixes of a join, plans that are gone."""

import pytest

from agent.core.engine.outcomes import Done, Failed
from agent.core.plan.document import Plan
from agent.core.provenance.lineage import PlanVersion, Provenance


def ref(task, *path):
    return {"output_of": task, "path": list(path)}


def done(output, revision=1, **more):
    return Done(revision=revision, output=output, **more)


FAN = Plan.model_validate(
    {
        "tasks": [
            {"id": "source", "tool": "fetch", "args": {"of": "x"}},
            {"id": "left", "tool": "trim", "args": {"rows": ref("source", "rows")}},
            {"id": "right", "tool": "count", "args": {"n": 1}, "condition": "source.rows != []"},
            {"id": "each", "tool": "trim", "for_each": ref("left"), "args": {"rows": {"item": []}}},
            {"id": "join", "tool": "merge", "args": {"a": ref("each"), "b": ref("right")}, "depends_on": ["source"]},
        ]
    }
)
OUTCOMES = {
    "source": done({"rows": [[1], [2]]}),
    "left": done([[1], [2]]),
    "right": done(2),
    "each": done(["l1", "l2"]),
    "join": done("l2"),
}


@pytest.fixture
def provenance():
    versions = [PlanVersion(revision=1, author="user", plan=FAN)]
    return Provenance(
        goal="g", versions=versions, outcomes=OUTCOMES, answer="It is l2 [join].\n\nOf two.\n\n2 [right, left]"
    )


def test_the_chain_holds_everything_below_in_order(provenance):
    assert provenance.chain("source") == ("source",)
    assert provenance.chain("each") == ("source", "left", "each")
    chain = provenance.chain("join")
    assert set(chain) == set(OUTCOMES)
    assert chain[0] == "source"
    assert chain[-1] == "join"


def test_inputs_tell_in_what_way_they_were_used(provenance):
    ways = {task: [(each.task, each.way) for each in provenance.inputs[task]] for task in OUTCOMES}
    assert ways == {
        "source": [],
        "left": [("source", "argument")],
        "right": [("source", "condition")],
        "each": [("left", "item")],
        "join": [("each", "argument"), ("right", "argument"), ("source", "order")],
    }
    assert provenance.inputs["left"][0].path == ("rows",)


def test_inputs_are_found_by_tool_the_nearest_first(provenance):
    assert provenance.find_input("join", tool="trim") == "each"
    assert provenance.find_inputs("join", tool="trim") == ("each", "left")
    assert provenance.find_input("join", tool="fetch") == "source"
    assert provenance.find_input("source", tool="fetch") is None
    assert provenance.previous_input("join") == "each"
    assert provenance.previous_input("source") is None
    with pytest.raises(KeyError):
        provenance.find_inputs("nobody")


def test_branches_share_the_prefix_before_they_part(provenance):
    assert provenance.shared(["each", "right"]) == ("source",)
    assert provenance.prefix("each", 2) == ("source", "left")
    assert provenance.shared([]) == ()


def test_an_origin_has_the_arguments_as_they_were(provenance):
    assert provenance.get_origin("left").calls == ({"rows": [[1], [2]]},)
    assert provenance.get_origin("each").calls == ({"rows": [1]}, {"rows": [2]})
    assert provenance.get_origin("right").tool == "count"


def test_a_statement_rests_on_what_it_cites_or_the_one_before_does(provenance):
    assert [statement.tasks for statement in provenance.split_answer()] == [("join",), ("join",), ("right", "left")]


def test_a_task_belongs_to_the_plan_it_ran_under():
    first = Plan.model_validate(
        {"tasks": [{"id": "a", "tool": "old"}, {"id": "b", "tool": "use", "args": {"v": ref("a")}}]}
    )
    second = Plan.model_validate(
        {"tasks": [{"id": "a2", "tool": "new"}, {"id": "b", "tool": "use", "args": {"v": ref("a2")}}]}
    )
    versions = [
        PlanVersion(revision=1, author="model", plan=first),
        PlanVersion(revision=2, author="model", plan=second),
    ]
    outcomes = {
        "a": Failed(revision=1, kind="tool", error="no"),
        "a2": done(3, revision=2),
        "b": done(3, revision=2),
        "gone": done(1),
    }
    provenance = Provenance(goal="g", versions=versions, outcomes=outcomes)
    assert (provenance.get_origin("a").tool, provenance.get_origin("a").number) == ("old", 1)
    assert provenance.chain("b") == ("a2", "b")
    assert (provenance.get_origin("gone").version, provenance.chain("gone")) == (None, ("gone",))


def test_arguments_whose_input_is_not_at_hand_are_left_open():
    plan = Plan.model_validate({"tasks": [{"id": "a", "tool": "t"}, {"id": "b", "tool": "t", "args": {"v": ref("a")}}]})
    outcomes = {"a": Failed(revision=1, kind="tool", error="no"), "b": Failed(revision=1, kind="reference", error="no")}
    provenance = Provenance(goal="", versions=[PlanVersion(revision=1, author="user", plan=plan)], outcomes=outcomes)
    assert provenance.get_origin("b").calls is None
