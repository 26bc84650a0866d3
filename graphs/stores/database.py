"""The port to a database: transactions in the SQL that SQLite and PostgreSQL share."""

import re
from collections.abc import Callable
from typing import Any, Protocol, TypeVar
from urllib.parse import urlsplit

T = TypeVar("T")


class StatementRunner(Protocol):
    """Runs one statement, with `?` for each value, inside a transaction."""

    def __call__(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:  # noqa: ANN401 - what a column holds
        """Return the rows."""
        ...


class StoreDatabase(Protocol):
    """A database that several threads may use."""

    #: Without a password.
    url: str
    #: The end of a SELECT whose rows no other transaction may change, or lock in this way, until the commit.
    for_update: str
    #: The end of a SELECT whose rows no other transaction may change until the commit.
    for_share: str
    #: SQL for the seconds since 1970, by the one clock that all processes share.
    now_expression: str

    def run_in_transaction(self, work: Callable[[StatementRunner], T], *, durable: bool = False) -> T:
        """Return what `work` returns; everything it wrote is committed, or nothing if it raises.

        A commit survives the end of the process; one that is `durable`, with all before it, a power cut too.
        `work` may be run again after a lost connection, even if its commit had arrived: it must be idempotent. Raises
        `PersistenceError` if the database fails.
        """
        ...


class BlockingRunner(Protocol):
    """Runs a blocking call on the thread of the saver, after what was handed to it before."""

    async def __call__(self, call: Callable[..., T], *args: Any) -> T:  # noqa: ANN401 - the call's own
        """Return what the call returns."""
        ...


_SECRET_PARAMETER = re.compile(r"([?&](?:\w*password|passwd|pwd|\w*secret|\w*token)=)[^&#]+", re.IGNORECASE)


def mask_password(url: str) -> str:
    """Return a URL with `***` in place of a password, before its host or in its query."""
    parts = urlsplit(url)
    if parts.password:
        url = url.replace(f":{parts.password}@", ":***@", 1)
    return _SECRET_PARAMETER.sub(r"\1***", url)
