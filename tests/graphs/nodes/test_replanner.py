"""The five ways on after a failure, chosen as structured output on real runs: what is seen, and what comes of each."""

import pytest
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

from agent.settings import Settings
from graphs.plan_execute import build_graph
from tests.support.openai_endpoint import Endpoint
from tests.support.worlds import World, ref, thread

MODES = pytest.mark.parametrize("dispatch", ["eager", "wave"])
GOAL = "Look at one and all"


def look(task, value, **more):
    return {"id": task, "tool": "look", "args": {"value": value}, **more}


#: `a` fails, `b` rests on it, and `c` runs without.
PLAN = {
    "tasks": [
        look("k", [7, 8]),
        {"id": "w", "tool": "write", "args": {"value": 5}, "rollback": {"tool": "erase", "args": {"value": 5}}},
        look("a", 1, depends_on=["w"]),
        look("b", {"item": []}, for_each=ref("k", "value"), condition="a.value > 1"),
        look("c", "joined", depends_on=["b", "k"], run_if="any"),
    ]
}


def decided(reason, **decision):
    return {"reason": reason, "decision": decision}


def changed(task, value):
    return {"task": task, "tool": "look", "args": {"value": value}}


@pytest.fixture
def world():
    world = World()
    world.failing = {1, 2}
    return world


async def ran(world, dispatch, *script, **settings):
    """Run the plan with a replanner that answers by `script`; return the output, the final state and the requests."""
    with Endpoint(script) as endpoint:
        model = ChatOpenAI(model="scripted", base_url=endpoint.url, api_key="sk-test", timeout=10)
        graph = build_graph(
            tools=world.tools(),
            model=model,
            settings=Settings(dispatch=dispatch, approve="never", **settings),
            checkpointer=InMemorySaver(),
        )
        out = await graph.ainvoke({"goal": GOAL, "plan": PLAN}, thread())
        values = (await graph.aget_state(thread())).values
        return out, values, [request.text for request in endpoint.requests]


def statuses(out):
    return {task: record["status"] for task, record in out["results"].items()}


@MODES
async def test_retry_changes_the_failed_call_and_what_rests_on_it_follows(world, dispatch):
    again = decided("Try the next.", action="retry", changes=[changed("a", 2)], skip=[])
    mended = decided("Then three.", action="retry", changes=[changed("aa", 3)], skip=[])
    out, values, told = await ran(world, dispatch, again, mended, "It is 7 [k].")
    assert (out["status"], out["replans"]) == ("completed", 2)
    assert statuses(out) == {"k": "done", "w": "done", "a": "failed", "aa": "failed", "aaa": "done"} | dict.fromkeys(
        ("b", "c"), "done"
    )
    assert [value for name, value in world.log if name == "look"] == [[7, 8], 1, "joined", 2, 3, 7, 8]
    assert world.log.count(("write", 5)) == 1
    assert values["plan_changes"] == {"kept": ["k", "w", "c"], "changed": ["b"], "new": ["aaa"], "dropped": ["aa"]}
    assert [task["condition"] for task in values["plan"]["tasks"] if task["id"] == "b"] == ["aaa.value > 1"]
    for part in (
        GOAL,
        '- k: look {"value": [7, 8]}\n  done: {"value": [7, 8]}',
        '- w: write {"value": 5} (undone by erase)\n  done: {"written": 5}',
        '- aa: look {"value": 2} (after w)\n  FAILED (tool): LookupError: nothing at 2',
        '(once for each item of {"output_of": "k", "path": ["value"]}; only if "aa.value > 1")\n  has not run',
        "(after b, k; although some of what it waits for was skipped)",
        "Replan 1: 'a' (look {\"value\": 1}) failed: LookupError: nothing at 1. Try the next.",
    ):
        assert part in told[1], part


@MODES
async def test_skip_goes_on_without_what_failed_and_what_rests_on_it(world, dispatch):
    out, values, _ = await ran(world, dispatch, decided("It will do.", action="skip"), "It is 7 [k].")
    assert (out["status"], out["replans"], values["waived_tasks"]) == ("completed", 1, ["a"])
    assert statuses(out) == {"k": "done", "w": "done", "a": "failed", "b": "skipped", "c": "done"}
    assert values["plan_changes"]["kept"] == ["k", "w", "a", "b", "c"]


@MODES
async def test_replan_gives_new_tasks_for_the_rest_and_keeps_what_is_done(world, dispatch):
    new = {"id": "n", "description": "d", "reasoning": "r", "tool": "look", "args": {"value": ref("k", "value")}}
    out, values, _ = await ran(world, dispatch, decided("Otherwise.", action="replan", tasks=[new]), "It is 7 [n].")
    assert (out["status"], out["replans"]) == ("completed", 1)
    # `c` had run already, since one of what it waited for was done.
    assert values["plan_changes"] == {"kept": ["k", "w"], "changed": ["c"], "new": ["n"], "dropped": ["a", "b"]}
    assert [value for name, value in world.log if name == "look"] == [[7, 8], 1, "joined", [7, 8]]
    assert world.log.count(("write", 5)) == 1


@MODES
async def test_abort_undoes_what_was_written_and_ends_as_failed(world, dispatch):
    out, _, _ = await ran(world, dispatch, decided("There is no one.", action="abort"), "It is 7 [k].")
    assert (out["status"], out["replans"], out["problems"]) == ("failed", 1, ["There is no one."])
    assert out["rollback"] == {"undone": ["w"], "not_undone": {}}
    assert world.log[-1] == ("erase", 5)
    assert out["results"]["k"]["output"] == {"value": [7, 8]}


@MODES
async def test_ask_puts_a_question_to_a_person_and_goes_on_with_the_answer(world, dispatch):
    asks = decided("It is not said.", action="ask", question="Which one?")
    plan = {"tasks": [task for task in PLAN["tasks"] if task["id"] in {"k", "a"}]}
    plan["tasks"][1] = look("a", 1)
    with Endpoint([asks, decided("So be it.", action="skip"), "It is 7 [k]."]) as endpoint:
        model = ChatOpenAI(model="scripted", base_url=endpoint.url, api_key="sk-test", timeout=10)
        graph = build_graph(
            tools=world.tools(), model=model, settings=Settings(dispatch=dispatch), checkpointer=InMemorySaver()
        )
        out = await graph.ainvoke({"goal": GOAL, "plan": plan}, thread())
        [action] = out["__interrupt__"][0].value["action_requests"]
        assert (action["name"], action["args"]) == ("answer_question", {"question": "Which one?"})
        answer = {"decisions": [{"type": "respond", "message": "None."}]}
        out = await graph.ainvoke(Command(resume=answer), thread())
        assert "Which one? Answer: None." in endpoint.requests[1].text
    assert (out["status"], out["replans"]) == ("completed", 1)


@MODES
async def test_a_choice_that_does_not_fit_goes_back_and_the_last_counts_as_a_replan(world, dispatch):
    wrong = [
        decided("?", action="retry", changes=[changed("a", 1)], skip=[]),
        decided("?", action="retry", changes=[changed("k", 1)], skip=[]),
        decided("?", action="ignore"),
    ]
    out, _, told = await ran(world, dispatch, *wrong, max_repairs=2)
    assert (out["status"], out["replans"], len(told)) == ("failed", 1, 3)
    assert "makes exactly the call that failed" in told[1]
    assert out["results"]["k"]["status"] == "done"
