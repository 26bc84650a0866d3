"""Rows of the database changed behind our back: nothing in them is imported or run."""

import pytest

from tests.crash.tampered_run import read_tampered
from tests.support.forked_child import Child

_FULL = [pytest.mark.slow, pytest.mark.timeout(1800)]


@pytest.mark.parametrize(
    ("database_url", "count"),
    [
        pytest.param("sqlite", 80, id="sqlite-short"),
        pytest.param("postgresql", 30, id="postgresql-short"),
        pytest.param("sqlite", 700, id="sqlite-full", marks=_FULL),
        pytest.param("postgresql", 300, id="postgresql-full", marks=_FULL),
    ],
    indirect=["database_url"],
)
def test_a_tampered_row_runs_nothing(database_url, count, tmp_path, seed):
    seen = Child(read_tampered, database_url, str(tmp_path), count, seed).told(1800)
    print(
        f"\n{count} mutated rows (seed {seed}): {len(seen['foreign'])} foreign imports or calls,"
        f" {len(seen['untyped'])} errors that are not ours; met {seen['met']}; rows changed by {seen['kinds']}"
    )
    assert seen["foreign"] == []
    assert not seen["canary"]
    assert seen["effects"] == {"done": 1}
    assert seen["met"]["PersistenceError"] > 0
    assert not seen["untyped"], "\n".join(seen["untyped"][:10])
