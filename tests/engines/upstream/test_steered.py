"""Personas of a model that a vLLM with our plugin runs: plans are told to its servers, and requests name them."""

import contextlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from tests.engines.upstream.servers import Scripted, asked, near, run
from tests.fakes import HIDDEN, N_LAYERS, save_vector, wait_until

WEIGHTS = "ab" * 32
STEERS: dict[str, Any] = {
    "family": "qwen2",
    "n_layers": N_LAYERS,
    "hidden_size": HIDDEN,
    "fingerprint": WEIGHTS,
    "world": None,
}


@contextlib.contextmanager
def before(folder: Path, *servers: Scripted, **upstream: Any) -> Iterator[httpx.Client]:
    """Our server before these, with a vector for their weights."""
    save_vector(folder / "vectors", "silly", "silly", "serious", model="far", fingerprint=WEIGHTS, responses=True)
    with contextlib.ExitStack() as ending:
        urls = [ending.enter_context(run(server)) for server in servers]
        client, registry = ending.enter_context(near(folder, urls, **upstream))
        wait_until(lambda: all(each.state == "up" for each in registry.upstreams("far")))
        yield client


def steered(client: httpx.Client, **steering: Any) -> httpx.Response:
    return asked(client, persona="silly", steering=steering)


def last_report(answer: httpx.Response) -> dict[str, Any]:
    """Of a stream."""
    frames = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.startswith("data: {")]
    return next(chunk["steering"] for frame in reversed(frames) if (chunk := json.loads(frame)).get("steering"))


def plan_of(server: Scripted, number: int = -1) -> str:
    return str(server.asked[number]["vllm_xargs"]["persona_plan"])


@pytest.mark.parametrize("method", ["auto", "activation"])
def test_a_persona_when_the_server_can_be_steered_then_it_is_told_the_plan_once_and_requests_name_it(
    tmp_path: Path, method: str
) -> None:
    server = Scripted(steers=STEERS)
    with before(tmp_path, server) as client:
        reports = [steered(client, method=method).raise_for_status().json()["steering"] for _ in range(2)]
        assert asked(client).json()["steering"]["method"] == "none"
    assert [report["method"] for report in reports] == ["activation"] * 2
    assert reports[0]["layers"] == [1] and reports[0]["relative_dose"] == 0.5
    (directive,) = server.told
    (item,) = directive.plan.interventions
    assert (item.block, item.positions, item.mode) == (1, "last_prompt", "add")
    assert item.vector is not None and np.array_equal(item.vector, [1, *[0] * (HIDDEN - 1)])
    assert [plan_of(server, at) for at in (0, 1)] == [directive.id] * 2
    assert "vllm_xargs" not in server.asked[2] and "cache_salt" not in server.asked[2]


def test_a_persona_when_whole_prompts_are_steered_then_their_salt_is_the_plans(tmp_path: Path) -> None:
    server = Scripted(steers=STEERS)
    with before(tmp_path, server) as client:
        for positions in ("response", "all", "all"):
            steered(client, positions=positions).raise_for_status()
        steered(client, positions="all", mode="cap").raise_for_status()
    salts = [request.get("cache_salt") for request in server.asked]
    assert salts[0] is None and salts[1] == salts[2] == server.told[1].plan.prompt_key
    assert salts[3] not in salts[:3]


def test_a_persona_when_its_server_has_forgotten_the_plan_then_that_is_told_anew_and_nobody_notices(
    tmp_path: Path,
) -> None:
    server = Scripted(steers=STEERS)
    with before(tmp_path, server) as client:
        for _ in range(2):
            assert steered(client).json()["choices"][0]["message"]["content"] == "fine"
            server.known.clear()  # as after a restart
        answer = asked(client, persona="silly", stream=True)
        assert answer.status_code == 200 and "error" not in answer.text
    assert len(server.told) == 3 and len({directive.id for directive in server.told}) == 1


def test_a_persona_when_its_server_never_knows_the_plan_then_503_and_others_go_on(tmp_path: Path) -> None:
    server = Scripted(steers=STEERS)
    server.forgetful = True
    with before(tmp_path, server) as client:
        refused = steered(client)
        assert (refused.status_code, refused.json()["error"]["code"]) == (503, "model_unavailable")
        assert len(server.told) == 3 and "'far'" in refused.json()["error"]["message"]
        assert asked(client).status_code == 200


def test_a_persona_when_its_server_has_other_weights_than_before_then_it_is_not_steered_by_the_old_vector(
    tmp_path: Path,
) -> None:
    server = Scripted(steers=STEERS)
    with before(tmp_path, server, check_every_s=600) as client:
        assert [card["id"] for card in client.get("/v1/models").json()["data"]] == ["far", "far:silly", "far:serious"]
        server.steers = {**STEERS, "fingerprint": "cd" * 32}
        assert steered(client).status_code == 503
        wait_until(lambda: steered(client).status_code == 400)  # it was asked again
        error = steered(client).json()["error"]
        assert (error["code"], error["param"]) == ("vector_unavailable", "persona")
        assert "taken from other weights" in error["message"] and "--model far=FOLDER" in error["message"]
        assert [card["id"] for card in client.get("/v1/models").json()["data"]] == ["far"]
    assert server.told == []


