"""Threads given to workers: submitted, answered, waited for, from outside and from the command line."""

import asyncio
import json
import signal
import time
from collections import Counter
from functools import partial

import pytest

from agent.errors import AnswerError, UsageError
from graphs.workers.client import open_queue
from planwave import answer, submit, wait
from tests.graphs.workers.worker_run import APPROVE, FAST, GRAPH, one_task, plan_of
from tests.support.command_line import CommandLine
from tests.support.forked_child import KILLED, Child, barrier


async def test_a_goal_is_submitted_run_asked_about_answered_and_ended(postgres_url, journal, workers):
    thread = await submit({"goal": "Go.", "plan": plan_of("a", gated=True)}, db=postgres_url)
    workers()
    out = await wait(thread, db=postgres_url, timeout_s=20)
    assert out["status"] == "awaiting_approval"
    assert journal.having("post") == []
    while out["status"] == "awaiting_approval":
        approvals = len(out["__interrupt__"][0].value["action_requests"])
        await answer(thread, {"decisions": [{"type": "approve"}] * approvals}, db=postgres_url)
        out = await wait(thread, db=postgres_url, timeout_s=60)
    assert out["status"] == "completed"
    assert {record["status"] for record in out["results"].values()} == {"done"}
    assert len(journal.having("post")) == len(journal.having("keep")) == 1


async def test_an_answer_is_given_while_nobody_runs_the_thread(postgres_url, journal, workers):
    thread = await submit(one_task("post", "a"), db=postgres_url, thread_id="mine")
    assert thread == "mine"
    with pytest.raises(AnswerError, match="Nothing on this thread waits"):
        await answer(thread, APPROVE, db=postgres_url)
    first = workers()
    await wait(thread, db=postgres_url, timeout_s=60)
    first.send(signal.SIGTERM)
    assert first.told() is None
    with pytest.raises(AnswerError, match="2 decisions"):
        await answer(thread, {"decisions": [{"type": "approve"}] * 2}, db=postgres_url)
    await answer(thread, APPROVE, db=postgres_url)
    await answer(thread, APPROVE, db=postgres_url)
    with pytest.raises(AnswerError, match="given first"):
        await answer(thread, {"decisions": [{"type": "reject"}]}, db=postgres_url)
    assert journal.having("post") == []
    workers()
    assert (await wait(thread, db=postgres_url, timeout_s=60))["status"] == "completed"
    await answer(thread, APPROVE, db=postgres_url)
    assert posted(journal) == ["a"]


async def test_three_answers_at_once_answer_one_question_and_not_the_next(postgres_url, journal, workers):
    tasks = [{"id": f"w{n}", "tool": "post", "args": {"name": f"w{n}"}} for n in (1, 2)]
    tasks[1]["depends_on"] = ["w1"]
    thread = await submit({"goal": "Go.", "plan": {"tasks": tasks}}, db=postgres_url)
    workers()
    out = await wait(thread, db=postgres_url, timeout_s=60)
    asked = [action["task_id"] for action in out["__interrupt__"][0].value["action_requests"]]
    await asyncio.gather(*(answer(thread, APPROVE, db=postgres_url) for _ in range(3)))
    out = await wait(thread, db=postgres_url, timeout_s=60)
    assert asked == ["w1"]
    assert out["status"] == "awaiting_approval"
    assert posted(journal) == ["w1"]


async def answer_often(url, names, together):
    """Give each thread the same answer, at the same time as others do; return what each met."""
    met = []
    async with open_queue(url) as threads:
        for name in names:
            together.wait(60)
            try:
                await threads.answer(name, APPROVE)
                met.append("taken")
            except AnswerError:
                met.append("refused")
    return met


@pytest.mark.parametrize(
    "count",
    [pytest.param(6, id="short"), pytest.param(1000, id="full", marks=[pytest.mark.slow, pytest.mark.timeout(3600)])],
)
async def test_three_people_answer_each_thread_at_once(postgres_url, journal, workers, count):
    names = [f"t{number}" for number in range(count)]
    running = [workers(slots=8) for _ in range(2)]
    async with open_queue(postgres_url) as threads:
        for name in names:
            await threads.submit(one_task("post", name), thread_id=name)
        for name in names:
            assert (await threads.wait(name, timeout_s=3000))["status"] == "awaiting_approval"
        together = barrier(3)
        people = [Child(answer_often, postgres_url, names, together) for _ in range(3)]
        told = [await asyncio.to_thread(person.told, 3000) for person in people]
        met = Counter(each for answers in told for each in answers)
        statuses = Counter([(await threads.wait(name, timeout_s=3000))["status"] for name in names])
    effects = Counter(posted(journal))
    print(f"\n{count} threads, three answers each at once: {sum(effects.values())} effects; {dict(met)}")
    assert (statuses, effects) == ({"completed": count}, dict.fromkeys(names, 1))
    assert all(each.alive for each in running)


