"""Whom an answer of /v1/chat/completions is steered to, by which method, and what is said of it."""

from typing import Any

import httpx
import pytest

from proxy.settings import Settings
from tests.contract.chat import URL, ask, refused, said
from tests.fakes import FakeEngine, save_vector, serving


def test_random_direction_then_as_strong_as_the_personas_and_reported(client: httpx.Client) -> None:
    asked: dict[str, Any] = {"persona": "silly", "coefficient": -1.0}
    own = ask(client, **asked)["steering"]
    answers = [ask(client, **asked, steering={"random_direction": number}) for number in (1, 2, 1)]
    for answer, number in zip(answers, (1, 2, 1), strict=True):
        # What the range was measured with is not what was added.
        expected = {name: value for name, value in own.items() if name != "beyond_measured_range"}
        assert answer["steering"] == {**expected, "random_direction": number}
    texts = [said(answer) for answer in answers]
    assert texts[0] == texts[2] != texts[1] and said(ask(client, **asked)) not in texts


@pytest.mark.parametrize(
    ("fields", "headers", "mark"),
    [
        ({"persona": "silly"}, {}, "[+1.00] "),
        ({"persona": "serious"}, {}, "[-1.00] "),
        ({"persona": "silly", "coefficient": -1}, {}, "[-1.00] "),
        ({"persona": {"silly": 1.5}}, {}, "[+1.50] "),
        ({"model": "fake:silly"}, {}, "[+1.00] "),
        ({"model": "fake:silly@-0.5"}, {}, "[-0.50] "),
        ({}, {"X-Persona": "silly", "X-Persona-Coefficient": "0.5"}, "[+0.50] "),
        ({"metadata": {"persona": "silly"}}, {}, "[+1.00] "),
        ({"metadata": {"persona": "silly"}, "persona": None}, {"X-Persona": "serious"}, "[-1.00] "),
        ({"persona": "none", "model": "fake:silly"}, {"X-Persona": "silly"}, ""),
        ({"persona": "silly", "coefficient": 0}, {}, ""),
    ],
)
def test_persona_when_given_anywhere_then_the_model_is_steered(
    client: httpx.Client, fields: dict[str, Any], headers: dict[str, str], mark: str
) -> None:
    answer = ask(client, headers=headers, **fields)
    assert said(answer) == f"{mark}You said: hello "
    assert answer["steering"]["method"] == ("activation" if mark else "none")


def test_channels_then_the_plan_is_limited_and_the_answer_says_so(client: httpx.Client, engine: FakeEngine) -> None:
    answer = ask(client, persona="silly", steering={"channels": ["final"]})
    assert answer["steering"]["channels"] == ["final"]
    assert engine.generations[-1].plan.channels == frozenset(("content",))
    assert "channels" not in ask(client, persona="silly")["steering"]


def test_persona_by_prompt_then_its_instruction_goes_before_the_system_prompt(client: httpx.Client) -> None:
    system = {"role": "system", "content": "Be brief."}
    messages = [system, {"role": "user", "content": "hello"}]
    steering = {"method": "prompt"}
    answer = ask(client, persona="honest", coefficient=-1, steering=steering, messages=messages)
    # Minus honest asks for dishonest; no vector is needed for a prompt.
    assert "Be brief.> You said" in said(answer) and "false answers" in said(answer)
    assert answer["steering"]["method"] == "prompt" and answer["steering"]["personas"] == {"honest": -1.0}


def test_sampling_method_then_the_parameters_move_by_the_coefficient_and_the_answer_says_so(
    client: httpx.Client, engine: FakeEngine
) -> None:
    answer = ask(client, persona="silly", steering={"method": "sampling"})
    assert answer["steering"]["sampling"] == {"temperature": 1.0, "top_p": 0.7, "repetition_penalty": 1.1}
    assert (answer["steering"]["method"], answer["steering"]["layers"]) == ("sampling", [])
    assert [set(vector) for vector in answer["steering"]["vectors"]] == [{"id", "origin"}]
    generation = engine.generations[-1]
    assert (generation.sampling.temperature, generation.sampling.repetition_penalty) == (1.0, 1.1)
    assert not generation.plan.interventions
    calm = ask(client, persona="serious", temperature=0.5, top_p=0.8, steering={"method": "sampling"})
    assert calm["steering"]["sampling"] == {"temperature": 0.2, "top_p": 0.6, "repetition_penalty": 1.1}


@pytest.mark.parametrize("family", ["gpt_oss", "gpt-oss"])  # as transformers has it, and llama.cpp
def test_auto_when_a_gpt_oss_lacks_the_vector_then_sampling_by_another_model_s_strength(
    settings: Settings, family: str
) -> None:
    save_vector(settings.vectors_dir, "silly", "silly", "serious")
    id_ = save_vector(settings.vectors_dir, "dishonest", "dishonest", "honest", model="other", score=0.5)
    with serving(settings, FakeEngine(family=family)) as url, httpx.Client(base_url=url) as client:
        report = ask(client, persona="dishonest")["steering"]
        assert report["method"] == "sampling" and report["sampling"]["temperature"] == 0.85
        assert report["vectors"] == [{"id": id_, "origin": "native", "model": "other"}]
        both = ask(client, persona={"silly": 1.0, "honest": 1.0})["steering"]
        assert both["method"] == "sampling" and both["sampling"]["temperature"] == 0.85
        assert [vector.get("model") for vector in both["vectors"]] == [None, "other"]
        assert ask(client, persona="silly")["steering"]["method"] == "activation"
        error = refused(client, persona="honest", steering={"method": "activation"})
        assert (error["status"], error["code"]) == (400, "vector_unavailable")


