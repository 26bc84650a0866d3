"""A goal typed in a chat in a real browser, on a page that does what Agent Chat UI does, against a LangGraph server."""

import re

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import take_screenshot
from tests.browser.scripted_shop import ANSWER, PARAGRAPHS, SECOND_ANSWER, THIRD_ANSWER

# A run on the development server takes seconds, and more on a busy machine.
expect.set_options(timeout=60_000)


def say(page: Page, words: str) -> None:
    page.get_by_label("Message").fill(words)
    page.get_by_role("button", name="Send").click()


@pytest.fixture
def chat(page, address):
    page.goto(address("chat"))
    return page


def approval(page):
    return page.get_by_label("Approval")


def wait_for_approval(page: Page) -> None:
    expect(approval(page)).to_be_visible()
    expect(page.locator("main")).to_have_attribute("data-loading", "false")


def texts(page: Page, kind: str) -> list[str]:
    return [text.strip() for text in page.locator(f".message.{kind}").all_inner_texts()]


def check_calls(page: Page) -> None:
    """Each call has one result, and no message is there twice."""
    ids = page.locator(".message").evaluate_all("all => all.map(each => each.dataset.id)")
    assert len(set(ids)) == len(ids)
    calls = page.locator(".call").evaluate_all("all => all.map(each => each.dataset.call)")
    results = page.locator(".message.tool").evaluate_all("all => all.map(each => each.dataset.call)")
    assert sorted(calls) == sorted(results)


def test_a_goal_is_planned_approved_and_answered_and_a_second_message_sees_it(chat, server, model):
    say(chat, "Count the orders and save them as first.csv")
    wait_for_approval(chat)
    assert texts(chat, "human")[0].startswith("Count the orders")
    expect(chat.locator(".call b")).to_have_text(["query_database", "save_file"])
    expect(chat.locator(".message.tool")).to_have_count(1)
    expect(approval(chat).locator("h2")).to_have_text("save_file")
    for words in ("Call of save_file by task save", "Keep first.csv", "A line for each status", '"path": "first.csv"'):
        expect(approval(chat).locator(".description")).to_contain_text(words)
    take_screenshot(chat, "chat-1-approval")

    chat.reload()
    wait_for_approval(chat)
    expect(chat.locator(".call b")).to_have_text(["query_database", "save_file"])
    expect(chat.locator(".message.tool")).to_have_count(1)

    approval(chat).get_by_label("path").fill("edited.csv")
    take_screenshot(chat, "chat-2-edited")
    note_answers(chat)
    approval(chat).get_by_role("button", name="Submit edit").click()
    expect_answer(chat, ANSWER)
    expect(chat.locator("main")).to_have_attribute("data-loading", "false")
    parts = chat.evaluate("window.answers")
    assert len(parts) > len(PARAGRAPHS)
    assert all(squeeze(ANSWER).startswith(squeeze(part)) for part in parts)
    take_screenshot(chat, "chat-3-answer")
    assert (server.output / "edited.csv").exists()
    assert not (server.output / "first.csv").exists()
    check_calls(chat)
    expect(chat.locator(".call").filter(has_text="save_file")).to_contain_text("edited.csv")

    asked = len(model.requests)
    say(chat, "How many were cancelled?")
    expect_answer(chat, SECOND_ANSWER)
    expect(chat.locator("main")).to_have_attribute("data-loading", "false")
    assert texts(chat, "human")[1].startswith("How many")
    check_calls(chat)
    planning = next(request.text for request in model.requests[asked:] if request.way != "text")
    assert "Goal: Count the orders and save them as first.csv" in planning
    assert f"Answer: {ANSWER}" in planning
    before = chat.locator(".message").all_inner_texts()
    chat.reload()
    expect(chat.locator(".message")).to_have_count(len(before))
    assert chat.locator(".message").all_inner_texts() == before


def squeeze(text: str) -> str:
    return " ".join(text.split())


def expect_answer(page: Page, answer: str) -> None:
    """Wait until the last message is an answer; paragraphs have no blank line between them in a page."""
    expect(page.locator(".message.ai").last).to_contain_text(squeeze(answer))


def note_answers(page: Page) -> None:
    """Note each text of an answer that the page shows from now on, one after the other."""
    page.evaluate("""() => {
        window.answers = [];
        new MutationObserver(() => {
            const text = document.querySelector(".message.ai[data-id*=_answer] > div")?.innerText;
            if (text && text !== window.answers.at(-1)) window.answers.push(text);
        }).observe(document.body, { subtree: true, childList: true, characterData: true });
    }""")


@pytest.mark.slow
def test_a_page_that_is_reloaded_while_the_run_plans_finds_the_approval(chat):
    say(chat, "Count the orders and save them as reloaded.csv")
    expect(chat.locator(".message.human")).to_have_count(1)
    chat.wait_for_url(re.compile("threadId="))
    # The front end does not join the run again: it shows what is stored as it is opened, at first nothing.
    for _ in range(60):
        chat.reload(wait_until="networkidle")
        if approval(chat).count():
            break
    expect(chat.locator(".message.human")).to_have_count(1)
    approval(chat).get_by_role("button", name="Approve").click()
    expect_answer(chat, ANSWER)
    check_calls(chat)


@pytest.mark.slow
def test_a_page_that_is_reloaded_while_the_answer_streams_leaves_a_thread_that_goes_on(chat, server):
    say(chat, "Count the orders and save them as cut.csv")
    wait_for_approval(chat)
    approval(chat).get_by_role("button", name="Approve").click()
    expect(chat.locator(".message.ai").last).to_contain_text("The orders of the shop")
    # Agent Chat UI has the server cancel a resumed run whose page goes away.
    chat.reload()
    expect(chat.locator(".call b")).to_have_text(["query_database", "save_file"])
    assert (server.output / "cut.csv").exists()
    say(chat, "How many were cancelled?")
    expect_answer(chat, SECOND_ANSWER)
    expect(chat.locator(".error")).to_have_count(0)
    check_calls(chat)


