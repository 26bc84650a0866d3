"""A task made ready to run: skipped, failed, or its calls with resolved arguments."""

from agent.core.engine.call_preparation import PreparedTask, get_repeatability, prepare
from agent.core.engine.outcomes import Done, Failed, Skipped
from agent.core.plan.document import Task
from agent.core.plan.tool_spec import Policy
from tests.support.plans import CATALOGUE, ref, tool

ROWS = Done(revision=1, output={"rows": [{"name": "Ann"}, {"name": None}], "row_count": 2}, fingerprint="f")


def prepared(needs=("a",), **fields):
    task = Task(id="b", **{"tool": "take", **fields})
    return prepare(task, CATALOGUE[task.tool], needs=needs, outcomes={"a": ROWS, "z": ROWS}, revision=2)


def test_one_call():
    found = prepared(args={"text": ref("a", "rows", 0, "name"), "whole": ref("a", "row_count")})
    assert isinstance(found, PreparedTask)
    assert (found.calls, found.is_for_each) == (({"text": "Ann", "whole": 2},), False)
    again = prepared(args={"text": "Ann", "whole": 2})
    assert again.fingerprint == found.fingerprint
    assert prepared(needs=(), args={"text": "Ann", "whole": 2}).fingerprint != found.fingerprint


def test_one_call_for_each_item():
    found = prepared(tool="free", args={"row": {"item": []}, "n": {"item": ["name"]}}, for_each=ref("a", "rows"))
    assert found.calls == ({"row": {"name": "Ann"}, "n": "Ann"}, {"row": {"name": None}, "n": None})
    assert found.is_for_each


def test_a_false_condition_skips():
    assert prepared(condition="a.row_count > 5") == Skipped(
        revision=2, because="Its condition is false: a.row_count > 5"
    )
    assert isinstance(prepared(condition="a.row_count > 1"), PreparedTask)


def test_what_points_at_nothing_is_a_failure():
    for fields in (
        {"args": {"text": ref("a", "nope")}},
        {"args": {"text": ref("z")}},
        {"condition": "a.nope > 1"},
        {"for_each": ref("a", "row_count")},
    ):
        found = prepared(**fields)
        assert isinstance(found, Failed)
        assert (found.kind, found.revision) == ("reference", 2)
        assert found.error.endswith(".")


def test_resolved_arguments_are_checked_again():
    found = prepared(args={"number": ref("a", "rows", 0, "name")})
    assert found.kind == "argument"
    assert "number: 'Ann' is not of type 'number'" in found.error
    found = prepared(args={"text": {"item": ["name"]}}, for_each=ref("a", "rows"))
    assert found.error == "Item 1: The arguments do not fit the tool 'take': text: None is not of type 'string'."


def test_what_may_be_repeated():
    policies = {
        "yes": [Policy(read_only=True), Policy(idempotent=True)],
        "with_key": [Policy(takes_idempotency_key=True)],
        "no": [Policy()],
    }
    for expected, found in policies.items():
        assert [get_repeatability(tool("t", policy=policy)) for policy in found] == [expected] * len(found)
