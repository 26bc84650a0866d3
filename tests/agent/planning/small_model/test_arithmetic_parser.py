"""Plain arithmetic as a plan: by the tools for it, by other tools, or worked out where no tool has to find anything."""

import math
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.tools import StructuredTool

from agent.planning.script_code.statements import ScriptError
from agent.planning.small_model.arithmetic_parser import (
    find_python_equivalents,
    fold_constant,
    is_calculator,
    read_arithmetic,
)
from agent.planning.tool_selection import find_named_tools
from agent.tools.toolbox import Toolbox

VALUE = {"type": "object", "properties": {"value": {"type": "number"}}, "required": ["value"]}
TWO = {"type": "object", "properties": {"a": {"type": "number"}, "b": {"type": "number"}}, "required": ["a", "b"]}
ONE = {"type": "object", "properties": {"a": {"type": "number"}}, "required": ["a"]}
LIST = {
    "type": "object",
    "properties": {"numbers": {"type": "array", "items": {"type": "number"}}},
    "required": ["numbers"],
}
TEXT = {"type": "object", "properties": {"place": {"type": "string"}}, "required": ["place"]}
DOES = {
    "add": (TWO, lambda a, b: a + b),
    "subtract": (TWO, lambda a, b: a - b),
    "multiply": (TWO, lambda a, b: a * b),
    "divide": (TWO, lambda a, b: a / b),
    "power": (TWO, lambda a, b: a**b),
    "floor": (ONE, math.floor),
    "square_root": (ONE, math.sqrt),
    "maximum": (LIST, max),
    "fence_length": (TWO, lambda a, b: 2 * (a + b)),
    "temperature": (TEXT, lambda place: 0.0),
}
FOUR = ("add", "subtract", "multiply", "divide")


def specs(*names, reads=True):
    return Toolbox(
        StructuredTool.from_function(
            lambda **_args: 0.0,
            name=name,
            description=name,
            args_schema=DOES[name][0],
            metadata={"readOnlyHint": reads, "output_schema": VALUE},
        )
        for name in names
    ).specs


def read(text, *more):
    return read_arithmetic(text, specs(*FOUR, *more), known={})


def result(tasks):
    """Work a plan out by the functions, each reference by what it refers to."""
    values = {}
    for task in tasks:
        args = {name: filled(value, values) for name, value in task["args"].items()}
        values[task["id"]] = DOES[task["tool"]][1](*args.values())
    return values[tasks[-1]["id"]]


def filled(value, values):
    if isinstance(value, list):
        return [filled(each, values) for each in value]
    return values[value["output_of"]] if isinstance(value, dict) else value


@pytest.mark.parametrize(
    ("text", "more", "expected"),
    [
        ("a = 3\nb = 4\nanswer = (a + b) * 2 / 7", (), 2.0),
        ("a = 3 + 4\nanswer = -a", (), -7),
        ("a = 3 + 4\nanswer = +a * -2", (), -14),
        ("a = 1 + 1\nanswer = a ** 3", (), 8),
        ("a = 1 + 1\nanswer = a ** 3", ("power",), 8),
        ("a = 8 + 1\nanswer = a ** 0.5", ("square_root",), 3.0),
        ("import math\na = 8 + 1\nanswer = math.sqrt(a)", ("square_root",), 3.0),
        ("import math\nanswer = 2 * math.sqrt(16)", (), 8.0),
        ("answer = 2 * math.pi", (), 2 * math.pi),
        ("a = 9 + 8\nanswer = a // 5", ("floor",), 3),
        ("a = 9 + 8\nanswer = a % 5", ("floor",), 2),
        ("answer = 3 + 17 % 5", (), 5),
        ("a = 1 + 1\nanswer = max(a, 5)", ("maximum",), 5),
        ("a = 1 + 1\nanswer = max([a, 1])", ("maximum",), 2),
        ("a = 1 + 1\nanswer = sum([a, 5, 6])", (), 13),
        ("a = 7 / 2\nanswer = round(a, 2)", (), 3.5),
        ("total = 1 + 1\ntotal += 5\nprint(total)", (), 7),
        ("answer = fence_length(3, 2 * 2)", ("fence_length",), 14),
    ],
)
def test_arithmetic_becomes_calls_that_come_to_the_same(text, more, expected):
    assert result(read(text, *more)) == pytest.approx(expected)


@given(
    st.recursive(
        st.integers(1, 9).map(str),
        lambda inner: st.tuples(inner, st.sampled_from("+-*"), inner).map(lambda parts: f"({' '.join(parts)})"),
        max_leaves=8,
    )
)
def test_any_expression_comes_to_what_python_makes_of_it(expression):
    tasks = read(f"answer = 1 + {expression}")
    assert result(tasks) == eval(f"1 + {expression}")  # noqa: S307 - made of digits and signs just above


def test_only_what_the_answer_rests_on_is_planned():
    tasks = read("a = 2 + 3\nunused = a * 7\n# twice it\nanswer = a * 2\nprint(f'{answer} days')")
    assert [(task["id"], task["tool"], task["description"]) for task in tasks] == [
        ("a", "add", "a"),
        ("answer", "multiply", "twice it"),
    ]


def test_the_answer_is_what_was_named_or_printed_last_where_nothing_is_called_so():
    assert [task["id"] for task in read("a = 2 + 3\nb = a * 2")] == ["a", "b"]
    assert [task["id"] for task in read("a = 2 + 3\nb = a * 2\nprint(a)")] == ["a"]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("answer = 5", "The answer must be worked out"),
        ("a = 1 + 1\nanswer = int(a)", "There is no tool `int`"),
        ("a = 1 + 1\nanswer = a ** 9", "No tool works out `a ** 9`"),
        ("a = 1 + 1\nanswer = math.sqrt(a)", "No tool works out `math.sqrt(a)`"),
        ("answer = 1 + 9 ** 999", "No tool works out `9 ** 999`"),
        ("answer = 1 + 5 % 0", "No tool works out `5 % 0`"),
        ("for a in [1]:\n    answer = a + 1", "is not a step"),
        ("answer = 1 +", "cannot be read in line 1"),
    ],
)
def test_what_is_no_arithmetic_is_told(text, told):
    with pytest.raises(ScriptError, match=re.escape(told)):
        read(text)


def test_a_calculator_has_the_four_operations_and_takes_nothing_but_numbers():
    assert is_calculator(specs(*FOUR, "maximum", "fence_length"))
    assert not is_calculator(specs(*FOUR[:3]))
    assert not is_calculator(specs(*FOUR, "temperature"))
    assert not is_calculator(specs(*FOUR, reads=False))


def test_a_model_is_told_of_formulas_that_the_goal_names():
    tools = specs(*FOUR, "square_root", "fence_length")
    assert find_python_equivalents(tools) == {*FOUR, "square_root"}
    for goal, names in (("Which lengths has the fence?", ["fence_length"]), ("How long is the fence?", [])):
        assert [tool.name for tool in find_named_tools({"fence_length": tools["fence_length"]}, goal=goal)] == names


@given(st.sampled_from(["factorial", "comb", "pow"]), st.lists(st.integers(-(10**9), 10**9), max_size=3))
def test_nothing_that_is_worked_out_takes_the_machine_or_leaves_the_numbers(function, values):
    found = fold_constant(function, values)
    assert found is None or abs(found) <= 10**15
