"""Tools as benchmarks of tool agents have them, unchanged: whole conversations' worth of writes, each approved."""

import json
from typing import Any

import pytest
from langgraph.types import Command

from agent.settings import Settings
from graphs.persistence import open_persistence
from graphs.plan_execute import build_graph
from tests.graphs.tools.airline_desk import AirlineDesk
from tests.graphs.tools.retail_desk import RetailDesk
from tests.support.worlds import ref, thread

DAY = "2024-05-20"
USER = {"output_of": "user", "path": ["user_id"]}
TRIP = [
    {"id": "user", "tool": "get_user_details", "args": {"user_id": "mia_li_3668"}, "description": "Who she is"},
    {"id": "trips", "tool": "search_onestop_flight", "args": {"origin": "SFO", "destination": "JFK", "date": DAY}},
    {
        "id": "book",
        "tool": "book_reservation",
        "args": {
            "user_id": USER,
            "cabin": "economy",
            "flights": [{"flight_number": ref("trips", 0, leg, "flight_number"), "date": DAY} for leg in (0, 1)],
            "passengers": ref("user", "saved_passengers"),
            "payment_methods": [
                {"payment_id": "certificate_4856383", "amount": 100},
                {"payment_id": "credit_card_4421486", "amount": 382.0},
            ],
        },
        "expected_outcome": "A reservation of two flights for two",
    },
    {
        "id": "bags",
        "tool": "update_reservation_baggages",
        "args": {
            "reservation_id": ref("book", "reservation_id"),
            "total_baggages": 3,
            "nonfree_baggages": 1,
            "payment_id": "credit_card_4421486",
        },
    },
    {"id": "olds", "tool": "get_reservation_details", "for_each": ref("user", "reservations"),
     "args": {"reservation_id": {"item": []}}},
    {"id": "cancel", "tool": "cancel_reservation", "args": {"reservation_id": "NO6JO3"},
     "depends_on": ["book", "olds"]},
    {"id": "sorry", "tool": "send_certificate", "args": {"user_id": USER, "amount": 50}, "depends_on": ["cancel"]},
]  # fmt: skip


async def run_whole(desk: Any, tasks: list[dict[str, Any]], decide: Any, tmp_path: Any, **settings: Any) -> Any:
    """Run a plan to its end, each question answered by `decide(request)`, in another process's graph each time."""
    given: Any = {"goal": "Do as the customer asks.", "plan": {"tasks": tasks}}
    asked: list[dict[str, Any]] = []
    for _ in range(20):
        async with open_persistence(f"sqlite:///{tmp_path / 'desk.db'}") as persistence:
            graph = build_graph(tools=desk.tools(), persistence=persistence, settings=Settings(**settings))
            out = await graph.ainvoke(given, thread())
        if out["status"] != "awaiting_approval":
            return out, asked
        requests = [one for question in out["__interrupt__"] for one in question.value["action_requests"]]
        asked += requests
        given = Command(resume={"decisions": [{**decide(one), "digest": one["digest"]} for one in requests]})
    raise AssertionError("it asks without end")


def approve(request: dict[str, Any]) -> dict[str, Any]:
    return {"type": "approve"}


@pytest.mark.parametrize("desk", [AirlineDesk(), RetailDesk()], ids=["airline", "retail"])
def test_each_desk_has_fifteen_tools_whose_arguments_are_described(desk):
    [*tools] = desk.tools()
    assert len(tools) == 15
    assert all(each.get("description") for tool in tools for each in tool.args.values())


async def test_a_trip_is_booked_changed_and_paid_back_with_every_write_approved(tmp_path):
    desk = AirlineDesk()
    out, asked = await run_whole(desk, TRIP, approve, tmp_path)
    assert out["status"] == "completed", out["answer"]
    assert [one["task_id"] for one in asked] == ["book", "bags", "cancel", "sorry"]
    assert sorted(desk.made) == sorted(
        ["book_reservation", "update_reservation_baggages", "cancel_reservation", "send_certificate"]
    )
    # A person saw what the references stand for.
    assert asked[0]["args"]["passengers"] == [
        {"first_name": "Mia", "last_name": "Li", "dob": "1990-04-05"},
        {"first_name": "Noah", "last_name": "Li", "dob": "1988-01-02"},
    ]
    assert [leg["flight_number"] for leg in asked[0]["args"]["flights"]] == ["HAT102", "HAT103"]
    booked = desk.reservations["HATH1"]
    assert (booked.total_baggages, booked.status, len(booked.passengers)) == (3, "active", 2)
    assert desk.reservations["NO6JO3"].status == "cancelled"
    assert out["results"]["book"]["output"]["payments"][1] == {"payment_id": "credit_card_4421486", "amount": 382.0}


