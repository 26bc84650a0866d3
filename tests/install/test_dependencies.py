"""What is installed with Planwave and what an import loads: no more than is used."""

import json
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
from packaging.requirements import Requirement

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
HEAVY = {"altair", "duckdb", "narwhals", "numpy", "pandas", "pytz", "sqlglot", "sqlite_vec", "vl_convert", "xllamacpp"}
OWN_TOOLS = """
from langchain_core.tools import tool
from planwave import build_graph

@tool
def look(place: str) -> str:
    "Look."
    return place

look.metadata = {"readOnlyHint": True}
plan = {"tasks": [{"id": "a", "tool": "look", "args": {"place": "here"}}]}
assert build_graph(tools=[look]).invoke({"goal": "g", "plan": plan})["status"] == "completed"
"""
HELP = """
import sys
from planwave.__main__ import main
sys.argv = ["planwave", "run", "--help"]
try:
    main()
except SystemExit:
    pass
"""


@pytest.mark.parametrize("code", ["import graphs.plan_execute", OWN_TOOLS, HELP], ids=["import", "own tools", "help"])
def test_what_only_the_default_tools_use_is_not_loaded(code: str) -> None:
    code += "\nimport json, sys; print(json.dumps(sorted(sys.modules)))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = set(json.loads(ran.stdout.splitlines()[-1]))
    assert loaded & {"graphs.plan_execute", "graphs.cli.app"}
    assert loaded & HEAVY == set()


def requirements() -> list[Requirement]:
    project = PROJECT["project"]
    groups = [
        PROJECT["build-system"]["requires"],
        project["dependencies"],
        *project["optional-dependencies"].values(),
        *PROJECT["dependency-groups"].values(),
    ]
    found = [Requirement(text) for group in groups for text in group]
    return [requirement for requirement in found if requirement.name != "planwave"]


@pytest.mark.parametrize("requirement", requirements(), ids=str)
def test_a_dependency_has_an_upper_bound_and_what_is_tested_is_within(requirement: Requirement) -> None:
    assert "<" in {part.operator for part in requirement.specifier}
    if requirement.name != "xllamacpp":  # of the extra `local`, which the tests do without
        assert requirement.specifier.contains(version(requirement.name))
