"""A small model's notebook of queries made into a plan, over a true database and a scripted server."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from agent.llm.embedded.server import LocalEndpoint
from agent.llm.openai_client import build_embedded_model
from agent.planning.planner import ContextRequest, PlanningFailure, PlanningResult, make_plan
from agent.planning.session import PlanDraft, as_document
from agent.planning.small_model.notebook_parser import build_notebook_grammar, has_follow_up, read_notebook
from agent.planning.small_model.sql_notebook import find_query_tool, plan_as_queries
from agent.tools.analytics import analytics_tools
from agent.tools.sql.data_source import open_data_source
from agent.tools.sql.query_database import database_tools
from agent.tools.toolbox import Toolbox
from graphs.plan_execute import build_graph
from tests.support.databases import library_duckdb
from tests.support.openai_endpoint import Endpoint, Text, Texts, in_batches
from tests.support.planning_kit import LIMITS, SETTINGS, model_at, session_at
from tests.support.planning_kit import toolbox as weather

GOAL = "Find the 2 readers with the most days and the longest loan of each, as readers.csv"
READERS = """-- top_readers: the 2 readers with the most days
SELECT member_name, SUM(days) AS days FROM lending GROUP BY member_name ORDER BY days DESC, 1 LIMIT 2;
"""
LOANS = """-- longest: for each of these readers, the longest loan
SELECT member_name, MAX(days) AS days FROM lending
WHERE member_name IN (SELECT member_name FROM top_readers) GROUP BY 1;
"""


@pytest.fixture(scope="module")
def toolbox(tmp_path_factory: pytest.TempPathFactory) -> Toolbox:
    folder: Path = tmp_path_factory.mktemp("library")
    source = open_data_source(library_duckdb(folder))
    return Toolbox(analytics_tools(source=source, output=folder / "output", writer=_no_writer))


def _no_writer() -> Any:
    raise AssertionError("no text is written here")


async def plan(endpoint: Endpoint, toolbox: Toolbox, *, goal: str = GOAL) -> list[dict[str, Any]]:
    tool = find_query_tool(toolbox.specs)
    assert tool is not None
    found = await plan_as_queries(session_at(endpoint, toolbox, goal=goal), tool)
    assert isinstance(found, PlanDraft), found
    return as_document(found.checked.compiled.plan)["tasks"]


async def small_plan(endpoint: Endpoint, *, goal: str) -> PlanningResult | PlanningFailure | ContextRequest:
    """Plan over a weather service with whatever way a small model has for it."""
    return await make_plan(
        goal,
        context="",
        toolbox=weather(),
        model=model_at(endpoint, small=True),
        settings=SETTINGS,
        limits=LIMITS,
        emit=lambda _event: None,
    )


async def test_a_query_that_names_an_earlier_one_is_given_its_values(toolbox):
    with Endpoint([Text(READERS + LOANS)]) as endpoint:
        readers, longest = await plan(endpoint, toolbox)
    assert (readers["id"], readers["description"]) == ("top_readers", "the 2 readers with the most days")
    assert "unnest($member_name)" in longest["args"]["sql"].lower()
    assert longest["args"]["params"] == {
        "member_name": {"output_of": "top_readers", "path": ["rows", "*", "member_name"]}
    }


async def test_a_query_that_joins_an_earlier_one_holds_it(toolbox):
    joined = "-- days: their plans\nSELECT m.plan, t.days FROM top_readers t JOIN members m USING (member_name);"
    with Endpoint([Text(READERS + joined)]) as endpoint:
        _, days = await plan(endpoint, toolbox)
    assert days["args"]["sql"].startswith("WITH top_readers AS (SELECT member_name")
    assert "params" not in days["args"]


async def test_a_call_that_says_all_takes_no_further_question(toolbox):
    call = "-- save_file(path='readers.csv', content=top_readers, colour='red')\n"
    with Endpoint([Text(READERS + LOANS + call)]) as endpoint:
        *_, saved = await plan(endpoint, toolbox)
    assert saved["args"] == {"path": "readers.csv", "content": {"output_of": "top_readers", "path": ["rows"]}}
    assert saved["description"] == "Save file of top readers"
    assert len(endpoint.requests) == 1


async def test_what_a_call_leaves_open_and_the_columns_decide_takes_no_question(toolbox):
    call = "-- draw_chart(rows=top_readers, kind='bar', x='nobody', y='nothing')\n"
    with Endpoint([Text(READERS + call)]) as endpoint:
        _, chart = await plan(endpoint, toolbox, goal="Plot the days of the 2 readers with the most days")
    decided = {"kind": "bar", "x": "member_name", "y": "days"}
    assert chart["args"] == {"rows": {"output_of": "top_readers", "path": ["rows"]}, **decided}
    assert len(endpoint.requests) == 1


async def test_what_a_call_and_the_columns_leave_open_is_asked_for_with_the_columns_there_are(toolbox):
    two = READERS.replace("AS days FROM", "AS kept, COUNT(*) AS taken FROM").replace("ORDER BY days", "ORDER BY kept")
    call = "-- draw_chart(rows=top_readers, kind='bar', x='nobody', y='nothing')\n"
    chosen = {"kind": "bar", "x": "member_name", "y": "kept"}
    with Endpoint([Text(two + call), chosen]) as endpoint:
        _, chart = await plan(endpoint, toolbox, goal="Plot the 2 busiest readers")
    asked = endpoint.requests[1]
    columns = asked.body["response_format"]["json_schema"]["schema"]["properties"]["x"]["enum"]
    assert columns == ["member_name", "kept", "taken"]
    assert asked.body["messages"][0] == endpoint.requests[0].body["messages"][0]
    assert chart["args"] == {"rows": {"output_of": "top_readers", "path": ["rows"]}, **chosen}


async def test_queries_that_do_not_bind_go_back_with_the_engines_word(toolbox):
    with Endpoint([Text("-- a: b\nSELECT weather FROM climate;"), Text(READERS)]) as endpoint:
        (only,) = await plan(endpoint, toolbox)
    assert only["id"] == "top_readers"
    assert "climate" in endpoint.requests[1].body["messages"][-1]["content"]


ADA = "-- readers: who kept most\nSELECT member_name FROM lending WHERE member_name = 'Ada';\n"
CHEN = "-- most: who kept most\nSELECT member_name FROM lending WHERE member_name = 'Chen' LIMIT 1;\n"
CHEN_TOO = "-- reader: who kept most\nSELECT member_name AS who FROM members WHERE member_name = 'Chen';\n"
SAVE = "-- save_file(path='who.csv', content={})\n"


async def chosen(script, toolbox, monkeypatch, *, goal):
    """Plan and run with a small model whose server writes three texts at once; return the plan and the requests."""
    with Endpoint(script) as endpoint:
        model = replace(model_at(endpoint, small=True), max_parallel_texts=3)
        monkeypatch.setattr("graphs.run.services.resolve_model", lambda *_args, **_named: model)
        settings = SETTINGS.model_copy(update={"approve": "never", "max_replans": 0, "plan_variants": 5})
        tools = [toolbox[name] for name in ("query_database", "save_file")]
        out = await build_graph(tools=tools, model="local", settings=settings).ainvoke({"goal": goal})
    return out["plan"]["tasks"], endpoint.requests


async def test_of_several_notebooks_the_queries_are_taken_whose_rows_most_have(toolbox, monkeypatch):
    script = [*in_batches(ADA, CHEN, CHEN_TOO), Text("Chen.")]
    tasks, requests = await chosen(script, toolbox, monkeypatch, goal="Who kept most?")
    assert [task["id"] for task in tasks] == ["most"]
    assert ([each.body["n"] for each in requests[:2]], "grammar" in requests[0].body) == ([2, 3], False)
    assert requests[0].body["seed"] != requests[1].body["seed"]


async def test_the_calls_behind_them_are_those_that_most_notebooks_have(toolbox, monkeypatch):
    goal = "Save who kept most as who.csv"
    script = [*in_batches(ADA + SAVE.format("readers"), CHEN, CHEN_TOO + SAVE.format("reader")), Text("Chen.")]
    tasks, _ = await chosen(script, toolbox, monkeypatch, goal=goal)
    assert [task["id"] for task in tasks] == ["most", "save_file"]
    assert tasks[1]["args"]["content"] == {"output_of": "most", "path": ["rows"]}
    script = [*in_batches(ADA + SAVE.format("readers"), CHEN, CHEN_TOO), Text("Chen.")]
    tasks, _ = await chosen(script, toolbox, monkeypatch, goal="Save who kept most")
    assert [task["id"] for task in tasks] == ["most"]


async def test_a_file_that_the_goal_names_is_written_however_few_notebooks_do_so(toolbox, monkeypatch):
    script = [*in_batches(ADA + SAVE.format("readers").replace("who", "kept"), CHEN, CHEN_TOO), Text("Chen.")]
    tasks, _ = await chosen(script, toolbox, monkeypatch, goal="Save who kept most as kept.csv")
    assert [(task["id"], task["args"].get("path")) for task in tasks] == [("most", None), ("save_file", "kept.csv")]


LONG = f"-- many: all of it\nSELECT {', '.join(['member_name'] * 400)} FROM lending;\n"


def embedded_at(endpoint, *, number=3):
    """Return the embedded model as it is, but for the server, which is scripted and writes so many texts at once."""
    local = LocalEndpoint(url=endpoint.url, key=SecretStr("any"), weights=Path("model.gguf"))
    chat = build_embedded_model(local, name="local", timeout_s=20.0)
    return replace(model_at(endpoint, small=True), chat=chat, max_parallel_texts=number, supports_grammar=True)


async def run_embedded(endpoint, toolbox, monkeypatch, *, goal):
    monkeypatch.setattr("graphs.run.services.resolve_model", lambda *_args, **_named: embedded_at(endpoint))
    settings = SETTINGS.model_copy(update={"approve": "never", "max_replans": 0, "plan_variants": 5})
    tools = [toolbox[name] for name in ("query_database", "save_file")]
    return await build_graph(tools=tools, model="local", settings=settings).ainvoke({"goal": goal})


async def test_what_is_still_being_written_when_two_agree_is_ended(toolbox, monkeypatch):
    with Endpoint([Texts((ADA, CHEN)), Texts((CHEN_TOO, LONG)), Text("Chen.")], chunk_s=0.005) as endpoint:
        out = await run_embedded(endpoint, toolbox, monkeypatch, goal="Who kept most?")
    assert [task["id"] for task in out["plan"]["tasks"]] == ["most"]
    assert out["confidence"]["reason"].startswith("2 of 3 plans that were tried gave the same result.")
    assert endpoint.deserted == 1
    # Counted is what was written, also of the text that was not heard to its end.
    assert out["usage"]["calls"] == len(endpoint.requests)


async def test_two_that_agree_are_enough(toolbox, monkeypatch):
    script = [Texts((CHEN, CHEN_TOO)), Text("Chen.")]
    tasks, requests = await chosen(script, toolbox, monkeypatch, goal="Who kept most?")
    assert [task["id"] for task in tasks] == ["most"]
    assert ["n" in each.body for each in requests].count(True) == 1


async def test_a_text_that_comes_later_is_waited_for_if_those_before_it_differ(toolbox, monkeypatch):
    with Endpoint([Texts((ADA, CHEN)), Texts((ADA.replace("Ada", "Eve" * 60), CHEN_TOO)), Text("Chen.")]) as endpoint:
        out = await run_embedded(endpoint, toolbox, monkeypatch, goal="Who kept most?")
    assert out["confidence"]["reason"].startswith("2 of 4 plans that were tried gave the same result.")
    assert endpoint.deserted == 0


async def test_two_that_agree_are_not_enough_while_a_call_is_missing_that_the_goal_speaks_of(toolbox, monkeypatch):
    script = [*in_batches(CHEN, CHEN_TOO, CHEN + SAVE.format("most").replace("who", "later")), Text("Chen.")]
    with Endpoint(script) as endpoint:
        out = await run_embedded(endpoint, toolbox, monkeypatch, goal="Save who kept most as later.csv")
    assert [task["tool"] for task in out["plan"]["tasks"]] == ["query_database", "save_file"]


async def test_a_call_of_another_notebook_takes_no_id_that_a_query_has(toolbox, monkeypatch):
    named_alike = CHEN.replace("-- most:", "-- save_file:")
    saves = CHEN_TOO + SAVE.format("reader").replace("who", "ids")
    script = [*in_batches(named_alike, named_alike, saves), Text("Chen.")]
    tasks, _ = await chosen(script, toolbox, monkeypatch, goal="Save who kept most as ids.csv")
    assert [task["tool"] for task in tasks] == ["query_database", "save_file"]
    assert tasks[0]["id"] == "save_file" != tasks[1]["id"]
    assert tasks[1]["args"]["content"] == {"output_of": "save_file", "path": ["rows"]}


async def test_a_limit_that_nobody_asked_for_is_no_part_of_the_plan(toolbox):
    cut = "-- books: the books of each genre\nSELECT genre, COUNT(*) AS books FROM books GROUP BY genre LIMIT 2;"
    with Endpoint([Text(cut)]) as endpoint:
        (only,) = await plan(endpoint, toolbox, goal="How many books has each genre?")
    assert "LIMIT" not in only["args"]["sql"]


async def test_where_no_query_comes_of_it_the_plan_is_made_in_stages():
    step = {"id": "rain", "tool": "readings", "uses": [], "question": "The rain?", "columns": []}
    script = [*[Text("-- nothing: at all")] * 3, {"steps": [step]}, {"from": "readings", "sql": "SELECT rain"}]
    with Endpoint(script) as endpoint:
        found = await small_plan(endpoint, goal="The rain?")
    assert isinstance(found, PlanningResult), found
    assert found.plan["tasks"][0]["args"] == {"sql": "SELECT rain"}


def test_a_query_without_a_heading_answers_the_goal_and_names_are_made_free(toolbox):
    text = "```sql\nSELECT 1;\n```\n-- Answer: again\nSELECT 2;\n-- nothing(a=1)\nSELECT 3"
    found = read_notebook(text, toolbox.specs, goal="Why?", taken=["answer"])
    assert [(query.id, query.question, query.sql) for query in found.queries] == [
        ("answera", "Why?", "SELECT 1"),
        ("answerb", "again", "SELECT 2"),
    ]
    assert found.calls == ()


@pytest.mark.parametrize(
    ("goal", "goes"),
    [
        (GOAL, True),
        ("Get the 3 longest loans and their readers", True),
        ("Get the 3 longest loans, their readers, and plot it", True),
        ("List the authors. Which books did each of them write?", True),
        ("How many loans does each member have, and how many books each?", False),
        ("Compare loans and days of each member", False),
        ("Which members never read their books?", False),
    ],
)
def test_a_goal_goes_on_where_it_speaks_of_what_it_found(goal, goes):
    assert has_follow_up(goal) is goes


async def test_a_goal_that_goes_on_is_planned_in_stages():
    step = {"id": "rain", "tool": "readings", "uses": [], "question": "The rain?", "columns": []}
    with Endpoint([{"steps": [step]}, {"from": "readings", "sql": "SELECT rain"}]) as endpoint:
        found = await small_plan(endpoint, goal="Find the wettest days and their rain")
    assert isinstance(found, PlanningResult), found
    assert "steps" in endpoint.requests[0].body["response_format"]["json_schema"]["schema"]["properties"]


def test_only_tools_that_take_no_sql_can_be_called_in_a_comment(tmp_path):
    tools = Toolbox(database_tools(open_data_source(library_duckdb(tmp_path))))
    assert '"-- " (' not in build_notebook_grammar({"query_database": tools.specs["query_database"]}, goal="?")


@pytest.mark.parametrize(
    ("goal", "called"),
    [
        ("How many members are there?", None),
        ("In which month were most books lent?", None),
        ("In which month were most books lent? Plot it.", {"draw_chart"}),
        ("List the members", set()),
        ("Which chart shows the loans by month?", {"draw_chart"}),
        ("Save a chart of the loans", {"draw_chart", "save_file"}),
        ("The loans, as loans.csv", {"save_file"}),
    ],
)
def test_only_what_the_goal_has_a_word_of_is_called(toolbox, goal, called):
    others = ("draw_chart", "write_text", "save_file")
    grammar = build_notebook_grammar(toolbox.specs, goal=goal)
    # Where it may not draw, a small model writes a query that is to be drawn.
    assert all((f'"-- {name}("' in grammar) is (called is not None) for name in others)
    text = READERS + "".join(f"-- {name}(rows=top_readers)\n" for name in others)
    read = read_notebook(text, toolbox.specs, goal=goal, taken=())
    assert {call.tool for call in read.calls} == (called or set())


def test_a_call_has_what_its_tool_requires_and_chooses_where_there_is_a_choice(toolbox):
    grammar = build_notebook_grammar(toolbox.specs, goal="Plot the loans")
    assert """ ("-- draw_chart(" "rows=" name ", " "kind=" ("'bar'" | """ in grammar
    assert """) ", " "x=" text ", " "y=" text ")\\n")?""" in grammar


def test_what_takes_long_to_write_and_is_dropped_cannot_be_written(toolbox):
    grammar = build_notebook_grammar(toolbox.specs, goal="Plot the loans")
    # A tool that the goal has no word of gets no arguments.
    assert '("-- save_file("  ")' in grammar
    # A query has no comment inside, in which a small model goes on in words.
    assert """("SELECT " | "WITH ") ([^;\\n`-] | "-" [^;\\n`-])+""" in grammar
