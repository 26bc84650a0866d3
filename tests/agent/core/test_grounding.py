"""What counts as borne out by data, and what does not: one row per way of writing."""

import pytest

from agent.core.grounding import find_ungrounded

ROWS = [
    {
        "customer_name": "Acme Ltd",
        "total_revenue": 1234567.89,
        "orders": 42,
        "share": 0.1234,
        "first_order": "2023-01-15",
    },
    {
        "customer_name": "Blue Ridge Outfitters",
        "total_revenue": 98765.4,
        "orders": 7,
        "share": -0.05,
        "first_order": "2022-11-02",
    },
    {"customer_name": "O'Neill & Sons", "total_revenue": 1234.5, "orders": 1, "share": 0.5, "first_order": "2023-03"},
]
DATA = {"rows": ROWS, "row_count": 3, "sku": "SKU-0042", "year": 2023}

GROUNDED = [
    "Acme Ltd made 1,234,567.89.",
    "Acme Ltd made 1234567.89.",
    "Acme Ltd made $1,234,568.",
    "Acme Ltd made $1.2 million.",
    "Acme Ltd made 1.23M.",
    "Acme Ltd made about 1,200,000 in all.",
    "Blue Ridge Outfitters made 98.8k.",
    "Blue Ridge Outfitters made 99 thousand euros.",
    "O'Neill & Sons made 1235.",
    "O'Neill & Sons made 1,234.50.",
    "O'Neill\u2019s total is 1 234.5.",
    "The share was 12.3%.",
    "The share was 12 percent.",
    "The share was 0.123.",
    "It fell by 5%.",
    "The change was \u22125%.",
    "The change was -0.05.",
    "Half of it, 50%, came from one.",
    "The first order was on 2023-01-15.",
    "The first order was on 15 January 2023.",
    "The first order was on January 15, 2023.",
    "The first order was on Jan 15th.",
    "The last came in March 2023.",
    "The second came on 2 November 2022.",
    "There are 3 customers.",
    "All 3 of them are listed, and the 3rd has the fewest orders.",
    "1. Acme Ltd\n2. Blue Ridge Outfitters\n3. O'Neill & Sons",
    "10) Acme Ltd\n11) Blue Ridge Outfitters",
    "- **Acme Ltd**: 42 orders\n- **Blue Ridge Outfitters**: 7 orders",
    "# Quarterly Report For Everyone\n\nAcme Ltd leads.",
    "However, it is the largest. Nobody else comes near. Still, watch it.",
    "The customer is ACME LTD.",
    "It is sold as SKU-0042.",
    "Acme's orders were 42; acme ltd leads.",
    "In 2023 it grew.",
    "| Customer name | Orders |\n|---|---|\n| Acme Ltd | 42 |",
    "The best is: Acme Ltd (42 orders).",
    "“The best” is Acme.",
    "I think that on Monday this is in English.",
    "Revenue was USD 1,234.50 in the Customer's words.",
    "",
    "| Total | 3 |",
    "Mr. O'Neill and Ms. Ridge lead.",
    "While Acme leads, Blue Ridge Outfitters follows.",
    "**Key Findings**\n\nNothing else stands out.",
    "It sold well: Nobody complained about it.",
    "Sold most:\n- Acme (42 orders)\n- O'Neill & Sons (1 order)",
]


@pytest.mark.parametrize("text", GROUNDED)
def test_what_the_data_say_in_other_words_is_grounded(text: str) -> None:
    assert find_ungrounded(text, DATA) == []


UNGROUNDED = [
    ("Acme Ltd made 1,234,567.80.", ["1,234,567.80"]),
    ("Acme Ltd made 1.3 million.", ["1.3 million"]),
    ("Blue Ridge Outfitters made 98.7k.", ["98.7k"]),
    ("O'Neill & Sons made 1236.", ["1236"]),
    ("The share was 12.4%.", ["12.4%"]),
    ("The share was 42.5 percent.", ["42.5 percent"]),
    ("There are 4 customers and 3 leaders.", ["4"]),
    ("The first order was on 16 January 2023.", ["16 January 2023"]),
    ("The first order was on 2023-01-16.", ["2023-01-16"]),
    ("The first order was on January 15, 2024.", ["January 15, 2024"]),
    ("In 2021 it grew.", ["2021"]),
    ("The winner is Globex.", ["Globex"]),
    ("It was Acme Ltd, not Initech or Hooli.", ["Initech", "Hooli"]),
    ("It is sold as SKU-0043.", ["SKU-0043"]),
    ("Both grew by 9% and 9%.", ["9%"]),
    ("They came 9th.", ["9th"]),
    ("- Acme Ltd: 43 orders", ["43"]),
    ("1. Acme Ltd: 99 orders", ["99"]),
    ("| Acme Ltd | 41 |", ["41"]),
    ("SKU-0043 sold best.", ["SKU-0043"]),
    ("| Customer | Orders |\n|---|---|\n| Globex | 42 |", ["Globex"]),
    ("- **Globex**: 42 orders", ["Globex"]),
    ("- Globex Holding (42 orders)", ["Globex", "Holding"]),
    ("1. Globex \u2013 $42", ["Globex"]),
    ("The winner: Globex.", ["Globex"]),
    ("While Globex leads, Acme follows.", ["Globex"]),
    ("Blue Ridge Outfitters is in Norway with 8 shops.", ["Norway", "8"]),
]


@pytest.mark.parametrize(("text", "expected"), UNGROUNDED)
def test_what_the_data_do_not_say_is_named_as_written(text: str, expected: list[str]) -> None:
    assert find_ungrounded(text, DATA) == expected


def test_several_values_bear_out_together() -> None:
    assert find_ungrounded("Acme has 12 orders.", [{"name": "Acme"}], {"orders": 12}) == []
    assert find_ungrounded("Acme has 12 orders.", [{"name": "Acme"}]) == ["12"]


def test_truth_values_are_no_numbers() -> None:
    assert find_ungrounded("It is 1.", {"paid": True}) == ["1"]


def test_nothing_bears_out_nothing() -> None:
    assert find_ungrounded("It rose to 5 in Berlin.") == ["5", "Berlin"]
