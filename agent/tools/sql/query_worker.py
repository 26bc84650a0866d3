"""The program of a query process: it opens one data source and answers requests over its pipes, one at a time.

A request and its reply are JSON. The process ends when its caller's pipe does, even in the middle of a query.
"""

import json
import os
import queue
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from dataclasses import replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from agent.core.plan.tool_spec import JsonSchema, Preflight
from agent.errors import DataError, ToolFailure
from agent.tools.db_schema.introspection import read_schema
from agent.tools.db_schema.model import DatabaseSchema
from agent.tools.sql.data_source import AttachedSource, EngineLimits, attach_source, connect_in_memory, lock_down
from agent.tools.sql.engines.attachment import CATALOG
from agent.tools.sql.engines.dialects import SOURCE_DIALECTS, PreparedQuery, translate_if_needed
from agent.tools.sql.engines.sqlite import explain_sqlite_failure
from agent.tools.sql.preflight import build_bind_values, preflight_query
from agent.tools.sql.query_process import Message, read_frame, write_frame
from agent.tools.sql.row_tables import create_row_tables, preflight_rows
from agent.tools.sql.runner import Query, QueryOutput, bind_value, run_query
from agent.tools.sql.source_location import SourceLocation
from agent.tools.sql.sources.several import find_ambiguous_tables
from agent.tools.sql.statement import format_engine_error

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

#: Bytes that the process may have beyond the engine's own limit, which does not count every allocation.
_SPARE_MEMORY = 2**30


