"""The transcript on the front page: the plan beside it run again at a terminal, its lines found in order."""

import json
import re
from pathlib import Path

from tests.support.command_line import CommandLine

PAGE = Path(__file__).parents[3] / "README.md"
PLAN = re.compile(r"<!-- plan -->\n```json\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
TRANSCRIPT = re.compile(r"<!-- transcript -->\n```console\n(.*?)^```", flags=re.MULTILINE | re.DOTALL)
#: As `graphs.cli.terminal.units.spell` writes them.
TIME = re.compile(r"(\d+ min )?\d+(\.\d+)? s\b")


def normal(text: str) -> str:
    """Return `text` with its times and its spacing made alike."""
    return " ".join(TIME.sub("0.00 s", text.replace("─", "")).split())


def test_the_transcript_of_the_front_page_is_what_a_terminal_shows(planwave: CommandLine) -> None:
    page = PAGE.read_text(encoding="utf-8")
    [plan], [transcript] = PLAN.findall(page), TRANSCRIPT.findall(page)
    first, *lines = transcript.splitlines()
    command = re.fullmatch(r'\$ planwave run "(.+)" --plan top.json', first)
    assert command
    file = planwave.plan_file(*json.loads(plan)["tasks"], name="top.json")
    terminal = planwave.at_terminal("run", command[1], "--plan", file, columns=110)
    terminal.until("[q]uit? ")
    terminal.type("a\n")
    status, shown = terminal.end()
    assert status == 0, shown
    rest = normal(shown)
    for line in filter(None, (normal(line) for line in lines if line != "...")):
        assert line in rest, f"{line!r} is not in what came next:\n{rest}"
        rest = rest.partition(line)[2]
