"""The benchmark models: they load as any model does, can be steered, and never end an answer by themselves."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import PreTrainedTokenizerFast, Qwen2Config

from proxy.demo.models import MODELS_DIR
from proxy.engines.transformers.loading import load_network, weights_fingerprint
from proxy.settings import DEMO_FOLDER
from tests.benchmarks import random_model
from tests.benchmarks.models import DEMO, Prepared, random_shape
from vector_store import VectorStore

TOKENS = 40


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Prepared:
    """A random model with a vocabulary larger than the demo's, made twice, in several shards."""
    sizes = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 9, "num_attention_heads": 2}
    shape = random_shape(vocab_size=4000, num_key_value_heads=1, tie_word_embeddings=True, **sizes)
    model = dataclasses.replace(DEMO, id="tiny", prepare=shape)
    cache = tmp_path_factory.mktemp("cache")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(random_model, "SHARD_BYTES", 10_000)
        first = model.prepared(cache)
    assert model.prepared(cache) == first
    return first


def answer_length(folder: Path) -> int:
    """Tokens of a greedy answer that may have TOKENS."""
    # Any: its class has no `generate`; that of the loaded model has.
    network: Any = load_network(folder, Qwen2Config.from_pretrained(folder), torch.device("cpu"), torch.float32)
    tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    messages = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt")
    made = network.generate(**prompt, max_new_tokens=TOKENS, do_sample=False)
    return int(made.shape[1] - prompt["input_ids"].shape[1])


def test_random_shape_when_generating_then_answers_are_as_long_as_asked_for(tiny: Prepared) -> None:
    assert len(list(tiny.path.glob("*.safetensors"))) > 1
    assert answer_length(tiny.path) == TOKENS


def test_random_shape_when_decoding_then_every_id_has_a_text_and_text_is_cut_as_by_the_demo(tiny: Prepared) -> None:
    tokenizer = PreTrainedTokenizerFast.from_pretrained(tiny.path)
    demo = PreTrainedTokenizerFast.from_pretrained(MODELS_DIR / "qwen2")
    assert len(tokenizer) == 4000
    assert all(tokenizer.decode([id_]) for id_ in range(4000))
    text = "<|im_start|>user\nWhat is w3500, 12345?<|im_end|>\n"
    assert tokenizer.encode(text) == demo.encode(text)
    assert tokenizer.convert_tokens_to_ids(["<|im_end|>", "<|endoftext|>"]) == list(tiny.end_ids)


def test_random_shape_when_made_then_its_vectors_are_those_of_its_weights(tiny: Prepared) -> None:
    store = VectorStore([tiny.vectors])
    assert len(store.list("tiny")) == 4
    vector = store.in_use("tiny", "silly", weights_fingerprint(tiny.path))
    assert vector is not None and set(vector.poles) == {"positive", "negative"}
    assert vector.direction("positive", "response", vector.poles["positive"].block).shape == (32,)


def test_endless_demo_when_generating_then_it_goes_on_and_the_demos_vectors_fit(tmp_path: Path) -> None:
    prepared = DEMO.prepared(tmp_path)
    assert answer_length(MODELS_DIR / "qwen2") < TOKENS
    assert answer_length(prepared.path) == TOKENS
    vectors = VectorStore([prepared.vectors, DEMO_FOLDER / "vectors"])
    assert vectors.in_use(DEMO.id, "silly", weights_fingerprint(prepared.path)) is not None
    assert json.loads((prepared.path / "config.json").read_text())["eos_token_id"] == prepared.end_ids[1]
