"""Runs that come to a bound: a person asked and answering, in both dispatch modes, over restarts and wrong answers."""

import json
import signal

import pytest
from langchain_core.language_models.fake_chat_models import FakeListChatModel
from langchain_openai import ChatOpenAI
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command
from pydantic import TypeAdapter

from agent.errors import AnswerError
from agent.settings import Settings
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from tests.support.openai_endpoint import Endpoint, Failure
from tests.support.processes import start
from tests.support.worlds import APPROVE, World, ref, thread

MODES = pytest.mark.parametrize("dispatch", ["eager", "wave"])


def look(task, value, **more):
    return {"id": task, "tool": "look", "args": {"value": value}, **more}


def plan_of(*tasks):
    return {"tasks": list(tasks)}


def edit(**args):
    return {"decisions": [{"type": "edit", "edited_action": {"name": "go_on", "args": args}}]}


def respond(words):
    return {"decisions": [{"type": "respond", "message": words}]}


def reject(words=""):
    return {"decisions": [{"type": "reject", "message": words}]}


@pytest.fixture
def world():
    return World()


def graph_of(world, *replies, saver=None, **settings):
    texts = [reply if isinstance(reply, str) else json.dumps(reply) for reply in replies]
    model = FakeListChatModel(responses=texts) if texts else None
    return build_graph(
        tools=world.tools(), model=model, settings=Settings(**settings), checkpointer=saver or InMemorySaver()
    )


def impasse(out):
    assert out["status"] == "awaiting_approval", out.get("problems")
    [asked] = out["__interrupt__"]
    return asked.value


KEPT = look("k", 7)
FAILS = [plan_of(KEPT, look("a", n)) for n in range(1, 9)]


@MODES
async def test_at_the_bound_guidance_is_one_more_replan_that_reads_it(world, dispatch):
    world.failing = {1, 2}
    graph = graph_of(world, *FAILS[:3], "7 [k].", dispatch=dispatch, max_replans=1)
    asked = impasse(await graph.ainvoke({"goal": "look"}, thread()))
    assert "1 replans were not enough" in asked["action_requests"][0]["description"]
    assert asked["escalation"]["budget"] == {"name": "replans", "limit": 1, "used": 1}
    assert asked["impasse"] == asked["escalation"]
    out = await graph.ainvoke(Command(resume=respond("Try 3.")), thread())
    assert (out["status"], out["replans"]) == ("completed", 2)
    assert world.log.count(("look", 7)) == 1
    assert [value for _, value in world.log] == [7, 1, 2, 3]


async def test_what_is_asked_is_a_request_of_langchains_that_front_ends_know(world):
    middleware = pytest.importorskip("langchain.agents.middleware.human_in_the_loop")
    world.failing = {1, 2}
    asked = impasse(await graph_of(world, *FAILS, max_replans=1).ainvoke({"goal": "look"}, thread()))
    read = TypeAdapter(middleware.HITLRequest).validate_python(asked)
    [action], [config] = read["action_requests"], read["review_configs"]
    assert (action["name"], action["args"]) == ("go_on", {"choice": "raise", "by": 1})
    assert config["allowed_decisions"] == ["approve", "edit", "respond", "reject"]
    for decision in (APPROVE, respond("Try 3."), reject("No."), edit(choice="accept")):
        TypeAdapter(middleware.HITLResponse).validate_python(decision)


async def test_the_replanner_is_told_the_guidance_the_failed_calls_and_the_previews(world):
    world.failing = {1, 2}
    with Endpoint([*FAILS[:3], "7 [k]."]) as endpoint:
        model = ChatOpenAI(model="scripted", base_url=endpoint.url, api_key="sk-test", timeout=10)
        graph = build_graph(
            tools=world.tools(), model=model, settings=Settings(max_replans=1), checkpointer=InMemorySaver()
        )
        await graph.ainvoke({"goal": "look at seven"}, thread())
        out = await graph.ainvoke(Command(resume=respond("Try 3.")), thread())
        told = endpoint.requests[2].text
    assert out["status"] == "completed"
    for part in ("look at seven", '{"value": 7}', "nothing at 2", 'look {"value": 1}', "nothing at 1", "- Try 3."):
        assert part in told


