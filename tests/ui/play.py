"""What a test finds on the page Play."""

from playwright.sync_api import Locator, Page, expect

SECONDS = 30_000  # in milliseconds: machines that run tests are busy


def columns(page: Page, count: int) -> list[Locator]:
    """The columns, all answered."""
    found = page.locator("section.column")
    expect(found).to_have_count(count, timeout=SECONDS)
    for i in range(count):
        expect(found.nth(i).locator(".answer").last).not_to_be_empty(timeout=SECONDS)
        expect(found.nth(i)).to_have_attribute("aria-busy", "false", timeout=SECONDS)
    return [found.nth(i) for i in range(count)]


def text(column: Locator) -> str:
    return column.locator(".answer").last.inner_text()
