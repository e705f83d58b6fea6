"""Time and memory of fitting a map between models as wide as Qwen2.5-7B and GPT-OSS-20B, with few and narrow blocks of
random weights: python -m tests.benchmarks.transfer [documents]

Memory is counted beyond the loaded models; it must not grow with the documents.
"""

import resource
import sys
import tempfile
import threading
import time
from pathlib import Path
from random import Random

import psutil
import torch
from transformers import Qwen2Config

from proxy.engines.base import Rollout
from proxy.engines.registry import load_engine
from proxy.settings import ModelSettings
from proxy.steering.transfer.fit import Corpus, fit
from proxy.steering.transfer.pairs import Document
from proxy.steering.transfer.text import built_in_lists, system_prompts
from proxy.steering.work import Work
from tests.benchmarks.random_model import write_random_model

WIDTHS = {"source": 3584, "target": 2880}
BLOCKS, HEAD, INTERMEDIATE, VOCABULARY = 2, 64, 512, 3072
SENTENCES = 6  # of each answer: about a hundred tokens
N_QUESTIONS = 9  # too few different prompts for maps of the last prompt token: one map is what is measured


def write_models(folder: Path) -> list[ModelSettings]:
    """Both, in float32."""
    for name, width in WIDTHS.items():
        config = Qwen2Config(
            vocab_size=VOCABULARY,
            hidden_size=width,
            intermediate_size=INTERMEDIATE,
            num_hidden_layers=BLOCKS,
            num_attention_heads=width // HEAD,
            num_key_value_heads=1,
            max_position_embeddings=1024,
            tie_word_embeddings=True,
        )
        write_random_model(folder / name, config, torch.float32)
    return [ModelSettings(id=name, source=str(folder / name), device="cpu") for name in WIDTHS]


def corpus(n_documents: int) -> Corpus:
    """Answers of as many sentences, in random order, to a few questions."""
    rng, lists = Random(0), built_in_lists()
    sentences = [*system_prompts(lists), *lists.questions]
    documents = [
        Document(None, f"Tell me something, number {number % N_QUESTIONS}.", " ".join(rng.sample(sentences, SENTENCES)))
        for number in range(n_documents)
    ]
    return Corpus(documents, "sentences in random order")


def main(n_documents: int) -> None:
    """Print what fitting one map takes."""
    process = psutil.Process()
    with tempfile.TemporaryDirectory() as name:
        source, target = (load_engine(model, 32) for model in write_models(Path(name)))
        for engine in (source, target):  # weights are in memory once they have been used
            engine.capture_tokens([Rollout(engine.encode(" ".join(built_in_lists().questions)))], "last_prompt", [0])
        before, peak, done = process.memory_info().rss, 0, threading.Event()

        def watch() -> None:
            nonlocal peak
            while not done.wait(0.02):
                peak = max(peak, process.memory_info().rss)

        began: dict[str, float] = {}

        def tell(what: str, n_done: int, total: int) -> None:
            began.setdefault(what, time.monotonic())

        watcher = threading.Thread(target=watch)
        watcher.start()
        try:
            texts, kept = corpus(n_documents), Path(name) / "transfers"
            info = fit(source, target, texts, {}, kept, Work(tell), target_blocks=[BLOCKS - 1])
        finally:
            done.set()
            watcher.join()
        ended = time.monotonic()
        for engine in (source, target):
            engine.close()
    (map_,) = info.maps
    stages = [*began.items(), ("", ended)]
    for (what, start), (_, end) in zip(stages, stages[1:], strict=False):
        print(f"{what}: {end - start:.0f} s")
    used = resource.getrusage(resource.RUSAGE_SELF)
    print(f"{n_documents} documents, {map_.n_pairs} pairs, R2 {map_.r2:.3f}; {used.ru_utime:.0f} s of processor in all")
    print(f"memory beyond the models: {(peak - before) / 2**30:.2f} GiB at most")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 200)
