"""Which literals of a plan its goal names, and which goals a program answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from agent.core.plan.parser import parse_plan
from agent.core.plan.tool_spec import ToolSpec
from agent.programs.input_proposal import NUMBER_WORDS, find_in_goal, propose_inputs
from agent.programs.matching import match_goal, match_programs
from agent.programs.program import Program

CATALOGUE = {
    "query": ToolSpec(name="query", args_schema={"properties": {"sql": {"type": "string"}, "params": {}}}),
    "draw": ToolSpec(name="draw", args_schema={"properties": {"title": {}, "kind": {"enum": ["bar"]}, "y": {}}}),
    "mail": ToolSpec(name="mail", args_schema={"properties": {"to": {}, "body": {}, "count": {}}}),
}
GOAL = "Top five products by revenue in France in 2024, with a bar chart"
SQL = (
    "SELECT name, round(sum(revenue), 5) AS revenue FROM sales WHERE country = 'France' AND day >= DATE '2024-01-01' "
    "AND day < '2025-01-01' AND year(day) = 2024 AND note <> '5' GROUP BY 1 ORDER BY 2 DESC LIMIT 5"
)
TASKS = [
    {"id": "q", "tool": "query", "args": {"sql": SQL}},
    {
        "id": "c",
        "tool": "draw",
        "args": {"title": "Top 5 in {France}", "kind": "bar", "y": "revenue", "file": "france"},
    },
]


def proposed(tasks, goal, **options):
    return propose_inputs(parse_plan({"tasks": tasks}), goal, CATALOGUE, **options)


def test_what_the_goal_names_becomes_an_input_wherever_it_stands():
    found = proposed(TASKS, GOAL)
    query, chart = (task["args"] for task in found.plan["tasks"])
    assert query["sql"] == (
        "SELECT name, round(sum(revenue), 5) AS revenue FROM sales WHERE country = $country AND "
        "day >= make_date($year, 1, 1) AND day < make_date($year + 1, 1, 1) AND year(day) = $year AND note <> '5' "
        "GROUP BY 1 ORDER BY 2 DESC LIMIT $top"
    )
    assert query["params"] == {name: {"input": name} for name in ("country", "year", "top")}
    assert chart["title"] == {
        "template": "Top {top} in {{{country}}}",
        "values": {"top": {"input": "top"}, "country": {"input": "country"}},
    }
    # A choice, the name of a column, and another spelling stay.
    assert (chart["kind"], chart["y"], chart["file"]) == ("bar", "revenue", "france")
    assert found.plan["inputs"]["top"] == {"type": "integer", "examples": [5]}
    assert found.goal_template == "Top {top} products by revenue in {country} in {year}, with a bar chart"
    assert ["'france'" in sentence for sentence in found.leftovers] == [True]


def test_a_value_that_is_to_stay_stays():
    found = proposed(TASKS, GOAL, refused=frozenset({"France", "five"}))
    assert [each.name for each in found.inputs] == ["year"]
    assert found.goal_template == "Top five products by revenue in France in {year}, with a bar chart"


@pytest.mark.parametrize(
    ("args", "goal", "inputs"),
    [
        ({"to": "ann@example.com", "body": "Hello"}, "Mail ann@example.com a greeting", {"to": "ann@example.com"}),
        ({"to": "Ann", "count": 3}, "Mail Annabel 30 times", {}),
        ({"to": "Ann", "count": True}, "Mail ann one time", {"to": "Ann"}),
        ({"to": ["Ann", "Bob"]}, "Mail Ann and Bob", {"to": "Ann", "to_2": "Bob"}),
        ({"count": 1000}, "Mail 1,000 times", {"count": 1000}),
        ({"count": 2.5}, "Wait 2.5 days", {"count": 2.5}),
        ({"count": -5}, "Set it to -5", {}),
        ({"to": "x"}, "Mail x", {}),
        ({"body": {"template": "Ann {n}", "values": {"n": 1}}}, "Mail Ann", {}),
    ],
)
def test_literals_of_plain_arguments(args, goal, inputs):
    found = proposed([{"id": "m", "tool": "mail", "args": args}], goal)
    assert {each.name: each.value for each in found.inputs} == inputs


def program(template, schemas, name="p", version=1):
    plan = {"inputs": schemas, "tasks": [{"id": "a", "tool": "t", "args": {"x": {"input": next(iter(schemas))}}}]}
    return Program(name=name, version=version, goal="g", goal_template=template, plan=plan, saved_at="now")


TOP = program(
    "Top {top} products by revenue in {country} in {year}, with a bar chart",
    {
        "top": {"type": "integer", "examples": [5]},
        "country": {"type": "string", "examples": ["France"]},
        "year": {"type": "integer", "examples": [2024]},
    },
)


@pytest.mark.parametrize(
    ("goal", "values"),
    [
        (GOAL, [5, "France", 2024]),
        ("top 10 products by revenue in Germany in 2023 with a bar chart.", [10, "Germany", 2023]),
        (
            "Please show me the top three products by revenue in New Zealand in 2022, with bar chart",
            [3, "New Zealand", 2022],
        ),
        (
            "What are the top 7 products by revenue in the Chad in 1999, with bar chart?",
            [7, "Chad", 1999],
        ),
    ],
)
def test_a_goal_that_says_the_same_with_other_values_is_answered(goal, values):
    found = match_goal(goal, TOP)
    assert found is not None
    assert [found.values[name] for name in ("top", "country", "year")] == values


@pytest.mark.parametrize(
    "goal",
    [
        "Top 3 products by revenue in Chile in 2022",
        "Top 3 products by units in Chile in 2022, with a bar chart",
        "Bottom 3 products by revenue in Chile in 2022, with a bar chart",
        "Top 3 customers by revenue in Chile in 2022, with a bar chart",
        "Top 3 products by revenue in Chile and Peru in 2022, with a bar chart",
        "Top 3 products by revenue in Chile per month in 2022, with a bar chart",
        "Top 3 products by revenue outside of Chile in 2022, with a bar chart",
        "Top 3 products by revenue in chile in 2022, with a bar chart",
        "Top 3 products by revenue in Chile in 2022, without a bar chart",
        "Top 3 products by revenue in Chile in 2022, with a bar chart, and save it as CSV",
        "Top 3 products by revenue in Chile in spring, with a bar chart",
        "Top -3 products by revenue in Chile in 2022, with a bar chart",
        "Top 3% products by revenue in Chile in 2022, with a bar chart",
        "Top 3.5 products by revenue in Chile in 2022, with a bar chart",
        "Top 3 products by revenue in Chile in 2022 > 5, with a bar chart",
        "Top all products by revenue in Chile in 2022, with a bar chart",
        "Les 3 meilleurs produits par revenu en Chile en 2022",
        "",
    ],
)
def test_a_goal_that_says_anything_else_is_not(goal):
    assert match_goal(goal, TOP) is None


def test_what_can_be_read_in_two_ways_or_is_answered_twice_is_not_taken():
    two = program("{a} {b}", {"a": {"type": "string"}, "b": {"type": "string"}})
    assert match_goal("Big Red Dog", two) is None
    assert match_goal("Big Dog", two) is not None
    again = TOP.model_copy(update={"name": "q"})
    assert match_programs(GOAL, [TOP]) is not None
    assert match_programs(GOAL, [TOP, again]) is None
    assert match_programs(GOAL, []) is None
    same = program("from {year} to {year}", {"year": {"type": "integer"}})
    assert match_goal("from 2020 to 2021", same) is None
    assert match_goal("from 2020 to 2020", same) is not None


@given(st.integers(16, 99), st.sampled_from(["France", "New Zealand", "Chile"]), st.integers(1950, 2050))
def test_the_goal_with_any_values_gives_these_values(top, country, year):
    found = match_goal(TOP.goal_template.format(top=top, country=country, year=year), TOP)
    assert found is not None
    assert dict(found.values) == {"top": top, "country": country, "year": year}


@given(
    st.lists(st.sampled_from(["by", "units", "in", "not", "Top", "5", "revenue", "2024", "France", ","]), max_size=9)
)
def test_no_other_words_are_taken(words):
    goal = " ".join(words)
    assert match_goal(goal, TOP) is None


@given(st.sampled_from(sorted(NUMBER_WORDS)))
def test_number_words_are_found_in_a_goal(word):
    assert find_in_goal(f"The {word.upper()} best", NUMBER_WORDS[word]) == word.upper()
    assert find_in_goal(f"The {word}fold best", NUMBER_WORDS[word]) is None
