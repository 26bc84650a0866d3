"""A small model's plan as a script, from a real HTTP server: planned, mended, and planned anew after a failure."""

from dataclasses import replace

from langchain_core.tools import StructuredTool

from agent.core.compiler.compiler import compile_plan
from agent.core.engine.outcomes import Done, Failed
from agent.core.plan.document import Plan
from agent.planning.planner import PlanningFailure, PlanningResult, make_plan
from agent.planning.replanner import RevisionResult, make_revision
from agent.tools.toolbox import Toolbox
from tests.support.openai_endpoint import Endpoint, Text
from tests.support.planning_kit import LIMITS, SETTINGS, model_at


def find(place: str) -> dict:
    """Find a place."""
    return {"celsius": 3.5}


def scale(number: float, by: float) -> float:
    """Multiply two numbers."""
    return number * by


DEGREES = {"type": "object", "properties": {"celsius": {"type": "number"}}, "required": ["celsius"]}
TOOLBOX = Toolbox(
    [
        StructuredTool.from_function(find, metadata={"readOnlyHint": True, "output_schema": DEGREES}),
        StructuredTool.from_function(scale, metadata={"readOnlyHint": True, "output_schema": {"type": "number"}}),
    ]
)
SCRIPT = "# degrees in Oslo\noslo = find('Oslo')\n# twice that\ntwice = scale(oslo, 2)\n"
COMMON = {"context": "", "toolbox": TOOLBOX, "settings": SETTINGS, "limits": LIMITS, "emit": lambda _event: None}


async def planned(endpoint, **model):
    return await make_plan("Twice Oslo?", model=replace(model_at(endpoint, small=True), **model), **COMMON)


async def test_a_script_becomes_a_plan_that_compiles():
    with Endpoint([Text(SCRIPT)]) as endpoint:
        found = await planned(endpoint)
    assert isinstance(found, PlanningResult)
    assert [task["id"] for task in found.plan["tasks"]] == ["oslo", "twice"]
    assert found.plan["tasks"][1]["args"]["number"] == {"output_of": "oslo", "path": ["celsius"]}
    assert "def scale(number: a number, by: a number) -> a number  # Multiply two numbers." in endpoint.requests[0].text
    assert found.usage.calls == 1


async def test_a_server_that_knows_grammars_is_given_one_and_no_other():
    for knows in (True, False):
        with Endpoint([Text(SCRIPT)]) as endpoint:
            await planned(endpoint, supports_grammar=knows)
        assert ("grammar" in endpoint.requests[0].body) is knows


async def test_problems_go_back_to_the_model():
    for wrong, told in (
        ("a = fetch('Oslo')", "There is no tool `fetch`; the tools are 'find', 'scale'."),
        ("a = find('Oslo')\nb = scale(a, 'two')", "Task 'b', args.by: "),
    ):
        with Endpoint([Text(wrong), Text(SCRIPT)]) as endpoint:
            found = await planned(endpoint)
        assert isinstance(found, PlanningResult)
        assert (found.repairs, found.usage.calls) == (1, 2)
        assert told in endpoint.requests[1].text


async def test_repairs_come_to_an_end():
    with Endpoint([Text("a = fetch('Oslo')")] * 3) as endpoint:
        found = await planned(endpoint)
    assert isinstance(found, PlanningFailure)
    assert found.usage.calls == 3


async def test_after_a_failure_the_rest_is_written_anew_and_what_is_done_can_be_named():
    tasks = [
        {"id": "oslo", "tool": "find", "args": {"place": "Oslo"}},
        {"id": "bergen", "tool": "find", "args": {"place": "Bergn"}},
    ]
    compiled = compile_plan(Plan.model_validate({"tasks": tasks}), TOOLBOX.specs, limits=LIMITS)
    outcomes = {
        "oslo": Done(revision=1, output={"celsius": 3.5}),
        "bergen": Failed(revision=1, kind="tool", error="There is no 'Bergn'."),
    }
    script = [
        {"reason": "A slip of the pen.", "action": "retry"},
        Text("# Bergen's\nbergen = find('Bergen')\nsum = scale(oslo, bergen)\n"),
    ]
    with Endpoint(script) as endpoint:
        made = await make_revision(
            "Both?",
            compiled=compiled,
            outcomes=outcomes,
            failed=("bergen",),
            history=(),
            model=model_at(endpoint, small=True),
            waived=(),
            **COMMON,
        )
    assert isinstance(made, RevisionResult), made
    assert [task["id"] for task in made.plan["tasks"]] == ["oslo", "bergena", "sum"]
    assert made.plan["tasks"][2]["args"] == {
        "number": {"output_of": "oslo", "path": ["celsius"]},
        "by": {"output_of": "bergena", "path": ["celsius"]},
    }
    assert "oslo = find(...)" in endpoint.requests[1].text
    assert "There is no 'Bergn'." in endpoint.requests[1].text
