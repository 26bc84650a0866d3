"""A pool of connections to PostgreSQL that survives a restart of the server."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar

import psycopg
from psycopg import Pipeline
from psycopg.abc import Params
from psycopg.rows import DictRow, tuple_row
from psycopg_pool import ConnectionPool
from tenacity import Retrying, retry_if_exception, stop_after_delay, wait_random_exponential

from agent.errors import PersistenceError
from graphs.stores.database import StatementRunner

T = TypeVar("T")
Connection = psycopg.Connection[DictRow]
Pool = ConnectionPool[Connection]
#: Seconds for which a server that went away is waited for.
RETRY_TIMEOUT_S = 20.0


class PostgresDatabase:
    """A pool of connections to one server, which may be restarted while the pool is open."""

    for_update = " FOR UPDATE"
    for_share = " FOR SHARE"
    #: The clock of the server, since those of machines may differ; `now()` would not advance within a transaction.
    now_expression = "EXTRACT(EPOCH FROM clock_timestamp())::float8"

    def __init__(self, pool: Pool, *, url: str) -> None:
        self.pool = pool
        self.url = url

    def run_in_transaction(self, work: Callable[[StatementRunner], T], *, durable: bool = False) -> T:  # noqa: ARG002
        """See `StoreDatabase.run_in_transaction`. Every commit is durable, unless the server is set otherwise."""
        return self.run_on_connection(lambda _, run: work(run))

    def run_on_connection(self, work: Callable[[Connection, StatementRunner], T]) -> T:
        """Do as `run_in_transaction`, for work that needs the connection too."""

        def transact_once(connection: Connection) -> T:
            with connection.transaction(), connection.cursor(row_factory=tuple_row) as cursor:

                def execute(statement: str, *values: Any) -> list[tuple[Any, ...]]:  # noqa: ANN401 - what a column holds
                    cursor.execute(statement.replace("?", "%s").encode(), values)
                    return cursor.fetchall() if cursor.description else []

                return work(connection, execute)

        return self.run_with_retries(transact_once)

    def run_with_retries(self, call: Callable[[Connection], T]) -> T:
        """Return what `call` returns; it is made again on another connection if one was lost."""

        def call_once() -> T:
            with self.pool.connection() as connection:
                return call(connection)

        retrying = Retrying(
            retry=retry_if_exception(_is_transient),
            stop=stop_after_delay(RETRY_TIMEOUT_S),
            wait=wait_random_exponential(multiplier=0.05, max=1.0),
            reraise=True,
        )
        try:
            return retrying(call_once)
        except psycopg.Error as error:
            raise PersistenceError(f"The database {self.url!r} cannot be used: {error}.") from error


def _is_transient(error: BaseException) -> bool:
    """Return whether the server went away, is starting, or rolled back one of two conflicting transactions.

    Errors without a code come from the client, for a connection that broke or could not be made. The server reports the
    rest in the classes 08, 57P and 40, and a transaction that was idle too long as 25P03 (PostgreSQL, appendix A).
    """
    if not isinstance(error, psycopg.OperationalError | psycopg.errors.IdleInTransactionSessionTimeout):
        return False
    return error.sqlstate is None or error.sqlstate.startswith(("08", "57P", "40", "25P03"))


#: An INSERT up to its values, the values of one row, and what follows them.
_INSERT_PATTERN = re.compile(r"(\s*INSERT\s.*?\sVALUES\s*)(\([%s,\s]+\))(.*)", re.DOTALL | re.IGNORECASE)
#: PostgreSQL numbers the values of a statement with 16 bits.
_MAX_PARAMETERS = 2**15


class UnpipelinedCursor(psycopg.Cursor[Any]):
    """A cursor that never sends a pipeline; many rows are inserted by one statement instead."""

    def executemany(
        self,
        query: Any,  # noqa: ANN401 - the types that psycopg accepts as a query grow with its versions
        params_seq: Iterable[Params],
        *,
        returning: bool = False,
    ) -> None:
        """Execute `query` with each of `params_seq`. Raises `NotSupportedError` if `returning` is set."""
        if returning:
            raise psycopg.NotSupportedError(
                "executemany returns no rows here; execute the statement for each of the parameters."
            )
        rows = [*params_seq]
        insert = _INSERT_PATTERN.fullmatch(query) if isinstance(query, str) and len(rows) > 1 else None
        if insert is None or not all(isinstance(row, Sequence) for row in rows):
            for params in rows:
                self.execute(query, params)
            return
        head, values, tail = insert.groups()
        size = max(1, _MAX_PARAMETERS // max(1, values.count("%s")))
        for start in range(0, len(rows), size):
            part = rows[start : start + size]
            statement = f"{head}{', '.join([values] * len(part))}{tail}"
            # Each number of rows is another statement, so that preparing it would not pay.
            self.execute(statement.encode(), [value for row in part for value in row], prepare=False)


class UnpipelinedConnection(psycopg.Connection[DictRow]):
    """A connection that never sends a pipeline."""

    @contextmanager
    def pipeline(self) -> Iterator[Pipeline]:
        """Yield a pipeline that is never entered; each statement is sent by itself."""
        yield Pipeline(self)
