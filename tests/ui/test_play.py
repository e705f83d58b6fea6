"""Play, driven as a person would: a question answered side by side, by mouse and by keyboard."""

import dataclasses
import re
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from playwright.sync_api import Locator, Page, expect

from proxy.app import create_app
from proxy.engines.registry import Registry
from proxy.settings import ModelSettings, Settings
from tests.fakes import FakeEngine, fake_registry, model_settings, running, save_vector, serving
from tests.ui.conftest import OF_A_THEME, Watched
from vector_store import JudgedBy, Measured, Sweep, SweepPoint, VectorStore

Open = Callable[..., Watched]
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


def save_swept(folder: Path) -> None:
    """A vector whose positive pole falls apart at 1.75, and seldom comes to an end before."""
    store = VectorStore([folder])
    vector = store.get(save_vector(folder, "silly", "silly", "serious", responses=True))
    judge = JudgedBy(name="a judge", auroc=1.0, n=80, scored=True)
    point = SweepPoint(
        kind="steered",
        coefficient=1.0,
        relative_dose=0.5,
        trait=None,
        coherence=None,
        wrong_way=None,
        correct=None,
        score=None,
        n=4,
        unfinished=Measured(mean=0.9, low=0.7, high=1.0),
    )
    sweep = Sweep(
        points=[point],
        chosen_on=[point],
        judge=judge,
        coherent_to=1.5,
        collapse=1.75,
        factor=None,
        verdict="",
        seed=0,
    )
    store.delete(vector.model_id, vector.trait, vector.id)
    store.save(dataclasses.replace(vector, id="", created="2025-01-02T00:00:00Z", sweeps={"positive": sweep}))


@pytest.fixture
def page(demo_server: str, open_page: Open) -> Page:
    return open_page(f"{demo_server}/").page


@pytest.fixture(scope="module")
def engine() -> FakeEngine:
    return FakeEngine(context_length=4000, token_s=0.001)


@pytest.fixture(scope="module")
def fake_server(tmp_path_factory: pytest.TempPathFactory, engine: FakeEngine) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("fake")
    save_swept(folder / "vectors")
    settings = Settings(vectors_dir=str(folder / "vectors"), traits_dir=folder / "traits", jobs_dir=folder / "jobs")
    with serving(settings, engine) as url:
        yield url


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


def test_markup_and_right_to_left_text_when_answered_then_shown_as_text(fake_server: str, open_page: Open) -> None:
    page = open_page(f"{fake_server}/").page
    columns(page, 3)
    evil = "<img src=x onerror=alert(1)><script>alert(1)</script> שלום"
    page.get_by_label("Question", exact=True).fill(evil)
    page.keyboard.press("Enter")
    expect(page.locator(".answer").nth(1)).to_contain_text(evil)
    assert page.locator("main img, main script").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth") <= 1440


def test_answer_when_long_then_all_of_it_is_shown_and_it_can_be_stopped(fake_server: str, open_page: Open) -> None:
    page = open_page(f"{fake_server}/#/play?ask=!forever&max=2000&c=silly:1").page
    expect(page.locator(".token").nth(100)).to_be_attached(timeout=SECONDS)
    [column] = [page.locator("section.column")]
    expect(column).to_contain_text("Cut at its length", timeout=2 * SECONDS)
    assert page.locator(".token").count() == 2000
    column.get_by_role("button", name="Regenerate").click()
    page.get_by_role("button", name="Stop", exact=True).press("Enter")
    expect(column).to_have_attribute("aria-busy", "false")
    assert 0 <= page.locator(".token").count() < 2000


def test_server_when_gone_and_back_then_asked_again_and_what_was_typed_is_kept(
    fake_server: str, open_page: Open
) -> None:
    watched = open_page(f"{fake_server}/")
    watched.allowed.append("ERR_INTERNET_DISCONNECTED")
    page = watched.page
    columns(page, 3)
    page.context.set_offline(True)
    page.get_by_label("Question", exact=True).fill("hello again")
    page.keyboard.press("Enter")
    expect(page.get_by_text("The server can't be reached. It is asked again")).to_be_visible()
    page.context.set_offline(False)
    expect(page.locator(".answer").nth(1)).to_contain_text("hello again", timeout=SECONDS)
    expect(page.get_by_label("Question", exact=True)).to_have_value("hello again")
    expect(page.locator(".notice")).to_have_count(0)


def test_keys_when_the_server_has_some_then_asked_for_once_and_a_user_key_opens_play(
    settings: Settings, open_page: Open
) -> None:
    save_vector(settings.vectors_dir, "silly", "silly", "serious", responses=True)
    with_keys = msgspec.structs.replace(settings, api_keys=["user"], admin_key="admin")
    with serving(with_keys, FakeEngine()) as url:
        watched = open_page(url)
        watched.allowed += ["401", "403"]
        page = watched.page
        field = page.get_by_label("This server asks for an API key")
        field.fill("wrong")
        page.get_by_role("button", name="Use key").click()
        expect(page.locator(".key-form .error")).to_have_text("The API key is not one of this server's.")
        field.fill("user")
        page.get_by_role("button", name="Use key").click()
        columns(page, 3)
        page.get_by_role("link", name="Traits").click()
        expect(page.get_by_text("Traits needs an admin key.")).to_be_visible()
        assert page.evaluate("[...Object.values(localStorage)]") == ["auto"] and "user" not in page.url
        page.get_by_role("link", name="Play").click()
        page.reload()
        columns(page, 3)


