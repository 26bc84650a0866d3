"""What schemas rule out of a condition, held against the engine that decides it."""

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.compiler.condition_check import find_condition_faults
from agent.core.plan.conditions import CEL_FUNCTIONS, ConditionError, evaluate, find_condition_tasks
from agent.core.plan.references import UnresolvedReference
from tests.support.plans import ROWS, problems_of

STRICT = {
    "type": "object",
    "properties": {
        "n": {"type": "integer"},
        "f": {"type": "number"},
        "t": {"type": "string"},
        "b": {"type": "boolean"},
        "l": {"type": "array", "items": {"type": "integer"}},
        "u": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
        "o": {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]},
    },
    "required": ["n", "f", "t", "b", "l", "u", "o"],
}
VALUE = {"n": 3, "f": 1.5, "t": "x", "b": True, "l": [1, 2], "u": None, "o": {"n": 1}}
OUTPUTS = {"rows": ROWS, "x": STRICT, "a-1": STRICT, "free": None}


@pytest.mark.parametrize(
    ("expression", "fault"),
    [
        ("rows.row_cout > 0", "uses rows.row_cout, but rows has no 'row_cout'; it has 'rows', 'row_count', 'best'"),
        ("rows.rows[0].nam == 'x'", "uses rows.rows[0].nam, but rows.rows[0] has no 'nam'"),
        ("rows.rows.exists(r, r.totl > 4)", "uses r.totl, but r has no 'totl'"),
        ("rows.rows.n > 1", "uses rows.rows.n, but rows.rows is a list"),
        ("rows.row_count.x > 1", "uses rows.row_count.x, but rows.row_count is a whole number"),
        ('outputs["a-1"].m > 1', "uses a-1.m, but a-1 has no 'm'"),
        ("has(x.o.m.k)", "uses x.o.m, but x.o has no 'm'"),
        ("rows.row_count", "gives a whole number where true or false is expected"),
        ("x.n + 1", "gives a whole number where true or false is expected"),
        ("x.t + 'y'", "gives a text where true or false is expected"),
        ("size(x.l)", "gives a whole number where true or false is expected"),
        ("x.l.filter(i, i > 1)", "gives a list where true or false is expected"),
        ("x.b ? 1 : 2", "gives a whole number where true or false is expected"),
        ("'yes'", "gives a text where true or false is expected"),
        ("[1, 2]", "gives a list where true or false is expected"),
        ("x.t > 5", "applies '>' to x.t (a text) and a whole number, which does not work"),
        ("5 <= x.t", "applies '<=' to a whole number and x.t (a text), which does not work"),
        ("x.l > [1]", "applies '>' to x.l (a list) and a list, which does not work"),
        ("x.t + 1 == 2", "applies '+' to x.t (a text) and a whole number, which does not work"),
        ("x.t - x.t == 'x'", "applies '-' to x.t (a text) and x.t (a text), which does not work"),
        ("x.l * 2 == [2]", "applies '*' to x.l (a list) and a whole number, which does not work"),
        ("x.n && true", "applies '&&' to x.n (a whole number), but it takes true or false"),
        ("!x.n", "applies '!' to x.n (a whole number), but it takes true or false"),
        ("-x.t == 1", "applies '-' to x.t (a text), but it takes a number"),
        ("x.n ? true : false", "applies '?' to x.n (a whole number), but it takes true or false"),
        ("x.l.exists(i, i)", "applies 'exists' to i (a whole number), but it takes true or false"),
        ("(x.m > 1)", "uses x.m"),
        ("[x.m, 1].size() > 0", "uses x.m"),
        ("{'k': x.m}.k == 1", "uses x.m"),
    ],
)
def test_what_cannot_be_is_told(expression, fault):
    find_condition_tasks(expression)
    assert [told for told in find_condition_faults(expression, OUTPUTS) if fault in told]


def test_every_fault_is_told():
    faults = find_condition_faults("x.m > 1 && x.t > 2 && rows.nothing == 1", OUTPUTS)
    assert len(faults) == 3


