"""A company in two regions with orders in the north, and what can go wrong at each step of a move to the south."""

import contextlib
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from psycopg.sql import SQL
from region_move import moving_plan
from regions import Company

from tests.support.postgres import PostgresServer

ORDERS = """
CREATE TABLE customers (id int PRIMARY KEY, name text NOT NULL);
INSERT INTO customers SELECT n, 'customer ' || n FROM generate_series(1, 50) n;
CREATE TABLE orders (id int PRIMARY KEY, customer int REFERENCES customers, total numeric(9, 2), placed timestamptz);
INSERT INTO orders SELECT n, 1 + n % 50, n * 1.25, timestamptz '2026-01-01' + n * interval '1 hour'
  FROM generate_series(1, 2000) n;
CREATE INDEX ON orders (customer, placed);
"""
#: A table whose rows take a twentieth of a second each to be restored.
SLOW = """
CREATE FUNCTION audited(n int) RETURNS boolean LANGUAGE sql AS 'SELECT pg_sleep(0.05) IS NOT NULL';
CREATE TABLE audit (n int CHECK (audited(n)));
INSERT INTO audit SELECT generate_series(1, 20);
"""
#: The steps, in the order in which they can fail, and what a person is asked right before.
STEPS = {
    "dump": "dump",
    "upload": "upload",
    "provision": "provision",
    "restore": "restore",
    "verify": "restore",
    "switch": "switch",
    "try": "switch",
}


def plan(**more: str) -> dict[str, Any]:
    return moving_plan("orders", "orders", source="north", target="south", **more)


@contextlib.contextmanager
def company_of(
    north: PostgresServer, south: PostgresServer, folder: Path, *, store: str, **options: Any
) -> Iterator[Company]:
    """Make a company with its orders in the north, and leave nothing on the servers."""
    (folder / "work").mkdir()
    company = Company(
        regions={"north": north.address, "south": south.address},
        store=store,
        record=folder / "services.json",
        programs=north.programs,
        work=folder / "work",
        store_options=options,
    )
    company.record_services({"orders": {"region": "north", "database": "orders"}})
    with company.connect("north") as server:
        server.execute("CREATE DATABASE orders")
    with company.connect("north", "orders") as server:
        server.execute(ORDERS)
    # A read through the service is made as the owner, in whichever region.
    with company.connect("north") as server:
        server.execute("CREATE ROLE orders_owner")
    try:
        yield company
    finally:
        for region in company.regions:
            with company.connect(region) as server:
                server.execute("DROP DATABASE IF EXISTS orders WITH (FORCE)")
                server.execute("DROP ROLE IF EXISTS orders_owner")


class Fault:
    """Something that makes one step fail, until it is mended."""

    def __init__(self, step: str, company: Company) -> None:
        self.step = step
        self.company = company
        self._mend: Callable[[], None] = lambda: None

    def cause(self) -> None:
        getattr(self, f"_{self.step}")()

    def mend(self) -> None:
        self._mend()

    def _execute(self, region: str, statement: str, database: str = "postgres") -> None:
        with self.company.connect(region, database) as server:
            server.execute(SQL(statement))

    def _dump(self) -> None:
        self._execute("north", "ALTER DATABASE orders ALLOW_CONNECTIONS false")
        self._mend = lambda: self._execute("north", "ALTER DATABASE orders ALLOW_CONNECTIONS true")

    def _upload(self) -> None:
        place = Path(self.company.store.removeprefix("file://"))
        place.rmdir()
        place.write_text("no folder")

        def mend() -> None:
            place.unlink()
            place.mkdir()

        self._mend = mend

    def _provision(self) -> None:
        self._execute("south", "CREATE DATABASE orders")
        self._mend = lambda: self._execute("south", "DROP DATABASE orders")

    def _restore(self) -> None:
        stored = Path(self.company.store.removeprefix("file://")) / "orders.dump"
        whole = stored.read_bytes()
        stored.write_bytes(whole[: len(whole) // 2])

        def mend() -> None:
            stored.write_bytes(whole)

        self._mend = mend

    def _verify(self) -> None:
        self._execute("north", "UPDATE orders SET total = total + 1 WHERE id = 7", "orders")
        back = "UPDATE orders SET total = total - 1 WHERE id = 7"
        self._mend = lambda: self._execute("north", back, "orders")

    def _switch(self) -> None:
        services = self.company.services()
        self.company.record_services({"orders": {**services["orders"], "region": "west"}})
        self._mend = lambda: self.company.record_services(services)

    def _try(self) -> None:
        self._execute("south", "REVOKE SELECT ON orders FROM orders_owner", "orders")
        self._mend = lambda: self._execute("south", "GRANT SELECT ON orders TO orders_owner", "orders")


def databases(company: Company, region: str) -> list[str]:
    """Return the databases of a region that somebody made, and roles of theirs."""
    with company.connect(region) as server:
        found = server.execute("SELECT datname FROM pg_database WHERE NOT datistemplate AND datname <> 'postgres'")
        roles = server.execute("SELECT rolname FROM pg_roles WHERE oid >= 16384").fetchall()
        return sorted(name for (name,) in [*found.fetchall(), *roles])


def stored(company: Company) -> list[str]:
    """Return the names of the objects in the store."""
    return sorted(name.rsplit("/", 1)[-1] for name in company.files().ls(company.store, detail=False))


def region_of(company: Company) -> str:
    """Return where the service reads its orders."""
    return json.loads(company.record.read_text())["orders"]["region"]
