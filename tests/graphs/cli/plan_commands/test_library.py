"""`planwave library`: a run becomes a program, which runs with other values and which the planner finds."""

import json

import pytest

from graphs.persistence import open_persistence
from graphs.stores.library import Library
from planwave import PersistenceError, Settings, UsageError, build_graph, planwave_tool
from tests.support.worlds import World, thread

GOAL = "How much was sold in France in 2024?"
SQL = "SELECT sum(revenue) AS revenue FROM sales WHERE country = 'France' AND year(order_date) = 2024"
TASK = {"id": "q", "tool": "query_database", "args": {"sql": SQL}}


@pytest.fixture(params=["database", "folder"])
def shelf(request, planwave, tmp_path):
    if request.param == "folder":
        planwave.env["PLANWAVE_LIBRARY"] = str(tmp_path / "programs")
    return planwave


def revenue(ended):
    assert ended.exit_code == 0, ended.output
    return json.loads(ended.stdout)["results"]["q"]["output"]["rows"][0]["revenue"]


def test_a_run_becomes_a_program_that_the_planner_finds(shelf):
    plan = shelf.plan_file(TASK)
    first = revenue(shelf.here("run", GOAL, "--plan", plan, "--thread", "first", "--json"))
    added = shelf.here("library", "add", "first", "--name", "sold", "--yes")
    assert added.exit_code == 0, added.output
    assert "--input country=... --input year=..." in added.stdout
    same = revenue(shelf.here("library", "run", "sold", "--input", "country=France", "--input", "year=2024", "--json"))
    other = revenue(shelf.here("library", "run", "sold", "--input", "country=Spain", "--input", "year=2023", "--json"))
    assert first == same != other
    # No model is set up: a plan from the library is the only one there can be.
    found = shelf.here("run", "How much was sold in Spain in 2023?", "--json")
    assert revenue(found) == other
    assert "the program sold (version 1)" in found.stderr
    assert shelf.here("run", "How much was not sold in Spain in 2023?", "--json").exit_code != 0
    shown = shelf.here("library", "show", "sold")
    assert "from thread first, revision 1, by user" in shown.stdout
    assert "How much was sold in {country} in {year}?" in shown.stdout
    listed = json.loads(shelf.here("library", "--json").stdout)["programs"]
    assert [(each["name"], each["version"], each["origin"]["thread"]) for each in listed] == [("sold", 1, "first")]


def test_versions_and_removal(shelf):
    plan = shelf.plan_file(TASK)
    for version in (1, 2):
        ended = shelf.here("library", "add", plan, "--name", "sold", "--as-is", "--json")
        assert json.loads(ended.stdout)["version"] == version, ended.output
    assert "versions 1, 2" in shelf.here("library", "show", "sold").stdout
    assert revenue(shelf.here("library", "run", "sold", "--version", "1", "--json")) > 0
    for words, sentence in (
        (["library", "run", "sold", "--version", "7"], "has no version 7; it has 1, 2"),
        (["library", "run", "slod"], "no program 'slod'. Did you mean 'sold'?"),
        (["library", "add", plan, "--name", "no name"], "'no name' is no name for a program"),
        (["library", "add", "nothing", "--name", "x"], "There is no thread 'nothing'"),
        (["library", "remove", "sold"], "add --yes to remove 'sold'"),
    ):
        ended = shelf.here(*words)
        assert (ended.exit_code, sentence in ended.stderr) == (2, True), ended.output
    assert shelf.here("library", "remove", "sold", "--yes").exit_code == 0
    assert "is empty" in shelf.here("library").stdout


def test_a_program_whose_tables_or_tools_have_changed_says_where(shelf, tmp_path):
    data = tmp_path / "d.csv"
    data.write_text("country,amount\nFrance,5\n")
    plan = {"id": "q", "tool": "query_database", "args": {"sql": "SELECT amount FROM d WHERE country = 'France'"}}
    file = tmp_path / "p.json"
    file.write_text(json.dumps({"goal": "Amounts of France", "tasks": [plan]}))
    added = shelf.here("library", "add", str(file), "--name", "amounts", "--yes", "--data", str(data))
    assert added.exit_code == 0, added.output
    data.write_text("land,amount\nFrance,5\n")
    ended = shelf.here("library", "run", "amounts", "--input", "country=France", "--data", str(data))
    assert ended.exit_code == 1
    assert "Task 'q', args" in ended.stdout
    assert "country" in ended.stdout


@pytest.mark.parametrize("kind", ["persistence", "folder"])
async def test_from_python_programs_are_tools_and_plans(tmp_path, kind):
    world = World()
    plan = {
        "inputs": {"n": {"type": "integer"}},
        "tasks": [{"id": "a", "tool": "look", "args": {"value": {"input": "n"}}}],
    }
    async with open_persistence(f"sqlite:///{tmp_path / 't.db'}") as persistence:
        library = Library(persistence if kind == "persistence" else tmp_path / "programs")
        await library.add("look_at", plan, goal="Look at 4", goal_template="Look at {n}")
        program = await library.add("look_at", plan, goal="Look at 4", goal_template="Look at {n}")
        assert (program.version, [each.version for each in await library.list_versions("look_at")]) == (2, [2, 1])
        tool = planwave_tool(await library.get("look_at"), tools=world.tools())
        await tool.ainvoke({"n": 4})
        graph = build_graph(
            tools=world.tools(), settings=Settings(approve="never"), persistence=persistence, library=library
        )
        out = await graph.ainvoke({"goal": "Look at 7"}, thread())
        assert out["status"] == "completed"
        assert world.log == [("look", 4), ("look", 7)]
        [entry] = (await graph.aget_state(thread())).values["plan_history"]
        assert (entry["author"], entry["model"]) == ("program", "look_at (version 2)")
        with pytest.raises(UsageError, match="is no plan"):
            await library.add("bad", {"tasks": 3})
        assert await library.remove("look_at") == 2
        assert await library.list_programs() == []


async def test_a_file_that_is_no_program_is_named(tmp_path):
    (tmp_path / "x@1.json").write_text("{}")
    with pytest.raises(PersistenceError, match=r"x@1\.json"):
        await Library(tmp_path).list_programs()
    (tmp_path / "x@1.json").write_text("{")
    with pytest.raises(PersistenceError, match=r"x@1\.json"):
        await Library(tmp_path).list_programs()
