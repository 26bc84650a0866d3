"""The tools that read a database: `describe_database` and `query_database`."""

import re
import threading
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from langchain_core.tools import BaseTool
from pydantic import BaseModel, ConfigDict, Field, JsonValue

from agent.core.plan.hashing import hash_json
from agent.core.plan.tool_spec import JsonSchema, Preflight
from agent.errors import ToolFailure
from agent.tools.db_schema.as_ddl import render_schema_as_ddl
from agent.tools.db_schema.as_text import render_schema
from agent.tools.db_schema.model import DatabaseSchema
from agent.tools.sql.analyze_rows import AnalyzeRows
from agent.tools.sql.data_source import DataSource
from agent.tools.sql.query_process import Message, run_cancellable
from agent.tools.sql.runner import QueryOutput, build_output_schema
from agent.tools.sql.sql_tool import PREFLIGHT_SECONDS, IdentifierText, QueryArgs, SqlTool, build_read_only_metadata
from agent.tools.sql_repair.schema_linking import SchemaLinks, link_columns

if TYPE_CHECKING:
    from agent.tools.sql_repair.output_rows import FittedQuery

#: Seconds that reading the schema may take, and again without the rows if that was not enough.
_SCHEMA_SECONDS = 60.0
#: Seconds that the review of a draft may take to count the rows of its joins.
_COUNT_SECONDS = 5.0
#: Beyond so many tables and views, rows are read only of those that a query or a description names.
_MAX_PROFILED_TABLES = 40
#: Sources in which counting the rows of every table is work for others, too.
_SERVERS = frozenset({"postgres", "mysql"})
_WORD = re.compile(r"\w+")


class IntrospectedDatabase:
    """A data source with its schema, which is read in a query process at first use and then cached."""

    def __init__(self, source: DataSource) -> None:
        """Wrap `source`, which the caller closes."""
        self.source = source
        self._lock = threading.Lock()
        self._schema: DatabaseSchema | None = None
        #: The tables whose rows have been looked at, in lower case.
        self._profiled: set[str] = set()
        self._shared: tuple[DatabaseSchema, tuple[str, str, object]] | None = None

    def load_schema(self, tables: Collection[str] | None = None) -> DatabaseSchema:
        """Return the schema: the names and types of all tables, and what is known of their rows.

        Rows are read of `tables` only; with None, of all tables if they are not too many. Blocks while anything is
        read that is not known yet. Raises `ToolFailure`.
        """
        with self._lock:
            if self._schema is None:
                self._schema = self._read_schema([])
            names = {relation.name.lower() for relation in self._schema.relations}
            named = map(self._schema.relation, tables) if tables is not None else self._schema.relations
            wanted = {relation.name.lower() for relation in named if relation is not None}
            if tables is None and len(names) > _MAX_PROFILED_TABLES:
                return self._schema
            if unknown := wanted - self._profiled:
                read = {each.name: each for each in self._read_schema(sorted(unknown)).relations}
                self._schema = self._schema.model_copy(
                    update={
                        "relations": tuple(
                            read.get(each.name, each) if each.name.lower() in unknown else each
                            for each in self._schema.relations
                        )
                    }
                )
                self._profiled |= unknown
            return self._schema

    def load_schema_for(self, sql: str) -> DatabaseSchema:
        """Return the schema with the rows of what `sql` names; of all tables if they are few and in a local file."""
        if self.source.kind in _SERVERS or len(self.load_schema([]).relations) > _MAX_PROFILED_TABLES:
            words = set(_WORD.findall(sql.lower()))
            relations = self.load_schema([]).relations
            return self.load_schema(
                [each.name for each in relations if words.issuperset(_WORD.findall(each.name.lower()))]
            )
        return self.load_schema()

    def _read_schema(self, only: list[str]) -> DatabaseSchema:
        run = partial(self.source.processes.run, seconds=_SCHEMA_SECONDS, subject="The reading of the schema")
        try:
            found = run({"op": "schema", "only": only})
        except ToolFailure:
            if not only:
                raise
            # A view may be such that no limit of the engine stops it; names and types need no row.
            found = run({"op": "schema", "only": []})
        return DatabaseSchema.model_validate(found)

    def share_schema(self, sql: str) -> tuple[str, str, object]:
        """Return the schema as query processes get it to check `sql`: name, digest and value."""
        schema = self.load_schema_for(sql)
        if self._shared is None or self._shared[0] is not schema:
            document = schema.model_dump(mode="json")
            self._shared = (schema, ("schema", hash_json(document), document))
        return self._shared[1]


def database_tools(source: DataSource) -> list[BaseTool]:
    """Return `describe_database`, `query_database` and `analyze_rows`, the first two on `source`."""
    database, processes, seconds = IntrospectedDatabase(source), source.processes, source.limits.seconds
    metadata = build_read_only_metadata(output_schema=build_output_schema(), seconds=seconds)
    return [
        DescribeDatabase(database=database),
        QueryDatabase(database=database, processes=processes, seconds=seconds, metadata=metadata),
        AnalyzeRows(processes=processes, seconds=seconds, metadata=metadata),
    ]


