"""A hospital's roster as a SQLite file: days, points in time and months, all kept as texts, and goals over it."""

import sqlite3
from contextlib import closing
from datetime import date, datetime, timedelta
from pathlib import Path
from random import Random

from tests.evals.sets.goal import Goal, Gold

_SCHEMA = """
CREATE TABLE ward (ward_id INTEGER PRIMARY KEY, ward_name TEXT NOT NULL, floor INTEGER NOT NULL, beds INTEGER NOT NULL);
CREATE TABLE nurse (
    nurse_id INTEGER PRIMARY KEY,
    first_name TEXT NOT NULL,
    last_name TEXT NOT NULL,
    grade TEXT NOT NULL,
    ward_id INTEGER NOT NULL REFERENCES ward (ward_id),
    hired_on TEXT NOT NULL
);
CREATE TABLE shift (
    shift_id INTEGER PRIMARY KEY,
    nurse_id INTEGER NOT NULL REFERENCES nurse (nurse_id),
    ward_id INTEGER NOT NULL REFERENCES ward (ward_id),
    starts_at TEXT NOT NULL,
    hours REAL NOT NULL,
    kind TEXT NOT NULL
);
CREATE TABLE absence (
    absence_id INTEGER PRIMARY KEY,
    nurse_id INTEGER NOT NULL REFERENCES nurse (nurse_id),
    first_day TEXT NOT NULL,
    last_day TEXT NOT NULL,
    reason TEXT NOT NULL
);
CREATE TABLE staffing (
    ward_id INTEGER NOT NULL REFERENCES ward (ward_id),
    month TEXT NOT NULL,
    planned_hours INTEGER NOT NULL,
    PRIMARY KEY (ward_id, month)
);
"""
_WARDS = (("Surgery", 1, 24), ("Maternity", 1, 16), ("Oncology", 2, 20), ("Cardiac Care", 2, 12), ("Geriatrics", 3, 30))
_FIRST = ("Agnes", "Bruno", "Carla", "Denis", "Elif", "Femi", "Gloria", "Hamid")
_LAST = ("Arden", "Bosch", "Cheng", "Dahl", "Egan", "Ferro", "Gupta", "Horvat", "Igwe", "Jung", "Kraus", "Lopez")
_GRADES = ("staff nurse", "senior nurse", "charge nurse")
_BEGIN = datetime(2023, 1, 1)  # noqa: DTZ001 - the texts have no time zone
_STARTS = {"day": 6, "late": 14, "night": 22}


def build_roster(file: Path) -> Path:
    """Write the roster to `file`, the same rows each time, and return it."""
    rng = Random(33)  # noqa: S311 - sample data, no secret
    nurses = [
        (n, rng.choice(_FIRST), name, rng.choices(_GRADES, (6, 3, 1))[0], rng.choices(range(1, 6), (5, 3, 4, 2, 4))[0])
        for n, name in enumerate((*_LAST, *(f"{name}-Ray" for name in _LAST), *(f"Mc{name}" for name in _LAST)), 1)
    ]
    hired = [str(date(2009, 1, 5) + timedelta(days=int(5_400 * rng.random()))) for _ in nurses]
    months = [f"{year}-{month:02}" for year in (2023, 2024) for month in range(1, 13)]
    absences = []
    for number in range(1, 141):
        first = date(2023, 1, 2) + timedelta(days=rng.randrange(700))
        last = first + timedelta(days=rng.randrange(9))
        reason = rng.choices(("illness", "holiday", "training", "parental"), (5, 6, 3, 1))[0]
        absences.append((number, 1 + int(33 * rng.random()), str(first), str(last), reason))
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.executescript(_SCHEMA)
        connection.executemany("INSERT INTO ward VALUES (?, ?, ?, ?)", [(n, *each) for n, each in enumerate(_WARDS, 1)])
        connection.executemany(
            "INSERT INTO nurse VALUES (?, ?, ?, ?, ?, ?)",
            [(*nurse, day) for nurse, day in zip(nurses, hired, strict=True)],
        )
        connection.executemany("INSERT INTO shift VALUES (?, ?, ?, ?, ?, ?)", list(_shifts(rng)))
        connection.executemany("INSERT INTO absence VALUES (?, ?, ?, ?, ?)", absences)
        connection.executemany(
            "INSERT INTO staffing VALUES (?, ?, ?)",
            [(ward, month, rng.randrange(300, 900)) for ward in range(1, 6) for month in months],
        )
    return file


