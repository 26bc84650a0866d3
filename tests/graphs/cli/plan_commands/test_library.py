"""`planwave library`: a run becomes a program, which runs with other values and which the planner finds."""

import asyncio
import json

import pytest
from langchain_core.language_models import FakeListChatModel
from langchain_core.tools import StructuredTool

from graphs.persistence import open_persistence
from graphs.stores.library import Library
from planwave import PersistenceError, Settings, UsageError, build_graph, planwave_tool
from tests.support.worlds import World, thread

GOAL = "How much was sold in France in 2024?"
SQL = "SELECT sum(revenue) AS revenue FROM sales WHERE country = 'France' AND year(order_date) = 2024"
#: Makes no plan of anything.
NO_MODEL = FakeListChatModel(responses=["I cannot."])
TASK = {"id": "q", "tool": "query_database", "args": {"sql": SQL}}


@pytest.fixture(params=["database", pytest.param("folder", marks=pytest.mark.slow)])
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


def test_what_was_taken_is_told_and_the_data_decide_and_a_setting_refuses(planwave):
    program = {"inputs": {"country": {"type": "string", "examples": ["France"]}, "year": {"type": "integer"}}}
    params = {"country": {"input": "country"}, "year": {"input": "year"}}
    sql = "SELECT sum(revenue) AS revenue FROM sales WHERE country = $country AND year(order_date) = $year"
    task = {"id": "q", "tool": "query_database", "args": {"sql": sql, "params": params}}
    planwave.env["PLANWAVE_LIBRARY"] = str(planwave.home / "programs")
    template = "How much was sold in {country} in {year}?"
    asyncio.run(Library(planwave.home / "programs").add("sold", {**program, "tasks": [task]}, goal_template=template))
    # In other words, and spelt as the data have it.
    found = planwave.here("run", "In 2023, how much was sold in spain?", "--json")
    assert revenue(found) > 0
    record = json.loads(found.stdout)
    assert record["program"] == {"name": "sold", "version": 1, "inputs": {"country": "Spain", "year": 2023}}
    assert "From the library: the program sold (version 1) with country = 'Spain', year = 2023." in record["answer"]
    # The data have no such country, though the words would fit.
    elsewhere = planwave.here("run", "How much was sold in Southern Europe in 2023?", "--json")
    assert elsewhere.exit_code != 0
    assert "the data have no 'Southern Europe' where it looks for the country" in elsewhere.stderr
    planwave.env["PLANWAVE_USE_LIBRARY"] = "false"
    refused = planwave.here("run", "How much was sold in Spain in 2023?", "--json")
    assert refused.exit_code != 0
    assert "sold (version 1)" not in refused.stderr


def test_further_wordings_are_found_and_wrong_ones_refused(planwave):
    shelf = planwave
    shelf.here("run", GOAL, "--plan", shelf.plan_file(TASK), "--thread", "first", "--json")
    add = ("library", "add", "first", "--name", "sold", "--yes", "--also-says")
    told = shelf.here(*add, "Turnover of France")
    assert told.exit_code == 2
    assert "The wording 'Turnover of France' does not say where each input of the program stands" in told.stderr
    assert "say it with 'France' or {country}, '2024' or {year}" in told.stderr
    added = shelf.here(*add, "Turnover of France in 2024", "--also-says", "What did {country} buy in {year}?")
    assert added.exit_code == 0, added.output
    assert "or       Turnover of {country} in {year}" in shelf.here("library", "show", "sold").stdout
    one, two = (
        revenue(shelf.here("run", goal, "--json"))
        for goal in ("What was the turnover of Spain in 2023?", "In 2023, what did Spain buy?")
    )
    assert one == two > 0


def test_a_goal_without_values_is_found_too(planwave):
    shelf = planwave
    task = {"id": "q", "tool": "query_database", "args": {"sql": "SELECT count(*) AS revenue FROM customers"}}
    shelf.here("run", "How many customers are there?", "--plan", shelf.plan_file(task), "--thread", "first", "--json")
    assert shelf.here("library", "add", "first", "--name", "count_customers", "--yes").exit_code == 0
    assert revenue(shelf.here("run", "Number of customers", "--json")) > 0
    assert shelf.here("run", "Number of customers in Spain", "--json").exit_code != 0


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


