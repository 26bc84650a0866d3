"""Waiting threads in a real browser, on a page that reads and answers them as Agent Inbox does."""

import pytest
from langgraph_sdk import get_sync_client
from playwright.sync_api import Page, expect

from tests.browser.conftest import take_screenshot
from tests.browser.scripted_shop import save

expect.set_options(timeout=60_000)


@pytest.fixture
def client(server):
    return get_sync_client(url=server.url)


@pytest.fixture
def ask(client):
    """Return a function that runs a plan until it waits, and returns the thread."""

    def run(*tasks) -> str:
        thread = client.threads.create()["thread_id"]
        out = client.runs.wait(thread, "planwave", input={"goal": "Save", "plan": {"tasks": list(tasks)}})
        assert out["status"] == "awaiting_approval"
        return thread

    return run


@pytest.fixture
def inbox(page, address):
    def show() -> Page:
        page.goto(address("inbox"))
        return page

    return show


def item(page: Page, thread: str):
    return page.locator(f"li[data-thread='{thread}']")


def values(client, thread: str):
    return client.threads.get_state(thread)["values"]


def test_a_thread_is_listed_with_its_description_and_arguments_and_accepted(ask, inbox, client, server):
    thread = ask(save("accepted.txt"))
    page = inbox()
    shown = item(page, thread)
    expect(shown.locator("h2")).to_have_text("save_file")
    expect(shown.locator(".description")).to_contain_text("Keep accepted.txt")
    expect(shown.get_by_label("path")).to_have_value("accepted.txt")
    expect(shown.get_by_label("overwrite")).to_have_value("false")
    take_screenshot(page, "inbox-1-list")
    shown.get_by_role("button", name="Accept").click()
    expect(shown).to_have_count(0)
    assert values(client, thread)["status"] == "completed"
    assert (server.output / "accepted.txt").exists()


def test_arguments_are_edited_as_texts(ask, inbox, server):
    thread = ask(save("edit.txt"))
    shown = item(inbox(), thread)
    shown.get_by_label("path").fill("inbox-edited.txt")
    shown.get_by_label("overwrite").fill("true")
    shown.get_by_role("button", name="Submit edit").click()
    expect(shown).to_have_count(0)
    assert (server.output / "inbox-edited.txt").exists()
    assert not (server.output / "edit.txt").exists()


@pytest.mark.slow
def test_a_refusal_and_an_ignored_call_make_nothing(ask, inbox, client, server):
    threads = [ask(save("refused.txt")), ask(save("ignored.txt"))]
    page = inbox()
    refused, ignored = (item(page, thread) for thread in threads)
    refused.get_by_label("Response").fill("No! Never do that.")
    refused.get_by_role("button", name="Respond").click()
    expect(refused).to_have_count(0)
    ignored.get_by_role("button", name="Ignore").click()
    # It does not wait for the run, and neither does the server before it lists it.
    for _ in range(600):
        if len(runs := client.runs.list(threads[1])) > 1:
            break
        page.wait_for_timeout(100)
    client.runs.join(threads[1], runs[0]["run_id"])
    page.get_by_role("button", name="Refresh").click()
    expect(ignored).to_have_count(0)
    first, second = (values(client, thread) for thread in threads)
    assert first["results"]["save"]["message"] == "No! Never do that."
    assert [each["results"]["save"]["status"] for each in (first, second)] == ["rejected", "rejected"]
    assert not {"refused.txt", "ignored.txt"} & {path.name for path in server.output.iterdir()}


@pytest.mark.slow
def test_of_two_calls_the_first_is_answered_and_the_second_comes_next(ask, inbox, server):
    thread = ask(save("first.txt", "one"), save("second.txt", "two"))
    shown = item(inbox(), thread)
    expect(shown.get_by_label("path")).to_have_value("first.txt")
    shown.get_by_role("button", name="Accept").click()
    expect(shown.get_by_label("path")).to_have_value("second.txt")
    assert not (server.output / "first.txt").exists()
    shown.get_by_role("button", name="Accept").click()
    expect(shown).to_have_count(0)
    assert {"first.txt", "second.txt"} <= {path.name for path in server.output.iterdir()}


@pytest.mark.slow
def test_a_wrong_answer_stays_on_the_list_and_says_why(ask, inbox, client, server):
    thread = ask(save("kept.txt"))
    page = inbox()
    shown = item(page, thread)
    shown.get_by_label("path").fill("../../outside.txt")
    shown.get_by_role("button", name="Submit edit").click()
    expect(shown.locator(".description")).to_contain_text("Your last answer was not taken")
    expect(shown.locator(".description")).to_contain_text("../../outside.txt")
    take_screenshot(page, "inbox-2-wrong")
    assert client.threads.get(thread)["status"] == "interrupted"
    shown.get_by_role("button", name="Accept").click()
    expect(shown).to_have_count(0)
    assert (server.output / "kept.txt").exists()


@pytest.mark.slow
def test_a_thread_that_is_resolved_leaves_the_list(ask, inbox, client, server):
    thread = ask(save("gone.txt"))
    shown = item(inbox(), thread)
    shown.get_by_role("button", name="Mark as resolved").click()
    expect(shown).to_have_count(0)
    assert client.threads.get(thread)["status"] == "idle"
    assert not (server.output / "gone.txt").exists()