def test_a_persona_when_one_of_several_servers_can_be_steered_to_it_then_that_one_answers(tmp_path: Path) -> None:
    plain, other, able = Scripted(), Scripted(steers={**STEERS, "fingerprint": "cd" * 32}), Scripted(steers=STEERS)
    with before(tmp_path, able, plain, other) as client:
        for number in range(4):
            messages = [{"role": "user", "content": f"question {number}"}]
            assert asked(client, messages=messages, persona="silly").status_code == 200
        assert len(able.asked) == 4 and plain.asked == other.asked == []
        [model] = client.get("/api/status").json()["models"]
        client.post("/api/models/far/drain", json={"url": model["upstreams"][0]["url"]}).raise_for_status()
        assert asked(client).status_code == 200
        assert steered(client, method="prompt").status_code == 200
        assert steered(client).status_code == steered(client, method="prompt", trace=True).status_code == 503
    assert len(able.asked) == 4 and len(plain.asked + other.asked) == 2


@pytest.mark.parametrize("stream", [False, True])
def test_a_trace_when_the_server_has_read_the_answer_then_the_report_has_it(tmp_path: Path, stream: bool) -> None:
    server = Scripted(steers=STEERS)
    server.read = [("fi", [2.0]), ("ne", [5.0])]
    with before(tmp_path, server) as client:
        answer = (
            steered(client, trace=True)
            if not stream
            else asked(client, persona="silly", steering={"trace": True}, stream=True)
        )
    report = last_report(answer) if stream else answer.json()["steering"]
    assert [token["token"] for token in report["trace"]] == ["fi", "ne"]
    (probe,) = server.told[0].probes
    one, other = (token["projection"]["silly"] for token in report["trace"])
    assert (one, other) == pytest.approx((2 - probe.offset, 5 - probe.offset), abs=1e-3)
    assert report["projection"]["silly"] == pytest.approx((one + other) / 2, abs=1e-3)
    assert report["projection_layers"] == {"silly": probe.block}


def test_a_projection_when_nobody_is_steered_then_the_server_is_told_of_the_probe_alone(tmp_path: Path) -> None:
    server = Scripted(steers=STEERS)
    server.read = [("fi", [2.0])]
    with before(tmp_path, server) as client:
        report = asked(client, steering={"projection": ["serious"]}).raise_for_status().json()["steering"]
        assert asked(client).json()["steering"].get("projection") is None
    assert report["method"] == "none" and set(report["projection"]) == {"serious"}
    (directive,) = server.told
    assert directive.plan.interventions == () and len(directive.probes) == 1
    assert plan_of(server, 0) == directive.id and "vllm_xargs" not in server.asked[1]


def test_a_projection_when_the_server_has_lost_it_then_the_answer_comes_without(tmp_path: Path) -> None:
    with before(tmp_path, Scripted(steers=STEERS)) as client:
        answer = steered(client).raise_for_status().json()
    assert answer["choices"][0]["message"]["content"] == "fine"
    assert answer["steering"]["method"] == "activation" and "projection" not in answer["steering"]


def test_channels_when_they_are_named_then_the_plan_has_them_and_one_that_is_not_there_is_400(tmp_path: Path) -> None:
    server = Scripted(steers=STEERS)
    with before(tmp_path, server) as client:
        steered(client, channels=["final"]).raise_for_status()
        server.no_channel = True
        for stream in (False, True):
            refused = asked(client, persona="silly", steering={"channels": ["analysis"]}, stream=stream)
            error = refused.json()["error"]
            assert (refused.status_code, error["param"]) == (400, "steering.channels")
            assert error["message"] == "steering.channels: this model has no such channel; possible: final"
    (directive,) = server.told
    assert directive.plan.channels == frozenset(("content",))


def test_a_raw_prompt_when_it_is_steered_then_the_server_is_told_that_it_is_one(tmp_path: Path) -> None:
    server = Scripted(steers=STEERS)
    with before(tmp_path, server) as client:
        asked(client, "/v1/completions", prompt="So", persona="silly").raise_for_status()
        steered(client).raise_for_status()
    raw, talk = (request["vllm_xargs"] for request in server.asked)
    assert raw.pop("persona_raw") == 1 and set(raw) == set(talk) == {"persona_plan", "persona_read"}
    assert raw["persona_read"] != talk["persona_read"]


def test_a_persona_when_there_is_no_vector_of_it_then_400_says_where_to_make_one(tmp_path: Path) -> None:
    with before(tmp_path, Scripted(steers=STEERS)) as client:
        error = asked(client, persona="honest").json()["error"]
    assert error["code"] == "vector_unavailable"
    assert "make it where the weights are" in error["message"] and '{"method": "prompt"}' in error["message"]


def test_a_menus_name_when_the_model_is_set_to_prompt_then_it_works_without_a_field(tmp_path: Path) -> None:
    server = Scripted(maker="somebody")
    with before(tmp_path, server, method="prompt") as client:
        names = [card["id"] for card in client.get("/v1/models").json()["data"]]
        assert {"far", "far:silly", "far:honest"} <= set(names)
        answer = asked(client, model="far:honest@0.5").raise_for_status().json()
        assert answer["steering"]["method"] == "prompt" and answer["steering"]["personas"] == {"honest": 0.5}
        assert server.asked[-1]["messages"][0]["role"] == "system"
        refused = steered(client, method="activation")
        assert refused.status_code == 400
