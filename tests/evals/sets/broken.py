"""Broken worlds: a plan is given, and something in it cannot be done as it stands. Is its goal still reached?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from langchain_core.tools import BaseTool

from tests.evals.cases import Attempt, Case, Verdict, Writer, final_call
from tests.evals.sets.broken_tools import Fault, World
from tests.evals.sets.grading import same_cell

_DOWN = "The service is down for maintenance until tomorrow; use another tool."
_GONE = "Connection refused."
_ARITHMETIC = ("multiply", "subtract")


@dataclass(frozen=True)
class Broken:
    """A goal, the plan it is given with, how the world fails it, and the value that its last call must give.

    None as the value: the goal cannot be reached, and right is who does not claim to have reached it.
    """

    name: str
    goal: str
    tools: tuple[str, ...]
    tasks: tuple[Mapping[str, Any], ...]
    value: float | str | None
    faults: Mapping[str, Fault] = field(default_factory=dict)


def _task(name: str, tool: str, **args: Any) -> dict[str, Any]:
    return {"id": name, "description": f"{name.replace('_', ' ').capitalize()}", "tool": tool, "args": args}


def _of(task: str, key: str) -> dict[str, Any]:
    return {"output_of": task, "path": [key]}


def _in_dollars(tool: str, currency: str) -> tuple[Mapping[str, Any], ...]:
    return (
        _task("rate", tool, currency=currency),
        _task("price_of_a_desk", "price", item="desk"),
        _task("price_converted", "multiply", a=_of("price_of_a_desk", "euros"), b=_of("rate", "per_euro")),
    )


def _difference(tool: str, warm: str, cold: str) -> tuple[Mapping[str, Any], ...]:
    return (
        _task("warm", tool, city=warm),
        _task("cold", tool, city=cold),
        _task("difference", "subtract", a=_of("warm", "celsius"), b=_of("cold", "celsius")),
    )


def _worth(tool: str, counted: str, priced: str) -> tuple[Mapping[str, Any], ...]:
    return (
        _task("pieces", tool, item=counted),
        _task("price_of_one", "price", item=priced),
        _task("worth", "multiply", a=_of("pieces", "count"), b=_of("price_of_one", "euros")),
    )


def _growth(later: int, earlier: int) -> tuple[Mapping[str, Any], ...]:
    return (
        _task("later_sales", "sales_of_year", year=later),
        _task("earlier_sales", "sales_of_year", year=earlier),
        _task("growth", "subtract", a=_of("later_sales", "euros"), b=_of("earlier_sales", "euros")),
    )


_RATE_TOOLS = ("rate_live", "rate_of_the_day", "price", *_ARITHMETIC)
_CITY_TOOLS = ("temperature", "satellite_temperature", *_ARITHMETIC)
_STOCK_TOOLS = ("stock_count", "shelf_count", "price", *_ARITHMETIC)
_DOLLARS = "What is the price of a desk in US dollars?"
_WARMER = "How many degrees warmer is Munich than Oslo?"
_CHAIRS = "What are all office chairs in stock worth in euros?"

WORLDS = (
    Broken(
        "fails_twice",
        _DOLLARS,
        _RATE_TOOLS,
        _in_dollars("rate_live", "USD"),
        259.2,
        {"rate_live": Fault(_GONE, 2, passing=True)},
    ),
    Broken(
        "fails_once_for_good",
        _WARMER,
        _CITY_TOOLS,
        _difference("temperature", "Munich", "Oslo"),
        12.0,
        {"temperature": Fault("The sensor gave no reading; ask again.", 1)},
    ),
    Broken(
        "fails_once_in_stock",
        _CHAIRS,
        _STOCK_TOOLS,
        _worth("stock_count", "office chair", "office chair"),
        4_000.0,
        {"stock_count": Fault("The count is being taken; ask again.", 1)},
    ),
    Broken("rate_is_down", _DOLLARS, _RATE_TOOLS, _in_dollars("rate_live", "USD"), 259.2, {"rate_live": Fault(_DOWN)}),
    Broken(
        "sensor_is_down",
        _WARMER,
        _CITY_TOOLS,
        _difference("temperature", "Munich", "Oslo"),
        12.0,
        {"temperature": Fault(_DOWN)},
    ),
    Broken(
        "count_is_down",
        _CHAIRS,
        _STOCK_TOOLS,
        _worth("stock_count", "office chair", "office chair"),
        4_000.0,
        {"stock_count": Fault(_DOWN)},
    ),
    Broken(
        "no_connection",
        _WARMER,
        _CITY_TOOLS,
        _difference("temperature", "Munich", "Oslo"),
        12.0,
        {"temperature": Fault(_GONE, passing=True)},
    ),
    Broken("city_misspelt", _WARMER, _CITY_TOOLS, _difference("temperature", "Munchen", "Oslo"), 12.0),
    Broken("currency_by_name", _DOLLARS, _RATE_TOOLS, _in_dollars("rate_live", "dollar"), 259.2),
    Broken("item_in_plural", _CHAIRS, _STOCK_TOOLS, _worth("stock_count", "office chairs", "office chair"), 4_000.0),
    Broken("two_items_wrong", _CHAIRS, _STOCK_TOOLS, _worth("stock_count", "chairs", "chairs"), 4_000.0),
    Broken(
        "year_mistyped",
        "By how many euros did sales grow from 2022 to 2023?",
        ("sales_of_year", *_ARITHMETIC),
        _growth(2023, 2202),
        1_200.0,
    ),
    Broken(
        "parcel_mistyped",
        "In which city is the parcel P-100?",
        ("parcel_place",),
        (_task("place", "parcel_place", number="P100"),),
        "Hamburg",
    ),
    Broken(
        "year_not_recorded",
        "What were the sales of 2019 in euros?",
        ("sales_of_year", *_ARITHMETIC),
        (_task("sales", "sales_of_year", year=2019),),
        None,
    ),
    Broken(
        "city_not_known", "How warm is it in Cairo?", _CITY_TOOLS, (_task("warmth", "temperature", city="Cairo"),), None
    ),
    Broken(
        "all_are_down",
        _DOLLARS,
        _RATE_TOOLS,
        _in_dollars("rate_live", "USD"),
        None,
        {"rate_live": Fault(_DOWN), "rate_of_the_day": Fault(_DOWN)},
    ),
)


def cases() -> list[Case]:
    """Return the broken worlds."""
    return [
        Case(
            id=world.name,
            goal=world.goal,
            tools=partial(_tools, world),
            judge=partial(judged, world),
            plan={"tasks": [dict(task) for task in world.tasks]},
        )
        for world in WORLDS
    ]


def _tools(world: Broken, _output: Path, _writer: Writer) -> Sequence[BaseTool]:
    made = World(world.faults)
    return [made.tool(name) for name in world.tools]


def judged(world: Broken, attempt: Attempt, _output: Path) -> Verdict:
    """Judge by what the last call gave; where there is nothing to be had, by whether the run owns that."""
    last = final_call(attempt.calls)
    if world.value is None:
        claimed = attempt.ending == "finished" and last is not None and last.done
        return Verdict(right=not claimed, why=f"it ends with {last.output!r}" if claimed and last else "")
    if last is None or not last.done:
        return Verdict(right=False, why=next((call.error for call in attempt.calls if call.error), "nothing was given"))
    value = next(iter(last.output.values())) if isinstance(last.output, dict) and last.output else last.output
    right = same_cell(world.value, value)
    return Verdict(right=right, why="" if right else f"{value!r} is not {world.value!r}")
