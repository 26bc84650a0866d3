"""Documents that are no plan: never an exception, never long, always problems with their places."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.compiler.compiler import CompiledPlan, compile_plan
from agent.core.plan.document import Plan, Task
from agent.core.plan.limits import Limits
from agent.core.plan.parser import parse_plan
from agent.core.plan.problems import Problem
from tests.support.plans import CATALOGUE


def compiled(document):
    """Parse and compile `document`, hold what comes out to the contract, and return it."""
    began = time.process_time()
    found = parse_plan(document)
    if isinstance(found, Plan):
        json.dumps(found.model_dump(mode="json"), allow_nan=False).encode()
        found = compile_plan(found, CATALOGUE, limits=Limits())
    assert time.process_time() - began < 2.0
    if not isinstance(found, CompiledPlan):
        assert found
        for problem in found:
            assert isinstance(problem, Problem)
            assert problem.place
            assert problem.what.endswith(".")
            assert problem.remedy
            assert len(str(problem)) < 2_000
            str(problem).encode()
    return found


def nested(levels, make):
    value = 1
    for _ in range(levels):
        value = make(value)
    return value


def doubled(levels):
    value = []
    for _ in range(levels):
        value = [value, value]
    return value


def task(**fields):
    return {"tasks": [{"id": "a", "tool": "free", **fields}]}


MALFORMED = {
    "nothing": (None, "plan", "a plan is an object with 'tasks', not NoneType."),
    "a text": ("plan", "plan", "not str."),
    "a set": ({"tasks": {1, 2}}, "tasks", "a set is not a JSON value."),
    "tasks of no kind": ({"tasks": 5}, "tasks", "5 is not valid here: a list is expected"),
    "a task of no kind": ([None], "tasks[0]", "None is not valid here: an object is expected"),
    "no id": ([{"tool": "free"}], "tasks[0].id", "the field 'id' is missing."),
    "no tool": ([{"id": "a"}], "task 'a', tasks[0].tool", "the field 'tool' is missing."),
    "an unknown field": (task(arguments={}), "task 'a', tasks[0].arguments", "there is no field 'arguments'"),
    "an id with a space": (
        [{"id": "a b", "tool": "free"}],
        "task 'a b', tasks[0].id",
        "'a b' is not valid here: an id has no spaces",
    ),
    "an empty id": ([{"id": "", "tool": "free"}], "tasks[0].id", "'' is not valid here"),
    "args of no kind": (task(args=[1]), "task 'a', tasks[0].args", "[1] is not valid here: an object is expected"),
    "a truth value for a number": (task(max_retries=True), "task 'a', tasks[0].max_retries", "a number is expected"),
    "a negative number": (task(max_retries=-1), "task 'a', tasks[0].max_retries", "-1 is not valid here"),
    "no timeout": (task(timeout_s=0), "task 'a', tasks[0].timeout_s", "0 is not valid here"),
    "an unknown word": (task(on_failure="retry"), "task 'a', tasks[0].on_failure", "'retry' is not valid here"),
    "an unknown mode": ({"execution_mode": "fast", "tasks": []}, "execution_mode", "'fast' is not valid here"),
    "NaN": (task(args={"x": float("nan")}), "tasks[0].args.x", "nan is not a JSON number."),
    "infinity": (task(timeout_s=float("inf")), "tasks[0].timeout_s", "inf is not a JSON number."),
    "half a surrogate pair": (
        task(args={"x": "\ud800"}),
        "tasks[0].args.x",
        "'\\ud800' contains half of a surrogate pair.",
    ),
    "half a surrogate pair as key": (task(args={"\udfff": 1}), "tasks[0].args.'\\udfff'", "half of a surrogate pair."),
    "a key that is no text": (task(args={5: 1}), "tasks[0].args", "the key 5 is not a text."),
    "bytes": (task(args={"x": b"x"}), "tasks[0].args.x", "a bytes is not a JSON value."),
    "a number that Python does not print": (
        task(priority=10**5000),
        "tasks[0].priority",
        "a whole number of 16610 bits",
    ),
    "a deep list": (
        task(args={"x": nested(100_000, lambda value: [value])}),
        "tasks[0].args.x",
        "deeper than 64 levels.",
    ),
    "a deep object": (
        task(args=nested(100_000, lambda value: {"k": value})),
        "tasks[0].args.k",
        "deeper than 64 levels.",
    ),
    "a deep plan": (nested(100_000, lambda value: [value]), "tasks[0][0][0]", "deeper than 64 levels."),
    "a small text for a huge value": (task(args={"x": doubled(50)}), "plan", "it contains more than 500000 values."),
    "too many tasks": ([{"id": str(number), "tool": "free"} for number in range(10_001)], "plan", "it has 10001 tasks"),
}


@pytest.mark.parametrize("row", MALFORMED.values(), ids=MALFORMED.keys())
def test_malformed(row):
    document, place, sentence = row
    found = compiled(document)
    assert [(problem.place, sentence in problem.what) for problem in found] == [(place, True)]


def test_a_list_that_holds_itself():
    loop = []
    loop.append(loop)
    assert [problem.kind for problem in compiled(task(args={"x": loop}))] == ["malformed"]


def test_every_malformed_field_at_once():
    document = {"tasks": [{"id": "a"}, {"tool": "free"}, {"id": "c", "tool": "", "args": 1, "extra": 2}]}
    assert [problem.place for problem in compiled(document)] == [
        "task 'a', tasks[0].tool",
        "tasks[1].id",
        "task 'c', tasks[2].tool",
        "task 'c', tasks[2].args",
        "task 'c', tasks[2].extra",
    ]


def test_a_plan_is_itself():
    plan = Plan(tasks=(Task(id="a", tool="free"),))
    assert parse_plan(plan) is plan
    assert parse_plan(plan.model_dump(mode="json")) == plan
    assert parse_plan(plan.model_dump(mode="json")["tasks"]) == plan


def test_sixty_levels_are_no_problem():
    assert isinstance(compiled(task(args={"x": nested(58, lambda value: [value])})), CompiledPlan)


MANY = {
    "all malformed": [{"id": 5, "tool": None, "args": 7} for _ in range(10_000)],
    "all the same id": [{"id": "a", "tool": "free"} for _ in range(10_000)],
    "unknown tools": [{"id": f"t{number}", "tool": "freee"} for number in range(10_000)],
    "unknown references": [
        {"id": f"t{number}", "tool": "free", "depends_on": [f"u{number}"]} for number in range(10_000)
    ],
    "one cycle": [
        {"id": f"t{number}", "tool": "free", "depends_on": [f"t{(number + 1) % 10_000}"]} for number in range(10_000)
    ],
    "many cycles": [{"id": f"t{number}", "tool": "free", "depends_on": [f"t{number ^ 1}"]} for number in range(10_000)],
    "bad conditions": [{"id": f"t{number}", "tool": "free", "condition": "(" * number} for number in range(10_000)],
    "bad rollbacks": [
        {"id": f"t{number}", "tool": "free", "rollback": {"tool": "free", "args": {"x": {"output_of": "t5"}}}}
        for number in range(10_000)
    ],
    "bad templates": [
        {"id": f"t{number}", "tool": "free", "args": {"x": {"template": "{", "values": {}}}} for number in range(10_000)
    ],
    "bad paths": [{"id": "t", "tool": "fetch"}]
    + [
        {"id": f"t{number}", "tool": "take", "args": {"text": {"output_of": "t", "path": ["rows", 0, "nope"]}}}
        for number in range(9_999)
    ],
}


@pytest.mark.parametrize("tasks", MANY.values(), ids=MANY.keys())
def test_ten_thousand_bad_tasks(tasks):
    assert not isinstance(compiled({"tasks": tasks}), CompiledPlan)


@pytest.mark.parametrize("text", ["x" * 1_000_000, "é" * 100_000, "{" * 100_000, "%s{0}" * 10_000])
@pytest.mark.parametrize("field", ["id", "tool", "condition", "depends_on", "args", "for_each", "execution_mode"])
def test_long_texts_everywhere(field, text):
    value = {"depends_on": [text], "args": {text: text}, "for_each": {"output_of": text}}.get(field, text)
    document = {"tasks": [], "execution_mode": text} if field == "execution_mode" else task(**{field: value})
    compiled(document)


scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(min_value=10**300, max_value=10**400),
    st.floats(),
    st.text(st.characters(), max_size=12),
    st.sampled_from(
        ["\ud800", "a", "b", "fetch", "free", "take", "{a}", "a.n > 1", "a.n >", "any", "skip", b"", object()]
    ),
)
FIELDS = [*Task.model_fields, "output_of", "path", "template", "values", "item", "tasks", "extra"]
keys = st.one_of(st.sampled_from(FIELDS), st.text(st.characters(), max_size=4), st.integers(), st.none())
anything = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(keys, inner, max_size=4),
        st.tuples(inner, inner),
        st.builds(lambda path: {"output_of": "a", "path": path}, inner),
        st.builds(lambda text, values: {"template": text, "values": values}, inner, inner),
        st.builds(lambda path: {"item": path}, inner),
    ),
    max_leaves=12,
)
sound = st.fixed_dictionaries(
    {"id": st.sampled_from(["a", "b", "c"]), "tool": st.sampled_from(sorted(CATALOGUE))},
    optional={
        name: st.one_of(anything, st.dictionaries(st.sampled_from(["text", "number", "sql"]), anything, max_size=2))
        for name in Task.model_fields
        if name not in {"id", "tool"}
    },
)


@given(anything)
def test_any_value(document):
    compiled(document)


@given(st.dictionaries(st.sampled_from(["tasks", "execution_mode", "x"]), st.one_of(anything, st.lists(anything))))
def test_any_object(document):
    compiled(document)


@given(st.lists(sound, min_size=1, max_size=4))
def test_almost_a_plan(tasks):
    compiled({"tasks": tasks})


@given(st.one_of(st.text(max_size=40), st.text(alphabet="ab.()[]{}?:!&|<>=\"'0123 ,xin", max_size=40)))
def test_any_condition(condition):
    compiled(task(condition=condition))


@pytest.mark.parametrize("name", ["role", "type", "__overwrite__"])
def test_an_id_that_the_store_of_results_takes_for_something_else_is_refused(name):
    [problem] = parse_plan({"tasks": [{"id": name, "tool": "look"}, {"id": "b", "tool": "look", "depends_on": [name]}]})
    assert str(problem).endswith(f"the id {name!r} is reserved. Give the task another id.")
