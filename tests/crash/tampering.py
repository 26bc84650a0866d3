"""Stored rows changed by somebody who wants code of his own to run, or by a failing disk."""

import json
import pickle
import random
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import Any

import ormsgpack
import psycopg

#: By kind of database: the tables, and of each the columns that hold what is read back.
_SQLITE = {
    "checkpoints": ("type", "checkpoint", "metadata", "parent_checkpoint_id"),
    "writes": ("type", "value", "channel", "task_id"),
    "planwave_ledger": ("record_type", "record", "state", "args_digest"),
}
_POSTGRES = {
    "checkpoints": ("checkpoint", "metadata", "parent_checkpoint_id"),
    "checkpoint_blobs": ("type", "blob", "channel"),
    "checkpoint_writes": ("type", "blob", "channel", "task_id"),
    "planwave_ledger": ("record_type", "record", "state", "args_digest"),
}
#: Of those the columns that hold a value.
_VALUES = {
    "checkpoints": ("checkpoint", "metadata"),
    "writes": ("value",),
    "checkpoint_blobs": ("blob",),
    "checkpoint_writes": ("blob",),
    "planwave_ledger": ("record",),
}
_KEYS = {"thread_id", "checkpoint_ns", "checkpoint_id", "task_id", "idx", "channel", "version"} | {
    "thread",
    "revision",
    "task",
    "item",
}


class Rows:
    """All rows of a database that a run reads, to be changed one at a time and put back."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.sqlite = url.startswith("sqlite")
        self.columns = _SQLITE if self.sqlite else _POSTGRES
        with self._connected() as run:
            self._names = {table: self._columns_of(run, table) for table in self._tables(run)}
            self._saved = {table: run(f"SELECT * FROM {table}") for table in self._names}

    @contextmanager
    def _connected(self) -> Iterator[Callable[..., list[tuple[Any, ...]]]]:
        if self.sqlite:
            with closing(sqlite3.connect(self._url.removeprefix("sqlite:///"))) as connection, connection:
                yield lambda statement, *values: connection.execute(statement, values).fetchall()
            return
        with psycopg.connect(self._url) as connection:

            def run(statement: str, *values: Any) -> list[tuple[Any, ...]]:
                cursor = connection.execute(statement.replace("?", "%s").encode(), values)
                return cursor.fetchall() if cursor.description else []

            yield run

    def _tables(self, run: Callable[..., list[tuple[Any, ...]]]) -> list[str]:
        return [*self.columns, "planwave_approvals"]

    def _columns_of(self, run: Callable[..., list[tuple[Any, ...]]], table: str) -> list[tuple[str, str]]:
        if self.sqlite:
            return [(row[0], "") for row in run("SELECT name FROM pragma_table_info(?)", table)]
        found = run("SELECT column_name, data_type FROM information_schema.columns WHERE table_name = ?"
                    " ORDER BY ordinal_position", table)  # fmt: skip
        return [(name, "::jsonb" if kind == "jsonb" else "") for name, kind in found]

    def change(self, chance: random.Random) -> tuple[str, str]:
        """Change one value of one row for good; return the thread and what was done."""
        table = chance.choice([table for table in self.columns if self._saved[table]])
        column = chance.choice(self.columns[table] + _VALUES[table] * 6)
        names = [name for name, _ in self._names[table]]
        row = list(chance.choice(self._saved[table]))
        before = row[names.index(column)]
        how, changes = _changed(before, column, names, row, chance)
        casts = dict(self._names[table])
        keys = [name for name in names if name in _KEYS]
        with self._connected() as run:
            run(
                f"UPDATE {table} SET {', '.join(f'{name} = ?{casts[name]}' for name in changes)}"
                f" WHERE {' AND '.join(f'{name} = ?' for name in keys)}",
                *(_stored(value) for value in changes.values()),
                *(row[names.index(name)] for name in keys),
            )
        return row[0], f"{table}.{column}: {how}"

    def restore(self) -> None:
        with self._connected() as run:
            for table, saved in self._saved.items():
                run(f"DELETE FROM {table}")
                marks = ", ".join(f"?{cast}" for _, cast in self._names[table])
                for row in saved:
                    run(f"INSERT INTO {table} VALUES ({marks})", *map(_stored, row))
            run("UPDATE planwave_leases SET owner = NULL")


def _stored(value: Any) -> Any:
    return json.dumps(value) if isinstance(value, dict | list) else value


def _changed(
    before: Any, column: str, names: list[str], row: list[Any], chance: random.Random
) -> tuple[str, dict[str, Any]]:
    """Return how the value of a column was changed, and the new values of the row's columns."""
    if isinstance(before, bytes) and column != "metadata":
        tag = next(name for name in ("type", "record_type") if name in names)
        how, new_tag, data = chance.choice(_OF_BYTES)(before, str(row[names.index(tag)]), chance)
        return how, {column: data, tag: new_tag}
    if isinstance(before, bytes):
        how, _, data = chance.choice((_flipped, _cut))(before, "", chance)
        return how, {column: data}
    if isinstance(before, dict):
        return "other JSON", {column: _other_json(before, chance)}
    return "other text", {column: chance.choice(("", "x", "json", "pickle", "msgpack", "__pregel_tasks", "started"))}


