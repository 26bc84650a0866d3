"""What every log of calls keeps: in memory, in SQLite, in PostgreSQL, encrypted."""

import pytest

from agent.errors import PersistenceError, ThreadBusyError
from agent.execution.call_log import LoggedCall, MemoryCallLog
from graphs.persistence import open_persistence

DONE = {"status": "done", "output": {"big": 2**70, "text": "ü"}, "attempts": 2, "started_at": None}


def call(task="w", *, thread="t", revision=1, item=None, tool="look", mark="m", record=None, attempts=1):
    return LoggedCall(
        thread=thread, revision=revision, task=task, item=item, tool=tool, mark=mark, attempts=attempts, record=record
    )


@pytest.fixture(params=["memory", "sqlite", "postgresql", "encrypted"])
async def log(request, tmp_path):
    if request.param == "memory":
        yield MemoryCallLog()
        return
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else f"sqlite:///{tmp_path}/l.db"
    async with open_persistence(url, key=bytes(32) if request.param == "encrypted" else None) as persistence:
        yield persistence.calls


async def test_a_call_is_found_as_it_was_noted_last(log):
    await log.save_calls([call(item=0), call(item=1, attempts=3)])
    await log.save_calls([call(item=1, record=DONE)])
    assert await log.load_task_calls("t", revision=1, task="w", tool="look") == [
        call(item=0),
        call(item=1, record=DONE),
    ]


async def test_the_calls_of_other_tasks_count_once_an_earlier_revision_ended_them(log):
    own, other = call(item=0, revision=2, record=DONE), call("v", revision=2, item=0, record=DONE)
    ended, begun = call("u", item=0, record=DONE), call("u", item=1)
    of_another_tool, of_another_thread = call("x", tool="write", record=DONE), call("u", thread="s", record=DONE)
    await log.save_calls([own, other, ended, begun, of_another_tool, of_another_thread])
    assert await log.load_task_calls("t", revision=2, task="w", tool="look") == [ended, own]


async def test_calls_that_are_tried_again_are_found_by_their_revision(log):
    again, item = call("a", attempts=2), call("b", item=4)
    await log.save_calls([again, item, call("c", record=DONE), call("d", revision=2), call("e", thread="s")])
    assert await log.load_retryable_calls("t", revision=1) == [again, item]


async def test_what_is_forgotten_is_gone_and_nothing_else(log):
    calls = [call("a", record=DONE), call("b", record=DONE), call("b", revision=2), call("a", thread="s")]
    await log.save_calls(calls)
    await log.delete_calls("t", ["a"])
    assert await log.load_task_calls("t", revision=3, task="-", tool="look") == [calls[1]]
    assert await log.load_retryable_calls("t", revision=2) == [calls[2]]
    await log.delete_calls("t")
    assert await log.load_task_calls("t", revision=3, task="-", tool="look") == []
    assert await log.load_retryable_calls("s", revision=1) == [calls[3]]


async def test_a_deleted_thread_leaves_no_calls_and_a_busy_one_takes_none(database_url):
    async with open_persistence(database_url) as stored, open_persistence(database_url) as other:
        async with stored.lease("t"):
            await stored.calls.save_calls([call(record=DONE)])
            with pytest.raises(ThreadBusyError):
                await other.calls.save_calls([call("x")])
        await stored.saver.adelete_thread("t")
        assert await stored.calls.load_task_calls("t", revision=9, task="-", tool="look") == []


async def test_a_call_stored_under_another_key_is_not_believed(tmp_path):
    url = f"sqlite:///{tmp_path}/l.db"
    async with open_persistence(url) as plain:
        await plain.calls.save_calls([call(record=DONE)])
    async with open_persistence(url, key=bytes(32)) as sealed:
        with pytest.raises(PersistenceError, match="is not encrypted, although a key is set"):
            await sealed.calls.load_task_calls("t", revision=1, task="w", tool="look")
