"""The views besides Play, each driven through its main job, in front of one server with a model of a few lines."""

import dataclasses
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import msgspec
import pytest
from playwright.sync_api import Page, expect

from proxy.steering.transfer.files import MapInfo, Side, TransferInfo, write_transfer
from proxy.steering.transfer.maps import Method
from tests.fakes import FakeEngine, save_vector, serving, settings_in
from tests.ui.conftest import Watched
from tests.ui.play import SECONDS, columns
from tests.vector_store.test_evaluation import EVALUATION
from vector_store import JudgedBy, Measured, Sweep, SweepKind, SweepPoint, VectorStore

Open = Callable[..., Watched]


def point(kind: SweepKind, coefficient: float, trait: float) -> SweepPoint:
    def around(mean: float, width: float) -> Measured:
        return Measured(mean=mean, low=max(mean - width, 0), high=mean + width)

    return SweepPoint(
        kind=kind,
        coefficient=coefficient,
        relative_dose=coefficient / 2,
        trait=around(trait, 7),
        coherence=around(100 - 20 * coefficient, 5),
        wrong_way=around(0.1, 0.05),
        correct=around(0.9, 0.1),
        score=None,
        n=40,
        unfinished=around(0.2, 0.1),
        looping=around(0.15, 0.05),
    )


