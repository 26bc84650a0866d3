"""What is kept up to date outcome by outcome against what is derived anew."""

from hypothesis import given
from hypothesis import strategies as st

from agent.core.engine.frontier import Frontier, was_executed
from agent.core.engine.outcomes import Cancelled, Done, Failed, Outcome, Rejected, Skipped
from agent.core.engine.progress import count_progress, find_blocked_tasks
from tests.support.plans import compiled_of


@st.composite
def histories(draw) -> tuple:
    """Draw a plan and outcomes of some of its tasks in the order in which a run could have recorded them."""
    count = draw(st.integers(1, 8))
    names = [f"t{at}" for at in range(count)]
    compiled = compiled_of(
        *(
            {
                "id": name,
                "tool": "free",
                "depends_on": draw(st.lists(st.sampled_from(names[:at]), unique=True)) if at else [],
                "run_if": draw(st.sampled_from(["all", "any"])),
            }
            for at, name in enumerate(names)
        )
    )
    kinds = st.sampled_from(
        [
            Done(revision=1, output=1, attempts=1),
            Done(revision=1, output=1, attempts=1, reused_from="s"),
            Done(revision=1, output=1),
            Failed(revision=1, kind="tool", error="no", attempts=2),
            Rejected(revision=1, message="no", digest="d"),
            Skipped(revision=1, because="so"),
            Cancelled(revision=1, because="so"),
        ]
    )
    recorded: dict[str, Outcome] = {}
    for name in draw(st.permutations(names)):
        if name not in find_blocked_tasks(compiled, recorded) and draw(st.booleans()):
            recorded[name] = draw(kinds)
    if draw(st.booleans()):
        recorded["of an earlier plan"] = draw(kinds)
    return compiled, recorded


@given(histories(), st.randoms(use_true_random=False))
def test_it_holds_what_is_derived_anew(history, random):
    compiled, recorded = history
    names = list(recorded)
    known: dict[str, Outcome] = {name: recorded[name] for name in names[: random.randint(0, len(names))]}
    frontier = Frontier(compiled, known)
    left = [name for name in names if name not in known]
    while True:
        stuck = find_blocked_tasks(compiled, known)
        settled = known.keys() | stuck.keys()
        assert frontier.blocked == stuck.keys()
        assert frontier.list_ready() == [
            task for task in compiled.order if task not in settled and settled >= set(compiled.needs[task])
        ]
        assert frontier.failed == {task for task in compiled.tasks if isinstance(known.get(task), Failed | Rejected)}
        assert frontier.get_progress(running=1) == count_progress(compiled, known) | {
            "running": 1,
            "waiting": count_progress(compiled, known)["waiting"] - 1,
        }
        assert frontier.executed_count == sum(map(was_executed, known.values()))
        assert all(frontier.is_settled(task) == (task in settled) for task in compiled.order)
        if not left:
            break
        new = {left.pop(0): None for _ in range(random.randint(1, len(left)))}
        frontier.advance({name: recorded[name] for name in new})
        known = known | {name: recorded[name] for name in new}


def test_what_is_blocked_may_be_recorded_as_skipped():
    compiled = compiled_of({"id": "a", "tool": "free"}, {"id": "b", "tool": "free", "depends_on": ["a"]})
    frontier = Frontier(compiled, {"a": Failed(revision=1, kind="tool", error="no")})
    assert frontier.blocked == {"b"}
    frontier.advance({"b": Skipped(revision=1, because="It depends on 'a'.")})
    assert frontier.blocked == set()
    assert frontier.get_progress()["skipped"] == 1
