"""Phases: their order, how far each is, and which is current."""

from agent.core.engine.outcomes import Cancelled, Done, Failed, InDoubt, Rejected, Skipped
from agent.core.engine.progress import compute_phase_progress, current_phase
from tests.support.plans import compiled_of

DONE, FAILED = Done(revision=1), Failed(revision=1, kind="tool", error="It broke.")
SKIPPED, CANCELLED = Skipped(revision=1, because="No."), Cancelled(revision=1)
PLAN = compiled_of(
    {"id": "a", "tool": "free", "phase": "collect"},
    {"id": "b", "tool": "free", "phase": "collect", "depends_on": ["a"]},
    {"id": "c", "tool": "free", "phase": "extra"},
    {"id": "d", "tool": "free", "phase": "report"},
    {"id": "e", "tool": "free"},
    phases={"collect": "Read what is there", "report": "Write it down", "later": "Nothing yet"},
)


def found(**outcomes):
    return compute_phase_progress(PLAN, outcomes)


def test_described_phases_come_first_in_their_order():
    assert [(phase["name"], phase["description"], phase["tasks"]) for phase in found()] == [
        ("collect", "Read what is there", ["a", "b"]),
        ("report", "Write it down", ["d"]),
        ("later", "Nothing yet", []),
        ("extra", "", ["c"]),
    ]


def test_how_far_each_phase_is():
    phases = found(a=DONE, c=FAILED)
    assert [(phase["percentage"], phase["is_complete"]) for phase in phases] == [
        (50.0, False),
        (0.0, False),
        (100.0, True),
        (0.0, False),
    ]
    assert current_phase(phases) == "collect"


def test_a_cancelled_or_skipped_task_and_what_rests_on_it_does_not_block_a_phase():
    assert current_phase(found(a=DONE, b=CANCELLED)) == "report"
    assert current_phase(found(a=SKIPPED)) == "report"
    assert current_phase(found(a=CANCELLED)) == "report"


def test_what_failed_blocks_a_phase():
    doubt = InDoubt(revision=1, doubts=())
    for outcome in (FAILED, Rejected(revision=1), doubt):
        assert current_phase(found(a=outcome)) == "collect"
        assert current_phase(found(a=DONE, b=outcome)) == "collect"


def test_no_phase_is_current_in_the_end_or_without_phases():
    assert current_phase(found(a=DONE, b=DONE, c=DONE, d=SKIPPED)) is None
    assert current_phase(compute_phase_progress(compiled_of({"id": "a", "tool": "free"}), {})) is None
