"""GET /metrics, as Prometheus reads it."""

from collections.abc import Iterator
from pathlib import Path

import httpx
import msgspec
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families

from proxy.settings import Settings
from tests.contract.test_traits import WRITTEN
from tests.fakes import FakeEngine, save_vector, serving, settings_in, wait_until

CHAT = "/v1/chat/completions"


class Scraped:
    """The samples of one scrape."""

    def __init__(self, text: str) -> None:
        families = list(text_string_to_metric_families(text))
        self.samples = [sample for family in families for sample in family.samples]

    def of(self, name: str, **labels: str) -> float | None:
        """The value of the one sample with this name, after our prefix, and these labels among its own."""
        found = [
            sample.value
            for sample in self.samples
            if sample.name.removeprefix("persona_proxy_") == name and labels.items() <= sample.labels.items()
        ]
        assert len(found) < 2, (name, labels)
        return found[0] if found else None

    def values_of(self, label: str) -> set[str]:
        """All values that a label has anywhere."""
        return {sample.labels[label] for sample in self.samples if label in sample.labels}


def scrape(client: httpx.Client, **headers: str) -> Scraped:
    answer = client.get("/metrics", headers=headers)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"].startswith("text/plain; version=")
    return Scraped(answer.text)


def asked(content: str, **fields: object) -> dict[str, object]:
    return {"messages": [{"role": "user", "content": content}], **fields}


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def client(tmp_path: Path, engine: FakeEngine) -> Iterator[httpx.Client]:
    save_vector(tmp_path / "vectors", "silly", "silly", "serious", responses=True)
    with serving(settings_in(tmp_path), engine) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client


def test_metrics_when_nothing_was_asked_then_what_is_there_is_told_and_nothing_is_counted(client: httpx.Client) -> None:
    found = scrape(client)
    assert found.of("model_status", model="fake", status="ready") == 1
    assert found.of("model_status", model="fake", status="loading") == 0
    assert found.of("num_requests_running", model="fake") == 0
    assert found.of("num_requests_waiting", model="fake") == 0
    assert found.of("prefix_cache_bytes", model="fake") == 4096
    assert found.of("max_batch") == 16 and found.of("max_queue") == 64
    assert found.of("generation_tokens_total", model="fake") == 0
    assert found.of("build_info") == 1
    memory = found.of("process_resident_memory_bytes")
    assert memory is None or memory > 10_000_000
    assert found.of("requests_total", endpoint=CHAT) is None
    assert found.of("jobs_ended_total", kind="extraction", state="failed") == 0
    assert not [sample.name for sample in found.samples if sample.name.endswith("_created")]


def test_metrics_when_answers_were_given_then_their_tokens_times_and_steering_are_counted(client: httpx.Client) -> None:
    said = [
        client.post(CHAT, json=asked("hello there", persona="silly", coefficient=1)).json(),
        client.post("/chat/completions", json=asked("hello you", n=2)).json(),
    ]
    streamed = client.post(CHAT, json=asked("hello", persona="silly", coefficient=-1, stream=True))
    assert streamed.text.endswith("data: [DONE]\n\n")
    wait_until(lambda: scrape(client).of("answers_total", model="fake", finish_reason="stop") == 4)
    found = scrape(client)
    assert found.of("requests_total", endpoint=CHAT, model="fake", outcome="ok") == 3
    assert found.of("requests_total", endpoint=CHAT, model="fake", outcome="failed") == 0
    assert found.of("request_duration_seconds_count", endpoint=CHAT, model="fake") == 3
    assert found.of("time_to_first_token_seconds_count", model="fake") == 4
    assert found.of("time_per_output_token_seconds_count", model="fake") == 4
    generated = found.of("generation_tokens_total", model="fake")
    assert generated == sum(each["usage"]["completion_tokens"] for each in said) + 4
    prompts = found.of("prompt_tokens_total", model="fake")
    assert prompts is not None and prompts > sum(each["usage"]["prompt_tokens"] for each in said)
    assert found.of("prefix_cache_hits_total", model="fake") == 0
    assert found.of("steered_answers_total", model="fake", method="activation", persona="silly") == 1
    assert found.of("steered_answers_total", model="fake", method="activation", persona="serious") == 1
    assert found.of("steered_answers_total", model="fake", method="none", persona="none") == 2
    assert found.of("relative_dose_sum", model="fake", persona="silly") == pytest.approx(
        said[0]["steering"]["relative_dose"]
    )
    assert found.of("beyond_measured_range_total", model="fake", persona="silly") == 0
    projection = found.of("projection", model="fake", persona="silly", pole="silly")
    assert projection == pytest.approx(said[0]["steering"]["projection"]["silly"])


