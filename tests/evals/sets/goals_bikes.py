"""Goals over the bike-share scheme, written before any model had tried them; code is tried on their work half only."""

from tests.evals.sets.goal import Goal, Gold

_TOP_STATIONS = """SELECT station_name FROM trips JOIN stations ON start_station_id = station_id
GROUP BY 1 ORDER BY COUNT(*) DESC LIMIT 3"""

BIKES = (
    Goal(
        "bikes_trips_per_year",
        "How many trips were there in each year?",
        (Gold("SELECT year(started_at), COUNT(*) FROM trips GROUP BY 1", ordered=False),),
    ),
    Goal(
        "bikes_busiest_stations",
        "From which 3 stations did the most trips start?",
        (Gold(_TOP_STATIONS),),
    ),
    Goal(
        "bikes_district_docks",
        "How many docks does each district have?",
        (Gold("SELECT district, SUM(docks) FROM stations GROUP BY 1", ordered=False),),
    ),
    Goal(
        "bikes_never_returned",
        "How many trips were never ended?",
        (Gold("SELECT COUNT(*) FROM trips WHERE ended_at IS NULL"),),
    ),
    Goal(
        "bikes_guests",
        "How many kilometres did guests without a membership ride in 2024?",
        (Gold("SELECT SUM(km) FROM trips WHERE member_id IS NULL AND year(started_at) = 2024"),),
    ),
    Goal(
        "bikes_tariff_trips",
        "How many trips did the members of each tariff make?",
        (Gold("SELECT tariff, COUNT(*) FROM trips JOIN members USING (member_id) GROUP BY 1", ordered=False),),
    ),
    Goal(
        "bikes_top_riders",
        "Which 5 members rode the most kilometres, and how many?",
        (
            Gold(
                """SELECT full_name, SUM(km) FROM trips JOIN members USING (member_id)
                GROUP BY 1 ORDER BY 2 DESC LIMIT 5"""
            ),
        ),
    ),
    Goal(
        "bikes_repair_cost",
        "What did the repairs of each part cost in total? Draw a bar chart.",
        (Gold("SELECT part, SUM(cost_eur) FROM repairs GROUP BY 1", ordered=False),),
        chart=True,
    ),
    Goal(
        "bikes_open_repairs",
        "Which parts have repairs that are still open, and how many each?",
        (Gold("SELECT part, COUNT(*) FROM repairs WHERE fixed_on IS NULL GROUP BY 1", ordered=False),),
    ),
    Goal(
        "bikes_repair_days",
        "How many days does it take on average to fix each part?",
        (
            Gold(
                "SELECT part, AVG(fixed_on - reported_on) FROM repairs WHERE fixed_on IS NOT NULL GROUP BY 1",
                ordered=False,
            ),
        ),
    ),
    Goal(
        "bikes_models",
        "How many bikes of each model are still in use?",
        (Gold("SELECT model, COUNT(*) FROM bikes WHERE retired_on IS NULL GROUP BY 1", ordered=False),),
    ),
    Goal(
        "bikes_monthly",
        "How did the number of trips develop by month in 2024? Draw a line chart.",
        (
            Gold(
                """SELECT COUNT(*) FROM trips WHERE year(started_at) = 2024
                GROUP BY month(started_at) ORDER BY month(started_at)"""
            ),
        ),
        chart=True,
    ),
    Goal(
        "bikes_nobody_so_old",
        "Which members born before 1940 took a trip that started at Airport Road?",
        (Gold("SELECT full_name FROM members WHERE false"),),
    ),
    Goal(
        "bikes_station_members",
        "Find the 3 stations where the most trips start, and for each of them the member who starts there most often",
        (
            Gold(_TOP_STATIONS),
            Gold(
                f"""SELECT station_name, full_name FROM trips JOIN stations ON start_station_id = station_id
                JOIN members USING (member_id) WHERE station_name IN ({_TOP_STATIONS}) GROUP BY 1, 2
                QUALIFY row_number() OVER (PARTITION BY station_name ORDER BY COUNT(*) DESC) = 1""",
                ordered=False,
            ),
        ),
    ),
    Goal(
        "bikes_save_students",
        "Save the names and joining dates of all members with the Student tariff who joined in 2022 as students.csv",
        (
            Gold(
                "SELECT full_name, joined_on FROM members WHERE tariff = 'Student' AND year(joined_on) = 2022",
                ordered=False,
            ),
        ),
        file=".csv",
    ),
    Goal(
        "bikes_worst_bikes",
        "Which 3 bikes had the highest repair costs? Give the bike id, its model and the costs.",
        (
            Gold(
                """SELECT bike_id, model, SUM(cost_eur) FROM repairs JOIN bikes USING (bike_id)
                GROUP BY 1, 2 ORDER BY 3 DESC LIMIT 3"""
            ),
        ),
    ),
    Goal(
        "bikes_closed",
        "Which stations have been closed, and on which day?",
        (Gold("SELECT station_name, closed_on FROM stations WHERE closed_on IS NOT NULL"),),
    ),
)