@MODES
async def test_a_raised_bound_allows_as_many_more_and_no_more(world, dispatch):
    world.failing = set(range(1, 7))
    graph = graph_of(world, *FAILS, dispatch=dispatch, max_replans=1)
    await graph.ainvoke({"goal": "look"}, thread())
    asked = impasse(await graph.ainvoke(Command(resume=edit(choice="raise", by=2)), thread()))
    assert asked["impasse"]["budget"] == {"name": "replans", "limit": 3, "used": 3}
    asked = impasse(await graph.ainvoke(Command(resume=APPROVE), thread()))
    assert asked["impasse"]["budget"] == {"name": "replans", "limit": 4, "used": 4}
    assert len(world.log) == 1 + 5


async def test_accepted_results_are_answered_from_and_nothing_is_undone(world):
    world.failing = {1, 2}
    write = {"id": "w", "tool": "write", "args": {"value": 5}, "rollback": {"tool": "erase", "args": {"value": 5}}}
    plans = [plan_of(write, look("a", n, depends_on=["w"])) for n in (1, 2)]
    graph = graph_of(world, *plans, "5 was written [w].", max_replans=1)
    await graph.ainvoke({"goal": "write 5"}, thread())
    asked = impasse(await graph.ainvoke(Command(resume=APPROVE), thread()))
    assert asked["impasse"]["kind"] == "budget"
    out = await graph.ainvoke(Command(resume=edit(choice="accept")), thread())
    assert out["status"] == "failed"
    assert out["answer"].startswith("A person chose to end with what there is.")
    assert out["answer"].endswith("5 was written [w].")
    assert ("erase", 5) not in world.log
    assert out["results"]["w"]["status"] == "done"
    assert out["budget"] is None


async def test_an_abort_undoes_what_was_written(world):
    world.failing = {1, 2}
    write = {"id": "w", "tool": "write", "args": {"value": 5}, "rollback": {"tool": "erase", "args": {"value": 5}}}
    plans = [plan_of(write, look("a", n, depends_on=["w"])) for n in (1, 2)]
    graph = graph_of(world, *plans, max_replans=1)
    await graph.ainvoke({"goal": "write 5"}, thread())
    await graph.ainvoke(Command(resume=APPROVE), thread())
    out = await graph.ainvoke(Command(resume=reject("Leave it.")), thread())
    assert out["__interrupt__"][0].value["action_requests"][0]["name"] == "erase"
    out = await graph.ainvoke(Command(resume=APPROVE), thread())
    assert (out["status"], out["rollback"]["undone"]) == ("cancelled", ["w"])
    assert "A person ended the run: Leave it." in out["answer"]


async def test_the_same_failure_and_a_plan_without_progress_are_put_to_a_person_too(world):
    world.failing = {1}
    renamed = plan_of(look("b", 1, description="again"), look("c", ref("b", "value")))
    graph = graph_of(world, FAILS[0], renamed, renamed, renamed, renamed, FAILS[2], "7 [k].", max_repairs=1)
    asked = impasse(await graph.ainvoke({"goal": "look"}, thread()))
    assert asked["impasse"]["kind"] == "no_way_on"
    assert "makes exactly the call that failed" in asked["impasse"]["reason"]
    asked = impasse(await graph.ainvoke(Command(resume=respond("Rename it.")), thread()))
    assert asked["impasse"]["kind"] == "no_way_on"
    out = await graph.ainvoke(Command(resume=APPROVE), thread())
    assert (out["status"], out["replans"]) == ("completed", 3)
    assert world.log.count(("look", 1)) == 1


async def test_a_transient_failure_that_comes_again_is_the_same_failure():
    class Flaky(World):
        async def look(self, value):
            self.log.append(("look", value))
            raise TimeoutError("no answer")

    world = Flaky()
    again = plan_of(look("b", 1))
    graph = graph_of(world, plan_of(look("a", 1)), again, plan_of(look("c", 1)), default_retries=0)
    asked = impasse(await graph.ainvoke({"goal": "look"}, thread()))
    assert asked["impasse"]["kind"] == "same_failure"
    asked = impasse(await graph.ainvoke(Command(resume=APPROVE), thread()))
    assert (asked["impasse"]["kind"], len(world.log)) == ("same_failure", 3)


