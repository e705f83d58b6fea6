"""Thoughts between `<think>` and `</think>` are reasoning, in both engines, whether template or model opens them."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.engines.base import Channel, Engine, Generation, Sampling
from proxy.engines.blocking import generate_all
from proxy.engines.errors import Refusal
from proxy.engines.registry import load_engine
from proxy.engines.text.speech import Speaker
from proxy.settings import ModelSettings
from tests.engines.tiny_models import THINKING_TEMPLATE, byte_tokenizer, save_tiny_model

TOKENIZER = byte_tokenizer(harmony=False, thinking=True)
SPEAKER = Speaker(TOKENIZER, [], THINKING_TEMPLATE)
OPEN, CLOSE = (TOKENIZER.get_vocab()[tag] for tag in ("<think>", "</think>"))
ASKED = "<|im_start|>user\nhi <think></think><|im_end|>\n<|im_start|>assistant\n"
TALK = [{"role": "user", "content": "Hello."}]


def ids(text: str) -> list[int]:
    encoded: list[int] = TOKENIZER.encode(text, add_special_tokens=False)
    return encoded


def said(answer: str, prompt: str = ASKED, begun: int = 0, speaker: Speaker = SPEAKER) -> dict[Channel, str]:
    speech = speaker.speech(ids(prompt), begun=begun)
    told: dict[Channel, str] = {}
    for token in [*(speech.add(token) for token in ids(answer)), speech.rest()]:
        if token is not None and token.text:
            told[token.channel] = told.get(token.channel, "") + token.text
    return told


@pytest.mark.parametrize(
    ("answer", "prompt", "told"),
    [
        ("<think>\nHm, é.\n\nWell.\n</think>\n\nJa!\n", ASKED, {"reasoning": "Hm, é.\n\nWell.", "content": "Ja!\n"}),
        ("\n<think>\nHm</think>Ja!", ASKED, {"content": "\nJa!", "reasoning": "Hm"}),
        ("Hm\n</think>\n\nJa!", ASKED + "<think>\n", {"reasoning": "Hm", "content": "Ja!"}),
        ("Ja!", ASKED + "<think>\n\n</think>\n\n", {"content": "Ja!"}),
        ("Ja!", ASKED, {"content": "Ja!"}),
        ("Ja! <think>Hm</think>", ASKED, {"content": "Ja! <think>Hm</think>"}),
        ("<think>\nHm, yet", ASKED, {"reasoning": "Hm, yet"}),
        ("<think>\n\n</think>\n\nJa!", ASKED, {"content": "Ja!"}),
    ],
)
def test_thoughts_when_tagged_then_reasoning_and_content_are_apart(
    answer: str, prompt: str, told: dict[Channel, str]
) -> None:
    assert said(answer, prompt) == told


def test_tags_when_the_template_does_not_know_of_thinking_then_are_text() -> None:
    assert said("<think>Hm</think>Ja!", speaker=Speaker(TOKENIZER, [], "")) == {"content": "<think>Hm</think>Ja!"}


def test_calls_when_behind_thoughts_then_are_calls() -> None:
    tagged = byte_tokenizer(harmony=False, thinking=True)
    tagged.add_tokens(["<tool_call>", "</tool_call>"])
    speech = Speaker(tagged, [], THINKING_TEMPLATE).speech([], calls=True)
    text = '<think>\nHm\n</think>\n\n<tool_call>{"name": "f", "arguments": {}}</tool_call>'
    told = [speech.add(token) for token in tagged.encode(text, add_special_tokens=False)]
    assert [(token.opens, token.text) for token in told if token.channel == "arguments"] == [("f", "{}")]
    assert "".join(token.text for token in told if token.channel == "reasoning") == "Hm"
    assert "".join(token.text for token in told if token.channel == "content").strip() == ""


@given(st.lists(st.sampled_from(["<think>", "</think>", "\n", " ", "a", "é", "<|im_start|>"]), max_size=12))
def test_any_order_of_tags_then_no_letter_is_lost(pieces: list[str]) -> None:
    written = "".join(piece for piece in pieces if not piece.startswith("<"))
    told = "".join(said("".join(pieces)).values())
    for letter in ("a", "é"):
        assert told.count(letter) == written.count(letter)


@pytest.fixture(scope="module", params=["transformers", "llama_cpp"])
def engine(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("thinking")
    source = save_tiny_model("qwen2", folder / "tiny", thinking=True)
    if request.param == "llama_cpp":
        pytest.importorskip("llama_cpp", reason="needs the extra llama-cpp")
        from proxy.demo import gguf

        source = folder / "tiny.gguf"
        gguf.export(folder / "tiny", source, "float32")
    loaded = load_engine(ModelSettings("tiny", str(source), engine=request.param), 2)
    yield loaded
    loaded.close()


def written(prompt: list[int]) -> str:
    return str(TOKENIZER.decode(prompt))


def test_thinking_when_turned_off_then_the_prompt_says_so_once(engine: Engine) -> None:
    prompt = engine.render(TALK)
    closed = "<think>\n\n</think>\n\n"
    assert written(engine.render(TALK, options={"enable_thinking": False})) == written(prompt) + closed
    assert written([*prompt, *engine.opening]) == written(prompt) + closed


def test_answer_when_it_has_begun_then_thoughts_stand_before_it(engine: Engine) -> None:
    prompt = engine.render(TALK)
    closed = engine.render(TALK, options={"enable_thinking": False})

    def begun(prompt: list[int], content: str, reasoning: str = "") -> str:
        headers, text = engine.begin(prompt, content, reasoning)
        return written([*headers, *text])

    assert begun(prompt, "Ja") == "<think>\n\n</think>\n\nJa"
    assert begun(prompt, "Ja", "Hm") == "<think>\nHm\n</think>\n\nJa"
    assert begun(prompt, "", "Hm") == "<think>\nHm"
    assert begun([*prompt, OPEN], "", "Hm") == "Hm"
    assert begun(closed, "Ja") == "Ja"
    with pytest.raises(Refusal, match="turned off"):
        engine.begin(closed, "", "Hm")


def test_schema_when_the_model_may_think_first_then_is_for_what_follows(engine: Engine) -> None:
    thinking = Sampling(60, temperature=0, json_schema='{"type": "boolean"}', logit_bias={OPEN: 1e4, CLOSE: 40.0})
    prompt = engine.render(TALK)
    thoughtful, direct = generate_all(
        engine,
        [
            Generation(
                prompt,
                Sampling(
                    60, temperature=1, seed=1, json_schema='{"type": "boolean"}', logit_bias={OPEN: 1e4, CLOSE: 1e4}
                ),
            ),
            Generation(engine.render(TALK, options={"enable_thinking": False}), thinking),
        ],
    )
    assert thoughtful.token_ids[0] == OPEN and CLOSE in thoughtful.token_ids
    assert thoughtful.text.strip() in ("true", "false") and direct.text.strip() in ("true", "false")
