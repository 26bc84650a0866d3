"""Every bench at its smallest size: what it hands back has the promised shape."""

import asyncio
import json
import re
from contextlib import nullcontext, redirect_stdout
from cProfile import Profile
from io import StringIO
from pathlib import Path

import pytest

from tests.bench import __main__ as command
from tests.bench import claims, first_tool, growth, growth_child, makespan, overhead, start, start_child
from tests.bench.figures import Figure, Unmeasured, exponent, figure, report, table
from tests.bench.virtual_time import run_in_virtual_time
from tests.bench.workloads import Step, Workload, shaped


def diamond() -> Workload:
    """A plan that waves make slower: `slow` holds up what waits for `quick` only."""
    steps = (
        Step("quick", "work", (), 1.0),
        Step("slow", "work", (), 3.0),
        Step("after", "work", ("quick",), 3.0),
        Step("end", "work", ("slow", "after"), 1.0),
    )
    return Workload("diamond", steps)


def by_case(found):
    return {(one.case, one.name): one for one in found if isinstance(one, Figure)}


def test_virtual_makespan_is_the_critical_path_in_eager_mode_and_longer_in_waves():
    found = by_case(makespan.virtual("d", [diamond()]))
    assert diamond().critical_path == 5.0
    assert found["d, virtual, eager", "makespan / critical path, mean"].value == pytest.approx(1.0)
    assert found["d, virtual, wave", "makespan / critical path, mean"].value == pytest.approx(7 / 5)


def test_few_workers_are_held_against_the_lower_bound():
    found = by_case(makespan.limited("d", [diamond()]))
    assert diamond().bound(2) == 5.0
    assert diamond().bound(1) == 8.0
    assert found["d, 2 workers, eager", "makespan / lower bound, mean"].value == pytest.approx(1.0)


def test_real_time_stands_beside_bare_asyncio_and_has_targets():
    found = by_case(makespan.real("d", [diamond()], seconds=0.1, store="sqlite"))
    whole = found["d, real, sqlite, eager", "whole run / critical path, mean"]
    assert (whole.target, whole.target_most) == (1.05, 1.15)
    # Neither can be shorter than the critical path; which of the two is faster here is what a bench on a quiet
    # machine says.
    assert min(whole.value, found["d, real, bare asyncio", "makespan / critical path, mean"].value) >= 1.0


def test_a_set_is_run_alone_in_real_time_and_has_targets():
    whole, tools = makespan.alone("d", [diamond()], seconds=0.1)
    assert isinstance(whole, Figure)
    assert (whole.target, whole.target_most, whole.case) == (1.05, 1.15, "d, real, memory, eager, all 1")
    assert isinstance(tools, Figure)
    assert 1.0 <= tools.value < whole.value


def test_overhead_is_measured_beside_its_rivals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(overhead, "SHAPES", ("deep",))
    monkeypatch.setattr(overhead, "postgres", lambda folder: nullcontext(None))
    found = list(overhead.measured(tmp_path, sizes=(3,), rounds={3: 1}, peers=False))
    cases = {one.case for one in found if isinstance(one, Figure) and one.unit == "ms" and one.value > 0}
    assert {"deep 3, bare asyncio.gather over waves", "deep 3, planwave, sqlite"} <= cases
    assert {"deep 3, planwave, memory", "deep 3, LangGraph Send loop, sqlite"} <= cases
    assert [one.case for one in found if isinstance(one, Unmeasured)] == ["PostgreSQL"]


@pytest.mark.slow
def test_growth_measures_every_part_and_fits_an_exponent(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(growth, "SHAPES", ("deep",))
    monkeypatch.setattr(growth, "_child", lambda shape, size: (growth_child_of(size), ""))
    found = by_case(growth.measured((4, 8)))
    names = {name for _, name in found}
    assert {"run", "compile", "schedule, eager", "schedule, wave", "resume to first call", "show"} <= names
    assert found["deep 8", "checkpoint bytes"].value > found["deep 4", "checkpoint bytes"].value > 0
    assert ("deep, 4 to 8", "exponent of checkpoint bytes") in found


def growth_child_of(size: int) -> dict[str, float]:
    """What the child prints, without the seconds that a new process takes to import everything."""
    with redirect_stdout(StringIO()) as told:
        growth_child.main("deep", size)
    return {name: value for line in told.getvalue().splitlines() for name, value in json.loads(line).items()}


def test_the_first_tool_is_called_sooner_where_the_plan_streams():
    found = by_case(first_tool.measured("flat", 2, rounds=1, chunk_s=0.01, tool_s=0.01))
    assert {case for case, _ in found} == {"flat 2", "flat 2, streaming", "flat 2, whole plan first"}
    assert found["flat 2", "to first tool, streaming / whole"].value < 1
    assert found["flat 2, streaming", "to last result"].value > found["flat 2, streaming", "to first tool"].value > 0


def test_the_help_is_timed_and_its_largest_part_named():
    found = by_case(start.of_command(1))["the command", "planwave --help"]
    assert found.target == 0.5
    assert found.value > 0
    assert re.match(r"largest part: \w+ \(\d+ % of [\d.]+ s of imports\)", found.note)


def test_a_start_goes_as_far_as_its_first_node():
    profiler = Profile()
    graph = profiler.runcall(start_child.built)
    asyncio.run(start_child.first_node(graph))
    assert re.fullmatch(r".+ \(\d+ %\)", start_child.largest(profiler))


def test_an_exponent_is_the_slope_of_the_logarithms():
    assert exponent([(n, 3 * n**2) for n in (10, 100, 1000)]) == pytest.approx(2.0)


def test_virtual_time_is_what_was_slept():
    async def nap():
        await asyncio.sleep(3600)
        return asyncio.get_running_loop().time()

    assert run_in_virtual_time(nap()) == pytest.approx(3600)


def test_the_command_prints_a_table_and_fails_on_a_missed_target(tmp_path: Path, monkeypatch, capsys):
    missed = figure("toy", "case", "figure", [3.0, 1.0, 2.0], unit="s", target=1.5)
    skipped = Unmeasured("toy", "other", "no data")
    monkeypatch.setattr(command, "_BENCHES", {"toy": lambda quick: iter([missed, skipped])})
    monkeypatch.setattr("sys.argv", ["bench", "toy", "--json", str(tmp_path / "out.json")])
    assert command.main() == 1
    printed = capsys.readouterr().out
    assert "MISSED" in printed
    assert "no data" in printed
    assert (tmp_path / "out.json").exists()
    assert report([missed, skipped])["figures"][0]["value"] == 2.0
    assert table([skipped]).splitlines()[1].split()[:2] == ["toy", "other"]


def test_shapes_have_the_size_they_say():
    assert len(shaped("flat", 7).levels()) == 1
    assert len(shaped("deep", 7).levels()) == 7


def test_claims_are_measured_beside_completions():
    found = [*claims.bench(quick=True)]
    assert [each.name for each in found if isinstance(each, Figure)] == ["claim, on the disk", "completion, in the log"]
    assert all(isinstance(each, Figure) and 0 < each.value < 1_000 for each in found)
