"""Plans checked against real tools: preflight in order, narrowed schemas, mended arguments, problems merged."""

import re
import time

import pytest
from langchain_core.tools import StructuredTool

from agent.core.plan.document import Task
from agent.core.plan.limits import Limits
from agent.core.plan.tool_spec import Preflight
from agent.tools.plan_check import CheckedPlan, PreflightChecker, check_plan
from agent.tools.toolbox import Toolbox

LIMITS = Limits()
ANY = {"type": "object", "additionalProperties": True}
#: A query's columns are known only from the query.
ROWS = {"type": "object", "properties": {"rows": {"type": "array", "items": {"type": "object"}}}}


def made(name, properties, *, output=None, preflight=None):
    metadata = {"readOnlyHint": True, "output_schema": output, "preflight": preflight}
    args = {"type": "object", "properties": properties}
    return StructuredTool(name=name, description=name, args_schema=args, func=lambda **_: None, metadata=metadata)


class Desk:
    """Tools whose preflight remembers what it was shown."""

    def __init__(self):
        self.seen = []
        text = {"type": "string"}
        self.toolbox = Toolbox(
            [
                made("query", {"sql": text, "params": ANY}, output=ROWS, preflight=self.query),
                made("chart", {"rows": {"type": "array"}, "x": text, "style": ANY}, preflight=self.chart),
                made("plain", {"x": {}, "n": {"type": "integer"}}),
            ]
        )

    def query(self, args, open):  # noqa: A002 - the name that the contract gives it
        """Understand `select a, b`, refuse `drop`, and write the statement small."""
        self.seen.append((args, open))
        sql = args.get("sql", "")
        if "drop" in sql:
            return [f"{sql!r} does not read."]
        row = {"type": "object", "properties": {name: {"type": "string"} for name in re.findall(r"\w+", sql)[1:]}}
        output = {"type": "object", "properties": {"rows": {"type": "array", "items": {"$ref": "#/$defs/Row"}}}}
        return Preflight(args={**args, "sql": sql.lower()}, output_schema={**output, "$defs": {"Row": row}})

    def chart(self, args, open):  # noqa: A002 - the name that the contract gives it
        self.seen.append((args, open))
        columns = open.get("rows", {}).get("$defs", {}).get("Row", {}).get("properties")
        if columns is not None and args.get("x") not in columns:
            return [f"there is no column {args.get('x')!r}."]
        return Preflight(args={**args, "style": {**args.get("style", {}), "font": "plain"}})


@pytest.fixture
def desk():
    return Desk()


def query(sql, task="q", **more):
    return {"id": task, "tool": "query", "args": {"sql": sql, **more}}


def chart(x, task="c", **more):
    return {"id": task, "tool": "chart", "args": {"rows": {"output_of": "q", "path": ["rows"]}, "x": x, **more}}


async def checked(desk, *tasks, **more):
    """Check a model's plan."""
    more.setdefault("preflights", PreflightChecker(desk.toolbox, goal="?"))
    return await check_plan({"tasks": list(tasks)}, desk.toolbox, limits=LIMITS, **more)


async def kinds(desk, *tasks, **more):
    return [(problem.kind, problem.task) for problem in await checked(desk, *tasks, **more)]


async def test_a_sound_plan_comes_back_with_what_was_found(desk):
    found = await checked(desk, query("SELECT name"), chart("name"))
    assert isinstance(found, CheckedPlan)
    assert found.findings.keys() == {"q", "c"}
    assert found.compiled.tasks["q"].args == {"sql": "select name"}
    assert found.compiled.order == ("q", "c")


async def test_what_one_preflight_finds_out_is_known_to_the_next(desk):
    assert await kinds(desk, query("SELECT name"), chart("nmae")) == [("preflight", "c")]
    args, left_open = desk.seen[1]
    assert args == {"x": "nmae"}
    assert left_open["rows"]["items"] == {"$ref": "#/$defs/Row"}
    assert left_open["rows"]["$defs"]["Row"]["properties"] == {"name": {"type": "string"}}


async def test_preflight_goes_in_topological_not_in_listed_order(desk):
    first = {**chart("name"), "args": {"x": "name"}, "depends_on": ["q"]}
    found = await checked(desk, first, query("SELECT name"))
    assert isinstance(found, CheckedPlan)
    assert [args.get("sql") for args, _ in desk.seen] == ["SELECT name", None]


async def test_narrowed_schemas_count_in_the_references_of_tools_without_preflight(desk):
    plain = {"id": "p", "tool": "plain", "args": {"x": {"output_of": "q", "path": ["rows", 0, "nmae"]}}}
    assert await kinds(desk, query("SELECT name"), plain) == [("unknown_path", "p")]
    number = {"id": "p", "tool": "plain", "args": {"n": {"output_of": "q", "path": ["rows", 0, "name"]}}}
    assert await kinds(desk, query("SELECT name"), number) == [("type_mismatch", "p")]


async def test_mended_arguments_keep_the_references(desk):
    column = {"output_of": "q", "path": ["rows", 0, "name"]}
    tasks = (
        query("SELECT name"),
        chart("name", style={"title": {"template": "{x}", "values": {"x": column}}, "size": 5}),
    )
    found = await checked(desk, *tasks)
    assert desk.seen[1][0] == {"x": "name", "style": {"size": 5}}
    assert desk.seen[1][1]["style.title"] == {"type": "string"}
    assert found.compiled.tasks["c"].args == {
        "x": "name",
        "rows": {"output_of": "q", "path": ["rows"]},
        "style": {"font": "plain", "size": 5, "title": {"template": "{x}", "values": {"x": column}}},
    }


