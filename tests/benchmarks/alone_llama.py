"""llama-cpp-python's `Llama`, one request at a time, unsteered: what a script does with a GGUF file.

Runs in a process of its own, which the environment tells how many threads to use:
`python -m tests.benchmarks.alone_llama FILE --tokens 64 --requests 8 --rounds 3` prints each round's tokens per second.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import torch
from llama_cpp import Llama
from llama_cpp.llama_types import ChatCompletionRequestUserMessage

from tests.benchmarks.alone import speeds
from tests.benchmarks.servers import QUESTION

CONTEXT_LENGTH = 2048


def rounds(file: Path, device: str, tokens: int, requests: int, n_rounds: int) -> list[float]:
    """Completion tokens per second of each round, after one request to warm up."""
    model = Llama(
        str(file),
        n_ctx=CONTEXT_LENGTH,
        n_gpu_layers=-1 if device == "cuda" else 0,
        n_threads=torch.get_num_threads(),
        n_threads_batch=torch.get_num_threads(),
        verbose=False,
    )

    def answer(number: int) -> int:
        asked = ChatCompletionRequestUserMessage(role="user", content=f"{number:05} {QUESTION}")
        made = model.create_chat_completion([asked], max_tokens=tokens, temperature=0)
        assert not isinstance(made, Iterator)  # which is what it is when streamed
        return int(made["usage"]["completion_tokens"])

    return speeds(answer, requests, n_rounds)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--device", default="cpu")
    for name in ("tokens", "requests", "rounds"):
        parser.add_argument(f"--{name}", type=int, required=True)
    args = parser.parse_args()
    print(json.dumps(rounds(args.file, args.device, args.tokens, args.requests, args.rounds)))
