"""Charts draw what the data says: what names things, what may be added up, and what the reader is told."""

import json
import re
from pathlib import Path

import pytest

from agent.errors import ToolFailure
from agent.settings import Settings
from agent.tools.charts import fonts, html_page
from agent.tools.charts.data.columns import format_as_text, read_column
from agent.tools.charts.data.labels import shorten_labels
from agent.tools.charts.distributions import find_bin_edges
from agent.tools.charts.draw_chart import chart_tools
from agent.tools.charts.vega_spec import ChartRequest, build_vega_spec
from graphs.plan_execute import build_graph


@pytest.fixture
def draw(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Draw by the tool; return its warnings, the rows of the marks and the text of the picture."""
    # The SVG is what the tests read; the PNG would take most of the time.
    monkeypatch.setattr(html_page.vl_convert, "vegalite_to_png", lambda *_, **__: b"")
    (tool,) = chart_tools(tmp_path / "out")

    def call(rows: list[dict], kind: str, x: str, y: str, **others: object) -> tuple[list[str], list[dict], str]:
        out = tool.invoke({"rows": rows, "kind": kind, "x": x, "y": y, **others})
        page = Path(out["html"]).read_text()
        spec = json.loads(re.search(r'<script id="spec" type="application/json">(.*?)</script>', page, re.DOTALL)[1])
        datasets = [spec.get("data", {}).get("values"), *spec.get("datasets", {}).values()]
        datasets += [layer.get("data", {}).get("values") for layer in spec.get("layer", [])]
        marks = next(rows for rows in datasets if rows and {"x", "start"} & set(rows[0]))
        svg = Path(out["svg"]).read_text()
        return out.get("warnings", []), marks, " ".join(re.findall(r"<(?:text|tspan)[^>]*>([^<]*)", svg))

    return call


def column_of(*cells: object, name: str = "c", role: str = "label"):
    return read_column([{name: cell} for cell in cells], name=name, role=role)


CODES = {
    "postcodes": ("plz", ["01067", "10115"]),
    "stores": ("store", ["0012", "0034"]),
    "accounts": ("account", ["000123", "000124"]),
    "days as SKUs": ("sku", ["20240105", "20240106"]),
    "years as SKUs": ("sku", ["2023", "2024"]),
    "shops of four digits": ("shop", ["1234", "2001"]),
    "months as batches": ("batch_code", ["2024-01", "2024-02"]),
    "cards": ("card", ["4111111111111111", "4111111111111112"]),
    "telephones": ("contact", ["+4915112345678", "+4915112345679"]),
    "versions": ("version", ["1.9", "1.10"]),
    "numbered": ("Kundennummer", ["4711", "4712"]),
    "zips in JSON": ("zip_code", [10115, 80331]),
    "orders in JSON": ("orderId", [9007199254740993, 9007199254740994]),
}


@pytest.mark.parametrize("kind", ["bar", "horizontal_bar", "line", "pie", "heatmap", "box", "percent_stacked_bar"])
@pytest.mark.parametrize("case", CODES)
def test_codes_are_names_on_any_axis(case: str, kind: str) -> None:
    name, codes = CODES[case]
    rows = [{name: code, "g": "g", "n": n} for n, code in enumerate(codes, 1)]
    others: dict = {"heatmap": {"y": "g", "color": "n"}, "percent_stacked_bar": {"color": "g"}}.get(kind, {})
    spec = build_vega_spec(rows, brief=ChartRequest(**{"kind": kind, "x": name, "y": "n"} | others)).spec
    drawn = re.findall(r'"x": ("(?:[^"]*)"|[\d.]+)', json.dumps(spec))
    assert set(drawn) == {json.dumps(str(code)) for code in codes}


@pytest.mark.parametrize("case", CODES)
def test_codes_are_names_in_legends_too(draw, case: str) -> None:
    name, codes = CODES[case]
    rows = [{"m": month, name: code, "n": 2} for month in "ab" for code in codes]
    _, marks, text = draw(rows, "grouped_bar", "m", "n", color=name)
    assert {row["series"] for row in marks if "series" in row} == {str(code) for code in codes}
    assert all(str(code) in text for code in codes)


def test_codes_are_no_height(draw) -> None:
    rows = [{"account": "000123", "balance": "1,234.50"}, {"account": "000124", "balance": "987.00"}]
    warnings, marks, _ = draw(rows, "bar", "account", "balance")
    assert [(row["x"], row["y"]) for row in marks] == [("000123", 1234.5), ("000124", 987)]
    assert warnings == []
    swapped, marks, _ = draw(rows, "bar", "balance", "account")
    assert [(row["x"], row["y"]) for row in marks] == [("000123", 1234.5), ("000124", 987)]
    assert swapped == ["x and y are exchanged: Balance has the numbers, Account has none."]
    with pytest.raises(ToolFailure, match="has text values, not numbers; rows have no column of numbers"):
        draw([{"plz": "01067", "c": "a"}], "bar", "c", "plz")
    ids = [{"c": "a", "customer_id": 4711, "sales": 3.5}]
    with pytest.raises(ToolFailure, match="identifiers, not amounts; use one of 'sales'"):
        draw(ids, "bar", "c", "customer_id")
    with pytest.raises(ToolFailure, match="has text values, not numbers; rows have no column of numbers"):
        draw([{"c": "a", "year": 2024}], "bar", "year", "c")
    with pytest.raises(ToolFailure, match="'order_id', which has identifiers, not amounts"):
        draw([{"order_id": 1}], "histogram", "order_id", "order_id")
    with pytest.raises(ToolFailure, match="'zip' has identifiers; use kind 'bar'"):
        draw([{"zip": "01067", "n": 1}], "scatter", "zip", "n")


def test_a_count_called_like_an_identifier_is_drawn_with_a_word(draw) -> None:
    warnings, marks, _ = draw([{"c": "a", "order_id": 12}, {"c": "b", "order_id": 7}], "bar", "c", "order_id")
    assert [row["y"] for row in marks] == [12, 7]
    assert warnings == ["Order ID is named like an identifier, and is drawn as an amount."]


@pytest.mark.parametrize(
    "name", ["number_of_ids", "distinct sku", "n_accounts", "week_number", "phones", "valid", "no"]
)
def test_counts_are_not_taken_for_codes(name: str) -> None:
    assert not column_of(3, 5, name=name, role="number").is_identifier


@pytest.mark.parametrize(
    ("name", "cells", "labels"),
    [
        ("month", ["2024-01"], ["Jan 2024"]),
        ("month", ["2023-01", "2024-01"], ["Jan 2023", "Jan 2024"]),
        ("order_month", ["2024-01-01"], ["Jan 2024"]),
        ("month", ["2023-01-01T00:00:00", "2024-01-01T00:00:00"], ["Jan 2023", "Jan 2024"]),
        ("order_date", ["2024-01-01"], ["1 Jan 2024"]),
        ("day", ["2024-01-01", "2024-02-01"], ["1 Jan 2024", "1 Feb 2024"]),
        ("year", ["2024"], ["2024"]),
        ("year", ["2024-01-01"], ["2024"]),
        ("quarter", ["2024-01-01", "2024-04-01"], ["Q1 2024", "Q2 2024"]),
        ("c", ["2024-Q1", "Q2 2024"], ["Q1 2024", "Q2 2024"]),
        ("at", ["2024-03-30T23:30:00+01:00"], ["30 Mar 2024 23:30"]),
        ("at", ["2024-03-30T00:00:00+01:00", "2024-03-31T00:00:00+01:00"], ["30 Mar 2024", "31 Mar 2024"]),
        (
            "at",
            ["2024-03-30T10:00:00.25", "2024-03-30T10:00:00.5"],
            ["30 Mar 2024 10:00:00.25", "30 Mar 2024 10:00:00.5"],
        ),
    ],
)
def test_a_point_in_time_is_called_by_its_unit(name: str, cells: list[str], labels: list[str]) -> None:
    assert list(format_as_text(column_of(*cells, name=name)).values) == labels


@pytest.mark.parametrize(
    ("cells", "days"),
    [
        (["01.02.2024", "02.01.2024", "15.01.2024"], ["2024-01-02", "2024-01-15", "2024-02-01"]),
        (["1/2/2024", "13/1/2024"], ["2024-01-13", "2024-02-01"]),
        (["01/02/2024", "01/13/2024"], ["2024-01-02", "2024-01-13"]),
    ],
)
def test_dates_of_a_country_run_along_a_line_in_time(draw, cells: list[str], days: list[str]) -> None:
    warnings, marks, _ = draw([{"d": cell, "v": number} for number, cell in enumerate(cells)], "line", "d", "v")
    assert warnings == []
    assert [mark["x"][:10] for mark in marks] == days


def test_dates_whose_order_does_not_show_are_said_to_be_in_the_order_of_the_rows(draw) -> None:
    warnings, marks, _ = draw([{"d": "01/02/2024", "v": 1}, {"d": "02/01/2024", "v": 2}], "line", "d", "v")
    said = "D has dates of which day and month cannot be told (01/02/2024): drawn in the order of the rows."
    assert (warnings, [mark["x"] for mark in marks]) == ([said], ["01/02/2024", "02/01/2024"])


def test_a_small_number_is_not_written_as_zero(tmp_path: Path) -> None:
    (tool,) = chart_tools(tmp_path / "out")
    rows = [{"g": "a", "v": 0.00000125}, {"g": "b", "v": 1234.5}]
    out = tool.invoke({"rows": rows, "kind": "bar", "x": "g", "y": "v"})
    drawing = Path(out["svg"]).read_text()
    assert "V: 0.00000125" in drawing
    assert "V: 1,234.5" in drawing


def test_a_gap_in_weeks_is_counted_in_weeks(draw) -> None:
    warnings, _, _ = draw([{"week": week, "v": week} for week in (1, 2, 3, 5, 8, 9)], "line", "week", "v")
    assert warnings == ["No rows for 3 of 9 weeks, shown as gaps: 4, 6 to 7."]


def test_clock_times_stay_as_they_are_written_and_it_is_said(draw) -> None:
    rows = [{"at": "2024-03-30T00:00:00+01:00", "n": 1}, {"at": "2024-04-01T00:00:00+02:00", "n": 2}]
    warnings, _, text = draw(rows, "bar", "at", "n")
    assert "30 Mar 2024" in text
    assert "At: drawn at the clock time of the data (UTC+01:00 and UTC+02:00)." in warnings
    clocks = ["2024-10-27T01:00:00+02:00", "2024-10-27T02:00:00+02:00", "2024-10-27T02:00:00+01:00"]
    warnings, marks, _ = draw([{"at": at, "avg": n} for n, at in enumerate(clocks, 1)], "line", "at", "avg")
    assert [row["y"] for row in marks] == [1, 2, 3]
    assert warnings == ["At: drawn at UTC+01:00 throughout, without summer time."]
    far = [{"at": "2024-03-30T00:00:00+01:00", "n": 1}, {"at": "2024-03-30T09:00:00+09:00", "n": 2}]
    warnings, marks, _ = draw(far, "bar", "at", "n")
    assert any("all are drawn in UTC" in warning for warning in warnings)
    assert [row["x"] for row in marks] == ["29 Mar 2024 23:00", "30 Mar 2024 00:00"]


DAYS = [{"day": f"2024-01-{day:02d}", "n": day} for day in range(1, 32) if day not in {4, 9, 10}]


@pytest.mark.parametrize("kind", ["line", "area"])
def test_a_line_breaks_where_days_are_missing(draw, kind: str) -> None:
    warnings, marks, _ = draw(DAYS, kind, "day", "n")
    assert [row["x"][8:10] for row in marks if row["y"] is None] == ["04", "09", "10"]
    assert warnings == ["No rows for 3 of 31 days, shown as gaps: 4 Jan 2024, 9 Jan 2024 to 10 Jan 2024."]


def test_a_point_between_two_gaps_is_still_drawn(draw) -> None:
    rows = [{"day": f"2024-{month:02d}-{day:02d}", "n": day} for month in (1, 2) for day in range(1, 29)]
    alone = [row for row in rows if row["day"] not in {"2024-01-10", "2024-01-12"}]
    _, marks, _ = draw(alone, "line", "day", "n")
    assert [row["x"][:10] for row in marks if row["lone"]] == ["2024-01-11"]


def test_gaps_of_other_steps(draw) -> None:
    months = [{"m": f"2024-{month:02d}", "n": month} for month in (1, 2, 4, 5)]
    warnings, marks, text = draw(months, "bar", "m", "n")
    assert [(row["x"], row["y"]) for row in marks][2] == ("Mar 2024", None)
    assert "no data" in text
    assert warnings == ["No rows for 1 of 5 months, shown as gaps: Mar 2024."]
    numbered = [{"month": month, "n": month} for month in (1, 2, 4, 5)]
    assert draw(numbered, "line", "month", "n")[0] == ["No rows for 1 of 5 months, shown as gaps: 3."]
    years = [{"year": year, "n": 1} for year in (2019, 2020, 2022)]
    assert "2021" in draw(years, "line", "year", "n")[0][0]
    warnings, marks, _ = draw(months, "bar", "m", "n", sort="descending")
    assert [row["y"] for row in marks] == [5, 4, 2, 1]
    assert warnings == ["No rows for 1 of 5 months: Mar 2024."]
    working = [{"d": f"2024-01-{day:02d}", "n": day} for day in (1, 2, 3, 4, 5, 8, 9, 10, 11, 12)]
    assert draw(working, "line", "d", "n")[0] == []
    irregular = [{"d": day, "n": 1} for day in ("2024-01-01", "2024-01-09", "2024-03-02", "2024-03-05")]
    assert draw(irregular, "line", "d", "n")[0] == []


def test_a_gap_in_one_series_is_a_gap(draw) -> None:
    rows = [
        {"m": f"2024-{month:02d}", "r": region, "n": month}
        for month in range(1, 7)
        for region in ("North", "South")
        if (month, region) != (3, "South")
    ]
    warnings, marks, _ = draw(rows, "line", "m", "n")
    assert [(row["x"][:7], row["series"]) for row in marks if row["y"] is None] == [("2024-03", "South")]
    assert warnings == ["Gaps in South: no row where others have one."]


@pytest.mark.parametrize(
    "name",
    [
        *("Avg price", "avg_price", "AVG(price)", "unit_price", "conversion_rate", "share_pct", "max_temperature"),
        *("min_price", "distinct_customers", "unique_users", "median_age", "avgOrderValue", "p95_latency"),
        *("discount %", "Durchschnitt"),
    ],
)
def test_what_has_no_sum_is_never_summed(draw, name: str) -> None:
    rows = [{"c": "a", name: 1.5}, {"c": "a", name: 2.5}, {"c": "b", name: 4.5}]
    with pytest.raises(ToolFailure, match=r"must not be added up; return one row for each 'c' .* or use kind 'box'"):
        draw(rows, "bar", "c", name)
    same = [{"c": "a", name: 1.5}, {"c": "a", name: 1.5}, {"c": "b", name: 4.5}]
    warnings, marks, _ = draw(same, "bar", "c", name)
    assert [row["y"] for row in marks] == [1.5, 4.5]
    assert "which is drawn once" in warnings[0]
    apart = [{"c": "a", "year": 2023, name: 1.5}, {"c": "a", "year": 2024, name: 2.5}]
    assert [row["y"] for row in draw(apart, "bar", "c", name)[1]] == [1.5, 2.5]


@pytest.mark.parametrize("name", ["total_price", "revenue", "delay_min", "orders", "sum_of_amounts", "minutes"])
def test_what_has_a_sum_is_summed(draw, name: str) -> None:
    warnings, marks, _ = draw([{"c": "a", name: 1.5}, {"c": "a", name: 2.5}], "bar", "c", name)
    assert marks[0]["y"] == 4
    assert "is summed where several rows have the same c" in warnings[0]


def test_a_heatmap_does_not_hide_cells_behind_each_other(draw) -> None:
    rows = [{"a": "x", "b": "y", "n": 1}, {"a": "x", "b": "y", "n": 2}]
    warnings, marks, _ = draw(rows, "heatmap", "a", "b", color="n")
    assert [row["value"] for row in marks] == [3]
    assert "N is summed" in warnings[0]
    with pytest.raises(ToolFailure, match="must not be added up"):
        draw([{"a": "x", "b": "y", "avg": n} for n in (1, 2)], "heatmap", "a", "b", color="avg")


def test_averages_are_not_folded_into_one(draw) -> None:
    rows = [{"c": f"c{n}", "avg_price": n + 1} for n in range(12)]
    with pytest.raises(ToolFailure, match="use kind 'bar'"):
        draw(rows, "pie", "c", "avg_price")
    lines = [{"m": m, "c": f"c{n}", "avg_price": n} for m in range(3) for n in range(12)]
    assert draw(lines, "area", "m", "avg_price", color="c")[0] == []
    stack = [{"m": m, "c": c, "avg_price": 2} for m in "ab" for c in "xy"]
    assert "height of a whole stack means nothing" in draw(stack, "stacked_bar", "m", "avg_price", color="c")[0][0]


@pytest.mark.parametrize(
    ("name", "values", "drawn", "said"),
    [
        ("conversion_rate", [0.453, 0.1], [45.3, 10], "Conversion rate is read as a fraction: 0.453 is 45.3%."),
        ("conversion_rate", [45.3, 10], [45.3, 10], None),
        ("share", [0.5, 0.3, 0.2], [50, 30, 20], None),
        ("discount_pct", [0.5, 0.25], [0.5, 0.25], "Discount pct is read as percent: 0.5 is 0.5%."),
        ("growth", [0.05, 0.12, 1.3], [5, 12, 130], "Growth is read as a fraction: 0.05 is 5%."),
        ("value", [0.4, 0.9, 1.8], [0.4, 0.9, 1.8], "Value is read as percent: 0.4 is 0.4%."),
        ("share", ["45.3%", "0.5%"], [45.3, 0.5], None),
        ("rate", [1, 0], [1, 0], "Rate is read as percent: 1 is 1%."),
        ("rate", [-0.02, 0.01], [-2, 1], "Rate is read as a fraction: -0.02 is -2%."),
    ],
)
def test_percent(draw, name: str, values: list, drawn: list, said: str | None) -> None:
    rows = [{"c": f"c{n}", name: value} for n, value in enumerate(values)]
    warnings, marks, text = draw(rows, "bar", "c", name, unit="%")
    assert [row["y"] for row in marks] == drawn
    assert any(warning.startswith(said) for warning in warnings) if said else warnings == []
    assert f"{abs(drawn[0]):g}" in text
    assert "%" in text


@pytest.mark.parametrize(
    ("texts", "values", "unit"),
    [
        (["1,234.50", "7"], (1234.5, 7), None),
        (["$1,234.50", "$7"], (1234.5, 7), "USD"),
        (["1.234,50 €", "7,00 €"], (1234.5, 7), "EUR"),
        (["(12.5)", "\u22123"], (-12.5, -3), None),
        (["1 234,5", "2"], (1234.5, 2), None),
        (["1'234", "2"], (1234, 2), None),
        (["12,34,567", "1"], (1234567, 1), None),
        (["1e3", "n/a"], (1000, None), None),
    ],
)
def test_numbers_written_as_text(texts: list[str], values: tuple, unit: str | None) -> None:
    column = column_of(*texts, name="v", role="number")
    assert (column.values, column.symbol) == (values, unit)


def test_doubtful_numbers_are_said_or_refused(draw) -> None:
    assert "thousands: 1,234 is 1234" in draw([{"c": "a", "v": "1,234"}], "bar", "c", "v")[0][0]
    assert "decimal point: 1.234 is not 1234" in draw([{"c": "a", "v": "1.234"}], "bar", "c", "v")[0][0]
    assert "decimal comma: 1,5 is 1.5" in draw([{"c": "a", "v": "1,5"}], "bar", "c", "v")[0][0]
    for texts, sentence in (
        (["5 kg", "6"], "Its value '5 kg' is not a number."),
        (["$5", "€6"], "Its values have several units: EUR, USD."),
        (["1,5", "2.5"], "is not written like the other numbers"),
    ):
        with pytest.raises(ToolFailure, match=re.escape(sentence)):
            draw([{"c": "ab"[n], "v": text} for n, text in enumerate(texts)], "bar", "c", "v")


def test_currencies_are_not_added_up(draw) -> None:
    rows = [{"c": "a", "currency": "EUR", "n": 1}, {"c": "b", "currency": "USD", "n": 2}]
    assert draw(rows, "bar", "c", "n")[0] == ["N is in several units (EUR, USD) that share one axis."]
    with pytest.raises(ToolFailure, match="no whole to be parts of"):
        draw(rows, "pie", "c", "n")
    several = [{"c": "a", "currency": currency, "n": 1} for currency in ("EUR", "EUR", "USD")]
    with pytest.raises(ToolFailure, match=r"several units \(EUR, USD\), which cannot be added up"):
        draw(several, "bar", "c", "n")
    assert draw(rows, "grouped_bar", "c", "n", color="currency")[0] == []


@pytest.mark.parametrize("kind", ["bar", "line", "heatmap", "scatter"])
def test_an_outlier_is_said(draw, kind: str) -> None:
    rows = [{"c": n, "d": "d", "n": 100 + n} for n in range(9)] + [{"c": 9, "d": "d", "n": 90_000}]
    others = {"y": "d", "color": "n"} if kind == "heatmap" else {"y": "n"}
    warnings, _, _ = draw(rows, kind, "c", **others)
    assert warnings[0].startswith("Outlier: 9")
    assert "90,000" in warnings[0]
    assert draw(rows[:9], kind, "c", **others)[0] == []


def test_what_is_left_out_is_said_with_how_many_and_how_much(draw) -> None:
    pie = [{"c": f"c{n}", "n": 2**n} for n in range(12)] + [{"c": "zero", "n": 0}]
    warnings, _, _ = draw(pie, "pie", "c", "n")
    assert warnings == [
        "Without a slice, because zero or missing: zero.",
        "Other adds up the 5 smallest: 31 of 4,095 (0.8%).",
    ]
    dates = [{"d": "2024-01-01", "n": 1}, {"d": None, "n": 3}, {"d": "2024-01-02", "n": None}]
    assert draw(dates, "line", "d", "n")[0] == [
        "1 of 3 rows without D are left out: 3 of 4 (75.0%).",
        "1 of 2 has no value of N.",
    ]
    areas = [{"m": m, "s": f"s{s}", "n": s} for m in range(4) for s in range(30)]
    assert draw(areas, "area", "m", "n", color="s")[0] == ["Other adds up the 23 smallest: 1,012 of 1,740 (58.2%)."]


def test_negative_values_are_not_stacked_in_silence(draw) -> None:
    rows = [{"m": m, "s": s, "n": n} for m in "ab" for s, n in (("x", 3), ("y", -2))]
    assert "stacked below zero" in draw(rows, "stacked_bar", "m", "n", color="s")[0][0]
    for kind in ("percent_stacked_bar", "area"):
        with pytest.raises(ToolFailure, match="negative values of 'n'; use kind"):
            draw(rows, kind, "m", "n", color="s")


def test_what_is_known_of_the_rows_is_said_with_the_rest() -> None:
    cut = "The result of 'lines' is cut off after 2 rows."
    for rows in ([], [{"c": "a", "n": None}], [{"c": "a", "n": 1}, {"c": "a", "n": 2}]):
        chart = build_vega_spec(rows, brief=ChartRequest(kind="bar", x="c", y="n", notes=(cut,)))
        assert chart.warnings[-1] == cut
        assert "is cut off after 2 rows." in " ".join(chart.spec["title"]["subtitle"])


def test_no_two_names_become_equal(draw) -> None:
    long = [f"Nordwind Handelsgesellschaft mbH & Co. KG {middle} Filiale Mitte" for middle in ("Ost", "West")]
    rows = [{"c": name, "n": n} for n, name in enumerate([*long, "A", "A ", "", None, "a\nb", "a b"], 1)]
    for kind in ("bar", "line", "pie"):
        _, marks, _ = draw(rows, kind, "c", "n")
        assert len({row["x"] for row in marks}) == len(rows)
        assert sum(row["y"] for row in marks) == 36
    names = [f"{'x' * 50}{n}{'y' * 50}" for n in range(30)]
    labels = shorten_labels(names, limit=40)
    assert len(set(labels.values())) == 30
    assert max(map(len, labels.values())) <= 46


def test_whole_names_stay_in_the_tooltips(draw) -> None:
    name = "A product with a name that is far too long for the space beside its bar"
    _, marks, _ = draw([{"c": name, "n": 1}], "bar", "c", "n")
    assert marks[0]["x"] != name
    assert marks[0]["x_full"] == name


def test_line_separators_and_controls_are_drawn_as_spaces(draw) -> None:
    _, _, text = draw(
        [{"c": "a\u2028b\x00c\ud800", "n": 1}], "bar", "c", "n", title="x\u2028y", x_title="p\u2029q", unit="k\u2028g"
    )
    assert "a b c" in text
    assert "x y" in text


def test_scripts_without_a_font_are_said(draw, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = [{"c": "\U000f0000 private", "n": 1}]
    # A private character, which no font has: the renderer itself is asked.
    assert "so the PNG shows boxes" in draw(rows, "bar", "c", "n")[0][0]
    assert draw([{"c": "Zürich Ωмега", "n": 1}], "bar", "c", "n")[0] == []
    monkeypatch.setattr(fonts, "_has_glyph", lambda letter: letter != "東")
    assert "the Chinese characters (1 different)" in draw([{"c": "東京", "n": 1}], "bar", "c", "n")[0][0]


def test_histograms_count_every_row_once(draw) -> None:
    values = [n * n % 97 + n / 7 for n in range(400)]
    _, marks, text = draw([{"v": value} for value in values], "histogram", "v", "v")
    assert sum(row["count"] for row in marks) == len(values)
    for row in marks:
        assert row["count"] == sum(row["start"] <= value < row["end"] for value in values)
    assert "Distribution of V" in text
    _, marks, _ = draw([{"v": n % 6} for n in range(60)], "histogram", "v", "count")
    assert [(row["range"], row["count"]) for row in marks] == [(str(n), 10) for n in range(6)]
    far = [{"v": n / 10} for n in range(50)] + [{"v": 1e6}]
    assert draw(far, "histogram", "v", "v")[0][0].startswith("50 of 51 values are in one range (0 to under")
    warnings, marks, _ = draw([{"v": 1}, {"v": None}, {"v": 2}], "histogram", "v", "v")
    assert warnings == ["1 of 3 rows without a value are left out."]


@pytest.mark.parametrize("values", [[5.0], [1.5] * 9, [0.1, 1e9], [1.0] * 50 + [2.5], [-3.0, 4.0], [1e-9, 2e-9]])
def test_bins_hold_all_values(values: list[float]) -> None:
    edges = find_bin_edges(values)
    assert edges[0] <= min(values)
    assert max(values) < edges[-1]
    assert 2 <= len(edges) <= 45


def test_boxes(draw) -> None:
    rows = [{"g": group, "v": n} for group in "ab" for n in (1, 2, 3, 4, 5, 40)] + [{"g": "c", "v": 3}]
    warnings, marks, text = draw(rows, "box", "g", "v", sort="descending")
    assert len(marks) == len(rows)
    assert "Fewer than 5 values are no distribution: c (1)." in warnings
    assert "median" in text
    one = draw([{"v": n} for n in range(9)], "box", "v", "v")
    assert {row["x"] for row in one[1]} == {"V"}
    assert "Distribution of V" in one[2]


def test_a_full_stack_shows_shares(draw) -> None:
    rows = [{"m": m, "s": s, "n": n} for m in "ab" for s, n in (("x", 30), ("y", 10))]
    _, marks, text = draw(rows, "percent_stacked_bar", "m", "n", color="s")
    assert [row["share"] for row in marks] == [0.75, 0.25, 0.75, 0.25]
    assert {"75%", "25%", "100%"} <= set(text.split())


@pytest.mark.parametrize(
    ("sort", "order"),
    [(None, "bca"), ("ascending", "abc"), ("descending", "cba"), ("name", "abc")],
)
def test_bars_are_sorted_as_asked(draw, sort: str | None, order: str) -> None:
    rows = [{"c": c, "n": n} for c, n in (("b", 2), ("c", 3), ("a", 1))]
    assert [row["x"] for row in draw(rows, "bar", "c", "n", sort=sort)[1]] == list(order)
    many = [{"c": f"c{n}", "n": n} for n in range(100)]
    first = draw(many, "bar", "c", "n", sort="descending")[1]
    assert [row["y"] for row in first][:3] == [99, 98, 97]
    assert "c10" in [row["x"] for row in draw(many, "bar", "c", "n", sort="name")[1]][10]


def test_warnings_are_in_the_task_the_answer_and_the_picture(tmp_path: Path) -> None:
    (tool,) = chart_tools(tmp_path)
    args = {"rows": [{"c": "a", "n": 1}] * 2, "kind": "bar", "x": "c", "y": "n"}
    plan = {"tasks": [{"id": "chart", "tool": "draw_chart", "args": args}]}
    graph = build_graph(tools=[tool], settings=Settings(approve="never"))
    state = graph.invoke({"goal": "Draw", "plan": plan}, {"configurable": {"thread_id": "t"}})
    said = "N is summed where several rows have the same c."
    record = state["results"]["chart"]
    assert record["warnings"] == [said]
    assert f"Note: {said}" in state["answer"]
    (svg,) = tmp_path.glob("*.svg")
    assert "N is summed where" in svg.read_text()


def test_names_that_were_put_right_are_said(tmp_path: Path) -> None:
    (tool,) = chart_tools(tmp_path)
    found = tool.preflight({"rows": [{"c": "a", "sales": 1}], "kind": "bar", "x": "c", "y": "sale"}, {}, "Sales")
    assert found.notes == ("y is 'sales', not 'sale'.",)
