"""The simulation of the sample shop: orders, payments and returns, day by day."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from itertools import accumulate
from random import Random

from agent.tools.sample_data.customers import Customer
from agent.tools.sample_data.products import FIRST_DAY, LAST_DAY, Product

#: Factor by month, January first, on how often customers order; the peak is before Christmas.
MONTH_FACTORS = (0.92, 0.88, 0.98, 0.97, 1.0, 0.93, 0.82, 0.78, 1.06, 1.05, 1.28, 1.33)
#: Factor by year on how often customers order; 2023 is a weak year.
YEAR_FACTORS = {2021: 0.94, 2022: 1.10, 2023: 1.04, 2024: 1.22}
SALES_CHANNELS = {
    "Consumer": ("Web", "Web", "Web", "App", "App", "Store"),
    "": ("Web", "Web", "Sales Team", "Phone"),
}
PAYMENT_METHODS = {
    "Consumer": ("Card", "Card", "PayPal", "Bank Transfer"),
    "": ("Bank Transfer", "Bank Transfer", "Card"),
}
RETURN_REASONS = (
    "Damaged in transit",
    "Wrong item",
    "Not as described",
    "Changed mind",
    "Defective",
    "Arrived late",
)

TableRow = tuple[object, ...]


@dataclass
class SalesRows:
    """The rows so far, as they are written to the database; amounts are texts in euros."""

    orders: list[TableRow] = field(default_factory=list)
    order_lines: list[TableRow] = field(default_factory=list)
    payments: list[TableRow] = field(default_factory=list)
    returns: list[TableRow] = field(default_factory=list)


def simulate_orders(customers: list[Customer], *, products: list[Product], rng: Random) -> SalesRows:
    """Simulate all years of the shop and return its rows, orders sorted by day."""
    shelf = _Shelf(products)
    placed = sorted(
        ((day, customer) for customer in customers for day in _order_days(customer, rng=rng)),
        key=lambda order: (order[0], order[1].customer_id),
    )
    books = SalesRows()
    for day, customer in placed:
        _write_order(books, customer, day=day, shelf=shelf, rng=rng)
    return books


class _Shelf:
    """The products on sale in a month, weighted by popularity and season."""

    def __init__(self, products: list[Product]) -> None:
        self._products = products
        self._months: dict[tuple[int, int], list[int]] = {}

    def pick(self, day: date, *, rng: Random) -> Product:
        month = (day.year, day.month)
        if month not in self._months:
            first = day.replace(day=1)
            self._months[month] = list(
                accumulate(
                    product.popularity * product.category.season[day.month - 1] * product.is_sold_on(first)
                    for product in self._products
                )
            )
        return rng.choices(self._products, cum_weights=self._months[month])[0]


def _order_days(customer: Customer, *, rng: Random) -> Iterator[date]:
    """Yield the days on which the customer orders; companies rarely order at the weekend."""
    day = max(FIRST_DAY, customer.joined_on)
    while True:
        pace = customer.orders_a_year * YEAR_FACTORS[day.year] * MONTH_FACTORS[day.month - 1]
        # Between 1/3 and 5/3 of the average interval, so that orders are regular but not periodic.
        day += timedelta(days=max(1, round(365 / pace * (1 / 3 + rng.random() * 4 / 3))))
        if customer.segment != "Consumer" and day.weekday() >= 5 and rng.random() < 0.9:
            day += timedelta(days=7 - day.weekday())
        if day > LAST_DAY:
            return
        yield day


def _write_order(books: SalesRows, customer: Customer, *, day: date, shelf: _Shelf, rng: Random) -> None:
    order_id = len(books.orders) + 1
    first_line = len(books.order_lines)
    basket = _basket(customer, day=day, shelf=shelf, rng=rng)
    goods = 0
    for product, quantity in basket:
        price = product.price_on(day)
        percent = _discount(customer.segment, day=day, quantity=quantity, rng=rng)
        goods += _apply_discount(quantity * price, percent=percent)
        line_id = len(books.order_lines) + 1
        books.order_lines.append(
            (line_id, order_id, product.product_id, quantity, _format_euros(price), f"{percent / 100:.2f}")
        )
    shipping = 0 if goods >= 15_000 else 590
    cancelled = rng.random() < 0.03
    shipped_on = day + timedelta(days=rng.choice((1, 1, 2, 2, 3, 5)))
    sent = not cancelled and shipped_on <= LAST_DAY
    status = "Cancelled" if cancelled else _status(shipped_on)
    channel = rng.choice(SALES_CHANNELS.get(customer.segment, SALES_CHANNELS[""]))
    books.orders.append(
        (
            order_id,
            customer.customer_id,
            day,
            channel,
            status,
            shipped_on if sent else None,
            _format_euros(shipping),
        )
    )
    if not cancelled:
        _write_payments(books, customer, order_id=order_id, day=day, amount=goods + shipping, rng=rng)
    if status == "Delivered":
        for line, (product, _) in zip(books.order_lines[first_line:], basket, strict=True):
            _write_return(books, line, product=product, shipped_on=shipped_on, rng=rng)


def _status(shipped_on: date) -> str:
    if shipped_on > LAST_DAY:
        return "Open"
    return "Shipped" if shipped_on > LAST_DAY - timedelta(days=3) else "Delivered"


def _basket(customer: Customer, *, day: date, shelf: _Shelf, rng: Random) -> list[tuple[Product, int]]:
    """Return different products with their quantities: half of them favourites, half from all on sale."""
    chosen: dict[int, tuple[Product, int]] = {}
    for _ in range(rng.randint(1, customer.largest_basket)):
        product = shelf.pick(day, rng=rng)
        if rng.random() < 0.5:
            favourite = rng.choices(customer.favorites, cum_weights=customer.favorite_weights)[0]
            product = favourite if favourite.is_sold_on(day) else product
        chosen.setdefault(product.product_id, (product, rng.choice(customer.units)))
    return list(chosen.values())


def _discount(segment: str, *, day: date, quantity: int, rng: Random) -> int:
    """Return the discount in percent: for volume, in the November sale, and sometimes for a voucher."""
    percent = 0
    if segment != "Consumer" and quantity >= 5:
        percent = 10 if quantity >= 10 else 5
    if day.month == 11 and day.day >= 20:
        percent = max(percent, 15)
    elif rng.random() < 0.12:
        percent = max(percent, rng.choice((5, 10, 20)))
    return percent


def _write_payments(
    books: SalesRows, customer: Customer, *, order_id: int, day: date, amount: int, rng: Random
) -> None:
    method = rng.choice(PAYMENT_METHODS.get(customer.segment, PAYMENT_METHODS[""]))
    immediate = customer.segment == "Consumer" and method != "Bank Transfer"
    days = 0 if immediate else rng.choice((3, 7, 9, 14, 14, 21, 28, 30, 30, 44))
    parts = [(days, amount)]
    if amount > 150_000 and rng.random() < 0.3:
        parts = [(days, amount // 2), (days + 30, amount - amount // 2)]
    # One invoice in a hundred is never paid, and payments after the last day are not there yet.
    if rng.random() < 0.01:
        return
    for later, part in parts:
        paid_on = day + timedelta(days=later)
        if paid_on <= LAST_DAY:
            books.payments.append((len(books.payments) + 1, order_id, paid_on, method, _format_euros(part)))


def _write_return(books: SalesRows, line: TableRow, *, product: Product, shipped_on: date, rng: Random) -> None:
    if rng.random() >= product.category.return_rate:
        return
    line_id, _, _, ordered, price, discount = line
    quantity = rng.randint(1, int(str(ordered)))
    returned_on = shipped_on + timedelta(days=rng.randrange(4, 31))
    if returned_on > LAST_DAY:
        return
    percent = round(float(str(discount)) * 100)
    refund = _apply_discount(quantity * round(float(str(price)) * 100), percent=percent)
    reason = rng.choices(RETURN_REASONS, cum_weights=(20, 32, 48, 75, 92, 100))[0]
    books.returns.append((len(books.returns) + 1, line_id, returned_on, quantity, reason, _format_euros(refund)))


def _apply_discount(cents: int, *, percent: int) -> int:
    """Return `cents` minus `percent`; halves are rounded up, as in the view `sales`."""
    return (cents * (100 - percent) + 50) // 100


def _format_euros(cents: int) -> str:
    return f"{cents // 100}.{cents % 100:02d}"
