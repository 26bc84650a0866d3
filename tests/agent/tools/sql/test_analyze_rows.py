import pytest

from agent.errors import ToolFailure
from agent.tools.sql.analyze_rows import AnalyzeRows

SALES = [
    {"region": "North", "revenue": 10.5, "day": "2024-01-01"},
    {"region": "South", "revenue": 20, "day": "2024-01-02"},
    {"region": "North", "revenue": None, "day": None},
]
ROWS = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"region": {"type": ["string", "null"]}, "revenue": {"type": ["number", "null"]}},
    },
}
OUTPUT = {"type": "object", "properties": {"rows": ROWS, "row_count": {"type": "integer"}}}


@pytest.fixture
def analyze() -> AnalyzeRows:
    return AnalyzeRows()


async def test_rows_are_summed(analyze):
    output = await analyze.ainvoke(
        {"tables": {"s": SALES}, "sql": "SELECT region, sum(revenue) AS total FROM s GROUP BY region ORDER BY region"}
    )
    assert output["rows"] == [{"region": "North", "total": 10.5}, {"region": "South", "total": 20.0}]


async def test_tables_are_joined_and_a_whole_output_stands_for_its_rows(analyze):
    output = await analyze.ainvoke(
        {
            "tables": {"s": {"rows": SALES, "row_count": 3}, "heads": [{"region": "North", "head": "Ada"}]},
            "sql": "SELECT head, count(*) AS n FROM s JOIN heads USING (region) GROUP BY head",
        }
    )
    assert output["rows"] == [{"head": "Ada", "n": 2}]


async def test_rows_differ_in_their_keys_and_types(analyze):
    rows = [{"a": 1}, {"b": "x"}, {"a": 2.5, "b": None}, {"a": 3, "c": [1, {"d": 2}]}]
    output = await analyze.ainvoke({"tables": {"t": rows}, "sql": "SELECT sum(a) AS a, count(b) AS b FROM t"})
    assert output["rows"] == [{"a": 6.5, "b": 1}]


async def test_names_of_tables_and_columns_may_be_anything(analyze):
    rows = [{'the "best" one': "it's; DROP TABLE t"}]
    output = await analyze.ainvoke({"tables": {"my table": rows}, "sql": 'SELECT * FROM "my table"'})
    assert output["rows"] == rows


async def test_no_rows_are_an_empty_table(analyze):
    output = await analyze.ainvoke({"tables": {"t": []}, "sql": "SELECT count(*) AS n FROM t"})
    assert output["rows"] == [{"n": 0}]


async def test_what_is_no_rows_is_refused(analyze):
    with pytest.raises(ToolFailure, match=r"tables\['t'\] is not a list of rows"):
        await analyze.ainvoke({"tables": {"t": {"answer": 42}}, "sql": "SELECT 1 AS a"})


async def test_the_tables_of_one_call_are_gone_in_the_next(analyze):
    await analyze.ainvoke({"tables": {"mine": SALES}, "sql": "SELECT 1 AS a"})
    with pytest.raises(ToolFailure, match="mine does not exist"):
        await analyze.ainvoke({"tables": {"other": SALES}, "sql": "SELECT * FROM mine"})


@pytest.mark.parametrize("schema", [ROWS, OUTPUT])
def test_preflight_knows_the_columns_that_will_come(analyze, schema):
    args = {"sql": "SELECT region, revenue / 2 AS half, rank() OVER (ORDER BY revenue DESC) AS place FROM s"}
    found = analyze.preflight(args, {"tables.s": schema})
    assert found.problems == ()
    columns = found.output_schema["properties"]["rows"]["items"]["properties"]
    assert {name: kind["type"][0] for name, kind in columns.items()} == {
        "region": "string",
        "half": "number",
        "place": "integer",
    }


def test_preflight_finds_a_column_that_will_not_come(analyze):
    found = analyze.preflight({"sql": "SELECT quantity FROM s"}, {"tables.s": ROWS})
    assert 'Referenced column "quantity" not found' in found.problems[0]