class DescribeArgs(BaseModel):
    """Which tables and views to describe."""

    model_config = ConfigDict(extra="forbid")

    tables: list[IdentifierText] = Field(
        default_factory=list, max_length=1_000, description="Only these tables and views; leave it out for all."
    )


class DescribeDatabase(BaseTool):
    """Returns the schema of a database."""

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
        schema = self.database.load_schema(tables or None)
        if tables:
            missing = [name for name in tables if schema.relation(name) is None]
            if missing:
                names = ", ".join(relation.name for relation in schema.relations)
                raise ToolFailure(f"There is no table or view {missing[0]!r}; there are {names}.")
            requested = [schema.relation(name) for name in tables]
            relations = tuple(relation for relation in schema.relations if relation in requested)
            schema = schema.model_copy(update={"relations": relations})
        return schema.model_dump(mode="json")

    async def _arun(self, tables: list[str] | None = None) -> dict[str, JsonValue]:
        return await run_cancellable(self._run, tables)

    def as_context(self, output: JsonValue) -> str:
        """Return an output as text for a planner's prompt."""
        return render_schema(DatabaseSchema.model_validate(output))


class QueryDatabase(SqlTool):
    """Runs one SELECT on a database."""

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

    def model_post_init(self, context: object) -> None:
        """Use the processes of the data source, unless others are given."""
        super().model_post_init(context)
        if "processes" not in self.model_fields_set:
            self.processes = self.database.source.processes

    def find_tables_for(self, columns: Sequence[str]) -> SchemaLinks:
        """Return the tables and views that have the columns of a question, for a planner."""
        return link_columns(columns, schema=self.database.load_schema())

    def replace_schema_with_sql(self, context: str) -> str:
        """Return a planner's `context` with the description of this database, if it is there, replaced by SQL."""
        schema = self.database.load_schema()
        return context.replace(render_schema(schema), render_schema_as_ddl(schema))

    def fit_to_goal(self, sql: str, goal: str) -> "FittedQuery":
        """Return a planner's query adapted to the goal, as `agent/tools/sql_fit/README.md` tells."""
        from agent.tools.sql_fit.fit import fit_query  # noqa: PLC0415 - sqlglot is slow to import

        return fit_query(sql, goal=goal, schema=self.database.load_schema())

    def review_query(self, sql: str, goal: str, is_final: bool) -> tuple[str, ...]:
        """Return what looks wrong in a planner's query for its goal; `is_final`: no other call uses its rows."""
        from agent.tools.sql_review.draft_review import review_query  # noqa: PLC0415 - sqlglot is slow to import

        schema = self.database.load_schema()
        return review_query(sql, goal=goal, schema=schema, count_rows=self._count_rows, is_final=is_final)

    def _count_rows(self, sql: str) -> tuple[int, int] | None:
        """Run a query of the review, which has one row of two numbers; None if it fails or takes too long."""
        request: Message = {"op": "query", "query": QueryArgs(sql=sql).to_message()}
        try:
            output = self.processes.run(request, seconds=_COUNT_SECONDS)
        except ToolFailure:
            return None
        first, second = output["rows"][0].values()
        return int(first), int(second)

    def review_coverage(self, texts: Sequence[str], goal: str) -> tuple[str, ...]:
        """Return what the goal names and none of the `texts` of a planner's calls has."""
        from agent.tools.sql_review.draft_review import find_uncovered_values  # noqa: PLC0415 - sqlglot is slow to import

        return find_uncovered_values(texts, goal=goal, schema=self.database.load_schema())

    def _build_request(self, given: Mapping[str, Any]) -> Message:
        return {"op": "query", "query": QueryArgs.model_validate(given).to_message()}

    def _run_query(self, request: Message) -> QueryOutput:
        output = super()._run_query(request)
        guesses = self.database.source.notes.find_guesses(request["query"]["sql"])
        if guesses:
            output["warning"] = " ".join((*guesses, *filter(None, [output.get("warning")])))
        return output

    def preflight(
        self,
        args: dict[str, Any],
        open: Mapping[str, JsonSchema],  # noqa: A002
        goal: str | None = None,
    ) -> Preflight:
        """Bind the query on the database and return its output columns; a model's for `goal` is repaired."""
        if "sql" in open or "params" in open or "sql" not in args:
            return Preflight()
        try:
            found = self.processes.run(
                {"op": "preflight_query", "args": args, "open": dict(open), "goal": goal},
                seconds=PREFLIGHT_SECONDS,
                subject="The check of the SQL",
                shared=self.database.share_schema(args["sql"]),
            )
        except ToolFailure as failure:
            return Preflight(problems=(str(failure),))
        checked = Preflight.model_validate(found)
        guesses = self.database.source.notes.find_guesses((checked.args or args)["sql"])
        return checked.model_copy(update={"warnings": (*checked.warnings, *guesses)})
