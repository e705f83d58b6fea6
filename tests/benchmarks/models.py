"""The models the benchmarks run: a demo model that never stops, and real shapes with random weights.

Speed does not depend on what the weights say, so a shape of a real size needs no download. Nothing here says how well
anything is steered: the vectors of the real shapes are random directions with a plausible dose, eight personas that
cost what eight real ones do. Folders are made in the user's cache and kept there.

Every answer has to be as long as was asked for, or servers could not be compared: the demo model's copy is told of an
end token it never says, and in the random shapes the end tokens' logits are zero, which is never the highest.
"""

import json
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import platformdirs
import torch
from safetensors.torch import save_file
from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM

from proxy.demo.models import MODELS_DIR
from proxy.engines.loading import weights_fingerprint
from proxy.steering.traits import load_traits
from vector_store import CONDITIONS, SIDES, PersonaVector, PoleChoice, VectorStore

CACHE = platformdirs.user_cache_path("persona-proxy", appauthor=False) / "benchmarks"
SHARD_BYTES = 2 * 10**9
STANDARD_DEVIATION = 0.02  # of the random weights, as transformers initialises them


@dataclass(frozen=True)
class Prepared:
    """A model on disk: its folder, the folder of the vectors that belong to it, and the tokens that end a turn in its
    template, whatever its configuration says."""

    folder: Path
    vectors: Path
    end_ids: tuple[int, ...]


@dataclass(frozen=True)
class BenchmarkModel:
    """One model to measure, and how much of it: `tokens` to an answer, at least `requests` answers to a burst,
    `rounds` of bursts for our own server and `rounds_of_others` for the rest, `texts` to read residuals from.
    `toy`: whether it is small, so that one thread may be faster than all, which is then tried, and trained, so that
    other tools can make vectors of it."""

    id: str
    about: str
    dtype: str
    tokens: int
    requests: int
    rounds: int
    rounds_of_others: int
    texts: int
    toy: bool
    prepare: Callable[["BenchmarkModel", Path], Prepared]

    def prepared(self, cache: Path = CACHE) -> Prepared:
        """The folder, made now unless it is there; minutes for a large one."""
        return self.prepare(self, cache)


def endless_demo(model: BenchmarkModel, cache: Path) -> Prepared:
    """A copy of the demo Qwen2 whose only end token is one it was never taught to say; always made anew."""
    folder = cache / model.id
    shutil.copytree(MODELS_DIR / "qwen2", folder, dirs_exist_ok=True)
    end = _special_ids(folder)["<|endoftext|>"]
    for name in ("config.json", "generation_config.json"):
        _change_json(folder / name, eos_token_id=end)
    _change_json(folder / "tokenizer_config.json", eos_token="<|endoftext|>")
    # The demo's own vectors come with the package and fit, since they go by the weights.
    return Prepared(folder, cache / "no-vectors", _end_ids(folder))


def random_shape(**sizes: object) -> Callable[[BenchmarkModel, Path], Prepared]:
    """A Qwen2 with these sizes and random weights, with the demo's tokenizer filled up to its vocabulary."""

    def prepare(model: BenchmarkModel, cache: Path) -> Prepared:
        folder = cache / f"{model.id}-{model.dtype}"
        vectors = cache / f"{folder.name}-vectors"
        if not folder.is_dir():
            making = folder.with_name(f"{folder.name}.making")
            shutil.rmtree(making, ignore_errors=True)
            write_random_model(making, Qwen2Config(**sizes), getattr(torch, model.dtype))
            making.rename(folder)
        if not vectors.is_dir():
            write_random_vectors(vectors, model.id, folder)
        return Prepared(folder, vectors, _end_ids(folder))

    return prepare


def write_random_model(folder: Path, config: Qwen2Config, dtype: torch.dtype) -> None:
    """Write configuration, tokenizer and weights, a shard at a time: memory is needed for one shard only."""
    folder.mkdir(parents=True)
    write_tokenizer(folder, config.vocab_size)
    ends = list(_end_ids(folder))
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


def write_random_vectors(folder: Path, model_id: str, weights: Path) -> None:
    """A vector of each built-in trait: random directions half a residual norm long, over every generated token, each
    at a block of its own in the middle of the model."""
    config = Qwen2Config.from_pretrained(weights)
    rng = np.random.default_rng(0)
    shape = (config.num_hidden_layers, config.hidden_size)
    store = VectorStore([folder])
    for number, trait in enumerate(load_traits().values()):
        choice = PoleChoice(
            block=config.num_hidden_layers // 2 + number, span="response", positions="response", relative_dose=0.5
        )
        store.save(
            PersonaVector(
                model_id=model_id,
                fingerprint=weights_fingerprint(weights),
                trait=trait.id,
                positive=trait.positive,
                negative=trait.negative,
                n_layers=shape[0],
                hidden_size=shape[1],
                created="2025-01-01T00:00:00Z",
                software_version="benchmark",
                method="random directions, to measure speed",
                poles=dict.fromkeys(SIDES, choice),
                means={"response": {name: rng.standard_normal(shape, np.float32) for name in CONDITIONS}},
                residual_norms={"response": np.full(shape[0], shape[1] ** 0.5, np.float32)},
            )
        )


def _end_ids(folder: Path) -> tuple[int, ...]:
    special = _special_ids(folder)
    return special["<|im_end|>"], special["<|endoftext|>"]


def _special_ids(folder: Path) -> dict[str, int]:
    content = json.loads((folder / "tokenizer.json").read_text("utf-8"))
    return {token["content"]: token["id"] for token in content["added_tokens"]}


def _change_json(path: Path, **values: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | values, indent=2), "utf-8")


DEMO = BenchmarkModel(
    id="demo-qwen2",
    about="the demo Qwen2, 6 blocks of width 256, 5.5 M parameters",
    dtype="float32",
    tokens=64,
    requests=8,
    rounds=9,
    rounds_of_others=1,
    texts=80,
    toy=True,
    prepare=endless_demo,
)
HALF_BILLION = BenchmarkModel(
    id="qwen2.5-0.5b",
    about="the shape of Qwen2.5-0.5B with random weights, 24 blocks of width 896, 494 M parameters",
    dtype="float32",
    tokens=16,
    requests=2,
    rounds=4,
    rounds_of_others=1,
    texts=8,
    toy=False,
    prepare=random_shape(
        vocab_size=151936,
        hidden_size=896,
        intermediate_size=4864,
        num_hidden_layers=24,
        num_attention_heads=14,
        num_key_value_heads=2,
        max_position_embeddings=32768,
        tie_word_embeddings=True,
        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
    ),
)
SEVEN_BILLION = BenchmarkModel(
    id="qwen2.5-7b",
    about="the shape of Qwen2.5-7B with random weights, 28 blocks of width 3584, 7.6 B parameters",
    dtype="bfloat16",
    tokens=128,
    requests=4,
    rounds=5,
    rounds_of_others=1,
    texts=80,
    toy=False,
    prepare=random_shape(
        vocab_size=152064,
        hidden_size=3584,
        intermediate_size=18944,
        num_hidden_layers=28,
        num_attention_heads=28,
        num_key_value_heads=4,
        max_position_embeddings=32768,
        tie_word_embeddings=False,
        rope_parameters={"rope_type": "default", "rope_theta": 1000000.0},
    ),
)
MODELS = {model.id: model for model in (DEMO, HALF_BILLION, SEVEN_BILLION)}


def usual(device: str) -> list[BenchmarkModel]:
    """What is measured on such a device when nobody says otherwise."""
    return [DEMO, SEVEN_BILLION if device == "cuda" else HALF_BILLION]
