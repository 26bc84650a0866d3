"""The bound on what a condition may cost: what would freeze the process is refused in a sentence, before it starts."""

import pytest

from agent.core.plan.condition_cost import MAX_COST, estimate_cost
from agent.core.plan.conditions import evaluate
from agent.core.plan.references import UnresolvedReference

ROWS = [{"n": n, "name": f"name {n}"} for n in range(1_000)]
OUTPUTS = {"r": ROWS, "n": list(range(1_000)), "many": list(range(10_000)), "s": "a" * 1_000_000, "one": [1]}
DOUBLED = ".map(x, x + x)"


@pytest.mark.parametrize(
    "expression",
    [
        "n.all(a, n.all(b, n.all(c, a + b + c >= 0)))",
        "n.all(a, n.exists(b, a == b + 1))",
        "r.filter(a, a.n >= 0).exists(a, r.filter(b, b.n == a.n).size() > 0)",
        "many.map(a, a).size() > 0",
        "many.filter(a, a > 5).filter(a, a > 7).size() > 1",
        "n.map(a, n).size() == 10",
        "n.map(a, n).all(a, a.map(b, n).size() > 0)",
        "outputs['r'].all(a, outputs['r'].all(b, a.name != b.name || a.n == b.n))",
        f"[s]{DOUBLED * 100}.size() == 1",
        f"[[1]]{DOUBLED * 100}.size() == 1",
        "[[1]]" + ".map(x, [x, x])" * 40 + ".size() == 1",
        "s" + " + s" * 300 + " == s",
        "n.all(a, s + s + s + s + s == s)",
        "n.all(a, s == s)",
        r'n.all(a, s.matches("\\w{100}"))',
        "n.all(a, s.matches(string(a)))",
        "(one.size() > 0 ? {'b': n} : r[0]).b.map(a, n).size() > 0",
        "[{'x': {'y': n}}].all(a, a.x.y.map(b, n).size() > 0)",
        "({'x': n}[string('x')]).map(b, n).size() > 0",
        "[" * 70 + "n.size()" + "]" * 70 + " + [1] != [1]",
    ],
)
def test_what_would_take_too_long_is_refused(expression):
    with pytest.raises(UnresolvedReference, match="it could not be stopped; nest fewer macros"):
        evaluate(expression, outputs=OUTPUTS)


@pytest.mark.parametrize(
    "expression",
    [
        "r.exists(a, a.n == 999)",
        "r.all(a, a.name.startsWith('name'))",
        "r.filter(a, a.n > 998).size() == 1",
        "r.map(a, a.n)[5] == 5",
        "n.exists_one(a, a == 1) && size(many) + 1 == 10001",
        "many.all(a, a >= 0)",
        "one.all(a, one.all(b, n.all(c, a + b + c > 1)))",
        "s + s != s",
        'r.exists(a, a.name.matches("^name [0-9]{1,3}$"))',
        "[[n, n], [n]].all(a, a.all(b, b.size() == 1000))",
        "{'k': 1}.all(k, k == 'k')",
    ],
)
def test_what_is_cheap_is_evaluated(expression):
    assert evaluate(expression, outputs=OUTPUTS)


def test_the_estimate_grows_with_the_sizes_that_are_there():
    nested = "n.all(a, n.all(b, n.all(c, a + b + c >= 0)))"
    small, large = (estimate_cost(nested, {"n": list(range(size))}) for size in (10, 1_000))
    assert small is not None
    assert large is not None
    assert small < MAX_COST
    assert large > 1_000 * small
    assert estimate_cost("n.size() > 0 && n[0] == 0", OUTPUTS) == 0


def test_a_deep_value_is_measured():
    value: list[object] = [1]
    for _ in range(5_000):
        value = [value]
    cost = estimate_cost("x.all(a, true)", {"x": value})
    assert cost is not None
    assert cost > 5_000
