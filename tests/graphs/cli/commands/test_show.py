"""`threads`, `show`, `tools` and `models`."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from graphs.cli.app import app
from tests.support.command_line import CommandLine, query, save

TASKS = (
    query("read", "SELECT 7 AS n"),
    query("never", "SELECT 8 AS n", condition="read.row_count > 5"),
    save("keep", "a.csv", {"output_of": "read", "path": ["rows"]}),
)


def test_threads_are_listed_newest_first(planwave: CommandLine) -> None:
    assert "There are no threads yet" in planwave.here("threads").stdout
    for name in ("one", "two"):
        planwave.here("run", f"Goal {name}", "--thread", name, "--plan", planwave.plan_file(*TASKS))
    listed = json.loads(planwave.here("threads", "--json").stdout)["threads"]
    assert [(one["thread_id"], one["status"], one["goal"]) for one in listed] == [
        ("two", "awaiting_approval", "Goal two"),
        ("one", "awaiting_approval", "Goal one"),
    ]
    assert [(one["done"], one["tasks"]) for one in listed] == [(1, 3), (1, 3)]
    table = planwave.here("threads", "--most", "1").stdout
    assert "Goal two" in table
    assert "Goal one" not in table
    assert "1/3" in table


@pytest.mark.parametrize(
    "columns", ["20", "300", *(pytest.param(width, marks=pytest.mark.slow) for width in ("44", "80"))]
)
def test_off_a_terminal_each_thread_is_one_line_with_its_whole_id(planwave: CommandLine, columns: str) -> None:
    planwave.env["COLUMNS"] = columns
    names = ["a-quite-ordinary-goal-with-a-long-name-1", "a-quite-ordinary-goal-with-a-long-name-2"]
    for name in names:
        plan = planwave.plan_file(*TASKS)
        planwave.here("run", "A goal\tof\nsome lines " * 30, "--thread", name, "--plan", plan)
    lines = planwave.here("threads").stdout.splitlines()
    assert [line.split("\t")[:3] for line in lines] == [[name, "awaiting approval", "1/3"] for name in reversed(names)]
    assert {len(line.split("\t")) for line in lines} == {5}
    shown = planwave.here("show", names[0]).stdout
    [row] = [line for line in shown.splitlines() if "Keep keep" in line and "save_file" in line]
    assert "awaiting approval" in row


@pytest.mark.parametrize("decision", ["--approve", "--reject"])
def test_each_result_is_printed_once(planwave: CommandLine, decision: str) -> None:
    tasks = (query("read", "SELECT 424242 AS n"), TASKS[1], TASKS[2])
    planwave.here("run", "Look", "--thread", "t", "--plan", planwave.plan_file(*tasks))
    assert planwave.here("show", "t").stdout.count('read: {"') == 1
    planwave.here("resume", "t", decision, "keep")
    shown = planwave.here("show", "t").stdout
    assert shown.count("424242") == 1, shown
    if decision == "--approve":
        assert shown.count("sha256") == 1, shown


def test_hints_repeat_only_the_database_that_the_environment_does_not_name(planwave: CommandLine) -> None:
    plan, other = planwave.plan_file(*TASKS), f"sqlite:///{planwave.home / 'other.db'}"
    own = planwave.env["PLANWAVE_DB"]
    for database, words in ((None, ()), (own, ("--db", own)), (other, ("--db", other))):
        shown = planwave.here("run", "Look", "--plan", plan, "--thread", "t", *words).stdout
        again = planwave.here("run", "Look", "--plan", plan, "--thread", "t", *words).stderr
        changed = planwave.here("plan", "edit", "--thread", "t", "keep", "args.path=b.csv", *words).stdout
        for text in (shown, again, changed):
            assert "planwave resume t" in text
            assert ("--db" in text) == (database == other), text
        planwave.here("threads", "delete", "t", "--yes", *words)


def test_a_thread_is_shown_with_statuses_timings_and_results(planwave: CommandLine) -> None:
    planwave.here("run", "Look", "--thread", "t", "--plan", planwave.plan_file(*TASKS))
    shown = planwave.here("show", "t").stdout
    assert "Look" in shown
    assert "awaiting approval" in shown
    assert "skipped" in shown
    assert '"rows": [{"n": 7}]' in shown
    assert '"path": "a.csv"' in shown
    planwave.here("resume", "t", "--yes")
    ended = planwave.here("show", "t")
    assert ended.exit_code == 0
    assert "completed" in ended.stdout
    assert json.loads(planwave.here("show", "t", "--json").stdout)["status"] == "completed"


def test_the_picture_is_all_that_is_printed(planwave: CommandLine) -> None:
    planwave.here("run", "Look", "--thread", "t", "--plan", planwave.plan_file(*TASKS))
    drawn = planwave.here("show", "t", "--mermaid").stdout.splitlines()
    assert drawn[:4] == [
        "flowchart TD",
        '    t0["read<br/>query_database<br/>done"]',
        '    t1["never<br/>query_database<br/>if read.row_count #62; 5<br/>skipped"]',
        '    t2["keep<br/>save_file<br/>awaiting_approval"]',
    ]
    assert "    class t2 awaiting_approval" in drawn


def test_a_thread_without_a_plan_has_no_picture(planwave: CommandLine) -> None:
    planwave.here("run", "Look", "--thread", "t", "--plan", planwave.plan_file({"id": "a", "tool": "none"}))
    ended = planwave.here("show", "t", "--mermaid")
    assert ended.exit_code == 2
    assert "no plan to draw" in ended.stderr
    assert "no tool 'none'" in planwave.here("show", "t").stdout


def test_a_thread_keeps_its_options(planwave: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my.csv").write_text("n\n41\n")
    monkeypatch.chdir(tmp_path)
    plan = planwave.plan_file(
        query("read", "SELECT n + 1 AS n FROM my"), save("keep", "a.csv", {"output_of": "read", "path": ["rows"]})
    )
    begun = planwave.here("run", "x", "--thread", "t", "--data", "my.csv", "--output", "mine", "--plan", plan)
    assert begun.exit_code == 3, begun.output
    monkeypatch.chdir("/")
    ended = planwave.here("resume", "t", "--yes")
    assert ended.exit_code == 0, ended.output
    assert (tmp_path / "mine" / "a.csv").read_text() == "n\n42\n"


def test_tools_are_listed_with_what_they_may_do(planwave: CommandLine) -> None:
    shown = planwave.here("tools").stdout
    assert "query_database (reads)" in shown
    assert "save_file (writes, asks first)" in shown
    listed = json.loads(planwave.here("tools", "--json").stdout)["tools"]
    assert {"describe_database", "query_database", "save_file"} <= {tool["name"] for tool in listed}


def test_models_tells_what_is_set_and_no_secret(planwave: CommandLine) -> None:
    planwave.env |= {"OPENAI_API_KEY": "sk-very-secret", "OPENAI_BASE_URL": "http://me:hidden@localhost:1234/v1"}
    del planwave.env["PLANWAVE_LOCAL_GGUF"]
    planwave.env["PLANWAVE_CACHE"] = str(planwave.home)
    shown = planwave.here("models").stdout
    assert "http://localhost:1234/v1, with a key" in shown
    assert "planwave models pull" in shown
    found = json.loads(planwave.here("models", "--json").stdout)
    assert found["ready"] is True
    assert found["model"].startswith("openai:")
    assert "secret" not in shown + json.dumps(found)
    assert "hidden" not in shown + json.dumps(found)


def test_a_file_of_ones_own_is_not_fetched(planwave: CommandLine) -> None:
    own = Path(planwave.env["PLANWAVE_LOCAL_GGUF"])
    ended = planwave.here("models", "pull")
    assert ended.exit_code == 1
    assert os.fspath(own) in ended.stderr
    own.write_bytes(b"GGUF and more")
    ended = planwave.here("models", "pull", "--json")
    assert ended.exit_code == 0, ended.output
    assert json.loads(ended.stdout) == {"weights": os.fspath(own)}


def test_the_list_of_commands_is_shown_without_what_commands_need() -> None:
    code = (
        "import sys; from graphs.cli.app import app; app(['--help'], standalone_mode=False);"
        " assert not (found := {'pydantic', 'rich', 'langgraph'} & sys.modules.keys()), found"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "resume" in shown.stdout


def test_the_options_of_run_are_those_of_resume(planwave: CommandLine) -> None:
    run, resume = (
        {option for parameter in get_command(app).commands[name].params for option in parameter.opts}
        for name in ("run", "resume")
    )
    assert run - resume == {"goal", "--plan", "--input", "--thread", "--queue"}
    assert resume - run == {"thread", "--approve", "--reject", "--why", "--answers"}
    help_text = " ".join(planwave.here("resume", "--help").stdout.split())
    assert "PLANWAVE_MAX_TOKENS" in help_text
    refused = planwave.here("run", "x", "--max-tasks", "0")
    assert (refused.exit_code, "--max-tasks" in refused.stderr) == (2, True)


def test_an_option_before_the_command_of_a_group_is_refused(planwave: CommandLine) -> None:
    for group, name in (("models", "pull"), ("threads", "prune")):
        refused = planwave.here(group, "--json", name)
        assert refused.exit_code == 2
        assert "--json" in refused.stderr
