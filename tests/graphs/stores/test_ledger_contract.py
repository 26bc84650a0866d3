"""What every ledger keeps: in memory, in SQLite, in PostgreSQL, encrypted."""

import asyncio
import random
from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

from agent.errors import StaleClaimError
from agent.execution.ledger import Claimed, FoundDone, FoundStarted, Grant, Intent, MemoryLedger, NotApproved
from graphs.persistence import open_persistence

SEED = 20261121


def intent(task="w", *, thread="t", revision=1, item=None, args="digest", approval=None):
    return Intent(
        thread=thread,
        revision=revision,
        task=task,
        item=item,
        tool="write",
        args_digest=args,
        approval=approval,
        is_approval_waived=approval is None,
    )


def approval(digest="A", task="w", *, thread="t", revision=1, after_s=None):
    until = None if after_s is None else (datetime.now(UTC) + timedelta(seconds=after_s)).isoformat()
    return Grant(digest=digest, thread=thread, revision=revision, task=task, expires_at=until, by="tester")


@pytest.fixture(params=["memory", "sqlite", "postgresql", "encrypted"])
async def ledger(request, tmp_path):
    if request.param == "memory":
        yield MemoryLedger()
        return
    url = request.getfixturevalue("postgres_url") if request.param == "postgresql" else f"sqlite:///{tmp_path}/l.db"
    async with open_persistence(url, key=bytes(32) if request.param == "encrypted" else None) as persistence:
        yield persistence.ledger


async def test_a_call_is_claimed_once_and_its_record_found_after(ledger):
    assert await ledger.claim(intent()) == Claimed(epoch=1)
    found = await ledger.claim(intent())
    assert isinstance(found, FoundStarted)
    assert found.epoch == 1
    assert datetime.fromisoformat(found.since).tzinfo is not None
    assert found.owner
    record = {"output": {"big": 2**70, "list": [1, None, "ü"]}, "status": "done"}
    await ledger.complete(intent(), epoch=1, record=record)
    assert await ledger.claim(intent()) == FoundDone(record=record)
    assert await ledger.claim(intent(), takeover_epoch=1) == FoundDone(record=record)


async def test_of_many_claims_at_once_one_is_granted(ledger):
    found = await asyncio.gather(*(ledger.claim(intent()) for _ in range(20)))
    assert Counter(type(one) for one in found) == {Claimed: 1, FoundStarted: 19}


async def test_threads_revisions_tasks_and_items_are_different_calls(ledger):
    calls = [
        intent(),
        intent(thread="t:1"),
        intent(revision=2),
        intent("w2"),
        intent(item=0),
        intent(item=1),
        intent("w:0"),
    ]
    for call in calls:
        assert await ledger.claim(call) == Claimed(epoch=1)
    assert [row.intent for row in await ledger.list_rows("t")] == sorted(
        (call for call in calls if call.thread == "t"), key=lambda call: call.key
    )


async def test_another_call_under_the_same_key_is_not_made(ledger):
    await ledger.claim(intent())
    found = await ledger.claim(intent(args="other"))
    assert isinstance(found, NotApproved)
    assert "'w'" in found.reason


async def test_without_its_approval_nothing_is_written(ledger):
    found = await ledger.claim(intent(approval="A"))
    assert isinstance(found, NotApproved)
    assert found.reason.endswith(".")
    assert await ledger.list_rows("t") == []


async def test_an_approval_is_used_up_by_one_claim(ledger):
    await ledger.grant([approval("A"), approval("B", "x")])
    assert await ledger.find_usable_grants(["A", "B", "C"]) == {"A", "B"}
    assert await ledger.claim(intent(approval="A")) == Claimed(epoch=1)
    assert await ledger.find_usable_grants(["A", "B"]) == {"B"}
    await ledger.grant([approval("A")])
    assert await ledger.find_usable_grants(["A", "B"]) == {"B"}


@pytest.mark.parametrize("other", [{"task": "x"}, {"revision": 2}, {"thread": "u"}])
async def test_an_approval_of_another_task_covers_nothing(ledger, other):
    await ledger.grant([approval("A")])
    assert isinstance(await ledger.claim(intent(**other, approval="A")), NotApproved)
    assert await ledger.find_usable_grants(["A"]) == {"A"}


async def test_an_expired_approval_covers_nothing_until_it_is_given_again(ledger):
    await ledger.grant([approval("A", after_s=-1)])
    assert await ledger.find_usable_grants(["A"]) == set()
    found = await ledger.claim(intent(approval="A"))
    assert isinstance(found, NotApproved)
    assert "expired" in found.reason
    assert await ledger.list_rows("t") == []
    await ledger.grant([approval("A", after_s=60)])
    assert await ledger.claim(intent(approval="A")) == Claimed(epoch=1)


async def test_an_approval_covers_all_items_of_its_task_and_a_second_try_even_after_its_time(ledger):
    await ledger.grant([approval("A", after_s=0.3)])
    assert await ledger.claim(intent(item=0, approval="A")) == Claimed(epoch=1)
    await asyncio.sleep(0.35)
    assert await ledger.claim(intent(item=1, approval="A")) == Claimed(epoch=1)
    assert await ledger.claim(intent(item=0, approval="A"), takeover_epoch=1, clearance="test") == Claimed(epoch=2)


