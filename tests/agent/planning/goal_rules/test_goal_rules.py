"""What a goal says of conditions, repetition, texts and order is planned and run, whatever a small model leaves out."""

import pytest
from langgraph.types import Command

from tests.agent.planning.goal_rules.garden import Garden

BEDS = "beds = list_beds('north')\n"
DRY = "m = measure_moisture(4)\n"
WET = "m = measure_moisture(9)\n"
MAIL = "mail_person('kim@g.example', 'Look')\n"


@pytest.mark.parametrize(
    ("goal", "script", "done"),
    [
        ("If bed 4 is below 30 percent, water it with 5 litres", DRY + "water_bed(4, 5)", [("water", 4, 5.0)]),
        ("If bed 9 is below 30 percent, water it with 5 litres", WET + "water_bed(9, 5)", []),
        ("Water bed 9 with 5 litres if its moisture is under 30 percent", WET + "water_bed(9, 5)", []),
        ("Water bed 4 with 5 litres unless it is at 15 percent or more", DRY + "water_bed(4, 5)", []),
        (
            "Unless bed 9 has more than 60 percent, water bed 9 with 2 litres",
            WET + "water_bed(9, 2)",
            [("water", 9, 2)],
        ),
        (
            "Water bed 4 with 5 litres, but only when it has at most 20 percent",
            DRY + "water_bed(4, 5)",
            [("water", 4, 5)],
        ),
        ("If it is raining at bed 4, mail kim@g.example 'Look'", DRY + MAIL, []),
        ("Water bed 9 with 3 litres unless it is raining", WET + "water_bed(9, 3)", [("water", 9, 3)]),
        (
            "If there are fewer than 10 rose seeds, buy 2 packets of rose",
            "n = count_seeds('rose')\nbuy_seeds('rose', 2)",
            [("buy", "rose", 2)],
        ),
        (
            "If there are fewer than ten fern seeds, buy 2 packets of fern",
            "n = count_seeds('fern')\nbuy_seeds('fern', 2)",
            [],
        ),
        (
            "Buy 2 packets of fern when no more than 80 seeds of it are left",
            "n = count_seeds('fern')\nbuy_seeds('fern', 2)",
            [("buy", "fern", 2)],
        ),
        ("Water bed 9 with 5 litres if it is below 1,000 percent", WET + "water_bed(9, 5)", [("water", 9, 5)]),
        # The lookup that the script forgot is added.
        (
            "If there are fewer than 10 rose seeds left, buy 2 packets of rose",
            "buy_seeds('rose', 2)",
            [("buy", "rose", 2)],
        ),
        ("If there are fewer than 10 fern seeds left, buy 2 packets of fern", "buy_seeds('fern', 2)", []),
        (
            "If there are no beds in the south, mail kim@g.example 'Look'",
            "b = list_beds('south')\n" + MAIL,
            [("mail", "kim@g.example", "Look")],
        ),
        ("If there are more than 2 beds in the north, mail kim@g.example 'Look'", BEDS + MAIL, []),
        (
            "If there are any beds in the north, mail kim@g.example 'Look'",
            BEDS + MAIL,
            [("mail", "kim@g.example", "Look")],
        ),
        # What the script compares the wrong way round.
        (
            "Water bed 4 with 5 litres unless it has at least 15 percent",
            DRY + "if m['percent'] >= 15:\n    water_bed(4, 5)",
            [],
        ),
        (
            "If bed 4 is below 30 percent and bed 4 is above 10 percent, water it with 5 litres",
            DRY + "water_bed(4, 5)",
            [("water", 4, 5)],
        ),
        (
            "Measure bed 9. If it is below 30 percent, water it with 5 litres; otherwise mail kim@g.example 'Look'",
            WET + "water_bed(9, 5)\n" + MAIL,
            [("mail", "kim@g.example", "Look")],
        ),
        (
            "Measure bed 9: if it is below 30 percent mail kim@g.example it is dry, else mail kim@g.example it is fine",
            WET
            + "if m['percent'] < 30:\n    t = 'It is dry'\nelse:\n    t = 'It is fine'\n"
            + "mail_person('kim@g.example', t)",
            [("mail", "kim@g.example", "It is fine")],
        ),
    ],
)
def test_a_condition_of_the_goal_decides_what_is_done(goal, script, done):
    garden = Garden()
    out = garden.run(goal, script)
    assert out["status"] == "completed", out["answer"]
    assert garden.done == done
    assert len([each for each in garden.questions if "Goal:" in each]) == 1


EVERY = [("water", 4, 5.0), ("water", 9, 5.0)]


