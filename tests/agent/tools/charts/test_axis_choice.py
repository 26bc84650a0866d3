"""Kind and axes of a chart by rule: from the columns of its rows and the words of the goal."""

import pytest

from agent.tools.charts.axis_choice import choose_axes

TEXT, NUMBER = {"type": ["string", "null"]}, {"type": ["number", "null"]}
DATE = {"type": ["string", "null"], "format": "date"}


@pytest.mark.parametrize(
    ("columns", "goal", "chosen"),
    [
        ({"country": TEXT, "revenue": NUMBER}, "Draw it", ("bar", "country", "revenue", None)),
        ({"revenue": NUMBER, "country": TEXT}, "Draw it", ("bar", "country", "revenue", None)),
        ({"country": TEXT, "revenue": NUMBER}, "a pie chart", ("pie", "country", "revenue", None)),
        ({"customer_id": NUMBER, "name": TEXT, "total": NUMBER}, "Plot", ("bar", "name", "total", None)),
        ({"customer_code": TEXT, "name": TEXT, "total": NUMBER}, "Plot", ("bar", "name", "total", None)),
        ({"sold_on": DATE, "n": NUMBER}, "Plot", ("line", "sold_on", "n", None)),
        ({"order_year": NUMBER, "orders": NUMBER}, "Plot", ("line", "order_year", "orders", None)),
        ({"year": NUMBER, "orders": NUMBER}, "a bar chart", ("bar", "year", "orders", None)),
        ({"member": TEXT, "days": NUMBER}, "Plot", ("bar", "member", "days", None)),
        ({"customer": TEXT, "product": TEXT, "n": NUMBER}, "Plot", ("grouped_bar", "customer", "product", "n")),
        ({"month": TEXT, "shop": TEXT, "n": NUMBER}, "Plot", ("line", "month", "shop", "n")),
        ({"country": TEXT, "revenue": NUMBER, "profit": NUMBER}, "Plot profit", ("bar", "country", "profit", None)),
        ({"price": NUMBER, "weight": NUMBER}, "a scatter plot", ("scatter", "price", "weight", None)),
    ],
)
def test_the_columns_decide(columns, goal, chosen):
    kind, x, *rest = chosen
    y, color = (rest[1], rest[0]) if rest[1] is not None else (rest[0], None)
    assert choose_axes(columns, goal=goal) == {"kind": kind, "x": x, "y": y, **({"color": color} if color else {})}


@pytest.mark.parametrize(
    ("columns", "goal"),
    [
        ({"country": TEXT, "revenue": NUMBER, "profit": NUMBER}, "Plot"),
        ({"country": TEXT, "revenue": NUMBER, "profit": NUMBER}, "Plot revenue and profit"),
        ({"a": TEXT, "b": TEXT, "c": TEXT, "n": NUMBER}, "Plot"),
        ({"country": TEXT}, "Plot"),
        ({"n": NUMBER}, "Plot"),
        ({"country": TEXT, "anything": {}}, "Plot"),
        ({"country": TEXT, "n": NUMBER}, "a histogram"),
        ({"a": TEXT, "b": TEXT, "n": NUMBER}, "a heatmap"),
        ({"a": TEXT, "b": TEXT, "n": NUMBER}, "a pie chart"),
    ],
)
def test_what_they_do_not_decide_is_left_to_the_model(columns, goal):
    assert choose_axes(columns, goal=goal) is None
