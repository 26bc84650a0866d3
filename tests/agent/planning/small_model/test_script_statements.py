"""What a script says by `for`, `if` and texts that it puts together becomes `for_each`, conditions and templates."""

import pytest
from langchain_core.tools import StructuredTool

from agent.core.plan.conditions import evaluate
from agent.core.plan.references import resolve
from agent.planning.script_code.statements import ScriptError
from agent.planning.small_model.script_parser import read_script
from agent.tools.toolbox import Toolbox

ROW = {
    "type": "object",
    "properties": {"id": {"type": "integer"}, "title": {"type": "string"}, "price": {"type": "number"}},
    "required": ["id", "title", "price"],
}
ROWS = {"type": "array", "items": ROW}
COUNT = {
    "type": "object",
    "properties": {"item": {"type": "string"}, "count": {"type": "integer"}, "is_low": {"type": "boolean"}},
    "required": ["item", "count", "is_low"],
}
OUTPUTS = {
    "a": [{"id": 4, "title": "Jam", "price": 1.5}, {"id": 7, "title": "Fog", "price": 9.0}],
    "s": {"item": "desk", "count": 3, "is_low": True},
}


def find(status: str) -> list:
    """Find the rows with a status."""


def stock(item: str) -> dict:
    """Tell the stock of an item."""


def close(id: int) -> str:  # noqa: A002 - an argument that tools have
    """Close a row."""


def send(to: str, body: str) -> str:
    """Send a text."""


SPECS = Toolbox(
    StructuredTool.from_function(function, metadata={"output_schema": output})
    for function, output in ((find, ROWS), (stock, COUNT), (close, {"type": "string"}), (send, {"type": "string"}))
).specs
START = "a = find('open')\ns = stock('desk')\n"


def read(text):
    tasks = read_script(START + text, SPECS, known={})
    assert [task["id"] for task in tasks[:2]] == ["a", "s"]
    return tasks[2:]


def ref(task, *path):
    return {"output_of": task, "path": list(path)}


@pytest.mark.parametrize(
    "loop",
    [
        "for x in a:\n    close(x['id'])",
        "for x in a:\n    close(x)",
        "for x in a:\n    done = close(x.id)\nprint(done)",
        "[close(x['id']) for x in a]",
        "done = [close(x['id']) for x in a]",
        "for x in a:\n    number = x['id']\n    close(number)",
        "for x in a:\n    if x['status'] == 'open':\n        close(x['id'])",
    ],
)
def test_a_call_in_a_loop_is_made_for_each(loop):
    [task] = read(loop)
    assert (task["for_each"], task["args"]) == (ref("a"), {"id": {"item": ["id"]}})


def test_a_loop_over_values_and_one_over_what_a_loop_gave():
    one, other = read("for x in ['desk', 'chair']:\n    n = stock(x)\n    send('me', n['item'])")
    assert (one["for_each"], one["args"]) == (["desk", "chair"], {"item": {"item": []}})
    assert (other["for_each"], other["args"]["body"]) == (ref("n"), {"item": ["item"]})


def test_what_a_loop_gathers_is_the_list_of_its_outputs():
    *_, task = read("all = []\nfor x in ['desk', 'chair']:\n    all.append(stock(x))\nsend('me', f'{all}')")
    assert task["args"]["body"]["values"] == {"v1": ref("stock")}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("f'Rows: {a}'", 'Rows: [{"id": 4'),
        ("'Rows: ' + str(a)", 'Rows: [{"id": 4'),
        ("'Rows: ' + a", 'Rows: [{"id": 4'),
        ("'Rows: {a}'", 'Rows: [{"id": 4'),
        ("'Rows: [a]'", 'Rows: [{"id": 4'),
        ("'Rows: %s of %d' % (a, 2)", 'Rows: [{"id": 4'),
        ("'Rows: {}'.format(a)", 'Rows: [{"id": 4'),
        ("'Rows: {0[0][title]}'.format(a)", "Rows: Jam"),
        ("'Rows: {rows}'.format(rows=a)", 'Rows: [{"id": 4'),
        ("', '.join(x['title'] for x in a)", '["Jam", "Fog"]'),
        ("'Rows: ' + ', '.join([x['title'] for x in a])", 'Rows: ["Jam", "Fog"]'),
        ("'\\n'.join([f\"{x['id']} {x['title']}\" for x in a])", '[{"id": 4, "title": "Jam"'),
        ("' and '.join(['Rows', s['item'], 'x'])", "Rows and desk and x"),
        ("f\"{s['count']} left\".strip()", "3 left"),
        ("json.dumps(a)", '[{"id": 4'),
    ],
)
def test_a_text_over_results_is_a_template_with_its_references(text, said):
    [task] = read(f"send('me', {text})")
    assert resolve(task["args"]["body"], outputs=OUTPUTS).startswith(said)
    [named] = read(f"body = {text}\nsend('me', body)")
    assert named["args"] == task["args"]


