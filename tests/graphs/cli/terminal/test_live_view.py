"""A run as it is shown: lines for pipes, a table for terminals, and what both leave out."""

import io

import pytest
from rich.console import Console

from agent.core.engine.call_preparation import PlanDiff
from agent.core.engine.outcomes import Done, Skipped
from agent.core.plan.document import Plan
from agent.events import (
    ApprovalRequested,
    ItemProgress,
    PlanCompiled,
    ReplanStarted,
    TaskFinished,
    TaskRetrying,
    TaskStarted,
    Thinking,
)
from graphs.cli.terminal.live_view import LineDisplay, LiveDisplay
from graphs.cli.terminal.plan_table import build_plan_table, summarize_statuses
from graphs.cli.terminal.run_view import RunTracker
from graphs.cli.terminal.screen import Screen, escape_controls
from graphs.cli.terminal.units import format_duration


def screen(*, width: int = 120, height: int = 40, live: bool = False) -> Screen:
    console = Console(
        file=io.StringIO(), width=width, height=height, force_terminal=live, highlight=False, markup=False, emoji=False
    )
    return Screen(console=console, live=live, interactive=False)


def written(on: Screen) -> str:
    assert isinstance(on.console.file, io.StringIO)
    return on.console.file.getvalue()


def plan(*ids: str, chained: bool = False) -> dict[str, object]:
    return {
        "tasks": [
            {
                "id": name,
                "tool": "t",
                "description": f"Do {name}",
                "depends_on": [ids[place - 1]] if chained and place else [],
            }
            for place, name in enumerate(ids)
        ]
    }


def made(*ids: str, revision: int = 1, difference: PlanDiff | None = None) -> PlanCompiled:
    waves = [[name] for name in ids]
    return PlanCompiled(revision=revision, plan=plan(*ids, chained=True), waves=waves, difference=difference)  # type: ignore[arg-type]


def drawn(track: RunTracker, *, width: int = 120, rows: int | None = None) -> str:
    on = screen(width=width)
    on.console.print(build_plan_table(track, width=width, rows=rows))
    return written(on)


def test_every_event_that_tells_something_is_a_line() -> None:
    on = screen()
    watch = LineDisplay(on, RunTracker())
    watch.show_event(Thinking(role="planner", text="Choosing the tools"))
    watch.show_event(made("a", "b"))
    watch.show_event(TaskStarted(task="a", tool="t", attempt=1, at="2026-01-01T00:00:00+00:00"))
    watch.show_event(TaskRetrying(task="a", attempt=1, error="The server is busy.", wait_s=0.5))
    watch.show_event(TaskFinished(task="a", status="done", attempts=2, duration_s=1.5, preview="42"))
    watch.show_event(TaskFinished(task="b", status="skipped", because="The condition was false."))
    watch.show_event(ReplanStarted(replan=1, tasks=["a"], reason="It was wrong."))
    watch.show_event(made("a", "c", revision=2, difference=PlanDiff(kept=("a",), new=("c",), dropped=("b",))))
    assert written(on).splitlines() == [
        "planner: Choosing the tools",
        "plan, revision 1: 2 tasks in 2 waves",
        "  wave 1  a (t): Do a",
        "  wave 2  b (t) after a: Do b",
        "started a (t)",
        "retrying a: Attempt 1 failed, the next in 0.5 s: The server is busy.",
        "done a in 1.50 s after 2 attempts: 42",
        "skipped b: The condition was false.",
        "replan 1, because of a: It was wrong.",
        "plan, revision 2: 2 tasks in 2 waves",
        "  kept a; new c; dropped b",
        "  wave 1  a (t): Do a",
        "  wave 2  c (t) after a: Do c",
    ]