def test_model_when_without_vectors_then_it_answers_and_says_what_is_missing(
    settings: Settings, open_page: Open
) -> None:
    with serving(settings, FakeEngine()) as url:
        page = open_page(url).page
        columns(page, 1)
        expect(page.get_by_text("fake has no persona vector yet.")).to_be_visible()
        watched = open_page(f"{url}/#/play?c=silly:1")
        watched.allowed.append("400")
        column = watched.page.locator("section.column")
        expect(column.get_by_role("status")).to_contain_text("fake has no vector for silly yet. Make one")
        expect(column.locator(".strength-ends")).to_contain_text("serious")
        expect(column.locator(".error")).to_have_count(0)
        column.get_by_role("button", name="Use a system prompt").click()
        expect(column).to_contain_text("Asked for by a system prompt", timeout=SECONDS)


def test_strength_when_beyond_what_was_measured_then_said_and_the_range_is_shaded(
    fake_server: str, open_page: Open
) -> None:
    page = open_page(f"{fake_server}/#/play?c=silly:1.8").page
    [column] = columns(page, 1)
    expect(column).to_contain_text("Too far: answers fell apart at 1.75 when it was measured.")
    expect(column).to_contain_text("measured −1.5 to 1.5, falls apart at 1.75")
    track = column.locator(".strength-track")
    assert track.evaluate(
        "(track) => [track.style.getPropertyValue('--low'), track.style.getPropertyValue('--high')]"
    ) == [
        "12.5%",
        "87.5%",
    ]
    assert column.locator(".collapse").evaluate("(mark) => mark.style.left") == "93.75%"
    column.get_by_role("spinbutton").fill("1.6")
    expect(column).to_contain_text("Beyond what was measured")
    column.get_by_role("spinbutton").fill("1")
    expect(column).to_contain_text("90 % of the answers measured at 1 were cut off or went round in circles")


def test_model_when_it_still_loads_then_the_page_says_so_and_answers_when_it_is_there(
    settings: Settings, open_page: Open
) -> None:
    engine, loaded = FakeEngine(), threading.Event()

    def load(*_: object) -> FakeEngine:
        loaded.wait(60)
        return engine

    registry = Registry(model_settings("fake"), load=load)
    registry.start()
    try:
        with running(create_app(settings, registry)) as url:
            page = open_page(url).page
            expect(page.get_by_text("Loading fake …")).to_be_visible()
            expect(page.get_by_text("fake is being loaded; it answers as soon as it is ready.")).to_be_visible()
            page.get_by_label("Question", exact=True).fill("typed meanwhile")
            loaded.set()
            columns(page, 1)
            expect(page.get_by_label("Question", exact=True)).to_have_value("typed meanwhile")
    finally:
        loaded.set()
        registry.close()


def test_model_when_it_is_loaded_on_demand_then_the_steerable_one_answers_at_once(
    settings: Settings, open_page: Open
) -> None:
    save_vector(settings.vectors_dir, "silly", "silly", "serious", model="toy", responses=True)
    models = [ModelSettings("plain", "plain"), ModelSettings("toy", "toy", load="demand")]
    registry = Registry(models, load=lambda model, _: FakeEngine(model.id))
    registry.start()
    assert registry.wait(10)
    try:
        with running(create_app(msgspec.structs.replace(settings, models=models), registry)) as url:
            page = open_page(url).page
            columns(page, 3)
            expect(page.get_by_label("Model", exact=True).first).to_have_value("toy")
            expect(page.locator(".column").first.get_by_role("heading")).to_have_text("silly −1")
    finally:
        registry.close()


def test_page_when_behind_a_path_prefix_then_it_works(settings: Settings, open_page: Open) -> None:
    registry = fake_registry(FakeEngine())
    app = create_app(settings, registry)

    async def proxy(scope: Any, receive: Any, send: Any) -> None:
        """What nginx does by `location /persona/ { proxy_pass http://server/; }`."""
        if scope["type"] == "http":
            path = scope["path"].removeprefix("/persona")
            scope = {**scope, "path": path, "raw_path": path.encode()}
        await app(scope, receive, send)

    try:
        with running(proxy) as url:
            page = open_page(f"{url}/persona/").page
            columns(page, 1)
            page.goto(f"{url}/persona/visualization")
            expect(page.get_by_role("heading", level=1)).to_have_text("Thermostat")
    finally:
        registry.close()


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
