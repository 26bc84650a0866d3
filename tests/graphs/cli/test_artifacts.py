"""Large outputs at the command line: in full for programs, their beginning for people."""

import json

from tests.support.command_line import CommandLine, query, save
from tests.support.stored_bytes import rows_of
from tests.support.worlds import ref

ROWS = [{"n": n, "name": f"row {n}"} for n in range(40)]
SQL = "SELECT range AS n, 'row ' || range AS name FROM range(40) ORDER BY n"


def test_programs_get_outputs_in_full_and_people_their_beginning(planwave: CommandLine) -> None:
    planwave.env["PLANWAVE_ARTIFACT_BYTES"] = "200"
    file = planwave.plan_file(query("q", SQL), save("s", "a.json", ref("q", "rows")))
    waiting = json.loads(planwave.here("run", "g", "--plan", file, "--thread", "t", "--json").stdout)
    assert waiting["status"] == "awaiting_approval"
    assert waiting["results"]["q"]["output"]["rows"] == ROWS
    assert waiting["interrupt"]["action_requests"][0]["args"]["content"] == ROWS
    ended = json.loads(planwave.here("resume", "t", "--yes", "--json").stdout)
    assert ended["status"] == "completed"
    assert ended["results"]["q"]["output"]["rows"] == ROWS
    assert json.loads((planwave.home / "output" / "a.json").read_text()) == ROWS
    assert planwave.thread("t")["results"] == ended["results"]
    again = json.loads(planwave.here("resume", "t", "--json").stdout)
    assert again["results"] == ended["results"]
    shown = planwave.here("show", "t").stdout
    assert "| 0 | row 0 |" in shown
    assert "... 20 more" in shown
    assert f"row {len(ROWS) - 1}" not in shown
    planwave.here("threads", "delete", "t", "--yes")
    assert rows_of(planwave.env["PLANWAVE_DB"], "planwave_artifacts") == 0
