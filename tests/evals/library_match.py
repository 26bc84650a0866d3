"""`python -m tests.evals library`: how often the library answers a goal in other words, and never another goal."""

import asyncio
import json
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

from agent.programs.adoption import adopt_program
from agent.programs.matching import match_goal
from agent.settings import Settings
from agent.tools.analytics import analytics_tools
from agent.tools.sql.data_source import DataSource
from agent.tools.toolbox import Toolbox
from graphs.compiled_graph import PlanwaveGraph
from graphs.stores.library import Library
from planwave import build_graph
from tests.evals.library_programs import WORLDS, NamedProgram, add_program
from tests.evals.records import Line, read_lines
from tests.evals.sets.goals import gold_rows
from tests.evals.sets.grading import same_rows
from tests.evals.sets.sentences import alike
from tests.evals.tabling import wilson

#: Paraphrases with the program and the inputs that are right, and near misses with the program that they are near to.
GOALS = Path(__file__).parent / "sets" / "library_goals.json"


@dataclass(frozen=True)
class Wording:
    """A goal in some words, with what is right for it; `program` is None if no program answers it."""

    kind: str
    text: str
    program: str | None
    inputs: Mapping[str, Any]


@dataclass(frozen=True)
class Found:
    """What became of a wording."""

    wording: Wording
    #: The program and the inputs that were taken; None: none was.
    taken: tuple[str, Mapping[str, Any]] | None
    #: Whether the run gave the gold rows; None: it was not run, or has no gold.
    rows_right: bool | None = None
    seconds: float | None = None

    @property
    def is_right(self) -> bool:
        """Whether the very program was taken with the very inputs."""
        return self.taken == (self.wording.program, self.wording.inputs)


@dataclass(frozen=True)
class Shelf:
    """The programs of a world, and the graph that has them."""

    programs: tuple[NamedProgram, ...]
    source: DataSource
    toolbox: Toolbox
    graph: PlanwaveGraph


async def build_shelf(world: str, folder: Path) -> Shelf:
    """Keep a program for each goal of a world, and build a graph without a model over them."""
    goals, source = WORLDS[world]
    tools = analytics_tools(source=source(), output=folder / "output", writer=_refuse)
    toolbox, library = Toolbox(tools), Library(folder / "library")
    programs = [await add_program(goal, source(), toolbox, library) for goal in goals]
    graph = build_graph(tools=tools, settings=Settings(approve="never"), library=library)
    return Shelf(tuple(programs), source(), toolbox, graph)


def _refuse() -> Any:
    raise AssertionError("no program asks a model for prose")


def read_wordings(world: str) -> list[Wording]:
    """Return the paraphrases and near misses of a world's goals."""
    names = {goal.name for goal in WORLDS[world][0]}
    document = json.loads(GOALS.read_text(encoding="utf-8"))
    paraphrases = [
        Wording(each["half"], each["text"], each["program"], each["inputs"])
        for each in document["paraphrases"]
        if each["program"] in names
    ]
    near = [
        Wording(f"near miss, {each['half']}", each["text"], None, {})
        for each in document["near_misses"]
        if each["program"] in names
    ]
    return [*paraphrases, *near]


async def try_wording(wording: Wording, shelf: Shelf) -> Found:
    """Have the library looked through as the planner does; what is found is run by the graph."""
    programs = [each.program for each in shelf.programs]
    limits = Settings().build_limits(can_replan=False)
    adopted, _ = await adopt_program(wording.text, programs, shelf.toolbox, limits=limits)
    if adopted is None:
        return Found(wording, None)
    taken = (adopted.match.program.name, dict(adopted.match.values))
    if wording.program is None:
        return Found(wording, taken)
    began = time.monotonic()
    out = await shelf.graph.ainvoke({"goal": wording.text}, {"configurable": {"thread_id": f"t{time.monotonic_ns()}"}})
    seconds = time.monotonic() - began
    assert out["status"] == "completed", out
    assert not out["usage"].get("calls"), "a model was asked"
    own = next(each for each in shelf.programs if each.program.name == taken[0])
    gold = _gives_gold(own, shelf.source, out["results"]) if wording.kind == "as written" else None
    return Found(wording, taken, gold, seconds)


def _gives_gold(own: NamedProgram, source: DataSource, results: Mapping[str, Any]) -> bool:
    given = [
        record["output"]["rows"] for name, record in results.items() if name.startswith("rows") and record["output"]
    ]
    return all(
        any(same_rows(gold_rows(gold, source), rows, ordered=gold.ordered) for rows in given) for gold in own.goal.golds
    )


async def try_world(world: str, folder: Path) -> tuple[list[Found], tuple[NamedProgram, ...]]:
    """Try every wording of a world: as written, in other words, and near misses; return the programs, too."""
    shelf = await build_shelf(world, folder)
    examples = {each.goal.name: _get_values(each) for each in shelf.programs}
    written = [
        Wording("as written", each.goal.text, each.goal.name, examples[each.goal.name]) for each in shelf.programs
    ]
    return [await try_wording(wording, shelf) for wording in (*written, *read_wordings(world))], shelf.programs


def _get_values(own: NamedProgram) -> dict[str, Any]:
    schemas = own.program.inputs_schema["properties"]
    return {name: schema["examples"][0] for name, schema in schemas.items()}


