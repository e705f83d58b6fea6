"""What is read of answers, for their clients and for the operator."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import msgspec
import numpy as np
import pytest

from proxy.settings import Settings
from tests.fakes import FakeEngine, save_vector, serving

SAID = {"messages": [{"role": "user", "content": "one two"}]}  # answered in four tokens, read as 0, 0.1, 0.2 and 0.3
TOKENS = ["You ", "said: ", "one ", "two "]


@pytest.fixture
def engine() -> FakeEngine:
    return FakeEngine()


@pytest.fixture
def client(settings: Settings, engine: FakeEngine) -> Iterator[httpx.Client]:
    save_vector(settings.vectors_dir, "silly", "silly", "serious", responses=True)
    save_vector(settings.vectors_dir, "superficial", "superficial", "deep", responses=True)
    with serving(settings, engine) as url, httpx.Client(base_url=url, timeout=60) as client:
        yield client


def ask(client: httpx.Client, **fields: Any) -> dict[str, Any]:
    response = client.post("/v1/chat/completions", json={**SAID, **fields})
    assert response.status_code == 200, response.text
    answer: dict[str, Any] = response.json()
    return answer


def monitored(client: httpx.Client, **query: Any) -> list[dict[str, Any]]:
    response = client.get("/api/monitor", params=query)
    assert response.status_code == 200, response.text
    data: list[dict[str, Any]] = response.json()["data"]
    return data


def test_an_answer_when_steered_then_its_projection_is_read_where_the_text_alone_decides_it(
    client: httpx.Client, engine: FakeEngine
) -> None:
    report = ask(client, persona="silly", coefficient=0.5)["steering"]
    assert report["projection"] == {"silly": 0.2}  # five tokens: the strength is one
    assert report["projection_layers"] == {"silly": 1} and report["layers"] == [1]
    [probe] = engine.generations[-1].probes
    assert probe.block == 1 and probe.offset == 0
    np.testing.assert_allclose(probe.direction, [1, *[0] * 7])


def test_an_answer_when_steered_to_the_opposite_then_that_pole_is_read(client: httpx.Client) -> None:
    assert set(ask(client, persona="silly", coefficient=-1)["steering"]["projection"]) == {"serious"}
    several = ask(client, persona={"silly": 1, "deep": 0.5})["steering"]
    assert set(several["projection"]) == {"silly", "deep"}


def test_an_unsteered_answer_then_nothing_is_read_unless_asked_for(client: httpx.Client, engine: FakeEngine) -> None:
    assert "projection" not in ask(client)["steering"] and engine.generations[-1].probes == ()
    report = ask(client, steering={"projection": ["deep", "silly"]})["steering"]
    assert report["projection"] == {"deep": 0.15, "silly": 0.15}
    assert report["projection_layers"] == {"deep": 2, "silly": 2}  # the deepest of those that separate best
    assert "projection" not in ask(client, persona="silly", steering={"projection": []})["steering"]


def test_an_answer_asked_for_by_prompt_then_it_is_read_like_an_unsteered_one(client: httpx.Client) -> None:
    report = ask(client, persona="silly", steering={"method": "prompt"})["steering"]
    assert report["projection_layers"] == {"silly": 2} and set(report["projection"]) == {"silly"}


def test_an_answer_of_one_token_then_nothing_was_read(client: httpx.Client) -> None:
    assert "projection" not in ask(client, persona="silly", max_tokens=1)["steering"]


def test_a_trace_then_every_token_and_its_projection(client: httpx.Client) -> None:
    report = ask(client, steering={"projection": ["silly"], "trace": True})["steering"]
    assert report["trace"] == [{"token": token, "projection": {"silly": at / 10}} for at, token in enumerate(TOKENS)]


def test_a_trace_when_streamed_then_comes_in_pieces_and_the_report_at_the_end(client: httpx.Client) -> None:
    fields = {**SAID, "stream": True, "stop": ["zzz", "o x"], "steering": {"projection": ["silly"], "trace": True}}
    lines = client.post("/v1/chat/completions", json=fields).text.split("\n\n")
    chunks = [msgspec.json.decode(line.removeprefix("data: ")) for line in lines if line.startswith("data: {")]
    parts = [chunk["steering"] for chunk in chunks if "steering" in chunk]
    assert [entry["token"] for part in parts for entry in part.get("trace", [])] == TOKENS
    assert len(parts) > 2 and all(set(part) == {"trace"} for part in parts[:-1])
    assert parts[-1]["projection"] == {"silly": 0.15} and parts[-1]["method"] == "none"


def test_several_answers_then_the_projection_is_their_mean_and_each_is_monitored(client: httpx.Client) -> None:
    assert ask(client, persona="silly", n=3)["steering"]["projection"] == {"silly": 0.2}
    [series] = monitored(client)
    assert series["count"] == 3


def test_a_response_then_it_is_monitored_and_traced_as_a_chat_is(client: httpx.Client) -> None:
    asked = {"model": "fake", "input": "hello", "persona": "silly", "steering": {"trace": True}}
    whole = client.post("/v1/responses", json=asked).json()["steering"]
    lines = client.post("/v1/responses", json={**asked, "stream": True}).text.split("\n")
    events = [msgspec.json.decode(line.removeprefix("data: ")) for line in lines if line.startswith("data: ")]
    told = [*events, events[-1]["response"]]
    assert [entry for each in told for entry in each.get("steering", {}).get("trace", [])] == whole["trace"]
    assert events[-1]["response"]["steering"]["projection"] == whole["projection"]
    [series] = monitored(client)
    assert series["count"] == 2


def test_a_level_of_0_then_is_held_and_not_taken_for_no_steering(client: httpx.Client, engine: FakeEngine) -> None:
    report = ask(client, persona="silly", coefficient=0, steering={"mode": "target"})["steering"]
    assert report["method"] == "activation" and report["personas"] == {"silly": 0}
    [held] = engine.generations[-1].plan.interventions
    assert held.mode == "target" and held.levels is not None and held.levels[0] == 0
    assert ask(client, persona="silly", coefficient=0)["steering"]["method"] == "none"
    by_prompt = {"mode": "target", "method": "prompt"}
    assert ask(client, persona="silly", coefficient=0, steering=by_prompt)["steering"]["method"] == "none"


def test_strengths_beside_each_other_when_held_then_0_is_a_level_and_each_is_read(client: httpx.Client) -> None:
    body = {"prompt": "one two", "persona": "silly", "coefficients": [0, 1], "steering": {"mode": "cap", "trace": True}}
    answer = client.post("/api/steering/test", json=body).json()
    assert answer["unsteered"]["steering"]["method"] == "none"
    for tested in answer["steered"]:
        assert tested["steering"]["mode"] == "cap" and len(tested["steering"]["trace"]) == 4
    streamed = client.post("/api/steering/test", json={**body, "stream": True}).text.split("\n\n")[1:-2]
    chunks = [json.loads(event.removeprefix("data: ")) for event in streamed]
    traced = [chunk["steering"]["trace"] for chunk in chunks if chunk["index"] == 1 and "steering" in chunk]
    assert [token for tokens in traced for token in tokens] == answer["steered"][0]["steering"]["trace"]
    assert monitored(client) == []  # trying is not using


def test_monitor_then_answers_by_model_persona_and_pole(client: httpx.Client) -> None:
    ask(client, persona="silly", coefficient=0.5)
    client.post("/v1/chat/completions", json={**SAID, "persona": "silly", "coefficient": 0.5, "stream": True})
    ask(client, persona={"silly": 1, "deep": 1}, steering={"projection": ["silly"]})
    ask(client, steering={"projection": ["silly"]})
    found = {(each["persona"], each["pole"], each["layer"]): each for each in monitored(client)}
    assert set(found) == {("silly", "silly", 1), ("deep,silly", "silly", 1), ("none", "silly", 2)}
    silly = found["silly", "silly", 1]
    assert silly["count"] == 2 and silly["model"] == "fake" and silly["vector"].startswith("silly-")
    assert silly["separation"] == 0.9
    assert silly["recent"] == {"n": 2, "mean": 0.2, "standard_error": 0.0} and silly["drift"] is None
    assert [each["coefficient"] for each in silly["answers"]] == [0.5, 0.5]
    assert found["none", "silly", 2]["answers"][0]["coefficient"] is None
    assert [each["persona"] for each in monitored(client, persona="silly,deep")] == ["deep,silly"]
    assert [each["persona"] for each in monitored(client, persona="none", model="fake")] == ["none"]


def test_monitor_when_answers_change_then_tells_the_drift(client: httpx.Client) -> None:
    for words in ("a", "a", "a", "a b c d", "a b c d"):
        ask(client, messages=[{"role": "user", "content": words}], persona="silly")
    [series] = monitored(client, window=2)
    assert series["earlier"]["n"] == 3 and series["recent"]["n"] == 2 and len(series["answers"]) == 2
    assert series["drift"] == {"difference": pytest.approx(0.15), "standard_error": pytest.approx(0.0)}


@pytest.mark.parametrize(
    ("query", "status", "param"),
    [
        ({"model": "nobody"}, 404, "model"),
        ({"persona": "sily"}, 404, "persona"),
        ({"window": 0}, 400, "window"),
        ({"window": "all"}, 400, "window"),
    ],
)
def test_monitor_when_asked_wrongly_then_the_field_is_named(
    client: httpx.Client, query: dict[str, Any], status: int, param: str
) -> None:
    response = client.get("/api/monitor", params=query)
    assert (response.status_code, response.json()["error"]["param"]) == (status, param)
