"""The tool `analyze_rows`: SQL over rows of earlier outputs."""

import json
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, Field, JsonValue

from agent.core.plan.tool_spec import JsonSchema, Preflight
from agent.errors import ToolFailure
from agent.tools.db_schema.introspection import quote_identifier, read_memory_schema
from agent.tools.sql.data_source import connect_in_memory, lock_down
from agent.tools.sql.preflight import build_preflight, check_query, get_json_types, to_duckdb_type
from agent.tools.sql.runner import build_output_schema
from agent.tools.sql.sql_tool import AnalyzeArgs, QueryArgs, SqlTool, build_read_only_metadata

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

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

    def _parse_args(self, given: Mapping[str, Any]) -> AnalyzeArgs:
        return AnalyzeArgs.model_validate(given)

    @contextmanager
    def _prepare_connection(self, args: QueryArgs) -> Iterator["DuckDBPyConnection"]:
        tables = args.tables if isinstance(args, AnalyzeArgs) else {}
        with closing(connect_in_memory()) as connection:
            for name, given in tables.items():
                _create_table_from_rows(name, parse_table_rows(given, table=name), connection=connection)
            lock_down(connection)
            yield connection

    def preflight(self, args: dict[str, Any], open: Mapping[str, JsonSchema]) -> Preflight:  # noqa: A002
        """Bind the query to empty tables with the columns in the output schemas of the tasks that will provide them."""
        if "sql" in open or "tables" in open or "params" in open or "sql" not in args:
            return Preflight()
        try:
            return self._run_preflight(args, left_open=open)
        except ToolFailure as failure:
            return Preflight(problems=(str(failure),))

    def _run_preflight(self, args: Mapping[str, Any], *, left_open: Mapping[str, JsonSchema]) -> Preflight:
        schemas = {path.partition(".")[2]: schema for path, schema in left_open.items() if path.startswith("tables.")}
        with closing(connect_in_memory()) as connection:
            for name, given in args.get("tables", {}).items():
                _create_table_from_rows(name, parse_table_rows(given, table=name), connection=connection)
            for name, schema in schemas.items():
                columns = _infer_columns(schema)
                if columns is None:
                    # The columns are unknown, so nothing can be checked before the rows are there.
                    return Preflight()
                _create_empty_table(name, columns, connection=connection)
            lock_down(connection)
            checked = check_query(
                args["sql"],
                params=args.get("params") or {},
                left_open=left_open,
                schema=read_memory_schema(connection),
                connection=connection,
            )
        return build_preflight(checked, args=args, left_open=left_open)


def parse_table_rows(given: object, *, table: str) -> list[dict[str, JsonValue]]:
    """Return the rows of a table that is given as a list of rows or as a whole query output. Raises `ToolFailure`."""
    rows = given.get("rows") if isinstance(given, dict) else given
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise ToolFailure(f"tables[{table!r}] is not a list of rows; give the rows of an earlier output.")
    return rows


def _create_table_from_rows(name: str, rows: list[dict[str, JsonValue]], *, connection: "DuckDBPyConnection") -> None:
    """Create the table `name` from rows; DuckDB infers the column types as it does for JSON files."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    if not columns:
        # A table needs a column. A query that names another one fails with a message that says so.
        connection.execute(f"CREATE TABLE {quote_identifier(name)} (no_rows VARCHAR)")
        return
    with tempfile.TemporaryDirectory(prefix="planwave-") as folder:
        file = Path(folder) / "rows.json"
        file.write_text(
            "\n".join(json.dumps({key: row.get(key) for key in columns}, allow_nan=False) for row in rows),
            encoding="utf-8",
        )
        # The whole file is sampled: a type inferred from the first rows alone could fail on a later row.
        connection.read_json(str(file), format="newline_delimited", sample_size=-1).create(name)


def _infer_columns(schema: JsonSchema) -> dict[str, str] | None:
    """Return the columns, with DuckDB types, of rows that fit `schema`; None if it does not list them."""
    properties = schema.get("properties")
    if "object" in get_json_types(schema) and isinstance(properties, dict) and "rows" in properties:
        schema = properties["rows"]
    items = schema.get("items")
    if not isinstance(items, dict) or not isinstance(items.get("properties"), dict):
        return None
    return {name: to_duckdb_type(inner) or "VARCHAR" for name, inner in items["properties"].items()} or None


def _create_empty_table(name: str, columns: Mapping[str, str], *, connection: "DuckDBPyConnection") -> None:
    listed = ", ".join(f"{quote_identifier(column)} {kind}" for column, kind in columns.items())
    connection.execute(f"CREATE TABLE {quote_identifier(name)} ({listed})")
