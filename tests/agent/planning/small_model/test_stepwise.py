"""What a small model is left to choose when it plans over a true database: tables, columns, best rows."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from agent.planning.session import DraftFailure, PlanDraft, as_document
from agent.planning.small_model.steps import find_forgotten_files, read_steps
from agent.planning.small_model.stepwise import plan_in_stages
from agent.tools.sql.data_source import open_data_source
from agent.tools.sql.query_database import database_tools
from agent.tools.toolbox import Toolbox
from tests.support.databases import library_duckdb
from tests.support.openai_endpoint import Endpoint
from tests.support.planning_kit import session_at
from tests.support.planning_kit import toolbox as weather

READERS = {"id": "readers", "tool": "query_database", "uses": [], "question": "Who read most?"}
TITLES = {"id": "titles", "tool": "query_database", "uses": ["readers"], "question": "For each: the longest loan?"}


@pytest.fixture(scope="module")
def toolbox(tmp_path_factory: pytest.TempPathFactory) -> Toolbox:
    folder: Path = tmp_path_factory.mktemp("library")
    return Toolbox(database_tools(open_data_source(library_duckdb(folder))))


async def planned(endpoint: Endpoint, toolbox: Toolbox, *, goal: str = "Who read most, and what longest?") -> PlanDraft:
    found = await plan_in_stages(session_at(endpoint, toolbox, goal=goal))
    assert isinstance(found, PlanDraft), found
    return found


def tasks(found: PlanDraft) -> list[dict[str, Any]]:
    return as_document(found.checked.compiled.plan)["tasks"]


async def test_it_chooses_among_the_tables_and_columns_that_fit_and_its_choice_of_best_rows_needs_no_limit(toolbox):
    script = [
        {"steps": [READERS | {"columns": ["member", "SUM(days) AS days"]}, TITLES | {"columns": ["member", "title"]}]},
        {
            "from": "lending",
            "first_row_of_each": "",
            "sql": "SELECT member_name, SUM(days) AS days FROM lending GROUP BY 1 ORDER BY 2 DESC LIMIT 2",
        },
        {
            "from": "lending",
            "first_row_of_each": "member_name",
            "sql": "SELECT member_name, title, days FROM lending WHERE member_name IN (SELECT unnest($member_name)) "
            "ORDER BY days DESC LIMIT 1",
        },
    ]
    with Endpoint(script) as endpoint:
        found = await planned(endpoint, toolbox)
    fields = [
        request.body["response_format"]["json_schema"]["schema"]["properties"] for request in endpoint.requests[1:]
    ]
    assert [(field["from"]["enum"], field["first_row_of_each"]["enum"]) for field in fields] == [
        (["lending"], ["", "member_name", "days"]),
        (["lending"], ["", "member_name", "title"]),
    ]
    assert list(fields[0])[:3] == ["from", "first_row_of_each", "sql"]
    assert "Columns: member_name, days." in endpoint.requests[1].text
    readers, titles = tasks(found)
    assert "first_row_of_each" not in readers["args"]
    assert readers["args"]["sql"].endswith("LIMIT 2")
    assert titles["args"]["first_row_of_each"] == "member_name"
    assert "LIMIT" not in titles["args"]["sql"]


async def test_columns_that_no_table_has_leave_the_choice_open(toolbox):
    script = [
        {"steps": [READERS | {"columns": ["weather"]}]},
        {"from": "members", "first_row_of_each": "", "sql": "SELECT COUNT(*) AS weather FROM members"},
    ]
    with Endpoint(script) as endpoint:
        await planned(endpoint, toolbox)
    schema = endpoint.requests[1].body["response_format"]["json_schema"]["schema"]
    assert sorted(schema["properties"]["from"]["enum"]) == ["authors", "books", "lending", "loans", "members"]


@pytest.mark.parametrize(
    ("goal", "files"),
    [
        ("Save the ten longest loans as loans.csv", ["loans.csv"]),
        ("Write report.md, then last-year.json.", ["report.md", "last-year.json"]),
        ("Which 3.5 percent of members, e.g. Ada, read most? Draw it.", []),
        ("Save what is in Members.csv", []),
    ],
)
def test_a_file_that_the_goal_names_belongs_to_a_step(goal, files):
    steps = read_steps({"steps": [READERS | {"columns": [], "question": "Save members.csv"}]})
    assert [sentence.split("'")[1] for sentence in find_forgotten_files(goal, steps)] == files


async def test_steps_without_the_file_go_back_once():
    without = {"steps": [{"id": "rain", "tool": "readings", "uses": [], "question": "The rain?", "columns": []}]}
    call = {"from": "readings", "sql": "SELECT rain"}
    for again in (1, 2):
        steps = without["steps"] + [
            {"id": "note", "tool": "post", "uses": ["rain"], "question": "Post rain.csv", "columns": []}
        ] * (again - 1)
        with Endpoint([without, {"steps": steps}, call, {"text": "rain.csv"}][: 2 + len(steps)]) as endpoint:
            found = await planned(endpoint, weather(), goal="Post the rain as rain.csv")
        assert [task["tool"] for task in tasks(found)] == ["readings", "post"][:again]
        assert "'rain.csv', but no step does" in endpoint.requests[1].text


BOTH = {"steps": [READERS | {"columns": ["member_name", "days"]}]}
#: It names a column that is not there.
WRONG = {"from": "lending", "first_row_of_each": "", "sql": "SELECT weather FROM lending"}


async def test_a_model_that_writes_the_same_again_is_not_asked_a_third_time(toolbox):
    with Endpoint([BOTH, WRONG, WRONG]) as endpoint:
        failed = await plan_in_stages(replace(session_at(endpoint, toolbox, goal="Who read most?"), max_repairs=5))
    assert isinstance(failed, DraftFailure)
    assert (len(endpoint.requests), failed.repairs) == (3, 1)
    assert "weather" in failed.problems[0]
