"""Attempts to have a write made that nobody approved."""

import asyncio
from collections import Counter

import pytest

from graphs.persistence import open_persistence
from tests.crash.approval_run import graph_over
from tests.crash.bypass import WAYS, Attempt
from tests.support.journal import Journal

_FULL = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.mark.parametrize(
    ("database_url", "count"),
    [
        pytest.param("sqlite", 80, id="sqlite-short"),
        pytest.param("postgresql", 20, id="postgresql-short"),
        pytest.param("sqlite", 800, id="sqlite-full", marks=_FULL),
        pytest.param("postgresql", 200, id="postgresql-full", marks=_FULL),
    ],
    indirect=["database_url"],
)
async def test_nothing_is_written_that_nobody_approved(database_url, count, tmp_path, chance, seed):
    journal, approved, met = Journal(tmp_path / "journal"), Counter(), {way.__name__: Counter() for way in WAYS}
    async with open_persistence(database_url) as one, open_persistence(database_url) as other:
        graph, another = graph_over(one, journal), graph_over(other, journal)
        hung = asyncio.Event()
        stuck = graph_over(one, journal, hung=hung, grace_s=0)
        expiring = graph_over(one, journal, approval_ttl_s=1e-6)
        for number in range(count):
            way = WAYS[number % len(WAYS)]
            attempt = Attempt(graph, another, expiring, stuck, hung, f"{way.__name__}-{number}", chance)
            await attempt.begin()
            await way(attempt)
            approved += attempt.approved
            met[way.__name__] += attempt.met
    effects = Counter(name for _, name in journal.lines())
    beyond = effects - approved
    print(
        f"\n{count} attempts (seed {seed}): {sum(beyond.values())} effects without an approval of that call;"
        f" {sum(effects.values())} effects and {sum(approved.values())} approvals in all"
    )
    for way, found in met.items():
        print(f"  {way}: {dict(found)}")
    assert not beyond
