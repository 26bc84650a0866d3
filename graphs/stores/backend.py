"""What SQLite and PostgreSQL each provide for `graphs.persistence`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.store.base import BaseStore

from graphs.stores.database import StoreDatabase
from graphs.stores.tables.leases import LeaseManager


@dataclass(frozen=True, slots=True)
class Backend:
    """An open database and everything in it; all calls block."""

    database: StoreDatabase
    #: All its writes pass the fence of `leases`.
    saver: BaseCheckpointSaver[Any]
    store: BaseStore
    leases: LeaseManager
    #: Creates or upgrades the tables, one process at a time, and returns what it did, in sentences.
    set_up: Callable[[], list[str]]
