"""Scripts of tool calls: what becomes of them, what is told back, and the grammar that they are held to."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langchain_core.tools import StructuredTool

from agent.core.plan.document import Plan
from agent.core.plan.limits import Limits
from agent.core.plan.parser import parse_plan
from agent.planning.script_code.statements import ScriptError
from agent.planning.small_model.script import format_signatures
from agent.planning.small_model.script_grammar import build_script_grammar, find_operator_tools
from agent.planning.small_model.script_parser import read_script
from agent.tools.toolbox import Toolbox

NUMBER = {"type": "object", "properties": {"value": {"type": "number"}}, "required": ["value"]}
PLACE = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "celsius": {"type": "number"}, "days": {"type": "array"}},
    "required": ["name", "celsius", "days"],
}


def scale(number: float, by: float) -> dict:
    """Multiply two numbers."""
    return {"value": number * by}


def find(place: str) -> dict:
    """Find a place."""
    return {}


def post(text: str, tags: list[str] | None = None, urgent: bool = False) -> str:
    """Post a text."""
    return "done"


def note(text: str = "", to: str = "") -> str:
    """Note something."""
    return "noted"


TOOLBOX = Toolbox(
    StructuredTool.from_function(function, metadata={"readOnlyHint": True, "output_schema": output})
    for function, output in ((scale, NUMBER), (find, PLACE), (post, None), (note, None))
)


def read(text, **known):
    return read_script(text, TOOLBOX.specs, known=known, taken=("used",))


def ref(task, *path):
    return {"output_of": task, "path": list(path)}


def test_a_line_is_a_task_told_by_its_comment():
    tasks = read("# the wettest place\nwet = find('Cape Low')\ncold = find(place='Ox')\n")
    assert tasks == [
        {"id": "wet", "description": "the wettest place", "tool": "find", "args": {"place": "Cape Low"}},
        {"id": "cold", "description": "cold", "tool": "find", "args": {"place": "Ox"}},
    ]


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("-2.5", -2.5),
        ("a", ref("a", "celsius")),
        ('a["celsius"]', ref("a", "celsius")),
        ("a.celsius", ref("a", "celsius")),
        ("a['days'][0]", ref("a", "days", 0)),
        ("five", 5),
        ("many[1]", 7),
        ('many[2]["x"]', ref("a", "name")),
    ],
)
def test_what_an_argument_can_be(argument, value):
    text = f"a = find('Ox')\nfive = 5\nmany = [5, 7, {{'x': a['name']}}]\nb = scale({argument}, 2)\n"
    assert read(text)[-1]["args"] == {"number": value, "by": 2}


def test_a_whole_output_is_its_only_field_that_fits():
    tasks = read("a = find('Ox')\nb = scale(a, 2)\nc = find(a)\nd = scale(b, b)\n")
    assert [task["args"] for task in tasks[1:]] == [
        {"number": ref("a", "celsius"), "by": 2},
        {"place": ref("a", "name")},
        {"number": ref("b", "value"), "by": ref("b", "value")},
    ]


def test_calls_inside_of_calls_come_before():
    tasks = read("# all of it\ntotal = scale(scale(2, 3), scale(scale(1, 2), 4))\n")
    assert [(task["id"], task["args"]) for task in tasks] == [
        ("scale", {"number": 2, "by": 3}),
        ("scalea", {"number": 1, "by": 2}),
        ("scaleb", {"number": ref("scalea", "value"), "by": 4}),
        ("total", {"number": ref("scale", "value"), "by": ref("scaleb", "value")}),
    ]
    assert tasks[-1]["description"] == "all of it"


def test_a_name_given_twice_and_one_that_is_used_are_new_tasks():
    tasks = read("a = find('Ox')\na = find(a['name'])\nused = find(a['name'])\n")
    assert [(task["id"], task["args"]["place"]) for task in tasks] == [
        ("a", "Ox"),
        ("aa", ref("a", "name")),
        ("useda", ref("aa", "name")),
    ]


def test_texts_are_built_and_finished_tasks_named():
    [task] = read("post(f'{{{old[\"name\"]}}} has {3} days', tags=['x'])\n", old=PLACE)
    assert task["args"] == {
        "text": {"template": "{{{v1}}} has {v2} days", "values": {"v1": ref("old", "name"), "v2": 3}},
        "tags": ["x"],
    }


def test_prose_around_a_fenced_script_and_printing_say_nothing():
    assert len(read("Here it is:\n```python\na = find('Ox')\nprint(a)\nprint('that', a['name'])\n```\nDone.")) == 1


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("a = find('Ox'\n", "The script cannot be read"),
        ("", "The script calls no tool"),
        ("print('hello')", "The script calls no tool"),
        ("a = 3", "The script calls no tool"),
        ("import os", "`import os` is not a call"),
        ("while x:\n    find(x)", "is not a call"),
        ("for x in y:\n    find(x)", "The name 'y' is not defined yet"),
        ("for x in 'abc':\n    find(x)", "`'abc'` is no list"),
        ("for x, y in [1]:\n    find(x)", "is not a call"),
        ("for x in ['a']:\n    for y in ['b']:\n        find(y)", "A loop stands inside a loop"),
        (
            "a = find('x')\nif a:\n    find('y')\nfor x in a['days']:\n    if x['y'] == 1:\n        find('z')",
            "drop the `if`",
        ),
        ("a = find('x')\nif len(a['days']) + 1 > 2:\n    find('y')", "worked out by an operator"),
        ("for x in ['a']:\n    b = find(x)\n    post(b['name'], tags=[x])", "uses 'x' and 'b' at once"),
        ("a = 'x'.format()\nb = post('{} and {}'.format(a))", "does not say what to put into the text"),
        ("a, b = find('Ox')", "is not a call"),
        ("a = open('x')", "There is no tool `open`; the tools are 'scale', 'find', 'post', 'note'."),
        ("a = find.all('x')", "There is no tool `find.all`"),
        ("a = scale(2 * 3, 4)", "`2 * 3` is worked out by an operator; call a tool for it."),
        ("a = scale(1 if True else 2, 4)", "cannot be used in a script"),
        ("a = scale(b, 4)", "The name 'b' is not defined yet; there are none."),
        ("a = find('x')\nb = scale(c, 4)", "The name 'c' is not defined yet; there are 'a'."),
        ("a = scale(1, 2, 3)", "gives 3 arguments; 'scale' takes 'number', 'by'."),
        ("a = scale(1, number=2)", "gives 'number' twice"),
        ("a = scale([1][4], 2)", "`[1][4]` is not a part of [1]."),
        ("a = find({1: 2})", "The keys of an object must be texts in quotes."),
        ("a = find(b'x')", "cannot be used in a script"),
    ],
)
def test_what_is_no_script_is_told_in_a_sentence(text, sentence):
    with pytest.raises(ScriptError) as caught:
        read(text)
    assert sentence in str(caught.value)


def test_a_wrong_argument_is_left_to_the_compiler():
    assert read("a = find(town='Ox')")[0]["args"] == {"town": "Ox"}


_TOKENS = st.sampled_from(
    [
        *"()[]{},=:.'\"#\n-+*",
        " ",
        "a",
        "find",
        "scale",
        "print",
        "1",
        "2.5",
        "f'",
        "None",
        "lambda",
        "\\",
        "\x00",
        "\ud800",
    ]
)


@given(st.one_of(st.text(), st.lists(_TOKENS, max_size=60).map("".join)))
def test_any_text_is_a_plan_document_or_a_sentence(text):
    try:
        tasks = read(text)
    except ScriptError:
        return
    assert isinstance(parse_plan({"tasks": tasks}, max_tasks=Limits().max_tasks), Plan)


@pytest.mark.parametrize("text", ["a = find(" + "-" * 20_000 + "1)", "a = 1" + ".x" * 5_000, "a = " + "[" * 5_000])
def test_what_is_nested_too_deep_is_told_too(text):
    with pytest.raises(ScriptError):
        read(text)


def test_tools_are_told_as_functions():
    assert format_signatures(TOOLBOX.specs.values()).splitlines() == [
        "def scale(number: a number, by: a number) -> {value: a number}  # Multiply two numbers.",
        "def find(place: a text) -> {name: a text, celsius: a number, days: a list}  # Find a place.",
        "def post(text: a text, tags: a list of a text = None, urgent: true or false = None) -> a text  # Post a text.",
        "def note(text: a text = None, to: a text = None) -> a text  # Note something.",
    ]


def test_the_grammar_knows_the_tools_and_the_kinds_of_their_arguments():
    text = build_script_grammar(TOOLBOX.specs)
    rules = {name: " ".join(rule.split()) for name, rule in (line.split(" ::= ") for line in text.splitlines())}
    assert rules["call"] == "call-0 | call-1 | call-2 | call-3"
    assert rules["call-0"] == '"scale(" (amount) ", " (amount) ")"'
    assert rules["call-2"].startswith('"post(" (use | text) (", " "tags=" (use | list')
    one_of_two = '("text=" (use | text) (", " "to=" (use | text))? | "to=" (use | text) )?'
    assert rules["call-3"] == f'"note(" {one_of_two} ")"'


def test_the_grammar_repeats_a_group_with_a_rule_in_it_no_more_often_than_the_server_allows():
    # llama.cpp multiplies what is repeated by how often, and refuses the grammar at 2,000.
    text = build_script_grammar(TOOLBOX.specs)
    bounds = [
        int(bound)
        for group, bound in re.findall(r"\(([^()]*)\)\{\d+,(\d+)\}", text)
        if re.search(r"\b[a-z]+\b", re.sub(r'"[^"]*"|\[[^\]]*\]', "", group))
    ]
    assert bounds
    assert max(bounds) <= 40


def calculator() -> Toolbox:
    def two(a: float, b: float) -> float:
        """Take two numbers."""
        return a

    def three(a: float, b: float, c: float) -> float:
        """Take three numbers."""
        return a

    tools = [(two, "add"), (two, "multiply"), (two, "subtract_numbers"), (three, "power"), (two, "gcd")]
    return Toolbox(StructuredTool.from_function(function, name=name) for function, name in tools)


def test_an_operator_is_a_call_of_the_tool_that_does_it():
    specs = calculator().specs
    assert [(each.sign, spec.name) for each, spec in find_operator_tools(specs).items()] == [
        ("+", "add"),
        ("-", "subtract_numbers"),
        ("*", "multiply"),
    ]
    tasks = read_script("# what is left\nleft = (3 + 4) * gcd(12, 8) - 5\nprint(left)", specs, known={})
    assert [(task["id"], task["tool"], task["args"]) for task in tasks] == [
        ("add", "add", {"a": 3, "b": 4}),
        ("gcd", "gcd", {"a": 12, "b": 8}),
        ("multiply", "multiply", {"a": ref("add"), "b": ref("gcd")}),
        ("left", "subtract_numbers", {"a": ref("multiply"), "b": 5}),
    ]
    with pytest.raises(ScriptError, match="`2 / 3` is worked out by an operator"):
        read_script("a = add(2 / 3, 1)", specs, known={})


def test_the_grammar_has_the_operators_that_there_are_tools_for():
    assert '(" + " | " - " | " * ") atom){0,7}' in build_script_grammar(calculator().specs)
    assert "amount ::= atom\n" in build_script_grammar(TOOLBOX.specs)


@pytest.mark.parametrize(
    "written",
    [
        "'It is ' + a['celsius'] + ' there'",
        "f\"It is {a['celsius']} there\"",
        "'It is ' + str(a['celsius']) + f' there'",
    ],
)
def test_a_text_that_is_put_together_is_a_template(written):
    _, posted = read(f"a = find('Oslo')\nb = post({written})\n")
    text = posted["args"]["text"]
    assert text["template"].replace("{v1}", "{}") == "It is {} there" or text["values"]["v1"]["template"] == "{v1}"
    _, named = read(f"a = find('Oslo')\nbody = {written}\nb = post(body)\n")
    assert named["args"]["text"] == text
