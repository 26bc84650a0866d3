"""The answer: listed without a model, checked word for word with one, honest after a failure."""

from agent.core.engine.outcomes import Cut, Done, Failed, Outcome, Rejected
from agent.results.answerer import AnswerResult, make_answer
from agent.tools.plan_check import CheckedPlan, check_plan
from tests.support.openai_endpoint import Endpoint, Failure, Text
from tests.support.planning_kit import LIMITS, SETTINGS, model_at, toolbox

ROWS = [{"station": "Cape Low", "rain": 12.5}, {"station": "Tarn", "rain": 9.0}]
DOCUMENT = {
    "tasks": [
        {
            "id": "wettest",
            "tool": "readings",
            "description": "Wettest stations",
            "args": {"sql": "SELECT station, rain"},
        },
        {
            "id": "picture",
            "tool": "plot",
            "description": "Rain plot",
            "args": {"rows": {"output_of": "wettest", "path": ["rows"]}, "x": "station"},
        },
    ]
}
DONE: dict[str, Outcome] = {
    "wettest": Done(revision=1, output={"rows": ROWS, "row_count": 2}),
    "picture": Done(revision=1, output={"png": "out/rain.png"}),
}


async def answered(
    endpoint: Endpoint | None = None,
    *,
    outcomes: dict[str, Outcome] = DONE,
    status: str = "completed",
    reason: str = "",
    small: bool = False,
) -> AnswerResult:
    checked = await check_plan(DOCUMENT, toolbox(), limits=LIMITS)
    assert isinstance(checked, CheckedPlan)
    return await make_answer(
        "Plot the wettest stations",
        compiled=checked.compiled,
        outcomes=outcomes,
        status=status,
        reason=reason,
        model=model_at(endpoint, small=small) if endpoint else None,
        emit=lambda event: None,
        settings=SETTINGS,
    )


async def test_without_a_model_the_results_are_listed_with_tables_and_files():
    found = await answered()
    assert found.grounded
    assert found.usage.calls == 0
    assert "**Wettest stations** [wettest]" in found.text
    assert "| station | rain |\n| --- | ---: |\n| Cape Low | 12.5 |\n| Tarn | 9 |" in found.text
    assert "out/rain.png" in found.text


async def test_a_small_model_is_not_trusted_with_prose():
    with Endpoint(["never asked"]) as endpoint:
        found = await answered(endpoint, small=True)
        assert endpoint.requests == []
    assert "| Cape Low | 12.5 |" in found.text


async def test_words_that_the_cited_results_bear_out_stay():
    text = "The wettest is Cape Low with 12.5 [wettest].\n\nIt is drawn in out/rain.png [picture]."
    with Endpoint([text]) as endpoint:
        found = await answered(endpoint)
    assert (found.text, found.grounded, found.usage.calls) == (text, True, 1)


async def test_a_false_number_is_replaced_by_the_table():
    with Endpoint(["Cape Low leads with 12.5 [wettest].\n\nTarn has 19.0 [wettest]."]) as endpoint:
        found = await answered(endpoint)
    assert not found.grounded
    assert found.text.startswith("Cape Low leads with 12.5 [wettest].")
    assert "19.0" not in found.text
    assert "| Tarn | 9 |" in found.text


async def test_a_number_of_another_task_than_the_cited_one_does_not_count():
    with Endpoint(["Cape Low had 12.5 [picture]."]) as endpoint:
        found = await answered(endpoint)
    assert not found.grounded
    assert "12.5 [picture]" not in found.text


async def test_a_citation_of_a_task_that_is_not_there_does_not_count():
    with Endpoint(["Cape Low had 12.5 [weather]."]) as endpoint:
        found = await answered(endpoint)
    assert not found.grounded
    assert "[weather]" not in found.text


async def test_a_server_that_fails_leaves_the_listing():
    with Endpoint([Failure(401, "no")]) as endpoint:
        assert (await answered(endpoint)).text == (await answered()).text
    with Endpoint([Text("Cape Low", finish_reason="length")]) as endpoint:
        assert (await answered(endpoint)).text == (await answered()).text


async def test_a_failed_run_says_what_failed_and_asks_no_model():
    outcomes: dict[str, Outcome] = {"wettest": Failed(revision=1, kind="tool", error="There is no column 'rian'.")}
    with Endpoint(["All is well."]) as endpoint:
        found = await answered(endpoint, outcomes=outcomes, status="failed", reason="Replans were used up.")
    assert found.text.startswith("The goal was not reached. Replans were used up.")
    assert "**Wettest stations** [wettest] failed: There is no column 'rian'." in found.text
    assert "**Rain plot** [picture] did not run" in found.text


async def test_a_run_that_went_on_without_a_task_says_so():
    outcomes = DONE | {"picture": Rejected(revision=1, message="no pictures")}
    found = await answered(outcomes=outcomes)
    assert found.text.startswith("Done, but without picture.")
    assert "rejected by a person: no pictures" in found.text


async def test_long_and_empty_tables_say_so():
    many = [{"n": number, "note": "a|b\nc"} for number in range(25)]
    found = await answered(outcomes={"wettest": Done(revision=1, output={"rows": many, "row_count": 25})})
    assert "| 19 | a\\|b c |" in found.text
    assert "| 20 |" not in found.text
    assert "... 5 more" in found.text
    found = await answered(outcomes={"wettest": Done(revision=1, output={"rows": [], "row_count": 0})})
    assert "No rows" in found.text


async def test_a_warning_is_in_the_answer_whatever_a_model_makes_of_it():
    text = "The wettest is Cape Low with 12.5 [wettest]."
    warning = "The result of 'wettest' is cut off after 2 rows; there are more."
    cut = Cut(task="wettest", what="the result of 'wettest' is cut off after 2 rows; there are more")
    wettest = Done(revision=1, output={"rows": ROWS, "truncated": True}, warnings=(warning,), cuts=(cut,))
    with Endpoint([text]) as endpoint:
        found = await answered(endpoint, outcomes={**DONE, "wettest": wettest})
        assert "is cut off after 2 rows" in str(endpoint.requests[0])
    assert found.text == f"{text}\n\nNote: {warning} [wettest]"
    listed = await answered(outcomes={**DONE, "wettest": wettest})
    assert listed.text.startswith("Done, but on incomplete data: wettest.")
    assert f"Note: {warning}" in listed.text
