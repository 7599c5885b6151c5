"""The page in a real Chromium, before the real service with the shipped model.

Every test's `page` is watched: a console message, an uncaught error, a breach of the
Content-Security-Policy or a request to another host fails the test, unless the test said
that it would come.
"""

import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import httpx
import pytest
import uvicorn
from playwright.sync_api import sync_playwright

from service.app import create_app
from service.settings import Settings

if TYPE_CHECKING:
    from playwright.sync_api import Browser, BrowserContext, Page

ROOT = Path(__file__).parents[2]
ARTIFACT = ROOT / "artifacts" / "fashion-mnist" / "1"
CHROMIUM = shutil.which("chromium")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-extensions",
    "--disable-gpu",
    "--disable-sync",
    "--no-first-run",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
)
LEFT_OUT = pytest.StashKey[int]()
REPORT_BREACHES = """
addEventListener("securitypolicyviolation", (event) =>
  console.error("policy: " + event.violatedDirective + " " + event.blockedURI));
"""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without Chromium, leave out what needs it."""
    needing = [item for item in items if "browser" in getattr(item, "fixturenames", ())]
    if CHROMIUM is None and needing:
        items[:] = [item for item in items if item not in needing]
        config.hook.pytest_deselected(items=needing)
        config.stash[LEFT_OUT] = len(needing)


def pytest_terminal_summary(
    terminalreporter: pytest.TerminalReporter, config: pytest.Config
) -> None:
    """Say in one line what was left out, and how to have it."""
    if count := config.stash.get(LEFT_OUT, 0):
        terminalreporter.write_line(
            f"chromium is missing: {count} tests of the page in a browser were left out "
            "(apt-get install chromium)"
        )


@dataclass
class Served:
    """A running service."""

    url: str
    app: Any


@pytest.fixture(scope="session")
def served() -> Iterator[Served]:
    """The service on a free port, in a thread of this process."""
    app = create_app(Settings(artifact=ARTIFACT, intra_op_threads=1, max_body_bytes=2**20))
    config = uvicorn.Config(app, host="127.0.0.1", port=0, log_config=None, lifespan="on")
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.02)
    port = server.servers[0].sockets[0].getsockname()[1]
    yield Served(f"http://127.0.0.1:{port}/", app)
    server.should_exit = True
    thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator["Browser"]:
    """Debian's Chromium, started for each module.

    While Playwright runs, this thread has an event loop; tests of other folders start their own.
    """
    with sync_playwright() as running:
        started = running.chromium.launch(executable_path=CHROMIUM, args=list(ARGUMENTS))
        yield started
        started.close()


@dataclass
class Watch:
    """What a page did that it should not have; `allowed` holds beginnings that may come."""

    allowed: list[str] = field(default_factory=list)
    seen: list[str] = field(default_factory=list)

    def note(self, text: str) -> None:
        self.seen.append(text)

    def faults(self) -> list[str]:
        return [text for text in self.seen if not any(part in text for part in self.allowed)]


Visit = Callable[..., "Page"]


@pytest.fixture
def watch() -> Watch:
    return Watch()


@pytest.fixture
def visit(browser: "Browser", served: Served, watch: Watch) -> Iterator[Visit]:
    """Open the page: `visit("#/card", width=390, scheme="dark", locale="zh-CN")`."""
    contexts: list[BrowserContext] = []

    def open_page(
        place: str = "",
        *,
        width: int = 1280,
        locale: str = "en",
        ready: str | None = "answer",
        before: Callable[["Page"], None] | None = None,
        **options: Any,
    ) -> "Page":
        options.setdefault("color_scheme", options.pop("scheme", "light"))
        context = browser.new_context(
            viewport={"width": width, "height": 800}, locale=locale, **options
        )
        context.set_default_timeout(10_000)
        contexts.append(context)
        page = context.new_page()
        page.add_init_script(REPORT_BREACHES)
        page.on("console", lambda message: watch.note(f"console: {message.text}"))
        page.on("pageerror", lambda error: watch.note(f"error: {error}"))
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith((served.url, "blob:"))
                else watch.note(f"host: {request.url}")
            ),
        )
        if before is not None:
            before(page)
        page.goto(served.url + place)
        if ready is not None:
            page.wait_for_selector(f"main[data-state={ready}]")
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not watch.faults()


@pytest.fixture(scope="session")
def boot(served: Served) -> bytes:
    """An image of the test split: the last of the service's samples."""
    return httpx.get(f"{served.url}samples/9.png").content
