"""Everything that outlives a process, behind one URL."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.checkpoint.sqlite import SqliteSaver

from agent.errors import PersistenceError, UsageError
from graphs.savers import OneThreadSaver
from graphs.serializer import strict_serializer

if TYPE_CHECKING:
    from psycopg_pool import ConnectionPool

_NEWEST_FIRST = (
    "SELECT thread_id FROM checkpoints WHERE checkpoint_ns = '' GROUP BY thread_id ORDER BY MAX(checkpoint_id) DESC"
)
_BUSY_S = 30.0


class Persistence:
    """The stores of one database; `open_persistence` makes it."""

    def __init__(self, saver: OneThreadSaver, *, url: str, query: Callable[[str], list[tuple[Any, ...]]]) -> None:
        self.saver = saver
        #: Without a password.
        self.url = url
        self._query = query

    async def threads(self) -> list[str]:
        """Return the ids of all threads, the one that changed last first."""
        return [row[0] for row in await asyncio.to_thread(self._query, _NEWEST_FIRST)]


@asynccontextmanager
async def open_persistence(url: str) -> AsyncIterator[Persistence]:
    """Open `sqlite:///file.db` (three slashes: relative, four: absolute) or `postgresql://user@host/database`.

    Makes what is missing. Raises `UsageError` for another kind of URL, `PersistenceError` where it cannot be opened.
    """
    opened = await asyncio.to_thread(_open, url)
    persistence = await asyncio.to_thread(opened.__enter__)
    try:
        yield persistence
    finally:
        await asyncio.to_thread(opened.__exit__, None, None, None)


def _open(url: str) -> AbstractContextManager[Persistence]:
    scheme = url.partition("://")[0]
    if scheme == "sqlite":
        return _sqlite(_sqlite_path(url))
    if scheme in {"postgresql", "postgres"}:
        return _postgres(url)
    raise UsageError(
        f"{_without_password(url)!r} is no database; write 'sqlite:///planwave.db' or 'postgresql://user@host/name'."
    )


def _sqlite_path(url: str) -> str:
    rest = unquote(url.removeprefix("sqlite://"))
    if rest in {"", "/", "/:memory:"}:
        return ":memory:"
    if not rest.startswith("/"):
        raise UsageError(
            f"{url!r} has two slashes; write 'sqlite:///{rest}' for a file beside you, four for an absolute path."
        )
    return rest[1:]


@contextmanager
def _sqlite(path: str) -> Iterator[Persistence]:
    try:
        if path != ":memory:":
            Path(path).parent.mkdir(parents=True, exist_ok=True)
        connection = sqlite3.connect(path, check_same_thread=False, timeout=_BUSY_S)
        with closing(connection):
            # WAL with NORMAL keeps every commit through a killed process; only a power cut can take the last ones.
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            inner = SqliteSaver(connection, serde=strict_serializer())
            inner.setup()
            saver = OneThreadSaver(inner)
            try:
                yield Persistence(saver, url=f"sqlite:///{path}", query=_sqlite_query(inner))
            finally:
                saver.close()
    except (sqlite3.Error, OSError) as error:
        raise PersistenceError(f"The database {path!r} cannot be used: {error}.") from error


def _sqlite_query(saver: SqliteSaver) -> Callable[[str], list[tuple[Any, ...]]]:
    def query(sql: str) -> list[tuple[Any, ...]]:
        with saver.cursor(transaction=False) as cursor:
            return cursor.execute(sql).fetchall()

    return query


@contextmanager
def _postgres(url: str) -> Iterator[Persistence]:
    try:
        import psycopg  # noqa: PLC0415 - an extra
        from langgraph.checkpoint.postgres import PostgresSaver  # noqa: PLC0415
        from psycopg.rows import dict_row  # noqa: PLC0415
        from psycopg_pool import ConnectionPool, PoolTimeout  # noqa: PLC0415
    except ImportError:
        raise UsageError("PostgreSQL needs the extra 'postgres': pip install 'planwave[postgres]'.") from None
    options = {"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row}
    shown = _without_password(url)
    try:
        with ConnectionPool[Any](
            url, min_size=1, max_size=4, kwargs=options, check=ConnectionPool.check_connection, timeout=10, open=False
        ) as pool:
            pool.wait(timeout=10)
            inner: BaseCheckpointSaver[Any] = PostgresSaver(pool, serde=strict_serializer())
            _set_up_once(pool, inner)
            saver = OneThreadSaver(inner)
            try:
                yield Persistence(saver, url=shown, query=_postgres_query(pool))
            finally:
                saver.close()
    except (psycopg.OperationalError, PoolTimeout) as error:
        raise PersistenceError(f"The database {shown!r} cannot be used: {error}.") from error


def _set_up_once(pool: "ConnectionPool[Any]", saver: Any) -> None:  # noqa: ANN401 - PostgresSaver, an extra
    """Make or upgrade the tables, one process at a time."""
    with pool.connection() as connection:
        connection.execute("SELECT pg_advisory_lock(hashtext('planwave setup'))")
        try:
            saver.setup()
        finally:
            connection.execute("SELECT pg_advisory_unlock(hashtext('planwave setup'))")


def _postgres_query(pool: "ConnectionPool[Any]") -> Callable[[str], list[tuple[Any, ...]]]:
    def query(sql: str) -> list[tuple[Any, ...]]:
        with pool.connection() as connection:
            return [tuple(row.values()) for row in connection.execute(sql).fetchall()]

    return query


def _without_password(url: str) -> str:
    parts = urlsplit(url)
    return url.replace(f":{parts.password}@", ":***@") if parts.password else url
