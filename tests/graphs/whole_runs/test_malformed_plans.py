"""Plans that are none, by the thousand: no crash, no hang, no tool run, and every problem named at once.

`PLANWAVE_SEED` chooses other ones; the seed and the counts are printed, to be seen with `pytest -s`.
"""

import gc
import os
import time
from collections import Counter
from collections.abc import Iterator
from statistics import median

import pytest

from agent.core.plan.limits import Limits
from agent.errors import UsageError
from agent.tools.plan_check import CheckedPlan, check_plan
from agent.tools.toolbox import Toolbox
from graphs.cli.plan_commands.plan_file import read_plan
from graphs.plan_execute import build_graph
from tests.support.malformed import Case, case
from tests.support.worlds import World

SEED = int(os.environ.get("PLANWAVE_SEED", "20261121"))
#: How many times the processor seconds of the usual case the slowest may take.
LIMIT = 500


@pytest.fixture
def only_own_garbage() -> Iterator[None]:
    """Keep what earlier tests hold out of the collector: one look at all of it took a second, in the largest case."""
    gc.collect()
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.mark.usefixtures("only_own_garbage")
@pytest.mark.parametrize(
    "count",
    [600, pytest.param(10_000, marks=[pytest.mark.slow, pytest.mark.timeout(7_200)])],
)
async def test_malformed_plans(count, tmp_path, capsys):
    world = World()
    graph, toolbox = build_graph(tools=world.tools()), Toolbox(world.tools())
    kinds: Counter[str] = Counter()
    problems, spent = 0, {}
    for number in range(count):
        made = case(SEED + number)
        told, spent[SEED + number, made.kinds] = await told_of(made, graph, toolbox, tmp_path)
        missed = [needles for needles in made.expected if not any(all(n in line for n in needles) for line in told)]
        assert not missed, (SEED + number, made.kinds, missed, told)
        assert told, (SEED + number, made.kinds)
        assert world.log == []
        kinds.update(made.kinds)
        problems += len(told)
    slowest = max(spent, key=spent.__getitem__)
    usual = median(spent.values())
    assert spent[slowest] < LIMIT * usual, (slowest, spent[slowest], usual)
    with capsys.disabled():
        print(f"\n{count} malformed plans from seed {SEED}: {problems} problems named, 0 crashes, 0 tools run,")
        print(f"the slowest took {spent[slowest] / usual:.0f} times the usual processor time;")
        print(", ".join(f"{kind} {n}" for kind, n in sorted(kinds.items())))


async def told_of(made: Case, graph, toolbox: Toolbox, folder) -> tuple[list[str], float]:
    """Return the problems that are told of a case, each held to its form, and the seconds that telling took."""
    began = time.process_time()
    if made.text is not None:
        file = folder / "plan.json"
        file.write_bytes(made.text)
        with pytest.raises(UsageError) as caught:
            read_plan(str(file))
        return [str(caught.value)], time.process_time() - began
    out = await graph.ainvoke({"goal": "g", "plan": made.document})
    took = time.process_time() - began
    assert (out["status"], out["results"]) == ("failed", {})
    found = await check_plan(made.document, toolbox, limits=Limits())
    assert not isinstance(found, CheckedPlan), made.kinds
    assert out["problems"] == [str(problem) for problem in found]
    for problem in found:
        assert problem.place, problem
        assert problem.what.endswith("."), problem
        assert problem.remedy.endswith((".", "?")), problem
        str(problem).encode()
    return out["problems"], took
