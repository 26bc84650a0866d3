"""The READMEs held to the code: parts made from it, links, commands, and Python that runs.

`PLANWAVE_REWRITE_GOLDENS=1 pytest tests/test_documents.py` writes the made parts anew; the difference is for review.
"""

import json
import os
import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pytest_examples import CodeExample, EvalExample, find_examples
from typer.core import TyperGroup
from typer.main import get_command

from agent.settings import OTHER_VARIABLES, Settings
from graphs.cli.app import app
from graphs.plan_execute import graph
from tests.support.openai_endpoint import Endpoint

ROOT = Path(__file__).parents[1]
ROOMS = (
    *(
        ".",
        "agent",
        "agent/core",
        "agent/programs",
        "agent/tools",
        "graphs",
        "graphs/composition",
        "graphs/workers",
        "prompts",
        "tests",
        "notebooks",
    ),
)
SERVER_PAGE, SCHEDULING_PAGE = ROOT / "graphs" / "server.md", ROOT / "graphs" / "scheduling.md"
DOCUMENTS = [*(ROOT / room / "README.md" for room in ROOMS), SERVER_PAGE, SCHEDULING_PAGE, ROOT / "CHANGELOG.md"]
PROGRAM = get_command(app)
#: The replies to the goal that the front page asks a model.
REPLIES = [
    {
        "execution_mode": "parallel",
        "tasks": [
            {
                "id": "open_orders",
                "description": "Open orders",
                "reasoning": "r",
                "tool": "query_database",
                "args": {"sql": "SELECT count(*) AS orders FROM orders WHERE status = 'Open'"},
            }
        ],
    },
    "The open orders are counted [open_orders].",
]


def drawing() -> str:
    return f"```mermaid\n{graph.get_graph().draw_mermaid().strip()}\n```"


def command_table() -> str:
    rows = [f"| `{usage}` | {command.help.splitlines()[0]} |" for usage, command in commands()]
    return "\n".join(["| command | does |", "| --- | --- |", *rows])


def option_table() -> str:
    run = PROGRAM.commands["run"]
    context = run.make_context("run", [], resilient_parsing=True)
    records = [parameter.get_help_record(context) for parameter in run.params if "--help" not in parameter.opts]
    rows = [f"| `{usage.replace('|', ' or ')}` | {text} |" for usage, text in filter(None, records) if usage[0] == "-"]
    return "\n".join(["| option of `run` | is |", "| --- | --- |", *rows])


def commands(group: TyperGroup = PROGRAM, prefix: str = "planwave") -> Iterator[tuple[str, Any]]:
    """Yield every command with its arguments, the way to call it first."""
    for name, command in group.commands.items():
        if isinstance(command, TyperGroup):
            if command.invoke_without_command:
                yield f"{prefix} {name}", command
            yield from commands(command, f"{prefix} {name}")
        else:
            arguments = [each.metavar for each in command.params if each.param_type_name == "argument"]
            called = [prefix] if name == default_of(group) else [prefix, name]
            yield " ".join([*called, *arguments]), command


def default_of(group: Any) -> str | None:
    """Return the command of a group that needs no name, where there is one."""
    return getattr(group, "default_command", None)


MADE: dict[str, Callable[[], str]] = {"graph": drawing, "commands": command_table, "options": option_table}


@pytest.mark.parametrize("part", MADE)
def test_a_made_part_of_the_front_page_is_as_the_code_has_it(part: str) -> None:
    page = ROOT / "README.md"
    text = page.read_text(encoding="utf-8")
    marked = re.compile(rf"(?<=<!-- {part} -->\n).*?(?=^<!-- /{part} -->)", flags=re.MULTILINE | re.DOTALL)
    wanted, count = marked.subn(lambda _: MADE[part]() + "\n", text)
    assert count == 1
    if os.environ.get("PLANWAVE_REWRITE_GOLDENS"):
        page.write_text(wanted, encoding="utf-8")
    assert page.read_text(encoding="utf-8") == wanted


def prose(page: Path) -> str:
    """Return a page without its code blocks."""
    return re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", prose(page), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", prose(page)):
        assert not target.startswith("/"), target
        if target.startswith("https://"):
            continue
        path, _, anchor = target.partition("#")
        found = page.parent / path if path else page
        assert found.exists(), f"{page}: {target}"
        assert not anchor or anchor in anchors(found), f"{page}: {target}"


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_file_that_is_named_exists(page: Path) -> None:
    for name in re.findall(r"`([\w./-]+\.(?:py|md|json|toml|ipynb|sql|csv))`", prose(page)):
        known = [page.parent / name, ROOT / name, *page.parent.rglob(name)]
        assert any(path.exists() for path in known) or name in MADE_BY_RUNS, f"{page}: {name}"


