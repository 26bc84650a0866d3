"""The `planwave` command over a sample shop that is made once."""

from pathlib import Path

import pytest

from agent.tools.sample_data import ensure_shop
from tests.support.command_line import CommandLine
from tests.support.openai_endpoint import make_endpoint  # noqa: F401 - a fixture


@pytest.fixture(scope="session")
def shop_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that holds the sample shop."""
    folder = tmp_path_factory.mktemp("data")
    ensure_shop(folder)
    return folder


@pytest.fixture
def planwave(tmp_path: Path, shop_folder: Path) -> CommandLine:
    """The command with threads, output and cache of its own, without a model."""
    return CommandLine(tmp_path, data=shop_folder)
