"""A connection to PostgreSQL on which every statement is answered before the next one is sent.

LangGraph's saver and store send several at once, as pipelines. While the server has a part of one without its end, a
Sync message (PostgreSQL, "Pipelining", 54.2.4), it does not count the time that its client is idle in a transaction,
so the locks of a process that is paused there would stay for as long as it is.
"""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import psycopg
from psycopg import Pipeline
from psycopg.abc import Params
from psycopg.rows import DictRow


class OneByOneCursor(psycopg.Cursor[Any]):
    """A cursor that makes a pipeline of nothing."""

    def executemany(
        self,
        query: Any,  # noqa: ANN401 - whatever psycopg takes for a query, which grows with its versions
        params_seq: Iterable[Params],
        *,
        returning: bool = False,
    ) -> None:
        """Execute `query` with each of `params_seq`. Raises `NotSupportedError` where their rows are wanted."""
        if returning:
            raise psycopg.NotSupportedError("executemany returns no rows here; execute the statement once for each.")
        for params in params_seq:
            self.execute(query, params)


class OneByOneConnection(psycopg.Connection[DictRow]):
    """A connection that makes a pipeline of nothing."""

    @contextmanager
    def pipeline(self) -> Iterator[Pipeline]:
        """Yield a pipeline that is never entered; what is executed meanwhile is sent by itself."""
        yield Pipeline(self)