@pytest.mark.parametrize(
    ("goal", "script", "done"),
    [
        ("Water every bed in the north with 5 litres", BEDS + "water_bed(beds[0]['number'], 5)", EVERY),
        ("Water every bed in the north with 5 litres", BEDS + "water_bed(beds['number'], 5)", EVERY),
        ("Water each of the beds in the north with 5 litres", BEDS + "water_bed(beds, 5)", EVERY),
        ("Water all beds in the north with 5 litres", BEDS + "water_bed(1, 5)\nwater_bed(2, 5)", EVERY),
        ("Water all beds in the north with 5 litres", BEDS, EVERY),
        ("Water all beds in the north with 5 litres", BEDS + "for b in beds:\n    water_bed(b['number'], 5)", EVERY),
        (
            "Mail the keeper of each bed in the north the plant of the bed",
            BEDS + "mail_person('keeper@g.example', 'Your plant:')",
            [("mail", "kim@g.example", "Your plant: Rose"), ("mail", "lea@g.example", "Your plant: Fern")],
        ),
        (
            "Mail the keepers of the beds in the north that it rains",
            BEDS + "mail_person(beds[0]['keeper'], 'It rains')",
            [("mail", "kim@g.example", "It rains"), ("mail", "lea@g.example", "It rains")],
        ),
        (
            "Mail the keeper of the first of the beds in the north that it rains",
            BEDS + "mail_person(beds[0]['keeper'], 'It rains')",
            [("mail", "kim@g.example", "It rains")],
        ),
        # One mail about all of them is no repetition.
        (
            "Mail all beds in the north to kim@g.example",
            BEDS + "mail_person('kim@g.example', f'{beds[0][\"plant\"]}')",
            None,
        ),
    ],
)
def test_every_each_and_all_are_done_for_each(goal, script, done):
    garden = Garden()
    out = garden.run(goal, script)
    assert out["status"] == "completed", out["answer"]
    assert sorted(garden.done) == done if done is not None else len(garden.done) == 1


@pytest.mark.parametrize(
    ("goal", "script", "said"),
    [
        (
            "Measure bed 4 and mail the result to kim@g.example",
            DRY + "mail_person('kim@g.example', 'The result: ')",
            ["The result: ", "20"],
        ),
        (
            "Measure bed 4 and mail it to kim@g.example",
            DRY + "mail_person('kim@g.example', 'Moisture: [moisture]')",
            ["Moisture: ", "20"],
        ),
        (
            "Measure bed 4 and mail kim@g.example the percent",
            DRY + "mail_person('kim@g.example', 'Hello Kim,')",
            ["Hello Kim, 20"],
        ),
        (
            "Mail the beds of the north to kim@g.example",
            BEDS + "mail_person('kim@g.example', 'Beds')",
            ["Beds", "Rose", "Fern"],
        ),
        (
            "Count the seeds of rose and of fern, then mail both numbers to kim@g.example",
            "a = count_seeds('rose')\nb = count_seeds('fern')\nmail_person('kim@g.example', 'Rose: 10, Fern: 20')",
            ["3", "80"],
        ),
        (
            "Count the seeds of rose and of fern, then mail both numbers to kim@g.example",
            "a = count_seeds('rose')\nb = count_seeds('fern')\nmail_person('kim@g.example', 'Rose: [a], Fern: [b]')",
            ["Rose: 3, Fern: 80"],
        ),
    ],
)
def test_a_text_tells_the_results_that_the_goal_says_it_tells(goal, script, said):
    garden = Garden()
    out = garden.run(goal, script)
    assert out["status"] == "completed", out["answer"]
    [(_, _, text)] = garden.done
    assert [each for each in said if each not in text] == []


def test_a_loop_that_only_tells_its_items_is_one_call_unless_the_goal_wants_one_for_each():
    loop = "for b in beds:\n    mail_person('kim@g.example', f\"Bed {b['number']}: {b['plant']}\")"
    garden = Garden()
    garden.run("Mail the beds of the north to kim@g.example", BEDS + loop)
    [(_, to, text)] = garden.done
    assert to == "kim@g.example"
    assert [each for each in ("4", "Rose", "9", "Fern") if each not in text] == []
    garden = Garden()
    garden.run("Mail kim@g.example about each bed of the north", BEDS + loop)
    assert sorted(text for *_, text in garden.done) == ["Bed 4: Rose", "Bed 9: Fern"]


def test_each_of_two_texts_tells_what_the_goal_says_of_it():
    garden = Garden()
    counts = "r = count_seeds('rose')\nf = count_seeds('fern')\n"
    mails = "mail_person('kim@g.example', 'Rose seeds')\nmail_person('lea@g.example', 'Fern seeds')"
    garden.run("Mail kim@g.example the number of rose seeds and lea@g.example that of fern seeds", counts + mails)
    assert sorted(garden.done) == [
        ("mail", "kim@g.example", "Rose seeds 3"),
        ("mail", "lea@g.example", "Fern seeds 80"),
    ]


