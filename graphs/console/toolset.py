"""The tools of a command: the analytics family over the user's data or the sample shop."""

from langchain_core.tools import BaseTool

from agent.models import resolve_model
from agent.settings import Settings
from agent.shop import ensure_shop
from agent.tools.analytics import analytics_tools
from agent.tools.source import open_source
from graphs.console.screen import Screen
from graphs.console.wanted import Wanted


def make_tools(wanted: Wanted, settings: Settings, *, screen: Screen) -> list[BaseTool]:
    """Return the tools over `wanted.data`, or over the sample shop, which is made first where it is not there.

    Raises `DataError` for data that cannot be opened.
    """
    place = wanted.data or ensure_shop(settings.data_folder, say=screen.say)
    return analytics_tools(
        source=open_source(place),
        output=settings.output_folder.expanduser().absolute(),
        writer=lambda: resolve_model(wanted.model).chat,
    )