def _flipped(data: bytes, tag: str, chance: random.Random) -> tuple[str, str, bytes]:
    made = bytearray(data or b"\0")
    for _ in range(chance.randint(1, 3)):
        made[chance.randrange(len(made))] ^= 1 << chance.randrange(8)
    return "bits flipped", tag, bytes(made)


def _cut(data: bytes, tag: str, chance: random.Random) -> tuple[str, str, bytes]:
    return "cut off", tag, data[: chance.randrange(max(1, len(data)))]


def _other(data: bytes, tag: str, chance: random.Random) -> tuple[str, str, bytes]:
    values: tuple[Any, ...] = (None, 5, "x", [], {}, [1, {"a": None}], {"w": 5}, {"results": 1}, -1.5, True)
    return "another value", "msgpack", ormsgpack.packb(chance.choice(values))


def _deep(data: bytes, tag: str, chance: random.Random) -> tuple[str, str, bytes]:
    return "nested without end", "msgpack", b"\x91" * chance.choice((600, 5_000)) + b"\xc0"


def _extension(data: bytes, tag: str, chance: random.Random) -> tuple[str, str, bytes]:
    """Make the value one that LangGraph would build by calling what it names."""
    module, name, arg = chance.choice(_CALLS)
    code = chance.randrange(8)
    argument: Any = {1: (arg,), 2: {"command": arg}, 4: {"a": arg}, 5: {"a": arg}}.get(code, arg)
    inner = ormsgpack.packb((module, name, argument, chance.choice(("__call__", "system", "model_validate_json"))))
    value: Any = ormsgpack.Ext(code, inner)
    for _ in range(chance.randrange(3)):
        value = chance.choice(({"w": value}, [value], {"goal": value, "plan": {"tasks": [value]}}))
    return f"extension {code} of {module}.{name}", "msgpack", ormsgpack.packb(value)


def _pickled(data: bytes, tag: str, chance: random.Random) -> tuple[str, str, bytes]:
    class Planted:
        def __reduce__(self) -> tuple[Any, ...]:
            import os

            return os.system, (f"touch {CANARY}",)

    return "a pickle", "pickle", pickle.dumps(Planted())


def _constructor(data: bytes, tag: str, chance: random.Random) -> tuple[str, str, bytes]:
    module, name, arg = chance.choice(_CALLS)
    document = {
        "lc": chance.choice((1, 2)),
        "type": "constructor",
        "id": [*module.split("."), name],
        "args": [arg],
        "kwargs": {},
        "method": chance.choice((None, "__call__")),
    }
    return f"JSON constructor of {module}.{name}", "json", json.dumps({"w": document}).encode()


def _other_json(before: dict[str, Any], chance: random.Random) -> Any:
    made = dict(before)
    key = chance.choice(sorted(made) or ["x"])
    constructor = json.loads(_constructor(b"", "", chance)[2])["w"]
    made[key] = chance.choice((None, 5, "x", [], {}, {"__planwave_int__": "zz"}, constructor, {"a": constructor}))
    return chance.choice((made, constructor, {}, made))


CANARY = "planwave_canary_file"
#: Module, name, argument: each leaves a trace where it is called or imported.
_CALLS = (
    ("os", "system", f"touch {CANARY}"),
    ("subprocess", "check_output", ["touch", CANARY]),
    ("builtins", "eval", f"open('{CANARY}', 'w')"),
    ("builtins", "open", CANARY),
    ("importlib", "import_module", "planwave_canary"),
    ("planwave_canary", "Thing", "x"),
    ("antigravity", "fly", ""),
    ("langchain_core.load.load", "loads", "{}"),
    ("pathlib", "Path", CANARY),
)
_OF_BYTES = (_flipped, _cut, _other, _deep, _extension, _extension, _extension, _pickled, _constructor)