async def test_what_was_changed_stands_in_the_plan_as_it_was_written(desk):
    found = await checked(desk, query("SELECT name"), chart("name"))
    repaired = found.compiled.tasks["q"].repaired
    assert repaired.as_written == {"sql": "SELECT name"}
    assert repaired.changes == ('\'sql\' is "SELECT name"; the tool takes "select name".',)
    assert found.list_warnings()["q"] == list(repaired.changes)


@pytest.mark.parametrize("kept", [False, True])
async def test_nothing_is_changed_in_a_callers_plan_nor_in_what_an_earlier_plan_has_of_it(desk, kept):
    task = Task.model_validate(query("SELECT name"))
    checker = PreflightChecker(desk.toolbox, goal="?", kept=[task]) if kept else PreflightChecker(desk.toolbox)
    found = await checked(desk, query("SELECT name"), preflights=checker)
    assert (found.compiled.tasks["q"].args, found.compiled.tasks["q"].repaired) == ({"sql": "SELECT name"}, None)
    assert found.list_warnings() == {"q": ['\'sql\' is "SELECT name"; the tool takes "select name".']}


async def test_items_of_for_each_are_known_by_their_schema(desk):
    each = {
        "id": "each",
        "tool": "query",
        "args": {"sql": "SELECT total", "params": {"name": {"item": ["name"]}, "row": {"item": []}}},
        "for_each": {"output_of": "q", "path": ["rows"]},
    }
    names = {**each, "id": "names", "for_each": {"output_of": "q", "path": ["rows", "*", "name"]}}
    names["args"] = {"sql": "SELECT total", "params": {"name": {"item": []}}}
    found = await checked(desk, query("SELECT name"), each, names)
    assert isinstance(found, CheckedPlan)
    row = {"type": "object", "properties": {"name": {"type": "string"}}}
    assert desk.seen[1][1]["params.name"] == {"type": "string", "$defs": {"Row": row}}
    assert desk.seen[1][1]["params.row"] == {"$ref": "#/$defs/Row", "$defs": {"Row": row}}
    assert desk.seen[2][1]["params.name"] == {"type": "string", "$defs": {"Row": row}}


async def test_a_broken_task_does_not_keep_others_from_preflight(desk):
    found = await kinds(
        desk,
        query("DROP TABLE x", task="q1"),
        {"id": "broken", "tool": "chart", "args": {"x": 5}},
        {"id": "gone", "tool": "qurey", "args": {}},
        query("drop", task="q2"),
    )
    assert sorted(found) == [
        ("preflight", "q2"),
        ("unknown_tool", "gone"),
        ("wrong_type", "broken"),
    ]


async def test_neither_does_a_cycle_or_a_name_that_comes_twice(desk):
    found = await kinds(
        desk,
        {"id": "x", "tool": "plain", "depends_on": ["y"]},
        {"id": "y", "tool": "plain", "depends_on": ["x"]},
        {"id": "z", "tool": "plain"},
        {"id": "z", "tool": "plain"},
        query("drop"),
    )
    assert sorted(found) == [("cycle", "x"), ("duplicate_id", "z"), ("preflight", "q")]


async def test_all_that_a_preflight_finds(desk):
    box = Toolbox([made("t", {}, preflight=lambda args: ["one.", "two."])])
    found = await check_plan([{"id": "a", "tool": "t"}], box, limits=LIMITS)
    assert [str(problem) for problem in found] == ["Task 'a', args: one.", "Task 'a', args: two."]


async def test_used_ids_are_problems_too(desk):
    used = {"q": Task(id="q", tool="plain"), "q2": Task(id="q2", tool="query", args={"sql": "select x"})}
    found = await kinds(desk, query("select x"), query("select x", task="q2"), used=used)
    assert found == [("used_id", "q")]


async def test_a_document_that_is_no_plan(desk):
    (found,) = await check_plan("no plan", desk.toolbox, limits=LIMITS)
    assert found.kind == "malformed"
    assert [problem.kind for problem in await checked(desk)] == ["empty_plan"]
    few = await check_plan([query("select x")] * 2, desk.toolbox, limits=Limits(max_tasks=1))
    assert [problem.kind for problem in few] == ["too_many_tasks"]
    assert desk.seen == []


async def test_a_preflight_that_drops_what_it_was_given():
    box = Toolbox([made("t", {"a": ANY, "b": {}}, preflight=lambda args: Preflight(args={"a": None}))])
    document = [{"id": "q", "tool": "t"}, {"id": "r", "tool": "t", "args": {"a": {"k": 1, "deep": {"output_of": "q"}}}}]
    checker = PreflightChecker(box, goal="?")
    problems = await check_plan(document, box, limits=LIMITS, preflights=checker)
    assert [(problem.kind, problem.place) for problem in problems] == [("wrong_type", "task 'q', args.a")]
    found = await check_plan(document[1:], box, limits=LIMITS, preflights=checker)
    assert [problem.kind for problem in found] == ["unknown_reference"]


async def test_three_thousand_preflights_do_not_take_their_square():
    box = Toolbox([made("t", {"x": {}}, preflight=lambda args: [])])
    began = time.process_time()
    found = await check_plan([{"id": f"t{number}", "tool": "t"} for number in range(3_000)], box, limits=LIMITS)
    assert isinstance(found, CheckedPlan)
    assert time.process_time() - began < 5.0
