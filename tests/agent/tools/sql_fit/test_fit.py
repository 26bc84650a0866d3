"""Drafts as small models write them, brought closer to their goals: what is shown, counted, filtered and kept."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from agent.tools.sql.data_source import open_data_source
from agent.tools.sql.query_database import QueryDatabase, database_tools

SHELTER = """
CREATE TABLE keeper (keeper_id INTEGER PRIMARY KEY, name TEXT, region TEXT);
INSERT INTO keeper VALUES (1, 'Ada', 'North'), (2, 'Bola', 'South'), (3, 'Chen', 'North');
CREATE TABLE animal (
    animal_id INTEGER PRIMARY KEY, call_name TEXT, species TEXT, status TEXT, weight INTEGER,
    keeper_id INTEGER REFERENCES keeper (keeper_id)
);
INSERT INTO animal VALUES (1, 'Rex', 'Dog', 'open', 30, 1), (2, 'Mia', 'Cat', 'adopted', 4, 1),
    (3, 'Tom', 'Cat', 'in care', 6, 2), (4, 'Kim', 'Dog', 'adopted', 22, NULL), (5, 'Lou', 'Hen', 'open', 2, NULL),
    (6, 'Pip', 'Hen', 'gone', 3, NULL);
CREATE TABLE guest (guest_id INTEGER PRIMARY KEY, first_name TEXT, last_name TEXT, town TEXT);
INSERT INTO guest VALUES (1, 'Eva', 'Hill', 'Dog'), (2, 'Finn', 'Lake', 'Ayr'), (3, 'Gus', 'Moor', 'Ayr');
CREATE TABLE visit (
    visit_id INTEGER PRIMARY KEY, animal_id INTEGER REFERENCES animal (animal_id),
    guest_id INTEGER REFERENCES guest (guest_id), day TEXT, minutes INTEGER
);
INSERT INTO visit VALUES (1, 1, 1, '2024-01-05', 30), (2, 1, 1, '2024-01-09', 20), (3, 1, 2, '2024-02-01', 10),
    (4, 2, 1, '2024-02-03', 40), (5, 3, 2, '2023-12-30', 5);
