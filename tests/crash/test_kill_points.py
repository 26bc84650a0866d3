"""Runs killed at each of their points in turn: nothing stored is lost, nothing finished is repeated."""

import json
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import pytest
from typer.testing import CliRunner

from graphs.cli.app import app
from tests.crash.kill_run import closed_too_early, effects, ending, repeated, run, unasked
from tests.support.forked_child import KILLED, Child, Raised
from tests.support.journal import Journal

#: The story, how many calls a person is asked about in it, its end, its replans, and what it writes and undoes.
STORIES = {
    "replanned": (2, "completed", 1, {"k": 1, "u": 1}),
    "rolled back": (4, "failed", 0, {"k": 1, "u": 1, "undo:k": 1, "undo:u": 1}),
    "delegated": (3, "failed", 0, {"k": 1, "u": 1, "undo:k": 1}),
}
FULL = [pytest.mark.slow, pytest.mark.timeout(1200)]


@dataclass
class Verdict:
    """What became of one killed run, each fault as the tasks that it befell."""

    point: str
    lost: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    early: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    unknown: int = 0
    unasked: list[str] = field(default_factory=list)
    unapproved: list[str] = field(default_factory=list)
    other: list[str] = field(default_factory=list)

    @property
    def faults(self):
        return (self.lost, self.repeated, self.early, self.twice, self.unasked, self.unapproved, self.other)


def judged(journal, resumed, whole, *, wanted):
    """Hold a resumed run against its journal and against the end of a run that nothing happened to."""
    lines = journal.lines()
    at = next(number for number, line in enumerate(lines) if line[0] == "fault")
    verdict = Verdict(point=lines[at][1])
    if isinstance(resumed, Raised):
        verdict.other.append(f"{resumed.name}: {resumed.text}")
        return verdict
    results = resumed["out"]["results"]
    stored = [line[1] for line in lines[:at] if line[0] == "stored"]
    verdict.lost = [task for task in stored if task not in results]
    verdict.repeated = repeated(journal)
    verdict.early = closed_too_early(journal)
    found = effects(journal)
    verdict.twice = [name for name in wanted | found if found.get(name) != wanted.get(name)]
    verdict.unapproved = unasked(journal)
    unknown = [task for task in resumed["begun"] if task in {"u", "undo:u"}]
    verdict.unknown = len(unknown)
    verdict.unasked = [task for task in unknown if ["asked", "doubt", task] not in lines[at:]]
    verdict.other += [
        f"asked of {task}, which was never begun"
        for _, _, task in journal.having("asked", "doubt")
        if task not in unknown
    ]
    verdict.other += [f"{key} ended otherwise" for key, value in ending(resumed["out"]).items() if value != whole[key]]
    return verdict


def kill(url, folder, dispatch, point, *, story):
    thread = f"{dispatch}-{point}"
    killed = Child(run, url, str(folder / thread), dispatch, thread, fault_at=point, story=story).told()
    assert killed is KILLED, f"point {point} was never reached: {killed}"


def resume(url, folder, dispatch, point, whole, *, story):
    thread = f"{dispatch}-{point}"
    journal = Journal(folder / thread)
    resumed = Child(run, url, str(journal.path), dispatch, thread, story=story).told()
    return judged(journal, resumed, whole, wanted=STORIES[story][3])


def find_threads_taken_for_ended(url, *, end):
    """Return the killed threads that `threads` does not list as resumable, and those that `prune` would remove.

    Those that were killed after their last checkpoint have ended, as `end`.
    """

    def ask(*words):
        return json.loads(CliRunner().invoke(app, ["threads", *words, "--db", url, "--json"]).stdout)

    statuses = {each["thread_id"]: each["status"] for each in ask("--most", "100000")["threads"]}
    ended = {name for name, status in statuses.items() if status == end}
    other = {name for name, status in statuses.items() if status not in {"interrupted", "awaiting_approval", end}}
    return sorted(other | (set(ask("prune", "--older-than", "0h", "--dry-run")["removed"]) ^ ended))


@pytest.mark.parametrize(
    ("dispatch", "every"),
    [
        pytest.param("eager", 9, id="eager-short"),
        pytest.param("wave", 9, id="wave-short", marks=pytest.mark.slow),
        *(pytest.param(dispatch, 1, id=f"{dispatch}-full", marks=FULL) for dispatch in ("eager", "wave")),
    ],
)
@pytest.mark.parametrize("story", STORIES)
def test_a_run_killed_at_any_point_ends_as_if_nothing_had_happened(
    database_url, story, dispatch, every, tmp_path, chance, seed
):
    journal = Journal(tmp_path / "whole")
    first = Child(run, database_url, str(journal.path), dispatch, "whole", story=story).told()
    out = first["out"]
    assert (len(journal.having("asked")), out["status"], out["replans"], effects(journal)) == STORIES[story]
    every = every if story == "replanned" or every == 1 else 8 * every
    whole, offset = ending(first["out"]), chance.randrange(every)
    points = range(1 + offset, len(first["points"]) + 1, every)
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda point: kill(database_url, tmp_path, dispatch, point, story=story), points))
        assert find_threads_taken_for_ended(database_url, end=out["status"]) == []
        verdicts = list(
            pool.map(lambda point: resume(database_url, tmp_path, dispatch, point, whole, story=story), points)
        )
    lost, again, early, twice, unknown, unapproved, other = (
        sum(map(len, each)) for each in zip(*(v.faults for v in verdicts), strict=True)
    )
    print(
        f"\n{len(verdicts)} of {len(first['points'])} points killed ({story}, {dispatch}, every {every}. from"
        f" {1 + offset}, seed {seed}): {lost} lost results, {again} repeated finished tasks, {early} results not"
        f" stored when their superstep was closed, {twice} writes with other than one effect, {unapproved} unapproved,"
        f" {unknown} of {sum(v.unknown for v in verdicts)} unkeyed unknowns not asked about, {other} other differences;"
        f" {dict(sorted(Counter(v.point for v in verdicts).items()))}"
    )
    assert not [verdict for verdict in verdicts if any(verdict.faults)]
