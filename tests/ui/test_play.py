"""Play in front of the demo models, driven as a person would: a question answered side by side, by mouse and by
keyboard."""

import re
from collections.abc import Callable

import pytest
from playwright.sync_api import Page, expect

from tests.ui.conftest import OF_A_THEME, Watched
from tests.ui.play import SECONDS, columns, text

Open = Callable[..., Watched]


@pytest.fixture
def page(demo_server: str, open_page: Open) -> Page:
    return open_page(f"{demo_server}/").page


def test_first_view_when_opened_then_three_strengths_answer_and_differ(
    page: Page, accessible: Callable[..., None], shot: Callable[[Page, str], None]
) -> None:
    serious, plain, silly = columns(page, 3)
    assert len({text(column) for column in (serious, plain, silly)}) == 3
    expect(serious.get_by_role("heading")).to_have_text("silly −1")
    expect(serious).to_contain_text("serious 1")
    expect(plain).to_contain_text("Not steered")
    expect(silly).to_contain_text("Within what was measured")
    assert re.search(
        r"Dose\s+[0-9.]+\s+Projection\s+silly [0-9.]+\s+serious −?[0-9.]+\s+Tokens/s\s+\d+", silly.inner_text()
    )
    assert silly.locator(".token.towards").count() and "probability" not in silly.inner_text()
    accessible(page)
    shot(page, "play-answered-light")
    page.emulate_media(color_scheme="dark")
    accessible(page, *OF_A_THEME)
    shot(page, "play-answered-dark")


def test_strength_when_moved_by_arrow_keys_then_answered_anew_and_the_link_reproduces_it(
    page: Page, open_page: Open
) -> None:
    *_, silly = columns(page, 3)
    silly.get_by_role("slider", name="silly: strength").focus()
    for _ in range(3):
        page.keyboard.press("ArrowLeft")
    expect(silly.get_by_role("heading")).to_have_text("silly 0.85")
    expect(silly.get_by_role("spinbutton", name="silly: coefficient")).to_have_value("0.85")
    page.wait_for_timeout(700)
    answered = [text(column) for column in columns(page, 3)]
    page.wait_for_url(re.compile(r"c=silly%3A0\.85"))
    again = open_page(page.url).page
    assert [text(column) for column in columns(again, 3)] == answered


def test_persona_and_colours_when_changed_then_all_columns_follow(page: Page) -> None:
    columns(page, 3)
    page.get_by_label("Persona", exact=True).select_option(
        "deep" if page.locator("option[value=deep]").count() else "superficial"
    )
    page.wait_for_timeout(700)
    first, *_ = columns(page, 3)
    expect(first.get_by_role("slider")).to_have_attribute("aria-label", "superficial: strength")
    page.get_by_label("Colour tokens by").select_option("nothing")
    expect(page.locator(".token.towards, .token.away")).to_have_count(0)
    expect(page.locator(".legend")).to_have_count(0)
    page.wait_for_url(re.compile("colour=off"))


def test_token_when_reached_by_keyboard_then_its_projection_and_alternatives_and_a_fork(page: Page) -> None:
    *_, silly = columns(page, 3)
    first_word = silly.locator(".token").nth(0).inner_text()
    silly.locator(".answer").focus()
    page.keyboard.press("ArrowRight")
    page.keyboard.press("ArrowRight")
    inspector = silly.locator(".inspector")
    expect(inspector).to_contain_text("token 2 of")
    expect(inspector).to_contain_text(
        re.compile(r"projection on silly −?[0-9.]+, serious −?[0-9.]+ · probability [<0-9.]+")
    )
    assert inspector.locator("tbody tr").count() == 5
    inspector.get_by_role("button", name="Fork with").nth(1).click()
    forked = columns(page, 4)[3]
    assert text(forked).startswith(first_word) and text(forked) != text(silly)
    page.keyboard.press("Escape")
    silly.locator(".token").nth(3).hover()
    expect(silly.locator(".tip")).to_contain_text("projection on silly")


def test_columns_when_added_of_every_kind_then_each_says_what_was_done(page: Page, demo_server: str) -> None:
    columns(page, 3)
    said = ["The model as it is", "A random direction", "Asked for by a system prompt", "silly 0.5"]
    names = ["The model as it is", "A random direction", "The system prompt", "Another strength of silly"]
    for count, (name, words) in enumerate(zip(names, said, strict=True), 4):
        page.get_by_text("Add a column").click()
        page.get_by_role("button", name=name).click()
        expect(columns(page, count)[-1]).to_contain_text(words)
    page.get_by_text("Add a column").click()
    page.get_by_label("Another persona").select_option("superficial")
    expect(columns(page, 8)[-1].get_by_role("heading")).to_have_text("superficial 1")
    page.get_by_text("Add a column").click()
    page.get_by_label("Another model").select_option("demo-gpt-oss")
    expect(columns(page, 9)[-1]).to_contain_text("demo-gpt-oss")
    page.get_by_role("button", name="Remove this column").first.click()
    columns(page, 8)


