"""The base of the tools that run SQL: arguments, policy and limits."""

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import fields
from typing import Annotated, Any

from langchain_core.tools import BaseTool
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from agent.core.plan.tool_spec import JsonSchema
from agent.tools.call_inputs import CallInput, describe_cut_inputs, get_call_inputs
from agent.tools.sql.query_process import Message, QueryLimits, QueryProcesses, run_cancellable
from agent.tools.sql.runner import Query, QueryOutput

#: Seconds that a query may take, unless its data source says otherwise.
QUERY_SECONDS = QueryLimits().seconds
#: Seconds that the check of a query may take: the engine computes constants when it binds it.
PREFLIGHT_SECONDS = 15.0

ScalarText = Annotated[str, Field(max_length=4_000)]
Scalar = bool | int | float | ScalarText | None
TableRows = list[dict[str, JsonValue]]
ParameterValue = Scalar | list[Scalar] | TableRows
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
    max_rows: int | None = Field(
        default=None,
        ge=1,
        description=(
            "Return only so many rows and mark the result as cut off; leave it out to have all of them. For the first "
            "n of a ranking write LIMIT n in the SQL, which cuts nothing off."
        ),
    )

    allow_cut_rows: bool = Field(
        default=False,
        description=(
            "Totals and rankings fail if rows of an earlier output that they are made of were cut off. True: the goal "
            "is about those rows only."
        ),
    )

    def to_message(self) -> Message:
        """Return the fields of the `Query` to run, as a query process takes them."""
        return self.model_dump(mode="json", include={field.name for field in fields(Query)})


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


def build_read_only_metadata(
    *, output_schema: JsonSchema, context_provider: bool = False, seconds: float = QUERY_SECONDS
) -> dict[str, Any]:
    """Return the metadata of a tool that only reads local data: MCP's hints and the keys of `Policy`."""
    return {
        "readOnlyHint": True,
        "destructiveHint": False,
        "idempotentHint": True,
        "openWorldHint": False,
        "context_provider": context_provider,
        "columns_of": {"first_row_of_each": "sql"},
        "output_schema": output_schema,
        # The tool stops its own query before that; this counts also the wait for a free process.
        "timeout_s": seconds + 10,
    }


class SqlTool(BaseTool):
    """A tool that runs one query per call in a query process, several at the same time."""

    seconds: float = QUERY_SECONDS
    processes: QueryProcesses = Field(default_factory=lambda: QueryProcesses(QueryLimits()))

    @abstractmethod
    def _build_request(self, given: Mapping[str, Any]) -> Message:
        """Return the request for a query process that has the arguments `given`, validated."""

    def _run(self, **given: Any) -> QueryOutput:  # noqa: ANN401 - the signature of BaseTool
        return self._run_query(self._build_request(given))

    async def _arun(self, **given: Any) -> QueryOutput:  # noqa: ANN401 - the signature of BaseTool
        return await run_cancellable(self._run_query, self._build_request(given))

    def _run_query(self, request: Message) -> QueryOutput:
        inputs = [each for each in get_call_inputs() if each.place[0] in {"tables", "params"}]
        if inputs:
            request = {**request, "cuts": describe_cut_inputs(inputs), "columns": dict(_list_columns(inputs))}
        output: QueryOutput = self.processes.run(request, seconds=self.seconds)
        return output


def _list_columns(inputs: Sequence[CallInput]) -> Iterator[tuple[str, JsonValue]]:
    """Yield by table name the columns of the query whose rows the table is, with their types."""
    for each in inputs:
        if each.holder is not None and len(each.place) == 2 and each.place[0] == "tables" and "rows" in each.holder:
            yield str(each.place[1]), each.holder.get("columns")
