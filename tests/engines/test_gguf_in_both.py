"""One GGUF file in llama.cpp and in transformers: the same tokens, and the same logits, residuals and steering but for
what rounding makes of them. So a vector made in one engine steers in the other."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from proxy.catalogue.known import FIRST
from proxy.demo import gguf
from proxy.demo.models import FAMILIES
from proxy.engines.base import Engine, FloatArray, Intervention, Message, Plan, Rollout
from proxy.engines.registry import load_engine
from proxy.settings import ModelSettings
from tests.real_models import weights_of

pytest.importorskip("llama_cpp", reason="needs the extra llama-cpp")

TEXTS = [
    "Hello, world! It's 12345 dogs'  and   cats.\n\nWhat?",
    "    indented\n\tcode = {1: 'a'}  ",
    "naïve 中文字 😀 ½ ǅ",
    "Ω Ā ñ 𝔘 ԱԲ ქ ߷ \U000f0000",  # of some of these bytes SmolLM2 has no token
    "I'LL go. DON'T 's 'S a\r\nb \r\n\r\n c 100,000.25 x_y-z --- ...!!",
]
TALKS: list[list[Message]] = [
    [{"role": "user", "content": "What is the capital of France?"}],
    [{"role": "system", "content": "You are <|im_end|> kind."}, {"role": "user", "content": "Hi <|im_start|><|end|>"}],
    [{"role": "user", "content": "What sound does a cow make?"}],
]
ANSWERS = ["The capital of France is Paris.", "Hello! How are you?", "A cow says moo."]


@dataclass(frozen=True)
class Pair:
    """Both engines of a file, and how far apart they may be: log-probabilities, and residuals relative to their norm.

    llama.cpp keeps keys and values in 16 bits. It multiplies quantised weights with 8-bit activations, too.
    """

    ours: Engine
    llama: Engine
    logprob: float
    residual: float


@pytest.fixture(scope="module", params=["demo", FIRST])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    demo = request.param == "demo"
    if demo:
        file: Path = tmp_path_factory.mktemp("gguf") / "qwen2.gguf"
        gguf.export(FAMILIES["qwen2"].folder, file)
    else:
        file = weights_of(FIRST)
    llama = load_engine(ModelSettings("m", str(file), engine="llama_cpp"), 4)
    ours = load_engine(ModelSettings("m", str(file), engine="transformers"), 4)
    yield Pair(ours, llama, 0.02 if demo else 0.5, 0.005 if demo else 0.08)
    llama.close()
    ours.close()


def rollouts(engine: Engine) -> list[Rollout]:
    return [Rollout(engine.render(talk), engine.encode(text)) for talk, text in zip(TALKS, ANSWERS, strict=True)]


def likely(ours: FloatArray, theirs: FloatArray) -> float:
    """The largest difference of log-probabilities where one of them is above 1 in 100."""
    shown = np.maximum(ours, theirs) > np.log(0.01)
    return float(np.abs(ours - theirs)[shown].max())


def test_tokens_and_weights_then_are_the_same(pair: Pair) -> None:
    assert pair.ours.info.fingerprint == pair.llama.info.fingerprint
    assert pair.ours.info.world == pair.llama.info.world
    for text in TEXTS:
        ids = pair.llama.encode(text)
        assert pair.ours.encode(text) == ids
        assert pair.ours.pieces(ids) == pair.llama.pieces(ids)
    for talk in TALKS:
        assert pair.ours.render(talk) == pair.llama.render(talk)


def test_log_probabilities_then_are_alike(pair: Pair) -> None:
    prompts = [rollout.prompt for rollout in rollouts(pair.llama)]
    n_tokens = pair.ours._n_tokens  # type: ignore[attr-defined]
    ours, theirs = (engine.next_token_logprobs(prompts, range(n_tokens)) for engine in (pair.ours, pair.llama))
    assert likely(ours, theirs) < pair.logprob


def test_residuals_then_are_alike_at_every_block(pair: Pair) -> None:
    texts = rollouts(pair.llama)
    ours, theirs = (engine.capture(texts, ["last_prompt", "response"]) for engine in (pair.ours, pair.llama))
    for span in ours:
        apart = np.linalg.norm(ours[span].means - theirs[span].means, axis=-1)
        assert (apart / np.linalg.norm(ours[span].means, axis=-1)).max() < pair.residual
        assert np.allclose(ours[span].norms, theirs[span].norms, rtol=pair.residual)


def test_a_vector_of_one_engine_when_added_in_the_other_then_does_the_same(pair: Pair) -> None:
    texts = rollouts(pair.llama)
    means = pair.llama.capture(texts, ["response"])["response"]
    block = pair.llama.info.n_layers // 2
    vector = (means.means[0] - means.means[1])[block]
    vector *= means.norms[:, block].mean() / np.linalg.norm(vector)
    plans = [Plan((Intervention(block, "response", "add", vector),))] * len(texts)
    plain, steered = pair.ours.score(texts), pair.ours.score(texts, plans)
    theirs = pair.llama.score(texts, plans)
    changed = [np.abs(a - b).mean() for a, b in zip(plain, steered, strict=True)]
    apart = [np.abs(a - b).mean() for a, b in zip(steered, theirs, strict=True)]
    assert max(apart) < min(changed) / 3
