"""A browser, two small front ends and a LangGraph server with a scripted model; without a browser or npm these skip."""

import os
import shutil
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlencode

import pytest
from filelock import FileLock
from playwright.sync_api import Browser, Page, sync_playwright

from agent.tools.sample_data import ensure_shop
from tests.browser.scripted_shop import answer_request
from tests.support.openai_endpoint import Endpoint
from tests.support.studio import StudioServer

PAGES = Path(__file__).parent / "page"
_BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
_HTML = """<!doctype html><html lang="en"><meta charset="utf-8"><title>{name}</title>
<link rel="stylesheet" href="style.css"><div id="root"></div><script src="{name}.js"></script></html>"""


@pytest.fixture(scope="session")
def chromium() -> str:
    path = next(filter(None, map(shutil.which, _BROWSERS)), None)
    if path is None:
        pytest.skip("no Chromium is installed (Debian: apt-get install chromium)")
    return path


# No longer than the module: while it is open an event loop runs in this thread, in which no other test could run one.
@pytest.fixture(scope="module")
def browser(chromium: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        # A root user, as in a container, has no sandbox; the flags keep the browser from looking up hosts of its own.
        flags = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update"]
        browser = playwright.chromium.launch(
            executable_path=chromium, args=[*flags, "--disable-sync", "--no-first-run"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def pages(request: pytest.FixtureRequest) -> Iterator[str]:
    """The address of the front ends, which are bundled once for each change of `page/`."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed, which brings LangGraph's client and React for the pages")
    folder = request.config.cache.mkdir("front_ends")
    with FileLock(folder / "lock"):
        _install(npm, folder)
        _bundle(folder)
    handler = partial(_QuietHandler, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


def _install(npm: str, folder: Path) -> None:
    wanted, installed = (PAGES / "package.json").read_bytes(), folder / "package.json"
    if installed.exists() and installed.read_bytes() == wanted and (folder / "node_modules").exists():
        return
    shutil.rmtree(folder / "node_modules", ignore_errors=True)
    installed.write_bytes(wanted)
    command = [npm, "install", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"]
    try:
        subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True, timeout=150)
    except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
        shutil.rmtree(folder / "node_modules", ignore_errors=True)
        pytest.skip(f"npm cannot install what the pages need: {str(error.stderr or error)[-300:]}")


def _bundle(folder: Path) -> None:
    shutil.copy(PAGES / "style.css", folder)
    [esbuild] = (folder / "node_modules" / "@esbuild").glob("*/bin/esbuild")
    sources = [str(PAGES / f"{name}.jsx") for name in ("chat", "inbox")]
    command = [str(esbuild), *sources, "--bundle", f"--outdir={folder}", "--log-level=warning", "--minify"]
    command += ['--define:process.env.NODE_ENV="production"']
    subprocess.run(command, env={**os.environ, "NODE_PATH": str(folder / "node_modules")}, check=True)
    for name in ("chat", "inbox"):
        (folder / f"{name}.html").write_text(_HTML.format(name=name))


class _QuietHandler(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name it has in the base class
        pass


@pytest.fixture(scope="session")
def model() -> Iterator[Endpoint]:
    """A model that plans over the sample shop, and writes eight characters of an answer thirty times a second."""
    with Endpoint(answer_request, chunk_s=0.03) as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def server(
    tmp_path_factory: pytest.TempPathFactory, chromium: str, pages: str, model: Endpoint
) -> Iterator[StudioServer]:
    """The server; it is not started where there is no browser or no page."""
    del chromium
    data = tmp_path_factory.mktemp("data")
    ensure_shop(data)
    folder = tmp_path_factory.mktemp("server")
    with StudioServer(
        folder, data=data, PLANWAVE_MODEL="openai:scripted", PLANWAVE_MAX_REPLANS="0", **model.env
    ) as running:
        yield running


@pytest.fixture
def page(browser: Browser, request: pytest.FixtureRequest) -> Iterator[Page]:
    """A page that fails its test if a script on it fails; its last state is kept where `SCREENSHOTS` names a folder."""
    context = browser.new_context(viewport={"width": 900, "height": 1000}, locale="en-GB", reduced_motion="reduce")
    page = context.new_page()
    page.set_default_timeout(60_000)
    errors: list[str] = []
    page.on("pageerror", lambda error: errors.append(str(error)))
    yield page
    take_screenshot(page, request.node.name)
    context.close()
    assert errors == []


@pytest.fixture
def address(pages: str, server: StudioServer):
    """Return the address of a front end that is connected to the server."""

    def build(name: str, **query: str) -> str:
        return f"{pages}/{name}.html?{urlencode({'apiUrl': server.url, 'assistantId': 'planwave', **query})}"

    return build


def take_screenshot(page: Page, name: str) -> None:
    """Keep a picture of the page, if the environment names a folder for it."""
    if folder := os.environ.get("SCREENSHOTS"):
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)
