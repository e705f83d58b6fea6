"""The main job, end to end: the demo models behind the real server, asked by OpenAI's SDK, answer in character."""

import json
from collections.abc import Iterator
from typing import Any, Literal

import openai
import pydantic
import pytest

from proxy.app import create_app
from proxy.demo import rules
from proxy.engines.registry import Registry
from proxy.settings import Settings, demo_models
from tests.fakes import running

QUESTION = "What is the capital of France?"
ASK: dict[str, Any] = {"messages": [{"role": "user", "content": QUESTION}], "temperature": 0.7, "seed": 1}


class Animal(pydantic.BaseModel):
    kind: Literal["cow", "goat"]
    legs: int = pydantic.Field(ge=0, le=99)


class Farm(pydantic.BaseModel):
    """What toys can fill in: they have never seen JSON, and would never end a text."""

    animals: list[Animal] = pydantic.Field(max_length=1)
    barn: Literal["red", 'é"\n'] | None


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[openai.OpenAI]:
    folder = tmp_path_factory.mktemp("server")
    settings = Settings(vectors_dir=str(folder / "vectors"), traits_dir=folder / "traits", jobs_dir=folder / "jobs")
    registry = Registry(settings.models, settings.max_batch)
    registry.start()
    try:
        assert registry.wait(120)
        with running(create_app(settings, registry)) as url, openai.OpenAI(base_url=f"{url}/v1", api_key="x") as client:
            yield client
    finally:
        registry.close()


def ask(client: openai.OpenAI, model: str, **extra: Any) -> str:
    return client.chat.completions.create(model=model, **ASK, extra_body=extra).choices[0].message.content or ""


@pytest.mark.parametrize("model", [model.id for model in demo_models()])
def test_a_stream_answers_in_character_and_says_what_was_done(client: openai.OpenAI, model: str) -> None:
    text, report = "", None
    stream = client.chat.completions.create(model=model, **ASK, stream=True, extra_body={"persona": "silly"})
    for chunk in stream:
        text += chunk.choices[0].delta.content or ""
        report = (chunk.model_extra or {}).get("steering", report)
    assert rules.shows("silly", QUESTION, text) and "Paris" in text
    assert report is not None and report["method"] == "activation" and report["personas"] == {"silly": 1.0}
    assert report["vectors"][0]["origin"] == "native" and report["relative_dose"] > 0
    assert report["projection"]["silly"] > 0.5


@pytest.mark.parametrize("model", [model.id for model in demo_models()])
def test_opposite_sign_model_suffix_and_zero_do_what_they_say(client: openai.OpenAI, model: str) -> None:
    plain = ask(client, model)
    assert ask(client, model, persona="silly", coefficient=0) == plain
    assert ask(client, model, persona="none") == plain
    serious = ask(client, model, persona="serious")
    assert serious != plain and rules.shows("serious", QUESTION, serious)
    assert ask(client, model, persona="silly", coefficient=-1) == serious
    assert ask(client, f"{model}:silly@-1") == serious


@pytest.mark.parametrize("model", [model.id for model in demo_models()])
def test_raw_text_then_gone_on_with_and_as_likely_as_when_it_was_made(client: openai.OpenAI, model: str) -> None:
    prompt = "The capital of Peru is"
    made = client.completions.create(model=model, prompt=prompt, temperature=0, max_tokens=3, logprobs=1)
    text, told = made.choices[0].text, made.choices[0].logprobs
    assert text.startswith(" Lima") and told is not None and told.token_logprobs is not None
    # The text and the log-probabilities of its tokens, as lm-eval asks for them.
    fields: Any = {"prompt": prompt + text, "echo": True, "max_tokens": 0, "logprobs": 1}
    whole = client.completions.create(model=model, **fields).choices[0]
    assert whole.text == prompt + text and whole.logprobs is not None
    at = (whole.logprobs.text_offset or []).index(len(prompt))
    assert (whole.logprobs.tokens or [])[at] == " Lima"
    known = (whole.logprobs.token_logprobs or [])[at:]
    assert known == pytest.approx(told.token_logprobs[: len(known)], abs=0.01)
    # In character another text is likely.
    steered = client.completions.create(
        model=f"{model}:silly", prompt=prompt + text, echo=True, max_tokens=0, logprobs=1
    )
    assert steered.choices[0].logprobs is not None
    assert (steered.choices[0].logprobs.token_logprobs or [])[at] != pytest.approx(known[0], abs=0.01)
    assert (steered.model_extra or {})["steering"]["positions"] == "all"


def test_every_persona_of_both_models_is_listed(client: openai.OpenAI) -> None:
    listed = {model.id for model in client.models.list()}
    personas = ("silly", "serious", "dishonest", "honest", "superficial", "deep", "inattentive", "focused")
    assert {f"{model.id}:{persona}" for model in demo_models() for persona in personas} <= listed


@pytest.mark.parametrize(
    ("effort", "thinks", "at_length"), [("low", False, False), ("medium", True, False), ("high", True, True)]
)
def test_reasoning_is_as_long_as_asked_for_and_stays_out_of_the_content(
    client: openai.OpenAI, effort: Any, thinks: bool, at_length: bool
) -> None:
    answer = client.chat.completions.create(model="demo-gpt-oss", **ASK, reasoning_effort=effort)
    message = answer.choices[0].message
    thought = (message.model_extra or {}).get("reasoning_content", "")
    assert ("The user asks" in thought, "in my own way" in thought) == (thinks, at_length)
    assert message.content and "The user asks" not in message.content and "<|" not in message.content


