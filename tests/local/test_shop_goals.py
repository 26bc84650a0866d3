"""Goals on the sample shop by the embedded model, end to end: the right rows, files and an answer.

Each prints one line: verdict, seconds, model calls, the plan's tools, what is wrong. The goals on which nothing
was tried are measured by `python -m tests.evals goals planwave`.
"""

from pathlib import Path

import pytest

from agent.llm.models import is_model_available
from agent.settings import Settings
from tests.evals.sets.goal import Goal
from tests.local.shop_goals import TUNED
from tests.local.workbench import line, run_goal

pytestmark = [pytest.mark.local, pytest.mark.timeout(1_200)]


@pytest.mark.parametrize("goal", TUNED, ids=lambda goal: goal.name)
async def test_a_goal_gives_the_right_rows(goal: Goal, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    if not is_model_available("local"):
        pytest.skip("the embedded model's weights are not in the cache: run `planwave models pull`")
    verdict = await run_goal(goal, shop_folder=Settings().data_folder, output=tmp_path)
    with capsys.disabled():
        print(f"\n{line(goal, verdict)}")
    assert not verdict.wrong
