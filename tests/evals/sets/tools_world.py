"""A small fixed world of tools of one's own: trips, mail, calendar, tickets, stock, each a plain typed function."""

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from langchain_core.tools import BaseTool, StructuredTool
from typing_extensions import TypedDict

from agent.errors import ToolFailure

#: Seconds that each call takes, so that calls in the wrong order are seen to overlap.
_CALL_S = 0.02
#: The file with the calls that were made, in the folder of the run: a line of JSON for each.
LOG = "calls.jsonl"


class Flight(TypedDict):
    number: str
    departure: str
    price: float


class Hotel(TypedDict):
    name: str
    price: float


class Contact(TypedDict):
    name: str
    email: str


class Event(TypedDict):
    id: int
    title: str
    hour: int


class Stock(TypedDict):
    item: str
    count: int


class Price(TypedDict):
    item: str
    euros: float


class Invoice(TypedDict):
    number: str
    customer: str
    email: str
    euros: float


_FLIGHTS: Mapping[tuple[str, str], list[Flight]] = {
    ("Berlin", "Rome"): [
        {"number": "AZ423", "departure": "07:10", "price": 129.0},
        {"number": "LH236", "departure": "15:40", "price": 188.0},
    ],
    ("Oslo", "Paris"): [{"number": "DY1492", "departure": "09:55", "price": 96.0}],
    ("Berlin", "Oslo"): [{"number": "SK2674", "departure": "18:05", "price": 141.0}],
}
_HOTELS: Mapping[str, list[Hotel]] = {
    "Rome": [{"name": "Albergo Sole", "price": 118.0}, {"name": "Villa Farnese", "price": 240.0}],
    "Paris": [{"name": "Hotel Lutetia", "price": 310.0}],
}
_CONTACTS: Mapping[str, str] = {"Ann Smith": "ann.smith@corp.example", "Bob Jones": "bob.jones@corp.example"}
_EVENTS: Mapping[str, list[Event]] = {
    "2026-06-01": [{"id": 71, "title": "Stand-up", "hour": 9}, {"id": 72, "title": "Budget review", "hour": 14}],
    "2026-06-03": [{"id": 75, "title": "Retro", "hour": 10}],
}
_TICKETS: list[dict[str, Any]] = [
    {"id": 11, "title": "Printer jams", "status": "open", "reporter": "gil@example.com"},
    {"id": 12, "title": "VPN drops", "status": "open", "reporter": "hana@example.com"},
    {"id": 13, "title": "New badge", "status": "closed", "reporter": "ivo@example.com"},
    {"id": 15, "title": "Slow laptop", "status": "open", "reporter": "jo@example.com"},
]
_STOCK = {"desk": 3, "chair": 40, "lamp": 9, "monitor": 2}
_PRICES = {"desk": 260.0, "chair": 85.0, "lamp": 35.5, "monitor": 240.0}
_INVOICES: list[Invoice] = [
    {"number": "R-7", "customer": "Kilo Ltd", "email": "pay@kilo.example", "euros": 410.0},
    {"number": "R-9", "customer": "Lima AG", "email": "books@lima.example", "euros": 95.5},
]


def search_flights(origin: str, destination: str, date: str) -> list[Flight]:
    """Search the flights between two cities on a day.

    Args:
        origin: The city of departure.
        destination: The city of arrival.
        date: The day as YYYY-MM-DD.
    """
    return _FLIGHTS.get((origin, destination), [])


def search_hotels(city: str, nights: int = 1) -> list[Hotel]:
    """Search the hotels of a city that have a free room."""
    return _HOTELS.get(city, [])


def book_hotel(hotel: str, guest: str, nights: int) -> str:
    """Book a room in a hotel for a guest."""
    return f"Booked {hotel} for {guest}."


def find_contact(name: str) -> Contact:
    """Look up the email address of a person in the address book."""
    return {"name": name, "email": _look_up("contact", _CONTACTS, name)}


def send_email(to: str, subject: str, body: str) -> str:
    """Send an email to one address."""
    return f"Sent to {to}."


def list_events(date: str) -> list[Event]:
    """List the calendar events of a day.

    Args:
        date: The day as YYYY-MM-DD.
    """
    return _EVENTS.get(date, [])


