"""Play in front of servers of every kind: with keys, without vectors, still loading, gone for a while, or moved."""

import dataclasses
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from playwright.sync_api import expect

from proxy.app import create_app
from proxy.engines.registry import Registry
from proxy.settings import ModelSettings, Settings
from tests.fakes import FakeEngine, fake_registry, model_settings, running, save_vector, serving
from tests.ui.conftest import Watched
from tests.ui.play import SECONDS, columns
from vector_store import JudgedBy, Measured, Sweep, SweepPoint, VectorStore

Open = Callable[..., Watched]


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


def test_markup_and_right_to_left_text_when_answered_then_shown_as_text(fake_server: str, open_page: Open) -> None:
    page = open_page(f"{fake_server}/").page
    columns(page, 3)
    expect(page.get_by_label("Question", exact=True)).to_have_value("What is gravity?")  # it is no toy
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
