"""Writes models with random weights as transformers reads them, and persona vectors of random directions.

Every answer of theirs is as long as was asked for: the end tokens' logits are zero, which is never the highest.
"""

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM

from proxy.demo.models import MODELS_DIR
from proxy.steering.traits.trait import load_traits
from vector_store import CONDITIONS, SIDES, PersonaVector, PoleChoice, VectorStore

SHARD_BYTES = 2 * 10**9
STANDARD_DEVIATION = 0.02  # of the random weights, as transformers initialises them


def write_random_model(folder: Path, config: Qwen2Config, dtype: torch.dtype) -> None:
    """Write configuration, tokenizer and weights, a shard at a time: memory is needed for one shard only."""
    folder.mkdir(parents=True)
    write_tokenizer(folder, config.vocab_size)
    ends = list(end_ids(folder))
    config.bos_token_id, config.eos_token_id, config.pad_token_id = None, ends, ends[1]
    config.architectures, config.dtype = ["Qwen2ForCausalLM"], dtype
    config.save_pretrained(folder)
    GenerationConfig(eos_token_id=ends, pad_token_id=ends[1]).save_pretrained(folder)
    places: dict[str, str] = {}
    for number, shard in enumerate(_shards(_random_weights(config, dtype, ends)), start=1):
        name = f"model-{number:05}.safetensors"
        save_file(shard, folder / name, metadata={"format": "pt"})
        places |= dict.fromkeys(shard, name)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": places}))


def _random_weights(config: Qwen2Config, dtype: torch.dtype, never: list[int]) -> Iterator[tuple[str, torch.Tensor]]:
    """Every tensor by its name. The tokens `never` have rows of zeros, so their logits are zero."""
    with torch.device("meta"):
        shapes = Qwen2ForCausalLM(config).state_dict()
    generator = torch.Generator().manual_seed(0)
    for name, shape in shapes.items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        if name.endswith("norm.weight"):
            yield name, torch.ones(shape.shape, dtype=dtype)
            continue
        tensor = torch.randn(shape.shape, generator=generator).mul_(STANDARD_DEVIATION)
        if name in ("model.embed_tokens.weight", "lm_head.weight"):
            tensor[never] = 0
        yield name, tensor.to(dtype)


def _shards(tensors: Iterator[tuple[str, torch.Tensor]]) -> Iterator[dict[str, torch.Tensor]]:
    shard: dict[str, torch.Tensor] = {}
    for name, tensor in tensors:
        shard[name] = tensor
        if sum(each.nbytes for each in shard.values()) >= SHARD_BYTES:
            yield shard
            shard = {}
    if shard:
        yield shard


def write_tokenizer(folder: Path, vocabulary: int) -> None:
    """The demo's tokenizer and template with more words, which no merge reaches, so that every id has a text."""
    source = MODELS_DIR / "qwen2"
    content = json.loads((source / "tokenizer.json").read_text("utf-8"))
    words = content["model"]["vocab"]
    # An added token keeps its id only if the vocabulary names it too, now that there are words behind it.
    words |= {token["content"]: token["id"] for token in content["added_tokens"]}
    words |= {f"Ġw{number}": number for number in range(len(words), vocabulary)}
    (folder / "tokenizer.json").write_text(json.dumps(content, ensure_ascii=False), "utf-8")
    for name in ("tokenizer_config.json", "chat_template.jinja"):
        shutil.copy(source / name, folder)


def write_random_vectors(folder: Path, model_id: str, fingerprint: str, n_layers: int, hidden_size: int) -> None:
    """A vector of each built-in trait: random directions half a residual norm long, over every generated token, each
    at a block of its own in the middle of the model."""
    rng = np.random.default_rng(0)
    shape = (n_layers, hidden_size)
    store = VectorStore([folder])
    traits = load_traits().values()
    for block, trait in enumerate(traits, start=(n_layers - len(traits)) // 2):
        choice = PoleChoice(block=block, span="response", positions="response", relative_dose=0.5)
        store.save(
            PersonaVector(
                model_id=model_id,
                fingerprint=fingerprint,
                trait=trait.id,
                positive=trait.positive,
                negative=trait.negative,
                n_layers=n_layers,
                hidden_size=hidden_size,
                created="2025-01-01T00:00:00Z",
                software_version="benchmark",
                method="random directions, to measure speed",
                poles=dict.fromkeys(SIDES, choice),
                means={"response": {name: rng.standard_normal(shape, np.float32) for name in CONDITIONS}},
                residual_norms={"response": np.full(n_layers, hidden_size**0.5, np.float32)},
            )
        )


def end_ids(folder: Path) -> tuple[int, ...]:
    """The tokens that end a turn in the demo's template."""
    special = special_ids(folder)
    return special["<|im_end|>"], special["<|endoftext|>"]


def special_ids(folder: Path) -> dict[str, int]:
    """By their text."""
    content = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    return {token["content"]: token["id"] for token in content["added_tokens"]}
