"""POST /v1/completions as a plain HTTP client, lm-eval among them, and the SDK see it."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai.types import Completion

from tests.fakes import FakeEngine, wait_until

URL = "/v1/completions"
KINDS = ["hello", ["hello"], list(b"hello"), [list(b"hello")]]


def ask(client: httpx.Client, prompt: Any = "hello", **fields: Any) -> Any:
    response = client.post(URL, json={"model": "fake", "prompt": prompt, **fields})
    assert response.status_code == 200, response.text
    return response.json()


def chunks_of(client: httpx.Client, prompt: Any = "hello", **fields: Any) -> list[Any]:
    response = client.post(URL, json={"model": "fake", "prompt": prompt, "stream": True, **fields})
    assert response.status_code == 200, response.text
    *frames, done = response.text.removesuffix("\n\n").split("\n\n")
    assert done == "data: [DONE]"
    return [json.loads(frame.removeprefix("data: ")) for frame in frames]


def refused(client: httpx.Client, **fields: Any) -> tuple[int, str | None, str]:
    response = client.post(URL, json={"model": "fake", "prompt": "hello", **fields})
    assert 400 <= response.status_code < 500, response.text
    error = response.json()["error"]
    return response.status_code, error["param"], error["message"]


def joined(chunks: list[Any], index: int = 0) -> dict[str, Any]:
    """One choice of a stream, put together."""
    whole: dict[str, Any] = {"text": "", "logprobs": None, "finish_reason": None}
    for choice in (choice for chunk in chunks for choice in chunk["choices"] if choice["index"] == index):
        whole["text"] += choice["text"]
        whole["finish_reason"] = choice["finish_reason"]
        if choice["logprobs"] is not None:
            before = whole["logprobs"] or {name: [] for name in choice["logprobs"]}
            whole["logprobs"] = {name: before[name] + value for name, value in choice["logprobs"].items()}
    return whole


@pytest.fixture
def sdk(client: httpx.Client) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=f"{client.base_url}/v1", api_key="none", max_retries=0) as sdk:
        yield sdk


@pytest.mark.parametrize("prompt", KINDS)
def test_prompt_when_it_is_text_or_tokens_then_the_model_goes_on_with_it_as_it_is(
    client: httpx.Client, engine: FakeEngine, prompt: Any
) -> None:
    answer = ask(client, prompt)
    assert answer["object"] == "text_completion" and answer["id"].startswith("cmpl-")
    assert answer["choices"] == [
        {"index": 0, "text": "You said: hello ", "logprobs": None, "finish_reason": "stop"},
    ]
    assert (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]) == (5, 3)
    generation = engine.generations[-1]
    assert generation.raw and bytes(generation.prompt) == b"hello" and generation.sampling.max_tokens == 16
    Completion.model_validate(answer, strict=True)


def test_prompts_when_there_are_several_with_n_then_choices_are_in_their_order(
    client: httpx.Client, engine: FakeEngine
) -> None:
    answer = ask(client, ["one", "two"], n=2, seed=5)
    assert [choice["index"] for choice in answer["choices"]] == [0, 1, 2, 3]
    assert [choice["text"].split()[-1] for choice in answer["choices"]] == ["one", "one", "two", "two"]
    # As if each had been asked alone.
    assert [generation.sampling.seed for generation in engine.generations[-4:]] == [5, 6, 5, 6]
    assert (answer["usage"]["prompt_tokens"], answer["usage"]["completion_tokens"]) == (6, 12)
    chunks = chunks_of(client, ["one", "two"], n=2)
    assert [joined(chunks, index)["text"].split()[-1] for index in range(4)] == ["one", "one", "two", "two"]


def test_request_of_lm_eval_then_the_prompt_s_own_log_probabilities_as_the_engine_scores_them(
    client: httpx.Client, engine: FakeEngine
) -> None:
    context, whole = list(b"The sky is"), list(b"The sky is blue")
    fields = {"temperature": 0, "max_tokens": 1, "logprobs": 1, "seed": 1234, "echo": True}
    answer = ask(client, [whole, context], **fields)
    told = answer["choices"][0]["logprobs"]
    # As lm-eval reads them: what stands between the context and the one token that it has to ask for.
    values, tops = told["token_logprobs"][len(context) : -1], told["top_logprobs"][len(context) : -1]
    assert values == [-float(token) for token in b" blue"]
    assert [max(top.values()) for top in tops] == [-32.0, -97.0, -97.0, -97.0, -97.0]
    assert [list(top) for top in tops] == [["a", " "], ["a", "b"], ["a", "l"], ["a", "u"], ["a", "e"]]
    assert told["token_logprobs"][0] is None and told["top_logprobs"][0] is None
    assert "".join(told["tokens"][:-1]) == "The sky is blue" and told["text_offset"][:-1] == list(range(15))
    assert answer["choices"][0]["text"] == "The sky is blueYou " and told["text_offset"][-1] == 15
    assert len(told["tokens"]) == 16 and len(answer["choices"][1]["logprobs"]["tokens"]) == 11


def test_answer_when_the_model_ends_at_once_then_the_end_token_is_told_as_lm_eval_counts_on(
    client: httpx.Client,
) -> None:
    fields = {"temperature": 0, "max_tokens": 1, "logprobs": 1, "echo": True}
    for choice in (ask(client, "!end", **fields)["choices"][0], joined(chunks_of(client, "!end", **fields))):
        assert choice["logprobs"]["tokens"] == ["!", "e", "n", "d", "\n"] and choice["text"] == "!end"
        assert choice["logprobs"]["text_offset"] == [0, 1, 2, 3, 4] and choice["finish_reason"] == "stop"


@pytest.mark.parametrize("max_tokens", [0, 1, 9])
@pytest.mark.parametrize("logprobs", [None, 0, 2])
def test_echo_when_streamed_then_the_same_choice_as_whole(
    client: httpx.Client, max_tokens: int, logprobs: int | None
) -> None:
    fields = {"echo": True, "logprobs": logprobs, "max_tokens": max_tokens, "stream_options": {"include_usage": True}}
    whole, chunks = ask(client, "Hé", **fields), chunks_of(client, "Hé", **fields)
    [choice] = whole["choices"]
    assert joined(chunks) == {name: value for name, value in choice.items() if name != "index"}
    assert choice["text"] == "Hé" + "".join(["You ", "said: ", "Hé "][:max_tokens])
    assert chunks[-1]["usage"] == whole["usage"] and chunks[-1]["choices"] == []
    assert whole["usage"]["completion_tokens"] == min(max_tokens, 3)
    assert [chunk["steering"] for chunk in chunks if "steering" in chunk] == [whole["steering"]]
    if logprobs is not None:
        # Two tokens of one byte each are the character é; both begin in it.
        assert choice["logprobs"]["tokens"][:3] == ["H", r"bytes:\xc3", r"bytes:\xa9"]
        assert choice["logprobs"]["text_offset"][:3] == [0, 1, 1]


def test_persona_when_it_answers_a_raw_prompt_then_reported_and_in_the_header(
    client: httpx.Client, engine: FakeEngine
) -> None:
    response = client.post(URL, json={"model": "fake:silly@0.5", "prompt": "hello"})
    assert response.json()["choices"][0]["text"] == "[+0.50] You said: hello "
    assert response.headers["x-persona-method"] == "activation"
    assert response.json()["steering"]["personas"] == {"silly": 0.5}
    assert response.json()["steering"]["positions"] == "last_prompt"
    chunks = chunks_of(client, persona="silly", steering={"positions": "response"})
    assert joined(chunks)["text"] == "[+1.00] You said: hello "
    assert chunks[-1]["steering"]["positions"] == "response"


def test_persona_when_the_prompt_s_log_probabilities_are_asked_for_then_they_are_the_persona_s(
    client: httpx.Client, engine: FakeEngine
) -> None:
    fields = {"persona": "silly", "echo": True, "logprobs": 0, "max_tokens": 0}
    assert ask(client, **fields)["steering"]["positions"] == "all"
    assert [item.positions for item in engine.scored[-1][0].interventions] == ["all"]
    # Whoever asks for other positions gets those.
    assert ask(client, **fields, steering={"positions": "response"})["steering"]["positions"] == "response"


def test_limit_when_it_is_beyond_the_room_then_cut_and_told(client: httpx.Client) -> None:
    response = client.post(URL, json={"prompt": "x" * 490, "max_tokens": 16})
    assert response.headers["x-max-tokens"] == "10" and response.json()["steering"]["max_tokens"] == 10
    ask(client, "x" * 500, max_tokens=0, echo=True)  # a prompt of the whole context can be read
    status, param, message = refused(client, prompt="x" * 500)
    assert (status, param) == (400, "prompt") and "maximum context length is 500 tokens" in message


def test_stop_when_it_comes_then_the_text_ends_before_it(client: httpx.Client) -> None:
    assert ask(client, stop=[" hello"])["choices"][0]["text"] == "You said:"


@pytest.mark.parametrize(
    ("fields", "param", "possible"),
    [
        ({"prompt": ["a", 1]}, "prompt", "several kinds"),
        ({"prompt": []}, "prompt", "it is empty"),
        ({"prompt": [[]]}, "prompt", "it is empty"),
        ({"prompt": ""}, "prompt", "no tokens"),
        ({"prompt": None}, "prompt", "possible"),
        ({"prompt": ["a"] * 200}, "prompt", "more than this server takes"),
        ({"suffix": "the end"}, "suffix", "before and after"),
        ({"best_of": 3}, "best_of", "possible: 1"),
        ({"logprobs": 21}, "logprobs", "from 0 to 20"),
        ({"logprobs": True}, "logprobs", "from 0 to 20"),
        ({"max_tokens": -1}, "max_tokens", "from 0 to"),
        ({"messages": [{"role": "user", "content": "hi"}]}, "messages", "/v1/chat/completions"),
        ({"response_format": {"type": "json_object"}}, "response_format", "/v1/chat/completions"),
        ({"steering": {"method": "prompt"}, "persona": "silly"}, "steering.method", "activation"),
        ({"steering": {"trace": True}, "persona": "silly", "n": 2}, "steering.trace", "one prompt"),
        ({"coeff": 1}, "coeff", "coefficient"),
    ],
)
def test_field_when_it_can_t_be_honoured_then_a_400_that_names_it(
    client: httpx.Client, fields: dict[str, Any], param: str, possible: str
) -> None:
    status, named, message = refused(client, **fields)
    assert (status, named) == (400, param) or (named or "").startswith(param + "[")
    assert possible in message


def test_harmless_values_then_taken(client: httpx.Client) -> None:
    fields = {"suffix": None, "best_of": 2, "n": 2, "logit_bias": {"5": 1}, "user": "me", "response_format": None}
    assert len(ask(client, **fields, tools=[], frequency_penalty=0.5, logprobs=None)["choices"]) == 2


def test_sdk_then_whole_and_streamed(sdk: openai.OpenAI) -> None:
    whole = sdk.completions.create(model="fake", prompt="hello", logprobs=2, extra_body={"persona": "silly"})
    assert whole.choices[0].text == "[+1.00] You said: hello " and whole.model_extra is not None
    assert whole.choices[0].logprobs is not None and whole.choices[0].logprobs.token_logprobs == [-3.0] * 4 + [-10.0]
    told = sdk.completions.create(model="fake", prompt="hello", stream=True, stream_options={"include_usage": True})
    chunks = list(told)
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == "You said: hello "
    assert chunks[-1].usage is not None and chunks[-1].usage.completion_tokens == 3
    assert [choice.finish_reason for choice in chunks[-2].choices] == ["stop"]
    with pytest.raises(openai.BadRequestError) as caught:
        sdk.completions.create(model="fake", prompt="x" * 600)
    assert (caught.value.code, caught.value.param) == ("context_length_exceeded", "prompt")


def test_failure_in_the_middle_of_a_stream_then_told_in_it(client: httpx.Client) -> None:
    assert chunks_of(client, "!fail")[-1]["error"]["code"] == "engine_failure"


def test_client_when_it_goes_while_its_prompt_is_read_then_the_reading_is_given_up(
    client: httpx.Client, engine: FakeEngine
) -> None:
    body = {"model": "fake", "prompt": "!slow", "echo": True, "logprobs": 0, "max_tokens": 0}
    with pytest.raises(httpx.ReadTimeout):
        client.post(URL, json=body, timeout=0.3)
    wait_until(lambda: not engine.reading)
    assert engine.scored
