"""The analytics tools: query a data source, analyse rows, draw charts, write texts, save files."""

from collections.abc import Callable, Sequence
from importlib.util import find_spec
from pathlib import Path

from langchain_core.tools import BaseTool

from agent.errors import ToolError, describe_extra
from agent.llm.chat_wrappers import ChatRunnable
from agent.llm.models import ModelChoice, resolve_model
from agent.settings import Settings
from agent.tools.charts.draw_chart import chart_tools
from agent.tools.files.save_file import file_tools
from agent.tools.sample_data import ensure_shop
from agent.tools.sql.data_source import DataSource, open_data_source
from agent.tools.sql.query_database import database_tools
from agent.tools.sql.query_process import QueryLimits
from agent.tools.writing.write_text import writing_tools

#: The names of the family's tools.
ANALYTICS_TOOLS = frozenset(
    {"describe_database", "query_database", "analyze_rows", "draw_chart", "write_text", "save_file"}
)
#: What the family imports; the extra `analytics` brings all of it.
_PACKAGES = ("altair", "duckdb", "sqlglot", "vl_convert", "xlsxwriter")


def are_analytics_installed() -> bool:
    """Return whether the extra `analytics` is installed."""
    return all(find_spec(package) for package in _PACKAGES)


def require_analytics() -> None:
    """Raise `ToolError`, which says how to have it, where the extra `analytics` is not installed."""
    if not are_analytics_installed():
        raise ToolError(f"The default tools need {describe_extra('analytics')}.")


def analytics_tools(*, source: DataSource, output: Path, writer: Callable[[], ChatRunnable]) -> list[BaseTool]:
    """Return the tools on `source`. Files go to `output`; `writer` returns the model for texts, at its first use."""
    return [*database_tools(source), *chart_tools(output), *writing_tools(writer), *file_tools(output)]


def build_query_limits(settings: Settings) -> QueryLimits:
    """Return what one query may take."""
    memory = settings.query_memory_mb
    return QueryLimits(
        seconds=settings.query_timeout_s,
        memory_bytes=None if memory is None else memory * 2**20,
        temp_bytes=settings.query_temp_mb * 2**20,
        result_bytes=settings.query_result_mb * 2**20,
        time_zone=settings.time_zone,
        dialect=settings.sql_dialect,
    )


def default_tools(settings: Settings, model: ModelChoice) -> Callable[[], Sequence[BaseTool]]:
    """Return a function that makes the tools on the sample shop, which it builds at its first use.

    It raises `ToolError` if the extra `analytics` is not installed.
    """

    def make_tools() -> Sequence[BaseTool]:
        require_analytics()
        shop = ensure_shop(settings.data_folder)
        return analytics_tools(
            source=open_data_source(shop, limits=build_query_limits(settings)),
            output=settings.output_folder,
            writer=lambda: resolve_model(model).chat,
        )

    return make_tools
