"""A small model's notebook of queries made into a plan, over a true database and a scripted server."""

from pathlib import Path
from typing import Any

import pytest
from databases import library_duckdb
from openai_endpoint import Endpoint, Text
from planning_kit import LIMITS, SETTINGS, desk_at, model_at
from planning_kit import toolbox as weather

from agent.planner import Planned, make_plan
from agent.planning.desk import Draft, as_document
from agent.planning.notebook import notebook_grammar, read_notebook
from agent.planning.queries import plan_as_queries, query_tool
from agent.tools.analytics import analytics_tools
from agent.tools.catalogue import Toolbox
from agent.tools.database import database_tools
from agent.tools.source import open_source

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
    source = open_source(library_duckdb(folder))
    return Toolbox(analytics_tools(source=source, output=folder / "output", writer=_no_writer))


def _no_writer() -> Any:
    raise AssertionError("no text is written here")


async def plan(endpoint: Endpoint, toolbox: Toolbox, *, goal: str = GOAL) -> list[dict[str, Any]]:
    tool = query_tool(toolbox.specs)
    assert tool is not None
    found = await plan_as_queries(desk_at(endpoint, toolbox, goal=goal), tool)
    assert isinstance(found, Draft), found
    return as_document(found.checked.compiled.plan)["tasks"]


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


async def test_what_a_call_leaves_open_is_asked_for_with_the_columns_there_are(toolbox):
    call = "-- draw_chart(rows=top_readers, kind='bar', x='nobody', y='nothing')\n"
    chosen = {"kind": "bar", "x": "member_name", "y": "days"}
    with Endpoint([Text(READERS + call), chosen]) as endpoint:
        _, chart = await plan(endpoint, toolbox)
    asked = endpoint.requests[1]
    assert asked.body["response_format"]["json_schema"]["schema"]["properties"]["x"]["enum"] == ["member_name", "days"]
    assert asked.body["messages"][0] == endpoint.requests[0].body["messages"][0]
    assert chart["args"] == {"rows": {"output_of": "top_readers", "path": ["rows"]}, **chosen}


async def test_queries_that_do_not_bind_go_back_with_the_engines_word(toolbox):
    with Endpoint([Text("-- a: b\nSELECT weather FROM climate;"), Text(READERS)]) as endpoint:
        (only,) = await plan(endpoint, toolbox)
    assert only["id"] == "top_readers"
    assert "climate" in endpoint.requests[1].body["messages"][-1]["content"]


async def test_where_no_query_comes_of_it_the_plan_is_made_in_stages():
    step = {"id": "rain", "tool": "readings", "uses": [], "question": "The rain?", "columns": []}
    script = [*[Text("-- nothing: at all")] * 3, {"steps": [step]}, {"from": "readings", "sql": "SELECT rain"}]
    with Endpoint(script) as endpoint:
        found = await make_plan(
            "The rain?",
            context="",
            toolbox=weather(),
            model=model_at(endpoint, small=True),
            settings=SETTINGS,
            limits=LIMITS,
            emit=lambda _event: None,
        )
    assert isinstance(found, Planned), found
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
    ("goal", "fewest"),
    [
        (GOAL, 2),
        ("Get the 3 longest loans and their readers", 2),
        ("List the authors. Which books did each of them write?", 2),
        ("How many loans does each member have, and how many books each?", 1),
        ("Compare loans and days of each member", 1),
        ("Which members never read their books?", 1),
    ],
)
def test_a_goal_that_goes_on_to_speak_of_what_it_found_takes_two_queries(toolbox, goal, fewest):
    assert f"root ::= query{{{fewest}," in notebook_grammar(toolbox.specs, goal=goal)


def test_only_tools_that_take_no_sql_can_be_called_in_a_comment(tmp_path):
    tools = Toolbox(database_tools(open_source(library_duckdb(tmp_path))))
    assert '"-- " (' not in notebook_grammar({"query_database": tools.specs["query_database"]}, goal="?")


@pytest.mark.parametrize(
    ("goal", "called"),
    [
        ("How many members are there?", False),
        ("In which month were most books lent?", False),
        ("In which month were most books lent? Plot it.", True),
        ("List the members", True),
        ("Which chart shows the loans by month?", True),
    ],
)
def test_a_goal_that_is_only_a_question_takes_no_call(toolbox, goal, called):
    assert ("draw_chart" in notebook_grammar(toolbox.specs, goal=goal)) is called
