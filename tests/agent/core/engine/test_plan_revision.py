"""Fingerprints, differences, failure signatures, digests and new names: their laws."""

import json

from hypothesis import given
from hypothesis import strategies as st

from agent.core.engine.call_preparation import (
    compute_failure_signature,
    compute_fingerprint,
    diff_plans,
    find_reusable_results,
)
from agent.core.engine.outcomes import Done, Failed, Rejected, Skipped, parse_outcome
from agent.core.plan.document import Plan, make_free_id
from agent.core.plan.hashing import hash_json
from agent.core.plan.parser import parse_plan
from tests.support.plans import plan_of

ids = st.sampled_from(["a", "b", "c", "d", "e"])
tasks = st.builds(
    lambda task, tool, args, prose, priority: {
        "id": task,
        "tool": tool,
        "args": args,
        "description": prose,
        "priority": priority,
    },
    ids,
    st.sampled_from(["free", "fetch"]),
    st.dictionaries(st.sampled_from(["x", "y"]), st.integers(0, 1)),
    st.text(max_size=3),
    st.integers(0, 1),
)
plans = st.lists(tasks, max_size=5, unique_by=lambda task: task["id"]).map(lambda found: plan_of(*found))


@given(plans)
def test_a_plan_does_not_differ_from_itself(plan):
    found = diff_plans(plan, plan)
    assert found.kept == tuple(task.id for task in plan.tasks)
    assert (found.changed, found.new, found.dropped) == ((), (), ())


@given(plans, plans)
def test_every_task_has_one_fate(before, after):
    there, back = diff_plans(before, after), diff_plans(after, before)
    old, new = {task.id for task in before.tasks}, {task.id for task in after.tasks}
    assert sorted(there.kept + there.changed + there.new) == sorted(new)
    assert sorted(there.kept + there.changed + there.dropped) == sorted(old)
    assert set(there.new) == new - old == set(back.dropped)
    assert set(there.kept) == set(back.kept)
    for task in there.kept:
        one, other = before.get_task(task), after.get_task(task)
        assert (one.tool, one.args, one.priority) == (other.tool, other.args, other.priority)


@given(plans)
def test_prose_does_not_count(plan):
    told = {"description": "else", "reasoning": "else", "expected_outcome": "else", "phase": "else"}
    after = Plan(tasks=tuple(task.model_copy(update=told) for task in plan.tasks))
    assert diff_plans(plan, after).kept == tuple(task.id for task in plan.tasks)


def test_the_difference_of_long_plans_is_found_at_once():
    plan = parse_plan([{"id": f"t{number}", "tool": "free"} for number in range(10_000)])
    assert len(diff_plans(plan, plan).kept) == 10_000


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner, max_size=3),
    max_leaves=6,
)
marks = st.lists(st.none() | st.text(max_size=3), max_size=4)


@given(st.dictionaries(st.text(max_size=2), values, max_size=4), marks, st.randoms(use_true_random=False))
def test_a_fingerprint_does_not_mind_order(args, rests_on, random):
    keys = list(args)
    random.shuffle(keys)
    shuffled = random.sample(rests_on, len(rests_on))
    turned = {key: args[key] for key in keys}
    assert compute_fingerprint("t", [args], dependency_fingerprints=rests_on) == compute_fingerprint(
        "t", [turned], dependency_fingerprints=shuffled
    )


@given(values, values)
def test_a_digest_tells_values_apart(one, other):
    same = json.dumps(one, sort_keys=True) == json.dumps(other, sort_keys=True)
    assert (hash_json(one) == hash_json(other)) == same
    assert len(hash_json(one)) == 64


def test_all_that_a_fingerprint_covers():
    base = compute_fingerprint("t", [{"x": 1}], dependency_fingerprints=["f"])
    assert base != compute_fingerprint("u", [{"x": 1}], dependency_fingerprints=["f"])
    assert base != compute_fingerprint("t", [{"x": 2}], dependency_fingerprints=["f"])
    assert base != compute_fingerprint("t", [{"x": 1}, {"x": 1}], dependency_fingerprints=["f"])
    assert base != compute_fingerprint("t", [{"x": 1}], dependency_fingerprints=["g"])
    assert base != compute_fingerprint("t", [{"x": 1}], dependency_fingerprints=["f", "f"])
    assert base != compute_fingerprint("t", [{"x": True}], dependency_fingerprints=["f"])


def test_a_failure_signature_does_not_mind_names_or_order():
    one = Failed(revision=1, kind="tool", fingerprint="f1")
    two = Failed(revision=1, kind="timeout", error="late")
    no = Rejected(revision=1, digest="d")
    base = compute_failure_signature({"a": one, "b": two, "c": no}, ["a", "b", "c"])
    renamed_too = {"x": no, "y": one.model_copy(update={"error": "else", "attempts": 9}), "z": two}
    assert compute_failure_signature(renamed_too, ["z", "x", "y"]) == base
    assert compute_failure_signature({"a": one, "b": two}, ["a", "b"]) != base
    assert (
        compute_failure_signature({"a": one.model_copy(update={"kind": "output"}), "b": two, "c": no}, ["a", "b", "c"])
        != base
    )


def test_what_can_be_used_again():
    done = Done(revision=1, output=1, fingerprint="f")
    outcomes = {
        "a": done,
        "no_print": Done(revision=1),
        "failed": Failed(revision=1, kind="tool", fingerprint="g"),
        "now": Done(revision=2, fingerprint="h"),
    }
    assert find_reusable_results(outcomes, revision=2) == {"f": ("a", done)}


@given(st.text("abz2", min_size=1, max_size=3), st.sets(st.text("abz2", min_size=1, max_size=4)))
def test_a_new_name_is_free(task, taken):
    found = make_free_id(task, taken)
    assert found not in taken
    assert found != task
    assert found.startswith(task)
    assert found[len(task) :].isalpha()


def test_new_names_in_order():
    taken, names = set(), []
    for _ in range(54):
        names.append(make_free_id("t2", taken))
        taken.add(names[-1])
    assert [names[0], names[1], names[25], names[26], names[51], names[52], names[53]] == [
        "t2a",
        "t2b",
        "t2z",
        "t2aa",
        "t2az",
        "t2ba",
        "t2bb",
    ]


def test_a_new_name_is_never_too_long():
    longest = "t" * 200
    found = make_free_id(longest, {longest})
    assert found == "t" * 199 + "a"
    assert isinstance(parse_plan([{"id": found, "tool": "free"}]), Plan)


def test_outcomes_survive_storage():
    for outcome in (
        Done(revision=1, output=[1]),
        Skipped(revision=2, because="No."),
        Rejected(revision=1, message="No."),
    ):
        assert parse_outcome(outcome.model_dump(mode="json")) == outcome
