"""The seed of the faults, which every test prints; `CRASH_SEED` sets another."""

import os
import random

import pytest


@pytest.fixture
def seed() -> int:
    return int(os.environ.get("CRASH_SEED", "2026"))


@pytest.fixture
def chance(seed: int) -> random.Random:
    return random.Random(seed)  # noqa: S311 - faults, not secrets
