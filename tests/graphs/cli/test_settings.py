"""Settings of the environment that are wrong or misspelt, and what holds for every command: version, help, logs."""

import base64
import json
import logging
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from agent.errors import SettingsError
from agent.settings import OTHER_VARIABLES, Settings
from graphs.cli.app import app
from graphs.plan_execute import build_graph
from tests.support.command_line import CommandLine

ROOT = Path(__file__).parents[3]
WRONG = {
    "PLANWAVE_MAX_REPLANS": "abc",
    "PLANWAVE_DISPATCH": "waves",
    "PLANWAVE_DEADLINE_S": "0",
    "PLANWAVE_STREAM_PLAN": "maybe",
    "PLANWAVE_MAX_TASKS": "",
    "PLANWAVE_MODEL_SCALE": "tiny",
}
MISSPELT = {
    "PLANWAVE_MAX_REPLAN": "no such setting; did you mean PLANWAVE_MAX_REPLANS?",
    "planwave_dispach": "no such setting; did you mean PLANWAVE_DISPATCH?",
    "PLANWAVE_DBB": "no such setting; did you mean PLANWAVE_DB?",
    "PLANWAVE_FROBNICATE": "no such setting; unset it, or see `Settings` for those there are.",
}
#: One call of each command that needs nothing to be there; a setting is looked at first.
CALLS = [
    *(["run", "x"], ["resume", "x"], ["migrate"], ["show", "x"], ["tools"], ["models"], ["models", "pull"]),
    *(["threads"], ["threads", "delete", "x"], ["threads", "prune", "--older-than", "3d"], ["plan", "x"]),
    *(["plan", "show", "f"], ["plan", "validate", "f"], ["plan", "export", "f"], ["plan", "add", "f", "{}"]),
    *(["library"], ["library", "add", "f", "--name", "n"], ["library", "show", "n"], ["library", "run", "n"]),
    *(["library", "remove", "n"], ["report", "x"], ["mcp"]),
    *(["submit", "x"], ["worker"], ["workers"], ["workers", "retry", "x"]),
    *(["plan", "edit", "f", "t", "{}"], ["plan", "remove", "f", "t"], ["plan", "move", "f", "t"]),
]


