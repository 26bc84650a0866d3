"""The command that serves MCP tools, as the tests of the graphs have it."""

from tests.graphs.conftest import planwave, shop_folder  # noqa: F401 - fixtures