SWEEP = Sweep(
    points=[
        point("unsteered", 0, 3),
        point("prompt", 0, 88),
        *(point("steered", at, 40 * at) for at in (0.5, 1.0, 2.0)),
        *(point("random", at, 5) for at in (0.5, 1.0, 2.0)),
        *(point("wrong_trait", at, 11) for at in (0.5, 1.0, 2.0)),
    ],
    chosen_on=[],
    judge=JudgedBy(name="likelihood", auroc=0.97, n=80, scored=True),
    coherent_to=1.0,
    collapse=2.0,
    factor=None,
    verdict="coefficient 1 was left as it was",
    seed=0,
    wrong_traits=["deep"],
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server with a swept and evaluated vector for `silly`, and one for `dishonest` that was neither."""
    folder = tmp_path_factory.mktemp("views")
    settings = settings_in(folder)
    store = VectorStore([Path(settings.vectors_dir)])
    made = save_vector(settings.vectors_dir, "silly", "silly", "serious", responses=True)
    vector = store.get(made)
    hopeless = dataclasses.replace(EVALUATION, verdict="prompt_only", reason="it shows more by system prompt")
    swept = dataclasses.replace(
        vector,
        id="",
        parent=made,
        sweeps={"positive": SWEEP, "negative": SWEEP},
        evaluations={"positive": EVALUATION, "negative": hopeless},
    )
    store.save(dataclasses.replace(swept, created="2025-01-02T00:00:00Z"))
    save_vector(settings.vectors_dir, "dishonest", "dishonest", "honest")
    with serving(settings, FakeEngine(context_length=4000)) as url:
        yield url


def test_thermostat_when_a_point_is_asked_then_the_model_answers_at_that_strength(
    server: str, open_page: Open, accessible: Callable[..., None], shot: Callable[[Page, str], None]
) -> None:
    page = open_page(f"{server}/visualization").page
    expect(page.get_by_text("up to 1 and falls apart at 2: from there on is too far.").first).to_be_visible()
    page.get_by_text("The same as a table").click()
    row = page.get_by_role("row", name="−1 serious")
    for figure in ("40 (33–47)", "20 (10–30)", "15 (10–20)", "11 (4–18)"):  # trait, unfinished, looping, wrong trait
        expect(row).to_contain_text(figure)
    limits = page.get_by_role("region", name="How far is too far")
    expect(limits).to_contain_text("wrong trait 11 (4–18)")
    expect(limits).to_contain_text("Facts right: 90 % unsteered, 90 % at 1.")
    with page.expect_request("**/api/steering/test") as asked:
        row.get_by_role("button", name="Ask").click()
    sent = msgspec.json.decode(asked.value.post_data or "")
    assert (sent["temperature"], sent["seed"], sent["max_tokens"]) == (0.7, 1, 200)  # as Play asks
    answers = page.get_by_role("region", name="Answers at this strength")
    expect(answers).to_contain_text("[-1.00] You said")
    page.locator(".u-over").click(position={"x": 0, "y": 50})
    expect(answers).to_contain_text("[-2.00] You said")
    expect(page.locator(".curve-under")).to_contain_text("−2: Trait 80 · Coherence 60")
    with page.expect_download() as file:
        page.get_by_role("button", name="CSV").click()
    table = Path(file.value.path()).read_text()
    assert "fake,silly" in table and "unfinished_low" in table and "looping_low" in table and "wrong_trait" in table
    accessible(page)
    shot(page, "thermostat-asked")


def test_verdicts_when_poles_were_evaluated_then_each_has_a_word_with_its_meaning_beside_it(
    server: str, open_page: Open, accessible: Callable[..., None]
) -> None:
    page = open_page(f"{server}/#/thermostat").page
    limits = page.get_by_role("region", name="How far is too far")
    weak = limits.locator(".worth").filter(has_text="silly: weak").locator("abbr")
    expect(weak).to_have_attribute("title", re.compile("not above everything .* Here: it shows more at 2\\."))
    expect(limits).to_contain_text("serious: this model can't")
    accessible(page)
    page.goto(f"{server}/#/play")
    column = page.locator("section.column").last
    expect(column.locator(".worth")).to_contain_text("silly: weak", timeout=SECONDS)
    column.get_by_role("spinbutton", name="silly: coefficient").fill("-1")
    expect(column.locator(".worth abbr")).to_have_text("this model can't")
    expect(column.locator(".worth abbr")).to_have_attribute("title", re.compile("the vector does not"))
    columns(page, 3)
    accessible(page)


def test_sweep_when_it_is_under_way_then_its_points_so_far_are_drawn(server: str, open_page: Open) -> None:
    job = {
        **{"id": "job-1", "object": "job", "kind": "sweep", "model": "fake", "status": "running", "created": 0},
        **{"parameters": {"trait": "silly", "coefficients": [-1, 1]}, "started": 0, "ended": None, "error": None},
        **{"progress": {"doing": "silly: sweeping", "fraction": 0.5, "seconds_left": None}, "result": None},
    }
    points = [{"side": "positive", "point": each} for each in (point("unsteered", 0, 3), point("steered", 0.5, 40))]
    event = b"data: " + msgspec.json.encode({**job, "points": points}) + b"\n\n"
    page = open_page(f"{server}/#/play").page
    page.route("**/api/jobs", lambda route: route.fulfill(json={"data": [{**job, "points": []}], "has_more": False}))
    page.route("**/events", lambda route: route.fulfill(body=event, content_type="text/event-stream"))
    page.goto(f"{server}/#/thermostat")
    page.get_by_role("button", name="Show its points").click()
    expect(page.locator(".curve-name")).to_have_text("silly / serious, fake, being measured")
    expect(page.get_by_label("Trait, system prompt (no figures)")).not_to_be_checked()
    page.get_by_text("The same as a table").click()
    expect(page.get_by_role("row", name="0.5 silly")).to_contain_text("40 (33–47)")


def test_sweep_when_it_can_not_be_then_said_beside_the_field_in_the_servers_words(server: str, open_page: Open) -> None:
    watched = open_page(f"{server}/#/thermostat")
    watched.allowed.append("400")
    watched.page.get_by_label("Coefficients").fill("much")
    watched.page.get_by_role("button", name="Start sweep").click()
    expect(watched.page.locator(".field.wrong").filter(has_text="Coefficients")).to_contain_text("coefficients[0]")


def test_trait_of_ones_own_when_made_by_templates_then_its_parts_can_be_edited(server: str, open_page: Open) -> None:
    watched = open_page(f"{server}/#/traits")
    watched.allowed.append("409")
    watched.allowed.append("400")
    page = watched.page
    page.get_by_role("button", name="Use fixed templates").click()
    expect(page.locator(".field.wrong")).to_contain_text("One pole")
    page.get_by_label("Name of the trait").fill("silly")
    page.get_by_label("One pole").fill("grumpy")
    page.get_by_label("The other pole").fill("cheerful")
    page.get_by_role("button", name="Use fixed templates").click()
    expect(page.locator(".field.wrong").filter(has_text="Name of the trait")).to_contain_text("silly")
    page.get_by_label("Name of the trait").fill("../bad Mood")
    page.get_by_role("button", name="Use fixed templates").click()
    expect(page.get_by_role("row", name="grumpy / cheerful bad-mood, own")).to_be_visible()
    expect(page.get_by_text("This model has no vector for this trait yet.")).to_be_visible()
    page.get_by_text("Instructions, questions and rubric").click()
    page.get_by_label("Rubric").fill("Is it <script>grumpy</script>?")
    page.get_by_role("button", name="Save").click()
    expect(page.get_by_text("Saved.")).to_be_visible()
    page.get_by_role("button", name="Delete the trait bad-mood").click()
    page.get_by_role("button", name="Delete for good: the trait bad-mood").click()
    expect(page.get_by_text("The trait bad-mood is deleted.")).to_be_visible()
    expect(page.get_by_role("row", name="bad-mood")).to_have_count(0)


def test_traits_when_a_vector_is_being_made_then_its_progress_stands_where_it_was_started(
    server: str, open_page: Open
) -> None:
    job = {
        **{"id": "job-1", "object": "job", "kind": "extraction", "model": "fake", "status": "running", "created": 0},
        **{"parameters": {"trait": "silly"}, "started": 0, "ended": None, "error": None, "points": []},
        **{"progress": {"doing": "reading", "fraction": 0.5, "seconds_left": None}, "result": None},
    }
    page = open_page(f"{server}/#/play").page
    page.route("**/api/jobs", lambda route: route.fulfill(json={"data": [job], "has_more": False}))
    page.route("**/events", lambda route: None)  # which never answer
    page.goto(f"{server}/#/traits?trait=silly&model=fake")
    panel = page.locator(".chosen-trait")
    expect(panel.get_by_role("progressbar")).to_be_visible()
    expect(page.locator(".job")).to_have_count(1)
    expect(panel.get_by_role("button", name="Make it anew")).to_have_count(0)
    job.update(status="done", ended=time.time() + 60)
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    expect(panel.locator(".job").get_by_role("link", name="Try it in Play")).to_be_visible()
    panel.get_by_role("button", name="Dismiss").click()
    expect(page.locator(".job")).to_have_count(0)


def test_vector_when_another_version_is_put_to_use_then_the_table_follows(
    server: str, open_page: Open, accessible: Callable[..., None], shot: Callable[[Page, str], None]
) -> None:
    page = open_page(f"{server}/#/traits?trait=dishonest&model=fake").page
    expect(page.get_by_role("heading", name="dishonest / honest in fake")).to_be_visible()
    page.get_by_role("button", name="silly in fake").click()
    vector = page.get_by_role("region", name="Vector of silly in fake")
    expect(vector.get_by_role("row", name="answer")).to_contain_text("0.90")
    with page.expect_download() as file:
        vector.get_by_role("button", name="Download").click()
    assert file.value.suggested_filename.endswith(".safetensors")
    accessible(page)
    shot(page, "traits-vector")
    vector.get_by_role("button", name="Use silly").click()
    expect(vector.get_by_text("kept, not in use").first).to_be_visible()


def test_server_when_a_request_went_wrong_and_a_model_is_unloaded_then_both_are_shown(
    tmp_path: Path, open_page: Open
) -> None:
    with serving(settings_in(tmp_path), FakeEngine()) as url:
        page = open_page(f"{url}/#/server").page
        expect(page.get_by_text("Nothing went wrong since the server started.")).to_be_visible()
        httpx.post(f"{url}/v1/chat/completions", json={})
        expect(page.get_by_role("region", name="Recent errors")).to_contain_text("400 invalid_request")
        page.get_by_role("button", name="Unload fake").click()
        expect(page.get_by_role("row", name="fake unloaded")).to_be_visible()
        page.get_by_role("button", name="Load fake").click()
        expect(page.get_by_role("button", name="Unload fake")).to_be_visible()


def test_server_when_a_model_is_in_use_then_unloading_it_all_the_same_is_offered(
    tmp_path: Path, open_page: Open
) -> None:
    with serving(settings_in(tmp_path), FakeEngine(token_s=0.1)) as url:
        watched = open_page(f"{url}/#/server")
        watched.allowed.append("409")
        page = watched.page
        body = {"messages": [{"role": "user", "content": "!forever"}], "stream": True}
        with httpx.stream("POST", f"{url}/v1/chat/completions", json=body, timeout=60) as answer:
            lines = answer.iter_lines()  # which ends the answer when it is let go
            next(lines)
            page.get_by_role("button", name="Unload fake").click()
            expect(page.get_by_text("1 request or job is under way")).to_be_visible()
            page.get_by_role("button", name="Unload fake all the same").click()
            expect(page.get_by_role("row", name="fake unloaded")).to_be_visible()
            expect(page.get_by_text("1 request or job is under way")).to_have_count(0)


def test_transfer_when_it_can_not_be_fitted_then_said_in_the_servers_words(server: str, open_page: Open) -> None:
    watched = open_page(f"{server}/#/transfer")
    watched.allowed.append("400")
    expect(watched.page.get_by_text("No transfer was fitted yet.")).to_be_visible()
    watched.page.get_by_role("button", name="Fit", exact=True).click()
    expect(watched.page.get_by_role("alert")).to_be_visible()


def test_transfer_when_one_was_fitted_then_every_pair_of_blocks_is_shown(
    tmp_path: Path, open_page: Open, accessible: Callable[[Page], None]
) -> None:
    settings = settings_in(tmp_path)
    fitted = MapInfo(
        span="response",
        source_block=2,
        target_block=1,
        method=Method("ridge", 0.1),
        r2=0.75,
        r2_shuffled=-0.1,
        r2_by_kind={},
        n_pairs=100,
        n_controls=3,
    )
    info = TransferInfo(
        id="transfer-1",
        source=Side("source", "a", 3, 8),
        target=Side("fake", "b", 4, 8),
        created="2025-01-01T00:00:00+00:00",
        software_version="1",
        text="text",
        corpus_sha256="",
        n_documents=10,
        seed=0,
        maps=[fitted],
        target_blocks=[1],
        screened={"response": [[0.1], [0.2], [0.6]]},
        words=[],
    )
    folder = settings.transfers_dir / info.id
    folder.mkdir(parents=True)
    write_transfer(folder, info)
    with serving(settings, FakeEngine()) as url:
        page = open_page(f"{url}/#/transfer").page
        expect(page.get_by_role("row", name="1 0.10 0.20 0.60 (chosen)")).to_be_visible()
        expect(page.get_by_text("Not measured yet: evaluate it below.")).to_be_visible()
        accessible(page)


def test_sweep_when_started_then_followed_to_its_end_and_its_curve_shown(server: str, open_page: Open) -> None:
    page = open_page(f"{server}/#/thermostat").page
    expect(page.get_by_text("holds together up to").first).to_be_visible()
    page.get_by_label("Coefficients").fill("1")
    page.get_by_label("Answers to each question").fill("1")
    page.get_by_role("button", name="Start sweep").click()
    job = page.locator(".job")
    expect(job).to_contain_text("Sweep: silly, fake")
    expect(job).to_contain_text("Done", timeout=30_000)
    page.wait_for_url(re.compile("v=silly-"))
    made = page.url.partition("v=")[2].partition("&")[0]
    expect(page.get_by_label("Show", exact=True)).to_have_value(made)
    page.get_by_role("link", name="Play").click()
    page.get_by_role("link", name="Thermostat").click()
    expect(page.get_by_label("Show", exact=True)).to_have_value(made)
    job.get_by_role("button", name="Dismiss").click()
    expect(job).to_have_count(0)


def test_job_when_it_failed_then_said_why_and_it_can_be_tried_again(server: str, open_page: Open) -> None:
    page = open_page(f"{server}/#/traits?trait=superficial&model=fake").page
    page.get_by_role("button", name="Make the vector in fake").click()
    failed = page.locator(".chosen-trait .job.failed")
    expect(failed.locator(".error")).not_to_be_empty(timeout=30_000)
    page.goto(f"{server}/#/server")
    card = page.locator(".job.failed")
    expect(card).to_have_count(1)
    expect(page.get_by_text("No job has ended.")).to_have_count(0)
    card.get_by_role("button", name="Dismiss").click()
    expect(card).to_have_count(0)
    page.goto(f"{server}/#/traits?trait=superficial&model=fake")
    expect(page.get_by_role("button", name="no vector: making it failed: superficial in fake")).to_be_visible()
    expect(page.get_by_text("If it fails again, use another model.")).to_be_visible()
    failed.get_by_role("button", name="Try again").click()
    expect(failed).to_have_count(1, timeout=30_000)
    page.goto(f"{server}/#/server")
    expect(card).to_have_count(1, timeout=30_000)


def test_traits_when_fifty_with_long_names_then_found_and_chosen_by_keyboard(
    tmp_path: Path, open_page: Open, accessible: Callable[[Page], None]
) -> None:
    settings = settings_in(tmp_path)
    with serving(settings, FakeEngine()) as url:
        with httpx.Client(base_url=url) as client:
            for number in range(50):
                name = f"t{number:02d}-{'long' * 14}"
                poles = {"positive_trait": "curt and grumpy all day", "negative_trait": "as cheerful as can be"}
                made = client.post("/api/traits/generate-custom", json={"trait_name": name, "template": True, **poles})
                assert made.status_code == 200, made.text
        page = open_page(f"{url}/#/traits", width=360, height=740).page
        page.get_by_label("Find one of 58 traits").fill("t17")
        expect(page.locator(".states tbody tr")).to_have_count(1)
        page.keyboard.press("Tab")  # the table, which scrolls
        page.keyboard.press("Tab")
        page.keyboard.press("Enter")
        expect(page.locator(".chosen-trait")).to_be_focused()
        page.keyboard.press("Tab")
        page.keyboard.press("Tab")
        expect(page.get_by_role("button", name="Make the vector in fake")).to_be_focused()
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        accessible(page)