class _Worker:
    """The state of the process: its limits, its source, and the schemas that it was sent."""

    def __init__(self) -> None:
        self.temp_folder = ""
        self._limits = EngineLimits()
        self._result_bytes = 0
        self._dialect: str | None = None
        self._source: AttachedSource | None = None
        self._schemas: dict[str, DatabaseSchema] = {}
        self._operations: Mapping[str, Callable[[Message], Any]] = {
            "open": self._open,
            "query": self._query,
            "analyze": self._analyze,
            "schema": self._read_schema,
            "preflight_query": self._preflight_query,
            "preflight_rows": self._preflight_rows,
        }

    def answer(self, message: Message) -> Message:
        """Return the reply to a request, marked if the process should not be used again."""
        import duckdb  # noqa: PLC0415 - slow to import

        try:
            reply: Message = {"result": self._operations[message["op"]](message)}
        except ToolFailure as failure:
            reply = {"failure": self._explain(str(failure))}
        except DataError as error:
            reply = {"data_error": str(error)}
        except (MemoryError, duckdb.OutOfMemoryException):
            return self.build_memory_failure()
        except duckdb.Error as error:
            reply = {"failure": self._explain(f"The query failed: {format_engine_error(error)}")}
        except Exception as error:  # noqa: BLE001 - a bug here is raised in the caller's process
            reply = {"error": f"{type(error).__name__}: {error}"}
        return {**reply, "retire": True} if self._is_memory_short() else reply

    def _explain(self, sentence: str) -> str:
        """Return a failure with what the user can do about the source, if that is its cause."""
        remedy = explain_sqlite_failure(self._source.file, sentence) if self._source is not None else None
        return sentence if remedy is None else f"{remedy} {sentence}"

    def build_memory_failure(self) -> Message:
        """Return the reply if memory is used up; what the engine holds of it is not known, so the process ends."""
        megabytes = (self._limits.memory_bytes or 0) // 2**20
        sentence = f"The query needs more memory than the {megabytes:,} MB that it may have; query less data."
        return {"failure": sentence, "retire": True}

    def _is_memory_short(self) -> bool:
        """Whether the process is so large already that the next query would find too little memory."""
        with suppress(OSError, ValueError, IndexError):
            data_pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[5])
            return data_pages * os.sysconf("SC_PAGE_SIZE") > (self._limits.memory_bytes or 0) + _SPARE_MEMORY // 2
        return False

    def _open(self, message: Message) -> None:
        self.temp_folder = message["temp_folder"]
        Path(self.temp_folder).mkdir(mode=0o700)
        # The caller deletes it, also after this process was killed.
        tempfile.tempdir = self.temp_folder
        self._limits = EngineLimits(
            message["temp_folder"], message["memory_bytes"], message["temp_bytes"], message["time_zone"]
        )
        self._dialect = message["dialect"]
        self._result_bytes = message["result_bytes"]
        _limit_memory(message["memory_bytes"] + _SPARE_MEMORY)
        source = message["source"]
        if source is not None:
            location = SourceLocation.from_message(source)
            self._dialect = self._dialect or SOURCE_DIALECTS.get(location.kind)
            self._source = attach_source(
                location, folder=source["folder"], session=source["session"], limits=self._limits
            )

    def _get_source(self) -> AttachedSource:
        if self._source is None:
            raise AssertionError("the process was opened without a source")
        return self._source

    def _query(self, message: Message) -> object:
        query = Query(**message["query"])
        values = {name: bind_value(value, name=name) for name, value in query.params.items()}
        source = self._get_source()
        with source.get_connection() as connection:
            prepared = self._prepare(query.sql, params=values, connection=connection)
            try:
                output = self._run(replace(query, sql=prepared.sql), message, connection)
            except ToolFailure:
                if source.reader is None:
                    raise
                # The data may have changed since it was looked at.
                source.reader.forget()
                prepared = self._prepare(query.sql, params=values, connection=connection)
                output = self._run(replace(query, sql=prepared.sql), message, connection)
        warnings = [*prepared.notes, *filter(None, [output.get("warning")])]
        return {**output, "warning": " ".join(warnings)} if warnings else output

    def _run(self, query: Query, message: Message, connection: "DuckDBPyConnection") -> QueryOutput:
        return run_query(query, connection=connection, max_bytes=self._result_bytes, cuts=message.get("cuts") or ())

    def _prepare(self, sql: str, *, params: Mapping[str, object], connection: "DuckDBPyConnection") -> PreparedQuery:
        """Return the query as DuckDB runs it on this source, whose tables are prepared for it."""
        import duckdb  # noqa: PLC0415 - slow to import

        reader = self._get_source().reader
        try:
            notes = reader.prepare_tables(sql, connection) if reader is not None else []
            prepared = translate_if_needed(sql, dialect=self._dialect, params=params, connection=connection)
            if prepared.sql != sql and reader is not None:
                notes = reader.prepare_tables(prepared.sql, connection)
            if self._get_source().kind == "several":
                notes = [*notes, *find_ambiguous_tables(prepared.sql, connection, catalog=CATALOG)]
        except duckdb.OutOfMemoryException:
            raise
        except duckdb.Error as error:
            raise ToolFailure(f"The query failed: {format_engine_error(error)}") from None
        return replace(prepared, notes=(*prepared.notes, *notes))

    def _analyze(self, message: Message) -> object:
        with closing(connect_in_memory(self._limits)) as connection:
            query, columns = message["query"], message.get("columns") or {}
            create_row_tables(message["tables"], columns=columns, sql=query["sql"], connection=connection)
            lock_down(connection, time_zone=self._limits.time_zone)
            return self._run(Query(**query), message, connection)

    def _read_schema(self, message: Message) -> object:
        return read_schema(self._get_source(), only=message["only"]).model_dump(mode="json")

    def _preflight_query(self, message: Message) -> object:
        if "schema" in message:
            self._schemas = {message["schema_key"]: DatabaseSchema.model_validate(message["schema"])}
        schema = self._schemas[message["schema_key"]]
        with self._get_source().get_connection() as connection:
            found = self._preflight(
                message["args"],
                left_open=message["open"],
                schema=schema,
                connection=connection,
                goal=message["goal"],
            )
        return found.model_copy(update={"problems": tuple(map(self._explain, found.problems))}).model_dump(mode="json")

    def _preflight(
        self,
        args: Mapping[str, Any],
        *,
        left_open: Mapping[str, JsonSchema],
        schema: DatabaseSchema,
        connection: "DuckDBPyConnection",
        goal: str | None,
    ) -> Preflight:
        """Check a query as it will be run; SQL in the dialect of the source stays in the plan as it was written."""
        written = args["sql"]
        try:
            values = build_bind_values(args.get("params") or {}, left_open=left_open)
            prepared = self._prepare(written, params=values, connection=connection)
        except ToolFailure as failure:
            return Preflight(problems=(str(failure),))
        found = preflight_query(
            {**args, "sql": prepared.sql}, left_open=left_open, schema=schema, connection=connection, goal=goal
        )
        if found.args and found.args["sql"] == prepared.sql:
            found = found.model_copy(update={"args": {**found.args, "sql": written}})
        return found.model_copy(update={"warnings": tuple(dict.fromkeys((*prepared.notes, *found.warnings)))})

    def _preflight_rows(self, message: Message) -> object:
        with closing(connect_in_memory(self._limits)) as connection:
            found = preflight_rows(
                message["args"],
                left_open=message["open"],
                connection=connection,
                goal=message["goal"],
                time_zone=self._limits.time_zone,
            )
            return found.model_dump(mode="json")


def _limit_memory(size: int) -> None:
    """Let allocations fail beyond `size` bytes, where the system can do that: a failure ends one query only."""
    with suppress(ImportError, OSError, ValueError, AttributeError):
        import resource  # noqa: PLC0415 - not on every system

        resource.setrlimit(resource.RLIMIT_DATA, (size, size))


def serve_requests() -> None:
    """Answer requests until the caller's pipe ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    replies = os.fdopen(os.dup(1), "wb")
    # Nothing that a library prints may come between two replies.
    os.dup2(2, 1)
    worker, requests = _Worker(), queue.SimpleQueue[Message]()
    threading.Thread(
        target=_read_requests, args=(sys.stdin.buffer, requests, worker), name="requests", daemon=True
    ).start()
    while True:
        reply = worker.answer(requests.get())
        try:
            frame = json.dumps(reply).encode()
        except MemoryError:
            frame = json.dumps(worker.build_memory_failure()).encode()
        write_frame(replies, frame)


def _read_requests(stdin: IO[bytes], requests: "queue.SimpleQueue[Message]", worker: _Worker) -> None:
    with suppress(OSError, ValueError):
        while (frame := read_frame(stdin)) is not None:
            requests.put(json.loads(frame))
    if worker.temp_folder:
        shutil.rmtree(worker.temp_folder, ignore_errors=True)
    os._exit(0)


if __name__ == "__main__":
    serve_requests()
