from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path

import pytest

from agent.tools.sql.data_source import open_data_source
from agent.tools.sql.query_database import DescribeDatabase, QueryDatabase, database_tools
from agent.tools.sql.query_process import QueryLimits

Opener = Callable[..., tuple[DescribeDatabase, QueryDatabase]]


@pytest.fixture
def open_tools() -> Iterator[Opener]:
    """Opens a source and returns its tools `describe_database` and `query_database`."""
    with ExitStack() as stack:

        def open_source(location: str | Path, **limits: object) -> tuple[DescribeDatabase, QueryDatabase]:
            source = stack.enter_context(closing(open_data_source(location, limits=QueryLimits(**limits))))  # type: ignore[arg-type]
            describe, query, _ = database_tools(source)
            assert isinstance(describe, DescribeDatabase)
            assert isinstance(query, QueryDatabase)
            return describe, query

        yield open_source
