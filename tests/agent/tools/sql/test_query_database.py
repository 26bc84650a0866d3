import asyncio
import json

import pytest
from jsonschema import Draft202012Validator

from agent.errors import ToolFailure
from agent.tools.sql.query_database import QueryDatabase, database_tools
from agent.tools.toolbox import Toolbox

TOP = "SELECT customer_name, sum(revenue) AS revenue FROM sales GROUP BY ALL ORDER BY revenue DESC LIMIT 5"
FAVOURITES = (
    "SELECT customer_name, product_name, sum(quantity) AS quantity FROM sales "
    "WHERE customer_name IN (SELECT unnest($customer_name)) GROUP BY ALL ORDER BY quantity DESC, product_name"
)


@pytest.fixture
def query(shop) -> QueryDatabase:
    tool = database_tools(shop)[1]
    assert isinstance(tool, QueryDatabase)
    return tool


@pytest.fixture
def toolbox(shop) -> Toolbox:
    return Toolbox(database_tools(shop))


def test_the_tools_read_and_say_so(toolbox):
    for spec in toolbox.specs.values():
        policy = spec.policy
        assert (policy.read_only, policy.idempotent, policy.destructive, policy.open_world) == (
            True,
            True,
            False,
            False,
        )
        assert policy.timeout_s is not None
    assert [spec.policy.context_provider for spec in toolbox.specs.values()] == [True, False, False]


async def test_outputs_are_what_their_schemas_promise(toolbox):
    calls = {
        "describe_database": {},
        "query_database": {"sql": "SELECT * FROM sales LIMIT 3"},
        "analyze_rows": {"sql": "SELECT a FROM t", "tables": {"t": [{"a": 1}]}},
    }
    for name, args in calls.items():
        output = await toolbox[name].ainvoke(args)
        Draft202012Validator(toolbox.specs[name].output_schema).validate(output)
        json.dumps(output, allow_nan=False)


async def test_top_customers_and_what_each_buys_most(query):
    top = await query.ainvoke({"sql": TOP})
    names = [row["customer_name"] for row in top["rows"]]
    most = await query.ainvoke(
        {"sql": FAVOURITES, "params": {"customer_name": names}, "first_row_of_each": "customer_name"}
    )
    plain = await query.ainvoke(
        {
            "sql": "SELECT customer_name, arg_max(product_name, q) AS product_name, max(q) AS quantity FROM (SELECT "
            "customer_name, product_name, sum(quantity) AS q FROM sales GROUP BY ALL) WHERE customer_name IN $names "
            "GROUP BY customer_name ORDER BY quantity DESC",
            "params": {"names": names},
        }
    )
    assert most["rows"] == plain["rows"]
    assert most["row_count"] == 5


async def test_rows_stand_for_the_column_of_the_parameter(query):
    top = await query.ainvoke({"sql": TOP})
    by_rows = await query.ainvoke({"sql": FAVOURITES, "params": {"customer_name": top["rows"]}, "max_rows": 10})
    by_names = await query.ainvoke(
        {"sql": FAVOURITES, "params": {"customer_name": [row["customer_name"] for row in top["rows"]]}, "max_rows": 10}
    )
    assert by_rows == by_names
    with pytest.raises(ToolFailure, match="none of which is 'who'"):
        await query.ainvoke({"sql": "SELECT 1 WHERE 'x' IN $who", "params": {"who": top["rows"]}})


async def test_first_rows_keep_the_order_and_come_before_the_limit(query):
    sql = "SELECT x % 3 AS rest, x FROM range(12) AS r(x) ORDER BY x DESC"
    output = await query.ainvoke({"sql": sql, "first_row_of_each": "rest", "rows_per_value": 2, "max_rows": 5})
    assert [row["x"] for row in output["rows"]] == [11, 10, 9, 8, 7]
    assert output["truncated"]
    whole = await query.ainvoke({"sql": sql, "first_row_of_each": "rest", "rows_per_value": 2})
    assert ([row["x"] for row in whole["rows"]], whole["truncated"]) == ([11, 10, 9, 8, 7, 6], False)


