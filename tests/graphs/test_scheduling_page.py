"""The page about schedules, done as a reader does it: its commands, its flow, its cron on a server."""

import asyncio
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path
from types import ModuleType

import pytest
from langgraph_sdk import get_client

from graphs.stores.library import Library
from tests.support.command_line import CommandLine
from tests.support.studio import ROOT, StudioServer

PAGE = (ROOT / "graphs" / "scheduling.md").read_text(encoding="utf-8")
PLAN = {
    "inputs": {"top": {"type": "integer", "minimum": 1, "examples": [3]}},
    "tasks": [
        {
            "id": "top",
            "tool": "query_database",
            "args": {
                "sql": "SELECT customer_name, sum(revenue) AS revenue FROM sales GROUP BY 1 ORDER BY 2 DESC LIMIT $top",
                "params": {"top": {"input": "top"}},
            },
        }
    ],
}


def blocks(kind: str) -> list[str]:
    return re.findall(rf"^```{kind}\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    folder = tmp_path / "programs"
    add = Library(folder).add("top_customers", PLAN, goal_template="Top {top} customers by revenue")
    asyncio.run(add)
    return folder


def environment(planwave: CommandLine, shelf: Path) -> dict[str, str]:
    folder = Path(sys.executable).parent
    path = f"{folder}{os.pathsep}{os.environ['PATH']}"
    return {**planwave.env, "PLANWAVE_LIBRARY": str(shelf), "PATH": path, "PYTHONPATH": str(ROOT)}


def test_the_line_of_the_crontab_runs(planwave: CommandLine, shelf: Path, tmp_path: Path) -> None:
    [variable, line] = blocks("crontab")[0].splitlines()
    assert variable.partition("=")[0] == "PLANWAVE_DB"
    fields, command = line.split(" ", 5)[:5], line.split(" ", 5)[5]
    assert fields == ["0", "7", "*", "*", "1"]
    command = re.sub(r"/(?:var/log|tmp)/", f"{tmp_path}/", command)
    subprocess.run(["sh", "-c", command], env=environment(planwave, shelf), check=True, cwd=tmp_path)
    record = json.loads((tmp_path / "top_customers.jsonl").read_text(encoding="utf-8"))
    assert len(record["results"]["top"]["output"]["rows"]) == 5


def test_the_flow_runs_the_program_and_fails_with_its_problems(
    planwave: CommandLine, shelf: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The decorators of the scheduler add nothing to one call of a flow.
    prefect = ModuleType("prefect")
    prefect.flow = lambda function: function  # type: ignore[attr-defined]
    prefect.task = lambda **_: lambda function: function  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "prefect", prefect)
    for name, value in environment(planwave, shelf).items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "weekly"}
    exec(blocks("python")[0], names)  # noqa: S102 - the page's own code
    answer = names["weekly"](top=2)  # type: ignore[operator]
    assert "revenue" in answer
    with pytest.raises(RuntimeError, match="top"):
        names["weekly"](top=0)  # type: ignore[operator]


@pytest.mark.parametrize(
    "waits", [False, pytest.param(True, marks=[pytest.mark.slow, pytest.mark.timeout(240)])], ids=["made", "run"]
)
def test_the_cron_is_made_on_a_server_and_runs_the_program(
    waits: bool, shelf: Path, tmp_path: Path, shop_folder: Path
) -> None:
    code, _, run = blocks("python")[1].rpartition("asyncio.run(")
    assert run == "schedule_report())\n"
    names: dict[str, object] = {}
    exec(code, names)  # noqa: S102 - the page's own code
    with StudioServer(tmp_path, data=shop_folder, PLANWAVE_LIBRARY=str(shelf)) as server:
        schedule = "* * * * *" if waits else "0 7 * * 1"
        cron = asyncio.run(names["schedule_report"](server.url, schedule))  # type: ignore[operator]

        async def look() -> tuple[list[str], list[dict[str, object]]]:
            client = get_client(url=server.url)
            crons = [each["cron_id"] for each in await client.crons.search()]
            return crons, [dict(each["values"] or {}) for each in await client.threads.search()]

        crons, _ = asyncio.run(look())
        assert crons == [cron]
        ended: list[dict[str, object]] = []
        end = time.monotonic() + 200
        while waits and not ended and time.monotonic() < end:
            ended = [each for each in asyncio.run(look())[1] if each.get("status") == "completed"]
            time.sleep(1)
        assert bool(ended) == waits
        assert all("the program top_customers (version 1) with top = 5" in str(each["answer"]) for each in ended)
