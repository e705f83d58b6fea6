"""The /api family."""

import json
from typing import Any

import httpx
import pytest

from tests.fakes import FakeEngine


def test_models_then_shape_and_personas(client: httpx.Client) -> None:
    (model,) = client.get("/api/models").json()["data"]
    assert model["id"] == "fake" and model["status"] == "ready" and model["personas"] == ["silly", "serious"]
    assert (model["n_layers"], model["hidden_size"], model["context_length"]) == (4, 8, 500)
    assert "error" not in model


def test_traits_then_poles_and_the_models_that_have_them(client: httpx.Client) -> None:
    traits = {trait["id"]: trait for trait in client.get("/api/traits").json()["data"]}
    assert traits["silly"]["positive"] == "silly" and traits["silly"]["negative"] == "serious"
    assert traits["silly"]["models"] == ["fake"] and traits["dishonest"]["models"] == []


def test_trait_then_its_instructions_and_questions(client: httpx.Client) -> None:
    trait = client.get("/api/traits/silly").json()
    assert len(trait["instructions"]) == 5 and len(trait["questions"]["extract"]) == 20
    missing = client.get("/api/traits/sily")
    assert missing.status_code == 404 and "silly" in missing.json()["error"]["message"]


def test_vectors_then_where_they_steer(client: httpx.Client) -> None:
    vectors = client.get("/api/vectors").json()["data"]
    (vector,) = [vector for vector in vectors if vector["model"] == "fake"]
    assert vector["model"] == "fake" and vector["trait"] == "silly" and vector["usable"]
    assert vector["poles"]["positive"]["block"] == 1 and vector["poles"]["positive"]["measured_range"] == [0.0, 1.5]


def test_steering_test_then_every_coefficient_beside_the_unsteered_answer_in_one_batch(
    client: httpx.Client, engine: FakeEngine
) -> None:
    request = {"model": "fake", "prompt": "hello", "persona": "silly", "coefficients": [-1, 0, 0.5, 2]}
    answer = client.post("/api/steering/test", json=request).json()
    assert answer["unsteered"]["content"] == "You said: hello "
    assert answer["unsteered"]["steering"]["method"] == "none"
    assert [(item["coefficient"], item["content"]) for item in answer["steered"]] == [
        (-1.0, "[-1.00] You said: hello "),
        (0.0, "You said: hello "),
        (0.5, "[+0.50] You said: hello "),
        (2.0, "[+2.00] You said: hello "),
    ]
    assert answer["steered"][3]["steering"]["relative_dose"] == pytest.approx(1.0)
    assert {generation.sampling.seed for generation in engine.generations[-5:]} == {answer["seed"]}


def test_steering_test_then_the_answers_share_the_batch(client: httpx.Client, engine: FakeEngine) -> None:
    engine.largest_batch, engine.token_s = 0, 0.01
    request = {"prompt": "a longer thing to say", "persona": "silly", "coefficients": [0.5, 1, 1.5]}
    client.post("/api/steering/test", json=request)
    engine.token_s = 0.0
    assert engine.largest_batch == 4


def test_steering_test_when_streamed_then_the_answers_take_turns_and_are_those_of_the_whole(
    client: httpx.Client,
) -> None:
    request = {"prompt": "hello", "persona": "silly", "coefficients": [-1, 2], "seed": 3}
    whole = client.post("/api/steering/test", json=request).json()
    response = client.post("/api/steering/test", json={**request, "stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    *events, done, empty = response.text.split("\n\n")
    assert (done, empty) == ("data: [DONE]", "")
    opening, *chunks = [json.loads(event.removeprefix("data: ")) for event in events]
    assert opening == {
        "object": "steering.test",
        "model": "fake",
        "persona": "silly",
        "seed": 3,
        "coefficients": [0.0, -1.0, 2.0],
    }
    for index, answer in enumerate([whole["unsteered"], *whole["steered"]]):
        own = [chunk for chunk in chunks if chunk["index"] == index]
        assert {chunk["coefficient"] for chunk in own} == {answer["coefficient"]}
        assert "".join(chunk.get("content", "") for chunk in own) == answer["content"]
        assert [chunk["finish_reason"] for chunk in own] == [None] * (len(own) - 1) + ["stop"]
        assert own[-1]["usage"] == answer["usage"]
        assert own[-1]["steering"] == answer["steering"]
    first = [chunk["index"] for chunk in chunks[:6]]
    assert first == [0, 1, 2] * 2


def test_steering_test_when_streamed_and_the_model_fails_then_the_error_is_in_the_stream(client: httpx.Client) -> None:
    request = {"prompt": "!fail", "persona": "silly", "stream": True}
    *_, error, done, _ = client.post("/api/steering/test", json=request).text.split("\n\n")
    assert "error" in json.loads(error.removeprefix("data: ")) and done == "data: [DONE]"
    wrong = client.post("/api/steering/test", json={**request, "prompt": "!refuse"})
    assert wrong.status_code == 400 and wrong.json()["error"]["param"] == "messages"


def test_steering_test_then_sampling_is_the_clients(client: httpx.Client, engine: FakeEngine) -> None:
    messages = [{"role": "system", "content": "brief"}, {"role": "user", "content": "!forever"}]
    request = {"messages": messages, "persona": "silly", "max_tokens": 5, "temperature": 0.0, "seed": 3}
    answer = client.post("/api/steering/test", json=request).json()
    assert [item["usage"]["completion_tokens"] for item in (answer["unsteered"], *answer["steered"])] == [5, 5]
    assert answer["seed"] == 3 and answer["steered"][0]["coefficient"] == 1.0
    assert answer["steered"][0]["steering"]["sampling"]["temperature"] == 0.0


@pytest.mark.parametrize(
    ("fields", "status", "param"),
    [
        ({"persona": None}, 400, "persona"),
        ({"persona": "sily"}, 404, "persona"),
        ({"persona": "honest"}, 400, "persona"),
        ({"prompt": None}, 400, "prompt"),
        ({"messages": [{"role": "user", "content": "x"}]}, 400, "prompt"),
        ({"coefficients": []}, 400, "coefficients"),
        ({"coefficients": [1] * 9}, 400, "coefficients"),
        ({"coefficients": [3]}, 400, "coefficients[0]"),
        ({"coefficient": 1, "coefficients": [1]}, 400, "coefficients"),
        ({"model": "fake:silly"}, 400, "model"),
        ({"model": "other"}, 404, "model"),
        ({"prompt": "x" * 600}, 400, "messages"),
    ],
)
def test_steering_test_when_wrong_then_the_field_is_named(
    client: httpx.Client, fields: dict[str, Any], status: int, param: str
) -> None:
    request = {"model": "fake", "prompt": "x", "persona": "silly", **fields}
    response = client.post("/api/steering/test", json=request)
    assert (response.status_code, response.json()["error"]["param"]) == (status, param), response.text
