"""A browser in front of a real server with the demo models.

Every page a test opens is held to what holds for all: no error in the console, no violation of the content security
policy, no request to anywhere but the server. Tests are skipped, with the reason, where no Chromium is installed.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from proxy.app import create_app
from proxy.engines.registry import Registry
from proxy.settings import Settings
from tests.clients import node
from tests.fakes import running
from tests.ui.chromium import MISSING, chromium

SERIOUS = ("serious", "critical")
OF_A_THEME = ("color-contrast", "link-in-text-block")  # the rules of axe that another theme can break


# Not for the whole session: while Playwright is there, its event loop runs in the thread of the tests, and no other
# can.
@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """Headless Chromium; CHROMIUM names another than the one on the path."""
    path = chromium()
    if path is None:
        pytest.skip(MISSING)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def demo_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server with the demo models and their vectors, ready; its folders are empty otherwise."""
    folder = tmp_path_factory.mktemp("page")
    settings = Settings(
        vectors_dir=str(folder / "vectors"),
        traits_dir=folder / "traits",
        jobs_dir=folder / "jobs",
        transfers_dir=folder / "transfers",
    )
    registry = Registry(settings.models, settings.max_batch)
    registry.start()
    try:
        assert registry.wait(120)
        with running(create_app(settings, registry)) as url:
            yield url
    finally:
        registry.close()


@dataclass
class Watched:
    """A page, and what it did that no page may. `allowed` are console errors a test brings about, by a part of them:
    browsers report every answer of 4xx and 5xx there."""

    page: Page
    origin: str
    errors: list[str] = field(default_factory=list)
    foreign: list[str] = field(default_factory=list)
    allowed: list[str] = field(default_factory=list)

    def check(self) -> None:
        assert self.foreign == []
        assert [error for error in self.errors if not any(part in error for part in self.allowed)] == []
        assert self.page.evaluate("window.violations ?? []") == []


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Watched]]:
    """Opens addresses in contexts of their own: open_page(url, width=1440, height=900, dark=False, ...); further
    options are Playwright's for a context. All are checked when the test ends."""
    opened: list[tuple[BrowserContext, Watched]] = []

    def open_(url: str, *, width: int = 1440, height: int = 900, dark: bool = False, **options: Any) -> Watched:
        context = browser.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if dark else "light",
            **options,
        )
        page = context.new_page()
        watched = Watched(page, "/".join(url.split("/")[:3]))
        page.on("console", lambda message: watched.errors.append(message.text) if message.type == "error" else None)
        page.on("pageerror", lambda error: watched.errors.append(str(error)))
        page.on(
            "request",
            lambda request: (
                None
                if request.url.startswith((watched.origin, "blob:", "data:"))
                else watched.foreign.append(request.url)
            ),
        )
        page.add_init_script(
            "window.violations = [];"
            "addEventListener('securitypolicyviolation', (event) => window.violations.push(event.violatedDirective));"
        )
        page.set_default_timeout(20_000)
        page.goto(url)
        opened.append((context, watched))
        return watched

    yield open_
    try:
        for _, watched in opened:
            watched.check()
    finally:
        for context, _ in opened:
            context.close()


@pytest.fixture(scope="session")
def axe() -> str:
    """axe-core's source."""
    return (node.install(node.AXE) / "axe-core" / "axe.min.js").read_text()


@pytest.fixture
def accessible(axe: str) -> Callable[..., None]:
    """Fails where axe finds something serious or critical on a page as it is now, by all its rules or those named."""

    def check(page: Page, *rules: str) -> None:
        if not page.evaluate("'axe' in window"):
            page.evaluate(axe)
        only = {"runOnly": {"type": "rule", "values": rules}} if rules else {}
        results = page.evaluate("(options) => axe.run(document, options)", {"resultTypes": ["violations"], **only})
        found = [
            f"{violation['id']}: {violation['help']}: {node['html'][:200]} {node.get('failureSummary', '')[:300]}"
            for violation in results["violations"]
            if violation["impact"] in SERIOUS
            for node in violation["nodes"]
        ]
        assert found == []

    return check


@pytest.fixture
def shot() -> Callable[[Page, str], None]:
    """Takes a picture of a page into the folder that SCREENSHOTS names, to be looked at; without it takes none."""

    def take(page: Page, name: str) -> None:
        if folder := os.environ.get("SCREENSHOTS"):
            Path(folder).mkdir(parents=True, exist_ok=True)
            page.screenshot(path=Path(folder, f"{name}.png"), full_page=True)

    return take
