"""Rows that feed other tasks are all there; what is cut off all the same is said by all that is made of it."""

import csv
import json
from pathlib import Path

import openpyxl
import pytest
from langchain_core.tools import BaseTool, StructuredTool

from agent.settings import Settings
from agent.tools.analytics import analytics_tools, build_query_limits
from agent.tools.sample_data import ensure_shop
from agent.tools.sql.data_source import open_data_source
from graphs.plan_execute import build_graph
from tests.agent.tools.writing.test_write_text import scripted

PAYMENTS, TOTAL, ORDERS = 33_922, 30_251_396.71, 34_099
ALL = "SELECT order_id, amount FROM payments"
CUT = "the result of 'lines' is cut off after 1,000 rows; there are more."


def ref(task, *path):
    return {"output_of": task, "path": list(path)}


def query(name, sql=ALL, **args):
    return {"id": name, "tool": "query_database", "args": {"sql": sql, **args}}


def analyze(name, sql, rows, **args):
    return {"id": name, "tool": "analyze_rows", "args": {"sql": sql, "tables": {"t": rows}, **args}}


def reading(function) -> BaseTool:
    return StructuredTool.from_function(function, metadata={"readOnlyHint": True})


@pytest.fixture
def run(shop_folder, tmp_path):
    """A function that runs a plan on the sample shop and returns the output of the graph."""
    sources = []

    def run_plan(*tasks, tools=(), writer=None, **settings):
        made = Settings(max_replans=0, approve="never", **settings)
        source = open_data_source(ensure_shop(shop_folder), limits=build_query_limits(made))
        sources.append(source)
        own = analytics_tools(source=source, output=tmp_path / "out", writer=lambda: writer)
        graph = build_graph(tools=[*own, *tools], settings=made)
        return graph.invoke({"goal": "G", "plan": {"tasks": list(tasks)}})

    yield run_plan
    for source in sources:
        source.close()


def test_all_rows_are_totalled_drawn_and_saved(planwave):
    plan = planwave.plan_file(
        query("lines"),
        analyze("total", "SELECT SUM(amount) AS total, COUNT(*) AS n FROM t", ref("lines", "rows")),
        query("orders", "SELECT * FROM orders"),
        {
            "id": "file",
            "tool": "save_file",
            "args": {"path": "orders.csv", "content": ref("orders", "rows")},
            "depends_on": ["total"],
        },
    )
    waiting = json.loads(planwave.here("run", "g", "--plan", plan, "--json").stdout)
    assert waiting["status"] == "awaiting_approval"
    # The rows are read again from where the thread's data are.
    done = json.loads(planwave.here("resume", waiting["thread_id"], "--yes", "--json").stdout)
    assert (done["status"], done["warnings"]) == ("completed", [])
    assert done["results"]["total"]["output"]["rows"] == [{"total": TOTAL, "n": PAYMENTS}]
    with (planwave.home / "output" / "orders.csv").open(newline="") as file:
        assert sum(1 for _ in csv.reader(file)) == ORDERS + 1


def test_whatever_is_made_of_cut_rows_says_so(run, tmp_path):
    out = run(
        query("lines", max_rows=1000),
        analyze("big", "SELECT order_id, amount FROM t WHERE amount > 5000", ref("lines", "rows")),
        analyze("bigger", "SELECT order_id, amount FROM t WHERE amount > 6000", ref("big")),
        {
            "id": "chart",
            "tool": "draw_chart",
            "args": {"rows": ref("bigger", "rows"), "kind": "scatter", "x": "order_id", "y": "amount"},
        },
        {"id": "book", "tool": "save_file", "args": {"path": "t.xlsx", "content": ref("bigger", "rows")}},
        {"id": "page", "tool": "save_file", "args": {"path": "t.md", "content": ref("bigger", "rows")}},
    )
    assert (out["status"], out["problems"]) == ("completed", [])
    assert out["results"]["lines"]["warnings"] == ["The" + CUT.removeprefix("the")]
    inherited = f"This is made from incomplete data: {CUT}"
    made = ("big", "bigger", "chart", "book", "page")
    assert all(out["results"][task]["warnings"] == [inherited] for task in made)
    assert [line for line in out["warnings"] if line.endswith("[bigger]")] == [f"{inherited} [bigger]"]
    assert out["answer"].startswith("Done, but on incomplete data: lines, big, ")
    assert out["answer"].count(inherited) == len(made)
    assert "cut off after 1,000 rows" in (tmp_path / "out" / "t.md").read_text()
    notes = openpyxl.load_workbook(tmp_path / "out" / "t.xlsx")["Notes"]
    assert notes["A1"].value == out["results"]["lines"]["warnings"][0]
    drawing = Path(out["results"]["chart"]["output"]["svg"]).read_text(encoding="utf-8")
    assert "cut off after 1,000 rows" in " ".join(drawing.split())


