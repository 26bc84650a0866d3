"""The products of the sample shop: categories, products and their price history."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from random import Random

FIRST_DAY = date(2021, 1, 1)
LAST_DAY = date(2024, 12, 31)

#: Demand by month, January first, for the seasons of the categories; 10 is an average month.
SEASONS = {
    "flat": (11, 10, 10, 10, 10, 9, 9, 8, 11, 10, 11, 10),
    "gift": (8, 8, 9, 9, 10, 9, 8, 8, 9, 10, 17, 20),
    "school": (12, 9, 9, 9, 9, 8, 8, 14, 16, 10, 10, 8),
    "spring": (7, 9, 13, 15, 14, 11, 8, 8, 10, 9, 8, 10),
    "summer": (2, 4, 10, 17, 22, 20, 16, 9, 5, 3, 4, 6),
    "winter": (13, 12, 10, 8, 7, 6, 6, 7, 10, 12, 14, 15),
}


@dataclass(frozen=True)
class Category:
    """A category, with the demand for it by month and the share of order lines that are returned."""

    category_id: int
    name: str
    department: str
    season: tuple[int, ...]
    return_rate: float


@dataclass(frozen=True)
class Product:
    """A product; costs and prices are in cents, and `prices` has pairs of first day and price, oldest first."""

    product_id: int
    name: str
    category: Category
    brand: str
    unit_cost: int
    popularity: int
    launched_on: date
    discontinued_on: date | None
    prices: tuple[tuple[date, int], ...]

    def price_on(self, day: date) -> int:
        """Return the list price in cents on `day`."""
        return next(price for since, price in reversed(self.prices) if since <= day)

    def is_sold_on(self, day: date) -> bool:
        """Whether the product is on sale on `day`."""
        return self.launched_on <= day and (self.discontinued_on is None or day <= self.discontinued_on)


def read_csv_rows(name: str) -> Iterator[dict[str, str]]:
    """Yield the rows of a CSV file in this folder."""
    with (Path(__file__).parent / name).open(encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def make_categories() -> list[Category]:
    """Return the categories, numbered in the order of the CSV file."""
    return [
        Category(number, row["category"], row["department"], SEASONS[row["season"]], float(row["return_rate"]))
        for number, row in enumerate(read_csv_rows("categories.csv"), start=1)
    ]


def make_products(categories: list[Category], *, rng: Random) -> list[Product]:
    """Return the products: some are launched later, a few are discontinued, and nearly all get more expensive."""
    by_name = {category.name: category for category in categories}
    products = []
    for number, row in enumerate(read_csv_rows("products.csv"), start=1):
        price = round(float(row["list_price"]) * 100)
        launched_on = FIRST_DAY - timedelta(days=rng.randrange(30, 900))
        if rng.random() < 0.15:
            launched_on = FIRST_DAY + timedelta(days=rng.randrange(60, 900))
        discontinued_on = None
        if launched_on < FIRST_DAY and rng.random() < 0.06:
            discontinued_on = date(2023, 1, 1) + timedelta(days=rng.randrange(600))
        products.append(
            Product(
                product_id=number,
                name=row["product"],
                category=by_name[row["category"]],
                brand=row["brand"],
                unit_cost=round(price * float(row["cost_share"])),
                popularity=int(row["popularity"]),
                launched_on=launched_on,
                discontinued_on=discontinued_on,
                prices=tuple(_prices(price, launched_on=launched_on, rng=rng)),
            )
        )
    return products


def _prices(latest: int, *, launched_on: date, rng: Random) -> list[tuple[date, int]]:
    """Return the price history that ends with `latest`: up to three increases; earlier prices end in 0 or 5 cents."""
    steps = sorted({date(year, rng.choice((1, 2, 4, 9)), 1) for year in (2022, 2023, 2024) if rng.random() < 0.75})
    price, prices = latest, []
    for since in reversed([day for day in steps if day > launched_on]):
        prices.append((since, price))
        price = round(price / (1 + rng.choice((2, 3, 4, 6, 8)) / 100) / 5) * 5
    return [(launched_on, price), *reversed(prices)]