def test_how_far_many_items_are_is_told_at_each_tenth_and_in_the_table() -> None:
    on, track = screen(), RunTracker()
    watch = LineDisplay(on, track)
    watch.show_event(made("a"))
    watch.show_event(TaskStarted(task="a", tool="t", attempt=1, at="2026-01-01T00:00:00+00:00"))
    for ended in range(50, 10_001, 50):
        watch.show_event(ItemProgress(task="a", ended=ended, failed=ended // 5_000, total=10_000))
        if ended == 4_300:
            assert "running (4,300 of 10,000)" in drawn(track)
    watch.show_event(
        TaskFinished(task="a", status="done", attempts=10_000, missing="2 of 10000 items failed, first item 7: no")
    )
    lines = [line for line in written(on).splitlines() if line.startswith(("items", "done"))]
    assert lines[:-1] == [
        f"items of a: {n},000 of 10,000{f', {n // 5} failed' if n >= 5 else ''}" for n in range(1, 10)
    ] + ["items of a: 10,000 of 10,000, 2 failed"]
    assert lines[-1].endswith("2 of 10000 items failed, first item 7: no")


def test_a_kept_task_keeps_its_standing_and_a_changed_one_starts_anew() -> None:
    track = RunTracker()
    track.apply_event(made("a", "b"))
    for name in "ab":
        track.apply_event(TaskFinished(task=name, status="done", attempts=1, duration_s=1.0))
    track.apply_event(made("a", "b", revision=2, difference=PlanDiff(kept=("a",), changed=("b",))))
    assert [row.status for row in track.rows.values()] == ["done", "waiting"]
    assert summarize_statuses(track) == "1 of 2 done"


def test_time_runs_while_a_task_does() -> None:
    now = [100.0]
    track = RunTracker(clock=lambda: now[0])
    track.apply_event(made("a"))
    track.apply_event(TaskStarted(task="a", tool="t", attempt=1, at="2026-01-01T00:00:00+00:00"))
    now[0] = 103.5
    assert "3.50 s" in drawn(track)
    track.apply_event(TaskRetrying(task="a", attempt=1, error="Busy.", wait_s=1.0))
    track.apply_event(TaskStarted(task="a", tool="t", attempt=2, at="2026-01-01T00:00:04+00:00"))
    assert "running (2x)" in drawn(track)
    assert "Busy." in drawn(track)
    track.mark_interrupted()
    assert "Interrupted" in drawn(track)


def test_what_another_process_did_is_restored() -> None:
    track = RunTracker()
    done = Done(revision=1, attempts=1, started_at="2026-01-01T00:00:00+00:00", finished_at="2026-01-01T00:00:02+00:00")
    skipped = Skipped(revision=1, because="The condition was false.")
    track.restore(Plan.model_validate(plan("a", "b")), {"a": done, "b": skipped}, revision=1)
    track.mark_awaiting_approval({"action_requests": [{"task_id": "elsewhere"}]})
    assert "2.00 s" in drawn(track)
    assert "The condition was false." in drawn(track)


def test_an_approval_marks_its_tasks() -> None:
    track = RunTracker()
    track.apply_event(made("a", "b"))
    track.apply_event(ApprovalRequested(request={"action_requests": [{"task_id": "b"}]}))
    assert [row.status for row in track.rows.values()] == ["waiting", "awaiting_approval"]


@pytest.mark.parametrize("width", [40, 60, 80, 200])
def test_a_table_fits_its_terminal(width: int) -> None:
    track = RunTracker()
    track.apply_event(made(*(f"a_task_with_quite_a_long_name_{number}" for number in range(12))))
    assert max(map(len, drawn(track, width=width).splitlines())) <= width


def test_a_long_plan_shows_what_tells_most() -> None:
    track = RunTracker()
    track.apply_event(made(*(f"t{number:03}" for number in range(200))))
    for number in range(50):
        track.apply_event(TaskFinished(task=f"t{number:03}", status="done", attempts=1, duration_s=0.1))
    track.apply_event(TaskFinished(task="t050", status="failed", error="It broke.", attempts=1, duration_s=0.1))
    track.apply_event(TaskStarted(task="t051", tool="t", attempt=1, at="2026-01-01T00:00:00+00:00"))
    shown = drawn(track, rows=5)
    assert "t050" in shown
    assert "t051" in shown
    assert "and 195 more" in shown


def test_a_live_table_leaves_the_whole_plan_once() -> None:
    on = screen(live=True, height=12)
    watch = LiveDisplay(on, RunTracker())
    watch.show_event(made(*(f"t{number:03}" for number in range(30))))
    watch.pause()
    after = written(on)
    assert all(f"t{number:03}" in after for number in range(30))
    watch.pause()
    assert written(on) == after


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, ""), (0.0, "0.00 s"), (9.994, "9.99 s"), (12.34, "12.3 s"), (125, "2 min 05 s"), (3725, "1 h 02 min")],
)
def test_durations_are_spelt(seconds: float | None, words: str) -> None:
    assert format_duration(seconds) == words


def test_no_character_steers_the_terminal() -> None:
    assert escape_controls("a\tb\nc é ✓ 👩‍💻") == "a\tb\nc é ✓ 👩‍💻"
    assert escape_controls("\x1b[2J\x07\r\x9b1m\u202e\ud800") == "\\u001b[2J\\u0007\\u000d\\u009b1m\\u202e\\ud800"
