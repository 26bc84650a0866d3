"""The tool that draws a chart."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from langchain_core.tools import BaseTool
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from agent.core.plan.tool_spec import JsonSchema, Preflight
from agent.tools.call_inputs import describe_cut_inputs
from agent.tools.charts.axis_choice import choose_axes
from agent.tools.charts.data.frame import ChartKind, ChartSort
from agent.tools.charts.preflight import check_chart_arguments
from agent.tools.files.output_folder import OutputFolder

MAX_ROWS = 50_000


class DrawChartArgs(BaseModel):
    """Arguments of `draw_chart`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    rows: list[dict[str, JsonValue]] = Field(
        max_length=MAX_ROWS, description="The rows to draw, as query_database returns them under `rows`."
    )
    kind: ChartKind = Field(
        description="bar for categories, line for values over time, scatter for two numbers, pie for parts of a whole"
        " (up to 8), grouped_bar or stacked_bar with color for a second category, heatmap for two categories,"
        " histogram (x = y) or box for how numbers are spread."
    )
    x: str = Field(min_length=1, max_length=200, description="Column of the categories, dates or abscissas.")
    y: str = Field(
        min_length=1, max_length=200, description="Column of the numbers (heatmap: the second category column)."
    )
    color: str | None = Field(
        default=None,
        min_length=1,
        max_length=200,
        description="Column that splits the values into series (heatmap: the column of the numbers).",
    )
    title: str | None = Field(default=None, max_length=300, description="Heading; default: made from the columns.")
    x_title: str | None = Field(default=None, max_length=120)
    y_title: str | None = Field(default=None, max_length=120)
    unit: str | None = Field(
        default=None, max_length=12, description="Unit of the numbers, only if known: 'USD', 'EUR', '%', 'kg'."
    )
    sort: ChartSort | None = Field(default=None, description="Order by value or name; default: as given.")
    file_name: str | None = Field(default=None, max_length=120, description="Start of the file names.")


class DrawChart(BaseTool):
    """Draws rows as a chart and writes it as PNG, SVG and a self-contained HTML page.

    The files are named by a hash of their content, so drawing the same chart again changes nothing.
    """

    name: str = "draw_chart"
    description: str = (
        "Draw rows as a chart, plot, graph or diagram; returns the paths of its PNG, SVG and HTML files. "
        "Give rows in the order to be shown."
    )
    args_schema: type[BaseModel] = DrawChartArgs
    folder: OutputFolder
    metadata: dict[str, Any] | None = {  # noqa: RUF012 - pydantic copies it
        "readOnlyHint": True,
        "destructiveHint": False,
        "idempotentHint": True,
        "openWorldHint": False,
        "timeout_s": 120,
        "columns_of": {"x": "rows", "y": "rows", "color": "rows"},
        "output_schema": {
            "type": "object",
            "properties": {
                "title": {"type": "string"},
                "png": {"type": "string"},
                "svg": {"type": "string"},
                "html": {"type": "string"},
                "rows": {"type": "integer"},
                "warnings": {"type": "array", "items": {"type": "string"}},
            },
            "required": ["title", "png", "svg", "html", "rows"],
            "additionalProperties": False,
        },
    }

    def preflight(
        self,
        args: dict[str, JsonValue],
        open: dict[str, JsonSchema],  # noqa: A002
        goal: str | None = None,
    ) -> Preflight:
        """Check the columns against the rows, or against their schema if they are not known yet.

        Obvious slips of a model that plans for `goal` are corrected; to a caller they are problems.
        """
        found = check_chart_arguments(args, schemas=open)
        slips = [name for name, value in (found.args or args).items() if value != args.get(name)]
        if goal is not None or not slips:
            return found
        remedies = (f"{name} names {args.get(name)!r}; use {(found.args or args)[name]!r}." for name in slips)
        return Preflight(problems=tuple(remedies))

    def derive_arguments(self, columns: Mapping[str, JsonSchema], goal: str) -> dict[str, JsonValue] | None:
        """Return, for a planner, the kind and the axes that columns and goal decide; None if they do not."""
        return choose_axes(columns, goal=goal)

    def _run(self, **arguments: JsonValue) -> dict[str, JsonValue]:
        return draw(DrawChartArgs.model_validate(arguments), folder=self.folder)

    async def _arun(self, **arguments: JsonValue) -> dict[str, JsonValue]:
        return await asyncio.to_thread(self._run, **arguments)


def draw(request: DrawChartArgs, *, folder: OutputFolder) -> dict[str, JsonValue]:
    """Draw the chart and write its files; what its reader must know is in `warnings`, and in the chart.

    Raises `ToolFailure` if a column does not exist or does not suit the kind of chart.
    """
    # Altair and vl-convert take a second to import, so only drawing a chart imports them.
    from agent.tools.charts.html_page import write_chart  # noqa: PLC0415 - slow import
    from agent.tools.charts.vega_spec import ChartRequest, build_vega_spec  # noqa: PLC0415 - slow import

    cuts = describe_cut_inputs()
    brief = ChartRequest(**request.model_dump(exclude={"rows", "file_name"}), notes=cuts)
    chart = build_vega_spec(request.rows, brief=brief)
    files = write_chart(chart.spec, title=chart.title, stem=request.file_name or chart.title, folder=folder)
    output: dict[str, JsonValue] = {
        "title": chart.title,
        "png": str(files.png),
        "svg": str(files.svg),
        "html": str(files.html),
        "rows": len(request.rows),
    }
    # That the data are incomplete, every result made of them says.
    warnings: list[JsonValue] = [sentence for sentence in chart.warnings if sentence not in cuts]
    return {**output, "warnings": warnings} if warnings else output


def chart_tools(output: Path) -> list[BaseTool]:
    """Return the chart tools, which write into the folder `output`."""
    return [DrawChart(folder=OutputFolder(output))]
