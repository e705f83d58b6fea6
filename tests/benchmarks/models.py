"""The models the benchmarks run: demo models that never stop, and real shapes with random weights.

Speed does not depend on what the weights say, so a shape of a real size needs no download. Nothing here says how well
anything is steered: the vectors of all but the demo Qwen2 are random directions with a plausible dose, eight personas
that cost what eight real ones do. Folders and files are made in the user's cache and kept there.

Every answer has to be as long as was asked for, or servers could not be compared: the demo Qwen2's copy is told of an
end token it never says, and in all others the end tokens' logits are zero, which is never the highest.
"""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import platformdirs
import torch
from transformers import Qwen2Config

from proxy.demo.models import MODELS_DIR
from proxy.engines.transformers.loading import weights_fingerprint
from tests.benchmarks import gguf_files
from tests.benchmarks.random_model import end_ids, special_ids, write_random_model, write_random_vectors

CACHE = platformdirs.user_cache_path("persona-proxy", appauthor=False) / "benchmarks"

Engine = Literal["transformers", "llama_cpp"]


@dataclass(frozen=True)
class Prepared:
    """A model on disk: its folder or GGUF file, the folder of the vectors that belong to it, and the tokens that end a
    turn in its template, whatever its configuration says."""

    path: Path
    vectors: Path
    end_ids: tuple[int, ...]


@dataclass(frozen=True)
class BenchmarkModel:
    """One model to measure, and how much of it: `tokens` to an answer, at least `requests` answers to a burst,
    `rounds` of bursts for our own server and `rounds_of_others` for the rest, `texts` to read residuals from, if any.
    `toy`: whether it is small, so that one thread may be faster than all, which is then tried, and trained, so that
    other tools can make vectors of it. `engine`: what runs it; llama_cpp takes a GGUF file, in whatever `dtype`."""

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
    engine: Engine = "transformers"

    def prepared(self, cache: Path = CACHE) -> Prepared:
        """The folder or file, made now unless it is there; minutes for a large one."""
        return self.prepare(self, cache)

    def place(self, device: str) -> list[str]:
        """The flags of our own commands that say where it runs, and in what precision, if it can be chosen."""
        return ["--device", device, *(["--dtype", self.dtype] if self.engine == "transformers" else [])]


def endless_demo(model: BenchmarkModel, cache: Path) -> Prepared:
    """A copy of the demo Qwen2 whose only end token is one it was never taught to say; always made anew."""
    folder = cache / model.id
    shutil.copytree(MODELS_DIR / "qwen2", folder, dirs_exist_ok=True)
    end = special_ids(folder)["<|endoftext|>"]
    for name in ("config.json", "generation_config.json"):
        _change_json(folder / name, eos_token_id=end)
    _change_json(folder / "tokenizer_config.json", eos_token="<|endoftext|>")
    # The demo's own vectors come with the package and fit, since they go by the weights.
    return Prepared(folder, cache / "no-vectors", end_ids(folder))


def endless_gguf_demo(model: BenchmarkModel, cache: Path) -> Prepared:
    """A copy of the demo GPT-OSS that never ends an answer, always made anew. Its weights are no longer the demo's, so
    its vectors are random ones."""
    file = cache / f"{model.id}.gguf"
    cache.mkdir(parents=True, exist_ok=True)
    gguf_files.copy_endless(MODELS_DIR / "gpt-oss" / "model-f16.gguf", file)
    return with_vectors(model, file, cache)


def random_shape(**sizes: Any) -> Callable[[BenchmarkModel, Path], Prepared]:
    """A Qwen2 with these sizes and random weights, with the demo's tokenizer filled up to its vocabulary."""

    def prepare(model: BenchmarkModel, cache: Path) -> Prepared:
        folder = cache / f"{model.id}-{model.dtype}"
        vectors = cache / f"{folder.name}-vectors"
        config = Qwen2Config(**sizes)
        if not folder.is_dir():
            making = folder.with_name(f"{folder.name}.making")
            shutil.rmtree(making, ignore_errors=True)
            write_random_model(making, config, getattr(torch, model.dtype))
            making.rename(folder)
        if not vectors.is_dir():
            fingerprint = weights_fingerprint(folder)
            write_random_vectors(vectors, model.id, fingerprint, config.num_hidden_layers, config.hidden_size)
        return Prepared(folder, vectors, end_ids(folder))

    return prepare


def made_of(source: BenchmarkModel, write: Callable[[Path, Path], None]) -> Callable[[BenchmarkModel, Path], Prepared]:
    """The GGUF file that `write` makes of another model's folder or file."""

    def prepare(model: BenchmarkModel, cache: Path) -> Prepared:
        file = cache / f"{model.id}.gguf"
        if not file.is_file():
            making = file.with_suffix(".making")
            write(source.prepared(cache).path, making)
            making.rename(file)
        return with_vectors(model, file, cache)

    return prepare


def with_vectors(model: BenchmarkModel, file: Path, cache: Path) -> Prepared:
    """A file with random vectors, made anew."""
    vectors = cache / f"{model.id}-vectors"
    gguf_files.write_vectors(vectors, model.id, file)
    return Prepared(file, vectors, gguf_files.end_ids(file))


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
    rounds=2,
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
GGUF_DEMO = BenchmarkModel(
    id="demo-gpt-oss-gguf",
    about="the demo GPT-OSS, 5 blocks of width 192, 4 experts, 4.7 M parameters",
    dtype="float16",
    tokens=64,
    requests=8,
    rounds=9,
    rounds_of_others=1,
    texts=0,
    toy=True,
    prepare=endless_gguf_demo,
    engine="llama_cpp",
)
HALF_BILLION_F16 = replace(
    HALF_BILLION,
    id="qwen2.5-0.5b-gguf-f16",
    dtype="float16",
    rounds=3,
    texts=0,
    prepare=made_of(HALF_BILLION, gguf_files.export),
    engine="llama_cpp",
)
HALF_BILLION_Q8_0 = replace(
    HALF_BILLION_F16,
    id="qwen2.5-0.5b-gguf-q8_0",
    dtype="Q8_0",
    prepare=made_of(HALF_BILLION_F16, gguf_files.quantise),
)
# Not measured by itself: for what servers cost beside their model.
TINY = replace(
    DEMO,
    id="tiny",
    about="9 blocks of width 64 with random weights",
    toy=False,
    prepare=random_shape(
        vocab_size=4096,
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=9,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=2048,
        tie_word_embeddings=True,
    ),
)
TINY_GGUF = replace(TINY, id="tiny-gguf", dtype="float16", prepare=made_of(TINY, gguf_files.export), engine="llama_cpp")
MODELS = {
    model.id: model for model in (DEMO, HALF_BILLION, SEVEN_BILLION, GGUF_DEMO, HALF_BILLION_F16, HALF_BILLION_Q8_0)
}


def usual(device: str) -> list[BenchmarkModel]:
    """What is measured on such a device when nobody says otherwise."""
    if device == "cuda":
        return [DEMO, SEVEN_BILLION]
    return [DEMO, HALF_BILLION, GGUF_DEMO, HALF_BILLION_F16, HALF_BILLION_Q8_0]
