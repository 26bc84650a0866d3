"""Trust in a `planwave.toml`: one that was found in the current folder starts nothing before a person has agreed.

Naming the file by --config or PLANWAVE_CONFIG is trust. What was agreed to is kept by digest in the user's data folder,
so that a file that was changed, or copied into another folder, is asked about again.
"""

import hashlib
import json
import os
import shlex
import signal
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from agent.config_file import Configuration, find_variables, parse_configuration, parse_table, read_content
from agent.core.visible_text import escape_invisible
from agent.errors import SettingsError
from agent.settings import Settings
from graphs.cli.terminal.approval_prompts import read_line
from graphs.cli.terminal.command_context import CommandContext
from graphs.cli.terminal.run_options import RunOptions
from graphs.cli.terminal.screen import Screen
from graphs.cli.terminal.signals import SignalInterrupt

_TRUST_FILE: Final = "trusted-configurations.json"


def read_trusted_configuration(options: RunOptions, *, context: CommandContext) -> Configuration:
    """Return the configuration of a command; empty if there is none.

    Raises `SettingsError` for a wrong one, and for one that was found and that nobody has agreed to; `SignalInterrupt`
    on a signal at the question.
    """
    file = options.find_configuration_file()
    if file is None:
        return Configuration()
    content = read_content(file)
    # The very bytes that are asked about are used: the file may be changed in the meantime.
    configuration = parse_configuration(content, file=file)
    if not options.is_configuration_named and configuration.needs_trust:
        folder = options.build_settings().data_folder.expanduser()
        _require_trust(file, content, configuration, folder=folder, context=context)
    return configuration


def apply_secrets(settings: Settings, configuration: Configuration) -> Settings:
    """Return the settings with the secrets of the configuration; what the settings say themselves goes before."""
    return settings.model_copy(update={"secrets": {**configuration.secrets, **settings.secrets}})


def _require_trust(
    file: Path, content: bytes, configuration: Configuration, *, folder: Path, context: CommandContext
) -> None:
    # What the files say that it names is agreed to as well.
    named = json.dumps([[name, each.prompt, each.output_schema] for name, each in configuration.agents.items()])
    own = content + b"\0" + named.encode() if configuration.agents else content
    digest = hashlib.sha256(os.fsencode(file.absolute().resolve()) + b"\0" + own).hexdigest()
    trusted = _load_trusted(folder / _TRUST_FILE)
    if digest in trusted:
        return
    if not context.screen.interactive or context.auto_approve:
        raise SettingsError(
            f"The configuration {str(file)!r} was found in the current folder, and nobody has agreed to what it "
            f"starts. Name it with --config {shlex.quote(str(file))}, or agree once in a terminal: `planwave tools`."
        )
    _show_configuration(file, content, configuration, screen=context.screen)
    try:
        answer = read_line("Start these and trust this file? [y/N] ", screen=context.screen)
    except KeyboardInterrupt:
        raise SignalInterrupt(signal.SIGINT) from None
    if (answer or "").strip().lower() not in {"y", "yes"}:
        raise SettingsError(
            f"The configuration {str(file)!r} is not trusted, so nothing was started; remove it, or name another one "
            "with --config FILE."
        )
    _save_trusted(folder / _TRUST_FILE, {**trusted, digest: str(file.absolute())})


def _show_configuration(file: Path, content: bytes, configuration: Configuration, *, screen: Screen) -> None:
    """Show all that the file would start, reach and give away, as it is written, with no variable filled in."""
    screen.say(escape_invisible(f"{file.absolute()} came with this folder, or was changed since you agreed to it."))
    for line in (*_describe_table(parse_table(content, file=file)), *_describe_agents(configuration)):
        screen.say(escape_invisible(line), style="yellow")


def _describe_table(table: Mapping[str, Any]) -> Iterator[str]:
    for name, server in table.get("mcp", {}).get("servers", {}).items():
        title = json.dumps(name, ensure_ascii=False)
        if "command" in server:
            words = [server["command"], *server.get("args", ())]
            yield f"The server {title} starts: {_flatten(shlex.join(words))}"
            if "cwd" in server:
                yield f"  in the folder: {_flatten(server['cwd'])}"
        else:
            yield f"The server {title} is reached at: {_flatten(server['url'])}"
        for kind, word in (("env", "variable"), ("headers", "header")):
            for key, value in server.get(kind, {}).items():
                yield f"  with the {word} {_flatten(key)}: {_flatten(value)}"
        for variable in find_variables(server):
            yield f"  It gets the value of {_flatten(variable)} from your environment."
        if server.get("trust_hints"):
            yield "  Its own hints count: a tool that it calls read-only runs unasked."
        for tool, policy in server.get("tools", {}).items():
            yield f"  The tool {_flatten(tool)} has: {json.dumps(policy, ensure_ascii=False)}"
    for secret, tools in table.get("secrets", {}).items():
        yield f"The secret {_flatten(secret)} goes to: {_flatten(', '.join(tools)) or 'no tool'}"


def _describe_agents(configuration: Configuration) -> Iterator[str]:
    for name, agent in configuration.agents.items():
        yield f"The agent {name} is for: {_flatten(agent.description)}"
        yield f"  with the tools: {_flatten(', '.join(agent.tools or ())) or 'all that there are'}"
        if agent.model is not None:
            yield f"  with the model: {_flatten(agent.model)}"
        if agent.prompt is not None:
            yield f"  It is told: {_flatten(agent.prompt)}"


def _flatten(text: str) -> str:
    return text.replace("\n", "\\n").replace("\t", "\\t")


def _load_trusted(file: Path) -> dict[str, str]:
    """Return what was agreed to, digest and path; nothing if the file is not there or is not what was written."""
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _save_trusted(file: Path, trusted: Mapping[str, str]) -> None:
    """Write the file as a whole, for its owner only. Raises `SettingsError` if it cannot be written."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        # `mkstemp` makes a file of mode 600.
        handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{_TRUST_FILE}-")
        with os.fdopen(handle, "w", encoding="utf-8") as written:
            json.dump(trusted, written, indent=1)
        Path(name).replace(file)
    except OSError as error:
        raise SettingsError(f"What you agreed to cannot be kept in {str(file)!r}: {error.strerror}.") from error