def test_a_task_that_is_skipped_by_a_condition_on_cut_rows_says_so(run):
    out = run(
        query("lines", max_rows=1000),
        {**query("many", "SELECT 1 AS x"), "condition": "lines.row_count > 5000"},
        query("whole", "SELECT 1 AS x"),
        {**query("plain", "SELECT 1 AS x"), "condition": "whole.row_count > 5"},
    )
    because = f"Its condition is false: lines.row_count > 5000. It was evaluated on incomplete data: {CUT}"
    assert because in out["answer"]
    assert out["answer"].count("It was evaluated on incomplete data") == 1


TOTALS = [
    "SELECT SUM(amount) AS v FROM t",
    "SELECT COUNT(*) AS v FROM t",
    "SELECT MAX(amount) AS v FROM t",
    "SELECT amount > 9 AS k, AVG(amount) AS v FROM t GROUP BY ALL",
    "SELECT list_sum(list(amount)) AS v FROM t",
    "SELECT order_id, amount FROM t ORDER BY amount DESC LIMIT 5",
    "SELECT order_id, rank() OVER (ORDER BY amount) AS v FROM t",
    "WITH s AS (SELECT SUM(amount) AS v FROM t) SELECT v FROM s",
    "SELECT order_id FROM t WHERE amount > (SELECT AVG(amount) FROM t)",
    "SELECT 1 AS v WHERE 1 NOT IN (SELECT order_id FROM t)",
    "SELECT v FROM (SELECT 1 AS v) x ANTI JOIN t ON t.order_id = x.v",
    "SELECT x.v FROM (SELECT 1 AS v) x LEFT JOIN t ON t.order_id = x.v WHERE t.order_id IS NULL",
    "SELECT 1 AS v EXCEPT SELECT order_id FROM t",
]


def test_a_total_over_cut_rows_fails_unless_the_plan_allows_it(run):
    totals = [{**analyze(f"t{i}", sql, ref("lines", "rows")), "on_failure": "skip"} for i, sql in enumerate(TOTALS)]
    first = {**analyze("each", ALL.replace("payments", "t"), ref("lines", "rows"), first_row_of_each="order_id")}
    out = run(
        query("lines", max_rows=1000),
        *totals,
        {**first, "on_failure": "skip"},
        analyze("meant", TOTALS[1], ref("lines", "rows"), allow_cut_rows=True),
        analyze("sorted", "SELECT order_id FROM t ORDER BY amount", ref("lines", "rows")),
        {
            **query("ids", "SELECT COUNT(*) AS n FROM orders WHERE order_id IN (SELECT unnest($ids))"),
            "args": {
                "sql": "SELECT COUNT(*) AS n FROM orders WHERE order_id IN (SELECT unnest($ids))",
                "params": {"ids": ref("lines", "rows", "*", "order_id")},
            },
            "on_failure": "skip",
        },
    )
    results = out["results"]
    failed = {task for task, result in results.items() if result["status"] == "failed"}
    assert failed == {*(task["id"] for task in totals), "each", "ids"}
    assert all("allow_cut_rows" in results[task]["error"] and CUT[5:] in results[task]["error"] for task in failed)
    assert results["meant"]["output"]["rows"] == [{"v": 1000}]
    assert results["meant"]["warnings"] == results["sorted"]["warnings"] != []


