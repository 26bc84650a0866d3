"""References: filled in with their types kept, left open and put back."""

import copy
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.plan.references import (
    InvalidReference,
    ItemReference,
    OutputReference,
    Template,
    UnresolvedReference,
    find_argument_references,
    find_producers,
    find_references,
    follow_path,
    parse_reference,
    resolve,
    resolve_args,
    split_open_args,
    split_open_value,
)

ROWS = {"rows": [{"n": 1, "name": "Ann"}, {"n": 2.5, "name": None}], "empty": [], "*": "star", "flag": True}
OUTPUTS = {"a": ROWS, "b": "text", "c": None}

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("abxy", max_size=2), inner, max_size=3),
    max_leaves=10,
)
references = st.sampled_from(
    [
        {"output_of": "a", "path": ["rows", "*", "name"]},
        {"output_of": "a"},
        {"output_of": "b", "path": []},
        {"item": ["k"]},
        {"template": "{x} {{", "values": {"x": {"output_of": "c"}}},
    ]
)
arguments = st.dictionaries(
    st.text("abc", min_size=1, max_size=3),
    st.recursive(
        values | references,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text("pq", min_size=1), inner, max_size=3),
        max_leaves=8,
    ),
    max_size=4,
)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"output_of": "a"}, OutputReference("a")),
        ({"output_of": "a", "path": ["x", 0, "*", -1]}, OutputReference("a", ("x", 0, "*", -1))),
        ({"item": []}, ItemReference(())),
        ({"item": ["x"]}, ItemReference(("x",))),
        ({"template": "{a}", "values": {"a": 1, "b": 2}}, Template("{a}", {"a": 1, "b": 2})),
        ({}, None),
        ({"path": []}, None),
        ({"item": "x"}, None),
        ({"item": [], "more": 1}, None),
        ({"template": "x"}, None),
        ({"template": 1, "values": {}}, None),
        ([{"output_of": "a"}], None),
    ],
)
def test_special(value, expected):
    assert parse_reference(value) == expected


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ({"output_of": 5}, "reference names no task: 'output_of' is 5"),
        ({"output_of": ""}, "reference names no task: 'output_of' is ''"),
        ({"output_of": "a", "path": "rows"}, "reference has a path that is not a list of keys and numbers"),
        ({"output_of": "a", "path": [True]}, "reference has a path that is not a list of keys and numbers"),
        ({"output_of": "a", "paths": []}, "reference has more than 'output_of' and 'path': 'paths'"),
        ({"item": [1.5]}, "item reference has a path that is not a list of keys and numbers"),
        ({"template": "{a} {b}", "values": {"a": 1}}, "template has no value for 'b'"),
        ({"template": "{", "values": {}}, "write a literal brace twice"),
        ({"template": "{a.b}", "values": {"a": 1}}, "the field {a.b} must be a plain name"),
        ({"template": "{a!r}", "values": {"a": 1}}, "must be a plain name"),
        ({"template": "{a:>9999999999}", "values": {"a": 1}}, "must be a plain name"),
        ({"template": "{}", "values": {}}, "the field {} must be a plain name"),
    ],
)
def test_misfits(value, reason):
    found = parse_reference(value)
    assert isinstance(found, InvalidReference)
    assert reason in found.reason
    with pytest.raises(UnresolvedReference, match=r"^This (reference|template|item reference)"):
        resolve({"x": [value]}, outputs=OUTPUTS)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ([], ROWS),
        (["rows", 0, "n"], 1),
        (["rows", -1, "n"], 2.5),
        (["rows", "*", "name"], ["Ann", None]),
        (["rows", "*"], ROWS["rows"]),
        (["empty", "*", "x"], []),
        (["*"], "star"),
        (["flag"], True),
    ],
)
def test_a_path_keeps_the_type(path, expected):
    found = resolve({"x": {"output_of": "a", "path": path}}, outputs=OUTPUTS)
    assert found == {"x": expected}
    assert type(found["x"]) is type(expected)


