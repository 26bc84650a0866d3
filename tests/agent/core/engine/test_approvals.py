"""Requests for approval, what they are bound to, and every form of an answer."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.engine.approvals import (
    ApprovalRequest,
    ApproveDecision,
    EditDecision,
    RejectDecision,
    RespondDecision,
    bind_to_requests,
    build_hitl_request,
    hash_approval_request,
    hash_calls,
    is_for_other_calls,
    is_refused,
    needs_approval,
    parse_decisions,
    refuse_answer,
)
from agent.core.plan.document import Task
from agent.core.plan.limits import Limits
from tests.support.plans import CATALOGUE

ONE = ApprovalRequest(task="a", tool="write", args={"text": "x"}, description="Write it", digest="d1")
MANY = ApprovalRequest(task="b", tool="write", args={"text": "x"}, items=({"text": "x"}, {"text": "y"}), digest="d2")
APPROVE, REJECT = ApproveDecision(type="approve"), RejectDecision(type="reject")
EDIT = EditDecision(type="edit", edited_action={"name": "write", "args": {"text": "z"}})
EDITED = {"type": "edit", "edited_action": {"name": "write", "args": {"text": "z"}}}


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"decisions": [{"type": "approve"}]}, APPROVE),
        ([{"type": "approve"}], APPROVE),
        ({"type": "approve"}, APPROVE),
        ({"decisions": {"type": "approve"}}, APPROVE),
        ({"type": "approve", "digest": "d1", "comment": "ok"}, APPROVE),
        (EDITED, EDIT),
        ({"type": "reject"}, REJECT),
        ({"type": "reject", "message": "No."}, RejectDecision(type="reject", message="No.")),
        ({"type": "respond", "message": "5"}, RespondDecision(type="respond", message="5")),
        ([{"type": "accept", "args": None}], APPROVE),
        ([{"type": "accept"}], APPROVE),
        ([{"type": "ignore", "args": None}], REJECT),
        ([{"type": "response", "args": "No!"}], RejectDecision(type="reject", message="No!")),
        ({"decisions": [{"type": "response", "args": "No!"}]}, RejectDecision(type="reject", message="No!")),
        ({"type": "response"}, REJECT),
        ([{"type": "response", "args": None}], REJECT),
        ([{"type": "accept", "args": {"action": "write", "args": {"text": "x"}}}], APPROVE),
        ([{"type": "edit", "args": {"action": "write", "args": {"text": "z"}}}], EDIT),
        ({**EDITED, "args": {"action": "other", "args": {}}}, EDIT),
    ],
)
def test_answers(answer, expected):
    assert parse_decisions(answer, [ONE]) == {0: expected}


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        (None, "one decision for each call, not None."),
        ({}, "one decision for each call, not {}."),
        ([], "one decision for each call, not []."),
        ("approve", "one decision for each call, not 'approve'."),
        ({"decisions": None}, "one decision for each call, not {'decisions': None}."),
        ({"decisions": [{"type": "approve"}] * 2}, "1 calls wait for an answer and 2 decisions were given"),
        ([{"type": "yes"}], "Decision 0 cannot be read: "),
        ([{}], "Decision 0 cannot be read: "),
        ([None], "Decision 0 cannot be read: "),
        ([{"type": ["approve"]}], "Decision 0 cannot be read: "),
        ([{"type": [], "args": 1}], "Decision 0 cannot be read: "),
        ([{"type": "respond"}], "Decision 0 cannot be read: "),
        ([{"type": "edit", "args": {"action": "write"}}], "Decision 0 cannot be read: "),
        ([{"type": "edit", "edited_action": {"name": "write", "args": []}}], "Decision 0 cannot be read: "),
        ([{"type": "approve", "digest": "d2"}], "answers another call than that of 'a'; nothing was approved."),
    ],
)
def test_what_is_no_answer(answer, sentence):
    found = parse_decisions(answer, [ONE])
    assert isinstance(found, str)
    assert sentence in found


def test_one_decision_for_each_call_by_position_if_none_is_named():
    answer = {"decisions": [{"type": "approve"}, {"type": "reject"}]}
    assert parse_decisions(answer, [ONE, MANY]) == {0: APPROVE, 1: REJECT}
    three = [ONE, MANY, ONE.model_copy(update={"task": "c", "digest": "d3"})]
    assert "3 calls wait for an answer and 2 decisions" in str(parse_decisions(answer, three))


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ({"decisions": [{"type": "reject"}]}, {0: REJECT}),
        ([{"type": "accept", "args": None}], {0: APPROVE}),
        ({"type": "approve", "task_id": "b"}, {1: APPROVE}),
        ([{"type": "ignore", "digest": "d2"}], {1: REJECT}),
        ([{"type": "approve", "id": "b"}], {1: APPROVE}),
    ],
)
def test_a_lone_decision_is_for_the_call_that_it_names_or_for_the_first(answer, expected):
    assert parse_decisions(answer, [ONE, MANY]) == expected
    bound = bind_to_requests(answer, [ONE, MANY])
    assert parse_decisions(bound, [ONE, MANY]) == expected
    [position] = expected
    left = [request for at, request in enumerate([ONE, MANY]) if at != position]
    assert "answers another call" in str(parse_decisions(bound, left))


def test_what_is_refused_says_why_and_decides_nothing():
    assert parse_decisions(refuse_answer("No digest."), [ONE]) == "No digest."
    assert is_refused(refuse_answer(""))
    assert not any(map(is_refused, (None, {}, {"decisions": []}, [refuse_answer("")])))


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ({"digest": "d2"}, {"digest": "d1"}),
        ({"task_id": "b"}, {"task_id": "a"}),
        ({"id": "b"}, {"id": "d1"}),
        ({"task_id": "b", "digest": "d2"}, {"digest": "d1"}),
    ],
)
def test_decisions_that_name_their_calls_are_taken_by_name(first, second):
    answer = [{"type": "reject", **first}, {"type": "approve", **second}]
    assert parse_decisions(answer, [ONE, MANY]) == {0: APPROVE, 1: REJECT}
    assert parse_decisions(bind_to_requests(answer, [ONE, MANY]), [ONE, MANY]) == {0: APPROVE, 1: REJECT}


@pytest.mark.parametrize(
    ("first", "second", "sentence"),
    [
        ({"digest": "d1"}, {"digest": "d1"}, "Two decisions are for 'a'; give one for each call."),
        ({"task_id": "a"}, {"id": "d1"}, "Two decisions are for 'a'; give one for each call."),
        ({"digest": "d1", "task_id": "b"}, {"digest": "d2"}, "Decision 0 has the task_id 'b' of 'b', but"),
        ({"digest": "d1"}, {"task_id": "c"}, "Decision 1 has the task_id 'c' of no call"),
        ({"digest": "d1"}, {"digest": "d9"}, "Decision 1 answers another call than those that wait"),
        ({"digest": "d1"}, {}, "Decision 1 names no call, but others do"),
        ({}, {"task_id": "b"}, "Decision 0 names no call, but others do"),
    ],
)
def test_names_that_contradict_each_other_approve_nothing(first, second, sentence):
    found = parse_decisions([{"type": "approve", **first}, {"type": "approve", **second}], [ONE, MANY])
    assert sentence in str(found)
    assert "othing was approved" in str(found)


def test_the_calls_of_for_each_are_not_edited():
    assert parse_decisions([EDITED], [MANY]) == "Decision 0: 'edit' is not allowed for 'b'."


def test_an_answer_without_bound():
    deep = {}
    for _ in range(100_000):
        deep = {"x": [deep]}
    assert isinstance(parse_decisions(deep, [ONE]), str)
    edit = {"type": "edit", "edited_action": {"name": "write", "args": {"x": deep}}}
    assert "cannot be read" in str(parse_decisions(edit, [ONE]))
    assert len(str(parse_decisions([10**6000], [ONE]))) < 1_000


anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(st.characters(), max_size=4)
    | st.sampled_from(["approve", "edit", "accept", "response", "d1"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["decisions", "type", "args", "digest", "edited_action", "name", "message", "action"]),
            inner,
        )
    ),
    max_leaves=8,
)


@given(anything)
def test_any_answer_is_read_or_refused(answer):
    found = parse_decisions(answer, [ONE])
    assert isinstance(found, str | dict)
    if isinstance(found, dict):
        assert len(found) == 1


def test_what_needs_approval():
    read, write = Task(id="a", tool="fetch"), Task(id="a", tool="write")
    asked = read.model_copy(update={"requires_approval": True})
    ask, never = Limits(), Limits(approve="never")
    cases = [(read, ask), (write, ask), (asked, ask), (read, never), (write, never), (asked, never)]
    found = [needs_approval(task, CATALOGUE[task.tool], limits) for task, limits in cases]
    assert found == [False, True, True, False, False, False]


def test_an_approval_is_bound_to_thread_revision_task_tool_and_arguments():
    call = {"thread": "t", "revision": 1, "task": "a", "tool": "write", "calls": [{"x": 1}]}
    other = [
        {**call, "thread": "u"},
        {**call, "revision": 2},
        {**call, "task": "b"},
        {**call, "tool": "fetch"},
        {**call, "calls": [{"x": 2}]},
        {**call, "calls": [{"x": 1}, {"x": 1}]},
    ]
    assert len({hash_approval_request(**each) for each in [call, *other]}) == 7
    assert hash_approval_request(**call) == hash_approval_request(**{**call, "calls": [{"x": 1}]})
    assert hash_calls("write", [{"x": 1}]) != hash_calls("write", [{"x": 2}])


def test_the_request_has_the_shape_that_interfaces_know():
    payload = build_hitl_request([ONE, MANY], [CATALOGUE["write"], CATALOGUE["write"]])
    described = [action.pop("description") for action in payload["action_requests"]]
    assert described[0] == (
        '**Call of `write` by task `a`**\n\nPurpose: Write it\n\nArguments:\n\n```json\n{\n  "text": "x"\n}\n```'
    )
    assert "Number of calls: 2" in described[1]
    assert payload["action_requests"] == [
        {
            "name": "write",
            "args": {"text": "x"},
            "arguments": {"text": "x"},
            "purpose": "Write it",
            "task_id": "a",
            "digest": "d1",
        },
        {
            "name": "write",
            "args": {"text": "x"},
            "arguments": {"text": "x"},
            "purpose": "",
            "task_id": "b",
            "digest": "d2",
            "items": [{"text": "x"}, {"text": "y"}],
        },
    ]
    assert [config["allowed_decisions"] for config in payload["review_configs"]] == [
        ["approve", "edit", "reject", "respond"],
        ["approve", "reject", "respond"],
    ]
    assert all(config["args_schema"] == CATALOGUE["write"].args_schema for config in payload["review_configs"])


@pytest.mark.parametrize(
    "answer",
    [
        {"decisions": [{"type": "approve"}]},
        [{"type": "approve"}],
        {"type": "approve"},
        [{"type": "accept", "args": None}],
    ],
)
def test_an_answer_with_digests_holds_for_these_calls_only(answer):
    bound = bind_to_requests(answer, [ONE])
    assert parse_decisions(bound, [ONE]) == {0: APPROVE}
    assert not is_for_other_calls(bound, [ONE])
    assert is_for_other_calls(bound, [ONE.model_copy(update={"digest": "d3"})])
    assert not is_for_other_calls(bound, [ONE, MANY])
    assert not is_for_other_calls(answer, [ONE])


@pytest.mark.parametrize("answer", [None, "yes", {}, {"decisions": []}, [{"type": "approve"}, {"type": "approve"}], 3])
def test_what_is_no_answer_to_these_calls_stays_as_it_is(answer):
    assert bind_to_requests(answer, [ONE]) == answer
    assert not is_for_other_calls(answer, [ONE])
