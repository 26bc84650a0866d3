"""Which goals say the same as the goal of a program, and which differ by one word."""

import re
from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.programs.matching import list_matches, match_goal
from agent.programs.program import Program

#: What the first letter of an input says of it: y a year, n a count, anything else a name.
EXAMPLES = {"y": {"type": "integer", "examples": [2023]}, "n": {"type": "integer", "examples": [5]}}
NAME = {"type": "string", "examples": ["Spain"]}


def program(template, *, wordings=(), looked_up=False, name="p"):
    names = list(dict.fromkeys(re.findall(r"\{(\w+)\}", template)))
    inputs = {each: EXAMPLES.get(each[0], NAME) for each in names}
    args = (
        {"params": {each: {"input": each} for each in names}, "sql": "SELECT 1"}
        if looked_up
        else {"x": [{"input": each} for each in names]}
    )
    plan = {**({"inputs": inputs} if inputs else {}), "tasks": [{"id": "a", "tool": "t", "args": args}]}
    return Program(name=name, version=1, goal_template=template, wordings=wordings, plan=plan, saved_at="now")


@pytest.mark.parametrize(
    ("template", "goal"),
    [
        ("Top {n} products by revenue", "Which 5 products have the highest revenue?"),
        ("Which {n} products have the highest revenue?", "Top seven products by revenue"),
        ("How many orders were shipped in {y}?", "In 2022, how many orders were shipped?"),
        ("flights from {a} to {b}", "flights to Rome from Oslo"),
        ("customers in {c}", "customers from New Zealand"),
        ("Revenue by country in {y}", "What was the revenue of each country in 2022?"),
        ("Revenue by country in {y}", "Revenue per country during 2022"),
        ("average fee per specialty", "mean fee of every specialty"),
        ("Which products cost more than {n}?", "products that cost more than 12"),
        ("customers without orders", "customers who have no orders"),
        (
            "What are the most common reasons for returns in the {c} department?",
            "In the Kitchen department, what are the most frequent reasons for returns?",
        ),
        ("How many trips did the members of each tariff make?", "How many trips did members of each tariff make?"),
        (
            "Which {n} physicians had the most {c} appointments in {y}?",
            "Top six physicians by number of Kept appointments in 2022",
        ),
        (
            "Save the names of all members from {c} as members.csv",
            "Please export names of the members in Italy to members.csv",
        ),
        ("How many people live in {c}?", "How many people live in New Zealand?"),
        ("Which discontinued products are left?", "Which products that were discontinued are left?"),
        (
            "Show the number of orders per month in {y} as a line chart",
            "Draw a line chart of how many orders there were each month in 2022",
        ),
        ("For each town, when was the oldest patient born?", "When was the oldest patient of each town born?"),
        ("orders of {y} with a bar chart", "Orders during 2021. Draw a bar chart."),
    ],
)
def test_the_same_in_other_words_is_the_same(template, goal):
    assert match_goal(goal, program(template)) is not None


def test_values_go_where_the_words_put_them():
    found = match_goal("flights to Rome from Oslo in 2021", program("flights in {y} from {a} to {b}"))
    assert found is not None
    assert dict(found.values) == {"y": 2021, "a": "Oslo", "b": "Rome"}


