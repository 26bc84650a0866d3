"""What a run writes when it begins: all that an earlier goal left, and no more."""

from langgraph.types import Overwrite

from graphs.nodes.gather_context import reset_state
from graphs.state import OutputState, State


def begun(state: State) -> dict[str, object]:
    return reset_state(state, "look", run_id="run", given=True, context="", revision=1)


def test_a_new_thread_is_given_what_it_returns_and_nothing_else_that_is_empty():
    # A field with a reducer is there by itself.
    returned = OutputState.__annotations__.keys() - {"plan", "results", "usage", "messages"}
    assert begun({}).keys() == returned | {"run_id", "goal", "plan_was_given", "planning_context", "started_at"}


def test_whatever_an_earlier_goal_left_is_taken_away():
    left: State = {
        "approvals": {"a": "digest"},
        "results": {"a": {}},
        "replanned_failures": ["x"],
        "dead_end_reason": "why",
        "clarification_count": 2,
    }
    found = begun(left)
    assert [found[name] for name in ("approvals", "replanned_failures", "dead_end_reason", "clarification_count")] == [
        {},
        [],
        None,
        0,
    ]
    assert found["results"] == Overwrite({})
