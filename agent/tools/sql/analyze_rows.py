"""The tool `analyze_rows`: SQL over rows of earlier outputs."""

from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, Field

from agent.core.plan.tool_spec import JsonSchema, Preflight
from agent.errors import ToolFailure
from agent.tools.sql.query_process import Message
from agent.tools.sql.runner import build_output_schema
from agent.tools.sql.sql_tool import PREFLIGHT_SECONDS, AnalyzeArgs, SqlTool, build_read_only_metadata

_DESCRIPTION = (
    "Runs one SELECT over rows of earlier outputs, given as tables: joins, totals, shares, rankings, comparisons. "
    "For data that is in the database use query_database."
)


class AnalyzeRows(SqlTool):
    """Runs one SELECT over rows that are passed as tables."""

    name: str = "analyze_rows"
    description: str = _DESCRIPTION
    args_schema: type[BaseModel] = AnalyzeArgs
    metadata: dict[str, Any] | None = Field(
        default_factory=lambda: build_read_only_metadata(output_schema=build_output_schema())
    )

    def _build_request(self, given: Mapping[str, Any]) -> Message:
        args = AnalyzeArgs.model_validate(given)
        return {"op": "analyze", "query": args.to_message(), "tables": args.tables}

    def preflight(
        self,
        args: dict[str, Any],
        open: Mapping[str, JsonSchema],  # noqa: A002
        goal: str | None = None,
    ) -> Preflight:
        """Bind the query to empty tables with the columns in the output schemas of the tasks that will provide them.

        A query that a model wrote for `goal` is repaired if it does not bind.
        """
        if "sql" in open or "tables" in open or "params" in open or "sql" not in args:
            return Preflight()
        request = {"op": "preflight_rows", "args": args, "open": dict(open), "goal": goal}
        try:
            found = self.processes.run(request, seconds=PREFLIGHT_SECONDS, subject="The check of the SQL")
        except ToolFailure as failure:
            return Preflight(problems=(str(failure),))
        return Preflight.model_validate(found)
