"""A company with databases in several regions: PostgreSQL servers, an object store, a record of its services."""

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
    """Where everything is."""

    #: By region: how to reach its PostgreSQL server as one who may make databases.
    regions: Mapping[str, str]
    #: URL of a folder or bucket, as fsspec knows it: `file:///...`, `s3://...`.
    store: str
    #: The file in which services look up their region.
    record: Path
    #: Where `pg_dump` and `pg_restore` are.
    programs: Path
    #: Where dumps are written.
    work: Path
    store_options: Mapping[str, Any] = field(default_factory=dict)

    def address(self, region: str, database: str = "postgres", **more: str) -> str:
        """Return how to reach a database."""
        if region not in self.regions:
            raise ToolFailure(f"There is no region {region!r}; there are {sorted(self.regions)}.")
        return make_conninfo(self.regions[region], dbname=database, **more)

    def connect(self, region: str, database: str = "postgres") -> psycopg.Connection:
        """Return a connection that commits each statement."""
        return psycopg.connect(self.address(region, database), autocommit=True)

    def run(self, program: str, *args: str) -> None:
        """Run one of PostgreSQL's programs; `ToolFailure` with its last words where it fails."""
        ended = subprocess.run(  # noqa: S603 - our own programs, and no shell
            [self.programs / program, *args], capture_output=True, text=True, check=False
        )
        if ended.returncode != 0:
            raise ToolFailure(f"{program} failed: {ended.stderr.strip() or ended.returncode}")

    def files(self) -> fsspec.AbstractFileSystem:
        """Return the object store."""
        return fsspec.url_to_fs(self.store, **self.store_options)[0]

    def services(self) -> dict[str, dict[str, str]]:
        """Return by service in which region its database is, and its name."""
        return json.loads(self.record.read_text())

    def record_services(self, services: Mapping[str, Mapping[str, str]]) -> None:
        """Replace the record as a whole, so that nobody reads half of it."""
        with tempfile.NamedTemporaryFile("w", dir=self.record.parent, suffix=".part", delete=False) as part:
            part.write(json.dumps(services))
        Path(part.name).replace(self.record)

    def checksums(self, region: str, database: str) -> dict[str, dict[str, Any]]:
        """Return by table how many rows it has, and a digest of them in whatever order they lie."""
        found = {}
        with self.connect(region, database) as server:
            for (table,) in server.execute(
                "SELECT tablename FROM pg_tables WHERE schemaname = 'public' ORDER BY 1"
            ).fetchall():
                query = (
                    "SELECT count(*), md5(coalesce(string_agg(md5(t::text), '' ORDER BY md5(t::text)), '')) FROM {} t"
                )
                rows, digest = server.execute(SQL(query).format(Identifier("public", table))).fetchone()
                found[table] = {"rows": rows, "checksum": digest}
        return found
