"""Tools that move a service's database from one region to another, and the plan of a move."""

import hashlib
import tempfile
import time
from pathlib import Path
from typing import Any

import psycopg
from langchain_core.tools import BaseTool, StructuredTool
from psycopg.sql import SQL, Identifier, Literal
from regions import Company

from planwave import ToolFailure

READS = {"readOnlyHint": True, "idempotentHint": True}
AGAIN = {"destructiveHint": False, "idempotentHint": True}
#: Seconds to wait for a restore that another process left behind.
PATIENCE_S = 30


class RegionMove:
    """The steps of a move and what undoes them, each a tool."""

    def __init__(self, company: Company) -> None:
        self.company = company

    def tools(self) -> list[BaseTool]:
        """Return the tools. What does not say that it reads asks a person before it is called."""
        return [
            _tool(self.where_is, READS),
            _tool(self.dump_database, AGAIN | {"compensate": "delete_dump"}),
            _tool(self.delete_dump, AGAIN),
            _tool(self.upload_object, AGAIN | {"compensate": "delete_object"}),
            _tool(self.delete_object, AGAIN),
            _tool(self.provision_database, {"compensate": "drop_database"}),
            _tool(self.drop_database, {"idempotentHint": True}),
            _tool(self.restore_database, {"verify": "was_restored", "compensate": "empty_database", "timeout_s": 300}),
            _tool(self.was_restored, READS),
            _tool(self.empty_database, {"idempotentHint": True}),
            _tool(self.compare_databases, READS),
            _tool(self.switch_service, {"idempotentHint": True}),
            _tool(self.try_service, READS),
        ]

    def where_is(self, service: str) -> dict[str, str]:
        """Tell in which region a service's database is, and its name."""
        return self.company.services()[service]

    def dump_database(self, region: str, database: str, name: str) -> dict[str, Any]:
        """Write a database, as it now is, into a dump file of that name."""
        path = self.company.work / f"{name}.dump"
        with tempfile.NamedTemporaryFile(dir=self.company.work, suffix=".part") as part:
            self.company.run(
                "pg_dump",
                "--format=custom",
                f"--file={part.name}",
                f"--dbname={self.company.address(region, database)}",
            )
            path.write_bytes(Path(part.name).read_bytes())
        return {"path": str(path), **_measured(path)}

    def delete_dump(self, path: str) -> None:
        """Delete a dump file."""
        Path(path).unlink(missing_ok=True)

    def upload_object(self, path: str, name: str) -> dict[str, Any]:
        """Put a file into the object store, in place of an object of that name."""
        url, files = f"{self.company.store}/{name}", self.company.files()
        try:
            files.put_file(path, url)
        except OSError as error:
            raise ToolFailure(f"The store did not take {name!r}: {error}") from error
        return {"url": url, **_measured(Path(path))}

    def delete_object(self, url: str) -> None:
        """Delete an object of the store."""
        files = self.company.files()
        if files.exists(url):
            files.rm_file(url)

    def provision_database(self, region: str, database: str, idempotency_key: str) -> dict[str, str]:
        """Make an empty database and the role that owns it."""
        owner, mark = _owner(database), f"made by {idempotency_key}"
        with self.company.connect(region) as server:
            held = server.execute(
                "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = %s", [database]
            ).fetchone()
            role = server.execute(
                "SELECT shobj_description(oid, 'pg_authid') FROM pg_roles WHERE rolname = %s", [owner]
            ).fetchone()
            if (held and held[0] != owner) or (role and role[0] != mark):
                raise ToolFailure(f"Somebody else has made {database!r} or {owner!r} in {region!r}.")
            if role is None:
                with server.transaction():
                    server.execute(SQL("CREATE ROLE {} LOGIN").format(Identifier(owner)))
                    # So that the same call, made again after a crash, knows its own.
                    server.execute(SQL("COMMENT ON ROLE {} IS {}").format(Identifier(owner), Literal(mark)))
            if held is None:
                server.execute(SQL("CREATE DATABASE {} OWNER {}").format(Identifier(database), Identifier(owner)))
        return {"region": region, "database": database}

    def drop_database(self, region: str, database: str) -> None:
        """Drop a provisioned database with all that is in it, and its owner."""
        with self.company.connect(region) as server:
            server.execute(SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)").format(Identifier(database)))
            server.execute(SQL("DROP ROLE IF EXISTS {}").format(Identifier(_owner(database))))

    def restore_database(self, region: str, database: str, url: str, sha256: str) -> dict[str, Any]:
        """Fill an empty database from a dump in the object store, all or nothing."""
        with tempfile.NamedTemporaryFile(dir=self.company.work, suffix=".part") as part:
            self.company.files().get_file(url, part.name)
            found = _measured(Path(part.name))["sha256"]
            if found != sha256:
                raise ToolFailure(f"The object {url!r} is not what was uploaded: its SHA-256 is {found}.")
            address = self.company.address(region, database, application_name=_restoring(database))
            self.company.run(
                "pg_restore",
                "--single-transaction",
                "--exit-on-error",
                "--no-owner",
                f"--role={_owner(database)}",
                f"--dbname={address}",
                part.name,
            )
        return self._contents(region, database)

    def was_restored(self, region: str, database: str) -> dict[str, Any]:
        """Tell whether a database was filled, once nobody is at it any more."""
        with self.company.connect(region) as server:
            until = time.monotonic() + PATIENCE_S
            while server.execute(
                "SELECT 1 FROM pg_stat_activity WHERE application_name = %s", [_restoring(database)]
            ).fetchone():
                if time.monotonic() > until:
                    return {"happened": None}
                time.sleep(0.1)
        contents = self._contents(region, database)
        return {"happened": bool(contents["tables"]), "output": contents}

    def empty_database(self, region: str, database: str) -> None:
        """Drop everything that is in a database."""
        with self.company.connect(region, database) as server, server.transaction():
            server.execute("DROP SCHEMA public CASCADE")
            server.execute(SQL("CREATE SCHEMA public AUTHORIZATION {}").format(Identifier(_owner(database))))

    def compare_databases(self, database: str, one: str, other: str) -> dict[str, Any]:
        """Compare the rows of every table of a database in two regions; it is a failure where they differ."""
        here, there = self.company.checksums(one, database), self.company.checksums(other, database)
        if here != there:
            differing = sorted(table for table in here.keys() | there.keys() if here.get(table) != there.get(table))
            raise ToolFailure(f"{database!r} in {other!r} is not what it is in {one!r}: see {differing}.")
        return {"tables": [{"table": table, **found} for table, found in here.items()]}

    def switch_service(self, service: str, region: str, expected: str) -> dict[str, str]:
        """Send a service to another region; it is a failure where it is not in the expected one any more."""
        services = self.company.services()
        now = services[service]["region"]
        if now not in {region, expected}:
            raise ToolFailure(f"{service!r} is in {now!r} and not in {expected!r}; somebody else has moved it.")
        services[service]["region"] = region
        self.company.record_services(services)
        return {"service": service, "region": region}

    def try_service(self, service: str) -> dict[str, Any]:
        """Read through the service as its users do; it is a failure where it cannot."""
        place = self.company.services()[service]
        with self.company.connect(place["region"], place["database"]) as server:
            server.execute(SQL("SET ROLE {}").format(Identifier(_owner(place["database"]))))
            try:
                found = server.execute("SELECT count(*), sum(total) FROM orders").fetchone()
            except psycopg.Error as error:
                raise ToolFailure(f"{service!r} cannot read in {place['region']!r}: {error}") from error
        return {"orders": found[0], "total": str(found[1])}

    def _contents(self, region: str, database: str) -> dict[str, Any]:
        return {"region": region, "database": database, "tables": sorted(self.company.checksums(region, database))}


