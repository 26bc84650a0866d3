"""One process that makes run after run."""

import statistics
import sys

import pytest

from tests.crash.soak_run import soak
from tests.support.forked_child import Child

pytestmark = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="the memory of a process is read in /proc")


@pytest.mark.parametrize(
    "count",
    [
        pytest.param(150, id="short"),
        pytest.param(2000, id="full", marks=[pytest.mark.slow, pytest.mark.timeout(1800)]),
    ],
)
def test_memory_does_not_grow_with_the_runs(count, tmp_path):
    seen = Child(soak, f"sqlite:///{tmp_path}/soak.db", str(tmp_path / "journal"), count, count // 30).told(1800)
    # The first third fills caches.
    settled = seen["measured"][10:]
    slope, _ = statistics.linear_regression(*zip(*settled, strict=True))
    print(
        f"\n{count} runs in one process: memory {slope:+.2f} KiB per run after the first third, from"
        f" {seen['measured'][0][1]} KiB after {seen['measured'][0][0]} runs to {settled[-1][1]} KiB; {seen['effects']}"
        " effects"
    )
    assert seen["effects"] == count
    assert slope < 16
