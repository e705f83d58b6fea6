"""What steering costs at the shape of Qwen2.5-7B on a GPU: recorded steps, mixed batches, extraction and judging.

In this process, without HTTP, on random weights that are made on the device, so that nothing has to be downloaded or
read from disk: speed does not depend on what weights say. The whole takes at most eight minutes:
`python -m tests.benchmarks.gpu --out FILE.json` prints tables and keeps every round in the file.
"""

import argparse
import json
import queue
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from random import Random
from typing import Any
from unittest.mock import patch

import numpy as np
import torch
import transformers
from transformers import GenerationConfig, Qwen2Config, Qwen2ForCausalLM

from proxy.engines.base import (
    Event,
    Failure,
    Finish,
    Generation,
    Intervention,
    ModelInfo,
    Plan,
    Probe,
    Rollout,
    Sampling,
    Token,
)
from proxy.engines.blocking import generate_all
from proxy.engines.transformers import loading
from proxy.engines.transformers.engine import TransformersEngine
from proxy.engines.transformers.graphs import DecodeGraphs
from proxy.engines.transformers.runner import ModelRunner
from tests.benchmarks.random_model import end_ids, write_tokenizer

QWEN_7B: dict[str, Any] = {
    "vocab_size": 152064,
    "hidden_size": 3584,
    "intermediate_size": 18944,
    "num_hidden_layers": 28,
    "num_attention_heads": 28,
    "num_key_value_heads": 4,
    "max_position_embeddings": 32768,
    "tie_word_embeddings": False,
    "rope_parameters": {"rope_type": "default", "rope_theta": 1000000.0},
}
TINY: dict[str, Any] = QWEN_7B | {
    "vocab_size": 4096,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 4,
    "num_attention_heads": 4,
}
SHAPES = {"qwen2.5-7b": QWEN_7B, "tiny": TINY}
PROMPT_TOKENS = 32
TOKENS = 96  # of an answer
COMPARED = 16  # answers
COMPARED_TOKENS = 32  # of each
DOSE = 0.5  # relative, of every steered answer
WAYS = ("plain steps", "unsteered", "one persona", "all different", "all different, traced")
LIMIT_S = 420  # no further round begins after it


