"""What a goal over tools of one's own asks for and no task does: found before the run, asked again once, then told."""

from dataclasses import replace

import pytest
from langchain_core.tools import StructuredTool

from agent.planning.planner import PlanningResult, make_plan
from agent.tools.toolbox import Toolbox
from tests.support.openai_endpoint import Endpoint, Text
from tests.support.planning_kit import LIMITS, SETTINGS, model_at

TICKETS = {"type": "array", "items": {"type": "object", "properties": {"id": {"type": "integer"}}, "required": ["id"]}}
COUNT = {"type": "object", "properties": {"count": {"type": "integer"}}, "required": ["count"]}
DONE = {"type": "string"}


def list_tickets(status: str) -> list:
    """List the tickets with a status."""


def close_ticket(id: int) -> str:  # noqa: A002 - an argument that tools have
    """Close a ticket."""


def send_email(to: str, body: str) -> str:
    """Send an email."""


def check_stock(item: str) -> dict:
    """Tell how many of an item there are."""


def order_item(item: str, count: int) -> str:
    """Order more of an item."""


def toolbox() -> Toolbox:
    reads = {"readOnlyHint": True}
    made = (
        (list_tickets, {**reads, "output_schema": TICKETS}),
        (check_stock, {**reads, "output_schema": COUNT}),
        *((each, {"output_schema": DONE}) for each in (close_ticket, send_email, order_item)),
    )
    return Toolbox(StructuredTool.from_function(function, metadata=metadata) for function, metadata in made)


async def planned(goal: str, *script: str) -> tuple[PlanningResult, list[str]]:
    with Endpoint([*map(Text, script)]) as endpoint:
        model = replace(model_at(endpoint, small=True), max_parallel_texts=1)
        found = await make_plan(
            goal, context="", toolbox=toolbox(), model=model, settings=SETTINGS, limits=LIMITS, emit=lambda _event: None
        )
    assert isinstance(found, PlanningResult), found
    return found, [request.text for request in endpoint.requests]


MAIL = "a = list_tickets('open')\nb = send_email('ann@example.com', "


@pytest.mark.parametrize(
    ("goal", "script", "told"),
    [
        (
            "If the boss agrees, order 10 desks",
            "a = check_stock('desk')\nb = order_item('desk', 10)",
            "The goal has a condition ('If the boss agrees, order 10')",
        ),
        (
            "Order 10 desks unless the boss says no desks",
            "b = order_item('desk', 10)",
            "condition ('unless the boss says no desks')",
        ),
        (
            "If there are fewer than 5 desks, order 10, otherwise email ann@example.com",
            "a = check_stock('desk')\nif a['count'] < 5:\n    b = order_item('desk', 10)",
            "The goal says what to do otherwise ('email ann@example.com'), and no task is for that",
        ),
        ("Close an open ticket", "a = list_tickets('open')", "no task calls 'close_ticket'"),
        ("Close ticket 7 and buy 2 desks", "b = close_ticket(7)", "no task calls 'order_item'"),
        (
            "Order 3 desks for every open ticket",
            "a = list_tickets('open')\nb = order_item('desk', 3)",
            "'order_item' is called once, not for each",
        ),
        (
            "Email ann@example.com",
            "b = send_email('ann@example.com', 'Tickets: ')",
            "'body' of 'b' is 'Tickets: ', which has no result in it",
        ),
        ("Email ann@example.com", "b = send_email('ann@example.com', '[tickets]')", "which has no result in it"),
        (
            "Email the open tickets to the boss",
            "a = list_tickets('open')\nb = send_email('boss@corp.com', f'{a}')",
            "'boss@corp.com', which neither the goal nor a result says",
        ),
    ],
)
async def test_what_a_plan_leaves_out_is_asked_again_once_and_told(goal: str, script: str, told: str) -> None:
    found, asked = await planned(goal, script, script)
    assert told in found.doubt
    assert found.confidence is not None
    assert found.confidence.level == "unsure"
    assert len(asked) == 2
    assert told in asked[1]


@pytest.mark.parametrize(
    ("goal", "script", "expected"),
    [
        (
            "If there are fewer than 5 desks, order 10",
            "a = check_stock('desk')\nb = order_item('desk', 10)",
            {"condition": "a.count < 5"},
        ),
        (
            "Order 10 desks unless there are 5",
            "a = check_stock('desk')\nb = order_item('desk', 10)",
            {"condition": "!(a.count >= 5)"},
        ),
        ("Close every open ticket", "a = list_tickets('open')", {"for_each": {"output_of": "a", "path": []}}),
        (
            "Close every open ticket",
            "a = list_tickets('open')\nb = close_ticket(1)",
            {"args": {"id": {"item": ["id"]}}, "for_each": {"output_of": "a", "path": []}},
        ),
        *(
            (
                "Email the open tickets to ann@example.com",
                MAIL + text,
                {
                    "args": {
                        "to": "ann@example.com",
                        "body": {"template": template, "values": {"v1": {"output_of": "a", "path": []}}},
                    }
                },
            )
            for text, template in (("'Tickets: ')", "Tickets: {v1}"), ("'[tickets]')", "{v1}"))
        ),
    ],
)
async def test_what_the_goal_decides_is_completed_at_once(goal: str, script: str, expected: dict) -> None:
    found, asked = await planned(goal, script)
    assert (found.doubt, len(asked)) == ("", 1)
    assert {name: found.plan["tasks"][-1][name] for name in expected} == expected


@pytest.mark.parametrize(
    ("goal", "script"),
    [
        ("Email the open tickets to ann@example.com", MAIL + "'Tickets: ' + str(a))"),
        ("Email the open tickets to ann@example.com", MAIL + "f'Tickets: {a}')"),
        ("List every open ticket", "a = list_tickets('open')"),
        ("Close ticket 7", "a = close_ticket(7)"),
        ("Order 10 desks", "a = order_item('desk', 10)"),
        ("Tell whether there are desks", "a = check_stock('desk')"),
    ],
)
async def test_a_plan_that_does_it_all_is_taken_at_once(goal: str, script: str) -> None:
    found, asked = await planned(goal, script)
    assert (found.doubt, len(asked)) == ("", 1)


async def test_a_second_plan_that_leaves_out_nothing_is_taken() -> None:
    found, asked = await planned(
        "Close ticket 7 and buy 2 desks", "close_ticket(7)", "close_ticket(7)\norder_item('desk', 2)"
    )
    assert (found.doubt, len(asked)) == ("", 2)
    assert [task["tool"] for task in found.plan["tasks"]] == ["close_ticket", "order_item"]
