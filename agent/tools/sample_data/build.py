"""The sample shop as a DuckDB file, which is built once."""

import csv
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from random import Random

from agent.tools.sample_data.customers import make_customers
from agent.tools.sample_data.orders import TableRow, simulate_orders
from agent.tools.sample_data.products import make_categories, make_products
from agent.tools.sql.data_source import hide_progress_bar

SEED = 20_210_101
#: The number is the version of the rows. It changes with them, so that a file with old rows is not used.
SHOP_FILE = "sample_shop_v1.duckdb"


def shop_tables(seed: int = SEED) -> dict[str, list[TableRow]]:
    """Return the rows of every table, referenced tables first; the same rows for the same seed."""
    rng = Random(seed)  # noqa: S311 - sample data, no secret
    categories = make_categories()
    products = make_products(categories, rng=rng)
    customers = make_customers(products, rng=rng)
    books = simulate_orders(customers, products=products, rng=rng)
    return {
        "categories": [(category.category_id, category.name, category.department) for category in categories],
        "products": [
            (
                product.product_id,
                product.name,
                product.category.category_id,
                product.brand,
                f"{product.prices[-1][1] / 100:.2f}",
                f"{product.unit_cost / 100:.2f}",
                product.launched_on,
                product.discontinued_on,
            )
            for product in products
        ],
        "price_changes": [
            (product.product_id, since, f"{price / 100:.2f}") for product in products for since, price in product.prices
        ],
        "customers": [
            (
                customer.customer_id,
                customer.name,
                customer.segment,
                customer.email,
                customer.city,
                customer.country,
                customer.region,
                customer.joined_on,
            )
            for customer in customers
        ],
        "orders": books.orders,
        "order_lines": books.order_lines,
        "payments": books.payments,
        "returns": books.returns,
    }


def ensure_shop(folder: Path, *, say: Callable[[str], None] | None = None) -> Path:
    """Return the DuckDB file of the sample shop in `folder`; build it if it is not there.

    The file is built in a temporary folder and renamed, so that two processes that start at the same time both get a
    complete file. `say` is called with a sentence before the work starts.
    """
    shop = folder / SHOP_FILE
    if shop.exists():
        return shop
    if say:
        say(f"Making the sample shop in {shop} (once, a few seconds).")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".shop-") as aside:
        new = Path(aside) / SHOP_FILE
        _write_database(new, shop_tables())
        try:
            new.replace(shop)
        except PermissionError:
            # Windows cannot replace an open file. Then another process was first, with the same rows.
            if not shop.exists():
                raise
    return shop


def _write_database(file: Path, tables: dict[str, list[TableRow]]) -> None:
    import duckdb  # noqa: PLC0415 - slow to import

    with duckdb.connect(os.fspath(file)) as connection:
        hide_progress_bar(connection)
        connection.execute((Path(__file__).parent / "schema.sql").read_text(encoding="utf-8"))
        for table, rows in tables.items():
            text = file.with_name(f"{table}.csv")
            _write_csv(text, rows)
            # The table name is a key of `shop_tables`, never user input.
            connection.execute(f"COPY {table} FROM '{_escape_quotes(text)}' (HEADER false, NULLSTR '')")


def _escape_quotes(file: Path) -> str:
    return os.fspath(file).replace("'", "''")


def _write_csv(file: Path, rows: Iterable[TableRow]) -> None:
    with file.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows(rows)