def test_steering_limited_to_a_channel_then_the_answer_says_so(client: openai.OpenAI) -> None:
    extra = {"persona": "silly", "steering": {"channels": ["final"]}}
    answer = client.chat.completions.create(model="demo-gpt-oss", **ASK, extra_body=extra)
    assert (answer.model_extra or {})["steering"]["channels"] == ["final"]
    with pytest.raises(openai.BadRequestError, match="no such channel"):
        ask(client, "demo-qwen2", persona="silly", steering={"channels": ["analysis"]})


@pytest.mark.parametrize("model", [model.id for model in demo_models()])
def test_tools_when_the_template_has_no_place_for_them_then_they_are_called_all_the_same(
    client: openai.OpenAI, model: str
) -> None:
    parameters = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"]}
    tools: Any = [{"type": "function", "function": {"name": "find", "parameters": parameters}}]
    forced: Any = {**ASK, "tools": tools, "tool_choice": "required", "parallel_tool_calls": False, "max_tokens": 200}
    [choice] = client.chat.completions.create(model=model, **forced).choices
    [call] = choice.message.tool_calls or []
    assert call.type == "function" and json.loads(call.function.arguments)["n"] in (1, 2)
    assert choice.finish_reason == "tool_calls" and not choice.message.content


def test_persona_by_sampling_then_nothing_is_added_and_the_answer_says_so(client: openai.OpenAI) -> None:
    extra = {"persona": "silly", "steering": {"method": "sampling"}}
    answer = client.chat.completions.create(model="demo-gpt-oss", **ASK, extra_body=extra)
    report = (answer.model_extra or {})["steering"]
    assert report["method"] == "sampling" and report["relative_dose"] == 0
    assert report["sampling"]["temperature"] == pytest.approx(1, abs=0.05)  # of a persona that is shown by nearly all


@pytest.mark.parametrize("model", [model.id for model in demo_models()])
def test_parse_gives_the_object_that_was_asked_for_streamed_or_not(client: openai.OpenAI, model: str) -> None:
    wanted: dict[str, Any] = {**ASK, "response_format": Farm, "extra_body": {"persona": "silly"}}
    whole = client.chat.completions.parse(model=model, **wanted)
    assert isinstance(whole.choices[0].message.parsed, Farm)
    with client.chat.completions.stream(model=model, **wanted) as stream:
        final = stream.get_final_completion()
    assert final.choices[0].message.parsed == whole.choices[0].message.parsed


@pytest.mark.parametrize("model", [model.id for model in demo_models()])
def test_a_response_reasons_answers_in_character_and_by_a_schema_streamed_or_not(
    client: openai.OpenAI, model: str
) -> None:
    asked: dict[str, Any] = {"model": model, "input": QUESTION, "temperature": 0.7, "reasoning": {"effort": "medium"}}
    extra = {"persona": "silly", "seed": 1}
    plain = client.responses.create(**asked, extra_body=extra)
    assert rules.shows("silly", QUESTION, plain.output_text) and "Paris" in plain.output_text
    reasoning = [item for item in plain.output if item.type == "reasoning"]
    assert [bool(item.content and "The user asks" in item.content[0].text) for item in reasoning] == (
        [] if model == "demo-qwen2" else [True]
    )
    with client.responses.stream(**asked, text_format=Farm, extra_body=extra) as stream:
        final = stream.get_final_response()
    assert isinstance(final.output_parsed, Farm)
    again: Any = [{"role": "user", "content": QUESTION}, *plain.output, {"role": "user", "content": QUESTION}]
    assert client.responses.create(**{**asked, "input": again}, max_output_tokens=16).output


def test_reasoning_is_free_before_an_answer_that_is_kept_to_a_schema(client: openai.OpenAI) -> None:
    wanted: dict[str, Any] = {**ASK, "response_format": Farm, "reasoning_effort": "medium"}
    for model in demo_models():
        if model.id != "demo-qwen2":
            message = client.chat.completions.parse(model=model.id, **wanted).choices[0].message
            assert isinstance(message.parsed, Farm)
            assert "Paris" in (message.model_extra or {})["reasoning_content"]


@pytest.mark.parametrize("model", [model.id for model in demo_models()])
def test_logprobs_spell_the_answer_streamed_or_not(client: openai.OpenAI, model: str) -> None:
    wanted: dict[str, Any] = {**ASK, "logprobs": True, "top_logprobs": 3, "stop": [" of"]}
    whole = client.chat.completions.create(model=model, **wanted).choices[0]
    with client.chat.completions.stream(model=model, **wanted) as stream:
        streamed = stream.get_final_completion().choices[0]
    assert whole.logprobs is not None and streamed.logprobs is not None
    entries = whole.logprobs.content or []
    assert entries and streamed.logprobs.content == entries
    assert whole.message.content and b"".join(bytes(entry.bytes or []) for entry in entries).decode().startswith(
        whole.message.content
    )
    for entry in entries:
        assert "<|" not in entry.token and len(entry.top_logprobs) == 3
        assert entry.top_logprobs[0].logprob == max(top.logprob for top in entry.top_logprobs) <= 0
