"""Reports in a real browser: nothing runs but the page's own script, nothing is asked of any network, all fits.

Needs Chromium from the system's packages; skipped where there is none.
"""

import asyncio
import re
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from agent.report.model import RunReport
from agent.report.report_page import render_report
from graphs.report.live_server import LiveServer
from tests.graphs.report import reported_runs

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian: apt-get install chromium)")
#: The beginning of a page in a PDF.
PDF_PAGE = re.compile(rb"/Type\s*/Page\b")
WIDTHS = pytest.mark.parametrize("width", [320, 768, 1600])
SCHEMES = pytest.mark.parametrize("scheme", ["light", "dark"])


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with playwright.sync_playwright() as started:
        opened = started.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, RunReport]:
    """One report of each kind; made in a thread, since the browser's driver has an event loop in this one."""
    makers = {
        "analysis": reported_runs.report_analysis,
        "waiting": reported_runs.report_waiting,
        "failed": reported_runs.report_failure_with_rollback,
        "large": reported_runs.report_large,
    }
    with ThreadPoolExecutor(1) as pool:
        made = {name: pool.submit(asyncio.run, make(tmp_path_factory.mktemp(name))) for name, make in makers.items()}
        return {name: future.result() for name, future in made.items()}


class Opened:
    """A page of a report, with what its console said and what it asked of the network."""

    def __init__(self, browser: Any, file: Path, *, width: int, scheme: str = "light") -> None:
        self.page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.said: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(file.as_uri())

    def check(self) -> None:
        """Assert that nothing of the run ran, nothing was loaded, and nothing is wider than the window."""
        assert self.said == []
        assert [url for url in self.asked if not url.startswith(("file:", "data:"))] == []
        assert self.page.evaluate("window.ran") is None
        assert self.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.fixture
def open_report(browser, reports, tmp_path):
    def open_one(name: str, **options: Any) -> Opened:
        file = tmp_path / f"{name}.html"
        file.write_text(render_report(reports[name]), encoding="utf-8")
        return Opened(browser, file, **options)

    return open_one


@WIDTHS
@SCHEMES
@pytest.mark.parametrize("name", ["analysis", "waiting", "failed"])
def test_it_fits_runs_nothing_and_axe_finds_nothing(open_report, name, width, scheme):
    opened = open_report(name, width=width, scheme=scheme)
    for details in opened.page.query_selector_all("details"):
        details.evaluate("each => each.open = true")
    opened.check()
    found = axe.Axe().run(opened.page).response
    assert len(found["passes"]) > 10
    assert [(each["id"], each["nodes"][0]["html"]) for each in found["violations"]] == []


@WIDTHS
def test_a_thousand_tasks_are_shown_within_seconds(open_report, width):
    opened = open_report("large", width=width)
    opened.check()
    assert opened.page.locator(".task").count() == 1000
    took = opened.page.evaluate("performance.getEntriesByType('navigation')[0].domContentLoadedEventEnd")
    assert took < 20_000, "far from what it takes, for a machine that is busy"


def test_a_click_shows_what_a_result_rests_on_and_keys_do_as_well(open_report):
    page = open_report("failed", width=1600).page
    page.locator(".node", has_text="aa").click()
    panel = page.locator("#panel")
    assert panel.locator("h2").inner_text() == "aa"
    assert panel.locator(".chain button").all_inner_texts() == ["start", "w"]
    assert page.locator(".node.lit").count() == 3
    panel.locator(".chain button", has_text="start").click()
    assert panel.locator("h2").inner_text() == "start"
    page.keyboard.press("Escape")
    assert panel.is_hidden()
    page.locator(".node").first.focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert panel.locator("h2").inner_text() == "w"


def test_a_number_of_the_answer_leads_to_its_result(open_report):
    page = open_report("failed", width=1600).page
    page.locator("#answer .num", has_text="7").click()
    assert "The number 7 is in this result." in page.locator("#panel").inner_text()


def test_tasks_are_found_by_text_and_status(open_report):
    page = open_report("large", width=1600).page
    page.locator("#find").fill("fan99")
    assert page.locator(".task:visible").count() == 10
    assert page.locator("#matches").inner_text() == "10 of 1000 tasks"
    page.locator("#find").fill("")
    page.locator("#critical").check()
    assert 1 < page.locator(".task:visible").count() < 1000


def test_it_prints_on_white_without_its_buttons(open_report):
    page = open_report("failed", width=1600, scheme="dark").page
    page.emulate_media(media="print")
    assert page.locator("nav").is_hidden()
    assert page.locator(".zoom").first.is_hidden()
    assert page.evaluate("getComputedStyle(document.documentElement).colorScheme") == "light"
    assert page.pdf()[:4] == b"%PDF"


def test_the_live_page_follows_the_run(browser, reports):
    """Serve two states of a run one after the other, from a loop in another thread as a run's is."""
    pages = [render_report(reports[name], kind="live") for name in ("waiting", "failed")]
    ready, done, address = threading.Event(), threading.Event(), []

    async def serve() -> None:
        async def build() -> str:
            return pages[0]

        async with LiveServer(build) as server:
            address.append(server.url)
            ready.set()
            await asyncio.to_thread(done.wait)

    thread = threading.Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    assert ready.wait(30)
    try:
        page = browser.new_page()
        said: list[str] = []
        page.on("console", lambda message: said.append(message.text))
        page.goto(address[0])
        assert "Keep the revenue" in page.locator("h1").inner_text()
        pages[0] = pages[1]
        page.locator("h1", has_text="Put it where it belongs").wait_for(timeout=30_000)
        assert page.evaluate("window.ran") is None
        assert [line for line in said if "304" not in line] == []
    finally:
        done.set()
        thread.join()


def test_a_run_of_seven_tasks_takes_few_sheets_of_paper(open_report, tmp_path):
    page = open_report("analysis", width=1600, scheme="dark").page
    printed = page.pdf(format="A4")
    assert 5 < len(PDF_PAGE.findall(printed)) <= 14
    rows = page.locator("#writes pre").inner_text()
    assert '\n    {"month": "2021-01", "orders": 155},\n' in rows


@pytest.mark.slow
@pytest.mark.parametrize(("width", "scheme"), [(320, "light"), (1600, "dark")])
def test_axe_finds_nothing_in_a_thousand_tasks(open_report, width, scheme):
    opened = open_report("large", width=width, scheme=scheme)
    opened.check()
    found = axe.Axe().run(opened.page).response
    assert len(found["passes"]) > 10
    assert [(each["id"], each["nodes"][0]["html"]) for each in found["violations"]] == []