def test_a_lookup_that_no_text_tells_is_said():
    garden = Garden()
    out = garden.run("Count the rose seeds and mail kim@g.example", "n = count_seeds('rose')\n" + MAIL)
    assert (
        "Nothing uses what 'n' finds out, and 'text' of 'mail_person' tells no result." in out["confidence"]["reason"]
    )


@pytest.mark.parametrize(
    "goal",
    [
        "Water bed 4 with 5 litres, then mail kim@g.example 'Watered'",
        "After watering bed 4 with 5 litres, mail kim@g.example 'Watered'",
        "Mail kim@g.example 'Watered' after watering bed 4 with 5 litres",
        "Water bed 4 with 5 litres. Once that is done mail kim@g.example 'Watered'",
        "Before mailing kim@g.example 'Watered', water bed 4 with 5 litres",
        "Water bed 4 with 5 litres before mailing kim@g.example 'Watered'",
    ],
)
def test_what_the_goal_puts_behind_something_waits_for_it(goal):
    out = Garden().run(goal, "mail_person('kim@g.example', 'Watered')\nwater_bed(4, 5)")
    waits = {task["tool"]: task.get("depends_on", []) for task in out["plan"]["tasks"]}
    assert waits == {"mail_person": ["water_bed"], "water_bed": []}


def test_two_errands_of_no_order_do_not_wait():
    out = Garden().run("Water bed 4 with 5 litres and mail kim@g.example 'Look'", "water_bed(4, 5)\n" + MAIL)
    assert not any(task.get("depends_on") for task in out["plan"]["tasks"])


@pytest.mark.parametrize(
    ("goal", "script"),
    [
        ("Mail Kim Lee the beds of the north", BEDS + "mail_person('kim.lee@mail.example', f'{beds}')"),
        ("Mail Kim Lee the beds of the north", BEDS + "mail_person('Kim Lee', f'{beds}')"),
        (
            "Mail the beds of the north to Kim Lee",
            BEDS + "p = find_person('Kim Lee')\nmail_person('kim@mail.example', f'{beds}')",
        ),
    ],
)
def test_an_address_is_looked_up_and_not_made_up(goal, script):
    garden = Garden()
    out = garden.run(goal, script)
    assert out["status"] == "completed", out["answer"]
    assert [to for _, to, _ in garden.done] == ["kim@g.example"]


def test_an_address_that_an_item_has_is_not_looked_up_by_itself():
    garden = Garden()
    loop = "for b in beds:\n    p = find_person(b['keeper'])\n    mail_person(p['email'], 'It rains')"
    out = garden.run("Mail the keeper of each bed in the north that it rains", BEDS + loop)
    assert out["status"] == "completed", out["answer"]
    assert sorted(to for _, to, _ in garden.done) == ["kim@g.example", "lea@g.example"]
    assert [task["tool"] for task in out["plan"]["tasks"]] == ["list_beds", "mail_person"]


def test_an_address_that_the_goal_gives_is_not_looked_up():
    garden = Garden()
    script = "p = find_person('Zoe')\nmail_person(p['email'], 'Look')"
    out = garden.run("Mail zoe@other.example 'Look'", script)
    assert (out["status"], garden.done) == ("completed", [("mail", "zoe@other.example", "Look")])
    assert [task["tool"] for task in out["plan"]["tasks"]] == ["mail_person"]


def test_a_value_is_given_in_the_singular_where_the_tool_takes_it_so():
    garden = Garden()
    garden.run(
        "If there are fewer than 10 roses left, buy 2 packets of roses",
        "n = count_seeds('roses')\nbuy_seeds('roses', 2)",
    )
    assert garden.done == [("buy", "rose", 2)]


def test_a_goal_that_brings_a_long_text_along_is_planned_as_the_script_says():
    garden = Garden()
    out = garden.run("Water bed 4 with 5 litres. " + "If it rains, do. " * 200, "water_bed(4, 5)")
    assert (out["status"], garden.done) == ("completed", [("water", 4, 5.0)])


