"""What steering costs on vLLM: many requests at once, each with a vector of its own, against the same ones unsteered.

Rounds take turns, so that what else the machine does meanwhile falls on both. Run where vLLM is installed:
python -m tests.benchmarks.steered_vllm FOLDER
"""

import argparse
import json
import statistics
import time
from pathlib import Path

import numpy as np

from proxy.engines.base import Engine, Generation, Intervention, Plan, Sampling
from proxy.engines.blocking import generate_all
from proxy.engines.vllm.engine import load
from proxy.settings import ModelSettings


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


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--requests", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=9)
    args = parser.parse_args()
    engine = load(ModelSettings("model", str(args.folder), engine="vllm"), args.requests)
    try:
        steered, unsteered = plans(engine, args.requests), [Plan()] * args.requests
        for steering in (steered, unsteered):
            tokens_per_s(engine, steering, args.tokens)
        rounds = [
            (tokens_per_s(engine, steered, args.tokens), tokens_per_s(engine, unsteered, args.tokens))
            for _ in range(args.rounds)
        ]
    finally:
        engine.close()
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
