"""Statuses and counts, derived from plan and outcomes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.engine.outcomes import Cancelled, Done, Failed, Rejected, Skipped
from agent.core.engine.progress import (
    build_final_outcomes,
    count_progress,
    derive_statuses,
    find_blocked_tasks,
    find_blocker,
)
from tests.support.plans import compiled_of

DONE = Done(revision=1)
FAILED = Failed(revision=1, kind="tool", error="It broke.")
SKIPPED = Skipped(revision=1, because="No.")
REJECTED = Rejected(revision=1)
CANCELLED = Cancelled(revision=1)


def free(task, *needs, **more):
    return {"id": task, "tool": "free", "depends_on": list(needs), **more}


CHAIN = compiled_of(free("a"), free("b", "a"), free("c", "b"), free("alone"))


def test_statuses_of_a_run_under_way():
    assert derive_statuses(CHAIN, {}) == {"a": "ready", "b": "waiting", "c": "waiting", "alone": "ready"}
    found = derive_statuses(CHAIN, {"a": DONE}, running=["alone"], asked=["b"])
    assert found == {"a": "done", "b": "awaiting_approval", "c": "waiting", "alone": "running"}


@pytest.mark.parametrize("outcome", [FAILED, SKIPPED, REJECTED, CANCELLED])
def test_what_rests_on_nothing_is_blocked(outcome):
    assert derive_statuses(CHAIN, {"a": outcome}) == {
        "a": outcome.status,
        "b": "blocked",
        "c": "blocked",
        "alone": "ready",
    }
    assert find_blocked_tasks(CHAIN, {"a": outcome}) == {"b": "a", "c": "b"}
    assert find_blocked_tasks(CHAIN, {"a": outcome, "b": DONE}) == {}


def test_any_waits_for_the_last_need_and_is_blocked_when_none_is_done():
    plan = compiled_of(free("a"), free("b"), free("end", "a", "b", run_if="any"))
    assert derive_statuses(plan, {"a": SKIPPED})["end"] == "waiting"
    assert derive_statuses(plan, {"a": SKIPPED, "b": DONE})["end"] == "ready"
    assert derive_statuses(plan, {"a": FAILED, "b": SKIPPED})["end"] == "blocked"
    assert find_blocker(plan.tasks["end"], ["a", "b"], outcomes={"a": SKIPPED}, blocked={"b"}) == "a"


def test_counts():
    assert count_progress(CHAIN, {"a": DONE}, running=["b"]) == {
        "completed": 1,
        "running": 1,
        "failed": 0,
        "waiting": 2,
        "skipped": 0,
        "total": 4,
        "percentage": 25.0,
    }
    ended = count_progress(CHAIN, {"a": FAILED, "b": SKIPPED, "c": CANCELLED, "alone": REJECTED})
    assert (ended["failed"], ended["skipped"], ended["waiting"], ended["percentage"]) == (2, 2, 0, 0.0)


outcomes = st.dictionaries(
    st.sampled_from(["a", "b", "c", "alone"]), st.sampled_from([DONE, FAILED, SKIPPED, REJECTED, CANCELLED])
)


@given(outcomes, st.sets(st.sampled_from(["a", "b", "c", "alone"])))
def test_counts_add_up(found, running):
    counts = count_progress(CHAIN, found, running=running)
    parts = ("completed", "running", "failed", "waiting", "skipped")
    assert sum(counts[part] for part in parts) == counts["total"] == 4
    assert 0.0 <= counts["percentage"] <= 100.0


@given(outcomes)
def test_in_the_end_every_task_has_one_outcome(found):
    ended = build_final_outcomes(CHAIN, found, revision=2, because="The run ended.")
    assert sorted([*ended, *found]) == sorted(CHAIN.tasks)
    assert set(derive_statuses(CHAIN, {**found, **ended}).values()) <= {
        "done",
        "failed",
        "skipped",
        "rejected",
        "cancelled",
    }


def test_the_end_says_why():
    ended = build_final_outcomes(CHAIN, {"a": FAILED}, revision=2, because="The deadline passed.")
    assert ended == {
        "b": Skipped(revision=2, because="It depends on 'a', which failed."),
        "c": Skipped(revision=2, because="It depends on 'b', which was skipped."),
        "alone": Cancelled(revision=2, because="The deadline passed."),
    }
    rejected = build_final_outcomes(CHAIN, {"a": REJECTED}, revision=1, because="")
    assert rejected["b"].because == "It depends on 'a', which was rejected."
    cancelled = build_final_outcomes(CHAIN, {"a": CANCELLED}, revision=1, because="")
    assert cancelled["b"].because == "It depends on 'a', which did not run."
