"""Reading residuals, as extraction does: the engine's `capture` against a plain loop, one text at a time.

Both give each text's mean residual over its response, and its last prompt token's, at every block. Runs in a process
of its own, which the environment tells how many threads to use: `python -m tests.benchmarks.extraction ID FOLDER
--texts 40 --rounds 3` prints texts per second.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any

import torch
from transformers import AutoModelForCausalLM

from proxy.engines.base import Engine, Rollout
from proxy.engines.registry import load_engine
from proxy.settings import ModelSettings
from proxy.steering.traits.trait import load_traits

RESPONSE_TOKENS = (20, 100)  # the shortest and the longest


def texts(engine: Engine, count: int) -> list[Rollout]:
    """Prompts of the built-in traits with responses of random tokens, as long as answers are."""
    rng = Random(0)
    trait = load_traits()["silly"]
    found = []
    for number in range(count):
        system, question = trait.instructions[number % 5].positive, trait.questions.extract[number % 20]
        prompt = engine.render([{"role": "system", "content": system}, {"role": "user", "content": question}])
        found.append(Rollout(prompt, [rng.randrange(256) for _ in range(rng.randint(*RESPONSE_TOKENS))]))
    return found


def loop(network: Any, device: str, rollouts: list[Rollout]) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """What a script does: per text float32[n_layers, hidden] of the last prompt token, and of the response's mean."""
    found = []
    with torch.inference_mode():
        for rollout in rollouts:
            tokens = torch.tensor([[*rollout.prompt, *rollout.response]], device=device)
            hidden = torch.stack(network(tokens, output_hidden_states=True).hidden_states[1:])[:, 0].float()
            end = len(rollout.prompt)
            found.append((hidden[:, end - 1].cpu(), hidden[:, end:].mean(dim=1).cpu()))
    return found


def rounds(settings: ModelSettings, count: int, n_rounds: int) -> dict[str, list[float]]:
    """Texts per second of both, in turn, after a quarter of the texts to warm up."""
    engine = load_engine(settings, 1)
    try:
        device = engine.info.device
        dtype = getattr(torch, engine.info.dtype)
        # Any: transformers wraps `to` so that mypy misreads it.
        network: Any = AutoModelForCausalLM.from_pretrained(settings.source, dtype=dtype)
        network.to(device).eval()
        rollouts = texts(engine, count)
        ways: dict[str, Callable[[list[Rollout]], object]] = {
            "engine": lambda some: engine.capture(some, ["last_prompt", "response"]),
            "loop": lambda some: loop(network, device, some),
        }
        for way in ways.values():
            way(rollouts[: count // 4])
        speeds: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(n_rounds):
            for name, way in ways.items():
                began = time.perf_counter()
                way(rollouts)
                speeds[name].append(round(count / (time.perf_counter() - began), 2))
        return speeds
    finally:
        engine.close()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("id")
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    for flag in ("texts", "rounds"):
        parser.add_argument(f"--{flag}", type=int, required=True)
    args = parser.parse_args()
    model = ModelSettings(args.id, str(args.folder), device=args.device, dtype=args.dtype)
    print(json.dumps(rounds(model, args.texts, args.rounds)))
