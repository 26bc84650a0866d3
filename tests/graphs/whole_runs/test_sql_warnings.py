"""What is changed in a query, or looks wrong in it, is told wherever a result is looked at."""

import json
from dataclasses import replace

import pytest

from agent.core.plan.document import Plan
from agent.settings import Settings
from agent.tools.sql.data_source import open_data_source
from agent.tools.sql.query_database import database_tools
from graphs.plan_execute import build_graph
from tests.support.command_line import CommandLine
from tests.support.databases import library_duckdb
from tests.support.openai_endpoint import Endpoint, Text
from tests.support.planning_kit import model_at

POLAND = "SELECT COUNT(*) AS n FROM authors WHERE country = 'Polland'"
WARNING = "No row has 'Polland' in authors.country; near it: 'Poland'."
NOTEBOOK = "-- polish: authors of one country\nSELECT COUNT(*) AS n FROM authors WHERE country = 'POLAND';\n"
CHANGE = "There is no value 'POLAND'; 'Poland' was used instead."


@pytest.fixture
def tools(tmp_path):
    source = open_data_source(library_duckdb(tmp_path))
    yield database_tools(source)[1:2]
    source.close()


def given(sql):
    return {"tasks": [{"id": "count", "tool": "query_database", "args": {"sql": sql}}]}


async def test_a_given_plan_runs_as_written_and_its_doubts_are_told(tools):
    plan = given(POLAND)
    out = await build_graph(tools=tools).ainvoke({"goal": "Authors from Holland", "plan": plan})
    assert out["plan"]["tasks"] == plan["tasks"]
    assert out["results"]["count"]["output"]["rows"] == [{"n": 0}]
    assert out["results"]["count"]["warnings"] == [WARNING]
    assert out["warnings"] == [f"{WARNING} [count]"]
    assert f"Note: {WARNING}" in out["answer"]


async def test_a_right_plan_has_no_warnings(tools):
    plan = given(POLAND.replace("Polland", "Poland"))
    out = await build_graph(tools=tools).ainvoke({"goal": "Authors from Poland", "plan": plan})
    assert (out["warnings"], out["results"]["count"].get("warnings", [])) == ([], [])
    assert "Note" not in out["answer"]


async def planned(tools, monkeypatch, *, goal, **settings):
    with Endpoint([Text(NOTEBOOK), Text("One.")]) as endpoint:
        model = replace(model_at(endpoint, small=True), max_parallel_texts=1)
        monkeypatch.setattr("graphs.run.services.resolve_model", lambda *_args, **_named: model)
        chosen = Settings(approve="never", max_replans=0, plan_variants=1, **settings)
        return await build_graph(tools=tools, model="local", settings=chosen).ainvoke({"goal": goal})


async def test_a_models_plan_tells_each_change_as_written_and_as_run(tools, monkeypatch):
    out = await planned(tools, monkeypatch, goal="Count the Polish authors")
    [task] = out["plan"]["tasks"]
    assert out["results"]["polish"]["output"]["rows"] == [{"n": 1}]
    assert task["args"]["sql"].endswith("country = 'Poland'")
    assert task["repaired"]["as_written"]["sql"].endswith("country = 'POLAND'")
    assert task["repaired"]["changes"] == [CHANGE]
    assert out["results"]["polish"]["warnings"] == [CHANGE]
    assert out["warnings"] == [f"{CHANGE} [polish]"]
    assert CHANGE in out["answer"]
    # The plan is one that can be given again.
    assert Plan.model_validate(out["plan"]).tasks[0].repaired is not None


async def test_what_stands_in_the_goal_is_not_changed(tools, monkeypatch):
    out = await planned(tools, monkeypatch, goal="Count the authors from POLAND")
    assert out["plan"]["tasks"][0]["args"]["sql"].endswith("country = 'POLAND'")
    assert out["warnings"] == ["No row has 'POLAND' in authors.country; near it: 'Poland'. [polish]"]


async def test_a_setting_turns_repair_off(tools, monkeypatch):
    out = await planned(tools, monkeypatch, goal="Count the Polish authors", sql_repair=False)
    assert out["plan"]["tasks"][0]["args"]["sql"].endswith("country = 'POLAND'")
    assert out["warnings"] == ["No row has 'POLAND' in authors.country; near it: 'Poland'. [polish]"]


def test_the_setting_has_a_variable(monkeypatch):
    monkeypatch.setenv("PLANWAVE_SQL_REPAIR", "false")
    assert Settings().sql_repair is False


def test_the_command_line_tells_them_too(tmp_path, planwave: CommandLine):
    data = str(library_duckdb(tmp_path))
    file = planwave.plan_file(*given(POLAND)["tasks"])
    told = f"{WARNING} [count]"
    done = planwave.here("plan", "validate", file, "--data", data)
    assert (done.exit_code, f"warning: {told}" in " ".join(done.output.split())) == (0, True), done.output
    checked = json.loads(planwave.here("plan", "validate", file, "--data", data, "--json").stdout)
    assert (checked["valid"], checked["warnings"]) == (True, [told])
    ran = planwave.here("run", "Holland", "--plan", file, "--data", data, "--json")
    assert json.loads(ran.stdout)["warnings"] == [told], ran.output
    assert f"warning: {told}" in " ".join(
        planwave.here("run", "Holland", "--plan", file, "--data", data).output.split()
    )