def test_bytes_and_other_tools_cut_too(run):
    def page(number: int = 1) -> dict:
        """Return a page of items."""
        return {"items": [{"v": number}], "has_more": number == 1}

    def cursor() -> dict:
        """Return a page of items, as a server does."""
        return {"result": {"items": [{"v": 1}], "nextCursor": "x"}}

    def over(name, rows):
        return {**analyze(name, "SELECT SUM(v) AS v FROM t", rows), "on_failure": "skip"}

    out = run(
        query("bytes", "SELECT repeat('x', 1000) AS c, range AS v FROM range(5000)"),
        over("of_bytes", ref("bytes", "rows")),
        {"id": "paged", "tool": "page", "args": {}},
        over("of_page", ref("paged", "items")),
        {"id": "whole", "tool": "page", "args": {"number": 2}},
        over("of_whole", ref("whole", "items")),
        {"id": "cursor", "tool": "cursor", "args": {}},
        over("of_cursor", ref("cursor", "result", "items")),
        query("numbers", "SELECT range AS n FROM range(1, 3)"),
        {
            "id": "pages",
            "tool": "page",
            "for_each": ref("numbers", "rows"),
            "args": {"number": {"item": ["n"]}},
        },
        {
            **over("of_pages", {"item": ["items"]}),
            "for_each": ref("pages"),
        },
        tools=[reading(page), reading(cursor)],
        query_result_mb=1,
    )
    results = out["results"]
    statuses = {task: result["status"] for task, result in results.items() if task.startswith("of_")}
    assert statuses == dict.fromkeys(("of_bytes", "of_page", "of_cursor", "of_pages"), "failed") | {"of_whole": "done"}
    assert results["pages"]["warnings"] == [
        "1 of 2 results of 'pages' are cut off; the first is cut off after 1 item; there are more."
    ]
    assert "warnings" not in results["whole"]


def test_one_row_of_cut_rows_is_whole_and_the_last_is_not(run):
    def look(value: int) -> int:
        """Return the value."""
        return value

    def read(name, *path, **more):
        return {"id": name, "tool": "look", "args": {"value": ref("lines", *path)}, **more}

    out = run(
        query("lines", max_rows=1000),
        read("first", "rows", 0, "order_id"),
        read("last", "rows", -1, "order_id"),
        read("count", "row_count"),
        read("asked", "rows", 0, "order_id", condition="lines.row_count > 5"),
        {"id": "each", "tool": "look", "for_each": ref("lines", "rows"), "args": {"value": {"item": ["order_id"]}}},
        tools=[reading(look)],
    )
    warned = {task for task, result in out["results"].items() if result.get("warnings")}
    assert warned == {"lines", "last", "count", "asked", "each"}


def test_who_writes_from_cut_rows_is_told(run):
    writer = scripted("The data are incomplete: cut off after 2 rows. The first is 7.")
    out = run(
        query("few", "SELECT range + 7 AS n FROM range(9)", max_rows=2),
        {
            "id": "text",
            "tool": "write_text",
            "args": {"instruction": "Name them.", "inputs": {"rows": ref("few", "rows")}},
        },
        writer=writer,
    )
    assert out["results"]["text"]["status"] == "done", out["results"]["text"]
    ((asked,),) = writer.asked
    assert "The result of 'few' is cut off after 2 rows; there are more." in asked.text
    assert out["results"]["text"]["warnings"]


def test_who_approves_a_write_of_cut_rows_is_told(planwave):
    plan = planwave.plan_file(
        query("lines", max_rows=1000),
        {"id": "file", "tool": "save_file", "args": {"path": "a.csv", "content": ref("lines", "rows")}},
    )
    waiting = json.loads(planwave.here("run", "g", "--plan", plan, "--json").stdout)
    (action,) = waiting["interrupt"]["action_requests"]
    assert f"It is made from incomplete data: {CUT}" in action["purpose"]
    # The mark is stored with the thread.
    done = json.loads(planwave.here("resume", waiting["thread_id"], "--yes", "--json").stdout)
    assert done["results"]["file"]["warnings"] == [f"This is made from incomplete data: {CUT}"]


def test_a_table_without_rows_has_the_columns_of_its_query(run):
    out = run(
        query("none", "SELECT order_id, amount, paid_on FROM payments WHERE amount < 0"),
        analyze("sum", "SELECT COUNT(*) AS n, SUM(amount) AS v FROM t WHERE order_id > 1", ref("none", "rows")),
    )
    assert out["results"]["sum"]["output"]["rows"] == [{"n": 0, "v": None}], out["results"]["sum"]


def test_saved_parquet_has_the_types_of_the_query(run, tmp_path):
    import duckdb

    run(
        query("q", "SELECT 1.10::DECIMAL(9,2) AS price, DATE '2024-01-31' AS day, '01067' AS plz, 'x'::BLOB AS b"),
        {"id": "file", "tool": "save_file", "args": {"path": "t.parquet", "content": ref("q", "rows")}},
    )
    types = duckdb.connect().read_parquet(str(tmp_path / "out" / "t.parquet")).types
    assert [str(kind) for kind in types] == ["DECIMAL(9,2)", "DATE", "VARCHAR", "VARCHAR"]
