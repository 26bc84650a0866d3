"""`python -m tests.evals SET STRATEGY`: run a set, record each case, print a table.

`table FILE...` prints one of what is recorded; `library [FILE...]` measures the library, beside results without it.
"""

import argparse
import asyncio
import os
import random
import sys
from collections.abc import Sequence
from pathlib import Path

import httpx
from langsmith import Client

from agent.errors import PlanwaveError, UsageError
from agent.llm.models import resolve_model
from agent.settings import Settings
from tests.evals.cases import AbsentError, Case, half
from tests.evals.experiments import run_experiment
from tests.evals.library_match import run_library
from tests.evals.records import Key, Line, read_lines
from tests.evals.running import Runner
from tests.evals.sets import SETS
from tests.evals.strategies import STRATEGIES
from tests.evals.tabling import table

#: Ignored by git.
RESULTS = Path(__file__).parent / "results"


def main(words: Sequence[str] | None = None) -> int:
    """Do what the command line says; 2 for a set whose data are absent or a model that cannot be had."""
    arguments = list(sys.argv[1:] if words is None else words)
    if arguments[:1] == ["table"]:
        print(table(read_lines(map(Path, arguments[1:] or sorted(map(str, RESULTS.glob("*.jsonl")))))))
        return 0
    if arguments[:1] == ["library"]:
        run_library(arguments[1:])
        return 0
    options = _options(arguments)
    try:
        return _run(options)
    except (AbsentError, PlanwaveError) as error:
        print(error, file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("Stopped; the same command goes on with the next case.", file=sys.stderr)
        return 130


def _run(options: argparse.Namespace) -> int:
    strategy = STRATEGIES[options.strategy]
    cases = chosen(SETS[options.set](), half_of=options.half, seed=options.seed, limit=options.limit)
    choice = _choice(options.model)
    model = resolve_model(choice)
    key = Key(options.set, strategy.name, model.name, strategy.digest(), _tag(options))
    file = (
        options.out or RESULTS / f"{options.set}-{strategy.name}-{model.name.replace(':', '-').replace('/', '-')}.jsonl"
    )
    runner = Runner(
        strategy=strategy, choice=choice, model=model, key=key, file=file, budget_s=options.budget, tell=_tell
    )
    try:
        asyncio.run(_experiment(cases, runner) if options.langsmith else runner.run(cases))
    finally:
        ids = {case.id for case in cases}
        recorded = [line for line in read_lines([file]) if line.key == key and line.id in ids]
        if recorded:
            print(table(recorded))
    return 0


def _tag(options: argparse.Namespace) -> str:
    """Return the caller's tag, for Planwave with the settings of the environment: under others it is another run."""
    own = Settings().model_dump(mode="json", exclude_unset=True, exclude={"data_folder", "output_folder"})
    chosen = sorted(own.items()) if options.strategy == "planwave" else []
    return " ".join(filter(None, (options.tag, *(f"{name}={value}" for name, value in chosen))))


async def _experiment(cases: Sequence[Case], runner: Runner) -> None:
    """Run the cases as a LangSmith experiment; unlike a plain run it leaves none out."""
    if not os.environ.get("LANGSMITH_API_KEY"):
        raise UsageError("An experiment needs LANGSMITH_API_KEY; leave `--langsmith` out to record here only.")
    client = Client()
    name = await run_experiment(cases, key=runner.key, run=runner.run_one, client=client)
    client.flush()
    print(f"LangSmith has the experiment as {name!r}.", file=sys.stderr)


def chosen(cases: Sequence[Case], *, half_of: str | None, seed: int, limit: int | None) -> list[Case]:
    """Return the cases of one half in an order that the seed gives: the first of them are a sample of all."""
    found = [case for case in cases if half_of in {None, half(case.id)}]
    random.Random(seed).shuffle(found)  # noqa: S311 - a sample, no secret
    return found[:limit]


def _choice(model: str) -> str:
    """Return a model's name for `resolve_model`; an address stands for the first model of the server there."""
    if not model.startswith(("http://", "https://")):
        return model
    os.environ["OPENAI_BASE_URL"] = model
    listed = httpx.get(f"{model.rstrip('/')}/models", headers=_key(), timeout=10.0).raise_for_status().json()
    return f"openai:{listed['data'][0]['id']}"


def _key() -> dict[str, str]:
    key = os.environ.get("OPENAI_API_KEY")
    return {"Authorization": f"Bearer {key}"} if key else {}


def _tell(line: Line) -> None:
    told = (
        f"{line.outcome:<12} {line.seconds:6.1f} s  {line.calls} calls {line.tokens:6d} tokens  {line.id}  {line.why}"
    )
    print(told[:200], file=sys.stderr, flush=True)


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.evals", description=__doc__)
    parser.add_argument("set", choices=SETS)
    parser.add_argument("strategy", choices=STRATEGIES)
    parser.add_argument("--model", default="local", help="local, openai:NAME, or the address of a server")
    parser.add_argument("--half", choices=("work", "held"), help="one half of the set; both where it is left out")
    parser.add_argument("--limit", type=int, help="only so many cases")
    parser.add_argument("--seed", type=int, default=0, help="gives the order of the cases, so which come first")
    parser.add_argument("--budget", type=float, default=120.0, metavar="SECONDS", help="for one case")
    parser.add_argument("--tag", default="", help="a word that keeps this measurement apart from others")
    parser.add_argument("--langsmith", action="store_true", help="run as an experiment there, too")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where the lines go; default: tests/evals/results")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
