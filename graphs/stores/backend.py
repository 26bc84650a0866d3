"""What one kind of database gives to `graphs.persistence`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from langgraph.checkpoint.base import BaseCheckpointSaver
from langgraph.store.base import BaseStore

from graphs.stores.database import StoreDatabase
from graphs.stores.tables.leases import LeaseManager


@dataclass(frozen=True, slots=True)
class Backend:
    """A database, opened, and everything in it; all calls block."""

    database: StoreDatabase
    #: Its writes pass the fence of `leases`.
    saver: BaseCheckpointSaver[Any]
    store: BaseStore
    leases: LeaseManager
    #: Makes or upgrades the tables, one process at a time, and returns what it did.
    set_up: Callable[[], list[str]]