INVENTED = [
    ("Mail the beds of the north to the boss", BEDS + "mail_person('boss@corp.example', f'{beds}')", "'to'"),
    ("Mail the beds of the north to the boss", BEDS + "mail_person('the boss', f'{beds}')", "'to'"),
    ("Mail the beds of the north to somebody", BEDS + "mail_person('?', f'{beds}')", "'to'"),
    ("Buy some more packets of rose", "buy_seeds('rose', 10)", "'packets'"),
    ("Buy 2 packets of seeds", "buy_seeds('tulip', 2)", "'plant'"),
    ("Water bed 4", "water_bed(4, 7.5)", "'litres'"),
    ("Water the driest bed with 5 litres", "water_bed(1, 5)", "'bed'"),
]


def test_what_nothing_gives_is_asked_for_and_the_answer_is_planned_with():
    garden = Garden()
    goal = "Mail the beds of the north to the boss"
    script, other = BEDS + "mail_person('boss@corp.example', 'Beds')", BEDS + "mail_person('zoe@g.example', f'{beds}')"
    asked = garden.run(goal, script, script, approve="ask")
    assert asked["status"] == "awaiting_approval"
    [interrupt] = asked["__interrupt__"]
    [request] = interrupt.value["action_requests"]
    assert (request["name"], garden.done) == ("go_on", [])
    assert "What is 'to' of 'mail_person'? Neither the goal nor a result says it." in request["description"]
    answer = Command(resume={"decisions": [{"type": "respond", "message": "It is zoe@g.example"}]})
    out = garden.run(goal, script, script, other, approve="ask", resume=answer)
    # The write itself still waits for its approval.
    assert (out["status"], garden.done) == ("awaiting_approval", [])
    [call] = out["__interrupt__"][0].value["action_requests"]
    assert (call["name"], call["args"]["to"]) == ("mail_person", "zoe@g.example")
    assert "It is zoe@g.example" in garden.questions[-1]


def test_a_revised_plan_makes_up_nothing_either():
    looked_up = BEDS + "p = find_person('boss')\nmail_person(p['email'], f'{beds}')"
    answers = (
        looked_up,
        '{"reason": "Nobody is called so.", "action": "retry"}',
        BEDS + "mail_person('b@c.example', 'x')",
    )
    garden = Garden()
    out = garden.run("Mail the beds of the north to the boss", *answers)
    assert (out["status"], garden.done) == ("failed", [])
    assert "What is 'to' of 'mail_person'?" in out["answer"]
    asked = Garden().run("Mail the beds of the north to the boss", *answers, approve="ask")
    assert "What is 'to' of 'mail_person'?" in asked["__interrupt__"][0].value["action_requests"][0]["description"]


@pytest.mark.parametrize(("goal", "script", "argument"), INVENTED)
def test_what_nothing_gives_is_not_made_up_where_nobody_can_be_asked(goal, script, argument):
    garden = Garden()
    out = garden.run(goal, script)
    assert (out["status"], garden.done) == ("failed", [])
    assert f"What is {argument} of" in out["answer"]


@pytest.mark.parametrize(
    ("goal", "script"),
    [
        ("Buy a packet of rose", "buy_seeds('rose', 1)"),
        # What another language says in words is not known here, and so not called missing.
        ("Kaufe zehn Packungen Samen für die Rosen", "buy_seeds('rose', 10)"),
        ("Buy a dozen packets of rose", "buy_seeds('rose', 12)"),
        ("Water bed 4 with five litres", "water_bed(4, 5)"),
    ],
)
def test_what_the_goal_says_in_words_is_given(goal, script):
    assert Garden().run(goal, script)["status"] == "completed"


@pytest.mark.parametrize(
    ("goal", "script", "told"),
    [
        (
            "Water bed 4 with 5 litres and mail kim@g.example 'Look'",
            "water_bed(4, 5)",
            "no task calls 'mail_person'",
        ),
        ("Count the rose seeds and list the beds of the north", "count_seeds('rose')", "no task calls 'list_beds'"),
        # No output that is there is what the condition is about.
        (
            "Buy 2 packets of fern if Kim has more than 9 euros",
            "n = count_seeds('fern')\nbuy_seeds('fern', 2)",
            "a condition",
        ),
        ("Buy 2 packets of fern if Kim has more than 9 euros", "buy_seeds('fern', 2)", "a condition"),
        (
            "If the moon is full, water bed 4 with 5 litres",
            "water_bed(4, 5)",
            "The goal has a condition ('If the moon is full, water')",
        ),
    ],
)
def test_a_part_that_no_task_does_is_planned_again_and_said_if_it_stays(goal, script, told):
    garden = Garden()
    out = garden.run(goal, script)
    assert told in garden.questions[1]
    assert told in out["confidence"]["reason"]
    assert out["confidence"]["level"] == "unsure"
    # What depends on a condition that the plan does not have is not done without a word of a human.
    assert (out["status"], garden.done) == ("failed", []) if "condition" in told else out["status"] == "completed"
