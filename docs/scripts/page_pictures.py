"""Takes docs/pictures/page-*.png of a running server's page, by headless Chromium.

    .venv/bin/persona-proxy serve --model demo-qwen2 --model demo-gpt-oss
    .venv/bin/persona-proxy transfer fit --source demo-qwen2 --target demo-gpt-oss
    .venv/bin/persona-proxy transfer evaluate --source demo-qwen2 --target demo-gpt-oss --trait silly --trait dishonest
    .venv/bin/python -m docs.scripts.page_pictures [http://127.0.0.1:8000]

What they show is real: the answers of one seed, the curve that came with the vector, the transfer as it was evaluated.
CHROMIUM names another browser than the one on the path.
"""

import argparse
import os
import shutil
from pathlib import Path

import httpx
from playwright.sync_api import Page, sync_playwright

FOLDER = Path(__file__).parent.parent / "pictures"
WIDTH, HEIGHT = 1280, 900
PATIENCE_MS = 120_000
PLAY = "#/play?model=demo-qwen2&ask=What+is+the+capital+of+France%3F&persona=silly&t=0.7&seed=1&max=200"
COLUMNS = "&c=silly%3A-1&c=silly%3A0&c=silly%3A1"


def play(page: Page, url: str) -> None:
    page.goto(f"{url}/{PLAY}{COLUMNS}")
    page.get_by_text("Within what was measured").nth(1).wait_for()
    page.get_by_text("Not steered").wait_for()


def thermostat(page: Page, url: str) -> None:
    versions = httpx.get(f"{url}/api/vectors/demo-qwen2/silly").raise_for_status().json()["data"]
    in_use = next(version["id"] for version in versions if version["in_use"])
    page.goto(f"{url}/#/thermostat?v={in_use}")
    page.locator(".u-over").first.wait_for()


def transfer(page: Page, url: str) -> None:
    page.goto(f"{url}/#/transfer")
    page.get_by_role("region", name="Recovery by pole").wait_for()


PICTURES = {"play": play, "thermostat": thermostat, "transfer": transfer}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("url", nargs="?", default="http://127.0.0.1:8000")
    url = parser.parse_args().url.rstrip("/")
    chromium = os.environ.get("CHROMIUM") or shutil.which("chromium")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, shown in PICTURES.items():
            page = browser.new_page(
                viewport={"width": WIDTH, "height": HEIGHT}, color_scheme="light", reduced_motion="reduce"
            )
            page.set_default_timeout(PATIENCE_MS)
            shown(page, url)
            page.screenshot(path=FOLDER / f"page-{name}.png")
            page.close()
        browser.close()


if __name__ == "__main__":
    main()