def create_event(title: str, date: str, hour: int, notes: str = "") -> Event:
    """Create a calendar event.

    Args:
        title: What it is called.
        date: The day as YYYY-MM-DD.
        hour: The hour at which it begins, 0 to 23.
        notes: Further text.
    """
    return {"id": 90, "title": title, "hour": hour}


def cancel_event(event_id: int) -> str:
    """Cancel a calendar event."""
    return f"Cancelled {event_id}."


def list_tickets(status: Literal["open", "closed"]) -> list[dict[str, Any]]:
    """List the support tickets with a status. Each has id, title, status and reporter, an email address."""
    return [ticket for ticket in _TICKETS if ticket["status"] == status]


def get_ticket(ticket_id: int) -> dict[str, Any]:
    """Get one support ticket: its id, title, status and reporter, an email address."""
    return _look_up("ticket", {ticket["id"]: ticket for ticket in _TICKETS}, ticket_id)


def close_ticket(ticket_id: int) -> str:
    """Close a support ticket."""
    return f"Closed {ticket_id}."


def assign_ticket(ticket_id: int, person: str) -> str:
    """Assign a support ticket to a person."""
    return f"Assigned {ticket_id} to {person}."


def comment_on_ticket(ticket_id: int, text: str) -> str:
    """Add a comment to a support ticket."""
    return f"Commented on {ticket_id}."


def check_stock(item: str) -> Stock:
    """Tell how many pieces of an item are in stock. Items are named in the singular."""
    return {"item": item, "count": _look_up("item", _STOCK, item)}


def list_low_stock() -> list[Stock]:
    """List the items of which fewer than five pieces are left."""
    return [{"item": item, "count": count} for item, count in _STOCK.items() if count < 5]


def get_price(item: str) -> Price:
    """Tell the price of one piece of an item. Items are named in the singular."""
    return {"item": item, "euros": _look_up("item", _PRICES, item)}


def order_item(item: str, quantity: int) -> str:
    """Order pieces of an item. Items are named in the singular."""
    _look_up("item", _STOCK, item)
    return f"Ordered {quantity} {item}."


def list_unpaid_invoices() -> list[Invoice]:
    """List the invoices that customers have not paid."""
    return _INVOICES


def _look_up(what: str, known: Mapping[Any, Any], wanted: Any) -> Any:
    if wanted not in known:
        raise ToolFailure(f"There is no {what} {wanted!r}; there are {', '.join(map(repr, known))}.")
    return known[wanted]


#: The tools of each part of the world; the flag says whether its reading tools say that they only read.
PARTS: Mapping[str, tuple[bool, tuple[Callable[..., Any], ...]]] = {
    "trips": (True, (search_flights, search_hotels, book_hotel)),
    "mail": (True, (find_contact, send_email)),
    "calendar": (True, (list_events, create_event, cancel_event)),
    "tickets": (False, (list_tickets, get_ticket, close_ticket, assign_ticket, comment_on_ticket)),
    "stock": (False, (check_stock, list_low_stock, get_price, order_item)),
    "invoices": (True, (list_unpaid_invoices,)),
}
READS = frozenset(
    {
        *("search_flights", "search_hotels", "find_contact", "list_events", "list_tickets", "get_ticket"),
        *("check_stock", "list_low_stock", "get_price", "list_unpaid_invoices"),
    }
)


def build_tools(parts: tuple[str, ...], folder: Path) -> list[BaseTool]:
    """Return the tools of these parts; each call of theirs is written down in `folder` once it has ended."""
    log = folder / LOG
    return [
        _record_calls(function, log, is_told_to_read=hinted and function.__name__ in READS)
        for part in parts
        for hinted, functions in (PARTS[part],)
        for function in functions
    ]


def _record_calls(function: Callable[..., Any], log: Path, *, is_told_to_read: bool) -> BaseTool:
    plain = StructuredTool.from_function(function, parse_docstring=True, error_on_invalid_docstring=False)

    def run(**args: Any) -> Any:
        began = time.monotonic()
        time.sleep(_CALL_S)
        output = function(**args)
        line = {"tool": plain.name, "args": args, "began": began, "ended": time.monotonic()}
        with log.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        return output

    run.__annotations__ = dict(function.__annotations__)
    metadata = {"readOnlyHint": True} if is_told_to_read else None
    return StructuredTool.from_function(
        run, name=plain.name, description=plain.description, args_schema=plain.args_schema, metadata=metadata
    )
