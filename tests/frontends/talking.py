"""A user of Open WebUI in a browser: opens a chat, chooses, asks, and watches the answer grow."""

import time

from playwright.sync_api import Page

from tests.frontends.served import Asked, Recorder

ANSWER_S = 300.0
QUESTION = "Which of the many towns of France is the one that its government sits in today?"


def open_chat(page: Page, url: str, model: str) -> None:
    """A new chat with a model, with what is new in this version clicked away."""
    page.goto(f"{url}/?models={model}", wait_until="domcontentloaded")
    page.locator("#chat-input").wait_for()
    news = page.get_by_role("button", name="Okay, Let's Go!")
    page.wait_for_timeout(3000)  # the news come a while after the rest
    if news.count():
        news.click()
        news.wait_for(state="hidden")


def choose_persona(page: Page, persona: str, coefficient: str) -> None:
    """By the function's menus."""
    page.locator("#integration-menu-button").click()
    page.get_by_role("menuitemcheckbox", name="Personas").click()
    if not page.get_by_role("button", name="Valves").count():
        page.locator("#integration-menu-button").click()
    page.get_by_role("button", name="Valves").first.click()
    dialog = page.get_by_role("dialog")
    for _ in range(2):
        dialog.get_by_role("button", name="Default").first.click()
    menus = dialog.locator("select")
    menus.nth(0).select_option(persona)
    menus.nth(1).select_option(coefficient)
    dialog.get_by_role("button", name="Save").click()
    page.get_by_text("Valves updated successfully").first.wait_for()
    dialog.get_by_role("button", name="Close").click()
    dialog.wait_for(state="hidden")
    page.keyboard.press("Escape")  # the menu


def shown(page: Page) -> str:
    """The chat as it stands, without what is not told by words."""
    return " ".join(page.locator("#messages-container").inner_text().split())


def ask(page: Page, recorder: Recorder, question: str, told: str, answers: int = 1) -> tuple[list[Asked], list[str]]:
    """The chat requests that a question came to, once there are as many as `answers` and the page shows `told`; and
    the texts that it showed meanwhile, each once. AssertionError where that does not come in time."""
    before = len(recorder.chats())
    page.locator("#chat-input").click()
    page.keyboard.type(question)
    page.keyboard.press("Enter")
    page.locator("#messages-container").wait_for()
    seen = [""]
    deadline = time.monotonic() + ANSWER_S
    while len(recorder.chats()) < before + answers or told not in seen[-1]:
        asked = recorder.chats()[before:]
        assert time.monotonic() < deadline and not any(each.status != 200 for each in asked), (asked, seen[-1])
        if (text := shown(page)) != seen[-1]:
            seen.append(text)
        page.wait_for_timeout(50)
    return recorder.chats()[before:], seen
