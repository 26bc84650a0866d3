"""A made-up clinic as a SQLite file: names of several habits, one of them with a space, and values that are missing."""

import sqlite3
from contextlib import closing
from datetime import date, timedelta
from pathlib import Path
from random import Random

_SCHEMA = """
CREATE TABLE insurer (code TEXT PRIMARY KEY, title TEXT NOT NULL);
CREATE TABLE tbl_Patient (
    PatientNo INTEGER PRIMARY KEY,
    LastName TEXT NOT NULL,
    FirstName TEXT NOT NULL,
    BirthDate DATE,
    Town TEXT NOT NULL,
    InsurerCode TEXT REFERENCES insurer (code)
);
CREATE TABLE physician (
    phys_id INTEGER PRIMARY KEY,
    phys_name TEXT NOT NULL,
    specialty TEXT NOT NULL,
    hired_on DATE NOT NULL
);
CREATE TABLE appt (
    appt_id INTEGER PRIMARY KEY,
    PatientNo INTEGER NOT NULL REFERENCES tbl_Patient (PatientNo),
    phys_id INTEGER NOT NULL REFERENCES physician (phys_id),
    "Visit Date" DATE NOT NULL,
    minutes INTEGER,
    outcome TEXT NOT NULL,
    fee REAL
);
CREATE TABLE rx (
    rx_id INTEGER PRIMARY KEY,
    appt_id INTEGER NOT NULL REFERENCES appt (appt_id),
    drug TEXT NOT NULL,
    tablets INTEGER NOT NULL
);
"""
_INSURERS = (("ALP", "Alpine Mutual"), ("COM", "Commonwell"), ("HAR", "Harbour Health"), ("NOR", "Northlight"))
_FAMILY = (
    "Abel",
    "Brandt",
    "Castro",
    "Dumont",
    "Eriksen",
    "Farkas",
    "Grau",
    "Hale",
    "Ivanova",
    "Jansen",
    "Kaya",
    "Lund",
)
_GIVEN = ("Ada", "Bela", "Cleo", "Dora", "Emil", "Finn", "Greta", "Hugo", "Ines", "Jon")
_TOWNS = ("Eastbrook", "Fairview", "Greenford", "Hillcrest", "Lakeside")
_PHYSICIANS = (
    ("Dr. Amara Osei", "Cardiology", date(2012, 3, 1)),
    ("Dr. Bruno Keller", "Cardiology", date(2019, 9, 15)),
    ("Dr. Chiara Conti", "Dermatology", date(2015, 1, 10)),
    ("Dr. Dmitri Volkov", "Neurology", date(2021, 6, 1)),
    ("Dr. Elena Popescu", "Paediatrics", date(2010, 11, 20)),
    ("Dr. Farid Rahimi", "General practice", date(2017, 4, 3)),
    ("Dr. Grace Lin", "General practice", date(2022, 2, 14)),
)
_DRUGS = ("Amoxil", "Brufen", "Cardivas", "Dermovan", "Ibutop", "Lorvast", "Metrofin")
_FIRST, _DAYS = date(2022, 1, 3), 1_090
_PATIENTS, _VISITS = 110, 1_400


def build_clinic(file: Path) -> Path:
    """Write the clinic to `file`, the same rows each time, and return it."""
    rng = Random(41)  # noqa: S311 - sample data, no secret
    with closing(sqlite3.connect(file)) as connection, connection:
        connection.executescript(_SCHEMA)
        connection.executemany("INSERT INTO insurer VALUES (?, ?)", _INSURERS)
        connection.executemany("INSERT INTO tbl_Patient VALUES (?, ?, ?, ?, ?, ?)", list(_patients(rng)))
        physicians = [(number, name, field, str(day)) for number, (name, field, day) in enumerate(_PHYSICIANS, 1)]
        connection.executemany("INSERT INTO physician VALUES (?, ?, ?, ?)", physicians)
        visits = list(_visits(rng))
        connection.executemany("INSERT INTO appt VALUES (?, ?, ?, ?, ?, ?, ?)", visits)
        connection.executemany("INSERT INTO rx VALUES (?, ?, ?, ?)", list(_prescriptions(visits, rng)))
    return file


def _patients(rng: Random):
    names = [(family, given) for family in _FAMILY for given in _GIVEN]
    rng.shuffle(names)
    for number, (family, given) in enumerate(names[:_PATIENTS], 1_001):
        born = date(1935, 1, 1) + timedelta(days=rng.randrange(30_000))
        insurer = rng.choices([*(code for code, _ in _INSURERS), None], [8, 5, 4, 3, 2])[0]
        town = rng.choices(_TOWNS, [6, 5, 4, 3, 2])[0]
        yield number, family, given, str(born) if rng.random() > 0.06 else None, town, insurer


def _visits(rng: Random):
    for number in range(1, _VISITS + 1):
        # Some patients come more often than others, and some never.
        patient = 1_001 + int(_PATIENTS * rng.random() ** 1.7)
        physician = rng.choices(range(1, len(_PHYSICIANS) + 1), [5, 4, 4, 2, 6, 8, 7])[0]
        day = _FIRST + timedelta(days=int(_DAYS * rng.random() ** 0.8))
        outcome = rng.choices(("kept", "missed", "cancelled"), [80, 12, 8])[0]
        kept = outcome == "kept"
        minutes = rng.choice((10, 15, 20, 30, 45, 60)) if kept and rng.random() > 0.05 else None
        fee = round(35 + 12.5 * physician + rng.randrange(6_000) / 100, 2) if kept else None
        yield number, patient, physician, str(day), minutes, outcome, fee


def _prescriptions(visits: list[tuple], rng: Random):
    number = 0
    for visit in visits:
        if visit[5] == "kept":
            for drug in rng.sample(_DRUGS, rng.choices((0, 1, 2), [5, 4, 1])[0]):
                number += 1
                yield number, visit[0], drug, rng.choice((10, 20, 30, 50, 100))
