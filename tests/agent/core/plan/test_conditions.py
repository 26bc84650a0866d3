"""Conditions: the tasks they name, what they decide, and what cannot be evaluated."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.plan.conditions import ConditionError, evaluate, find_condition_tasks
from agent.core.plan.references import UnresolvedReference

OUTPUTS = {"orders": {"row_count": 3, "rows": [{"n": 1}, {"n": 5}]}, "a-1": {"ok": True}, "text": "x", "none": None}


@pytest.mark.parametrize(
    ("expression", "used"),
    [
        ("orders.row_count > 0", {"orders"}),
        ("orders.row_count > 0 && text == 'x'", {"orders", "text"}),
        ('outputs["a-1"].ok', {"a-1"}),
        ("outputs['a-1'].ok || orders.row_count == 0", {"a-1", "orders"}),
        ("orders.rows.exists(r, r.n > 4)", {"orders"}),
        ("orders.rows.filter(r, r.n > limit.n).map(r, r.n).size() > 0", {"orders", "limit"}),
        ("has(orders.rows)", {"orders"}),
        ("1 > 0", set()),
    ],
)
def test_names(expression, used):
    assert find_condition_tasks(expression) == used


@pytest.mark.parametrize("expression", ["", "a >", "(((", "a = 1", "é > 1", "a b", "'", "x" * 2_001, "(" * 200_000])
def test_what_does_not_parse(expression):
    for _ in range(2):
        with pytest.raises(ConditionError) as caught:
            find_condition_tasks(expression)
        assert "\n" not in str(caught.value)
        assert len(str(caught.value)) <= 200


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("orders.row_count > 2", True),
        ("orders.row_count > 3", False),
        ("orders.rows.exists(r, r.n == 5)", True),
        ("orders.rows.all(r, r.n == 5)", False),
        ("has(orders.missing)", False),
        ('outputs["a-1"].ok', True),
        ("text == 'x' && orders.rows[1].n == 5", True),
        ("none == null", True),
    ],
)
def test_holds(expression, expected):
    assert evaluate(expression, outputs=OUTPUTS) is expected


@pytest.mark.parametrize(
    ("expression", "sentence"),
    [
        ("orders.nothing > 1", "The condition 'orders.nothing > 1' "),
        ("orders.row_count", "gives a number, neither true nor false."),
        ("text > 5", "cannot be evaluated: "),
        ("orders.rows[9].n > 1", "The condition 'orders.rows[9].n > 1' "),
        ("1 / 0 > orders.row_count", "cannot be evaluated: "),
    ],
)
def test_what_cannot_be_decided(expression, sentence):
    with pytest.raises(UnresolvedReference) as caught:
        evaluate(expression, outputs=OUTPUTS)
    assert sentence in str(caught.value)


@pytest.mark.parametrize("task", ["for", "in", "null", "é", "a b", "true"])
def test_a_task_of_any_name_by_key(task):
    assert evaluate(f'outputs["{task}"].n > 1', outputs={task: {"n": 2}}) is True


WORDS = (
    "orders|text|none|.rows|.row_count|[0]|[9]|.n|>|==|&&|!|(|)|1|0|'x'|null|+|-|/|%|?|:|.size()|has(|,|r|"
    ".exists(r, r.n > 1)|.matches('(')|.startsWith('x')|timestamp('x')|duration('1s')|int(|string(| in "
    "|9223372036854775807"
)


@given(st.lists(st.sampled_from(WORDS.split("|")), max_size=9).map("".join))
def test_any_expression_is_decided_or_refused(expression):
    with suppress(ConditionError, UnresolvedReference):
        assert isinstance(evaluate(expression, outputs=OUTPUTS), bool)


@pytest.mark.parametrize(
    "expression",
    [
        "orders.row_count / (orders.row_count - 3) > 0",
        "orders.row_count % 0 == 1",
        "9223372036854775807 + orders.row_count > 0",
        "text.matches('(')",
        "timestamp(text) > timestamp('2020-01-01T00:00:00Z')",
        "int(text) > 1",
        "nowhere_at_all(orders)",
        "none.x > 1",
        "text[0] == 'x'",
        "orders.rows['x'] == 1",
    ],
)
def test_evaluation_never_raises_its_own_errors(expression):
    with pytest.raises(UnresolvedReference):
        evaluate(expression, outputs=OUTPUTS)