@pytest.mark.parametrize(
    ("template", "goal"),
    [
        ("customers of the country with the highest revenue", "customers with the highest revenue of the country"),
        ("Which products did all customers buy?", "Which products did customers buy?"),
        ("How many orders are there?", "How many orders do I have?"),
        ("orders of customers who joined in {y}", "orders in 2022 of customers who joined"),
        ("revenue of products introduced in {y}", "revenue in 2022 of products introduced"),
        ("revenue of products introduced in {y}", "In 2022, revenue of products introduced"),
        ("products bought by customers from {c}", "products from France bought by customers"),
        ("trips from {c}", "trips to Paris"),
        ("trips to {c}", "trips from Paris"),
        ("orders shipped before they were paid", "orders paid before they were shipped"),
        ("Which customers bought desks and returned lamps?", "Which customers bought lamps and returned desks?"),
        ("average revenue and total profit of each region", "total revenue and average profit of each region"),
        ("salaries", "salaries in IT"),
        ("number of products of discontinued brands", "number of discontinued products of brands"),
        ("top customers", "most of the customers"),
        ("Are there patients without an insurer?", "Which patients are without an insurer?"),
        ("revenue per month in {y}", "revenue per year in 2022"),
        ("customers from {c} and {c2}", "customers from France or Italy"),
        ("orders between {y} and {y2}", "orders in 2020 and 2021"),
        ("which customers have not ordered since {y}", "which customers have ordered since 2022"),
        ("products that cost more than {n}", "products that cost less than 5"),
        ("products that cost at least {n}", "products that cost at most 7"),
        ("products that cost at least {n}", "products that cost more than 7"),
        ("Which stations are open?", "Which stations opened?"),
        ("number of customers by country", "number of customers in the country"),
        ("profit by brand", "brand by profit"),
        ("How much was sold?", "What was sold?"),
        ("How much was sold in {c}?", "How many were sold in France?"),
        ("first {n} orders", "last 5 orders"),
        ("revenue of each product", "median revenue of each product"),
        ("sales per customer", "sales of customer"),
        ("daily revenue", "monthly revenue"),
        ("orders without returns from customers", "orders from customers without returns"),
        ("top {n} countries by customers", "top 5 customers by countries"),
        ("customers and their orders", "orders and their customers"),
        ("Show the orders of {y}", "Do not show the orders of 2022"),
        ("Show the orders of {y}", "Delete the orders of 2022"),
        ("List open tickets", "Close open tickets"),
        ("Top {n} products by revenue", "Top 5 products by number of orders"),
        ("Top {n} products by revenue", "Bottom 5 products by revenue"),
        ("Top {n} products by revenue", "Top 5 products by revenue per customer"),
        ("cheapest products in {c}", "most expensive products in France"),
        ("customers in {c}", "customers outside France"),
        ("customers in {c}", "customers excluding France"),
        ("customers in {c}", "customers not in France"),
        ("customers in {c}", "customers in France except Paris"),
        ("orders in {y}", "orders until 2022"),
        ("orders in {y}", "orders by 2022"),
        ("orders in {y}", "orders not in 2022"),
        ("orders in {y}", "orders in early 2022"),
        ("orders in {y}", "orders in March 2022"),
        ("orders in {y}", "orders in the first half of 2022"),
        ("Which product had the highest revenue in {y}?", "Which products had the highest revenue in 2022?"),
        ("number of orders of each customer in {y}", "number of customers of each order in 2022"),
        ("Which {n} stores have the most staff?", "Which stores have the most 5 staff?"),
        (
            "Find {n} customers with the highest revenue and their best product",
            "Find customers with the highest revenue and their 3 best products",
        ),
        ("average number of orders per customer", "number of orders per customer"),
        ("share of returns in orders", "number of returns in orders"),
        ("flights from {a} to {b}", "flights to Rome or Oslo"),
        ("orders of at least {n} items in {y}", "orders of 7 items in 2022"),
        ("people older than {n}", "people younger than 30"),
        (
            "Which patients had appointments with doctors in {c}?",
            "Which doctors had appointments with patients in Paris?",
        ),
        ("How long do repairs take?", "How many repairs take long?"),
        ("unique customers in {y}", "customers in 2022"),
        ("customers in {y}", "unique customers in 2022"),
        ("new customers in {y}", "returning customers in 2022"),
        ("gross revenue in {c}", "net revenue in France"),
        ("customers who bought only {a}", "customers who bought Lamp"),
        ("revenue with tax in {c}", "revenue without tax in France"),
        ("revenue including tax in {c}", "revenue excluding tax in France"),
        ("Email the report to {c}", "Email the report without numbers to Ann"),
        ("growth from {y} to {y2}", "growth in 2020 of 2021"),
        ("month with the highest revenue in {y}", "highest revenue of the month in 2022"),
        ("orders over {n}", "orders under 5"),
        ("orders paid in {y}", "orders paid for 2022 shipping"),
        ("customers of products", "products of customers"),
        ("customers who bought the most units of each product", "customers who bought each unit of the most products"),
        ("How many products were returned by customers?", "How many customers returned products?"),
        ("How many customers returned products?", "How many products did customers return?"),
        ("Which physician treats the most patients?", "Which patients are treated by the most physicians?"),
        ("Which suppliers deliver to {c}?", "Which suppliers deliver from France?"),
        ("mean revenue", "what does revenue mean"),
        ("revenue of {a} in {y} and {y2}", "revenue of Acme in 2022"),
        ("stock of {a}", "stock of all"),
        ("weekly orders of {a}", "weekly orders of each product"),
        ("orders that are late in {y}", "orders that were never late in 2022"),
        ("orders with exactly {n} items", "orders with 5 items"),
        ("employees hired in {y}", "employees fired in 2022"),
        ("orders {n} days late", "orders 5 weeks late"),
        ("Which members invited guests?", "Which members were invited by guests?"),
        ("Which customers called in {y}?", "Which customers were called in 2022?"),
        ("How many products do we make?", "How many products do we have?"),
        ("revenue in {y}", "Show their revenue in 2022"),
        ("How many orders are there?", "How many orders do they have?"),
        ("Which products do customers buy?", "Which products do their customers buy?"),
        ("How many customers live in {c}?", "How many customers live there in France?"),
        ("revenue of the year", "revenue of that year"),
        ("orders of each customer", "orders of those"),
        ("How many trips were there in each year?", "How many trips were there in that year?"),
        ("Which customers were refunded?", "Which customers refunded?"),
        ("patients of physicians who moved", "physicians of patients who moved"),
        ("orders that were shipped late", "orders that shipped late"),
        ("Which stores have been visited by inspectors?", "Which stores have visited inspectors?"),
        ("Top {n} products by revenue", "Its top 5 products by revenue"),
        ("Top {n} products by revenue", "Top 5 of these products by revenue"),
    ],
)
def test_one_word_makes_another_goal(template, goal):
    assert match_goal(goal, program(template)) is None
    assert match_goal(goal, program(template, looked_up=True)) is None


