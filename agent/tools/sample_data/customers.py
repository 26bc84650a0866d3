"""The customers of the sample shop: persons and companies across Europe, with their buying habits."""

import unicodedata
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import accumulate
from random import Random

from agent.tools.sample_data.products import FIRST_DAY, Product, read_csv_rows

#: Segment: (share of the customers, (fewest, most) orders a year, most lines of an order, choices of units of a line).
SEGMENTS = {
    "Consumer": (0.58, (2, 8), 4, (1, 1, 1, 1, 2, 2, 3)),
    "Small Business": (0.26, (6, 18), 6, (1, 1, 2, 2, 3, 4, 5)),
    "Corporate": (0.11, (12, 40), 8, (2, 3, 4, 5, 6, 8, 10, 12)),
    "Public Sector": (0.05, (8, 24), 7, (2, 2, 4, 5, 6, 10)),
}
CUSTOMER_COUNT = 1_250
_PUBLIC_BODIES = (
    "City Library",
    "University",
    "District Court",
    "School Board",
    "Museum of Art",
    "Hospital Trust",
)


@dataclass(frozen=True)
class Customer:
    """A customer with their buying habits: orders a year, basket size, and favourite products with weights."""

    customer_id: int
    name: str
    segment: str
    email: str
    city: str
    country: str
    region: str
    joined_on: date
    orders_a_year: float
    largest_basket: int
    units: tuple[int, ...]
    favorites: tuple[Product, ...]
    favorite_weights: tuple[int, ...]


@dataclass(frozen=True)
class _Names:
    """The names of one language area."""

    given: list[str]
    family: list[str]
    trades: list[str]
    forms: list[str]


def make_customers(products: list[Product], *, rng: Random) -> list[Customer]:
    """Return the customers, with unique names, in the order in which they joined."""
    places = list(read_csv_rows("places.csv"))
    place_weights = list(accumulate(int(place["weight"]) for place in places))
    names_of = _read_names_by_country()
    popularity = list(accumulate(product.popularity for product in products))
    joining_days = sorted(_choose_joining_day(rng) for _ in range(CUSTOMER_COUNT))
    taken: set[str] = set()
    customers = []
    for number, joined_on in enumerate(joining_days, start=1):
        place = rng.choices(places, cum_weights=place_weights)[0]
        segment = rng.choices(list(SEGMENTS), weights=[share for share, *_ in SEGMENTS.values()])[0]
        _, (least, most), largest_basket, units = SEGMENTS[segment]
        name = _make_unique_name(
            segment, place["city"], names=rng.choice(names_of[place["country"]]), taken=taken, rng=rng
        )
        favourites = _choose_favorites(products, popularity=popularity, rng=rng)
        customers.append(
            Customer(
                customer_id=number,
                name=name,
                segment=segment,
                email=_email(name, segment=segment, number=number),
                city=place["city"],
                country=place["country"],
                region=place["region"],
                joined_on=joined_on,
                # The square gives few customers many orders and most of them few.
                orders_a_year=least + (most - least) * rng.random() ** 2,
                largest_basket=largest_basket,
                units=units,
                favorites=favourites,
                favorite_weights=tuple(accumulate((14, 7, 5, *[3] * (len(favourites) - 3)))),
            )
        )
    return customers


def _choose_joining_day(rng: Random) -> date:
    if rng.random() < 0.7:
        return FIRST_DAY - timedelta(days=rng.randrange(1, 700))
    return FIRST_DAY + timedelta(days=rng.randrange(1_400))


def _choose_favorites(products: list[Product], *, popularity: list[int], rng: Random) -> tuple[Product, ...]:
    """Return eight different products; the first gets the highest weight."""
    chosen: dict[int, Product] = {}
    while len(chosen) < 8:
        product = rng.choices(products, cum_weights=popularity)[0]
        chosen.setdefault(product.product_id, product)
    return tuple(chosen.values())


def _read_names_by_country() -> dict[str, list[_Names]]:
    found: dict[str, list[_Names]] = {}
    for row in read_csv_rows("names.csv"):
        names = _Names(*(row[part].split(";") for part in ("given", "family", "trades", "forms")))
        for country in row["countries"].split(";"):
            found.setdefault(country, []).append(names)
    return found


def _make_unique_name(segment: str, city: str, *, names: _Names, taken: set[str], rng: Random) -> str:
    while True:
        family = rng.choice(names.family)
        match segment:
            case "Consumer":
                name = f"{rng.choice(names.given)} {family}"
                if name in taken:
                    name = f"{rng.choice(names.given)} {family}-{rng.choice(names.family)}"
            case "Public Sector":
                name = f"{city} {rng.choice(_PUBLIC_BODIES)}"
                if name in taken:
                    name = f"{family} Foundation {city}"
            case "Corporate":
                name = f"{family} {rng.choice(names.trades)} {names.forms[-1]}"
            case _:
                name = f"{family} {rng.choice(names.trades)} {names.forms[0]}"
                if name in taken:
                    name = f"{family} & {rng.choice(names.family)} {names.forms[0]}"
        if name not in taken:
            taken.add(name)
            return name


def _email(name: str, *, segment: str, number: int) -> str:
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode().lower()
    words = "".join(letter if letter.isalnum() else " " for letter in plain).split()
    if segment == "Consumer":
        return f"{'.'.join(words)}{number}@mail.example"
    return f"office@{'-'.join(words)}.example"
