"""Goals over three databases, judged by the rows that were given, the chart that was drawn, the file that was saved."""

import csv
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any

from langchain_core.tools import BaseTool

from agent.settings import Settings
from agent.tools.analytics import analytics_tools
from agent.tools.sample_data import ensure_shop
from agent.tools.sql.data_source import DataSource, open_data_source
from tests.evals.cases import Attempt, Call, Case, Verdict, Writer
from tests.evals.sets.bikes import build_bikes
from tests.evals.sets.clinic import build_clinic
from tests.evals.sets.goal import Goal, Gold
from tests.evals.sets.goals_bikes import BIKES
from tests.evals.sets.goals_clinic import CLINIC
from tests.evals.sets.goals_shop import SHOP
from tests.evals.sets.grading import same_rows

#: Bytes; the axes alone take more.
_SMALLEST_CHART = 3_000
#: The tools that give rows.
_ROWS_BY = frozenset({"query_database", "analyze_rows"})


def cases() -> list[Case]:
    """Return the goals over the sample shop, the clinic and the bike-share scheme."""
    return build_cases(((SHOP, shop), (CLINIC, clinic), (BIKES, bikes)))


def build_cases(worlds: Iterable[tuple[Sequence[Goal], Callable[[], DataSource]]]) -> list[Case]:
    """Return a case for each goal, over the database that belongs to it."""
    return [
        Case(id=goal.name, goal=goal.text, tools=partial(_tools, source), judge=partial(judged, goal, source))
        for goals, source in worlds
        for goal in goals
    ]


@cache
def shop() -> DataSource:
    """Return the sample shop, built where it is not yet there."""
    return open_data_source(ensure_shop(Settings().data_folder))


@cache
def clinic() -> DataSource:
    """Return the clinic, made anew in each process."""
    return open_data_source(build_clinic(make_folder() / "clinic.sqlite"))


@cache
def bikes() -> DataSource:
    """Return the bike-share scheme, made anew in each process."""
    return open_data_source(build_bikes(make_folder() / "bikes.duckdb"))


@cache
def _kept() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="planwave-evals-", ignore_cleanup_errors=True)


def make_folder() -> Path:
    """Return the folder of this process for databases that are made anew."""
    return Path(_kept().name)


def _tools(source: Callable[[], DataSource], output: Path, writer: Writer) -> list[BaseTool]:
    return analytics_tools(source=source(), output=output, writer=writer)


def judged(goal: Goal, source: Callable[[], DataSource], attempt: Attempt, output: Path) -> Verdict:
    """Judge by what was delivered: rows, a chart, a file; the words of an answer are not looked at.

    As many as there are golds, the last calls that gave rows are the answer. Earlier ones are ways there, so a strategy
    that asks more often has no more chances; and which call the answer is, no strategy has to say.
    """
    wrong = tuple(_faults(goal, source(), attempt, output))
    return Verdict(right=not wrong, why="; ".join(wrong))


def _faults(goal: Goal, source: DataSource, attempt: Attempt, output: Path) -> Iterator[str]:
    done = [call for call in attempt.calls if call.done and isinstance(call.output, dict)]
    given = [call.output["rows"] for call in done if call.tool in _ROWS_BY and "rows" in call.output]
    last = given[-len(goal.golds) :]
    golds = [(gold, gold_rows(gold, source)) for gold in goal.golds]
    for gold, rows in golds:
        if not any(same_rows(rows, one, ordered=gold.ordered) for one in last):
            yield f"the last rows are not {rows[:3]}"
    if goal.chart and not any(map(_drawn, done)):
        yield "no chart was drawn"
    if goal.file and not any(_saved(golds, file) for file in output.rglob(f"*{goal.file}")):
        yield f"no {goal.file} with these rows was saved"


def gold_rows(gold: Gold, source: DataSource) -> list[tuple[Any, ...]]:
    """Return the right rows."""
    with source.get_connection() as connection:
        return connection.execute(gold.sql).fetchall()


def _drawn(call: Call) -> bool:
    files = [Path(str(call.output[kind])) for kind in ("png", "svg", "html") if kind in call.output]
    return len(files) == 3 and all(file.is_file() and file.stat().st_size >= _SMALLEST_CHART for file in files)


def _saved(golds: Iterable[tuple[Gold, list[tuple[Any, ...]]]], file: Path) -> bool:
    with file.open(encoding="utf-8-sig", newline="") as text:
        given = [{name: value or None for name, value in row.items()} for row in csv.DictReader(text)]
    return any(same_rows(rows, given, ordered=gold.ordered) for gold, rows in golds)
