"""Both engines: an answer that has begun goes on where it stops, in the channel it stops in, steered from there."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from proxy.engines.base import Engine, Generation, Intervention, Plan, Rollout, Sampling
from proxy.engines.blocking import Completion, generate_all
from proxy.engines.errors import PromptTooLong, Refusal
from tests.engines.conftest import LoadEngine
from tests.engines.llama_cpp.models import LoadLlama
from tests.engines.tiny_models import byte_tokenizer, save_tiny_model

LETTERS = dict.fromkeys(byte_tokenizer(harmony=False).encode("abcdefghijklmnopqrstuvwxyz "), 1e4)
TALK = [{"role": "user", "content": "Hello."}]
PUSH = np.random.default_rng(3).normal(size=32, scale=2).astype(np.float32)


@pytest.fixture(params=["transformers", "llama_cpp"])
def engine_for(
    request: pytest.FixtureRequest, models_folder: Path, engine_of: LoadEngine, llama_of: LoadLlama
) -> Callable[[str], Engine]:
    def engine(family: str) -> Engine:
        if request.param == "llama_cpp":
            return llama_of(family, exact=True)
        return engine_of(save_tiny_model(family, models_folder / family))

    return engine


def go_on(
    engine: Engine, content: str, reasoning: str = "", *, plan: Plan | None = None, schema: str | None = None
) -> Completion:
    prompt = engine.render(TALK)
    headers, begun = engine.begin(prompt, content, reasoning)
    bias = {} if schema else LETTERS
    sampling = Sampling(10, temperature=0, logit_bias=bias, json_schema=schema)
    return generate_all(engine, [Generation([*prompt, *headers, *begun], sampling, plan or Plan(), begun=len(begun))])[
        0
    ]


def test_answer_when_it_has_begun_then_goes_on_as_the_whole_one_did(engine_for: Callable[[str], Engine]) -> None:
    engine = engine_for("qwen2")
    prompt = engine.render(TALK)
    (whole,) = generate_all(engine, [Generation(prompt, Sampling(16, temperature=0, logit_bias=LETTERS))])
    assert whole.text[:6] + go_on(engine, whole.text[:6]).text == whole.text
    assert engine.begin(prompt, "") == ([], [])


def test_harmony_answer_when_it_has_begun_then_goes_on_in_the_channel_it_stops_in(
    engine_for: Callable[[str], Engine],
) -> None:
    engine, markers = engine_for("gpt-oss"), byte_tokenizer(harmony=True)
    prompt = engine.render(TALK)

    def begun(content: str, reasoning: str = "") -> str:
        headers, text = engine.begin(prompt, content, reasoning)
        assert text == engine.encode(content or reasoning)
        return str(markers.decode([*headers, *text]))

    thought = "<|channel|>analysis<|message|>Hm"
    assert begun("", "Hm") == thought
    assert begun("Ja") == "<|channel|>final<|message|>Ja"
    assert begun("Ja", "Hm") == thought + "<|end|><|start|>assistant<|channel|>final<|message|>Ja"
    assert begun("") == ""
    content, thinking = go_on(engine, "Ja"), go_on(engine, "", "Hm")
    assert content.text and not content.reasoning
    assert thinking.reasoning and not thinking.text


def test_answer_when_it_has_begun_then_is_steered_from_its_last_token_on(engine_for: Callable[[str], Engine]) -> None:
    engine = engine_for("qwen2")
    plan = Plan((Intervention(1, "response", "add", vector=PUSH),))
    prompt = engine.render(TALK)
    begun = engine.encode("abc")
    told = go_on(engine, "abc", plan=plan)
    assert told.text != go_on(engine, "abc").text
    # What was said before is read as any prompt is.
    rollouts = [Rollout([*prompt, *begun], told.token_ids), Rollout(prompt, [*begun, *told.token_ids])]
    from_there, from_the_start = engine.score(rollouts, [plan, plan])
    assert not np.allclose(from_there, from_the_start[len(begun) :], atol=1e-3)
    as_prompt = Generation([*prompt, *begun], Sampling(10, temperature=0, logit_bias=LETTERS), plan)
    assert generate_all(engine, [as_prompt])[0].token_ids == told.token_ids


def test_json_when_it_has_begun_then_the_whole_follows_the_schema(engine_for: Callable[[str], Engine]) -> None:
    engine = engine_for("qwen2")
    schema = json.dumps({"enum": ["yes", "yeah"]})
    assert json.loads('"ye' + go_on(engine, '"ye', schema=schema).text) in ("yes", "yeah")
    assert go_on(engine, '"yes"', schema=schema).text == ""
    with pytest.raises(Refusal, match="begins with does not follow"):
        go_on(engine, '"no', schema=schema)


def test_beginning_when_it_can_t_be_then_a_refusal(engine_for: Callable[[str], Engine]) -> None:
    engine = engine_for("qwen2")
    prompt = engine.render(TALK)
    with pytest.raises(Refusal, match="does not reason"):
        engine.begin(prompt, "", "Hm")
    with pytest.raises(PromptTooLong):
        engine.begin(prompt, "a" * 30_000)
