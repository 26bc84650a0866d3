"""The picture of a plan: well-formed Mermaid whatever the plan holds."""

import re

from hypothesis import given
from hypothesis import strategies as st

from agent.core.mermaid import to_mermaid
from agent.core.plan.document import Plan

NODE = re.compile(r'    t\d+(\["[^"]*"\]|\[\["[^"]*"\]\]|\{\{"[^"]*"\}\})')
EDGE = re.compile(r"    t\d+ (-->|-\.->) t\d+")
STYLE = re.compile(
    r"    classDef [a-z_]+ fill:#[0-9a-f]{6},stroke:#[0-9a-f]{6},color:#[0-9a-f]{6}|    class [t\d,]+ [a-z_]+"
)


def test_tasks_needs_and_statuses_are_drawn() -> None:
    plan = Plan.model_validate(
        {
            "tasks": [
                {"id": "rows", "tool": "query"},
                {"id": "each", "tool": "send", "for_each": {"output_of": "rows"}, "args": {"to": {"item": []}}},
                {"id": "save", "tool": "save", "requires_approval": True, "condition": "size(rows) > 0"},
            ]
        }
    )
    assert to_mermaid(plan, {"rows": "done", "each": "running", "save": "waiting"}).splitlines() == [
        "flowchart TD",
        '    t0["rows<br/>query<br/>done"]',
        '    t1[["each<br/>send<br/>running"]]',
        '    t2{{"save<br/>save<br/>if size(rows) #62; 0<br/>waiting"}}',
        "    t0 --> t1",
        "    t0 -.-> t2",
        "    classDef running fill:#dbeafe,stroke:#2563eb,color:#111827",
        "    class t1 running",
        "    classDef done fill:#dcfce7,stroke:#16a34a,color:#111827",
        "    class t0 done",
    ]


def test_a_sequential_plan_is_drawn_as_a_chain() -> None:
    tasks = [{"id": name, "tool": "t"} for name in "abc"]
    drawn = to_mermaid(Plan.model_validate({"execution_mode": "sequential", "tasks": tasks}))
    assert [line for line in drawn.splitlines() if "-->" in line] == ["    t0 --> t1", "    t1 --> t2"]


def test_a_label_cannot_become_syntax() -> None:
    wicked = 'end"];click`t0`#quot;<script>'
    drawn = to_mermaid(Plan.model_validate({"tasks": [{"id": wicked, "tool": "a\nb[(x)]"}]}))
    (line,) = drawn.splitlines()[1:]
    label = line.removeprefix('    t0["').removesuffix('"]')
    assert not set('"`[]{}') & set(label)
    assert re.findall(r"<[^>]*>", label) == ["<br/>"]
    assert all(re.fullmatch(r"\d+;.*", part, re.DOTALL) for part in label.split("#")[1:])


@given(
    ids=st.lists(
        st.from_regex(r"[^\s\x00-\x1f\x7f\ud800-\udfff]{1,20}", fullmatch=True), min_size=1, max_size=6, unique=True
    ),
    tool=st.text(min_size=1, max_size=30),
)
def test_every_line_is_a_node_an_edge_or_a_style(ids: list[str], tool: str) -> None:
    tasks = [{"id": name, "tool": tool, "depends_on": ids[:place][-2:]} for place, name in enumerate(ids)]
    plan = Plan.model_validate({"tasks": tasks})
    head, *lines = to_mermaid(plan, dict.fromkeys(ids, "failed")).splitlines()
    assert head == "flowchart TD"
    assert all(NODE.fullmatch(line) or EDGE.fullmatch(line) or STYLE.fullmatch(line) for line in lines)
    assert sum(EDGE.fullmatch(line) is not None for line in lines) == sum(len(task.depends_on) for task in plan.tasks)
