"""The file `planwave.toml`: servers and agents of a plan, which tools get a secret, how data files are read."""

import json
import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Discriminator, Field, SecretStr, Tag, ValidationError

from agent.errors import SettingsError
from agent.tools.data_files.read_options import ReadOptions

#: The file that is read if no other is named.
DEFAULT_FILE = "planwave.toml"
#: Characters of a file that an agent names.
_MAX_TEXT_LENGTH = 50_000
_VARIABLE_PATTERN = re.compile(r"\$\{([^}]*)\}")
#: The position of a server's kind in the location of a pydantic error: mcp, servers, NAME, kind, field.
_KIND_POSITION = 3
#: The error types of a server that has neither a command nor a url, or both.
_KIND_ERRORS = frozenset({"missing", "extra_forbidden"})


class _FrozenTable(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class ToolPolicy(_FrozenTable):
    """What the user says about one tool, in MCP's hints and our own fields; it goes before what the server says."""

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
    #: Whether the names of its tools are prefixed with the name of the server: `notes_find`.
    prefix: bool = False
    #: Whether the server's own hints count where they loosen, as `readOnlyHint: true` does.
    trust_hints: bool = False
    #: Seconds for the server to start and to answer the first request.
    start_timeout_s: float = Field(default=30.0, gt=0)
    #: By the server's own name of the tool.
    tools: dict[str, ToolPolicy] = Field(default_factory=dict)


class StdioServer(_Server):
    """A server that is started as a process and used over its standard input and output."""

    command: str = Field(min_length=1)
    args: tuple[str, ...] = ()
    #: Besides these the process gets only a few variables such as PATH.
    env: dict[str, SecretStr] = Field(default_factory=dict)
    cwd: Path | None = None


class HttpServer(_Server):
    """A server that runs elsewhere and is used over streamable HTTP."""

    url: str = Field(pattern="^https?://", repr=False)
    headers: dict[str, SecretStr] = Field(default_factory=dict)


def _get_server_kind(server: object) -> str:
    known = server if isinstance(server, Mapping) else getattr(server, "__dict__", {})
    return "url" if "url" in known else "command"


Server = Annotated[
    Annotated[StdioServer, Tag("command")] | Annotated[HttpServer, Tag("url")], Discriminator(_get_server_kind)
]


class McpTable(_FrozenTable):
    """The table `[mcp]`."""

    servers: dict[str, Server] = Field(default_factory=dict)


class ToolsTable(_FrozenTable):
    """The table `[tools]`: groups of tools that are off by default."""

    #: `summarise`, `draft` and `classify`.
    writing: bool = False
    #: `delegate`, whose workers can use every other tool.
    delegate: bool = False


class DataTable(ReadOptions):
    """The table `[data]`: how data files are read unless their location says otherwise."""

    #: Of single files, by name.
    files: dict[str, ReadOptions] = Field(default_factory=dict)


class AgentTable(_FrozenTable):
    """An agent that a plan can give tasks to, by its name."""

    #: What it is for, as the planner reads it.
    description: str = Field(min_length=1, max_length=2000)
    #: The file that says to the agent what it is, relative to the configuration; its text once it is read.
    prompt: str | None = None
    #: As `--model`; None: that of the run.
    model: str | None = None
    #: The tools that it can be given; None: all that there are.
    tools: tuple[str, ...] | None = Field(default=None, min_length=1)
    #: The JSON Schema of its answer, or a file with it.
    output_schema: dict[str, Any] | str | None = None
    #: The most turns of one task.
    max_steps: int | None = Field(default=None, ge=1, le=50)


AgentName = Annotated[str, Field(pattern="^[A-Za-z][A-Za-z0-9_-]{0,63}$")]


class Configuration(_FrozenTable):
    """All of `planwave.toml`."""

    #: The tools that may get each secret, by its name: `Settings.secrets`.
    secrets: dict[str, tuple[str, ...]] = Field(default_factory=dict)
    mcp: McpTable = McpTable()
    tools: ToolsTable = ToolsTable()
    data: DataTable = DataTable()
    agents: dict[AgentName, AgentTable] = Field(default_factory=dict)

    @property
    def needs_trust(self) -> bool:
        """Whether it starts, reaches or gives away something, or instructs a model."""
        return bool(self.mcp.servers or self.secrets or self.agents)


def read_configuration(file: Path, *, environ: Mapping[str, str] = os.environ) -> Configuration:
    """Read a configuration; `${NAME}` in any text of it is replaced by that variable of `environ`.

    To name a file is to trust it: whoever uses its servers starts its commands. Raises `SettingsError` if the file
    cannot be read or is not valid; the message names the place in the file.
    """
    return parse_configuration(read_content(file), file=file, environ=environ)


def read_content(file: Path) -> bytes:
    """Return what is in a configuration. Raises `SettingsError`."""
    try:
        return file.read_bytes()
    except OSError as error:
        raise SettingsError(f"The configuration {str(file)!r} cannot be read: {error.strerror}.") from error


def parse_table(content: bytes, *, file: Path) -> dict[str, Any]:
    """Return a configuration as it is written, with no variable filled in. Raises `SettingsError`."""
    try:
        return tomllib.loads(content.decode())
    except ValueError as error:
        raise SettingsError(f"The configuration {str(file)!r} is not valid TOML: {error}.") from error


def find_variables(value: object) -> list[str]:
    """Return the variables of the environment that any text in a table asks for, each once."""
    match value:
        case str():
            found = _VARIABLE_PATTERN.findall(value)
        case dict():
            found = [name for inner in value.values() for name in find_variables(inner)]
        case list():
            found = [name for inner in value for name in find_variables(inner)]
        case _:
            found = []
    return list(dict.fromkeys(found))


def parse_configuration(content: bytes, *, file: Path, environ: Mapping[str, str] = os.environ) -> Configuration:
    """Parse what `file` contains, as `read_configuration`. Raises `SettingsError`."""
    expanded = _expand_variables(parse_table(content, file=file), file=file, environ=environ)
    try:
        configuration = Configuration.model_validate(expanded)
    except ValidationError as error:
        # The input is not shown: it could contain a secret.
        first = error.errors(include_url=False, include_input=False)[0]
        place = ".".join(str(part) for position, part in enumerate(first["loc"]) if position != _KIND_POSITION)
        is_kind = place.startswith("mcp.servers.") and first["loc"][-1] in {"command", "url"}
        reason = "a server has either a command or a url" if is_kind and first["type"] in _KIND_ERRORS else first["msg"]
        if place.startswith("data.") and first["type"] == "extra_forbidden":
            reason = f"there is no such option; there are {', '.join(ReadOptions.model_fields)}"
        reason = reason.removeprefix("Value error, ")
        raise SettingsError(f"The configuration {str(file)!r} is not valid at {place!r}: {reason}.") from None
    configuration = _resolve_folders(configuration, folder=file.absolute().parent)
    agents = {name: _read_agent(name, agent, file=file) for name, agent in configuration.agents.items()}
    return configuration.model_copy(update={"agents": agents})


def _read_agent(name: str, agent: AgentTable, *, file: Path) -> AgentTable:
    """Return an agent with the texts of the files that it names. Raises `SettingsError`."""
    read: dict[str, Any] = {}
    if agent.prompt is not None:
        read["prompt"] = _read_text(agent.prompt, place=f"agents.{name}.prompt", file=file)
    if isinstance(agent.output_schema, str):
        place = f"agents.{name}.output_schema"
        try:
            read["output_schema"] = json.loads(_read_text(agent.output_schema, place=place, file=file))
        except ValueError as error:
            raise SettingsError(f"The configuration {str(file)!r} names no JSON at {place!r}: {error}.") from error
    return agent.model_copy(update=read)


def _read_text(named: str, *, place: str, file: Path) -> str:
    path = file.absolute().parent / named
    try:
        with path.open(encoding="utf-8") as opened:
            text = opened.read(_MAX_TEXT_LENGTH + 1)
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise SettingsError(
            f"The configuration {str(file)!r} names the file {named!r} at {place!r}, which cannot be read: {why}."
        ) from error
    if len(text) > _MAX_TEXT_LENGTH:
        raise SettingsError(
            f"The file {named!r} at {place!r} of {str(file)!r} has more than {_MAX_TEXT_LENGTH:,} characters; shorten "
            "it."
        )
    return text


def _expand_variables(value: Any, *, file: Path, environ: Mapping[str, str]) -> Any:  # noqa: ANN401 - any TOML value
    def look_up_variable(match: re.Match[str]) -> str:
        name = match[1]
        if name not in environ:
            raise SettingsError(
                f"The configuration {str(file)!r} uses the environment variable {name!r}, which is not set; set it."
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


def _resolve_folders(configuration: Configuration, *, folder: Path) -> Configuration:
    """Return the configuration with the `cwd` of each server resolved relative to the folder of the file."""
    servers = {
        name: server.model_copy(update={"cwd": folder / (server.cwd or "")})
        if isinstance(server, StdioServer)
        else server
        for name, server in configuration.mcp.servers.items()
    }
    return configuration.model_copy(update={"mcp": McpTable(servers=servers)})
