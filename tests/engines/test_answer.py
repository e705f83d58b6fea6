"""Which tokens of an answer a plan steers, as its message channels open and close."""

from typing import Any

import numpy as np
import pytest

from proxy.engines.answer import RunningAnswer
from proxy.engines.base import Channel, Generation, Intervention, Plan, Sampling
from proxy.engines.errors import Refusal
from proxy.engines.text.speech import Speaker
from tests.engines.tiny_models import byte_tokenizer

HARMONY, PLAIN = byte_tokenizer(harmony=True), byte_tokenizer(harmony=False)
ONES = np.ones(4, np.float32)
ONCE, ALWAYS, ALL = (Intervention(0, where, "add", vector=ONES) for where in ("last_prompt", "response", "all"))
THINKS = "<|channel|>analysis<|message|>hm<|end|><|start|>assistant<|channel|>final<|message|>ja<|return|>"


def answered(
    items: tuple[Intervention, ...],
    channels: set[Channel] | None,
    text: str = THINKS,
    prompt: str = "<|start|>assistant",
    tokenizer: Any = HARMONY,
) -> tuple[RunningAnswer, list[int]]:
    """The answer once `text` is all said, and all token ids."""
    prompt_ids = tokenizer.encode(prompt, add_special_tokens=False)
    plan = Plan(items, None if channels is None else frozenset(channels))
    generation = Generation(prompt_ids, Sampling(10_000), plan)
    answer = RunningAnswer(generation, lambda event: None, Speaker(tokenizer, []).speech(prompt_ids))
    said = tokenizer.encode(text, add_special_tokens=False)
    for token in said:
        answer.accept(token, frozenset(), 10_000)
    return answer, [*prompt_ids, *said]


def steered(answer: RunningAnswer, ids: list[int], tokenizer: Any = HARMONY) -> str:
    """The text of the tokens that anything is done to, a "·" for the others."""
    return "".join(tokenizer.decode([id_]) if answer.steering_at(at) else "·" for at, id_ in enumerate(ids))


def test_a_limit_to_the_final_channel_then_its_opening_marker_and_body_are_steered() -> None:
    answer, ids = answered((ALWAYS,), {"content"})
    assert steered(answer, ids).strip("·") == "<|message|>ja"
    assert steered(answer, ids).endswith("<|message|>ja·")


def test_a_limit_to_the_analysis_channel_then_the_final_one_is_left_alone() -> None:
    answer, ids = answered((ALWAYS,), {"reasoning"})
    assert steered(answer, ids).strip("·") == "<|message|>hm"


def test_last_prompt_when_limited_then_is_the_token_before_the_channel_s_first_and_only_once() -> None:
    for channel, nth in (("reasoning", 0), ("content", 1)):
        answer, ids = answered((ONCE,), {channel})  # type: ignore[arg-type]
        message = HARMONY.get_vocab()["<|message|>"]
        places = [at for at, id_ in enumerate(ids) if id_ == message]
        assert [at for at in range(len(ids)) if answer.steering_at(at)] == [places[nth]]
    twice = "<|channel|>final<|message|>a<|end|><|channel|>final<|message|>b"
    answer, ids = answered((ONCE,), {"content"}, twice)
    assert steered(answer, ids).count("<|message|>") == 1


def test_last_prompt_when_the_prompt_opens_the_channel_then_is_the_prompt_s_last_token() -> None:
    prompt = "<|start|>assistant<|channel|>final<|message|>"
    answer, ids = answered((ONCE,), {"content"}, "ja", prompt)
    assert [at for at in range(len(ids)) if answer.steering_at(at)] == [len(ids) - 3]
    assert steered(answer, ids).endswith("<|message|>··")


def test_all_when_limited_then_still_steers_the_whole_prompt() -> None:
    answer, ids = answered((ALL,), {"content"})
    assert steered(answer, ids).startswith("<|start|>assistant·")
    assert steered(answer, ids).endswith("·<|message|>ja·")


def test_no_limit_then_markers_are_steered_too() -> None:
    answer, ids = answered((ALWAYS,), None)
    assert "·" not in steered(answer, ids)[len("<|start|>") + 8 :]
    answer, ids = answered((ONCE,), None)
    assert steered(answer, ids).strip("·") == "t"


def test_calls_and_headers_when_limited_to_anything_then_are_left_alone() -> None:
    call = "<|channel|>commentary to=functions.f<|message|>{}<|call|>"
    answer, ids = answered((ALWAYS,), {"content"}, call)
    assert set(steered(answer, ids)) == {"·"}


def test_what_is_done_when_it_stays_the_same_then_is_the_same_tuple() -> None:
    answer, ids = answered((ONCE, ALWAYS), {"content"})
    done = [answer.steering_at(at) for at in range(len(ids))]
    changes = [at for at in range(1, len(ids)) if done[at] is not done[at - 1]]
    assert len(changes) == 3  # the channel opens, its first token is past, it closes


def test_a_model_without_channels_then_everything_is_final() -> None:
    answer, ids = answered((ALWAYS,), {"content"}, "ja", "hi", PLAIN)
    assert steered(answer, ids, PLAIN) == "·ija"
    with pytest.raises(Refusal, match="no such channel") as caught:
        answered((ALWAYS,), {"reasoning"}, "ja", "hi", PLAIN)
    assert caught.value.part == "channels"


def test_fingerprints_when_the_limit_differs_then_they_do() -> None:
    limits: list[frozenset[Channel] | None] = [None, frozenset(("content",)), frozenset(("content", "reasoning"))]
    plans = [Plan((ALWAYS,), limit) for limit in limits]
    assert len({plan.fingerprint for plan in plans}) == 3
    assert Plan((), frozenset(("content",))).fingerprint == Plan().fingerprint