def test_a_text_that_grows_in_a_loop_keeps_what_it_gathers():
    [task] = read("t = 'Rows:'\nfor x in a:\n    t += f\" {x['title']}\"\nt += '.'\nsend('me', t)")
    assert resolve(task["args"]["body"], outputs=OUTPUTS) == 'Rows: ["Jam", "Fog"].'
    [task] = read("t = 'Rows:'\nfor x in a:\n    t += f\" {x['id']} {x['title']}\"\nsend('me', t)")
    assert resolve(task["args"]["body"], outputs=OUTPUTS).startswith('Rows:[{"id": 4, "title": "Jam"')


@pytest.mark.parametrize(
    ("test", "holds"),
    [
        ("s['count'] < 5", True),
        ("s < 5", True),
        ("s.count >= 5", False),
        ("not s['count'] < 5", False),
        ("1 < s['count'] < 3", False),
        ("s['count'] == 3 and len(a) > 1", True),
        ("s['count'] > 3 or len(a) == 0", False),
        ("a", True),
        ("not a", False),
        ("s['is_low']", True),
        ("s['count']", True),
        ("s['item'] == 'desk'", True),
        ("s['item'] in ['lamp', 'chair']", False),
        ("'es' in s['item']", True),
        ("s['item'] is not None", True),
        ("any(x['price'] < 2 for x in a)", True),
        ("all(x['price'] < 2 for x in a)", False),
        ("a[0]['price'] <= 1.5", True),
        ("a[1]['price'] < 9", False),
    ],
)
def test_the_test_of_an_if_is_the_condition_and_its_opposite_that_of_else(test, holds):
    one, other = read(f"if {test}:\n    send('me', 'yes')\nelse:\n    send('me', 'no')")
    assert evaluate(one["condition"], outputs=OUTPUTS) is holds
    assert evaluate(other["condition"], outputs=OUTPUTS) is not holds


def test_an_else_with_a_comment_in_front_and_one_in_the_place_of_a_name():
    for other in ("# otherwise\nelse:\n    send('me', 'no')", "# otherwise\nelse = send('me', 'no')\nprint(a)"):
        tasks = read(f"if s < 5:\n    # low\n    send('me', 'yes')\n{other}")
        assert [task["condition"] for task in tasks] == ["s.count < 5", "!(s.count < 5)"]


def test_conditions_inside_conditions_and_loops_inside_them():
    one, other = read("if a:\n    if s < 5:\n        send('me', 'x')\n    for x in a:\n        close(x['id'])")
    assert one["condition"] == "(size(a) > 0) && (s.count < 5)"
    assert (other["condition"], other["for_each"]) == ("size(a) > 0", ref("a"))


def test_a_call_with_what_an_if_decided_is_made_under_each_condition():
    one, other = read("if s < 5:\n    t = 'low'\nelse:\n    t = 'fine'\nsend('me', t)\nprint(t)")
    assert [(task["condition"], task["args"]["body"]) for task in (one, other)] == [
        ("s.count < 5", "low"),
        ("!(s.count < 5)", "fine"),
    ]
    _, other = read("t = 'fine'\nif s < 5:\n    t = 'low'\nsend('me', t)")
    assert (other["condition"], other["args"]["body"]) == ("!(s.count < 5)", "fine")


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("for x in a:\n    if x['price'] > 2:\n        close(x['id'])", "cannot choose among the items"),
        ("if s['count'] ** 2 > 4:\n    send('me', 'x')", "worked out by an operator"),
        ("u = find\nif u > 2:\n    close(1)", "not defined yet"),
        ("send('me', 'low' if s < 5 else 'fine')", "cannot be used in a script"),
        ("send('me', '%s and %s' % a)", "does not say what to put into the text"),
    ],
)
def test_what_no_plan_can_say_is_told_to_the_model(text, sentence):
    with pytest.raises(ScriptError, match=sentence.replace("(", "\\(")):
        read(text)