DATA = {"sales.csv": "country,amount,year\nFrance,5,2023\nSpain,7,2024\n"}
CHANGES = {
    "a column dropped": ({"sales.csv": "land,amount,year\nFrance,5,2023\nSpain,7,2024\n"}, "country"),
    "a table renamed": ({"orders.csv": DATA["sales.csv"]}, "sales"),
    "a column of another type": (
        {"sales.csv": "country,amount,year\nFrance,five,2023\nSpain,seven,2024\n"},
        "argument types",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_program_whose_tables_have_changed_is_not_taken_and_says_where(planwave, tmp_path, change):
    folder = tmp_path / "data"

    def write(files):
        folder.mkdir(exist_ok=True)
        for file in folder.iterdir():
            file.unlink()
        for name, text in files.items():
            (folder / name).write_text(text)

    write(DATA)
    data = ("--data", str(folder))
    task = {**TASK, "args": {"sql": "SELECT sum(amount) AS revenue FROM sales WHERE country = 'France'"}}
    plan = planwave.plan_file(task)
    goal = "Total amount of France"
    assert planwave.here("run", goal, "--plan", plan, "--thread", "a", *data, "--json").exit_code == 0
    assert planwave.here("library", "add", "a", "--name", "amount", "--yes", *data).exit_code == 0
    assert revenue(planwave.here("run", "Total amount of Spain", *data, "--json")) == 7
    changed, word = CHANGES[change]
    write(changed)
    for ended in (
        planwave.here("run", "Total amount of Spain", *data, "--json"),
        planwave.here("library", "run", "amount", "--input", "country=Spain", *data, "--json"),
    ):
        assert ended.exit_code == 1
        assert "Task 'q', args" in ended.output
        assert word in ended.output, ended.output
    assert "does not compile any more" in planwave.here("run", "Total amount of Spain", *data, "--json").stderr


def order_desks(pieces: int) -> str:
    """Order desks."""
    return f"{pieces} ordered"


def order_by_number(number: int) -> str:
    """Order desks."""
    return f"{number} ordered"


def order_in_words(pieces: str) -> str:
    """Order desks."""
    return f"{pieces} ordered"


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        (None, ["there is no tool 'order_desks'"]),
        (order_by_number, ["args", "pieces", "number"]),
        (order_in_words, ["args.pieces", "a text is expected"]),
    ],
    ids=["a tool gone", "an argument renamed", "a type changed"],
)
async def test_a_program_whose_tools_have_changed_is_not_taken_and_says_where(tmp_path, changed, words):
    library = Library(tmp_path)
    plan = {
        "inputs": {"n": {"type": "integer", "examples": [5]}},
        "tasks": [{"id": "buy", "tool": "order_desks", "args": {"pieces": {"input": "n"}}}],
    }
    await library.add("buy_desks", plan, goal="Order 5 desks", goal_template="Order {n} desks")
    goal = {"goal": "Please order 7 desks"}

    def build(function):
        function = None if function is None else StructuredTool.from_function(function, name="order_desks")
        return build_graph(
            tools=[function] if function else [], model=NO_MODEL, settings=Settings(approve="never"), library=library
        )

    assert (await build(order_desks).ainvoke(goal, thread()))["results"]["buy"]["output"] == "7 ordered"
    events = [event async for event in build(changed).astream(goal, thread("2"), stream_mode="custom")]
    [told] = [each["text"] for each in events if "Not used" in str(each.get("text"))]
    assert "the program buy_desks (version 1) with n = 7; it does not compile any more: Task 'buy'" in told
    assert all(word in told for word in words), told


async def test_a_program_is_looked_for_before_the_database_is_described(tmp_path):
    world = World()

    async def describe() -> str:
        world.log.append(("describe", None))
        return "tables"

    provider = world.tool("describe", describe, {"readOnlyHint": True, "context_provider": True})
    library = Library(tmp_path)
    plan = {
        "inputs": {"n": {"type": "integer"}},
        "tasks": [{"id": "a", "tool": "look", "args": {"value": {"input": "n"}}}],
    }
    await library.add("look_at", plan, goal_template="Look at {n}")
    graph = build_graph(
        tools=[provider, *world.tools()], model=NO_MODEL, settings=Settings(approve="never"), library=library
    )
    await graph.ainvoke({"goal": "Look at 7"}, thread())
    assert world.log == [("look", 7)]
    await graph.ainvoke({"goal": "Look for 7"}, thread("2"))
    assert world.log == [("look", 7), ("describe", None)]


class Recording(FakeListChatModel):
    """Keeps what it was asked."""

    asked: list[str] = []  # noqa: RUF012 - pydantic copies it

    def _call(self, messages, *args, **options):
        self.asked.append("\n".join(str(message.content) for message in messages))
        return super()._call(messages, *args, **options)


async def test_if_a_program_fails_the_replanner_is_told_what_the_tools_say(tmp_path):
    world = World()
    world.failing = {7}

    async def describe() -> str:
        world.log.append(("describe", None))
        return "There are tables of everything."

    provider = world.tool("describe", describe, {"readOnlyHint": True, "context_provider": True})
    library, model = Library(tmp_path), Recording(responses=["I cannot."])
    plan = {
        "inputs": {"n": {"type": "integer"}},
        "tasks": [{"id": "a", "tool": "look", "args": {"value": {"input": "n"}}}],
    }
    await library.add("look_at", plan, goal_template="Look at {n}")
    graph = build_graph(
        tools=[provider, *world.tools()], model=model, settings=Settings(approve="never"), library=library
    )
    await graph.ainvoke({"goal": "Look at 7"}, thread())
    assert world.log[0] == ("look", 7)
    assert ("describe", None) in world.log
    assert any("There are tables of everything." in text for text in model.asked)


async def test_two_programs_that_answer_the_same_are_named(tmp_path):
    world, library = World(), Library(tmp_path)
    plan = {"tasks": [{"id": "a", "tool": "look", "args": {"value": 1}}]}
    for name in ("one", "two"):
        await library.add(name, plan, goal_template="Look around")
    graph = build_graph(tools=world.tools(), model=NO_MODEL, settings=Settings(approve="never"), library=library)
    events = [event async for event in graph.astream({"goal": "Look around"}, thread(), stream_mode="custom")]
    assert any("several programs answer the goal: one (version 1), two (version 1)" in str(each) for each in events)
    assert world.log == []


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
