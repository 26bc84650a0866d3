"""MySQL and MariaDB databases: how they are attached."""

from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, unquote, urlsplit

from agent.errors import DataError
from agent.tools.sql.engines.attachment import CATALOG, quote_literal
from agent.tools.sql.source_location import SourceLocation

if TYPE_CHECKING:
    from duckdb import DuckDBPyConnection

#: Parameters of the URL that the reader takes, by its own names.
_OPTIONS = frozenset({"socket", "ssl_mode", "ssl_ca", "ssl_cert", "ssl_key"})


def attach_mysql(connection: "DuckDBPyConnection", location: SourceLocation, *, catalog: str = CATALOG) -> None:
    """Attach the database read only, with all of its address as a DuckDB secret, which SQL cannot read."""
    settings = parse_mysql_url(location)
    options = ", ".join(f"{key.upper()} {quote_literal(value)}" for key, value in settings.items())
    connection.execute(f"CREATE SECRET entry_of_{catalog} (TYPE mysql, {options})")
    # A TINYINT(1) holds more than yes and no.
    connection.execute("SET GLOBAL mysql_tinyint1_as_boolean = false")
    # With it, LIMIT goes to the server together with its OFFSET, whose rows DuckDB then skips once more.
    connection.execute("SET GLOBAL mysql_experimental_filter_pushdown = false")
    connection.execute("SET GLOBAL mysql_order_pushdown_enabled = false")
    connection.execute("SET GLOBAL mysql_aggregate_pushdown_enabled = false")
    connection.execute(f"ATTACH '' AS {catalog} (TYPE mysql, READ_ONLY, SECRET entry_of_{catalog})")


def parse_mysql_url(location: SourceLocation) -> dict[str, str]:
    """Return the parts of the URL by the reader's names. Raises `DataError`."""
    parts = urlsplit(location.address)
    try:
        port = parts.port
    except ValueError:
        port = None
    database = parts.path.strip("/")
    options = dict(parse_qsl(parts.query))
    unknown = sorted(set(options) - _OPTIONS)
    if unknown:
        known = ", ".join(sorted(_OPTIONS))
        raise DataError(f"{location.label!r} has the option {unknown[0]!r}, which is not known; there are {known}.")
    if not database or "/" in database:
        raise DataError(f"{location.label!r} is not a MySQL URL; write mysql://user:password@host:3306/database.")
    given = {
        "host": parts.hostname or "localhost",
        "port": str(port or 3306),
        "user": unquote(parts.username or ""),
        "password": unquote(parts.password or ""),
        "database": unquote(database),
        **options,
    }
    return {name: value for name, value in given.items() if value}