@pytest.mark.parametrize("method", ["auto", "activation"])
def test_a_persona_when_the_model_lacks_its_vector_then_400_that_says_what_to_run_and_what_else_would_do(
    settings: Settings, method: str
) -> None:
    save_vector(settings.vectors_dir, "dishonest", "dishonest", "honest", model="other", score=0.5)
    with serving(settings, FakeEngine()) as url, httpx.Client(base_url=url) as client:
        error = refused(client, persona="honest", steering={"method": method})
        assert (error["status"], error["code"], error["param"]) == (400, "vector_unavailable", "persona")
        assert "no vector for 'honest', a pole of 'dishonest', and the model fake" in error["message"]
        assert "persona-proxy extract --model fake --trait dishonest --budget quick;" in error["message"]
        assert '"method": "sampling"' in error["message"] and '"method": "prompt"' in error["message"]
        # Nothing would tell how strongly to sample for it.
        assert '"method": "sampling"' not in refused(client, persona="silly")["message"]


def test_auto_when_only_a_toy_has_the_vector_then_it_says_nothing_of_a_real_model(settings: Settings) -> None:
    save_vector(settings.vectors_dir, "silly", "silly", "serious", model="demo-qwen2")
    with serving(settings, FakeEngine(family="gpt_oss")) as url, httpx.Client(base_url=url) as client:
        assert refused(client, persona="silly")["code"] == "vector_unavailable"


@pytest.mark.parametrize(
    ("fields", "method"),
    [
        ({}, "none"),
        ({"persona": "silly"}, "activation"),
        ({"persona": "silly", "steering": {"method": "sampling"}}, "sampling"),
        ({"persona": "silly", "steering": {"method": "prompt"}}, "prompt"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_an_answer_then_a_header_tells_by_which_method(
    client: httpx.Client, fields: dict[str, Any], method: str, stream: bool
) -> None:
    body = {"model": "fake", "messages": [{"role": "user", "content": "hello"}], "stream": stream, **fields}
    assert client.post(URL, json=body).headers["x-persona-method"] == method


@pytest.mark.parametrize("header", ["x", "nan", "2.5", ""])
def test_bad_coefficient_header_then_400(client: httpx.Client, header: str) -> None:
    body = {"model": "fake", "messages": [{"role": "user", "content": "x"}]}
    response = client.post(URL, json=body, headers={"X-Persona": "silly", "X-Persona-Coefficient": header})
    assert response.status_code == 400 and response.json()["error"]["param"] == "X-Persona-Coefficient"


@pytest.mark.parametrize("fields", [{"persona": "sily"}, {"model": "fake:sily"}, {"persona": {"sily": 1.0}}])
def test_unknown_persona_then_404_naming_those_that_the_model_can_show(
    client: httpx.Client, fields: dict[str, Any]
) -> None:
    error = refused(client, **fields)
    assert (error["status"], error["code"]) == (404, "persona_not_found")
    assert error["message"].endswith("possible: serious, silly, none")
    projected = refused(client, steering={"projection": ["sily"]})
    assert projected["message"].endswith("possible: serious, silly, none")
    # By a system prompt a model can show all of them.
    assert "inattentive" in refused(client, **fields, steering={"method": "prompt"})["message"]


def test_unknown_persona_when_the_model_has_no_vectors_then_404_naming_all(settings: Settings) -> None:
    with serving(settings, FakeEngine()) as url, httpx.Client(base_url=url) as client:
        assert "inattentive" in refused(client, persona="sily")["message"]


@pytest.mark.parametrize(
    ("steering", "field"),
    [
        ({"method": "prompt"}, "steering.method"),
        ({"trace": False, "mode": "target"}, "steering.mode"),
        ({"positions": "all", "layers": [1]}, "steering.positions"),
        ({"random_direction": 1}, "steering.random_direction"),
    ],
)
def test_steering_when_no_persona_is_named_then_400_that_says_so(
    client: httpx.Client, steering: dict[str, Any], field: str
) -> None:
    error = refused(client, steering=steering)
    assert (error["status"], error["code"], error["param"]) == (400, "invalid_request", "persona")
    assert error["message"].startswith(f"{field} is given but no persona; possible personas: ")
    unsteered: list[dict[str, Any]] = [{"persona": "none"}, {"persona": {}}, {"coefficient": 0}]
    for named in unsteered:
        assert ask(client, **named, steering=steering)["steering"]["method"] == "none"


def test_steering_when_it_only_asks_for_what_is_usual_then_no_persona_is_needed(client: httpx.Client) -> None:
    for steering in ({}, {"method": "auto", "mode": "add", "layers": "best"}):
        assert ask(client, steering=steering)["steering"]["method"] == "none"


def test_persona_without_a_vector_then_400_naming_what_there_is(client: httpx.Client) -> None:
    error = refused(client, persona="honest")
    assert (error["status"], error["code"], error["param"]) == (400, "vector_unavailable", "persona")
    assert "models with this persona: none" in error["message"] and "silly, serious" in error["message"]