@pytest.mark.parametrize(("limit", "count", "truncated"), [(3, 3, True), (5, 5, False), (7, 5, False)])
async def test_the_row_limit(query, limit, count, truncated):
    output = await query.ainvoke({"sql": "SELECT x FROM range(5) AS r(x)", "max_rows": limit})
    assert (output["row_count"], len(output["rows"]), output["truncated"]) == (count, count, truncated)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1.50::DECIMAL(10,2)", 1.5),
        ("'nan'::DOUBLE", None),
        ("'inf'::DOUBLE", None),
        ("DATE '2024-02-29'", "2024-02-29"),
        ("TIMESTAMP '2024-02-29 10:00:00'", "2024-02-29T10:00:00"),
        ("TIMESTAMPTZ '2024-02-29 10:00:00+02'", "2024-02-29T08:00:00+00:00"),
        ("TIME '10:30:00'", "10:30:00"),
        ("INTERVAL 36 HOUR", "1 day, 12:00:00"),
        ("'a'::ENUM ('a', 'b')", "a"),
        ("[1, NULL]", [1, None]),
        ("{'a': 1, 'b': [DATE '2024-01-01']}", {"a": 1, "b": ["2024-01-01"]}),
        ("MAP {1: 'x'}", {"1": "x"}),
        ("'ab'::BLOB", "YWI="),
        ("170141183460469231731687303715884105727::HUGEINT", 170141183460469231731687303715884105727),
        ("NULL", None),
        ("true", True),
        ("'5ad9cc5c-7d5c-4a4e-9a2c-3a6f6f1b2c11'::UUID", "5ad9cc5c-7d5c-4a4e-9a2c-3a6f6f1b2c11"),
    ],
)
async def test_values_become_json_and_fit_the_narrowed_schema(query, expression, value):
    sql = f"SELECT {expression} AS v"
    output = await query.ainvoke({"sql": sql})
    assert output["rows"] == [{"v": value}]
    found = query.preflight({"sql": sql}, {})
    Draft202012Validator(found.output_schema).validate(output)


async def test_columns_of_one_name_are_told_apart(query):
    output = await query.ainvoke({"sql": "SELECT 1 AS a, 2 AS a, 3 AS a_2"})
    assert output["rows"] == [{"a": 1, "a_2": 2, "a_2_2": 3}]


async def test_a_query_that_takes_too_long_is_stopped(shop):
    query = QueryDatabase(database=database_tools(shop)[1].database, seconds=0.3)
    # To its end the query would take longer than any test may.
    with pytest.raises(ToolFailure, match=r"took longer than 0\.3 seconds"):
        await query.ainvoke({"sql": "SELECT count(*) FROM sales a, sales b, sales c"})
    assert (await query.ainvoke({"sql": "SELECT 1 AS one"}))["rows"] == [{"one": 1}]


async def test_a_cancelled_call_stops_its_query_and_blocks_nobody(query):
    slow = asyncio.create_task(query.ainvoke({"sql": "SELECT count(*) FROM sales a, sales b, sales c"}))
    await asyncio.sleep(0.2)
    quick = await query.ainvoke({"sql": "SELECT 1 AS one"})
    slow.cancel()
    with pytest.raises(asyncio.CancelledError):
        await slow
    assert quick["rows"] == [{"one": 1}]


async def test_many_queries_at_once_do_not_mix(query):
    outputs = await asyncio.gather(
        *(query.ainvoke({"sql": "SELECT $n AS n, count(*) AS c FROM orders", "params": {"n": n}}) for n in range(24))
    )
    assert [output["rows"][0]["n"] for output in outputs] == list(range(24))
    assert len({output["rows"][0]["c"] for output in outputs}) == 1


def test_the_tools_run_without_an_event_loop_too(query):
    assert query.invoke({"sql": "SELECT 1 AS one"})["rows"] == [{"one": 1}]


@pytest.mark.parametrize(
    ("args", "says"),
    [
        ({"sql": "SELECT nothing FROM sales"}, 'Referenced column "nothing" not found'),
        ({"sql": "SELECT * FROM nowhere"}, "Table with name nowhere does not exist"),
        ({"sql": "SELEC 1"}, "cannot be parsed: syntax error"),
        ({"sql": "SELECT $a"}, "uses $a, but params has no 'a'"),
        ({"sql": "SELECT 1", "params": {"a": 1}}, "params has 'a', but the SQL does not use $a"),
        ({"sql": "SELECT ?"}, "Parameters have names"),
        ({"sql": "SELECT 'x'::INTEGER AS n"}, "Could not convert string 'x' to INT32"),
        (
            {"sql": "SELECT 1 AS a", "first_row_of_each": "b"},
            "names 'b', which is not a column of the query; use one of 'a'",
        ),
    ],
)
async def test_what_fails_is_a_sentence_of_one_line(query, args, says):
    with pytest.raises(ToolFailure) as failed:
        await query.ainvoke(args)
    assert says in str(failed.value)
    assert "\n" not in str(failed.value)
    assert "LINE 1" not in str(failed.value)


NAMES = {"type": "array", "items": {"type": ["string", "null"]}}
ROWS = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {"customer_name": {"type": ["string", "null"]}, "revenue": {"type": ["number", "null"]}},
        "additionalProperties": False,
    },
}


