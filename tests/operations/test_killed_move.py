"""A move killed in the middle of the restore, and gone on with in another process."""

import signal
import time

import pytest

from tests.operations.killed_move import move
from tests.operations.moving_world import SLOW, region_of, stored
from tests.support.forked_child import KILLED, Child

RESTORING = "SELECT 1 FROM pg_stat_activity WHERE application_name = 'restore orders' AND state = 'active'"


def wait_for_the_restore(company):
    with company.connect("south") as server:
        until = time.monotonic() + 60
        while not server.execute(RESTORING).fetchone():
            assert time.monotonic() < until
            time.sleep(0.02)


@pytest.mark.parametrize(
    ("database_url", "orphan", "epoch"),
    [
        pytest.param("sqlite", True, 1, id="sqlite, pg_restore goes on"),
        pytest.param("postgresql", False, 2, id="postgresql, pg_restore dies too"),
        pytest.param("sqlite", False, 2, id="sqlite, pg_restore dies too", marks=pytest.mark.slow),
        pytest.param("postgresql", True, 1, id="postgresql, pg_restore goes on", marks=pytest.mark.slow),
    ],
    indirect=["database_url"],
)
def test_a_move_killed_in_the_middle_of_the_restore_restores_once(orphan, epoch, company, database_url):
    with company.connect("north", "orders") as server:
        server.execute(SLOW)
    before = company.checksums("north", "orders")
    killed = Child(move, database_url, company)
    wait_for_the_restore(company)
    if orphan:
        killed.send(signal.SIGKILL)
    else:
        killed.send_group(signal.SIGKILL)
    assert killed.told() is KILLED
    told = Child(move, database_url, company).told()
    assert told["status"] == "completed"
    # Whether it happened is looked up: nobody is asked about it, nor about any step again.
    assert told["asked"] == [("switch", False)]
    assert told["epochs"] == {"dump": 1, "provision": 1, "upload": 1, "restore": epoch, "switch": 1}
    assert company.checksums("north", "orders") == company.checksums("south", "orders") == before
    assert told["results"]["restore"]["output"]["tables"] == ["audit", "customers", "orders"]
    assert (region_of(company), stored(company)) == ("south", ["orders.dump"])
