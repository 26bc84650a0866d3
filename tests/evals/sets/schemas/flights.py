"""Flights between airports as a DuckDB file: codes beside names, one table that another refers to twice, and goals."""

from datetime import datetime, timedelta
from pathlib import Path
from random import Random

import duckdb

from tests.evals.sets.goal import Goal, Gold

_SCHEMA = """
CREATE TABLE airport (
    code VARCHAR PRIMARY KEY, airport_name VARCHAR NOT NULL, city VARCHAR NOT NULL, country VARCHAR NOT NULL
);
CREATE TABLE airline (airline_id INTEGER PRIMARY KEY, airline_name VARCHAR NOT NULL, founded INTEGER NOT NULL);
CREATE TABLE aircraft (
    aircraft_id INTEGER PRIMARY KEY,
    airline_id INTEGER NOT NULL REFERENCES airline (airline_id),
    maker VARCHAR NOT NULL,
    seats INTEGER NOT NULL
);
CREATE TABLE flight (
    flight_id INTEGER PRIMARY KEY,
    aircraft_id INTEGER NOT NULL REFERENCES aircraft (aircraft_id),
    origin VARCHAR NOT NULL REFERENCES airport (code),
    destination VARCHAR NOT NULL REFERENCES airport (code),
    departure TIMESTAMP NOT NULL,
    delay_minutes INTEGER,
    status VARCHAR NOT NULL
);
COMMENT ON COLUMN flight.delay_minutes IS 'Empty for a flight that did not take place.';
CREATE TABLE booking (
    booking_id INTEGER PRIMARY KEY,
    flight_id INTEGER NOT NULL REFERENCES flight (flight_id),
    class VARCHAR NOT NULL,
    price DECIMAL(8, 2) NOT NULL
);
"""
_AIRPORTS = (
    ("OSL", "Gardermoen", "Oslo", "Norway"),
    ("BGO", "Flesland", "Bergen", "Norway"),
    ("TRD", "Vaernes", "Trondheim", "Norway"),
    ("ARN", "Arlanda", "Stockholm", "Sweden"),
    ("GOT", "Landvetter", "Gothenburg", "Sweden"),
    ("HEL", "Vantaa", "Helsinki", "Finland"),
    ("LIS", "Humberto Delgado", "Lisbon", "Portugal"),
    ("OPO", "Sa Carneiro", "Porto", "Portugal"),
    ("FAO", "Gago Coutinho", "Faro", "Portugal"),
    ("WAW", "Chopin", "Warsaw", "Poland"),
    ("KRK", "Balice", "Krakow", "Poland"),
    ("KEF", "Keflavik", "Reykjavik", "Iceland"),
)
_AIRLINES = (("Fjordair", 1987), ("Baltic Wings", 2004), ("Lusojet", 1999), ("Polar Lines", 2011))
_BEGIN = datetime(2022, 2, 1, 5)  # noqa: DTZ001 - the column has no time zone
_AIRCRAFT = (("Airbus", 180), ("Boeing", 189), ("Embraer", 100), ("ATR", 72), ("Airbus", 220))


def build_flights(file: Path) -> Path:
    """Write the flights to `file`, the same rows each time, and return it."""
    rng = Random(19)  # noqa: S311 - sample data, no secret
    aircraft = [(n, 1 + n % 4, *rng.choice(_AIRCRAFT)) for n in range(1, 23)]
    flights = list(_flights(rng))
    bookings = [
        (flight[0], rng.choices(("economy", "business", "first"), (12, 3, 1))[0], rng.randrange(3_900, 60_000) / 100)
        for flight in flights
        for _ in range(rng.randrange(4))
    ]
    with duckdb.connect(str(file)) as connection:
        connection.execute(_SCHEMA)
        connection.executemany("INSERT INTO airport VALUES (?, ?, ?, ?)", _AIRPORTS)
        connection.executemany(
            "INSERT INTO airline VALUES (?, ?, ?)", [(n, *each) for n, each in enumerate(_AIRLINES, 1)]
        )
        connection.executemany("INSERT INTO aircraft VALUES (?, ?, ?, ?)", aircraft)
        connection.executemany("INSERT INTO flight VALUES (?, ?, ?, ?, ?, ?, ?)", flights)
        connection.executemany(
            "INSERT INTO booking VALUES (?, ?, ?, ?)", [(n, *each) for n, each in enumerate(bookings, 1)]
        )
    return file


