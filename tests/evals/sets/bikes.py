"""A made-up bike-share scheme as a DuckDB file: timestamps, trips without an end, guests without a membership."""

from datetime import date, datetime, timedelta
from pathlib import Path
from random import Random

import duckdb

_SCHEMA = """
CREATE TABLE stations (
    station_id INTEGER PRIMARY KEY,
    station_name VARCHAR NOT NULL UNIQUE,
    district VARCHAR NOT NULL,
    docks INTEGER NOT NULL,
    opened_on DATE NOT NULL,
    closed_on DATE
);
COMMENT ON COLUMN stations.closed_on IS 'Last day of service; empty while it is open.';
CREATE TABLE bikes (
    bike_id INTEGER PRIMARY KEY,
    model VARCHAR NOT NULL,
    bought_on DATE NOT NULL,
    retired_on DATE
);
COMMENT ON COLUMN bikes.retired_on IS 'Day it was taken out of service; empty while it is in use.';
CREATE TABLE members (
    member_id INTEGER PRIMARY KEY,
    full_name VARCHAR NOT NULL UNIQUE,
    tariff VARCHAR NOT NULL,
    joined_on DATE NOT NULL,
    birth_year INTEGER
);
CREATE TABLE trips (
    trip_id INTEGER PRIMARY KEY,
    bike_id INTEGER NOT NULL REFERENCES bikes (bike_id),
    member_id INTEGER REFERENCES members (member_id),
    start_station_id INTEGER NOT NULL REFERENCES stations (station_id),
    end_station_id INTEGER REFERENCES stations (station_id),
    started_at TIMESTAMP NOT NULL,
    ended_at TIMESTAMP,
    km DECIMAL(6, 2)
);
COMMENT ON TABLE trips IS 'A row for each hire. A trip without an end was never returned to a dock.';
COMMENT ON COLUMN trips.member_id IS 'Empty for a guest.';
COMMENT ON COLUMN trips.km IS 'Distance in kilometres.';
CREATE TABLE repairs (
    repair_id INTEGER PRIMARY KEY,
    bike_id INTEGER NOT NULL REFERENCES bikes (bike_id),
    part VARCHAR NOT NULL,
    reported_on DATE NOT NULL,
    fixed_on DATE,
    cost_eur DECIMAL(8, 2)
);
COMMENT ON COLUMN repairs.fixed_on IS 'Empty while the repair is open.';
"""
_STATIONS = (
    ("Central Station", "Centre", 40),
    ("Old Market", "Centre", 24),
    ("Cathedral", "Centre", 18),
    ("University", "North", 36),
    ("Botanical Garden", "North", 14),
    ("Science Park", "North", 28),
    ("River Bend", "East", 16),
    ("Stadium", "East", 30),
    ("Harbour", "South", 22),
    ("Fish Market", "South", 12),
    ("Airport Road", "West", 20),
    ("Mill Lane", "West", 10),
)
_MODELS = ("City 3", "City 5", "Cargo One", "E-Volt")
_TARIFFS = ("Annual", "Monthly", "Student")
_PARTS = ("Brake", "Chain", "Light", "Saddle", "Tyre")
_GIVEN = ("Alma", "Boris", "Carla", "David", "Eva", "Felix", "Gina", "Henrik", "Ida", "Jonas", "Karin", "Leo")
_FAMILY = ("Adler", "Bianchi", "Costa", "Dahl", "Engel", "Fischer", "Greco", "Holm", "Iversen", "Kovacs")
_BIKES, _MEMBERS, _TRIPS, _REPAIRS = 60, 90, 2_600, 240
_FIRST = datetime(2023, 1, 1, 5)  # noqa: DTZ001 - the column has no zone


def build_bikes(file: Path) -> Path:
    """Write the scheme to `file`, the same rows each time, and return it."""
    rng = Random(77)  # noqa: S311 - sample data, no secret
    with duckdb.connect(str(file)) as connection:
        connection.execute(_SCHEMA)
        for table, rows in (
            ("stations", list(_stations())),
            ("bikes", list(_bikes(rng))),
            ("members", list(_members(rng))),
            ("trips", list(_trips(rng))),
            ("repairs", list(_repairs(rng))),
        ):
            # One statement for all rows: DuckDB takes milliseconds for each that it is given by itself.
            row = f"({', '.join('?' * len(rows[0]))})"
            values = [value for each in rows for value in each]
            connection.execute(f"INSERT INTO {table} VALUES {', '.join([row] * len(rows))}", values)
    return file


def _stations():
    for number, (name, district, docks) in enumerate(_STATIONS, 1):
        closed = date(2024, 5, 31) if name == "Mill Lane" else None
        yield number, name, district, docks, date(2020, 3, 1) + timedelta(days=97 * number), closed


def _bikes(rng: Random):
    for number in range(1, _BIKES + 1):
        model = rng.choices(_MODELS, [5, 4, 1, 2])[0]
        bought = date(2020, 3, 1) + timedelta(days=rng.randrange(1_000))
        yield number, model, bought, bought + timedelta(days=1_300) if rng.random() < 0.15 else None


def _members(rng: Random):
    names = [f"{given} {family}" for given in _GIVEN for family in _FAMILY]
    rng.shuffle(names)
    for number, name in enumerate(names[:_MEMBERS], 1):
        tariff = rng.choices(_TARIFFS, [5, 3, 4])[0]
        joined = date(2021, 1, 1) + timedelta(days=rng.randrange(1_300))
        yield number, name, tariff, joined, rng.randrange(1950, 2007) if rng.random() > 0.1 else None


def _trips(rng: Random):
    weights = [9, 6, 4, 8, 2, 5, 3, 4, 5, 2, 3, 1]
    for number in range(1, _TRIPS + 1):
        start, end = (rng.choices(range(1, len(_STATIONS) + 1), weights)[0] for _ in range(2))
        began = _FIRST + timedelta(days=rng.randrange(730), minutes=int(60 * rng.triangular(0, 18, 12)))
        member = 1 + int(_MEMBERS * rng.random() ** 1.6) if rng.random() > 0.2 else None
        bike = 1 + int(_BIKES * rng.random() ** 1.3)
        if rng.random() < 0.015:
            yield number, bike, member, start, None, began, None, None
            continue
        minutes = rng.randrange(4, 75)
        yield number, bike, member, start, end, began, began + timedelta(minutes=minutes), round(minutes * 0.21, 2)


def _repairs(rng: Random):
    for number in range(1, _REPAIRS + 1):
        reported = date(2023, 1, 5) + timedelta(days=rng.randrange(720))
        days = rng.randrange(1, 25)
        still_open = rng.random() < 0.08
        part = rng.choices(_PARTS, [5, 4, 3, 2, 6])[0]
        cost = None if still_open else round(8 + 4 * _PARTS.index(part) + rng.randrange(4_000) / 100, 2)
        bike = 1 + int(_BIKES * rng.random() ** 1.4)
        yield number, bike, part, reported, None if still_open else reported + timedelta(days=days), cost