@pytest.mark.parametrize("unattended", [{"approve": "never"}, {"escalate": False}])
async def test_unattended_the_run_ends_with_partial_results(world, unattended):
    world.failing = {1, 2}
    out = await graph_of(world, *FAILS, max_replans=1, **unattended).ainvoke({"goal": "look"}, thread())
    assert out["status"] == "failed"
    assert out["budget"] == {"name": "replans", "limit": 1, "used": 1}
    assert out["results"]["k"]["output"] == {"value": 7}


async def test_without_a_checkpointer_nobody_can_be_asked(world):
    world.failing = {1, 2}
    for config in (None, thread()):
        model = FakeListChatModel(responses=[json.dumps(plan) for plan in FAILS])
        graph = build_graph(tools=world.tools(), model=model, settings=Settings(max_replans=1))
        out = await graph.ainvoke({"goal": "look"}, config)
        assert (out["status"], out["budget"]["name"]) == ("failed", "replans")


async def test_a_given_plan_without_a_model_fails_unasked(world, monkeypatch):
    for name in ("PLANWAVE_MODEL", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    world.failing = {1}
    out = await graph_of(world).ainvoke({"goal": "g", "plan": FAILS[0]}, thread())
    assert (out["status"], out["budget"]) == ("failed", None)


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (edit(choice="more"), "choice"),
        (edit(choice="raise", by=-1), "by"),
        (edit(choice="guide"), "needs 'guidance'"),
        (respond(" "), "is empty"),
        ({"decisions": [{"type": "approve", "digest": "0" * 64}]}, "another call"),
        ({"decisions": [{"type": "approve"}, {"type": "approve"}]}, "1 calls wait"),
    ],
)
async def test_a_wrong_answer_is_named_and_changes_nothing(world, answer, says):
    world.failing = {1, 2}
    graph = graph_of(world, *FAILS[:3], "7 [k].", max_replans=1)
    await graph.ainvoke({"goal": "look"}, thread())
    before = (await graph.aget_state(thread())).config
    assert says in impasse(await graph.ainvoke(Command(resume=answer), thread()))["error"]
    assert (await graph.aget_state(thread())).config == before
    assert (await graph.ainvoke(Command(resume=APPROVE), thread()))["status"] == "completed"
    assert (await graph.ainvoke(Command(resume=APPROVE), thread()))["status"] == "completed"
    with pytest.raises(AnswerError, match="Nothing on this thread waits"):
        await graph.ainvoke(Command(resume={"decisions": [{"type": "reject", "message": "no"}]}), thread())


async def test_an_answer_to_an_earlier_impasse_does_not_answer_a_later_one(world):
    world.failing = set(range(1, 7))
    graph = graph_of(world, *FAILS, max_replans=1)
    first = impasse(await graph.ainvoke({"goal": "look"}, thread()))
    stale = {"decisions": [{"type": "approve", "digest": first["action_requests"][0]["digest"]}]}
    second = impasse(await graph.ainvoke(Command(resume=stale), thread()))
    assert second["action_requests"][0]["digest"] != first["action_requests"][0]["digest"]
    third = impasse(await graph.ainvoke(Command(resume=stale), thread()))
    assert "another call" in third["error"]


def decided(reason, **decision):
    return {"reason": reason, "decision": decision}


ASKS = decided("It is not said.", action="ask", question="Which number?")
RETRIES = decided("As told.", action="retry", changes=[{"task": "a", "tool": "look", "args": {"value": 3}}], skip=[])


@MODES
async def test_the_replanner_asks_and_is_told_the_answer(world, dispatch):
    world.failing = {1}
    with Endpoint([ASKS, RETRIES, "7 [k]."]) as endpoint:
        model = ChatOpenAI(model="scripted", base_url=endpoint.url, api_key="sk-test", timeout=10)
        graph = build_graph(
            tools=world.tools(), model=model, settings=Settings(dispatch=dispatch), checkpointer=InMemorySaver()
        )
        asked = impasse(await graph.ainvoke({"goal": "g", "plan": FAILS[0]}, thread()))
        assert asked["action_requests"][0]["args"] == {"question": "Which number?"}
        assert asked["review_configs"][0]["allowed_decisions"] == ["respond", "reject"]
        assert "'approve' is not allowed" in impasse(await graph.ainvoke(Command(resume=APPROVE), thread()))["error"]
        out = await graph.ainvoke(Command(resume=respond("Three.")), thread())
        told = endpoint.requests[1].text
    assert (out["status"], out["replans"]) == ("completed", 1)
    assert "- Which number? Answer: Three." in told
    assert [value for _, value in world.log] == [7, 1, 3]


