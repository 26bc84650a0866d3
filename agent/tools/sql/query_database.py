"""The tools that read a database: what is in it, and one SELECT at a time."""

import asyncio
import re
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from langchain_core.tools import BaseTool
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from agent.core.plan.tool_spec import JsonSchema, Preflight
from agent.errors import ToolFailure
from agent.tools.db_schema.as_ddl import render_schema_as_ddl
from agent.tools.db_schema.as_text import render_schema
from agent.tools.db_schema.introspection import read_schema
from agent.tools.db_schema.model import DatabaseSchema
from agent.tools.sql.analyze_rows import AnalyzeRows
from agent.tools.sql.data_source import DataSource
from agent.tools.sql.preflight import build_preflight, check_query
from agent.tools.sql.runner import build_output_schema
from agent.tools.sql.sql_tool import IdentifierText, QueryArgs, SqlTool, build_read_only_metadata
from agent.tools.sql_repair.schema_linking import SchemaLinks, link_columns

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

#: Who names these wants to see them.
_ID_WORDS = re.compile(r"\b(ids?|keys?|codes?)\b", re.IGNORECASE)


class IntrospectedDatabase:
    """A data source with its schema, which is read when first asked for and then kept."""

    def __init__(self, source: DataSource) -> None:
        """Work on `source`, which stays the caller's to close."""
        self.source = source
        self._reading = threading.Lock()
        self._schema: DatabaseSchema | None = None

    def load_schema(self) -> DatabaseSchema:
        """Return the schema. Blocking the first time."""
        with self._reading:
            if self._schema is None:
                self._schema = read_schema(self.source)
            return self._schema


def database_tools(source: DataSource) -> list[BaseTool]:
    """Return `describe_database`, `query_database` and `analyze_rows`, the first two on `source`."""
    database = IntrospectedDatabase(source)
    return [DescribeDatabase(database=database), QueryDatabase(database=database), AnalyzeRows()]


class DescribeArgs(BaseModel):
    """Which tables and views to describe."""

    model_config = ConfigDict(extra="forbid")

    tables: list[IdentifierText] = Field(
        default_factory=list, max_length=1_000, description="Only these tables and views; leave it out for all."
    )


class DescribeDatabase(BaseTool):
    """The tool `describe_database`."""

    name: str = "describe_database"
    description: str = (
        "Tells what the database holds: views and tables with their columns, types, comments, foreign keys, row "
        "counts, the values of text columns that have few, and the ranges of dates."
    )
    args_schema: type[BaseModel] = DescribeArgs
    metadata: dict[str, Any] | None = Field(
        default_factory=lambda: build_read_only_metadata(
            output_schema=DatabaseSchema.model_json_schema(mode="serialization"), context_provider=True
        )
    )
    database: IntrospectedDatabase

    def _run(self, tables: list[str] | None = None) -> dict[str, JsonValue]:
        schema = self.database.load_schema()
        if tables:
            missing = [name for name in tables if schema.relation(name) is None]
            if missing:
                names = ", ".join(relation.name for relation in schema.relations)
                raise ToolFailure(f"There is no table or view {missing[0]!r}; there are {names}.")
            wanted = {name.lower() for name in tables}
            relations = tuple(relation for relation in schema.relations if relation.name.lower() in wanted)
            schema = DatabaseSchema(relations=relations)
        return schema.model_dump(mode="json")

    async def _arun(self, tables: list[str] | None = None) -> dict[str, JsonValue]:
        return await asyncio.to_thread(self._run, tables)

    def as_context(self, output: JsonValue) -> str:
        """Word an output for a planner's prompt."""
        return render_schema(DatabaseSchema.model_validate(output))


class QueryDatabase(SqlTool):
    """The tool `query_database`."""

    name: str = "query_database"
    description: str = (
        "Runs one SELECT on the database and returns its rows. Read only. Name every output column with AS. Values "
        "from earlier outputs come in as named parameters."
    )
    args_schema: type[BaseModel] = QueryArgs
    metadata: dict[str, Any] | None = Field(
        default_factory=lambda: build_read_only_metadata(output_schema=build_output_schema())
    )
    database: IntrospectedDatabase

    def find_tables_for(self, columns: Sequence[str]) -> SchemaLinks:
        """Tell a planner which tables and views have the columns that a question is about."""
        return link_columns(columns, schema=self.database.load_schema())

    def replace_schema_with_sql(self, context: str) -> str:
        """Return what a planner is told with this database in it as SQL, where it is in it."""
        schema = self.database.load_schema()
        return context.replace(render_schema(schema), render_schema_as_ddl(schema))

    def fit_to_goal(self, sql: str, goal: str) -> str:
        """Return a planner's query as the goal has it: whole where no number of rows is asked for, names for ids."""
        from agent.tools.sql_repair.output_rows import (  # noqa: PLC0415 - sqlglot is slow to import
            remove_unrequested_limit,
            replace_keys_with_labels,
        )

        whole = remove_unrequested_limit(sql, asked=goal)
        return whole if _ID_WORDS.search(goal) else replace_keys_with_labels(whole, schema=self.database.load_schema())

    def _parse_args(self, given: Mapping[str, Any]) -> QueryArgs:
        return QueryArgs.model_validate(given)

    @contextmanager
    def _prepare_connection(self, args: QueryArgs) -> Iterator["DuckDBPyConnection"]:  # noqa: ARG002 - all calls see the same tables
        with self.database.source.get_connection() as connection:
            yield connection

    def preflight(self, args: dict[str, Any], open: Mapping[str, JsonSchema]) -> Preflight:  # noqa: A002
        """Bind the query on the real database, mended where its names can be looked up, and tell its columns."""
        if "sql" in open or "params" in open or "sql" not in args:
            return Preflight()
        with self.database.source.get_connection() as connection:
            checked = check_query(
                args["sql"],
                params=args.get("params") or {},
                left_open=open,
                schema=self.database.load_schema(),
                connection=connection,
            )
        return build_preflight(checked, args=args, left_open=open)
