"""What the tools that run SQL have in common: policy, threads, limits."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from langchain_core.tools import BaseTool

from agent.core.tool import JsonSchema
from agent.tools.query_args import QueryArgs
from agent.tools.sql_run import QueryOutput, Watch, in_thread, run_query

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

#: Seconds a query may take before it is interrupted.
QUERY_SECONDS = 60.0


def read_only(*, output_schema: JsonSchema, context_provider: bool = False) -> dict[str, Any]:
    """Return the policy of a tool that only reads data at hand, in MCP's words and ours."""
    return {
        "readOnlyHint": True,
        "destructiveHint": False,
        "idempotentHint": True,
        "openWorldHint": False,
        "context_provider": context_provider,
        "columns_of": {"first_row_of_each": "sql"},
        "output_schema": output_schema,
        # The tool stops its own query first; this is for an engine that does not answer.
        "timeout_s": QUERY_SECONDS + 10,
    }


class SqlTool(BaseTool):
    """Runs one query per call, each on a connection of its own; many calls may run at once."""

    seconds: float = QUERY_SECONDS

    @abstractmethod
    @contextmanager
    def _connected(self, args: QueryArgs) -> Iterator["DuckDBPyConnection"]:
        """Lend the connection on which the query of `args` finds its tables."""

    @abstractmethod
    def _args(self, given: Mapping[str, Any]) -> QueryArgs:
        """Return the arguments as a model."""

    def _run(self, **given: Any) -> QueryOutput:  # noqa: ANN401 - the signature of BaseTool
        return self._work(self._args(given), Watch(self.seconds))

    async def _arun(self, **given: Any) -> QueryOutput:  # noqa: ANN401 - the signature of BaseTool
        args = self._args(given)
        return await in_thread(lambda watch: self._work(args, watch), seconds=self.seconds)

    def _work(self, args: QueryArgs, watch: Watch) -> QueryOutput:
        with self._connected(args) as connection:
            return run_query(args.query(), connection=connection, watch=watch)
