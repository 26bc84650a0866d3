"""A music store as a folder of CSV files, without keys that anybody declared: ids beside names, and goals over it."""

import csv
from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from pathlib import Path
from random import Random

from tests.evals.sets.goal import Goal, Gold

_ARTISTS = ("The Lanterns", "Mona Delay", "Quartet Nine", "Salt & Ivy", "Okra Bell", "North Pier", "Juno Vale")
_GENRES = ("Rock", "Jazz", "Folk", "Electronic", "Classical")
_WORDS = ("River", "Glass", "Static", "Amber", "Hollow", "Neon", "Cedar", "Velvet", "Echo", "Harbor", "Signal", "Dune")
_ENDS = ("Song", "Nights", "Run", "Theory", "Waltz", "Line", "Fires", "Room", "Days", "Sky", "Road", "Hours")
_CUSTOMERS = ("Ines Prado", "Karl Boehm", "Lea Martin", "Noah Clarke", "Oona Virta", "Pedro Lima", "Rosa Gil")
_MORE = ("Sam Reed", "Tara Singh", "Uwe Falk", "Vera Novak", "Will Hayes", "Yuki Mori", "Zoe Brand", "Ada Roth")
_COUNTRIES = ("Canada", "Brazil", "Germany", "Japan", "France")


def build_music(folder: Path) -> Path:
    """Write the files into `folder`, the same rows each time, and return it."""
    rng = Random(30)  # noqa: S311 - sample data, no secret
    albums = [
        (n, f"{rng.choice(_WORDS)} {end}", 1 + int(7 * rng.random() ** 1.4), rng.randrange(1998, 2024))
        for n, end in enumerate((*_ENDS, *(f"{end} II" for end in _ENDS)), 1)
    ]
    titles = [f"{word} {end}" for word in _WORDS for end in _ENDS]
    rng.shuffle(titles)
    lengths = rng.sample(range(95, 640), len(titles))
    genres = [rng.choice(_GENRES) for _ in albums]
    tracks = [
        (n, title, album, genres[album - 1], lengths[n - 1], rng.choice((0.79, 0.99, 1.29)))
        for n, title in enumerate(titles, 1)
        for album in (1 + rng.randrange(len(albums)),)
    ]
    people = [(n, name, rng.choice(_COUNTRIES)) for n, name in enumerate((*_CUSTOMERS, *_MORE), 1)]
    lines, invoices = list[tuple[int, int, int, int, float]](), list[tuple[int, int, date, float]]()
    for number in range(1, 321):
        bought = [
            (tracks[int(132 * rng.random() ** 1.4)], rng.choice((1, 1, 1, 2, 3))) for _ in range(rng.randrange(1, 5))
        ]
        lines += [(len(lines) + k, number, track[0], count, track[5]) for k, (track, count) in enumerate(bought, 1)]
        total = round(sum(count * track[5] for track, count in bought), 2)
        day = date(2022, 3, 1) + timedelta(days=int(1_000 * rng.random()))
        invoices.append((number, 1 + int(14 * rng.random() ** 1.2), day, total))
    folder.mkdir(exist_ok=True)
    write_csv(folder / "artists.csv", ("artist_id", "artist"), enumerate(_ARTISTS, 1))
    write_csv(folder / "albums.csv", ("album_id", "album_title", "artist_id", "release_year"), albums)
    write_csv(folder / "tracks.csv", ("track_id", "title", "album_id", "genre", "seconds", "price"), tracks)
    write_csv(folder / "customers.csv", ("customer_id", "customer_name", "country"), people)
    write_csv(folder / "invoices.csv", ("invoice_id", "customer_id", "invoice_date", "total"), invoices)
    write_csv(
        folder / "invoice_lines.csv", ("invoice_line_id", "invoice_id", "track_id", "quantity", "unit_price"), lines
    )
    return folder


def write_csv(file: Path, names: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Write one table to `file`."""
    with file.open("w", encoding="utf-8", newline="") as text:
        writer = csv.writer(text)
        writer.writerow(names)
        writer.writerows(rows)


MUSIC = (
    Goal(
        "music_best_customers",
        "Which 3 customers spent the most, and how much?",
        (
            Gold(
                """SELECT customer_name, SUM(total) FROM invoices JOIN customers USING (customer_id)
                GROUP BY 1 ORDER BY 2 DESC LIMIT 3"""
            ),
        ),
    ),
    Goal(
        "music_best_tracks",
        "Of which 3 tracks were the most copies sold?",
        (
            Gold(
                """SELECT title FROM invoice_lines JOIN tracks USING (track_id)
                GROUP BY 1 ORDER BY SUM(quantity) DESC LIMIT 3"""
            ),
        ),
    ),
    Goal(
        "music_genre_seconds",
        "How many seconds of music does each genre have?",
        (Gold("SELECT genre, SUM(seconds) FROM tracks GROUP BY 1", ordered=False),),
    ),
    Goal(
        "music_busy_artists",
        "Which artists have more than 4 albums?",
        (
            Gold(
                "SELECT artist FROM albums JOIN artists USING (artist_id) GROUP BY 1 HAVING COUNT(*) > 4",
                ordered=False,
            ),
        ),
    ),
    Goal(
        "music_monthly_revenue",
        "What was the total of the invoices in each month of 2023?",
        (
            Gold(
                """SELECT SUM(total) FROM invoices WHERE year(invoice_date) = 2023
                GROUP BY month(invoice_date) ORDER BY month(invoice_date)"""
            ),
        ),
    ),
    Goal(
        "music_not_rock",
        "How many tracks are not Rock?",
        (Gold("SELECT COUNT(*) FROM tracks WHERE genre <> 'Rock'"),),
    ),
    Goal(
        "music_canada_percentage",
        "What percentage of the invoices went to customers in Canada?",
        (Gold("SELECT 100.0 * AVG((country = 'Canada')::INT) FROM invoices JOIN customers USING (customer_id)"),),
    ),
    Goal(
        "music_never_sold",
        "How many tracks were never sold?",
        (Gold("SELECT COUNT(*) FROM tracks WHERE track_id NOT IN (SELECT track_id FROM invoice_lines)"),),
    ),
    Goal(
        "music_longest_per_genre",
        "What is the longest track of each genre?",
        (
            Gold(
                """SELECT genre, title FROM tracks
                QUALIFY row_number() OVER (PARTITION BY genre ORDER BY seconds DESC) = 1""",
                ordered=False,
            ),
        ),
    ),
    Goal(
        "music_jazz_albums",
        "How many albums have a Jazz track?",
        (Gold("SELECT COUNT(DISTINCT album_id) FROM tracks WHERE genre = 'Jazz'"),),
    ),
    Goal(
        "music_brazil_total",
        "What is the total of the invoices of customers from Brazil?",
        (Gold("SELECT SUM(total) FROM invoices JOIN customers USING (customer_id) WHERE country = 'Brazil'"),),
    ),
    Goal(
        "music_tracks_per_artist",
        "How many tracks does each artist have?",
        (
            Gold(
                """SELECT artist, COUNT(*) FROM tracks JOIN albums USING (album_id) JOIN artists USING (artist_id)
                GROUP BY 1""",
                ordered=False,
            ),
        ),
    ),
)