async def test_input_that_no_graph_takes_is_refused_and_the_same_may_be_submitted_again(postgres_url):
    with pytest.raises(UsageError, match="goal is empty"):
        await submit({"goal": " "}, db=postgres_url)
    given = one_task("look", "a")
    assert await submit(given, db=postgres_url, thread_id="t") == "t"
    assert await submit(given, db=postgres_url, thread_id="t") == "t"
    with pytest.raises(UsageError, match="not finished"):
        await submit(one_task("look", "b"), db=postgres_url, thread_id="t")
    with pytest.raises(UsageError, match="no thread 'other'"):
        await wait("other", db=postgres_url)


async def test_a_file_and_a_missing_function_are_refused_in_a_sentence(tmp_path):
    with pytest.raises(UsageError, match="Workers need PostgreSQL"):
        await submit({"goal": "Go."}, db=f"sqlite:///{tmp_path}/a.db")
    command = CommandLine(tmp_path, data=tmp_path)
    at_nobody = ("worker", "--db", "postgresql://nobody@localhost:1/none", "--graph", "tests.nothing:build")
    ran = await asyncio.to_thread(command.here, *at_nobody)
    assert (ran.exit_code, "cannot be imported" in ran.stderr) == (2, True)


async def test_a_second_goal_is_run_on_a_thread_that_has_ended(postgres_url, journal, workers):
    workers()
    for name in ("a", "b"):
        await submit(one_task("look", name), db=postgres_url, thread_id="t")
        assert (await wait("t", db=postgres_url, timeout_s=60))["status"] == "completed"
    assert [line[1] for line in journal.having("look")] == ["a", "b"]


async def test_the_thread_of_a_killed_worker_is_taken_over(postgres_url, journal, workers):
    first = workers(WORKER_CALL_S="30")
    thread = await submit(one_task("look", "a"), db=postgres_url)
    await _noted(journal, "look", 1)
    first.send(signal.SIGKILL)
    assert first.told() is KILLED
    killed_at = time.monotonic()
    workers()
    assert (await wait(thread, db=postgres_url, timeout_s=60))["status"] == "completed"
    # Three seconds of silence count as death; the process has ended on this machine, which is seen at once.
    assert time.monotonic() - killed_at < 20


async def test_a_write_that_killed_its_worker_is_asked_about_and_not_made_again(postgres_url, journal, workers):
    workers()
    thread = await submit(one_task("post_and_die", "a"), db=postgres_url)
    await wait(thread, db=postgres_url, timeout_s=60)
    await answer(thread, APPROVE, db=postgres_url)
    await _noted(journal, "post", 1)
    workers()
    out = await wait(thread, db=postgres_url, timeout_s=60)
    assert "doubt" in out["__interrupt__"][0].value["action_requests"][0]
    await answer(thread, {"decisions": [{"type": "respond", "message": "posted a"}]}, db=postgres_url)
    assert (await wait(thread, db=postgres_url, timeout_s=60))["status"] == "completed"
    assert posted(journal) == ["a"]


async def test_a_thread_that_kills_its_workers_is_set_aside_and_others_are_not(postgres_url, journal, workers):
    poison = await submit(one_task("die", "a"), db=postgres_url)
    started = 0
    async with open_queue(postgres_url) as threads:
        while (await threads.load(poison)).state == "queued" and started < 6:
            child = workers()
            started += 1
            await _until(partial(_over, child, threads, poison))
        out = await threads.wait(poison, timeout_s=5)
    # Two workers died with it; the third ran it in a process of its own, and lives.
    assert (started, len(journal.having("die")), child.alive) == (3, 3, True)
    assert out["status"] == "failed"
    assert "died 3 times" in out["problems"][-1]
    healthy = await submit(one_task("look", "b"), db=postgres_url)
    assert (await wait(healthy, db=postgres_url, timeout_s=60))["status"] == "completed"