async def test_one_of_many_takes_a_started_call_over(ledger):
    await ledger.claim(intent())
    found = await asyncio.gather(*(ledger.claim(intent(), takeover_epoch=1, clearance="test") for _ in range(10)))
    assert [one for one in found if isinstance(one, Claimed)] == [Claimed(epoch=2)]
    assert {one.epoch for one in found} == {2}


async def test_only_the_claim_at_the_current_epoch_completes(ledger):
    with pytest.raises(StaleClaimError):
        await ledger.complete(intent(), epoch=1, record={})
    await ledger.claim(intent())
    await ledger.claim(intent(), takeover_epoch=1, clearance="test")
    with pytest.raises(StaleClaimError):
        await ledger.complete(intent(), epoch=1, record={"of": "the first"})
    await ledger.complete(intent(), epoch=2, record={"of": "the second"})
    await ledger.complete(intent(), epoch=2, record={"of": "nobody"})
    assert await ledger.claim(intent()) == FoundDone(record={"of": "the second"})


async def test_a_write_without_an_approval_is_refused_unless_the_run_waives_it(ledger):
    bare = intent().model_copy(update={"is_approval_waived": False})
    found = await ledger.claim(bare)
    assert isinstance(found, NotApproved)
    assert "approved" in found.reason
    assert await ledger.list_rows("t") == []
    await ledger.claim(intent())
    found = await ledger.claim(bare, takeover_epoch=1, clearance="test")
    assert isinstance(found, NotApproved)
    assert [row.epoch for row in await ledger.list_rows("t")] == [1]


async def test_a_doubt_is_cleared_for_one_attempt_at_that_call(ledger):
    await ledger.claim(intent())
    assert isinstance(await ledger.claim(intent(), takeover_epoch=1), FoundStarted)
    await ledger.clear_doubt(intent(args="other"), epoch=1, by="a human")
    await ledger.clear_doubt(intent(), epoch=2, by="a human")
    assert isinstance(await ledger.claim(intent(), takeover_epoch=1), FoundStarted)
    await ledger.clear_doubt(intent(), epoch=1, by="a human")
    found = await ledger.claim(intent())
    assert isinstance(found, FoundStarted)
    assert found.cleared_by == "a human"
    assert await ledger.claim(intent(), takeover_epoch=1) == Claimed(epoch=2)
    again = await ledger.claim(intent(), takeover_epoch=2)
    assert isinstance(again, FoundStarted)
    assert again.cleared_by is None
    await ledger.clear_doubt(intent(), epoch=1, by="a human")
    assert isinstance(await ledger.claim(intent(), takeover_epoch=2), FoundStarted)
    [row] = await ledger.list_rows("t")
    assert (row.epoch, row.cleared_epoch, row.cleared_by) == (2, 1, "a human")


async def test_there_must_be_something_to_take_over(ledger):
    with pytest.raises(StaleClaimError):
        await ledger.claim(intent(), takeover_epoch=1)
    assert await ledger.list_rows("t") == []


async def test_a_forgotten_thread_leaves_nothing_and_others_everything(ledger):
    await ledger.grant([approval("A"), approval("B", thread="u")])
    await ledger.claim(intent(approval="A"))
    await ledger.claim(intent(thread="u", approval="B"))
    await ledger.delete_thread("t")
    assert await ledger.list_rows("t") == []
    assert isinstance(await ledger.claim(intent(approval="A")), NotApproved)
    assert len(await ledger.list_rows("u")) == 1


async def _play(ledger, chance):
    """Return what a random play of operations answers, without times and owners."""
    heard = []
    for _ in range(30):
        call = intent(
            chance.choice("vw"),
            item=chance.choice([None, 0]),
            args=chance.choice(["d", "d", "d", "e"]),
            approval=chance.choice([None, "A", "B"]),
        )
        try:
            match chance.randrange(6):
                case 5:
                    await ledger.clear_doubt(call, epoch=chance.randint(1, 3), by="somebody")
                case 0:
                    await ledger.grant([approval("A", after_s=chance.choice([None, -1])), approval("B", "v")])
                    heard.append(sorted(await ledger.find_usable_grants(["A", "B"])))
                case 1:
                    await ledger.complete(call, epoch=chance.randint(1, 3), record={"n": chance.randrange(9)})
                case 2:
                    heard.append(
                        (
                            await ledger.claim(
                                call, takeover_epoch=chance.randint(1, 3), clearance=chance.choice([None, "play"])
                            )
                        ).model_dump(exclude={"since", "owner", "reason"})
                    )
                case _:
                    heard.append((await ledger.claim(call)).model_dump(exclude={"since", "owner", "reason"}))
        except StaleClaimError:
            heard.append("stale")
    rows = [row.model_dump(exclude={"since", "owner", "finished_at"}) for row in await ledger.list_rows("t")]
    await ledger.delete_thread("t")
    return heard, rows


async def test_all_ledgers_answer_a_random_play_alike(ledger):
    plays = 15
    for number in range(plays):
        seed = f"{SEED} {number}"
        chances = random.Random(seed), random.Random(seed)  # noqa: S311 - a reproducible play
        assert await _play(ledger, chances[0]) == await _play(MemoryLedger(), chances[1]), seed
    print(f"seed {SEED}: {plays} plays of 30 operations alike")