RETAIL = [
    {"id": "id", "tool": "find_user_id_by_name_zip",
     "args": {"first_name": "Yusuf", "last_name": "Rossi", "zip": "78701"}},
    {"id": "user", "tool": "get_user_details", "args": {"user_id": ref("id")}},
    {"id": "orders", "tool": "get_order_details", "for_each": ref("user", "orders"),
     "args": {"order_id": {"item": []}}},
    {"id": "keyboard", "tool": "get_product_details",
     "args": {"product_id": ref("orders", 0, "items", 0, "product_id")}},
    {"id": "address", "tool": "modify_user_address",
     "args": {"user_id": ref("id"), "address": {"address1": "1 Elm St", "city": "Dallas", "zip": "75001"}}},
    {"id": "items", "tool": "modify_pending_order_items",
     "args": {"order_id": ref("orders", 0, "order_id"), "item_ids": ["k-red"],
              "new_item_ids": [ref("keyboard", "variants", "k-blue", "item_id")],
              "payment_method_id": "credit_card_9513926"}},
    {"id": "back", "tool": "return_delivered_order_items", "depends_on": ["items", "move"],
     "args": {"order_id": ref("orders", 1, "order_id"), "item_ids": ref("orders", 1, "items", "*", "item_id"),
              "payment_method_id": "credit_card_9513926"}},
    {"id": "move", "tool": "modify_pending_order_address",
     "args": {"order_id": "#W3", "address": ref("address", "address")}},
]  # fmt: skip


async def test_orders_are_changed_as_a_person_approves_edits_and_refuses(tmp_path):
    def decide(request: dict[str, Any]) -> dict[str, Any]:
        if request["task_id"] == "back":
            return {"type": "reject", "message": "Keep the lamp."}
        if request["task_id"] == "items":
            args = {**request["args"], "payment_method_id": "gift_card_1"}
            return {"type": "edit", "edited_action": {"name": request["name"], "args": args}}
        return {"type": "approve"}

    desk = RetailDesk()
    out, asked = await run_whole(desk, RETAIL, decide, tmp_path)
    assert {one["task_id"] for one in asked} == {"address", "items", "back", "move"}
    statuses = {task: record["status"] for task, record in out["results"].items()}
    assert statuses.pop("back") == "rejected"
    assert set(statuses.values()) == {"done"}
    assert sorted(desk.made) == ["modify_pending_order_address", "modify_pending_order_items", "modify_user_address"]
    assert (desk.orders["#W1"].paid_by, desk.orders["#W1"].items[0].item_id) == ("gift_card_1", "k-blue")
    assert (desk.orders["#W2"].status, desk.orders["#W3"].address.city) == ("delivered", "Dallas")


async def test_a_rule_of_the_house_fails_the_task_and_what_rests_on_it(tmp_path):
    desk = AirlineDesk()
    tasks = json.loads(json.dumps(TRIP))
    tasks[2]["args"]["payment_methods"][1]["amount"] = 300
    out, _ = await run_whole(desk, tasks, approve, tmp_path, max_replans=0)
    assert (out["status"], desk.made) == ("failed", [])
    assert "The payments do not add up: the price is 482.00." in out["results"]["book"]["error"]
    assert {out["results"][task]["status"] for task in ("bags", "cancel", "sorry")} == {"skipped"}


WRONG = {
    "a cabin that there is not": ("book", ["cabin"], "first", "'first' is not one of"),
    "a date that is none": ("trips", ["date"], 20240520, "args.date"),
    "a certificate over the limit": ("sorry", ["amount"], 5000, "greater than the maximum of 1000"),
    "a field that no passenger has": (
        "book",
        ["passengers"],
        {"output_of": "user", "path": ["saved"]},
        "has no 'saved'",
    ),
    "baggage in words": ("bags", ["total_baggages"], "three", "a whole number"),
    "another argument": ("cancel", ["reason"], "rain", "takes no argument 'reason'"),
}


@pytest.mark.parametrize(("task", "path", "value", "says"), WRONG.values(), ids=WRONG)
async def test_a_wrong_argument_is_found_before_anything_is_asked(task, path, value, says, tmp_path):
    desk = AirlineDesk()
    tasks = json.loads(json.dumps(TRIP))
    next(one for one in tasks if one["id"] == task)["args"][path[0]] = value
    out, asked = await run_whole(desk, tasks, approve, tmp_path, max_replans=0)
    assert (out["status"], asked, desk.made) == ("failed", [], [])
    assert any(says in problem for problem in out["problems"]), out["problems"]
