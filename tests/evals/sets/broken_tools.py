"""A small world of tools that fail on order: markets, weather, stock and parcels, the same answers each time."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from langchain_core.tools import BaseTool, StructuredTool

from agent.errors import ToolFailure


@dataclass(frozen=True)
class Fault:
    """How a tool fails: always, or for so many first calls; `passing` failures are those of a connection."""

    words: str
    calls: int | None = None
    passing: bool = False


@dataclass
class World:
    """The tools of one run; each counts its calls."""

    faults: Mapping[str, Fault]
    counts: dict[str, int] = field(default_factory=dict)

    def tool(self, name: str) -> BaseTool:
        """Return the tool `name`, which fails first where it is to."""
        made = _TOOLS[name]

        def run(**args: Any) -> dict[str, Any]:
            self.counts[name] = self.counts.get(name, 0) + 1
            fault = self.faults.get(name)
            if fault and (fault.calls is None or self.counts[name] <= fault.calls):
                raise ConnectionError(fault.words) if fault.passing else ToolFailure(fault.words)
            return made.work(**args)

        async def run_soon(**args: Any) -> dict[str, Any]:
            return run(**args)

        return StructuredTool.from_function(
            func=run,
            coroutine=run_soon,
            name=name,
            description=made.description,
            args_schema=_object({each: _argument(told) for each, told in made.takes.items()}),
            metadata={
                "readOnlyHint": True,
                "output_schema": _object({each: {"type": kind} for each, kind in made.gives.items()}),
            },
        )


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": dict(properties),
        "required": list(properties),
        "additionalProperties": False,
    }


def _argument(told: str) -> dict[str, Any]:
    kind, _, words = told.partition(": ")
    return {"type": kind, "description": words}


@dataclass(frozen=True)
class _Made:
    description: str
    takes: Mapping[str, str]
    gives: Mapping[str, str]
    work: Callable[..., dict[str, Any]]


_RATES = {"EUR": 1.0, "USD": 1.08, "GBP": 0.85, "CHF": 0.95}
_WEATHER = {"Munich": 21.0, "Oslo": 9.0, "Lisbon": 26.0}
_STOCK = {"desk": 14, "office chair": 32, "lamp": 0}
_PRICES = {"desk": 240.0, "office chair": 125.0, "lamp": 40.0}
_SALES = {2022: 5_200.0, 2023: 6_400.0}
_PARCELS = {"P-100": "Hamburg", "P-200": "Lyon"}


def _looked_up(what: str, known: Mapping[Any, Any], wanted: Any) -> Any:
    if wanted not in known:
        listed = ", ".join(map(repr, known))
        raise ToolFailure(f"There is no {what} {wanted!r}; there are {listed}.")
    return known[wanted]


def _rate(currency: str) -> dict[str, Any]:
    return {"per_euro": _looked_up("currency", _RATES, currency)}


def _pieces(item: str) -> dict[str, Any]:
    return {"count": _looked_up("item", _STOCK, item)}


_TOOLS: Mapping[str, _Made] = {
    "rate_live": _Made(
        "The exchange rate of this minute: how much of a currency one euro buys.",
        {"currency": "string: Three letters, such as 'USD'."},
        {"per_euro": "number"},
        _rate,
    ),
    "rate_of_the_day": _Made(
        "The official exchange rate of the day: how much of a currency one euro buys.",
        {"currency": "string: Three letters, such as 'USD'."},
        {"per_euro": "number"},
        _rate,
    ),
    "temperature": _Made(
        "The temperature in a city now, in degrees Celsius.",
        {"city": "string: Name of the city in English."},
        {"celsius": "number"},
        lambda city: {"celsius": _looked_up("city", _WEATHER, city)},
    ),
    "satellite_temperature": _Made(
        "The temperature in a city as a satellite sees it, in degrees Celsius.",
        {"city": "string: Name of the city in English."},
        {"celsius": "number"},
        lambda city: {"celsius": _looked_up("city", _WEATHER, city)},
    ),
    "stock_count": _Made(
        "How many pieces of an item are in stock.",
        {"item": "string: Name of the item, in the singular."},
        {"count": "integer"},
        _pieces,
    ),
    "shelf_count": _Made(
        "How many pieces of an item were on the shelves when they were last counted, which is today.",
        {"item": "string: Name of the item, in the singular."},
        {"count": "integer"},
        _pieces,
    ),
    "price": _Made(
        "The price of one piece of an item in euros.",
        {"item": "string: Name of the item, in the singular."},
        {"euros": "number"},
        lambda item: {"euros": _looked_up("item", _PRICES, item)},
    ),
    "sales_of_year": _Made(
        "The sales of a year in euros.",
        {"year": "integer: The year, such as 2023."},
        {"euros": "number"},
        lambda year: {"euros": _looked_up("year", _SALES, year)},
    ),
    "parcel_place": _Made(
        "The city in which a parcel is.",
        {"number": "string: Number of the parcel, such as 'P-100'."},
        {"city": "string"},
        lambda number: {"city": _looked_up("parcel", _PARCELS, number)},
    ),
    "multiply": _Made(
        "Multiplies two numbers.",
        {"a": "number: One number.", "b": "number: The other number."},
        {"result": "number"},
        lambda a, b: {"result": a * b},
    ),
    "subtract": _Made(
        "Subtracts the second number from the first.",
        {"a": "number: The first number.", "b": "number: The second number."},
        {"result": "number"},
        lambda a, b: {"result": a - b},
    ),
}
