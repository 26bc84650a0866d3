"""The wheel in an environment of its own, used by a program that has modules named `agent` and `prompts` itself."""

import json
import re
import zipfile
from pathlib import Path

from tests.support.installation import Installation, build_wheel

#: What a user writes: typed, and beside modules whose names are those of our rooms.
PROGRAM = '''
import asyncio
import sys

import agent
import prompts
from langchain_core.tools import tool
from langgraph.types import Command
from planwave import Settings, build_graph, open_persistence


@tool
def order(product: str) -> str:
    """Order a product."""
    return f"ordered one {product}"


async def main() -> None:
    plan = {"tasks": [{"id": "one", "tool": "order", "args": {"product": "desk"}}]}
    async with open_persistence("sqlite:///threads.db") as persistence:
        graph = build_graph(tools=[order], settings=Settings(max_replans=0), persistence=persistence)
        out = await graph.ainvoke({"goal": "Order a desk", "plan": plan}, {"configurable": {"thread_id": "t"}})
        print(out["status"], out["__interrupt__"][0].value["action_requests"][0]["args"])
        approve: Command[object] = Command(resume={"decisions": [{"type": "approve"}]})
        out = await graph.ainvoke(approve, {"configurable": {"thread_id": "t"}})
        print(out["status"], out["results"]["one"]["output"])
    print(agent.OWNER, prompts.OWNER, "graphs" in sys.modules)


asyncio.run(main())
'''
PLAN = """
{"tasks": [
  {"id": "count", "tool": "query_database", "args": {"sql": "SELECT 3 AS n"}},
  {"id": "chart", "tool": "draw_chart", "args": {"rows": [{"x": "a", "y": 1}], "kind": "bar", "x": "x", "y": "y"}}
]}
"""
LOG = """
import logging
from planwave.graphs.cli.logs import configure_logging
configure_logging(1)
logging.getLogger("planwave.agent.execution").info("seen")
"""
#: Imports every module, and prints the packages that are not installed.
IMPORT_ALL = """
import importlib, pkgutil
import planwave
for module in pkgutil.walk_packages(planwave.__path__, "planwave."):
    if module.name != "planwave.__main__":
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            print(error.name)
"""
#: What mypy is asked about, and what it must not let pass.
TYPED = """
from planwave import Settings, build_graph

graph = build_graph(model=None, settings=Settings(max_tasks=5))
out = graph.invoke({"goal": "Count the orders"})
status: str = out["status"]
reveal_type(out)
reveal_type(out["__interrupt__"])
out["no_such_key"]
graph.invoke({"gaol": "Count the orders"})
build_graph(toolz=[])
"""


def test_the_wheel_holds_one_package_with_the_rooms_inside(tmp_path: Path) -> None:
    names = zipfile.ZipFile(build_wheel(tmp_path)).namelist()
    assert {name.partition("/")[0] for name in names if ".dist-info/" not in name} == {"planwave"}
    kept = {"planwave/py.typed", "planwave/prompts/planner.v2.md", "planwave/agent/tools/sample_data/schema.sql"}
    assert kept <= set(names)
    assert [name for name in names if name.endswith(("hatch_build.py", "README.md", ".pyc"))] == []


def test_a_program_uses_the_wheel_beside_modules_of_the_same_names(tmp_path: Path) -> None:
    installed = Installation(tmp_path, others=("mypy",))
    for mine in ("agent/__init__.py", "prompts.py"):
        installed.write(mine, 'OWNER = "the user"\n')
    program = str(installed.write("program.py", PROGRAM))

    ran = installed.command("python", program)
    assert ran.stdout.splitlines() == [
        "awaiting_approval {'product': 'desk'}",
        "completed ordered one desk",
        "the user the user False",
    ], ran.stderr

    checked = installed.command("mypy", "--strict", program)
    assert checked.returncode == 0, checked.stdout
    said = installed.command("mypy", "--strict", str(installed.write("typed.py", TYPED))).stdout
    revealed = re.findall(r'Revealed type is "(.*)"', said)
    assert revealed[0].startswith("TypedDict(planwave.graphs.state.Output, "), said
    assert revealed[1].startswith("list[langgraph.types.Interrupt["), said
    assert re.findall(r"typed.py:(\d+): error", said) == ["9", "10", "11"], said

    assert installed.command("planwave", "--version").stdout == "planwave 0.1.0\n"
    logged = installed.command("python", str(installed.write("log.py", LOG)))
    assert logged.stderr.endswith(" INFO planwave.agent.execution: seen\n")
    told = "The default tools need the extra `analytics` (pip install 'planwave[analytics]')."
    plan = str(installed.write("plan.json", PLAN))
    for words in (["tools"], ["run", "Count", "--plan", plan], ["run", "Count"]):
        ended = installed.command("planwave", *words)
        assert (ended.returncode, ended.stdout, ended.stderr) == (2, "", f"{told}\n")

    missing = installed.command("python", str(installed.write("walk.py", IMPORT_ALL)))
    assert missing.returncode == 0, missing.stderr
    wanted = {
        "altair",
        "langchain",
        "langchain_mcp_adapters",
        "mcp",
        "procrastinate",
        "psycopg",
        "sqlglot",
        "vl_convert",
    }
    assert set(missing.stdout.split()) == wanted


def test_the_default_tools_run_with_their_extra(tmp_path: Path) -> None:
    installed = Installation(tmp_path, extras="[analytics]")
    plan = str(installed.write("plan.json", PLAN))
    shown = installed.command("planwave", "run", "Count", "--plan", plan, "--json")
    results = json.loads(shown.stdout)["results"]
    assert results["count"]["output"]["rows"] == [{"n": 3}]
    assert Path(results["chart"]["output"]["png"]).is_file()


def test_nothing_in_the_wheel_names_a_room_outside_of_it(tmp_path: Path) -> None:
    """A name that still leads out of `planwave` would find the user's module, or none."""
    outside = re.compile(
        r"""^\s*(from|import)\ (agent|graphs|prompts)\b | ["'](agent|graphs|prompts)(\.\w+)+["':]""",
        flags=re.MULTILINE | re.VERBOSE,
    )
    with zipfile.ZipFile(build_wheel(tmp_path)) as wheel:
        modules = {name: wheel.read(name).decode() for name in wheel.namelist() if name.endswith(".py")}
    del modules["planwave/__init__.py"]  # puts its own name before those in its table
    assert len(modules) > 200
    assert [name for name, text in modules.items() if outside.search(text)] == []
