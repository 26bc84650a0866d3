"""Which value, name or spelling was meant."""

import pytest

from agent.tools.sql_repair.literals import find_nearest_value
from agent.tools.sql_repair.name_matching import is_one_typo_apart, match_name


@pytest.mark.parametrize(
    ("text", "values", "right"),
    [
        ("corporate", ("Consumer", "Corporate"), "Corporate"),
        ("Corporate", ("Consumer", "Corporate"), None),
        ("Public-sector", ("Public Sector",), "Public Sector"),
        ("Garden and Terrace", ("Garden & Terrace", "Desks"), "Garden & Terrace"),
        ("malmo", ("Malmö", "Oslo"), "Malmö"),
        ("Desk", ("Desks", "Storage"), "Desks"),
        ("Coporate", ("Corporate",), "Corporate"),
        ("Australia", ("Austria", "Germany"), None),
        ("Iran", ("Iraq",), None),
        ("2023-05", ("2023-04", "2023-06"), None),
        ("Store 1", ("Store 2", "Store 3"), None),
        ("ana", ("Ana", "ANA"), None),
    ],
)
def test_the_nearest_value(text, values, right):
    assert find_nearest_value(text, values) == right


@pytest.mark.parametrize(
    ("wrong", "names", "of", "right"),
    [
        ("customer", ["customer_id", "customer_name", "city"], "", "customer_name"),
        ("id", ["product_id", "category_id"], "products", "product_id"),
        ("name", ["product_name", "category_name"], "categories", "category_name"),
        ("name", ["product_name", "category_name"], "", None),
        ("OrderLines", ["orders", "order_lines"], "", "order_lines"),
        ("category", ["categories", "products"], "", "categories"),
        ("revenu", ["revenue", "refund"], "", "revenue"),
        ("amount", ["revenue", "refund"], "", None),
        ("order_date", ["order_data", "order_dates"], "", "order_dates"),
    ],
)
def test_the_name_that_was_meant(wrong, names, of, right):
    assert match_name(wrong, names, of=of) == right


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        ("title", "titel", True),
        ("title", "titles", True),
        ("title", "tile", False),
        ("titles", "title", True),
        ("revenue", "avenue", False),
        ("year2023", "year2024", False),
        ("price", "prise", True),
        ("price", "prose", False),
    ],
)
def test_one_slip_of_the_pen(left, right, same):
    assert is_one_typo_apart(left, right) is same
    assert is_one_typo_apart(right, left) is same