def test_metrics_when_requests_go_wrong_then_the_outcome_says_how(client: httpx.Client, engine: FakeEngine) -> None:
    engine.token_s = 0.01
    assert client.post(CHAT, json=asked("hello", persona="nobody")).status_code == 404
    assert client.post(CHAT, json=asked("hello", persona="honest")).status_code == 400  # which has no vector
    client.post(CHAT, json=asked("!fail", stream=True))
    assert client.post(CHAT, json=asked("!fail")).status_code == 500
    assert client.get("/secret/place").status_code == 404
    with client.stream("POST", CHAT, json=asked("!forever", stream=True)) as answer:
        lines = answer.iter_lines()
        next(lines)
        wait_until(lambda: scrape(client).of("num_requests_running", model="fake") == 1)
    with pytest.raises(httpx.ReadTimeout):
        client.post(CHAT, json=asked("!forever"), timeout=0.3)
    wait_until(lambda: scrape(client).of("requests_total", endpoint=CHAT, model="fake", outcome="cancelled") == 2)
    found = scrape(client)
    assert found.of("requests_total", endpoint=CHAT, model="fake", outcome="failed") == 2
    assert found.of("requests_total", endpoint=CHAT, model="fake", outcome="refused") == 1
    assert found.of("requests_total", endpoint=CHAT, model="", outcome="refused") == 1
    assert found.of("requests_total", endpoint="none", outcome="refused") == 1
    assert found.of("answers_total", model="fake", finish_reason="error") == 2
    assert found.of("answers_total", model="fake", finish_reason="abort") == 2
    assert found.of("num_requests_running", model="fake") == 0
    assert found.values_of("persona") <= {"none", "silly", "serious"}


def test_metrics_when_the_queue_is_full_then_that_is_an_outcome_of_its_own(settings: Settings) -> None:
    engine = FakeEngine(token_s=0.01)
    settings = msgspec.structs.replace(settings, max_batch=1, max_queue=1)
    with serving(settings, engine) as url, httpx.Client(base_url=url, timeout=60) as client:
        forever = asked("!forever", stream=True)
        with client.stream("POST", CHAT, json=forever), client.stream("POST", CHAT, json=forever):
            assert client.post(CHAT, json=asked("hello")).status_code == 429
        assert scrape(client).of("requests_total", endpoint=CHAT, model="fake", outcome="overloaded") == 1


def test_metrics_when_a_persona_is_gone_then_no_label_names_it(client: httpx.Client, tmp_path: Path) -> None:
    assert client.post("/api/traits", json={**WRITTEN, "positive": "cross"}).status_code == 200
    save_vector(tmp_path / "vectors", "mood", "cross", "cheerful", responses=True)
    assert client.post(CHAT, json=asked("hello", persona="cross")).status_code == 200
    found = scrape(client)
    assert found.of("steered_answers_total", persona="cross") == 1
    assert found.of("projection", persona="cross") is not None
    assert client.delete("/api/traits/mood").status_code < 300
    found = scrape(client)
    assert "cross" not in found.values_of("persona") | found.values_of("pole")


def test_metrics_when_open_metrics_is_asked_for_then_it_comes_in_that_form(client: httpx.Client) -> None:
    client.post(CHAT, json=asked("hello"))
    answer = client.get("/metrics", headers={"accept": "application/openmetrics-text;version=1.0.0"})
    assert answer.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert answer.text.endswith("# EOF\n") and list(open_metrics(answer.text))


def test_metrics_when_keys_are_set_then_those_of_the_api_and_their_own_open_them(tmp_path: Path) -> None:
    keys = {"api_keys": ["client"], "admin_key": "admin", "metrics_key": "figures"}
    with serving(settings_in(tmp_path, **keys), FakeEngine()) as url, httpx.Client(base_url=url) as client:

        def status(key: str | None, path: str = "/metrics") -> int:
            return client.get(path, headers={} if key is None else {"authorization": f"Bearer {key}"}).status_code

        assert [status(key) for key in (None, "wrong", "client", "admin", "figures")] == [401, 401, 403, 200, 200]
        assert [status("figures", path) for path in ("/v1/models", "/api/status")] == [401, 401]


def test_metrics_when_a_foreign_page_asks_then_it_is_refused(client: httpx.Client) -> None:
    assert client.get("/metrics", headers={"origin": "https://elsewhere.example"}).status_code == 403