def programs(command: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the words of every command and group."""
    yield path
    if isinstance(command, TyperGroup):
        for name, inner in command.commands.items():
            yield from programs(inner, (*path, name))


EVERY = list(programs(get_command(app)))


def test_the_calls_here_are_of_every_command() -> None:
    called = {" ".join(words) for words in EVERY if words not in {(), ("plan",), ("plan", "make")}}
    assert {name for name in called if not any(" ".join(call).startswith(name) for call in CALLS)} == set()


@pytest.mark.parametrize("words", CALLS, ids=" ".join)
def test_a_wrong_setting_is_one_sentence_and_2_in_every_command(planwave: CommandLine, words: list[str]) -> None:
    planwave.env["PLANWAVE_MAX_REPLANS"] = "abc"
    ended = planwave.here(*words)
    assert ended.exit_code == 2
    assert ended.stderr == (
        "The setting 'max_replans' (PLANWAVE_MAX_REPLANS or an option) is 'abc': "
        "Input should be a valid integer, unable to parse string as an integer.\n"
    )


@pytest.mark.parametrize("name", [*WRONG, *MISSPELT])
def test_what_is_wrong_is_named_also_from_python(
    planwave: CommandLine, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    value = WRONG.get(name, "3")
    monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as told:
        build_graph()
    sentence = str(told.value)
    assert name in sentence
    assert MISSPELT.get(name, repr(value)) in sentence
    planwave.env[name] = value
    ended = planwave.here("models")
    assert (ended.exit_code, ended.stdout, ended.stderr) == (2, "", f"{sentence}\n")


def test_a_field_that_there_is_not_is_named() -> None:
    with pytest.raises(SettingsError, match=r"^There is no setting 'max_replan'; did you mean max_replans\?$"):
        Settings(max_replan=3)
    with pytest.raises(SettingsError, match=r"'max_tasks'.* is 0: "):
        Settings(max_tasks=0)


def test_the_variables_that_are_read_or_documented_are_known() -> None:
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, check=True)
    files = [ROOT / name for name in listed.stdout.decode().split("\n") if name.endswith((".py", ".md", ".ipynb"))]
    texts = [file.read_text(encoding="utf-8") for file in files if file.exists() and file != Path(__file__)]
    named = {name for text in texts for name in re.findall(r"\bPLANWAVE_([A-Z_]*[A-Z])\b", text)}
    fields = {field.upper() for field in Settings.model_fields}
    assert {name for name in named - fields - OTHER_VARIABLES if not name.startswith("SECRET_")} == set()


def test_importing_the_graph_reads_no_setting() -> None:
    code = (
        "import graphs.plan_execute as module\n"
        "from agent.errors import SettingsError\n"
        "assert not hasattr(module, 'nothing')\n"
        "try: module.graph\n"
        "except SettingsError as error: print(error)"
    )
    env = {**os.environ, "PLANWAVE_MAX_REPLANS": "abc"}
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True, check=True)
    assert ran.stdout.startswith("The setting 'max_replans'")


@pytest.mark.parametrize("words", EVERY, ids=" ".join)
def test_every_command_has_its_help_by_both_names(planwave: CommandLine, words: tuple[str, ...]) -> None:
    planwave.env["PLANWAVE_MAX_REPLANS"] = "abc"  # help is had all the same
    short, long = planwave.here(*words, "-h"), planwave.here(*words, "--help")
    assert short.exit_code == long.exit_code == 0
    assert short.stdout == long.stdout
    assert "-h, --help" in short.stdout


def test_the_version(planwave: CommandLine) -> None:
    ended = planwave.here("--version")
    assert (ended.exit_code, ended.stdout) == (0, "planwave 0.1.0\n")


def test_a_shell_completes_commands(planwave: CommandLine) -> None:
    env = {**planwave.env, "_PLANWAVE_COMPLETE": "complete_bash", "COMP_WORDS": "planwave plan va", "COMP_CWORD": "2"}
    command = [str(Path(sys.executable).with_name("planwave"))]
    assert subprocess.run(command, env=env, capture_output=True, text=True, check=True).stdout == "validate\n"
    assert "--install-completion" in planwave.here("--help").stdout


SECRET = "s3cret/value"


@pytest.fixture
def logging_command(planwave: CommandLine, monkeypatch: pytest.MonkeyPatch) -> CommandLine:
    """The command, in which `tools` does nothing but log."""

    def log(**_: Any) -> int:
        logger = logging.getLogger("agent.execution.something")
        about = {"run_id": "r1", "thread_id": "t1", "task_id": "a", "tool": "look"}
        logger.debug("one detail")
        logger.info("called with %s", base64.b64encode(SECRET.encode()).decode(), extra=about)
        logging.getLogger("somebody.else").info("not ours")
        try:
            _ = {}[SECRET]
        except KeyError:
            logger.warning("it failed", exc_info=True)
        return 0

    monkeypatch.setattr("graphs.cli.plan_commands.plan.list_tools", log)
    # The handler's process is this one, whose environment the runner sets for the time of the command.
    planwave.env["PLANWAVE_SECRET_TOKEN"] = SECRET
    return planwave


@pytest.mark.parametrize(
    ("flags", "shown"),
    [
        ([], ["WARNING"]),
        (["-v"], ["INFO", "WARNING"]),
        (["-vv"], ["DEBUG", "INFO", "WARNING"]),
        (["-v", "-v", "-v"], ["DEBUG", "INFO", "WARNING"]),
    ],
)
def test_how_much_is_logged_and_where(logging_command: CommandLine, flags: list[str], shown: list[str]) -> None:
    ended = logging_command.here(*flags, "tools")
    assert (ended.exit_code, ended.stdout) == (0, "")
    lines = re.findall(r"^\d{4}-\d\d-\d\dT\S+ ([A-Z]+) agent\.execution\.something: (.*)$", ended.stderr, re.MULTILINE)
    assert [level for level, _ in lines] == shown
    assert dict(lines).get("INFO", "called with ********** run=r1 thread=t1 task=a tool=look") == (
        "called with ********** run=r1 thread=t1 task=a tool=look"
    )
    assert "KeyError: '**********'" in ended.stderr
    assert SECRET not in ended.stderr


def test_logs_as_json_have_a_line_for_each_record(logging_command: CommandLine) -> None:
    logging_command.env["PLANWAVE_LOG_JSON"] = "true"
    ended = logging_command.here("-vv", "tools")
    detail, call, failure = map(json.loads, ended.stderr.splitlines())
    assert detail.keys() == {"time", "level", "logger", "message"}
    assert (detail["level"], detail["message"]) == ("DEBUG", "one detail")
    about = {"run": "r1", "thread": "t1", "task": "a", "tool": "look"}
    logger = "agent.execution.something"
    said = {"level": "INFO", "logger": logger, "message": "called with **********"}
    assert call == {"time": call["time"], **said, **about}
    assert failure["error"].endswith("KeyError: '**********'")


def test_a_form_of_logs_that_there_is_not_is_a_wrong_setting(planwave: CommandLine) -> None:
    planwave.env["PLANWAVE_LOG_JSON"] = "maybe"
    ended = planwave.here("models")
    assert (ended.exit_code, ended.stderr) == (2, "PLANWAVE_LOG_JSON is 'maybe'; say true or false.\n")
