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
    #: What a SELECT ends with to keep its rows from changing, and from being read so by another, until the commit.
    for_update: str
    #: The same for rows that only must not change.
    for_share: str
    #: The seconds since 1970 by the one clock that all processes here share.
    now_expression: str

    def run_in_transaction(self, work: Callable[[StatementRunner], T]) -> T:
        """Return what `work` returns, all of it stored or, where it raises, nothing.

        `work` can be run again after a lost connection, even where its commit arrived: it must come out the same.
        Raises `PersistenceError` where the database does not answer.
        """
        ...


class BlockingRunner(Protocol):
    """Runs a blocking call on the thread of the saver, after what was handed to it before."""

    async def __call__(self, call: Callable[..., T], *args: Any) -> T:  # noqa: ANN401 - the call's own
        """Return what the call returns."""
        ...


_SECRET_PARAMETER = re.compile(r"([?&](?:\w*password|passwd|pwd|\w*secret|\w*token)=)[^&#]+", re.IGNORECASE)


def mask_password(url: str) -> str:
    """Return a URL with stars in the place of a password, before its host or in its query."""
    parts = urlsplit(url)
    if parts.password:
        url = url.replace(f":{parts.password}@", ":***@", 1)
    return _SECRET_PARAMETER.sub(r"\1***", url)