CREATE TABLE house (house_id INTEGER PRIMARY KEY, zone TEXT, cages INTEGER);
INSERT INTO house VALUES (1, 'East', 12), (2, 'East', 8), (3, 'West', 5);
"""


@pytest.fixture(scope="module")
def shelter(tmp_path_factory: pytest.TempPathFactory) -> QueryDatabase:
    file = tmp_path_factory.mktemp("shelter") / "shelter.sqlite"
    with closing(sqlite3.connect(file)) as database:
        database.executescript(SHELTER)
    return next(tool for tool in database_tools(open_data_source(file)) if isinstance(tool, QueryDatabase))


def run_draft(tool: QueryDatabase, sql: str, goal: str) -> list[list[Any]]:
    """Return the rows of a draft as the planner has it run: fitted to its goal, then checked."""
    fitted = tool.fit_to_goal(sql, goal)
    found = tool.preflight({"sql": fitted.sql}, {}, goal=goal)
    assert not found.problems, found
    return [list(row.values()) for row in tool.invoke({"sql": (found.args or {"sql": fitted.sql})["sql"]})["rows"]]


OF_ANIMAL = "visit v JOIN animal a ON a.animal_id = v.animal_id"
BY_KEEPER = "animal JOIN keeper USING (keeper_id)"


@pytest.mark.parametrize(
    ("goal", "sql", "rows"),
    [
        # A number in each row is added up.
        (
            "How many cages does each zone have?",
            "SELECT zone, COUNT(cages) AS n FROM house GROUP BY zone ORDER BY n",
            [["West", 5], ["East", 20]],
        ),
        ("How many cages are there?", "SELECT COUNT(*) AS cages FROM house", [[25]]),
        (
            "The number of minutes of each guest id",
            "SELECT guest_id, COUNT(minutes) AS n FROM visit GROUP BY 1 ORDER BY COUNT(minutes) DESC",
            [[1, 90], [2, 15]],
        ),
        # What may have several rows is counted once: where it is mentioned, and where a join repeats it.
        ("How many guests came in 2024?", "SELECT COUNT(*) AS n FROM visit WHERE year(day) = 2024", [[2]]),
        ("How many animals had a visit?", f"SELECT COUNT(*) AS n FROM {OF_ANIMAL}", [[3]]),
        (
            "How many different guests saw each species?",
            f"SELECT species, COUNT(v.guest_id) AS n FROM {OF_ANIMAL} GROUP BY species ORDER BY 1",
            [["Cat", 2], ["Dog", 2]],
        ),
        ("The number of keepers who have an animal", "SELECT COUNT(keeper_id) AS n FROM animal", [[2]]),
        # More than N of its children.
        ("Which animals had more than 2 visits?", "SELECT a.call_name FROM animal a WHERE a.animal_id > 2", [["Rex"]]),
        (
            "Which animals had at least two visits?",
            f"SELECT DISTINCT a.call_name FROM {OF_ANIMAL} WHERE v.visit_id > 2",
            [["Rex"]],
        ),
        (
            "Name the keepers with over 1 animals",
            f"SELECT name FROM {BY_KEEPER} WHERE animal_id >= 1 AND species <> 'Hen'",
            [["Ada"]],
        ),
        (
            "Which guests from Ayr made exactly two visits?",
            "SELECT g.last_name FROM guest g JOIN visit v ON v.guest_id = g.guest_id WHERE g.town = 'Ayr' AND v.guest_id <= 2",  # noqa: E501
            [["Lake"]],
        ),
        ("Which animals had more than 2 visits?", "SELECT call_name FROM animal WHERE weight > 2", [["Rex"]]),
        # "Not X" is all others.
        ("How many animals are not adopted?", "SELECT COUNT(*) AS n FROM animal WHERE status = 'open'", [[4]]),
        (
            "How many animals are not adopted?",
            "SELECT COUNT(*) AS n FROM animal WHERE status IN ('open', 'gone')",
            [[4]],
        ),
        (
            "List the animals other than cats",
            "SELECT call_name FROM animal WHERE species = 'Cat'",
            [["Rex"], ["Kim"], ["Lou"], ["Pip"]],
        ),
        (
            "How many non-dog animals weigh over 2 kilos?",
            "SELECT COUNT(*) AS n FROM animal WHERE species = 'Hen' AND weight > 2",
            [[3]],
        ),
        (
            "Animals that are not in care, except hens",
            "SELECT call_name FROM animal WHERE status = 'open' AND species <> 'Hen'",
            [["Rex"], ["Mia"], ["Kim"]],
        ),
        # A filter on a column that has not the word.
        ("How many cats are there?", "SELECT COUNT(*) AS n FROM animal WHERE call_name = 'Cat'", [[2]]),
        (
            "How many animals does the North have?",
            f"SELECT COUNT(*) AS n FROM {BY_KEEPER} WHERE status = 'North'",
            [[2]],
        ),
        ("How many animals are kept in the South?", "SELECT COUNT(*) AS n FROM animal WHERE species = 'south'", [[1]]),
        # Alternatives without brackets.
        (
            "How many visits of Rex or Mia were there in 2024?",
            f"SELECT COUNT(*) AS n FROM {OF_ANIMAL} WHERE call_name = 'Rex' OR call_name = 'Mia' AND minutes > 25",
            [[2]],
        ),
        (
            "How many heavy animals are not adopted?",
            "SELECT COUNT(*) AS n FROM animal WHERE status = 'gone' OR status = 'open' OR status = 'in care' AND weight > 5",  # noqa: E501
            [[2]],
        ),
        # A table that nobody asked for.
        (
            "How many animals does each keeper have?",
            "SELECT name, COUNT(*) AS n FROM keeper k JOIN animal a ON a.keeper_id = k.keeper_id JOIN visit v ON v.animal_id = a.animal_id GROUP BY name ORDER BY n",  # noqa: E501
            [["Ada", 2], ["Bola", 1]],
        ),
        (
            "How many animals does each keeper have?",
            "SELECT k.name, COUNT(*) AS n FROM visit v JOIN animal a ON a.animal_id = v.animal_id JOIN keeper k ON k.keeper_id = a.keeper_id GROUP BY k.name ORDER BY n",  # noqa: E501
            [["Ada", 2], ["Bola", 1]],
        ),
        (
            "How many minutes was Mia seen?",
            "SELECT SUM(minutes) AS m FROM visit WHERE visit.animal_id = 2 AND visit.visit_id > 0",
            [[40]],
        ),
        # Shares: of the whole, of the group that is asked for, out of a hundred.
        (
            "What percentage of the animals is adopted?",
            "SELECT COUNT(*) AS n FROM animal WHERE status = 'adopted'",
            [[100 / 3]],
        ),
        ("What share of the animals are hens?", "SELECT COUNT(*) AS n FROM animal WHERE species = 'Hen'", [[1 / 3]]),
        (
            "What percentage are dogs?",
            "SELECT COUNT(*) * 100.0 / COUNT(*) AS p FROM animal WHERE species = 'Dog'",
            [[100 / 3]],
        ),
        (
            "What percentage of the animals is open?",
            "SELECT status, COUNT(*) * 100.0 / (SELECT COUNT(*) FROM animal) AS p FROM animal GROUP BY status",
            [["open", 100 / 3]],
        ),
        (
            "What percentage of the animals is in care?",
            "SELECT status, COUNT(*) * 100.0 / SUM(COUNT(*)) OVER () AS p FROM animal GROUP BY status",
            [["in care", 100 / 6]],
        ),
        (
            "What percentage of each species is open?",
            "SELECT species, AVG(CASE WHEN status = 'open' THEN 1 ELSE 0 END) AS p FROM animal GROUP BY species",
            [["Cat", 0], ["Dog", 50], ["Hen", 50]],
        ),
        (
            "What percentage of each species is gone?",
            "SELECT species, COUNT(*) AS n FROM animal WHERE status = 'gone' GROUP BY species",
            [["Cat", 0], ["Dog", 0], ["Hen", 50]],
        ),
        # The greatest of each.
        (
            "Which animal of each species is the heaviest?",
            "SELECT species, call_name, MAX(weight) AS w FROM animal GROUP BY species, call_name",
            [["Cat", "Tom", 6], ["Dog", "Rex", 30], ["Hen", "Pip", 3]],
        ),
        (
            "For each species, what is the lightest and smallest animal?",
            "SELECT species, call_name, MIN(weight) AS w FROM animal GROUP BY 1, 2",
            [["Cat", "Mia", 4], ["Dog", "Kim", 22], ["Hen", "Lou", 2]],
        ),
        (
            "The heaviest animal of every species",
            "SELECT species, call_name, weight FROM animal ORDER BY weight DESC LIMIT 1",
            [["Cat", "Tom", 6], ["Dog", "Rex", 30], ["Hen", "Pip", 3]],
        ),
        (
            "Which is the heaviest animal of each species?",
            "SELECT a.species, a.call_name FROM animal a JOIN (SELECT species, MAX(weight) AS w FROM animal GROUP BY species) m ON m.species = a.species",  # noqa: E501
            [["Cat", "Tom"], ["Dog", "Rex"], ["Hen", "Pip"]],
        ),
        # Labels.
        (
            "How many visits were there on each day?",
            "SELECT COUNT(*) AS n FROM visit WHERE minutes > 25 GROUP BY day",
            [[1, "2024-01-05"], [1, "2024-02-03"]],
        ),
        (
            "Which guest came most often?",
            "SELECT guest_id FROM visit GROUP BY guest_id ORDER BY COUNT(*) DESC LIMIT 1",
            [[1, 3, "Eva", "Hill"]],
        ),
        (
            "How many animals does each keeper have?",
            "SELECT keeper_id, COUNT(*) AS n FROM animal GROUP BY keeper_id ORDER BY n DESC",
            [[1, 2, "Ada"], [2, 1, "Bola"]],
        ),
        (
            "Which keeper has the most animals?",
            "SELECT keeper_id, COUNT(*) AS n FROM animal GROUP BY keeper_id ORDER BY n DESC LIMIT 1",
            [[1, 2, "Ada"]],
        ),
        (
            "Which 2 visits were the longest?",
            "SELECT day FROM visit ORDER BY minutes DESC LIMIT 2",
            [["2024-02-03", 40], ["2024-01-05", 30]],
        ),
    ],
)
def test_a_draft_gives_the_rows_of_its_goal(shelter: QueryDatabase, goal: str, sql: str, rows: list[list[Any]]) -> None:
    found = run_draft(shelter, sql, goal)
    assert sorted(found, key=str) == [
        pytest.approx(row) if isinstance(row[-1], float) else row for row in sorted(rows, key=str)
    ]


@pytest.mark.parametrize("place", ["Oslo", "OSLO"])
def test_a_name_is_looked_up_where_a_code_refers_to_it(tmp_path: Path, place: str) -> None:
    with closing(sqlite3.connect(tmp_path / "flights.sqlite")) as database:
        database.executescript(
            """
            CREATE TABLE airport (code TEXT PRIMARY KEY, city TEXT);
            INSERT INTO airport VALUES ('OSL', 'Oslo'), ('KEF', 'Reykjavik');
            CREATE TABLE flight (origin TEXT REFERENCES airport (code), target TEXT REFERENCES airport (code));
            INSERT INTO flight VALUES ('OSL', 'KEF'), ('KEF', 'OSL'), ('KEF', 'OSL');
            """
        )
    source = open_data_source(tmp_path / "flights.sqlite")
    tool = next(tool for tool in database_tools(source) if isinstance(tool, QueryDatabase))
    sql = f"SELECT COUNT(*) AS n FROM flight WHERE target = '{place}'"
    assert run_draft(tool, sql, "How many flights go to Oslo?") == [[2]]


@pytest.mark.parametrize(
    ("goal", "sql"),
    [
        ("What fraction is open?", "SELECT AVG(CASE WHEN status = 'open' THEN 1 ELSE 0 END) AS p FROM animal"),
        (
            "What percentage of the animals is open?",
            "SELECT 100.0 * COUNT(*) FILTER (WHERE status = 'open') / COUNT(*) AS p FROM animal",
        ),
        (
            "What percentage of all animals does each status have?",
            "SELECT status, COUNT(*) * 100.0 / SUM(COUNT(*)) OVER () AS p FROM animal GROUP BY status",
        ),
        ("How many houses does each zone have?", "SELECT zone, COUNT(*) AS n FROM house GROUP BY zone"),
        ("How many visits lasted over 10 minutes?", "SELECT COUNT(*) AS n FROM visit WHERE minutes > 10"),
        ("How many visits did each species get?", f"SELECT species, COUNT(*) AS n FROM {OF_ANIMAL} GROUP BY species"),
        ("How many animals were visited?", f"SELECT COUNT(DISTINCT v.animal_id) AS n FROM {OF_ANIMAL}"),
        ("How many animals are not adopted?", "SELECT COUNT(*) AS n FROM animal WHERE status <> 'adopted'"),
        ("How many animals are open and not adopted?", "SELECT COUNT(*) AS n FROM animal WHERE status = 'open'"),
        ("How many animals did not go yet?", "SELECT COUNT(*) AS n FROM animal WHERE status = 'open'"),
        ("How many animals are called Cat?", "SELECT COUNT(*) AS n FROM animal WHERE call_name = 'Kat'"),
        ("How many guests are from Ayr?", "SELECT COUNT(*) AS n FROM guest WHERE town = 'Ayr'"),
        (
            "What is the weight of the heaviest animal of each species?",
            "SELECT species, MAX(weight) AS w FROM animal GROUP BY species",
        ),
        (
            "How many animals of each species and status?",
            "SELECT species, status, COUNT(*) AS n FROM animal GROUP BY 1, 2",
        ),
        ("Which visits lasted more than 20 minutes?", "SELECT visit_id, day FROM visit WHERE minutes > 20"),
        (
            "How many animals are dogs?",
            "SELECT COUNT(DISTINCT animal_id) AS n FROM animal WHERE species = 'Dog' GROUP BY species",
        ),
        ("Which animals weigh more than 20 kilos?", "SELECT call_name FROM animal WHERE weight > 20"),
        ("Which animals have ids of more than 3?", "SELECT call_name FROM animal WHERE animal_id > 3"),
    ],
)
def test_a_right_draft_stays_letter_by_letter(shelter: QueryDatabase, goal: str, sql: str) -> None:
    assert shelter.fit_to_goal(sql, goal).sql == sql


@pytest.mark.parametrize(
    ("goal", "sql", "told"),
    [
        ("How many animals are not adopted?", "SELECT COUNT(*) AS n FROM animal", "leaves 'adopted' out"),
        (
            "How many cats have a keeper?",
            "SELECT COUNT(*) AS n FROM animal WHERE species = 'Kitten'",
            "No row has 'Kitten'",
        ),
        (
            "What percentage of the animals is adopted?",
            "SELECT COUNT(*) AS n FROM animal WHERE status = 'adopted'",
            "divides nothing",
        ),
        (
            "What percentage of the animals is adopted?",
            "SELECT status, COUNT(*) * 100.0 / 6 AS p FROM animal GROUP BY status",
            "asks for one number",
        ),
        (
            "The minutes of the guests who saw animals without a keeper",
            f"SELECT SUM(minutes) AS m FROM {OF_ANIMAL} JOIN keeper k ON k.keeper_id = a.keeper_id WHERE a.keeper_id IS NULL",  # noqa: E501
            "no row is both",
        ),
        (
            "What do the animals of each keeper weigh in all?",
            f"SELECT name, SUM(weight) AS w FROM {BY_KEEPER} JOIN visit USING (animal_id) GROUP BY name",
            "several times",
        ),
        (
            "What is the total of the cages?",
            "SELECT SUM(cages) AS n FROM house h JOIN keeper k ON k.keeper_id <> h.house_id",
            "6 rows of 3 of 'h'",
        ),
        (
            "How many beasts does each region have?",
            f"SELECT k.region, k.name FROM keeper k {'JOIN animal a ON a.keeper_id = k.keeper_id JOIN visit v ON v.animal_id = a.animal_id'}",  # noqa: E501
            "'visit' is joined",
        ),
        (
            "How many animals were seen in each month?",
            f"SELECT month(day::DATE) AS month, COUNT(*) AS n FROM {OF_ANIMAL} GROUP BY 1",
            "of 'a': some count several times",
        ),
    ],
)
def test_what_no_rule_can_mend_is_told(shelter: QueryDatabase, goal: str, sql: str, told: str) -> None:
    found = [*shelter.review_query(sql, goal, True), *shelter.review_coverage([sql], goal)]
    assert any(told in sentence for sentence in found), found


@pytest.mark.parametrize(
    ("goal", "sql"),
    [
        (
            "What percentage of the animals is adopted?",
            "SELECT 100.0 * AVG((status = 'adopted')::INT) AS p FROM animal",
        ),
        (
            "What percentage is adopted?",
            "SELECT COUNT(*) FILTER (WHERE status = 'adopted') * 100.0 / COUNT(*) AS p FROM animal",
        ),
        (
            "What do the animals of each keeper weigh in all?",
            f"SELECT name, SUM(weight) AS w FROM {BY_KEEPER} GROUP BY name",
        ),
        (
            "How many minutes did each species get?",
            f"SELECT species, SUM(v.minutes) AS m FROM {OF_ANIMAL} GROUP BY species",
        ),
        (
            "How many animals were seen in each species?",
            f"SELECT species, COUNT(DISTINCT a.animal_id) AS n FROM {OF_ANIMAL} GROUP BY 1",
        ),
        ("Which animals are not adopted?", "SELECT call_name FROM animal WHERE status <> 'adopted'"),
    ],
)
def test_nothing_is_told_of_what_is_right(shelter: QueryDatabase, goal: str, sql: str) -> None:
    assert (*shelter.review_query(sql, goal, True), *shelter.review_coverage([sql], goal)) == ()


@pytest.mark.parametrize("whole", ["SUM(COUNT(*)) OVER ()", "(SELECT COUNT(*) FROM animal)"])
def test_nothing_is_told_of_the_share_that_is_kept(shelter: QueryDatabase, whole: str) -> None:
    goal = "What percentage of the animals is open?"
    sql = f"SELECT status, COUNT(*) * 100.0 / {whole} AS p FROM animal GROUP BY status"
    assert shelter.review_query(shelter.fit_to_goal(sql, goal).sql, goal, True) == ()


def test_a_caller_s_query_is_neither_fitted_nor_reviewed(shelter: QueryDatabase) -> None:
    sql = "SELECT COUNT(*) AS n FROM animal WHERE status = 'open'"
    assert (shelter.preflight({"sql": sql}, {}).args or {"sql": sql})["sql"] == sql