def _shifts(rng: Random):
    for number in range(1, 1_501):
        kind = rng.choices(tuple(_STARTS), (5, 3, 3))[0]
        day = _BEGIN + timedelta(days=int(730 * rng.random()), hours=_STARTS[kind])
        nurse, ward = 1 + int(36 * rng.random() ** 1.3), rng.choices(range(1, 6), (5, 3, 4, 2, 4))[0]
        yield number, nurse, ward, str(day), rng.choice((7.5, 8.0, 10.0)), kind


ROSTER = (
    Goal(
        "roster_hours_2024",
        "How many hours were worked on each ward in 2024?",
        (
            Gold(
                """SELECT ward_name, SUM(hours) FROM shift JOIN ward USING (ward_id)
                WHERE year(starts_at::TIMESTAMP) = 2024 GROUP BY 1""",
                ordered=False,
            ),
        ),
    ),
    Goal(
        "roster_planned_2023",
        "How many hours were planned for each ward in 2023?",
        (
            Gold(
                """SELECT ward_name, SUM(planned_hours) FROM staffing JOIN ward USING (ward_id)
                WHERE left(month, 4) = '2023' GROUP BY 1""",
                ordered=False,
            ),
        ),
    ),
    Goal(
        "roster_planned_per_year",
        "How many hours were planned in each year?",
        (Gold("SELECT left(month, 4), SUM(planned_hours) FROM staffing GROUP BY 1", ordered=False),),
    ),
    Goal(
        "roster_most_nights",
        "Which 3 nurses worked the most night shifts? Give first name, last name and the number.",
        (
            Gold(
                """SELECT first_name, last_name, COUNT(*) FROM shift JOIN nurse USING (nurse_id)
                WHERE kind = 'night' GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 3"""
            ),
        ),
    ),
    Goal(
        "roster_not_day",
        "How many shifts were not day shifts?",
        (Gold("SELECT COUNT(*) FROM shift WHERE kind <> 'day'"),),
    ),
    Goal(
        "roster_absence_days",
        "How many days were nurses absent for each reason, first and last day included?",
        (
            Gold(
                "SELECT reason, SUM(last_day::DATE - first_day::DATE + 1) FROM absence GROUP BY 1",
                ordered=False,
            ),
        ),
    ),
    Goal(
        "roster_large_wards",
        "Which wards have more than 7 nurses?",
        (
            Gold(
                "SELECT ward_name FROM nurse JOIN ward USING (ward_id) GROUP BY 1 HAVING COUNT(*) > 7",
                ordered=False,
            ),
        ),
    ),
    Goal(
        "roster_night_nurses",
        "How many nurses worked a night shift in March 2024?",
        (Gold("SELECT COUNT(DISTINCT nurse_id) FROM shift WHERE kind = 'night' AND starts_at LIKE '2024-03%'"),),
    ),
    Goal(
        "roster_night_percentage",
        "What percentage of the shifts of each ward are night shifts?",
        (
            Gold(
                """SELECT ward_name, 100.0 * AVG((kind = 'night')::INT) FROM shift JOIN ward USING (ward_id)
                GROUP BY 1""",
                ordered=False,
            ),
        ),
    ),
    Goal(
        "roster_first_hired",
        "Which nurse of each grade was hired first?",
        (
            Gold(
                """SELECT grade, last_name FROM nurse
                QUALIFY row_number() OVER (PARTITION BY grade ORDER BY hired_on) = 1""",
                ordered=False,
            ),
        ),
    ),
    Goal(
        "roster_beds",
        "How many beds does each floor have?",
        (Gold("SELECT floor, SUM(beds) FROM ward GROUP BY 1", ordered=False),),
    ),
    Goal(
        "roster_never_absent",
        "How many nurses were never absent?",
        (Gold("SELECT COUNT(*) FROM nurse WHERE nurse_id NOT IN (SELECT nurse_id FROM absence)"),),
    ),
)