def list_crossings(programs: Sequence[NamedProgram]) -> Iterator[str]:
    """Yield a line for each goal that the program of another one answers."""
    for asked in programs:
        for other in programs:
            if asked.goal != other.goal and match_goal(asked.goal.text, other.program) is not None:
                yield f"{other.goal.name} takes {asked.goal.text!r}"


async def measure(without: Iterable[Path], *, by_meaning: bool) -> str:
    """Try all worlds and return the table, and the cost beside that of the runs `without` a library.

    `by_meaning`: say, too, what a sentence model would take, which is fetched once and takes minutes.
    """
    found: list[Found] = []
    programs: list[NamedProgram] = []
    for world in WORLDS:
        with TemporaryDirectory(prefix="planwave-evals-", ignore_cleanup_errors=True) as folder:
            tried, own = await try_world(world, Path(folder))
        found += tried
        programs += own
    crossings = list(list_crossings(programs))
    pairs = len(programs) * (len(programs) - 1)
    return "\n".join(
        [
            *_build_table(found),
            "",
            f"Each other goal against each program: {len(crossings)} of {pairs} taken.",
            *crossings,
            "",
            *([compare_meanings(programs), ""] if by_meaning else []),
            *_list_faults(found),
            *_compare_costs(found, read_lines(without)),
        ]
    )


def _build_table(found: Sequence[Found]) -> Iterator[str]:
    yield "| goals | found | rightly | 95% | wrongly taken | median seconds |"
    yield "|---|---|---|---|---|---|"
    for kind in dict.fromkeys(each.wording.kind for each in found):
        own = [each for each in found if each.wording.kind == kind]
        taken = [each for each in own if each.taken is not None]
        right = sum(each.is_right for each in own)
        seconds = [each.seconds for each in own if each.seconds is not None]
        low, high = wilson(right, len(own))
        interval = "" if kind.startswith("near") else f"{low:.0%} to {high:.0%}"
        rightly = "" if kind.startswith("near") else f"{right} of {len(own)}"
        spent = f"{median(seconds):.2f}" if seconds else ""
        wrong = len(taken) - right
        yield f"| {kind} | {len(taken)} of {len(own)} | {rightly} | {interval} | {wrong} | {spent} |"


def _list_faults(found: Sequence[Found]) -> Iterator[str]:
    for each in found:
        if each.taken is None and each.wording.program is not None:
            yield f"not found ({each.wording.kind}): {each.wording.text}"
        elif each.taken is not None and not each.is_right:
            yield f"WRONG ({each.wording.kind}): {each.wording.text} -> {each.taken}"
        if each.rows_right is False:
            yield f"WRONG ROWS: {each.wording.text}"


def _compare_costs(found: Sequence[Found], lines: Sequence[Line]) -> Iterator[str]:
    """Yield what the goals as written cost with and without the library, as far as `lines` have them."""
    own = {each.wording.program: each for each in found if each.wording.kind == "as written" and each.seconds}
    both = [(line, own[line.id]) for line in lines if line.id in own]
    if not both:
        return
    tokens = sum(line.input_tokens + line.output_tokens for line, _ in both)
    before = [line.seconds for line, _ in both]
    after = [each.seconds or 0.0 for _, each in both]
    yield f"On the {len(both)} goals that were run without a library too, as written:"
    yield "| | model calls | tokens | seconds, sum | seconds, median | right |"
    yield "|---|---|---|---|---|---|"
    calls = sum(line.calls for line, _ in both)
    right = sum(line.outcome == "right" for line, _ in both)
    yield f"| without | {calls} | {tokens:,} | {sum(before):.0f} | {median(before):.1f} | {right} |"
    good = sum(each.rows_right is True for _, each in both)
    yield f"| with | 0 | 0 | {sum(after):.0f} | {median(after):.2f} | {good} |"
    yield f"Seconds saved: {1 - sum(after) / sum(before):.1%}; tokens saved: 100%."


def compare_meanings(programs: Iterable[NamedProgram]) -> str:
    """Return what a sentence model would take: how like each wording is to its program's goal, values aside."""
    known = {each.goal.name: each.program for each in programs}
    document = json.loads(GOALS.read_text(encoding="utf-8"))

    def rate(each: Mapping[str, Any]) -> float:
        program = known[each["program"]]
        schemas = program.inputs_schema["properties"]
        values = each.get("inputs") or {name: schema["examples"][0] for name, schema in schemas.items()}
        text = each["text"]
        for name, value in values.items():
            text = re.sub(rf"\b{re.escape(str(value))}\b", f"{{{name}}}", text, flags=re.IGNORECASE)
        return float(alike([text], [program.goal_template])[0, 0])

    same = sorted(map(rate, document["paraphrases"]))
    other = sorted(map(rate, document["near_misses"]))
    best = sum(each > other[-1] for each in same)
    half = sum(each >= median(same) for each in other)
    return (
        f"By the likeness of sentences (all-MiniLM-L6-v2): {best} of {len(same)} paraphrases are more like the goal "
        f"than every near miss; at the likeness that half of them have, {half} of {len(other)} near misses would be "
        "taken. "
        f"Median likeness: {median(same):.2f} of paraphrases, {median(other):.2f} of near misses."
    )


def run_library(words: Sequence[str]) -> None:
    """Print the measurement; the words are files of results without a library, and perhaps `--by-meaning`."""
    files = [Path(word) for word in words if word != "--by-meaning"]
    print(asyncio.run(measure(files, by_meaning="--by-meaning" in words)))
