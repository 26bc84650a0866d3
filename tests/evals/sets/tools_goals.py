"""Goals over tools of one's own with the calls that reach them; none of it reaches the model but the text."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Says:
    """A text that must contain each of these words, whatever else it says; its subject or title counts, too."""

    words: tuple[str, ...]


@dataclass(frozen=True)
class GoldCall:
    """A call; arguments that are not listed are free, as are those of a subject or a title that nothing gives."""

    tool: str
    args: Mapping[str, Any]


@dataclass(frozen=True)
class ToolGoal:
    """What is asked for, in words and in calls: exactly these writes, and at least these reads."""

    name: str
    text: str
    parts: tuple[str, ...]
    writes: tuple[GoldCall, ...] = ()
    reads: tuple[GoldCall, ...] = ()
    #: Pairs of places in `writes`: the first has ended before the second begins.
    order: tuple[tuple[int, int], ...] = ()
    #: The argument that nothing gives: right is who writes nothing and asks, or says that it is missing.
    asks: str = ""


def _call(tool: str, /, **args: Any) -> GoldCall:
    return GoldCall(tool, args)


def _mail(to: str, *words: str) -> GoldCall:
    return GoldCall("send_email", {"to": to, "body": Says(words)})


_TRIP = _call("search_flights", origin="Berlin", destination="Rome", date="2026-05-04")
_OPEN = _call("list_tickets", status="open")
_OPEN_IDS = (11, 12, 15)

TOOL_GOALS = (
    # A text that speaks of earlier results.
    ToolGoal(
        "trip_options",
        "Find flights from Berlin to Rome on 2026-05-04 and hotels in Rome, then email the options to ann@example.com",
        ("trips", "mail"),
        (_mail("ann@example.com", "AZ423", "LH236", "Albergo Sole", "Villa Farnese"),),
        (_TRIP, _call("search_hotels", city="Rome")),
    ),
    ToolGoal(
        "open_tickets_by_mail",
        "Email the list of open tickets to bob@example.com",
        ("tickets", "mail"),
        (_mail("bob@example.com", "Printer jams", "VPN drops", "Slow laptop"),),
        (_OPEN,),
    ),
    ToolGoal(
        "two_stocks_by_mail",
        "Check how many desks and how many chairs are in stock and email both numbers to ops@example.com",
        ("stock", "mail"),
        (_mail("ops@example.com", "3", "40"),),
        (_call("check_stock", item="desk"), _call("check_stock", item="chair")),
    ),
    ToolGoal(
        "agenda_by_mail",
        "Send carol@example.com an email with the events of 2026-06-01",
        ("calendar", "mail"),
        (_mail("carol@example.com", "Stand-up", "Budget review"),),
        (_call("list_events", date="2026-06-01"),),
    ),
    ToolGoal(
        "price_as_comment",
        "Look up the price of a lamp and add it as a comment to ticket 12",
        ("stock", "tickets"),
        (_call("comment_on_ticket", ticket_id=12, text=Says(("35.5",))),),
        (_call("get_price", item="lamp"),),
    ),
    ToolGoal(
        "flights_in_notes",
        "Find the flights from Oslo to Paris on 2026-05-10 and create an event 'Paris trip' on 2026-05-10 at 8 with "
        "the flights in its notes",
        ("trips", "calendar"),
        (_call("create_event", title="Paris trip", date="2026-05-10", hour=8, notes=Says(("DY1492",))),),
        (_call("search_flights", origin="Oslo", destination="Paris"),),
    ),
    ToolGoal(
        "prices_by_mail",
        "Look up what a desk and a monitor cost and email both prices to sam@example.com",
        ("stock", "mail"),
        (_mail("sam@example.com", "260", "240"),),
    ),
    ToolGoal(
        "ticket_to_reporter",
        "Look up ticket 12 and email its title to lead@example.com",
        ("tickets", "mail"),
        (_mail("lead@example.com", "VPN drops"),),
        (_call("get_ticket", ticket_id=12),),
    ),
    # A call that the goal puts behind others.
    ToolGoal(
        "close_then_tell",
        "Close ticket 12, then email dave@example.com that it is closed",
        ("tickets", "mail"),
        (_call("close_ticket", ticket_id=12), _mail("dave@example.com", "closed")),
        order=((0, 1),),
    ),
    ToolGoal(
        "tell_after_order",
        "After ordering 20 chairs, email ops@example.com that they were ordered",
        ("stock", "mail"),
        (_call("order_item", item="chair", quantity=20), _mail("ops@example.com", "ordered")),
        order=((0, 1),),
    ),
    ToolGoal(
        "cancel_then_create",
        "Cancel event 75 and after that create an event 'Retro' on 2026-06-04 at 11",
        ("calendar", "mail"),
        (
            _call("cancel_event", event_id=75),
            _call("create_event", title="Retro", date="2026-06-04", hour=11),
        ),
        order=((0, 1),),
    ),
    ToolGoal(
        "assign_comment_close",
        "Assign ticket 15 to erin, then add the comment 'Please look at this today' to it, and finally close ticket 11",
        ("tickets", "mail"),
        (
            _call("assign_ticket", ticket_id=15, person="erin"),
            _call("comment_on_ticket", ticket_id=15, text=Says(("Please look at this today",))),
            _call("close_ticket", ticket_id=11),
        ),
        order=((0, 1), (1, 2)),
    ),
    ToolGoal(
        "book_then_event",
        "Book the Hotel Lutetia for Ann Smith for 2 nights and once it is booked create an event 'Paris' on 2026-07-01 "
        "at 9",
        ("trips", "calendar"),
        (
            _call("book_hotel", hotel="Hotel Lutetia", guest="Ann Smith", nights=2),
            _call("create_event", title="Paris", date="2026-07-01", hour=9),
        ),
        order=((0, 1),),
    ),
    # Conditions.
    ToolGoal(
        "desks_too_few",
        "If there are fewer than 5 desks in stock, order 10",
        ("stock", "mail"),
        (_call("order_item", item="desk", quantity=10),),
        (_call("check_stock", item="desk"),),
    ),
    ToolGoal(
        "chairs_enough",
        "If there are fewer than 5 chairs in stock, order 10",
        ("stock", "mail"),
        reads=(_call("check_stock", item="chair"),),
    ),
    ToolGoal(
        "lamps_unless",
        "Order 20 lamps unless there are at least 8 of them in stock",
        ("stock", "mail"),
        reads=(_call("check_stock", item="lamp"),),
    ),
    ToolGoal(
        "monitors_only_if_cheap",
        "Order 5 monitors, but only if one costs less than 200 euros",
        ("stock", "mail"),
        reads=(_call("get_price", item="monitor"),),
    ),
    ToolGoal(
        "low_or_fine",
        "Check the stock of chairs: if there are fewer than 5, email ops@example.com that chairs are low, otherwise "
        "email ops@example.com that chairs are fine",
        ("stock", "mail"),
        (_mail("ops@example.com", "fine"),),
        (_call("check_stock", item="chair"),),
    ),
    ToolGoal(
        "many_open_tickets",
        "If there are more than 2 open tickets, email lead@example.com that help is needed",
        ("tickets", "mail"),
        (_mail("lead@example.com", "help"),),
        (_OPEN,),
    ),
    ToolGoal(
        "no_hotel",
        "If there are no hotels in Paris, email ann@example.com that none was found",
        ("trips", "mail"),
        reads=(_call("search_hotels", city="Paris"),),
    ),
    ToolGoal(
        "close_if_open",
        "Close ticket 13 only if its status is still open",
        ("tickets", "mail"),
        reads=(_call("get_ticket", ticket_id=13),),
    ),
    ToolGoal(
        "busy_day",
        "Unless there are events on 2026-06-02, create an event 'Focus day' on 2026-06-02 at 9",
        ("calendar", "mail"),
        (_call("create_event", title="Focus day", date="2026-06-02", hour=9),),
        (_call("list_events", date="2026-06-02"),),
    ),
    # Every, each, all.
    ToolGoal(
        "close_all_open",
        "Close every open ticket",
        ("tickets", "mail"),
        tuple(_call("close_ticket", ticket_id=each) for each in _OPEN_IDS),
        (_OPEN,),
    ),
    ToolGoal(
        "assign_all_open",
        "Assign all open tickets to erin",
        ("tickets", "mail"),
        tuple(_call("assign_ticket", ticket_id=each, person="erin") for each in _OPEN_IDS),
        (_OPEN,),
    ),
    ToolGoal(
        "order_all_low",
        "Order 10 of each item that is low in stock",
        ("stock", "mail"),
        (_call("order_item", item="desk", quantity=10), _call("order_item", item="monitor", quantity=10)),
        (_call("list_low_stock"),),
    ),
    ToolGoal(
        "cancel_all_events",
        "Cancel all events on 2026-06-01",
        ("calendar", "mail"),
        (_call("cancel_event", event_id=71), _call("cancel_event", event_id=72)),
        (_call("list_events", date="2026-06-01"),),
    ),
    ToolGoal(
        "remind_each_customer",
        "Email each customer with an unpaid invoice the number of the invoice",
        ("invoices", "mail"),
        (_mail("pay@kilo.example", "R-7"), _mail("books@lima.example", "R-9")),
    ),
    ToolGoal(
        "comment_on_all_open",
        "Add the comment 'We are on it' to every open ticket",
        ("tickets", "mail"),
        tuple(_call("comment_on_ticket", ticket_id=each, text=Says(("We are on it",))) for each in _OPEN_IDS),
        (_OPEN,),
    ),
    ToolGoal(
        "tell_each_reporter",
        "Tell the reporter of every open ticket by email that we are working on it",
        ("tickets", "mail"),
        tuple(_mail(each, "working") for each in ("gil@example.com", "hana@example.com", "jo@example.com")),
        (_OPEN,),
    ),
    # What nothing gives.
    ToolGoal(
        "mail_to_the_boss",
        "Email the open tickets to my boss",
        ("tickets", "mail"),
        asks="to",
    ),
    ToolGoal(
        "event_without_day",
        "Create a calendar event for the team lunch",
        ("calendar", "mail"),
        asks="date",
    ),
    ToolGoal(
        "order_without_number",
        "Check the stock of desks and order some more",
        ("stock", "mail"),
        asks="quantity",
    ),
    ToolGoal(
        "book_without_guest",
        "Book a room in the hotel Villa Farnese for 2 nights",
        ("trips", "mail"),
        asks="guest",
    ),
    # Several parts.
    ToolGoal(
        "whole_trip",
        "Find flights from Berlin to Rome on 2026-05-04, find hotels in Rome, create an event 'Rome' on 2026-05-04 at "
        "7 and email ann@example.com the flights and the hotels",
        ("trips", "calendar", "mail"),
        (
            _call("create_event", title="Rome", date="2026-05-04", hour=7),
            _mail("ann@example.com", "AZ423", "LH236", "Albergo Sole", "Villa Farnese"),
        ),
        (_TRIP, _call("search_hotels", city="Rome")),
    ),
    ToolGoal(
        "three_errands",
        "Close ticket 12, assign ticket 15 to erin, and order 3 monitors",
        ("tickets", "stock"),
        (
            _call("close_ticket", ticket_id=12),
            _call("assign_ticket", ticket_id=15, person="erin"),
            _call("order_item", item="monitor", quantity=3),
        ),
    ),
    ToolGoal(
        "hotels_to_a_person",
        "Email Ann Smith the hotels in Rome",
        ("trips", "mail"),
        (_mail("ann.smith@corp.example", "Albergo Sole", "Villa Farnese"),),
        (_call("find_contact", name="Ann Smith"), _call("search_hotels", city="Rome")),
    ),
    ToolGoal(
        "agenda_to_a_person",
        "Look up Bob Jones and email him the events of 2026-06-03",
        ("calendar", "mail"),
        (_mail("bob.jones@corp.example", "Retro"),),
        (_call("find_contact", name="Bob Jones"), _call("list_events", date="2026-06-03")),
    ),
    ToolGoal(
        "three_stocks",
        "How many desks, chairs and lamps are in stock?",
        ("stock", "mail"),
        reads=tuple(_call("check_stock", item=each) for each in ("desk", "chair", "lamp")),
    ),
)