def _flights(rng: Random):
    codes = [airport[0] for airport in _AIRPORTS]
    for number in range(1, 901):
        # Nothing departs from the last airport.
        origin, destination = rng.choices(codes[:-1], range(len(codes) + 6, 7, -1))[0], rng.choice(codes)
        if origin == destination:
            destination = codes[-1]
        departure = _BEGIN + timedelta(minutes=int(1_533_000 * rng.random() ** 0.8))
        status = rng.choices(("on time", "delayed", "cancelled", "diverted"), (68, 22, 7, 3))[0]
        delay = {"on time": 0, "cancelled": None}.get(status, rng.randrange(6, 300))
        yield number, 1 + int(22 * rng.random() ** 1.3), origin, destination, departure, delay, status


_OF_AIRLINE = "flight JOIN aircraft USING (aircraft_id) JOIN airline USING (airline_id)"

FLIGHTS = (
    Goal(
        "flights_busiest_airports",
        "From which 4 airports did the most flights depart, and how many?",
        (
            Gold(
                """SELECT airport_name, COUNT(*) FROM flight JOIN airport ON code = origin
                GROUP BY 1 ORDER BY 2 DESC LIMIT 4"""
            ),
        ),
    ),
    Goal(
        "flights_cancelled",
        "How many flights of each airline were cancelled in 2023?",
        (
            Gold(
                f"""SELECT airline_name, COUNT(*) FROM {_OF_AIRLINE}
                WHERE status = 'cancelled' AND year(departure) = 2023 GROUP BY 1""",
                ordered=False,
            ),
        ),
    ),
    Goal(
        "flights_not_on_time",
        "How many flights were not on time in 2024?",
        (Gold("SELECT COUNT(*) FROM flight WHERE status <> 'on time' AND year(departure) = 2024"),),
    ),
    Goal(
        "flights_cancelled_percentage",
        "What percentage of the flights of each airline was cancelled?",
        (
            Gold(
                f"SELECT airline_name, 100.0 * AVG((status = 'cancelled')::INT) FROM {_OF_AIRLINE} GROUP BY 1",
                ordered=False,
            ),
        ),
    ),
    Goal(
        "flights_delay_by_country",
        "What is the average delay in minutes of the delayed flights to each country?",
        (
            Gold(
                """SELECT country, AVG(delay_minutes) FROM flight JOIN airport ON code = destination
                WHERE status = 'delayed' GROUP BY 1""",
                ordered=False,
            ),
        ),
    ),
    Goal(
        "flights_revenue",
        "What is the total price of the bookings of each class?",
        (Gold("SELECT class, SUM(price) FROM booking GROUP BY 1", ordered=False),),
    ),
    Goal(
        "flights_seats",
        "How many seats do the aircraft of each airline have in total?",
        (Gold("SELECT airline_name, SUM(seats) FROM aircraft JOIN airline USING (airline_id) GROUP BY 1", False),),
    ),
    Goal(
        "flights_countries",
        "Which countries have more than 2 airports?",
        (Gold("SELECT country FROM airport GROUP BY 1 HAVING COUNT(*) > 2", ordered=False),),
    ),
    Goal(
        "flights_no_departures",
        "Which airports have no departing flight?",
        (Gold("SELECT airport_name FROM airport WHERE code NOT IN (SELECT origin FROM flight)", ordered=False),),
    ),
    Goal(
        "flights_longest_delay",
        "What was the longest delay of each airline, in minutes?",
        (Gold(f"SELECT airline_name, MAX(delay_minutes) FROM {_OF_AIRLINE} GROUP BY 1", ordered=False),),
    ),
    Goal(
        "flights_quarters",
        "How many flights departed in each quarter of 2024? Draw a bar chart.",
        (
            Gold(
                """SELECT COUNT(*) FROM flight WHERE year(departure) = 2024
                GROUP BY quarter(departure) ORDER BY quarter(departure)"""
            ),
        ),
        chart=True,
    ),
    Goal(
        "flights_aircraft_to_oslo",
        "How many different aircraft have a flight to Oslo?",
        (Gold("SELECT COUNT(DISTINCT aircraft_id) FROM flight WHERE destination = 'OSL'"),),
    ),
)
