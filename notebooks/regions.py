"""A company with databases in several regions: PostgreSQL servers, an object store, a registry of its services."""

import json
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import fsspec
import psycopg
from psycopg.conninfo import make_conninfo
from psycopg.sql import SQL, Identifier

from planwave import ToolFailure


@dataclass(frozen=True)
class Company:
    """The addresses of everything."""

    #: By region: the connection string of its PostgreSQL server, for a role that may create databases.
    regions: Mapping[str, str]
    #: URL of a folder or bucket, as fsspec knows it: `file:///...`, `s3://...`.
    store: str
    #: The JSON file in which services look up their region.
    record: Path
    #: The folder of `pg_dump` and `pg_restore`.
    programs: Path
    #: The folder for dumps.
    work: Path
    store_options: Mapping[str, Any] = field(default_factory=dict)

    def address(self, region: str, database: str = "postgres", **more: str) -> str:
        """Return the connection string of a database. Raises `ToolFailure` for an unknown region."""
        if region not in self.regions:
            raise ToolFailure(f"There is no region {region!r}; choose one of {sorted(self.regions)}.")
        return make_conninfo(self.regions[region], dbname=database, **more)

    def connect(self, region: str, database: str = "postgres") -> psycopg.Connection:
        """Return a connection that commits each statement."""
        return psycopg.connect(self.address(region, database), autocommit=True)

    def run(self, program: str, *args: str) -> None:
        """Run one of PostgreSQL's programs. Raises `ToolFailure` with its error output if it fails."""
        result = subprocess.run(  # noqa: S603 - our own programs, and no shell
            [self.programs / program, *args], capture_output=True, text=True, check=False
        )
        if result.returncode != 0:
            raise ToolFailure(f"{program} failed: {result.stderr.strip() or result.returncode}")

    def files(self) -> fsspec.AbstractFileSystem:
        """Return the object store."""
        return fsspec.url_to_fs(self.store, **self.store_options)[0]

    def services(self) -> dict[str, dict[str, str]]:
        """Return the region and the name of the database of each service."""
        return json.loads(self.record.read_text())

    def record_services(self, services: Mapping[str, Mapping[str, str]]) -> None:
        """Replace the file atomically, so that nobody reads half of it."""
        with tempfile.NamedTemporaryFile("w", dir=self.record.parent, suffix=".part", delete=False) as part:
            part.write(json.dumps(services))
        Path(part.name).replace(self.record)

    def checksums(self, region: str, database: str) -> dict[str, dict[str, Any]]:
        """Return the number of rows of each table, and a digest of them that does not depend on their order."""
        tables = {}
        with self.connect(region, database) as server:
            for (table,) in server.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
            ).fetchall():
                query = (
                    "SELECT count(*), md5(coalesce(string_agg(md5(t::text), '' ORDER BY md5(t::text)), '')) FROM {} t"
                )
                rows, digest = server.execute(SQL(query).format(Identifier("public", table))).fetchone()
                tables[table] = {"rows": rows, "checksum": digest}
        return tables
