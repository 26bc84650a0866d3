"""The chart tool on rows of every shape: what it draws, what it says, what it refuses."""

import json
import re
from pathlib import Path
from typing import get_args

import pytest
from pydantic import ValidationError

from agent.errors import ToolFailure
from agent.tools.charts.data.columns import read_column
from agent.tools.charts.data.data_prep import build_frame
from agent.tools.charts.data.frame import MAX_CATEGORIES, MAX_PANELS, ChartKind
from agent.tools.charts.data.name_hints import humanize_name
from agent.tools.charts.draw_chart import DrawChartArgs, chart_tools
from agent.tools.charts.vega_spec import ChartRequest, build_vega_spec

CUSTOMERS = [
    {"customer_name": "Nordwind Handels GmbH", "total_revenue": 182345.5},
    {"customer_name": "Blue Ridge Outfitters", "total_revenue": 140220.25},
    {"customer_name": "Kestrel & Sons", "total_revenue": 51234.99},
]
BARS = {"rows": CUSTOMERS, "kind": "bar", "x": "customer_name", "y": "total_revenue"}
SALES = [
    {"month": f"2023-{month:02d}", "region": region, "sold": month * factor}
    for month in range(1, 13)
    for factor, region in enumerate(("North", "South"), 1)
]
PURCHASES = [
    {"customer": f"Customer {who}", "product": f"Product {who * 3 + what}", "quantity": 10 - what}
    for who in range(5)
    for what in range(3)
]


def spec(rows, kind, x, y, color=None, **words) -> dict:
    return build_vega_spec(rows, brief=ChartRequest(kind=kind, x=x, y=y, color=color, **words)).spec


def drawn_values(found: dict) -> list[dict]:
    return [row for rows in found.get("datasets", {}).values() for row in rows] or found["data"]["values"]


@pytest.fixture
def draw(tmp_path: Path):
    (tool,) = chart_tools(tmp_path / "out")
    return tool


