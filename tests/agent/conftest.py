"""Databases that the tests of this room share, built once in a session."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from agent.tools.sample_data import ensure_shop
from agent.tools.sql.data_source import DataSource, open_data_source


@pytest.fixture(scope="session")
def shop_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return ensure_shop(tmp_path_factory.mktemp("shop"))


@pytest.fixture(scope="session")
def shop(shop_file: Path) -> Iterator[DataSource]:
    source = open_data_source(shop_file)
    yield source
    source.close()