def test_a_text_that_is_looked_up_may_be_written_in_any_way():
    template = "customers from {c}"
    for text in ("spain", "Spain", "the United Kingdom", "E-Volt", "US", "Monday"):
        assert match_goal(f"customers from {text}", program(template, looked_up=True)) is not None, text
    for text in ("us", "everybody", "Spain or Italy"):
        assert match_goal(f"customers from {text}", program(template, looked_up=True)) is None, text
    # Nobody looks: a name must be one.
    for text in ("Monday", "Paris Monday", "Paris tomorrow", "last May", "Q1"):
        assert match_goal(f"customers from {text}", program(template)) is None, text
    assert match_goal("customers from spain", program(template)) is None


def test_further_wordings_are_the_goal_too():
    one = program("Top {n} products in {y}", wordings=("Bestsellers of {y}, the first {n}",))
    found = match_goal("The bestsellers of 2021, the first 7", one)
    assert found is not None
    assert dict(found.values) == {"n": 7, "y": 2021}
    assert match_goal("The bestsellers of 2021, the last 7", one) is None


def test_programs_that_say_the_same_are_all_listed():
    found = list_matches(
        "orders in Oslo", [program("orders in {city}", name="a"), program("orders in {land}", name="b")]
    )
    assert [match.program.name for match in found] == ["a", "b"]


WORDS = [
    "the",
    "most",
    "each",
    "by",
    "in",
    "of",
    "not",
    "who",
    "were",
    "orders",
    "customers",
    "returned",
    "2024",
    "five",
    ",",
]


@given(st.lists(st.sampled_from(WORDS), min_size=1, max_size=12))
def test_every_goal_says_the_same_as_itself(words):
    goal = " ".join(words)
    assert match_goal(goal, program(goal)) is not None


@given(st.text(max_size=60), st.sampled_from(["Top {n} of {c} in {y}", "orders", "draw a bar chart of {c}"]))
def test_any_text_is_read(goal, template):
    match_goal(goal, program(template))


def test_no_other_order_of_these_words_is_taken_for_another():
    """Each order of four nouns with marks asks for something else, unless only the last two marks change places."""
    parts = ["customers", "with the most orders", "of products", "without returns"]
    readings = [" ".join(order) for order in permutations(parts)]
    taken = [(one, other) for one in readings for other in readings if one < other and match_goal(one, program(other))]
    assert taken == []
