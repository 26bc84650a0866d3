"""Which value, name or spelling was meant."""

import pytest

from agent.tools.sql_repair.name_matching import is_one_typo_apart, match_name, normalize_value, to_singular


@pytest.mark.parametrize(
    ("text", "value", "same"),
    [
        ("corporate", "Corporate", True),
        ("PUBLIC_sector", "Public Sector", True),
        ("malmo", "Malmö", True),
        ("Oreilly", "O'Reilly", True),
        ("Acme Inc", "Acme Inc.", True),
        ("Public-sector", "Public Sector", False),
        ("A+", "A-", False),
        ("A+", "A", False),
        ("C#", "C++", False),
        (">18", "<18", False),
        ("10%", "10", False),
        ("1/2", "12", False),
        ("1.5", "15", False),
        ("Desk", "Desks", False),
        ("Iceland", "Ireland", False),
        ("symptomatic", "asymptomatic", False),
    ],
)
def test_a_value_is_the_same_in_another_case_or_with_other_spaces_and_with_no_other_sign(text, value, same):
    assert (normalize_value(text) == normalize_value(value)) is same


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


@pytest.mark.parametrize(
    ("plural", "singular"),
    [
        ("nurses", "nurse"),
        ("houses", "house"),
        ("courses", "course"),
        ("classes", "class"),
        ("statuses", "status"),
        ("boxes", "box"),
        ("branches", "branch"),
        ("cities", "city"),
        ("loans", "loan"),
        ("address", "address"),
    ],
)
def test_a_plural_is_made_singular(plural, singular):
    assert to_singular(plural) == singular
