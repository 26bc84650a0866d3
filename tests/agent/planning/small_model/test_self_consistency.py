"""Plans of which the one is taken whose result most have, on a real run of the graph with scripted variants."""

import pytest
from langchain_core.tools import StructuredTool

from agent.settings import Settings
from agent.tools.sql.data_source import open_data_source
from agent.tools.sql.query_database import database_tools
from graphs.plan_execute import build_graph
from tests.support.databases import library_duckdb
from tests.support.openai_endpoint import Endpoint, Text

RIGHT = "a = add(2, 3)\nb = add(a, 4)\n"
AS_RIGHT = "most = add(4, 3)\nall = add(most, 2)\n"
WRONG = "a = add(2, 3)\n"
OTHER = "a = add(2, 9)\n"
BREAKS = "a = add(2, 3)\nb = refuse(a)\n"
NO_PLAN = "a = nothing(2)\n"
WRITES = "a = add(2, 3)\nb = write(a)\n"


class Sums:
    """Tools that note their calls."""

    def __init__(self):
        self.log = []

    def tools(self, *, open_world=False):
        def add(a: float, b: float) -> float:
            self.log.append((a, b))
            return a + b

        def refuse(a: float) -> float:
            raise ValueError("no")

        def write(a: float) -> str:
            self.log.append("write")
            return "written"

        reads = {"readOnlyHint": True, "openWorldHint": open_world}
        return [
            StructuredTool.from_function(function, description=function.__name__, metadata=metadata)
            for function, metadata in ((add, reads), (refuse, reads), (write, {}))
        ]


async def run(script, sums, monkeypatch, *, open_world=False, **settings):
    """Plan and run with a small model that writes the scripts one after the other; return results and requests."""
    with Endpoint([*map(Text, script), Text("Done [b].")]) as endpoint:
        for name, value in endpoint.env.items():
            monkeypatch.setenv(name, value)
        limits = Settings(
            approve="never", max_repairs=0, max_replans=0, model_scale="small", **{"plan_variants": 3, **settings}
        )
        graph = build_graph(tools=sums.tools(open_world=open_world), model="openai:scripted", settings=limits)
        out = await graph.ainvoke({"goal": "2 + 3 + 4?"})
    return out, [each for each in endpoint.requests if "def refuse(" in each.text]


def found(out):
    return [record["output"] for record in out["results"].values()]


async def test_where_no_two_agree_the_answer_says_so(monkeypatch):
    out, _ = await run([RIGHT, WRONG, OTHER], Sums(), monkeypatch)
    assert "Not certain. 3 plans were tried for this goal, and each finds something else: " in out["answer"]
    assert "(1) 9.0; (2) 5.0; (3) 11.0. Taken: the first." in out["answer"]
    out, _ = await run([RIGHT, AS_RIGHT], Sums(), monkeypatch)
    assert "Not certain" not in out["answer"]


@pytest.mark.parametrize(
    ("script", "says"),
    [
        ([BREAKS, WRONG, BREAKS], "only one comes to a result: 5.0."),
        ([BREAKS, BREAKS, BREAKS], "none comes to a result."),
    ],
)
async def test_plans_that_break_off_when_tried_are_told_of_too(script, says, monkeypatch):
    out, _ = await run(script, Sums(), monkeypatch)
    assert says in out["answer"]


async def test_two_that_agree_are_enough_and_their_calls_are_not_made_again(monkeypatch):
    sums = Sums()
    out, requests = await run([RIGHT, AS_RIGHT], sums, monkeypatch)
    assert out["status"] == "completed"
    assert found(out) == [5.0, 9.0]
    assert sums.log == [(2, 3), (5, 4), (4, 3), (7, 2)]
    assert [(each.body.get("seed"), each.body.get("temperature")) for each in requests] == [(None, None), (1, 0.7)]


