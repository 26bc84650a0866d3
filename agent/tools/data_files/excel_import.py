"""The import of Excel files: each sheet is a table, from its header on; cells keep the type that Excel gave them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from agent.errors import DataError
from agent.tools.data_files.discovery import TableFiles
from agent.tools.data_files.notes import TableNotes
from agent.tools.data_files.read_options import ReadOptions

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection


def import_excel(connection: "DuckDBPyConnection", table: TableFiles, *, options: ReadOptions) -> Sequence[TableNotes]:
    raise DataError("not yet")