def test_three_files_are_written_and_named_by_their_content(draw, tmp_path: Path) -> None:
    call = {
        "rows": CUSTOMERS,
        "kind": "bar",
        "x": "customer_name",
        "y": "total_revenue",
        "title": "Top three, by revenue",
    }
    first = draw.invoke(call)
    before = {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    second = draw.invoke(call)
    assert first == second
    assert {path.name: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before
    assert sorted(Path(first[kind]).name for kind in ("png", "svg", "html")) == sorted(before)
    assert first["title"] == "Top three, by revenue"
    assert first["rows"] == 3
    assert Path(first["png"]).is_absolute()
    assert Path(first["png"]).read_bytes().startswith(b"\x89PNG\r\n\x1a\n")
    assert re.fullmatch(r"top-three-by-revenue-[0-9a-f]{10}\.png", Path(first["png"]).name)
    svg = Path(first["svg"]).read_text()
    assert "Nordwind Handels GmbH" in svg
    assert "182,346" in svg


def test_other_rows_are_another_file(draw) -> None:
    one = draw.invoke(BARS | {"file_name": "a"})
    two = draw.invoke(BARS | {"rows": CUSTOMERS[:2], "file_name": "a"})
    assert one["png"] != two["png"]


async def test_it_draws_from_async_code_too(draw) -> None:
    out = await draw.ainvoke(BARS | {"kind": "pie"})
    assert out["rows"] == len(CUSTOMERS)


def test_the_page_needs_no_network_and_cannot_be_broken_by_its_data(draw) -> None:
    evil = "</script><script>alert(1)</script>"
    out = draw.invoke({"rows": [{"name": evil, "n": 1}], "kind": "bar", "x": "name", "y": "n", "title": evil})
    page = Path(out["html"]).read_text()
    assert "alert(1)</script>" not in page
    assert not re.search(
        r"<(?:script|link|img|iframe)\b[^>]*\b(?:src|href)\s*=",
        re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL),
    )
    assert "default-src 'none'" in page
    shown = json.loads(re.search(r'<script id="spec" type="application/json">(.*?)</script>', page, re.DOTALL)[1])
    assert evil in [row.get("x") for row in drawn_values(shown)]


@pytest.mark.parametrize("kind", get_args(ChartKind))
def test_no_rows_make_a_chart_that_says_so(draw, kind: str) -> None:
    out = draw.invoke({"rows": [], "kind": kind, "x": "customer", "y": "total_revenue"})
    assert "No rows" in Path(out["svg"]).read_text()
    assert out["rows"] == 0


SHAPES = {
    "one row": ([{"a": "x", "b": 1}], "bar", "a", "b", None),
    "two hundred categories": ([{"sku": f"SKU-{n}", "sold": n} for n in range(200)], "bar", "sku", "sold", None),
    "values below zero": ([{"q": f"Q{n}", "profit": n - 2} for n in range(5)], "bar", "q", "profit", None),
    "missing values": ([{"q": "a", "n": 1}, {"q": "b", "n": None}, {"q": None}], "bar", "q", "n", None),
    "no values": ([{"q": "a", "n": None}], "line", "q", "n", None),
    "two texts": (PURCHASES, "bar", "customer", "quantity", None),
    "months in bars": (SALES, "stacked_bar", "month", "sold", "region"),
    "months in groups": (SALES, "grouped_bar", "month", "sold", "region"),
    "days in bars": ([{"d": f"2023-01-{n:02d}", "n": n} for n in range(1, 31)], "bar", "d", "n", None),
    "lines over months": (SALES, "line", "month", "sold", "region"),
    "areas over months": (SALES, "area", "month", "sold", "region"),
    "many lines": ([{"m": m, "s": f"s{s}", "n": s} for m in range(4) for s in range(30)], "line", "m", "n", "s"),
    "many areas": ([{"m": m, "s": f"s{s}", "n": s} for m in range(4) for s in range(30)], "area", "m", "n", "s"),
    "times of day": ([{"t": f"2023-01-01 {h:02d}:30:00", "n": h} for h in range(24)], "line", "t", "n", None),
    "points": ([{"a": n, "b": n * n, "c": "xy"[n % 2]} for n in range(40)], "scatter", "a", "b", "c"),
    "named points": ([{"a": n, "b": n * n, "c": f"p{n}"} for n in range(12)], "scatter", "a", "b", "c"),
    "narrow slices": ([{"c": f"c{n}", "n": 2**n} for n in range(8)], "donut", "c", "n", None),
    "cells": ([{"d": d, "h": h, "n": h} for d in "ab" for h in range(5)], "heatmap", "h", "d", "n"),
    "cells around zero": ([{"d": d, "h": h, "n": h - 2} for d in "ab" for h in range(5)], "heatmap", "h", "d", None),
    "decimals as text": ([{"c": "a", "n": "12.50"}, {"c": "b", "n": "7"}], "bar", "c", "n", None),
    "odd names": ([{"a.b[0]": "x", 'it\'s "n"': 1}], "bar", "a.b[0]", 'it\'s "n"', None),
}


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_rows_is_drawn(draw, shape: str) -> None:
    rows, kind, x, y, color = SHAPES[shape]
    out = draw.invoke({"rows": rows, "kind": kind, "x": x, "y": y, "color": color, "unit": "it's"})
    svg = Path(out["svg"]).read_text()
    assert "mark-" in svg
    assert "NaN" not in svg
    assert "undefined" not in svg


def test_ranked_categories_keep_their_order() -> None:
    found = build_frame(CUSTOMERS, kind="bar", x="customer_name", y="total_revenue", color=None)
    assert found.list_categories() == [row["customer_name"] for row in CUSTOMERS]


def test_what_is_left_out_is_said() -> None:
    rows = [{"sku": f"SKU-{n}", "sold": n} for n in range(200)]
    found = build_frame(rows, kind="bar", x="sku", y="sold", color=None)
    assert len(found.rows) == MAX_CATEGORIES
    left = f"The first {MAX_CATEGORIES} of 200 are shown; the other 140 add up to 18,130 of 19,900 (91.1%)."
    assert found.notes == (left,)


def test_bars_stand_beside_each_other_only_where_a_category_has_several() -> None:
    best = [row for row in PURCHASES if row["quantity"] == 10]
    for rows, beside in ((PURCHASES[:6], True), (best, False)):
        found = spec(rows, "bar", "customer", "quantity", "product")
        assert ("yOffset" in json.dumps(found) or "xOffset" in json.dumps(found)) is beside


def test_rows_that_share_a_category_are_told_apart_by_the_other_text() -> None:
    found = build_frame(PURCHASES, kind="bar", x="customer", y="quantity", color=None)
    assert found.series is not None
    assert found.series.name == "product"
    assert found.panels


def test_rows_that_nothing_tells_apart_are_summed_and_it_is_said() -> None:
    rows = [{"c": "a", "n": 1}, {"c": "a", "n": 2}, {"c": "b", "n": 4}]
    found = build_frame(rows, kind="bar", x="c", y="n", color=None)
    assert [(row["x"], row["y"]) for row in found.rows] == [("a", 3), ("b", 4)]
    assert found.notes == ("N is summed where several rows have the same c.",)


def test_folded_series_keep_the_sum() -> None:
    rows = [{"m": m, "s": f"s{s}", "n": s} for m in range(4) for s in range(30)]
    found = build_frame(rows, kind="area", x="m", y="n", color="s")
    assert sum(row["y"] for row in found.rows) == sum(row["n"] for row in rows)
    assert found.list_series()[-1] == "Other"


def test_more_series_than_panels_are_cut_and_it_is_said() -> None:
    rows = [{"m": m, "s": f"s{s}", "n": s} for m in range(4) for s in range(30)]
    found = build_frame(rows, kind="line", x="m", y="n", color="s")
    assert len(found.list_series()) == MAX_PANELS
    assert found.notes == (f"The first {MAX_PANELS} of 30 are shown; the other 6 add up to 636 of 1,740 (36.6%).",)


def test_a_horizontal_bar_may_name_its_axes_either_way() -> None:
    one = spec(CUSTOMERS, "horizontal_bar", "customer_name", "total_revenue")
    other = spec(CUSTOMERS, "horizontal_bar", "total_revenue", "customer_name")
    assert drawn_values(one) == drawn_values(other)
    assert one["title"] == other["title"]


def test_titles_come_from_the_columns_unless_given() -> None:
    assert spec(CUSTOMERS, "bar", "customer_name", "total_revenue")["title"]["text"] == [
        "Total revenue by customer name"
    ]
    given = spec(CUSTOMERS, "bar", "customer_name", "total_revenue", title="Who pays", y_title="Turnover")["title"]
    assert (given["text"], given["subtitle"]) == (["Who pays"], ["Turnover by customer name"])


def test_a_legend_is_there_only_for_several_series() -> None:
    assert "legend" not in json.dumps(spec(CUSTOMERS, "bar", "customer_name", "total_revenue")["layer"])
    assert '"legend"' in json.dumps(spec(SALES, "line", "month", "sold", "region")["layer"])


@pytest.mark.parametrize(
    ("cells", "kind", "unit", "values"),
    [
        (["2023-01", "2023-02"], "time", "month", ("2023-01-01T00:00:00Z", "2023-02-01T00:00:00Z")),
        (["2023-01-01", None, "2023-02-01"], "time", "month", ("2023-01-01T00:00:00Z", None, "2023-02-01T00:00:00Z")),
        (["2023-01-01 00:00:00", "2024-01-01 00:00:00"], "time", "year", None),
        (["2023-01-05", "2023-02-01"], "time", "day", None),
        (["2023-01-05T10:00:00+02:00"], "time", "instant", ("2023-01-05T10:00:00Z",)),
        (["2023-13-01"], "text", None, ("2023-13-01",)),
        (["2023-01", "spring"], "text", None, ("2023-01", "spring")),
        ([1, 2.5, None], "number", None, (1, 2.5, None)),
        (["1.50", "-2"], "number", None, (1.5, -2.0)),
        ([True, False], "text", None, ("Yes", "No")),
        ([None], "text", None, (None,)),
        ([1, "one"], "text", None, ("1", "one")),
    ],
)
def test_a_column_is_read_as_what_all_its_values_are(cells, kind, unit, values) -> None:
    column = read_column([{"c": cell} for cell in cells], name="c")
    assert (column.kind, column.unit) == (kind, unit)
    assert values is None or column.values == values


@pytest.mark.parametrize(
    ("name", "title"),
    [
        ("total_revenue", "Total revenue"),
        ("customerId", "Customer ID"),
        ("order id", "order id"),
        ("GDP_per_head", "GDP per head"),
        ("_", "_"),
    ],
)
def test_a_column_is_called_by_words(name: str, title: str) -> None:
    assert humanize_name(name) == title


REFUSED = [
    ({"x": "customer"}, "x names the column 'customer'"),
    ({"y": "customer_name", "x": "customer_name"}, "not numbers; use one of 'total_revenue'"),
    ({"color": "region"}, "color names the column 'region'"),
    ({"kind": "scatter"}, "has text; use kind 'bar'"),
    ({"kind": "heatmap", "y": "customer_name"}, "A heatmap needs a column of numbers as color"),
]


@pytest.mark.parametrize(("change", "sentence"), REFUSED)
def test_what_cannot_be_drawn_is_refused_with_a_remedy(draw, change: dict, sentence: str) -> None:
    call = {"rows": CUSTOMERS, "kind": "bar", "x": "customer_name", "y": "total_revenue"} | change
    if change.get("kind") == "heatmap":
        call["rows"] = [{"customer_name": "a"}]
    with pytest.raises(ToolFailure, match=re.escape(sentence)):
        draw.invoke(call)


@pytest.mark.parametrize("value", [-1, 0])
def test_a_pie_refuses_what_has_no_share(draw, value: int) -> None:
    with pytest.raises(ToolFailure, match="use kind 'bar'"):
        draw.invoke({"rows": [{"c": "a", "n": value}], "kind": "pie", "x": "c", "y": "n"})


def test_arguments_are_bounded() -> None:
    with pytest.raises(ValidationError):
        DrawChartArgs(rows=[], kind="bar", x="", y="b")
    with pytest.raises(ValidationError):
        DrawChartArgs(rows=[], kind="bubble", x="a", y="b")


SCHEMA = {
    "type": "array",
    "items": {
        "type": "object",
        "properties": {
            "customer_name": {"type": "string"},
            "Total_Revenue": {"type": ["number", "null"]},
            "orders": {"anyOf": [{"type": "integer"}, {"type": "null"}]},
            "first_order": {"type": "string", "format": "date"},
            "anything": {},
        },
    },
}


@pytest.mark.parametrize(
    ("args", "problem"),
    [
        ({"x": "segment", "y": "orders"}, "x names the column 'segment', which rows will not have; use one of"),
        ({"x": "orders", "y": "orders"}, "x and y both name the column 'orders'"),
        ({"x": "first_order", "y": "customer_name"}, "use one of 'Total_Revenue', 'orders'"),
        ({"kind": "heatmap", "x": "orders", "y": "first_order", "color": "customer_name"}, "a column of numbers"),
    ],
)
def test_columns_are_checked_before_the_rows_are_there(draw, args: dict, problem: str) -> None:
    found = draw.preflight({"kind": "bar"} | args, {"rows": SCHEMA})
    assert [problem in sentence for sentence in found.problems] == [True]


def test_one_obvious_column_is_put_in_place(draw) -> None:
    found = draw.preflight({"kind": "bar", "x": "CustomerName", "y": "total_revenu"}, {"rows": SCHEMA}, "?")
    assert found.problems == ()
    assert found.args == {"kind": "bar", "x": "customer_name", "y": "Total_Revenue"}


def test_a_callers_chart_is_not_changed(draw) -> None:
    found = draw.preflight({"kind": "bar", "x": "CustomerName", "y": "orders"}, {"rows": SCHEMA})
    assert (found.args, found.problems) == (None, ("x names 'CustomerName'; use 'customer_name'.",))


@pytest.mark.parametrize(
    "args",
    [
        {"kind": "bar", "x": "customer_name", "y": "orders"},
        {"kind": "horizontal_bar", "x": "orders", "y": "customer_name"},
        {"kind": "line", "x": "first_order", "y": "anything"},
        {"kind": "bar", "x": "customer_name"},
        {"kind": "heatmap", "x": "customer_name", "y": "first_order"},
    ],
)
def test_what_may_be_right_is_let_through(draw, args: dict) -> None:
    found = draw.preflight(args, {"rows": SCHEMA})
    assert (found.problems, found.args) == ((), None)


def test_nothing_is_said_of_rows_of_which_nothing_is_known(draw) -> None:
    assert draw.preflight({"kind": "bar", "x": "a", "y": "b"}, {"rows": {"type": "array"}}).problems == ()
    assert draw.preflight({"kind": "bar", "x": "a", "y": "b"}, {}).problems == ()


def test_rows_in_the_plan_are_checked_as_they_will_be_drawn(draw) -> None:
    rows = [{"c": "a", "n": -1}]
    found = draw.preflight({"rows": rows, "kind": "pie", "x": "c", "y": "n"}, {})
    assert "cannot show negative values" in found.problems[0]
