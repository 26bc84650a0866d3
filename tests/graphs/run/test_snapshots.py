"""What was read of a run before against what stands in its state now."""

import pytest

from agent.core.compiler.compiler import CompiledPlan, link_plan
from agent.core.engine.outcomes import Done, Failed
from agent.core.plan.document import Plan, Task
from agent.errors import PersistenceError
from graphs.run.snapshots import RunCache
from graphs.run.state_updates import outcome_to_json


def done(output: object = 1, **more: object) -> dict:
    return outcome_to_json(Done(revision=1, output=output, attempts=1, **more))


FAILED = outcome_to_json(Failed(revision=1, kind="tool", error="no", attempts=1))


@pytest.fixture
def chain() -> CompiledPlan:
    tasks = [Task(id=name, tool="t", depends_on=needs) for name, needs in (("a", ()), ("b", ("a",)), ("c", ("b",)))]
    return link_plan(Plan(tasks=tuple(tasks)), {})


def test_new_results_move_the_frontier_on(chain):
    recall = RunCache()
    recall.read_outcomes({})
    frontier = recall.get_frontier(chain)
    first = {"a": done()}
    assert recall.read_outcomes(first).keys() == {"a"}
    assert recall.get_frontier(chain) is frontier
    assert frontier.list_ready() == ["b"]
    assert recall.read_outcomes(first | {"b": done()}).keys() == {"a", "b"}
    assert recall.get_frontier(chain).list_ready() == ["c"]
    assert recall.get_frontier(chain) is frontier


@pytest.mark.parametrize(
    ("before", "after", "ready"),
    [
        ({"a": done(), "b": done()}, {"a": done()}, ["b"]),
        ({"a": done()}, {}, ["a"]),
        ({"a": FAILED}, {"a": done()}, ["b"]),
        ({"a": FAILED}, {"a": FAILED, "b": done()}, ["c"]),
    ],
    ids=["one is gone", "all are gone", "another outcome", "a blocked task is done"],
)
def test_results_that_are_not_just_more_begin_anew(chain, before, after, ready):
    recall = RunCache()
    recall.read_outcomes(before)
    recall.get_frontier(chain)
    assert recall.read_outcomes(after).keys() == after.keys()
    assert recall.get_frontier(chain).list_ready() == ready


def test_a_loaded_output_is_seen_and_changes_nothing_else(chain):
    away = {"digest": "d", "size": 1, "preview": "", "output_schema": {}}
    recall = RunCache()
    kept = outcome_to_json(Done(revision=1, attempts=1, artifact=away))
    recall.read_outcomes({"a": kept})
    frontier = recall.get_frontier(chain)
    assert recall.has_offloaded_outputs
    assert recall.read_outcomes({"a": kept | {"output": [1]}})["a"].output == [1]
    assert recall.get_frontier(chain) is frontier


def test_what_is_no_result_is_refused():
    with pytest.raises(PersistenceError, match="cannot be read"):
        RunCache().read_outcomes({"a": {"status": "whatever"}})
