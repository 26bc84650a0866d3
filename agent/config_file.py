"""The file `planwave.toml`: the servers whose tools a plan can use."""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, SecretStr, Tag, ValidationError

from agent.errors import SettingsError

#: The file that is read where no other is named.
DEFAULT_FILE = "planwave.toml"
_VARIABLE_PATTERN = re.compile(r"\$\{([^}]*)\}")


class _FrozenTable(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ToolPolicy(_FrozenTable):
    """What a person says of one tool, in MCP's words and ours; it goes before what the server says."""

    readOnlyHint: bool | None = None  # noqa: N815 - MCP's own word
    destructiveHint: bool | None = None  # noqa: N815 - as above
    idempotentHint: bool | None = None  # noqa: N815 - as above
    openWorldHint: bool | None = None  # noqa: N815 - as above
    timeout_s: float | None = Field(default=None, gt=0)
    max_retries: int | None = Field(default=None, ge=0)
    max_concurrency: int | None = Field(default=None, ge=1)
    rate_per_s: float | None = Field(default=None, gt=0)
    cache_ttl_s: int | None = Field(default=None, ge=1)
    verify: str | None = None
    compensate: str | None = None
    context_provider: bool | None = None


class _Server(_FrozenTable):
    #: Put the server's name before the names of its tools: `notes_find`.
    prefix: bool = False
    #: Seconds for the server to start and to answer the first question.
    start_timeout_s: float = Field(default=30.0, gt=0)
    #: By the name that the server gives the tool.
    tools: dict[str, ToolPolicy] = Field(default_factory=dict)


class StdioServer(_Server):
    """A server that is started as a process and spoken to over its standard input and output."""

    command: str = Field(min_length=1)
    args: tuple[str, ...] = ()
    #: Besides these the process sees a few variables such as PATH, and no other.
    env: dict[str, SecretStr] = Field(default_factory=dict)
    cwd: Path | None = None


class HttpServer(_Server):
    """A server that runs by itself and is spoken to over streamable HTTP."""

    url: str = Field(pattern="^https?://", repr=False)
    headers: dict[str, SecretStr] = Field(default_factory=dict)


def _get_server_kind(server: object) -> str:
    known = server if isinstance(server, Mapping) else getattr(server, "__dict__", {})
    return "url" if "url" in known else "command"


#: Where pydantic puts the kind of a server into the place of a mistake: mcp, servers, NAME, kind, field.
_KIND_POSITION = 3
#: The mistakes of a server that names no kind, or two.
_KIND_ERRORS = frozenset({"missing", "extra_forbidden"})


Server = Annotated[
    Annotated[StdioServer, Tag("command")] | Annotated[HttpServer, Tag("url")], Discriminator(_get_server_kind)
]


class McpTable(_FrozenTable):
    """The table `[mcp]`."""

    servers: dict[str, Server] = Field(default_factory=dict)


class ToolsTable(_FrozenTable):
    """The table `[tools]`: families of tools that are not there unless they are asked for."""

    #: `summarise`, `draft` and `classify`.
    writing: bool = False
    #: `delegate`, whose workers can be given every other tool.
    delegate: bool = False


class Configuration(_FrozenTable):
    """All of `planwave.toml`."""

    mcp: McpTable = McpTable()
    tools: ToolsTable = ToolsTable()


def read_configuration(file: Path, *, environ: Mapping[str, str] = os.environ) -> Configuration:
    """Read a configuration; `${NAME}` in any text of it stands for that variable of `environ`.

    Raises `SettingsError`, which names the place in the file, for a file that is not there or says what it may not.
    """
    try:
        table = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SettingsError(f"The configuration {str(file)!r} cannot be read: {error.strerror}.") from error
    except ValueError as error:
        raise SettingsError(f"The configuration {str(file)!r} is no TOML: {error}.") from error
    filled = _expand_variables(table, file=file, environ=environ)
    try:
        found = Configuration.model_validate(filled)
    except ValidationError as error:
        # Neither the input nor pydantic's own words are shown: they could hold a secret.
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for position, part in enumerate(first["loc"]) if position != _KIND_POSITION)
        one_kind = place.startswith("mcp.servers.") and first["loc"][-1] in {"command", "url"}
        told = "a server has either a command or a url" if one_kind and first["type"] in _KIND_ERRORS else first["msg"]
        raise SettingsError(f"The configuration {str(file)!r} is wrong at {place!r}: {told}.") from None
    return _resolve_folders(found, folder=file.absolute().parent)


def _expand_variables(value: Any, *, file: Path, environ: Mapping[str, str]) -> Any:  # noqa: ANN401 - any TOML value
    def look_up_variable(match: re.Match[str]) -> str:
        name = match[1]
        if name not in environ:
            raise SettingsError(
                f"The configuration {str(file)!r} names the variable {name!r}, which is not set; set it."
            )
        return environ[name]

    match value:
        case str():
            return _VARIABLE_PATTERN.sub(look_up_variable, value)
        case dict():
            return {key: _expand_variables(inner, file=file, environ=environ) for key, inner in value.items()}
        case list():
            return [_expand_variables(inner, file=file, environ=environ) for inner in value]
        case _:
            return value


def _resolve_folders(found: Configuration, *, folder: Path) -> Configuration:
    """Return the configuration with each server's folder taken from where the file lies."""
    servers = {
        name: server.model_copy(update={"cwd": folder / (server.cwd or "")})
        if isinstance(server, StdioServer)
        else server
        for name, server in found.mcp.servers.items()
    }
    return found.model_copy(update={"mcp": McpTable(servers=servers)})
