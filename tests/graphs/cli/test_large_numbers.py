"""Numbers beyond 64 bits at the command line: asked about, answered, shown and deleted."""

import json

from tests.support.command_line import CommandLine, query, save
from tests.support.worlds import ref

BIG = 2**100
SQL = "SELECT 1267650600228229401496703205376::HUGEINT AS n, 'x' AS name"


def test_a_write_of_huge_numbers_is_asked_about_and_made(planwave: CommandLine) -> None:
    file = planwave.plan_file(query("q", SQL), save("s", "a.json", ref("q", "rows")))
    waiting = json.loads(planwave.here("run", "g", "--plan", file, "--thread", "t", "--json").stdout)
    assert waiting["status"] == "awaiting_approval"
    assert waiting["interrupt"]["action_requests"][0]["args"]["content"] == [{"n": BIG, "name": "x"}]
    assert planwave.thread("t")["interrupt"]["action_requests"][0]["args"]["content"][0]["n"] == BIG
    for words in (("show", "t"), ("show", "t", "--prov"), ("show", "t", "--xml"), ("threads",), ("resume", "t")):
        assert isinstance(planwave.here(*words).exception, SystemExit | None), words
    ended = json.loads(planwave.here("resume", "t", "--yes", "--json").stdout)
    assert ended["status"] == "completed"
    assert json.loads((planwave.home / "output" / "a.json").read_text()) == [{"n": BIG, "name": "x"}]
    assert planwave.thread("t")["results"] == ended["results"]
    assert planwave.here("threads", "delete", "t", "--yes").exit_code == 0
    assert planwave.here("show", "t").exit_code == 2