def moving_plan(service: str, database: str, *, source: str, target: str, on_failure: str = "replan") -> dict[str, Any]:
    """Return the plan of a move."""
    place = {"region": target, "database": database}
    tasks = [
        {"id": "where", "tool": "where_is", "args": {"service": service}},
        {
            "id": "dump",
            "tool": "dump_database",
            "args": {"region": ref("where", "region"), "database": database, "name": service},
        },
        {"id": "upload", "tool": "upload_object", "args": {"path": ref("dump", "path"), "name": f"{service}.dump"}},
        {"id": "provision", "tool": "provision_database", "args": place, "depends_on": ["where"]},
        {
            "id": "restore",
            "tool": "restore_database",
            "args": {
                "region": ref("provision", "region"),
                "database": ref("provision", "database"),
                "url": ref("upload", "url"),
                "sha256": ref("upload", "sha256"),
            },
        },
        {
            "id": "verify",
            "tool": "compare_databases",
            "args": {"database": database, "one": source, "other": target},
            "depends_on": ["restore"],
        },
        {
            "id": "switch",
            "tool": "switch_service",
            "args": {"service": service, "region": target, "expected": source},
            "depends_on": ["verify"],
            "rollback": {
                "tool": "switch_service",
                "args": {"service": service, "region": source, "expected": target},
            },
        },
        {"id": "try", "tool": "try_service", "args": {"service": service}, "depends_on": ["switch"]},
    ]
    return {"tasks": [{**task, "on_failure": on_failure} for task in tasks]}


def ref(task: str, *path: str) -> dict[str, Any]:
    """Return a reference to a part of a task's output."""
    return {"output_of": task, "path": list(path)}


def _tool(function: Any, metadata: dict[str, Any]) -> BaseTool:
    return StructuredTool.from_function(function, metadata=metadata)


def _owner(database: str) -> str:
    return f"{database}_owner"


def _restoring(database: str) -> str:
    return f"restore {database}"


def _measured(path: Path) -> dict[str, Any]:
    return {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
