"""A set run case by case by one strategy; what is recorded already is left out."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from langchain_core.runnables import RunnableLambda

from agent.errors import ModelError
from agent.llm.models import Model
from tests.evals.cases import Attempt, Case, Verdict, half
from tests.evals.meter import Meter
from tests.evals.records import Key, Line, Outcome, append, read_lines
from tests.evals.strategies.strategy import Bench, Strategy

Tell = Callable[[Line], None]


@dataclass(frozen=True)
class Runner:
    """A measurement: a strategy with a model, and the file that its lines go to."""

    strategy: Strategy
    choice: str
    model: Model
    key: Key
    file: Path
    budget_s: float
    tell: Tell

    async def run(self, cases: Sequence[Case]) -> None:
        """Run the cases that the file has no line of, one after the other."""
        done = {line.id for line in read_lines([self.file]) if line.key == self.key}
        for case in cases:
            if case.id not in done:
                await self.run_one(case)

    async def run_one(self, case: Case) -> Line:
        """Run one case and append its line as soon as it has ended."""
        line = await run_case(
            case, self.strategy, choice=self.choice, model=self.model, key=self.key, budget_s=self.budget_s
        )
        append(self.file, line)
        self.tell(line)
        return line


async def run_case(case: Case, strategy: Strategy, *, choice: str, model: Model, key: Key, budget_s: float) -> Line:
    """Run one case within `budget_s` seconds and judge it."""
    meter = Meter()
    began = time.monotonic()
    with TemporaryDirectory(prefix="planwave-evals-", ignore_cleanup_errors=True) as folder:
        output = Path(folder)
        bench = Bench(case, case.tools(output, lambda: model.chat), choice, model, output)
        attempt = Attempt((), ending="no plan")
        outcome: Outcome | None = None
        verdict = Verdict(right=False)
        try:
            async with asyncio.timeout(budget_s):
                attempt = await _metered(strategy.attempt, bench, meter)
        except TimeoutError:
            outcome, verdict = "over budget", Verdict(right=False, why=f"it took more than {budget_s:g} s")
        except ModelError as error:
            outcome, verdict = "model failed", Verdict(right=False, why=str(error))
        else:
            verdict = case.judge(attempt, output)
    seconds = (
        time.monotonic() - began - sum(each.seconds or 0 for each in meter.asked.values() if each.role == "answer")
    )
    asked = meter.planning
    return Line(
        key=key,
        id=case.id,
        half=half(case.id),
        outcome=outcome or _outcome(verdict, attempt),
        why=verdict.why,
        calls=len(asked),
        input_tokens=sum(each.input_tokens for each in asked),
        output_tokens=sum(each.output_tokens for each in asked),
        seconds=round(seconds, 3),
        repairs=sum(each.again for each in asked if each.role in {"planner", "replanner"}),
        replans=attempt.replans,
        scores=verdict.scores,
        problems=attempt.problems,
        plan=tuple(asdict(call) for call in attempt.calls),
        raw=tuple(asdict(each) for each in meter.asked.values()),
    )


async def _metered(work: Callable[[Bench], Awaitable[Attempt]], bench: Bench, meter: Meter) -> Attempt:
    """Do `work` with the meter as a callback of all that runs below it."""

    async def below(_case: str) -> Attempt:
        return await work(bench)

    return await RunnableLambda(below).ainvoke(bench.case.id, {"callbacks": [meter], "run_name": "eval"})


def _outcome(verdict: Verdict, attempt: Attempt) -> Outcome:
    if verdict.right:
        return "right"
    return "wrong" if attempt.ending == "finished" else attempt.ending