async def test_questions_are_bounded_and_offered_to_nobody_where_nobody_answers(world):
    world.failing = {1}
    retry = [RETRIES, "7 [k]."]
    for settings, ways in (({"max_questions": 1}, [True, False]), ({"approve": "never"}, [False])):
        world.log.clear()
        script = [ASKS, *retry] if ways[0] else retry
        with Endpoint(script) as endpoint:
            model = ChatOpenAI(model="scripted", base_url=endpoint.url, api_key="sk-test", timeout=10)
            graph = build_graph(
                tools=world.tools(), model=model, settings=Settings(**settings), checkpointer=InMemorySaver()
            )
            out = await graph.ainvoke({"goal": "g", "plan": FAILS[0]}, thread())
            if ways[0]:
                out = await graph.ainvoke(Command(resume=reject("I do not know.")), thread())
                assert "There is no answer to that; decide without. I do not know." in endpoint.requests[1].text
            asks = ["- ask: put one question" in request.text for request in endpoint.requests[: len(ways)]]
        assert (asks, out["status"]) == (ways, "completed")


async def test_a_model_that_is_silent_is_put_to_a_person_and_asked_again(world):
    world.failing = {1}
    with Endpoint([Failure(401), RETRIES, "7 [k]."]) as endpoint:
        model = ChatOpenAI(model="scripted", base_url=endpoint.url, api_key="sk-test", timeout=10, max_retries=0)
        graph = build_graph(tools=world.tools(), model=model, settings=Settings(), checkpointer=InMemorySaver())
        asked = impasse(await graph.ainvoke({"goal": "g", "plan": FAILS[0]}, thread()))
        assert asked["impasse"]["kind"] == "no_way_on"
        out = await graph.ainvoke(Command(resume=APPROVE), thread())
    assert (out["status"], out["replans"]) == ("completed", 2)


@MODES
async def test_the_difference_is_stored_and_work_is_reused_under_another_id(world, dispatch):
    world.failing = {1}
    other = plan_of(look("k2", 7), look("a2", ref("k2", "value")))
    graph = graph_of(world, plan_of(KEPT, look("a", 1)), other, "7 [k2].", dispatch=dispatch)
    out = await graph.ainvoke({"goal": "look"}, thread())
    assert out["status"] == "completed"
    assert out["results"]["k2"]["reused_from"] == "k"
    values = (await graph.aget_state(thread())).values
    assert values["plan_changes"] == {"kept": ["k"], "changed": [], "new": ["k2", "a2"], "dropped": ["a"]}
    assert world.log.count(("look", 7)) == 2  # `k`, then `a2`, which is another piece of work


@pytest.mark.parametrize(("dispatch", "when"), [("eager", "answered"), ("wave", "asked")])
async def test_a_process_killed_in_an_escalation_leaves_it_as_it_was(database_url, dispatch, when):
    """Killed while it asks, and right after the answer is stored: asked again or gone on, the answer counted once."""
    process = start("graphs.escalations.escalated_run", database_url, dispatch, when)
    assert process.wait(60) == -signal.SIGKILL
    world = World()
    world.failing = {1, 2}
    async with open_persistence(database_url) as stored:
        model = FakeListChatModel(responses=[json.dumps(FAILS[2]), "7 [k]."])
        graph = build_graph(
            tools=world.tools(),
            model=model,
            settings=Settings(dispatch=dispatch, max_replans=1),
            persistence=stored,
        )
        state = await graph.aget_state(thread())
        assert bool(state.interrupts) is (when == "asked")
        given = Command(resume=respond("Try 3.")) if when == "asked" else None
        out = await graph.ainvoke(given, thread())
        values = (await graph.aget_state(thread())).values
    assert (out["status"], out["replans"]) == ("completed", 2)
    assert world.log == [("look", 3)]
    assert values["guidance"] == ["Try 3."]