#: Files of the reader's own that the pages speak of.
MADE_BY_RUNS = {"top.json", "products.csv", "planwave.toml", "my_graph.py", "weekly.py", "other.csv", "answers.json"}


@pytest.mark.parametrize("room", ["agent", "agent/core", "graphs", "prompts"])
def test_a_room_names_each_of_its_files(room: str) -> None:
    page = (ROOT / room / "README.md").read_text(encoding="utf-8")
    kept = {path.name for ending in ("*.py", "*.v*.md") for path in (ROOT / room).glob(ending)} - {"__init__.py"}
    assert sorted(name for name in kept if f"`{name}`" not in page) == []


@pytest.mark.parametrize("page", DOCUMENTS, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_command_that_is_named_exists(page: Path) -> None:
    for line in re.findall(r"\bplanwave (?!import\b)([a-z][^`\n|]*)", page.read_text(encoding="utf-8")):
        words = [word.rstrip(",.;:") for word in shlex.split(line.replace("...", "").replace("'", ""))]
        command: Any = PROGRAM
        while isinstance(command, TyperGroup) and words and words[0] in command.commands:
            command = command.commands[words.pop(0)]
        assert command is not PROGRAM, f"{page}: planwave {line}"
        command = command.commands[default_of(command)] if default_of(command) else command
        options = {spelling for parameter in command.params for spelling in parameter.opts}
        for word in words:
            assert not word.startswith("-") or word in options, f"{page}: planwave {line}"


ENVIRONMENT = ROOT / ".env.example"


def test_the_example_of_an_environment_names_every_variable_with_its_default() -> None:
    text = ENVIRONMENT.read_text(encoding="utf-8")
    lines = dict(re.findall(r"^# ([A-Z][A-Z0-9_]+)=(.*)$", text, flags=re.MULTILINE))
    ours = {name.removeprefix("PLANWAVE_") for name in lines if name.startswith("PLANWAVE_")}
    fields = {name.upper(): field for name, field in Settings.model_fields.items()}
    of_tests = {"REWRITE_GOLDENS", "SEED"}
    assert ours - {"SECRET_SHOP_TOKEN"} == {*fields, *OTHER_VARIABLES} - of_tests
    examples = {"SECRETS", "DATA_FOLDER", "OUTPUT_FOLDER"}
    for name, field in fields.items():
        given, about = lines[f"PLANWAVE_{name}"], " ".join((field.description or "").split())
        default = json.dumps(field.default) if isinstance(field.default, bool) else field.default
        assert name in examples or given == ("" if default is None else str(default)), name
        assert about in " ".join(text.replace("\n# ", " ").split()), name
    assert {"OPENAI_API_KEY", "OPENAI_BASE_URL", "ANTHROPIC_API_KEY", "LANGSMITH_API_KEY"} <= lines.keys()


def test_the_example_of_an_environment_can_be_taken_as_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    for line in ENVIRONMENT.read_text(encoding="utf-8").splitlines():
        assert not line or line.startswith("#"), line
        name, given, value = line.removeprefix("# ").partition("=")
        if given and value and re.fullmatch("PLANWAVE_[A-Z0-9_]+", name):
            monkeypatch.setenv(name, value)
    assert Settings().max_replans == Settings.model_fields["max_replans"].default


def python_of(page: Path) -> list[CodeExample]:
    return [example for example in find_examples(page) if example.prefix == "python"]


#: The page about the server needs one: `tests/graphs/test_server_page.py` runs its code.
WITH_PYTHON = [page for page in DOCUMENTS if page not in {SERVER_PAGE, SCHEDULING_PAGE} and python_of(page)]


@pytest.mark.parametrize("page", WITH_PYTHON, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_the_python_of_a_page_runs_from_top_to_bottom(
    page: Path, eval_example: EvalExample, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PLANWAVE_DATA_FOLDER", str(tmp_path / "data"))
    monkeypatch.delenv("PLANWAVE_MODEL", raising=False)
    names: dict[str, object] = {}
    # A second time, as readers do who try an example again in the same folder.
    for example in [*python_of(page), *python_of(page)]:
        with Endpoint(REPLIES) as model:
            for name, value in model.env.items():
                monkeypatch.setenv(name, value)
            shows_output = "#>" in example.source
            run = eval_example.run_print_check if shows_output else eval_example.run
            made = run(example, module_globals=names)
            names |= {name: value for name, value in made.items() if not name.startswith("__")}
