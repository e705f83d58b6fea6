"""What steering costs on vLLM: many requests at once, each with a vector of its own, against the same ones unsteered.

Rounds take turns, and which of both comes first as well, so that what else the machine does falls on both. Run where
vLLM is installed: python -m tests.benchmarks.steered_vllm FOLDER_OR_GGUF_FILE
"""

import argparse
import json
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np

from proxy.engines.base import Engine, Generation, Intervention, Plan, Sampling
from proxy.engines.blocking import generate_all
from proxy.engines.vllm.engine import load
from proxy.settings import ModelSettings
from tests.engines.vllm.dequantised import write_folder


def plans(engine: Engine, n_plans: int) -> list[Plan]:
    """As many vectors, in the middle of the model, which move its answers little."""
    rng = np.random.default_rng(0)
    block = engine.info.n_layers // 2
    vectors = rng.normal(size=(n_plans, engine.info.hidden_size), scale=0.01).astype(np.float32)
    return [Plan((Intervention(block, "response", "add", vector=vector),)) for vector in vectors]


def tokens_per_s(engine: Engine, steering: list[Plan], n_tokens: int) -> float:
    """Of all requests together, which get as many tokens each."""
    vocabulary = range(5, 2000)
    prompts = [list(vocabulary[at * 16 : at * 16 + 16]) for at in range(len(steering))]
    stops = {token: -100.0 for token in engine._speaker.stops}  # type: ignore[attr-defined]
    rules = Sampling(n_tokens, temperature=0, logit_bias=stops)
    asked = [Generation(prompt, rules, plan, raw=True) for prompt, plan in zip(prompts, steering, strict=True)]
    began = time.perf_counter()
    answers = generate_all(engine, asked)
    return sum(len(answer.token_ids) for answer in answers) / (time.perf_counter() - began)


def measured(model: Path, n_requests: int, n_tokens: int, n_rounds: int) -> list[tuple[float, float]]:
    """Tokens per second of each round, steered and unsteered."""
    engine = load(ModelSettings("model", str(model), engine="vllm"), n_requests)
    try:
        both = plans(engine, n_requests), [Plan()] * n_requests
        for steering in both:
            tokens_per_s(engine, steering, n_tokens)
        rounds = []
        for number in range(n_rounds):
            order = (0, 1) if number % 2 == 0 else (1, 0)
            found = {at: tokens_per_s(engine, both[at], n_tokens) for at in order}
            rounds.append((found[0], found[1]))
            print(f"round {number + 1}: {found[0]:.1f} {found[1]:.1f} {found[0] / found[1]:.3f}", flush=True)
        return rounds
    finally:
        engine.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path, help="a folder, or a GGUF file, which is run in full precision")
    parser.add_argument("--requests", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        in_full = args.model.suffix == ".gguf"
        if in_full:
            write_folder(args.model, Path(folder))
        rounds = measured(Path(folder) if in_full else args.model, args.requests, args.tokens, args.rounds)
    ratios = sorted(mixed / plain for mixed, plain in rounds)
    found = {
        "requests": args.requests,
        "steered_tokens_per_s": round(statistics.median(mixed for mixed, _ in rounds), 1),
        "unsteered_tokens_per_s": round(statistics.median(plain for _, plain in rounds), 1),
        "ratio": round(statistics.median(ratios), 3),
        "lowest_ratio": round(ratios[0], 3),
        "highest_ratio": round(ratios[-1], 3),
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
