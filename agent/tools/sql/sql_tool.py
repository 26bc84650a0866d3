"""The base of the tools that run SQL: arguments, policy, threads and limits."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any

from langchain_core.tools import BaseTool
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from agent.core.plan.tool_spec import JsonSchema
from agent.tools.sql.runner import Query, QueryOutput, QueryWatchdog, run_in_thread, run_query

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

#: Seconds that a query may take before it is interrupted.
QUERY_SECONDS = 60.0

ScalarText = Annotated[str, Field(max_length=4_000)]
Scalar = bool | int | float | ScalarText | None
TableRows = Annotated[list[dict[str, JsonValue]], Field(max_length=10_000)]
ParameterValue = Scalar | Annotated[list[Scalar], Field(max_length=10_000)] | TableRows
IdentifierText = Annotated[str, Field(max_length=200)]


class QueryArgs(BaseModel):
    """A query, its parameters, and how many of its rows are wanted."""

    model_config = ConfigDict(extra="forbid")

    sql: str = Field(
        min_length=1,
        max_length=4_000,
        description="One SELECT in DuckDB's SQL. Write $name for a value that params gives.",
    )
    params: dict[str, ParameterValue] = Field(
        default_factory=dict,
        max_length=50,
        description=(
            "Values for $name in the SQL, never written into it. A list is used as IN (SELECT unnest($name)); "
            'give a column of earlier rows as {"output_of": ..., "path": ["rows", "*", column]}.'
        ),
    )
    first_row_of_each: IdentifierText | None = Field(
        default=None,
        description=(
            "An output column: keep only the first row for each of its values, in the order of the query. For 'the "
            "best X of each Y', order by the measure descending and name Y's column here; else leave it out."
        ),
    )
    rows_per_value: int = Field(
        default=1, ge=1, le=1_000, description="With first_row_of_each: how many first rows of each value to keep."
    )
    max_rows: int = Field(default=1_000, ge=1, le=10_000, description="At most so many rows are returned.")

    def to_query(self) -> Query:
        """Return the query to run."""
        return Query(
            sql=self.sql,
            params=self.params,
            first_row_of_each=self.first_row_of_each,
            rows_per_value=self.rows_per_value,
            max_rows=self.max_rows,
        )


class AnalyzeArgs(QueryArgs):
    """A query over rows of earlier outputs."""

    tables: dict[IdentifierText, TableRows | dict[str, JsonValue]] = Field(
        min_length=1,
        max_length=20,
        description=(
            'Rows by the table name that the SQL uses, such as {"sales": {"output_of": ..., "path": ["rows"]}}; '
            "the whole output of a query may stand for its rows."
        ),
    )


def build_read_only_metadata(*, output_schema: JsonSchema, context_provider: bool = False) -> dict[str, Any]:
    """Return the metadata of a tool that only reads local data: MCP's hints and the keys of `Policy`."""
    return {
        "readOnlyHint": True,
        "destructiveHint": False,
        "idempotentHint": True,
        "openWorldHint": False,
        "context_provider": context_provider,
        "columns_of": {"first_row_of_each": "sql"},
        "output_schema": output_schema,
        # The tool interrupts its own query before that; this is for an engine that does not react.
        "timeout_s": QUERY_SECONDS + 10,
    }


class SqlTool(BaseTool):
    """A tool that runs one query per call, each on a connection of its own, so that calls can run in parallel."""

    seconds: float = QUERY_SECONDS

    @abstractmethod
    @contextmanager
    def _prepare_connection(self, args: QueryArgs) -> Iterator["DuckDBPyConnection"]:
        """Yield a connection that has the tables for the query of `args`."""

    @abstractmethod
    def _parse_args(self, given: Mapping[str, Any]) -> QueryArgs:
        """Return the validated arguments."""

    def _run(self, **given: Any) -> QueryOutput:  # noqa: ANN401 - the signature of BaseTool
        return self._execute_query(self._parse_args(given), QueryWatchdog(self.seconds))

    async def _arun(self, **given: Any) -> QueryOutput:  # noqa: ANN401 - the signature of BaseTool
        args = self._parse_args(given)
        return await run_in_thread(lambda watch: self._execute_query(args, watch), seconds=self.seconds)

    def _execute_query(self, args: QueryArgs, watch: QueryWatchdog) -> QueryOutput:
        with self._prepare_connection(args) as connection:
            return run_query(args.to_query(), connection=connection, watch=watch)