@pytest.mark.parametrize(
    ("script", "results"),
    [
        ([WRONG, RIGHT, AS_RIGHT], [5.0, 9.0]),
        ([RIGHT, WRONG, OTHER], [5.0, 9.0]),
        ([BREAKS, RIGHT, AS_RIGHT], [5.0, 9.0]),
        ([WRONG, NO_PLAN, WRONG], [5.0]),
        ([RIGHT, WRITES, OTHER], [5.0, 9.0]),
        ([NO_PLAN, RIGHT, AS_RIGHT], [5.0, 9.0]),
    ],
)
async def test_the_result_that_most_have_is_taken_and_the_first_where_none_is_repeated(script, results, monkeypatch):
    sums = Sums()
    out, requests = await run(script, sums, monkeypatch)
    assert found(out) == results
    assert len(requests) == 3
    assert "write" not in sums.log


@pytest.mark.parametrize(
    ("script", "results", "asked"),
    [
        # Two agree, whoever came between them.
        ([WRONG, RIGHT, AS_RIGHT, OTHER], [5.0, 9.0], 3),
        # Nothing has a result, so the last one could agree with none.
        ([BREAKS, NO_PLAN, NO_PLAN, RIGHT], [5.0], 3),
    ],
)
async def test_no_further_plan_is_made_once_it_can_change_nothing(script, results, asked, monkeypatch):
    out, requests = await run(script, Sums(), monkeypatch, plan_variants=4)
    assert [record["output"] for record in out["results"].values() if record["status"] == "done"] == results
    assert len(requests) == asked


@pytest.mark.parametrize(
    ("script", "how"),
    [([WRITES], {}), ([RIGHT], {"open_world": True}), ([RIGHT], {"plan_variants": 1})],
    ids=["writes", "open world", "off"],
)
async def test_what_cannot_be_tried_freely_is_planned_once(script, how, monkeypatch):
    out, requests = await run(script, Sums(), monkeypatch, **how)
    assert out["status"] == "completed"
    assert len(requests) == 1


MOST = "SELECT member_name, SUM(days) AS days FROM lending GROUP BY 1 ORDER BY 2 DESC LIMIT 2"
AS_MOST = "SELECT SUM(days) AS total, member_name AS reader FROM lending GROUP BY 2 ORDER BY 1 DESC LIMIT 2"
LEAST = "SELECT member_name, SUM(days) AS days FROM lending GROUP BY 1 ORDER BY 2 LIMIT 2"


@pytest.mark.parametrize("order", [[MOST, AS_MOST], [LEAST, MOST, AS_MOST], [AS_MOST, LEAST, MOST]])
async def test_of_queries_the_one_is_taken_whose_rows_most_have_whatever_their_columns_are_called(
    order, tmp_path, monkeypatch
):
    tools = [
        tool for tool in database_tools(open_data_source(library_duckdb(tmp_path))) if tool.name == "query_database"
    ]
    with Endpoint([Text(f"-- readers: who borrowed most\n{sql};\n") for sql in order]) as endpoint:
        for name, value in endpoint.env.items():
            monkeypatch.setenv(name, value)
        settings = Settings(max_repairs=0, max_replans=0, model_scale="small", plan_variants=3)
        graph = build_graph(tools=tools, model="openai:scripted", settings=settings)
        out = await graph.ainvoke({"goal": "Which 2 members borrowed most?"})
    taken = next(sql for sql in order if sql != LEAST)
    assert out["plan"]["tasks"][0]["args"]["sql"] == taken
    assert out["usage"]["calls"] == len(order)


async def test_a_result_without_concerns_goes_before_one_that_looks_wrong(tmp_path, monkeypatch):
    repeated = "SELECT SUM(price) AS p FROM books JOIN loans USING (book_id);"
    plain = "SELECT SUM(price) AS p FROM books;"
    script = [Text(f"-- a: price\n{sql}\n") for sql in (repeated, plain, repeated, plain)]
    with Endpoint([*script, Text("Done.")]) as endpoint:
        for name, value in endpoint.env.items():
            monkeypatch.setenv(name, value)
        settings = Settings(approve="never", max_repairs=0, model_scale="small", plan_variants=5)
        tools = [
            each for each in database_tools(open_data_source(library_duckdb(tmp_path))) if each.name == "query_database"
        ]
        out = await build_graph(tools=tools, model="openai:scripted", settings=settings).ainvoke(
            {"goal": "What is the total price of all books?"}
        )
    assert "loans" not in out["plan"]["tasks"][0]["args"]["sql"].lower()
    assert "Not certain" not in out["answer"]