@pytest.mark.parametrize(
    ("value", "sentence"),
    [
        ({"output_of": "z"}, "Task 'z' has no output to refer to."),
        (
            {"output_of": "a", "path": ["nope"]},
            "There is no 'nope' in the output of 'a'; it has 'rows', 'empty', '*', 'f",
        ),
        ({"output_of": "a", "path": ["rows", 2]}, "There is no item 2 in the output of 'a' at 'rows'; the list has 2."),
        (
            {"output_of": "a", "path": ["rows", "n"]},
            "The step 'n' does not lead into the output of 'a' at 'rows', which is a",
        ),
        ({"output_of": "b", "path": [0]}, "which is a text."),
        ({"output_of": "c", "path": ["x"]}, "which is null."),
        ({"output_of": "a", "path": ["rows", "*", "zz"]}, "There is no 'zz' in the output of 'a' at 'rows' at 0"),
        ({"item": []}, "An 'item' reference is used outside of a 'for_each' task."),
    ],
)
def test_a_reference_to_nothing(value, sentence):
    with pytest.raises(UnresolvedReference) as caught:
        resolve([value], outputs=OUTPUTS)
    assert sentence in str(caught.value)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("é", "é"),
        (3, "3"),
        (2.0, "2"),
        (2.5, "2.5"),
        (True, "true"),
        (None, "null"),
        (["é"], '["é"]'),
        ({"a": 1}, '{"a": 1}'),
    ],
)
def test_template_values_as_text(value, text):
    template = {"template": "<{x}> {{}}", "values": {"x": {"output_of": "v"}, "unused": 1}}
    assert resolve(template, outputs={"v": value}) == f"<{text}> {{}}"


def test_a_template_value_is_not_read_as_a_template():
    assert resolve({"template": "{x}", "values": {"x": "{y} {0.real}"}}, outputs={}) == "{y} {0.real}"


def test_an_item_of_any_type_even_null():
    assert resolve({"x": {"item": []}, "y": [{"item": []}]}, outputs={}, item=None) == {"x": None, "y": [None]}
    assert resolve({"item": ["n"]}, outputs={}, item={"n": 5}) == 5


@given(values)
def test_literals_stay_as_they_are(value):
    assert json.dumps(resolve(value, outputs={})) == json.dumps(value)
    assert split_open_value(value) == (value, [])
    assert list(find_references(value)) == []


@given(arguments)
def test_resolving_changes_nothing_that_it_is_given(args):
    before = copy.deepcopy((args, OUTPUTS))
    item = {"k": [1]}
    found = resolve_args(args, outputs=OUTPUTS, item=item)
    assert (args, OUTPUTS, item) == (*before, {"k": [1]})
    assert found.keys() == args.keys()
    assert list(find_argument_references(found)) == []
    json.dumps(found)


def put(args, place, value):
    for step in place[:-1]:
        args = args[step]
    args[place[-1]] = value


@given(arguments)
def test_what_is_left_open_can_be_put_back(args):
    known, left = split_open_args(args)
    assert list(find_argument_references(known)) == []
    whole = copy.deepcopy(known)
    for place in left:
        assert all(isinstance(step, str) for step in place)
        put(whole, place, follow_path(args, place, of="args"))
    assert json.dumps(whole, sort_keys=True) == json.dumps(args, sort_keys=True)
    assert bool(left) == any(True for _ in find_argument_references(args))


@given(arguments)
def test_producers_are_the_tasks_that_are_referred_to(args):
    found = [producer for value in args.values() for producer in find_producers(value)]
    assert len(found) == json.dumps(args).count('"output_of"')
    assert set(found) <= {"a", "b", "c"}


def test_the_object_of_all_arguments_is_no_reference():
    args = {"item": [1, {"output_of": "b"}]}
    assert resolve_args(args, outputs=OUTPUTS) == {"item": [1, "text"]}
    assert split_open_args(args) == ({}, [("item",)])
    assert list(find_argument_references(args)) == [(("item", 1), OutputReference("b"))]