@pytest.mark.parametrize("schema", [NAMES, ROWS, {}, {"type": "array"}])
def test_preflight_binds_with_what_is_known_of_open_parameters(query, schema):
    found = query.preflight({"sql": FAVOURITES}, {"params.customer_name": schema})
    assert found.problems == ()
    row = found.output_schema["properties"]["rows"]["items"]
    assert {name: kinds["type"][0] for name, kinds in row["properties"].items()} == {
        "customer_name": "string",
        "product_name": "string",
        "quantity": "integer",
    }
    assert row["additionalProperties"] is False


@pytest.mark.parametrize(
    ("args", "left_open", "says"),
    [
        ({"sql": "SELECT nothing_here FROM sales"}, {}, 'Referenced column "nothing_here" not found'),
        ({"sql": "SELECT a.nme FROM (SELECT customer_name FROM sales) a"}, {}, "does not have a column named"),
        ({"sql": "SELECT * FROM nowhere"}, {}, "Table with name nowhere does not exist"),
        ({"sql": "SELECT 1 FROM sales WHERE city = $town"}, {}, "uses $town, but params has no 'town'"),
        ({"sql": "SELECT 1 AS x", "params": {"a": 1}}, {}, "params has 'a', but the SQL does not use $a"),
        ({"sql": "SELECT 1 AS x"}, {"params.a": NAMES}, "params has 'a', but the SQL does not use $a"),
        ({"sql": "SELECT 1 WHERE 'x' IN $who"}, {"params.who": ROWS}, "none of which is 'who'"),
        (
            {"sql": "SELECT city AS x FROM sales", "first_row_of_each": "color"},
            {},
            "names 'color', which is not a column",
        ),
        ({"sql": "DELETE FROM sales"}, {}, "Only a SELECT statement can be run"),
        ({"sql": "SELECT 1 AS a; SELECT 2"}, {}, "has 2 statements"),
    ],
)
def test_preflight_finds_what_would_fail(query, args, left_open, says):
    found = query.preflight(args, left_open)
    assert says in " ".join(found.problems)


def test_preflight_tells_several_problems_at_once(query):
    found = query.preflight({"sql": "SELECT nothing_here FROM sales WHERE city = $town", "params": {"b": 1}}, {})
    assert len(found.problems) == 3


@pytest.mark.parametrize("left_open", [{"sql": {"type": "string"}}, {"params": {"type": "object"}}])
def test_preflight_is_silent_where_too_little_is_known(query, left_open):
    found = query.preflight({} if "sql" in left_open else {"sql": "SELECT $a AS a"}, left_open)
    assert (found.problems, found.args, found.output_schema) == ((), None, None)


@pytest.mark.parametrize(
    "sql", [";SELECT 1 AS a;", "-- why\nSELECT 1 AS a", "/* why */ SELECT 1 AS a -- so", "SELECT 1 AS a;;"]
)
async def test_comments_and_semicolons_around_a_query_do_no_harm(query, sql):
    assert query.preflight({"sql": sql}, {}).problems == ()
    assert (await query.ainvoke({"sql": sql}))["rows"] == [{"a": 1}]


async def test_preflight_mends_what_can_be_looked_up(query):
    args = {
        "sql": "SELECT customer, sum(revenue) AS total FROM sale WHERE segment = $segment AND country = 'germany' "
        "GROUP BY customer ORDER BY revenue DESC",
        "params": {"segment": "small business"},
        "first_row_of_each": "customer",
    }
    found = query.preflight(args, {}, "?")
    assert found.problems == ()
    assert found.args["params"] == {"segment": "Small Business"}
    assert found.args["first_row_of_each"] == "customer_name"
    assert any("'small business'" in note and "'Small Business'" in note for note in found.notes), found.notes
    mended = await query.ainvoke(found.args)
    gold = await query.ainvoke(
        {
            "sql": "SELECT customer_name, sum(revenue) AS total FROM sales WHERE segment = 'Small Business' AND "
            "country = 'Germany' GROUP BY 1 ORDER BY 2 DESC"
        }
    )
    assert mended["rows"] == gold["rows"]
    assert mended["row_count"] > 10


def test_preflight_leaves_a_sound_query_as_it_is(query):
    args = {"sql": "select   customer_name\nfrom sales where segment='Corporate' -- big ones", "params": {}}
    found = query.preflight(args, {})
    assert (found.args, found.notes) == (args, ())


def test_describing_an_unknown_table_says_which_there_are(shop):
    describe = database_tools(shop)[0]
    assert [table["name"] for table in describe.invoke({"tables": ["Orders", "sales"]})["relations"]] == [
        "sales",
        "orders",
    ]
    with pytest.raises(ToolFailure, match="no table or view 'order'; there are"):
        describe.invoke({"tables": ["order"]})


async def test_moments_are_told_in_utc_whatever_the_zone_of_the_machine(query):
    output = await query.ainvoke({"sql": "SELECT current_setting('TimeZone') AS zone"})
    assert output["rows"] == [{"zone": "UTC"}]