def test_personas_when_several_in_one_column_then_both_are_asked_for(page: Page) -> None:
    *_, silly = columns(page, 3)
    silly.get_by_text("More for this column").click()
    silly.get_by_label("Add a persona").select_option("superficial")
    page.wait_for_timeout(700)
    *_, both = columns(page, 3)
    expect(both.get_by_role("heading")).to_have_text("silly 1 + superficial 0.5")
    both.get_by_role("button", name="Remove superficial").click()
    expect(both.get_by_role("heading")).to_have_text("silly 1")


def test_coefficient_when_impossible_then_the_servers_words_stand_at_the_field(
    demo_server: str, open_page: Open
) -> None:
    watched = open_page(f"{demo_server}/")
    watched.allowed.append("400")
    first, *_ = columns(watched.page, 3)
    first.get_by_role("spinbutton").fill("5")
    expect(first.locator(".strength .error")).to_have_text(re.compile("coefficient: .*from -2 to 2"))
    expect(first.get_by_role("spinbutton")).to_have_attribute("aria-invalid", "true")
    first.get_by_role("spinbutton").fill("")
    expect(first.locator(".strength .error")).to_have_text("Give a number from −2 to 2.")
    first.get_by_role("spinbutton").fill("0.5")
    expect(first.locator(".error")).to_have_count(0)
    columns(watched.page, 3)
    watched.page.get_by_text("Settings").click()
    watched.page.get_by_label("Temperature").fill("9")
    watched.page.get_by_role("button", name="Ask with these").click()
    expect(watched.page.locator(".settings .error")).to_have_text(re.compile("temperature: .*from 0 to 2"))
    watched.page.get_by_label("Temperature").fill("0.7")
    watched.page.get_by_label("Tokens at most").fill("999999")
    watched.page.get_by_role("button", name="Ask with these").click()
    expect(columns(watched.page, 3)[0]).to_contain_text(re.compile("has room for [0-9]+ tokens"))
    expect(watched.page.get_by_label("Temperature")).to_be_visible()


def test_conversation_when_it_goes_on_then_in_all_columns_or_one(page: Page) -> None:
    columns(page, 3)
    page.get_by_role("button", name="Follow up").click()
    expect(page.get_by_label("Go on in all columns")).to_be_focused()
    expect(page.get_by_label("Go on in all columns")).to_have_value("")
    page.get_by_label("Go on in all columns").fill("What is the opposite of hot?")
    page.get_by_role("button", name="Send to all").click()
    first, second, _ = columns(page, 3)
    expect(first.locator(".question")).to_have_count(2)
    first.get_by_role("button", name="Reply").click()
    first.get_by_label("Go on in this column alone").fill("What is a baby goat called?")
    first.get_by_role("button", name="Send").click()
    expect(first.locator(".answer")).to_have_count(3, timeout=SECONDS)
    expect(second.locator(".answer")).to_have_count(2)
    first.get_by_role("button", name="Edit question").first.click()
    first.get_by_label("Your question").fill("Who wrote Dune?")
    first.get_by_role("button", name="Ask this").click()
    expect(first.locator(".question")).to_have_count(1)
    expect(first.locator(".question")).to_contain_text("Who wrote Dune?")
    columns(page, 3)
    page.wait_for_url(re.compile("talk="))


def test_answer_when_regenerated_edited_and_continued_then_it_goes_on_from_there(page: Page) -> None:
    _, plain, _ = columns(page, 3)
    plain.get_by_role("button", name="Regenerate").click()
    page.wait_for_url(re.compile("seed%3D"))
    _, plain, _ = columns(page, 3)
    plain.get_by_role("button", name="Edit answer").click()
    plain.get_by_label("The answer").fill("The capital of")
    plain.get_by_role("button", name="Keep").click()
    expect(plain.locator(".answer")).to_have_text("The capital of")
    plain.get_by_role("button", name="Continue").click()
    expect(plain.locator(".answer")).to_contain_text("The capital of France", timeout=SECONDS)


def test_copy_as_when_opened_then_the_request_in_every_form(page: Page, accessible: Callable[..., None]) -> None:
    *_, silly = columns(page, 3)
    silly.get_by_role("button", name="Copy as").click()
    dialog = page.get_by_role("dialog", name="Copy as")
    code = dialog.locator("pre")
    expect(code).to_contain_text("/v1/chat/completions")
    accessible(page)
    page.keyboard.press("Tab")
    for name, part in {
        "Python": "extra_body",
        "JavaScript": 'persona: "silly"',
        "Open WebUI": "demo-qwen2:silly",
        "LibreChat": 'default: ["demo-qwen2:silly"]',
    }.items():
        dialog.get_by_role("tab", name=name).click()
        expect(code).to_contain_text(part)
        if name == "Python":
            compile(code.inner_text(), "copied", "exec")
    page.keyboard.press("Escape")
    expect(dialog).to_have_count(0)


def test_play_when_on_a_phone_then_nothing_is_wider_than_it(
    demo_server: str, open_page: Open, shot: Callable[[Page, str], None]
) -> None:
    page = open_page(f"{demo_server}/", width=360, height=740, dark=True).page
    columns(page, 3)
    page.get_by_text("Add a column").click()
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    for seen in (page.get_by_role("link", name="Server"), page.locator(".token").first):
        box = seen.bounding_box()
        assert box and box["x"] + box["width"] <= 360 and box["y"] + box["height"] <= 740
    shot(page, "play-phone")
