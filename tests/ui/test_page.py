"""The frame of the page: what it is served as, and what holds for every view."""

import gzip
import re
from collections.abc import Callable

import httpx
import pytest
from playwright.sync_api import Page, expect

from proxy.settings import Settings
from proxy.ui.page import FOLDER, TYPES, assets
from proxy.ui.vendor.fetch import FOLDER as VENDORED
from proxy.ui.vendor.fetch import PACKAGES, files_of
from tests.fakes import FakeEngine, serving
from tests.ui.conftest import OF_A_THEME, Watched

VIEWS = {
    "play": "Play",
    "traits": "Traits and vectors",
    "thermostat": "Thermostat",
    "transfer": "Transfer",
    "server": "Server",
}
MOST_BYTES = 150_000  # of the first view, compressed
MOST_LINES = 300

Open = Callable[..., Watched]


def test_the_page_when_asked_for_then_all_of_it_is_the_servers_own(settings: Settings) -> None:
    with serving(settings, FakeEngine()) as url, httpx.Client(base_url=url) as client:
        for path in ("/", "/visualization"):
            page = client.get(path)
            assert page.status_code == 200 and page.headers["content-type"] == "text/html; charset=utf-8"
            assert page.headers["content-security-policy"].startswith("default-src 'self';")
            assert "unsafe" not in page.headers["content-security-policy"] and "//" not in page.text
            addresses = re.findall(r'(?:src|href)="([^"]+)"', page.text)
            assert all(address.startswith(f"assets/{assets().hash}/") for address in addresses if address != "schema")
            for address in addresses:
                found = client.get(f"/{address}")
                assert found.status_code == 200, address
        asset = client.get(f"/assets/{assets().hash}/app.js")
        assert asset.headers["content-encoding"] == "gzip" and "immutable" in asset.headers["cache-control"]
        plain = client.get(f"/assets/{assets().hash}/app.js", headers={"accept-encoding": "identity"})
        assert "content-encoding" not in plain.headers and plain.content == asset.content
        assert client.get("/visualization/").headers["location"] == "../visualization"


@pytest.mark.parametrize("path", ["0/app.js", "HASH/nothing.js", "HASH/page.py", "HASH/../page.py"])
def test_an_asset_when_unknown_or_of_another_version_then_404(settings: Settings, path: str) -> None:
    with serving(settings, FakeEngine()) as url:
        answer = httpx.get(f"{url}/assets/{path.replace('HASH', assets().hash)}")
        assert answer.status_code == 404 and answer.json()["error"]["code"] == "not_found"


def test_modules_then_none_is_too_long() -> None:
    own = [path for path in FOLDER.rglob("*") if path.suffix in TYPES and VENDORED not in path.parents]
    assert [path.name for path in own if len(path.read_text().splitlines()) > MOST_LINES] == []


def test_what_is_vendored_then_has_its_licence() -> None:
    names = {name for package in PACKAGES for name in package.files}
    assert names == {path.name for path in VENDORED.iterdir() if path.suffix not in (".py", "")}
    assert all(any(name.endswith("LICENSE.txt") for name in package.files) for package in PACKAGES)


def test_an_archive_when_it_is_another_then_nothing_is_taken_from_it() -> None:
    with pytest.raises(ValueError, match="its checksum is"):
        files_of(PACKAGES[0], b"something else")


@pytest.mark.parametrize("view", VIEWS)
def test_every_view_when_opened_then_accessible_in_both_themes_and_on_a_phone(
    demo_server: str, open_page: Open, accessible: Callable[..., None], shot: Callable[[Page, str], None], view: str
) -> None:
    page = open_page(f"{demo_server}/#/{view}").page
    expect(page.get_by_role("heading", level=1)).to_have_text(VIEWS[view])
    page.wait_for_load_state("networkidle")
    for width in (360, 768, 1440):
        page.set_viewport_size({"width": width, "height": 900})
        assert page.evaluate("document.documentElement.scrollWidth") <= width
        accessible(page)
        shot(page, f"{view}-{width}-light")
        if width == 768:
            continue  # laid out as at 1440, with the same colours
        page.emulate_media(color_scheme="dark")
        accessible(page, *OF_A_THEME)
        shot(page, f"{view}-{width}-dark")
        page.emulate_media(color_scheme="light")


def test_the_first_view_when_counted_then_small(demo_server: str, open_page: Open) -> None:
    page = open_page(f"{demo_server}/").page
    page.wait_for_load_state("networkidle")
    loaded = page.evaluate("performance.getEntriesByType('resource').map((entry) => entry.name)")
    names = {name.partition(f"/assets/{assets().hash}/")[2] for name in loaded} - {""}
    assert "views/play.js" in names and "vendor/uplot.js" not in names
    assert sum(len(gzip.compress(assets().files[name])) for name in names) < MOST_BYTES


def test_the_prototypes_address_when_opened_then_the_curves(demo_server: str, open_page: Open) -> None:
    page = open_page(f"{demo_server}/visualization").page
    expect(page.get_by_role("heading", level=1)).to_have_text("Thermostat")


def test_every_view_when_only_a_keyboard_is_there_then_reached(demo_server: str, open_page: Open) -> None:
    page = open_page(f"{demo_server}/").page
    expect(page.get_by_role("heading", level=1)).to_have_text("Play")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
    for title in VIEWS.values():
        link = page.get_by_role("navigation").get_by_role("link", name=title.split()[0])
        for _ in range(40):
            page.keyboard.press("Tab")
            if link.evaluate("(link) => link === document.activeElement"):
                break
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1)).to_have_text(title)
        page.evaluate("document.activeElement.blur()")
        page.locator("a.skip").focus()