async def test_a_thread_is_left_to_the_worker_that_has_its_tools(postgres_url, journal, workers, tmp_path):
    reader = workers(graph="tests.graphs.workers.worker_run:build_reader")
    thread = await submit(one_task("post", "a"), db=postgres_url)
    command = CommandLine(tmp_path, data=tmp_path)
    async with open_queue(postgres_url) as threads:
        await _until(lambda: _explained(threads, thread))
        said = await listed(command, postgres_url)
        assert said["explained"] == {thread: "no live worker has 'post'"}
        assert [(each["state"], each["tools"]) for each in said["workers"]] == [("alive", ["look"])]
        workers()
        out = await threads.wait(thread, timeout_s=60)
    assert out["status"] == "awaiting_approval"
    assert reader.alive


async def test_a_worker_that_is_told_to_stop_hands_its_threads_over(postgres_url, journal, workers):
    first = workers(WORKER_CALL_S="30")
    thread = await submit(one_task("look", "a"), db=postgres_url)
    await _noted(journal, "look", 1)
    first.send(signal.SIGTERM)
    told_at = time.monotonic()
    assert first.told() is None
    # One second of grace for its call, and what it takes to store the rest.
    assert time.monotonic() - told_at < 15
    workers()
    assert (await wait(thread, db=postgres_url, timeout_s=60))["status"] == "completed"
    assert len({line[2] for line in journal.having("look")}) == 2


def test_the_command_line_submits_answers_and_lists(postgres_url, journal, tmp_path, workers):
    command = CommandLine(tmp_path, data=tmp_path)
    plan = command.plan_file({"id": "w", "tool": "post", "args": {"name": "a"}})
    ran = command.here("submit", "Go.", "--plan", plan, "--thread", "t", "--db", postgres_url)
    assert (ran.exit_code, ran.stdout) == (0, "t\n")
    for words in (("show", "t"), ("threads",)):
        ran = command.here(*words, "--db", postgres_url, "--json")
        shown = json.loads(ran.stdout)
        shown = shown if "status" in shown else shown["threads"][0]
        assert (shown["status"], shown["goal"], shown["thread_id"]) == ("queued", "Go.", "t")
    workers()
    ran = command.here("run", "Go.", "--queue", "--plan", plan, "--db", postgres_url, "--json")
    assert (ran.exit_code, json.loads(ran.stdout)["status"]) == (3, "awaiting_approval")
    for name, how in (("t", ("--approve", "w")), (json.loads(ran.stdout)["thread_id"], ("--yes",))):
        ran = command.here("resume", name, *how, "--db", postgres_url, "--json")
        assert (ran.exit_code, json.loads(ran.stdout)["status"]) == (0, "completed")
    assert len(journal.having("post")) == 2
    said = asyncio.run(listed(command, postgres_url))
    assert said["depth"] == {"queued": 0, "running": 0, "waiting": 0, "ended": 2, "set_aside": 0}
    ran = command.here("run", "Go.", "--queue", "--max-tasks", "3", "--db", postgres_url)
    assert (ran.exit_code, "--max-tasks is the worker's to choose" in ran.stderr) == (2, True)


def test_planwave_worker_works_until_it_is_told_to_stop(postgres_url, journal, tmp_path):
    command = CommandLine(tmp_path, data=tmp_path)
    env = {**FAST, "WORKER_JOURNAL": str(journal.path)}
    running = command.apart("worker", "--db", postgres_url, "--graph", GRAPH, "--slots", "2", env=env)
    assert "runs up to 2 threads at a time" in running.stdout.readline()
    thread = asyncio.run(submit(one_task("look", "a"), db=postgres_url))
    assert asyncio.run(wait(thread, db=postgres_url, timeout_s=60))["status"] == "completed"
    running.send_signal(signal.SIGTERM)
    out, errors = running.communicate(timeout=60)
    assert (running.returncode, "Stopped" in out, errors) == (0, True, "")


def posted(journal):
    return [line[1] for line in journal.having("post")]


async def listed(command, url):
    """Return what `planwave workers` says."""
    return json.loads((await asyncio.to_thread(command.here, "workers", "--db", url, "--json")).stdout)


async def _noted(journal, word, count):
    await _until(lambda: asyncio.sleep(0, len(journal.having(word)) >= count))


async def _explained(threads, thread):
    return (await threads.load(thread)).reason is not None


async def _over(child, threads, thread):
    return not child.alive or (await threads.load(thread)).state != "queued"


async def _until(look, timeout_s=60):
    end = time.monotonic() + timeout_s
    while not await look():
        assert time.monotonic() < end
        await asyncio.sleep(0.02)
