"""Phases: their order, how far each is, and which is current."""

from plans import plan_of

from agent.core.phases import current_phase, phases_of

PLAN = plan_of(
    {"id": "a", "tool": "free", "phase": "collect"},
    {"id": "b", "tool": "free", "phase": "collect"},
    {"id": "c", "tool": "free", "phase": "extra"},
    {"id": "d", "tool": "free", "phase": "report"},
    {"id": "e", "tool": "free"},
    phases={"collect": "Read what is there", "report": "Write it down", "later": "Nothing yet"},
)


def found(**statuses):
    return phases_of(PLAN, {task.id: "waiting" for task in PLAN.tasks} | statuses)


def test_described_phases_come_first_in_their_order():
    assert [(phase["name"], phase["description"], phase["tasks"]) for phase in found()] == [
        ("collect", "Read what is there", ["a", "b"]),
        ("report", "Write it down", ["d"]),
        ("later", "Nothing yet", []),
        ("extra", "", ["c"]),
    ]


def test_how_far_each_phase_is():
    phases = found(a="done", b="running", c="failed")
    assert [(phase["percentage"], phase["is_complete"]) for phase in phases] == [
        (50.0, False),
        (0.0, False),
        (100.0, True),
        (0.0, False),
    ]
    assert current_phase(phases) == "collect"


def test_a_cancelled_or_skipped_task_does_not_block_a_phase_and_a_failed_one_does():
    assert current_phase(found(a="skipped", b="cancelled")) == "report"
    assert current_phase(found(a="rolled_back", b="done")) == "report"
    for status in ("failed", "rejected", "blocked", "in_doubt", "awaiting_approval", "retrying"):
        assert current_phase(found(a="done", b=status)) == "collect"


def test_no_phase_is_current_in_the_end_or_without_phases():
    assert current_phase(found(a="done", b="done", c="done", d="skipped")) is None
    assert current_phase(phases_of(plan_of({"id": "a", "tool": "free"}), {"a": "ready"})) is None
