"""Threads killed between the writes of a superstep and the checkpoint that closes it: unfinished for every command."""

import json

import pytest

from agent.core.compiler.editor import PlanEditor
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from graphs.thread_editing import load_plan_editor
from tests.graphs.recovery.killed_run import run
from tests.support.forked_child import KILLED, Child
from tests.support.worlds import World, thread


@pytest.fixture
def url(planwave):
    return planwave.env["PLANWAVE_DB"]


@pytest.fixture
def killed(url, shop_folder):
    """Threads killed before each of their checkpoints but the first, without which there is no thread."""
    whole = Child(run, url, str(shop_folder), "whole").told()
    names = [f"before-{number}" for number in range(2, whole + 1)]
    for number, name in enumerate(names, start=2):
        assert Child(run, url, str(shop_folder), name, kill_before=number).told() is KILLED
    assert len(names) > 4
    return names


def test_each_is_listed_as_interrupted_kept_by_prune_and_resumed(planwave, killed):
    listed = {
        each["thread_id"]: each["status"] for each in json.loads(planwave.here("threads", "--json").stdout)["threads"]
    }
    assert listed == {"whole": "completed", **dict.fromkeys(killed, "interrupted")}
    pruned = json.loads(planwave.here("threads", "prune", "--older-than", "0h", "--json").stdout)
    assert (pruned["removed"], {each["thread_id"] for each in pruned["kept"]}) == (["whole"], set(killed))
    for name in killed:
        assert planwave.thread(name)["status"] == "interrupted"
        refused = planwave.here("run", "g", "--thread", name)
        assert (refused.exit_code, "is not finished (interrupted)" in refused.stderr) == (2, True)
        resumed = planwave.here("resume", name, "--json")
        out = json.loads(resumed.stdout)
        assert (resumed.exit_code, out["status"], out["results"]["q"]["attempts"]) == (0, "completed", 1), name


async def test_the_plan_of_each_can_still_be_edited(url, killed):
    async with open_persistence(url) as persistence:
        graph = build_graph(tools=World().tools(), persistence=persistence)
        with_plan = [name for name in killed if (await graph.aget_state(thread(name))).values.get("plan")]
        editors = [await load_plan_editor(graph, thread(name)) for name in with_plan]
    assert len(editors) > 2
    assert all(isinstance(editor, PlanEditor) for editor in editors)
    assert editors[-1].settled == {"q"}