@pytest.mark.parametrize(
    "expression",
    [
        "rows.row_count > 0",
        "rows.row_count > 0.5 && x.t == 'x'",
        "rows.rows.exists(r, r.total > 4.0 && r.name.startsWith('a'))",
        "rows.rows.filter(r, r.total > 1.0).map(r, r.name).size() > 0",
        "rows.best == null || rows.best.total > 1.0",
        "x.u > 1",
        "free.anything.at[0].all > 1",
        "nobody.n > 1",
        "x.n == 'x'",
        "x.n in x.l",
        "'n' in x",
        "has(x.m)",
        "has(x.m) && x.m > 1",
        "has(x.o.n)",
        "x.b",
        "!x.b || x.n % 2 == 0",
        "x.b ? x.n > 1 : free",
        "x.b == true ? x.b : free.b",
        "timestamp(x.t) > timestamp('2020-01-01T00:00:00Z')",
        "type(x.n) == int",
        "x['n'] > 1",
        "x.l[0] > 1",
        "x.l[x.n] > 1",
        "x.l.exists(x, x > 1)",
        "rows.rows.all(x, x.total > 1.0) && x.n > 1",
        "// a remark\n x.n > 1",
        "r'a' == x.t && '''b''' != x.t && b'c' == b'c'",
        "{'a': 1}.a == 1 && [1, 2, 3].size() == 3",
        "!" * 100 + "x.b",
        "(" * 30 + "x.m" + ")" * 30,
        "x.n > 0x10 || x.n > 1u",
        "x.t + 'y' == 'xy' && x.l + [3] == [1, 2, 3] && x.n * 2 - 1 == 5",
        "x.u + 1 > 2",
    ],
)
def test_what_may_be_is_left_to_the_run(expression):
    find_condition_tasks(expression)
    assert find_condition_faults(expression, OUTPUTS) == ()


def test_the_compiler_tells_of_it_with_place_and_remedy():
    fetch = {"id": "orders", "tool": "fetch"}
    found = problems_of(fetch, {"id": "b", "tool": "free", "condition": "orders.row_cout > 'x'"})
    assert [(problem.kind, problem.place) for problem in found] == [("bad_condition", "task 'b', condition")]
    assert "orders has no 'row_cout'" in found[0].what
    assert found[0].remedy
    each = fetch | {"id": "each", "for_each": {"output_of": "orders", "path": ["rows"]}}
    assert problems_of(fetch, each, {"id": "b", "tool": "free", "condition": "each.row_count > 0"})
    assert not problems_of(fetch, each, {"id": "b", "tool": "free", "condition": "each[0].row_count > 0"})


def test_a_function_that_there_is_not_is_told_before_anything_runs():
    fetch = {"id": "orders", "tool": "fetch"}
    found = problems_of(fetch, {"id": "b", "tool": "free", "condition": "sise(orders.rows) > 1 && rank(orders.rows)"})
    assert [problem.what.partition(" calls ")[2] for problem in found] == [
        "'rank', which is not a CEL function.",
        "'sise', which is not a CEL function.",
    ]
    assert found[0].remedy.startswith("The functions are bytes, contains, ")
    assert found[1].remedy == "Did you mean 'size'?"


@pytest.mark.parametrize("name", sorted(CEL_FUNCTIONS))
def test_every_function_is_one_of_the_engine(name):
    calls = ("{}('1h')", "{}(1)", "x.t.{}('x')", "timestamp('2020-01-01T00:00:00Z').{}()", "{}('2020-01-01T00:00:00Z')")
    told = []
    for call in calls:
        try:
            evaluate(f"{call.format(name)} == x.n || true", outputs={"x": VALUE})
            told.append("")
        except UnresolvedReference as error:
            told.append(str(error))
    assert any("Undefined" not in sentence for sentence in told), told
    with pytest.raises(UnresolvedReference, match="Undefined"):
        evaluate("nofunction(x.n) == 1", outputs={"x": VALUE})


WORDS = (
    "x|free|.n|.f|.t|.b|.l|.u|.o|.o.n|.m|[0]|['n']|>|==|<=|&&|!|-|(|)|1|0.5|'x'|null|true|+|%|?|:|.size()|has(|,|"
    ".exists(i, i > 1)|.all(i, i > 0)|.filter(i, i > 1)|.map(i, i)|.contains('x')|size(| in |[|]"
)


@given(st.lists(st.sampled_from(WORDS.split("|")), min_size=1, max_size=9).map("".join))
def test_nothing_that_the_engine_decides_is_refused_but_by_its_type(expression):
    """A condition without `||` and `?`, which may never look at their other side, fails in the run as was told."""
    with suppress(ConditionError):
        find_condition_tasks(expression)
        faults = find_condition_faults(expression, {"x": STRICT, "free": None})
        sure = "?" not in expression and "&&" not in expression and ".all(" not in expression
        if faults and sure:
            with pytest.raises(UnresolvedReference):
                evaluate(expression, outputs={"x": VALUE, "free": {"n": 1}})


@given(st.text(alphabet="ab.()[]{}?:!&|<>=\"'0123 ,xinrb/\\\n", max_size=40))
def test_any_text_is_read_without_an_error(expression):
    find_condition_faults(expression, OUTPUTS)
