"""`generate` with a forward hook, one request at a time: what a first prototype of steering does.

Runs in a process of its own, which the environment tells how many threads to use:
`python -m tests.benchmarks.alone FOLDER --tokens 64 --requests 8 --rounds 3` prints tokens per second of each round.
"""

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, BatchEncoding

from tests.benchmarks.servers import QUESTION


def rounds(folder: Path, device: str, dtype: str, tokens: int, requests: int, n_rounds: int) -> list[float]:
    """Completion tokens per second of each round, after one request to warm up."""
    tokenizer = AutoTokenizer.from_pretrained(folder)
    # Any: transformers wraps `to` so that mypy misreads it, and adds `generate` where mypy sees none.
    network: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype))
    network.to(device).eval()
    blocks = network.get_decoder().layers
    vector = torch.randn(network.config.hidden_size, generator=torch.Generator().manual_seed(0))
    vector = vector.to(device, network.dtype)
    blocks[len(blocks) // 2].register_forward_hook(
        lambda module, args, output: (output[0] + vector, *output[1:]) if isinstance(output, tuple) else output + vector
    )

    def answer(number: int) -> int:
        messages = [{"role": "user", "content": f"{number:05} {QUESTION}"}]
        prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_tensors="pt")
        assert isinstance(prompt, BatchEncoding)
        made = network.generate(**prompt.to(device), max_new_tokens=tokens, do_sample=False)
        return int(made.shape[1] - prompt["input_ids"].shape[1])

    with torch.inference_mode():
        return speeds(answer, requests, n_rounds)


def speeds(answer: Callable[[int], int], requests: int, n_rounds: int) -> list[float]:
    """Tokens per second of each round of `answer`, which gets a number and returns how many tokens it made."""
    answer(0)
    found = []
    for turn in range(n_rounds):
        began = time.perf_counter()
        made = sum(answer(1 + turn * requests + number) for number in range(requests))
        found.append(round(made / (time.perf_counter() - began), 2))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--dtype", default="float32")
    for name in ("tokens", "requests", "rounds"):
        parser.add_argument(f"--{name}", type=int, required=True)
    args = parser.parse_args()
    print(json.dumps(rounds(args.folder, args.device, args.dtype, args.tokens, args.requests, args.rounds)))