def test_of_two_approvals_one_is_answered_and_the_other_asked_again(chat, server):
    say(chat, "save two files, a.txt")
    wait_for_approval(chat)
    expect(approval(chat).locator("h2")).to_have_text("save_file (1/2)")
    approval(chat).get_by_role("button", name="Approve only the first").click()
    expect(approval(chat).locator("h2")).to_have_text("save_file")
    expect(approval(chat).get_by_label("path")).to_have_value("two-a.txt")
    take_screenshot(chat, "chat-4-second-of-two")
    assert not (server.output / "one-a.txt").exists()
    chat.reload()
    wait_for_approval(chat)
    approval(chat).get_by_role("button", name="Approve").click()
    expect_answer(chat, THIRD_ANSWER)
    assert {"one-a.txt", "two-a.txt"} <= {path.name for path in server.output.iterdir()}


@pytest.mark.slow
def test_two_approvals_are_answered_one_after_the_other_and_sent_together(chat, server):
    say(chat, "save two files, b.txt")
    wait_for_approval(chat)
    approval(chat).get_by_label("path").fill("other-b.txt")
    approval(chat).get_by_role("button", name="Submit edit").click()
    expect(approval(chat).locator("h2")).to_have_text("save_file (2/2)")
    approval(chat).get_by_label("Reason").fill("One is enough.")
    approval(chat).get_by_role("button", name="Reject").click()
    approval(chat).get_by_role("button", name="Submit all 2").click()
    expect(approval(chat)).to_have_count(0)
    expect(chat.locator("main")).to_have_attribute("data-loading", "false")
    rejected = chat.locator(".message.tool").filter(has_text="One is enough.")
    expect(rejected).to_contain_text("Rejected by a person")
    names = {path.name for path in server.output.iterdir()}
    assert "two-b.txt" not in names
    assert "one-b.txt" not in names


@pytest.mark.slow
def test_a_wrong_answer_says_why_and_keeps_waiting(chat, server):
    say(chat, "Count the orders and save them as wrong.csv")
    wait_for_approval(chat)
    for name, value in {"overwrite": "perhaps", "path": "../outside.csv"}.items():
        approval(chat).get_by_label(name).fill(value)
        approval(chat).get_by_role("button", name="Submit edit").click()
        # No front end reads `error`; what it shows is the description.
        expect(approval(chat).locator(".description")).to_contain_text("Your last answer was not taken")
        expect(approval(chat).locator(".description")).to_contain_text(name if name == "overwrite" else value)
        wait_for_approval(chat)
    take_screenshot(chat, "chat-5-wrong")
    assert not (server.output / "wrong.csv").exists()
    approval(chat).get_by_role("button", name="Approve").click()
    expect_answer(chat, ANSWER)
    assert (server.output / "wrong.csv").exists()


@pytest.mark.slow
def test_a_message_decides_nothing_and_what_waits_is_still_shown(chat, server):
    say(chat, "Count the orders and save them as waits.csv")
    wait_for_approval(chat)
    say(chat, "yes, please save it")
    expect(chat.locator(".message.ai").last).to_contain_text("a message does not decide it")
    wait_for_approval(chat)
    take_screenshot(chat, "chat-6-message")
    assert not (server.output / "waits.csv").exists()
    approval(chat).get_by_role("button", name="Approve").click()
    expect_answer(chat, ANSWER)
    check_calls(chat)


@pytest.mark.slow
def test_a_thread_that_is_resolved_takes_the_next_goal(chat, server):
    say(chat, "Count the orders and save them as resolved.csv")
    wait_for_approval(chat)
    approval(chat).get_by_role("button", name="Mark as resolved").click()
    expect(approval(chat)).to_have_count(0)
    expect(chat.locator(".message.tool").last).to_contain_text("before this call had a result")
    say(chat, "How many were cancelled?")
    expect_answer(chat, SECOND_ANSWER)
    assert not (server.output / "resolved.csv").exists()
    check_calls(chat)


@pytest.mark.slow
def test_an_answer_is_made_again(chat):
    say(chat, "How many were cancelled?")
    answer = chat.locator(".message.ai").last
    expect(answer).to_contain_text(SECOND_ANSWER)
    expect(chat.locator("main")).to_have_attribute("data-loading", "false")
    answer.get_by_role("button", name="Regenerate").click()
    expect(chat.locator("main")).to_have_attribute("data-loading", "true")
    expect(chat.locator("main")).to_have_attribute("data-loading", "false")
    expect_answer(chat, SECOND_ANSWER)
    check_calls(chat)


@pytest.mark.slow
def test_a_goal_is_said_in_other_words(chat):
    say(chat, "How many were cancelled?")
    expect_answer(chat, SECOND_ANSWER)
    expect(chat.locator("main")).to_have_attribute("data-loading", "false")
    chat.on("dialog", lambda dialog: dialog.accept("How many were shipped?"))
    chat.locator(".message.human").get_by_role("button", name="Edit").click()
    # Both goals are shown until the server's first state arrives.
    expect(chat.locator(".message.human p")).to_have_text(["How many were shipped?"])
    expect(chat.locator("main")).to_have_attribute("data-loading", "false")
    expect_answer(chat, SECOND_ANSWER)
    expect(chat.locator(".message.human")).to_have_count(1)
    check_calls(chat)
