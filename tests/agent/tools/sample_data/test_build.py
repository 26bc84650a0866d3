import hashlib
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from agent.tools.sample_data import SHOP_FILE, ensure_shop
from agent.tools.sample_data.build import shop_tables

#: If the rows are meant to change, change the number in `SHOP_FILE` too.
CHECKSUM = "f87efd0f799de395c7a4caac5e83d72573b17ba5a21251410ef31df2b15b9438"


@pytest.fixture(scope="module")
def connection(shop_file):
    with duckdb.connect(str(shop_file), read_only=True) as opened:
        yield opened


def test_the_rows_are_the_same_every_time():
    digest = hashlib.sha256()
    for table, rows in shop_tables().items():
        digest.update(table.encode())
        for row in rows:
            digest.update("|".join(map(str, row)).encode())
    assert (SHOP_FILE, digest.hexdigest()) == ("sample_shop_v1.duckdb", CHECKSUM)


def test_another_seed_gives_another_shop():
    assert shop_tables(1)["orders"][:50] != shop_tables()["orders"][:50]


def test_the_shop_is_a_real_size_and_its_years_are_whole(connection):
    lines, first, last = connection.execute(
        "SELECT count(*), min(order_date), max(order_date) FROM order_lines JOIN orders USING (order_id)"
    ).fetchone()
    assert lines >= 100_000
    assert (first.year, first.month) == (2021, 1)
    assert (last.year, last.month, last.day) == (2024, 12, 31)


def test_customers_have_different_names_and_the_largest_are_told_apart(connection):
    names, different = connection.execute(
        "SELECT count(*), count(DISTINCT lower(customer_name)) FROM customers"
    ).fetchone()
    assert names == different
    revenues = connection.execute(
        "SELECT sum(revenue) FROM sales GROUP BY customer_name ORDER BY 1 DESC LIMIT 11"
    ).fetchall()
    assert len(set(revenues)) == 11


def test_every_table_and_view_is_documented(connection):
    silent = connection.execute(
        "SELECT table_name FROM duckdb_tables() WHERE comment IS NULL UNION ALL "
        "SELECT view_name FROM duckdb_views() WHERE NOT internal AND comment IS NULL"
    ).fetchall()
    assert silent == []
    assert (
        connection.execute(
            "SELECT count(*) FROM duckdb_constraints() WHERE constraint_type = 'FOREIGN KEY'"
        ).fetchone()[0]
        >= 7
    )


def test_the_views_agree_with_the_tables(connection):
    view, table = connection.execute(
        "SELECT (SELECT sum(revenue) FROM sales), (SELECT sum(round(quantity * unit_price * (1 - discount), 2)) "
        "FROM order_lines JOIN orders USING (order_id) WHERE status <> 'Cancelled')"
    ).fetchone()
    assert float(view) == pytest.approx(float(table))
    assert connection.execute(
        "SELECT (SELECT count(*) FROM returned_goods) = (SELECT count(*) FROM returns)"
    ).fetchone()[0]
    assert connection.execute(
        "SELECT (SELECT count(*) FROM payments_received) = (SELECT count(*) FROM payments)"
    ).fetchone()[0]


def test_the_books_balance(connection):
    """Nobody pays more than was ordered, gets back more than was bought, or returns before it was sent."""
    overpaid = connection.execute(
        "WITH paid AS (SELECT order_id, sum(amount) AS amount FROM payments GROUP BY order_id), due AS ("
        " SELECT order_id, sum(round(quantity * unit_price * (1 - discount), 2)) AS amount FROM order_lines GROUP BY 1)"
        "SELECT count(*) FROM paid JOIN due USING (order_id) JOIN orders USING (order_id) "
        "WHERE paid.amount > due.amount + shipping_fee"
    ).fetchone()[0]
    over_returned = connection.execute(
        "SELECT count(*) FROM returns r JOIN order_lines l USING (order_line_id) JOIN orders o USING (order_id) "
        "WHERE r.quantity > l.quantity OR r.returned_on <= o.shipped_on OR o.status <> 'Delivered'"
    ).fetchone()[0]
    assert (overpaid, over_returned) == (0, 0)


def test_december_beats_august_and_summer_sells_the_garden(connection):
    by_month = dict(connection.execute("SELECT month(order_date), sum(revenue) FROM sales GROUP BY 1").fetchall())
    garden = dict(
        connection.execute(
            "SELECT month(order_date), sum(quantity) FROM sales WHERE category_name = 'Garden & Terrace' GROUP BY 1"
        ).fetchall()
    )
    assert float(by_month[12]) > 1.3 * float(by_month[8])
    assert garden[5] > 1.5 * garden[12]


def test_the_shop_is_made_once(tmp_path):
    said: list[str] = []
    made = ensure_shop(tmp_path, say=said.append)
    before = made.stat()
    again = ensure_shop(tmp_path, say=said.append)
    assert (again, again.stat().st_mtime_ns) == (made, before.st_mtime_ns)
    assert len(said) == 1
    assert [file.name for file in tmp_path.iterdir()] == [SHOP_FILE]


def test_two_processes_that_start_at_once_both_get_the_whole_shop(tmp_path):
    code = (
        "import sys, pathlib, duckdb\nfrom agent.tools.sample_data import ensure_shop\n"
        "file = ensure_shop(pathlib.Path(sys.argv[1]))\n"
        "print(duckdb.connect(str(file), read_only=True).execute('SELECT count(*) FROM order_lines').fetchone()[0])"
    )
    root = Path(__file__).parents[4]
    started = [
        subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=root)
        for _ in range(2)
    ]
    counts = {process.communicate(timeout=120)[0].strip() for process in started}
    assert len(counts) == 1
    assert int(counts.pop()) >= 100_000