def made_engine(shape: dict[str, Any], device: torch.device, max_batch: int) -> TransformersEngine:
    """An engine over random weights. Logits of the end tokens are zero, so no answer ends by itself."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_tokenizer(folder, shape["vocab_size"])
        ends = list(end_ids(folder))
        (folder / "config.json").write_text(json.dumps({"model_type": "qwen2"}))
        tokenizer = loading.load_tokenizer(folder)
    config = Qwen2Config(**shape)
    dtype = loading.choose_dtype("auto", device)
    torch.manual_seed(0)
    with torch.device(device):
        network = Qwen2ForCausalLM._from_config(config, dtype=dtype)
    network.generation_config = GenerationConfig(eos_token_id=ends, pad_token_id=ends[1])
    with torch.no_grad():
        network.get_output_embeddings().weight[ends] = 0
    info = ModelInfo(
        id="random",
        family="qwen2",
        n_layers=config.num_hidden_layers,
        hidden_size=config.hidden_size,
        context_length=4096,
        fingerprint="random",
        engine="transformers",
        device=str(device),
        dtype=str(dtype).removeprefix("torch."),
    )
    return TransformersEngine(info, ModelRunner(network), tokenizer, max_batch)


def generations(info: ModelInfo, vocabulary: int, way: str, count: int, seed: int) -> list[Generation]:
    """So many answers to different prompts of random tokens, steered as `way` says."""
    rng = np.random.default_rng(seed)
    prompts = rng.integers(300, min(vocabulary, 2000), size=(count, PROMPT_TOKENS)).tolist()
    sampling = Sampling(TOKENS, temperature=0.7)
    plans, probes = [Plan()] * count, tuple[Probe, ...]()
    if way == "one persona":
        plans = [_plan(info, rng, 0)] * count
    elif way.startswith("all different"):
        plans = [_plan(info, rng, number) for number in range(count)]
    if way.endswith("traced"):
        direction = rng.standard_normal(info.hidden_size).astype(np.float32)
        probes = (Probe(info.n_layers // 2 - 2, direction, 0.0),)
    return [
        Generation(prompt, replace(sampling, seed=seed * 1000 + number), plan, probes)
        for number, (prompt, plan) in enumerate(zip(prompts, plans, strict=True))
    ]


def _plan(info: ModelInfo, rng: np.random.Generator, number: int) -> Plan:
    """A random direction over the response, at one of four blocks in the middle, as the built-in traits' may be."""
    vector = rng.standard_normal(info.hidden_size).astype(np.float32)
    vector *= DOSE * info.hidden_size**0.5 / np.linalg.norm(vector)
    return Plan((Intervention(info.n_layers // 2 - 2 + number % 4, "response", "add", vector=vector),))


def events_of(engine: TransformersEngine, batch: Sequence[Generation]) -> Iterator[tuple[int, float, Token]]:
    """Every token of a batch that runs together: whose it is, and when it came, in seconds."""
    events: queue.SimpleQueue[tuple[int, float, Event]] = queue.SimpleQueue()

    def noting(number: int) -> Callable[[Event], None]:
        return lambda event: events.put((number, time.perf_counter(), event))

    for number, generation in enumerate(batch):
        engine.start(generation, noting(number))
    left = len(batch)
    while left:
        number, at, event = events.get()
        if isinstance(event, Failure):
            raise event.error
        if isinstance(event, Finish):
            left -= 1
        else:
            yield number, at, event


def decoding_speed(engine: TransformersEngine, batch: Sequence[Generation]) -> float:
    """Tokens per second while all of the batch are running: after everyone's first token, before anyone's last."""
    times: list[list[float]] = [[] for _ in batch]
    for number, at, _ in events_of(engine, batch):
        times[number].append(at)
    first, last = max(each[0] for each in times), min(each[-1] for each in times)
    return sum(first < at <= last for each in times for at in each) / (last - first)


@contextmanager
def without_recordings() -> Iterator[None]:
    """Every step is run kernel by kernel, as where a model can't be recorded."""
    with patch.object(DecodeGraphs, "decode", return_value=None):
        yield


def measured_decoding(
    engine: TransformersEngine, vocabulary: int, counts: Sequence[int], rounds: int, began: float
) -> dict[str, dict[str, list[float]]]:
    """Tokens per second by number of requests and way, of each round; ways take turns within a round."""
    speeds: dict[str, dict[str, list[float]]] = {str(count): {way: [] for way in WAYS} for count in counts}
    for number in range(-1, rounds):  # the first round records and is not counted
        for count in counts:
            for way in WAYS[number % len(WAYS) :] + WAYS[: number % len(WAYS)]:
                if number > 0 and time.perf_counter() - began > LIMIT_S:
                    return speeds
                batch = generations(engine.info, vocabulary, way, count, number + 2)
                if way == "plain steps":
                    with without_recordings():
                        speed = decoding_speed(engine, batch)
                else:
                    speed = decoding_speed(engine, batch)
                if number >= 0:
                    speeds[str(count)][way].append(round(speed, 1))
        _say(f"round {number + 1} of {rounds}", began)
    return speeds


def compared(engine: TransformersEngine, vocabulary: int) -> dict[str, float]:
    """Recorded against plain steps, greedily: `equal`, the share of differently steered answers that have the same
    tokens; `largest_difference` of log-probabilities up to the first token that differs; and `steered`, the share of
    answers that steering changed, or the comparison would show nothing."""
    batch = generations(engine.info, vocabulary, "all different", COMPARED, 99)
    sampling = Sampling(COMPARED_TOKENS, temperature=0.0, top_logprobs=0)
    greedy = [replace(each, sampling=sampling) for each in batch]
    unsteered = [replace(each, plan=Plan()) for each in greedy]
    recorded = _logprobs(engine, greedy)
    with without_recordings():
        plain = _logprobs(engine, greedy)
    differences = [
        abs(mine[1] - other[1]) for one, two in zip(recorded, plain, strict=True) for mine, other in _common(one, two)
    ]
    changed = [
        a.token_ids != b.token_ids
        for a, b in zip(*(generate_all(engine, some) for some in (greedy, unsteered)), strict=True)
    ]
    return {
        "equal": statistics.mean(
            [token for token, _ in one] == [token for token, _ in two] for one, two in zip(recorded, plain, strict=True)
        ),
        "largest_difference": max(differences, default=0.0),
        "steered": statistics.mean(changed),
    }


def _common(
    one: list[tuple[int, float]], two: list[tuple[int, float]]
) -> Iterator[tuple[tuple[int, float], tuple[int, float]]]:
    for mine, other in zip(one, two, strict=False):
        yield mine, other
        if mine[0] != other[0]:
            return


def _logprobs(engine: TransformersEngine, batch: Sequence[Generation]) -> list[list[tuple[int, float]]]:
    """Of each answer its tokens with their log-probabilities, all made in one batch."""
    found: list[list[tuple[int, float]]] = [[] for _ in batch]
    for number, _, token in events_of(engine, batch):
        found[number].append((token.id, 0.0 if token.logprob is None else token.logprob))
    return found


def reading_speed(engine: TransformersEngine, rounds: int) -> dict[str, dict[str, float]]:
    """Texts and tokens per second, the median of `rounds`: of reading residuals as extraction does, and of scoring
    answers as the likelihood judge does."""
    rng = Random(0)
    rollouts = [
        Rollout(
            [rng.randrange(300, 2000) for _ in range(48)],
            [rng.randrange(300, 2000) for _ in range(rng.randint(50, 150))],
        )
        for _ in range(128)
    ]
    n_tokens = sum(len(each.prompt) + len(each.response) for each in rollouts)
    ways: dict[str, Callable[[], object]] = {
        "extraction (capture)": lambda: engine.capture(rollouts, ["last_prompt", "response"]),
        "judging (score)": lambda: engine.score(rollouts),
    }
    found = {}
    for name, way in ways.items():
        way()
        times = []
        for _ in range(rounds):
            began = time.perf_counter()
            way()
            times.append(time.perf_counter() - began)
        took = statistics.median(times)
        found[name] = {"texts_per_s": round(len(rollouts) / took, 1), "tokens_per_s": round(n_tokens / took, 1)}
    return found


def tables(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    lines = [
        f"{result['gpu']}, torch {result['torch']}, transformers {result['transformers']}; {result['shape']} with "
        f"random weights in {result['dtype']}; {TOKENS} tokens to an answer, medians of "
        f"up to {result['rounds']} rounds.",
        "",
        "| requests | " + " | ".join(WAYS) + " | all different over unsteered | traced over unsteered |",
        "| --- " * (len(WAYS) + 3) + "|",
    ]
    for count, ways in result["decoding"].items():
        speeds = {way: statistics.median(found) for way, found in ways.items() if found}
        cells = [f"{speeds[way]:,.0f}" if way in speeds else "-" for way in WAYS]
        ratios = [_ratio(ways[way], ways["unsteered"]) for way in ("all different", "all different, traced")]
        lines.append(f"| {count} | " + " | ".join([*cells, *ratios]) + " |")
    check = result["recorded_against_plain"]
    lines += [
        "",
        f"Recorded: {result['recorded']}. Recorded steps against plain ones, 16 differently steered answers of 32 "
        f"tokens, greedy: {check['equal']:.0%} have the same tokens; log-probabilities differ by at most "
        f"{check['largest_difference']:.4f} up to the first token that differs; "
        f"steering changed {check['steered']:.0%}.",
        "",
        "| reading | texts per second | tokens per second |",
        "| --- | --- | --- |",
        *(f"| {name} | {v['texts_per_s']:,} | {v['tokens_per_s']:,} |" for name, v in result["reading"].items()),
        "",
        f"Memory: {result['weights_gb']:.1f} GB of weights, {result['peak_gb']:.1f} GB at the peak.",
    ]
    return "\n".join(lines)


def _ratio(mine: list[float], others: list[float]) -> str:
    """The median over rounds of one speed over another, with the least and the most."""
    ratios = sorted(a / b for a, b in zip(mine, others, strict=False))
    return f"{statistics.median(ratios):.3f} ({ratios[0]:.3f} to {ratios[-1]:.3f})" if ratios else "-"


def _say(what: str, began: float) -> None:
    print(f"{time.perf_counter() - began:6.1f} s  {what}", file=sys.stderr, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--shape", choices=SHAPES, default="qwen2.5-7b", help="tiny is for trying the script on a CPU")
    parser.add_argument("--requests", type=int, nargs="+", default=[1, 8, 32, 128])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--out", type=Path, metavar="FILE", help="where every round is kept, as JSON")
    args = parser.parse_args()
    began = time.perf_counter()
    device = loading.choose_device(args.device)
    shape = SHAPES[args.shape]
    engine = made_engine(shape, device, max(args.requests))
    on_cuda = device.type == "cuda"
    _say("weights made", began)
    result: dict[str, Any] = {
        "gpu": torch.cuda.get_device_name(device) if on_cuda else "CPU",
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "shape": args.shape,
        "dtype": engine.info.dtype,
        "rounds": args.rounds,
        "weights_gb": torch.cuda.memory_allocated(device) / 1e9 if on_cuda else 0.0,
    }
    with patch.object(DecodeGraphs, "_give_up", autospec=True, side_effect=DecodeGraphs._give_up) as given_up:
        result["recorded_against_plain"] = compared(engine, shape["vocab_size"])
        _say(f"recorded against plain steps: {result['recorded_against_plain']}", began)
        result["reading"] = reading_speed(engine, 3)
        _say(f"reading: {result['reading']}", began)
        result["decoding"] = measured_decoding(engine, shape["vocab_size"], args.requests, args.rounds, began)
        reasons = [call.args[1] for call in given_up.call_args_list]
    result["recorded"] = "no, there is no GPU" if not on_cuda else f"no: {reasons[0]}" if reasons else "yes"
    result["peak_gb"] = torch.cuda.max_memory_allocated(device) / 1e9 if on_cuda else 0.0
    engine.close()
    if args.out:
        args.out.write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(tables(result))


if __name__ == "__main__":
    main()