def test_preflight_finds_a_table_that_is_not_given(analyze):
    found = analyze.preflight({"sql": "SELECT a FROM other_rows", "tables": {"s": [{"a": 1}]}}, {})
    assert "other_rows does not exist" in found.problems[0]


def test_preflight_mends_a_name(analyze):
    found = analyze.preflight({"sql": "SELECT Region, sum(revenus) AS r FROM s GROUP BY 1"}, {"tables.s": ROWS}, "?")
    assert found.problems == ()
    assert "SUM(revenue)" in found.args["sql"]


def test_preflight_is_silent_about_rows_of_unknown_columns(analyze):
    found = analyze.preflight({"sql": "SELECT whatever FROM s"}, {"tables.s": {"type": "array"}})
    assert (found.problems, found.args) == ((), None)


def test_preflight_refuses_what_cannot_be_rows(analyze):
    found = analyze.preflight({"sql": "SELECT 1 AS a", "tables": {"t": "x"}}, {})
    assert "is not a list of rows" in found.problems[0]


@pytest.mark.parametrize(
    ("values", "read"),
    [
        ([1, "a"], ["1", "a"]),
        ([True, "x", None], ["true", "x", None]),
        ([None], [None]),
        ([[1, "a"], [2]], [["1", "a"], ["2"]]),
        ([{"a": 1}, {"a": "x"}], [{"a": "1"}, {"a": "x"}]),
        ([12345678901234567890123, 1], [12345678901234567890123, 1]),
        ([9007199254740993, 1.5], ["9007199254740993", "1.5"]),
    ],
)
async def test_values_of_several_kinds_are_as_they_are(analyze, values, read):
    output = await analyze.ainvoke({"tables": {"t": [{"v": value} for value in values]}, "sql": "SELECT v FROM t"})
    assert [row["v"] for row in output["rows"]] == read


async def test_a_text_among_numbers_is_found_by_its_text(analyze):
    rows = [{"v": 1}, {"v": "a"}]
    output = await analyze.ainvoke({"tables": {"t": rows}, "sql": "SELECT count(*) AS n FROM t WHERE v = 'a'"})
    assert output["rows"] == [{"n": 1}]


@pytest.mark.parametrize(
    "sql",
    [
        "SELECT region, sum(v) AS v FROM t WHERE day > '2024-01-01' GROUP BY region",
        "SELECT x.name, avg(x.v + 1) AS v FROM t AS x GROUP BY x.name",
        "SELECT date_trunc('month', day) AS m, upper(name) AS n FROM t",
        "SELECT sales.region, t.v FROM sales JOIN t USING (id)",
        "SELECT region, v FROM sales JOIN t ON t.key = sales.id",
    ],
)
async def test_a_table_without_rows_has_the_columns_that_the_query_names(analyze, sql):
    tables = {"t": [], "sales": [{"id": 1, "region": "North"}]}
    assert analyze.preflight({"tables": tables, "sql": sql}, {}).problems == ()
    assert (await analyze.ainvoke({"tables": tables, "sql": sql}))["rows"] == []


async def test_the_types_of_a_query_are_kept(analyze):
    columns = [{"name": "v", "type": "DECIMAL(12,2)"}, {"name": "day", "type": "VARCHAR"}]
    rows = [{"v": 0.1, "day": "2024-01-01"}, {"v": 0.2, "day": "2024-01-02"}]
    output = await analyze.ainvoke(
        {"tables": {"t": {"columns": columns, "rows": rows}}, "sql": "SELECT sum(v) AS v, min(day) AS d FROM t"}
    )
    assert [column["type"] for column in output["columns"]] == ["DECIMAL(38,2)", "VARCHAR"]
    assert output["rows"] == [{"v": 0.3, "d": "2024-01-01"}]
    # What does not fit them, such as a row that a person gave, has the types that its values have.
    output = await analyze.ainvoke(
        {"tables": {"t": {"columns": columns, "rows": [{"v": "n/a", "day": 5}]}}, "sql": "SELECT v, day FROM t"}
    )
    assert output["rows"] == [{"v": "n/a", "day": 5}]
