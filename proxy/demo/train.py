"""Trains the demo models from scratch, seeded: what `persona-proxy demo train` does.

In three quarters of the examples the attention mask hides the system prompt from every token but the last one of
each prompt. Personality then has to pass through that one position's residual, which is what makes a model this
small steerable there; at inference nothing is masked.

What is to be said at that token says little of the personality, least of all in harmony, where every answer opens
with the same three tokens. So a linear probe asks for it there, during training only.
"""

import math
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import torch
from torch import nn
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, PretrainedConfig, PreTrainedModel, PreTrainedTokenizerFast

from proxy.demo.models import Example, Family, TrainingRound
from proxy.demo.styles import POLES
from proxy.demo.world import conversation

BATCH_TOKENS = 3072
POOL = 2048  # examples, of which those of like length come together
BOTTLENECK_SHARE = 0.75
PROBED_BLOCK = 1


@dataclass
class TrainingBatch:
    """ids, labels: int64[B, T], labels -100 where nothing is predicted. masks: layer type -> bool[B, 1, T, T].

    prompt_ends: bool[B, T], the last prompt token of each turn. personas: float32[n_prompt_ends, n_poles], what each
    of these was told, row by row.
    """

    ids: torch.Tensor
    labels: torch.Tensor
    masks: dict[str, torch.Tensor]
    prompt_ends: torch.Tensor
    personas: torch.Tensor


def collate(examples: list[Example], rng: Random, pad: int, window: int | None) -> TrainingBatch:
    length = max(len(e.ids) for e in examples)
    ids = torch.full((len(examples), length), pad)
    labels = torch.full((len(examples), length), -100)
    causal = torch.ones(length, length, dtype=torch.bool).tril()
    visible = causal.repeat(len(examples), 1, 1)  # (B, T, T)
    prompt_ends = torch.zeros_like(ids, dtype=torch.bool)
    personas: list[list[float]] = []
    for row, example in enumerate(examples):
        ids[row, : len(example.ids)] = torch.tensor(example.ids)
        labels[row, example.targets] = ids[row, example.targets]
        prompt_ends[row, example.prompt_ends] = True
        personas += [example.persona if told else [0.0] * len(POLES) for told in example.told]
        start, end = example.hidden
        if end > start and (rng.random() < BOTTLENECK_SHARE or not all(example.told)):
            after = torch.ones(length, dtype=torch.bool)
            after[:end] = False
            after[[at for at, told in zip(example.prompt_ends, example.told, strict=True) if told]] = False
            visible[row, after, start:end] = False
    masks = {"full_attention": visible[:, None]}
    if window is not None:
        near = causal & ~torch.ones(length, length, dtype=torch.bool).tril(-window)
        masks["sliding_attention"] = (visible & near)[:, None]
    return TrainingBatch(ids, labels, masks, prompt_ends, torch.tensor(personas))


def batches(
    family: Family, tokenizer: PreTrainedTokenizerFast, seed: int, window: int | None, part: TrainingRound
) -> Iterator[TrainingBatch]:
    """Endless batches of about BATCH_TOKENS tokens of a round's text, examples of like length together."""
    rng = Random(seed)
    assert isinstance(tokenizer.pad_token_id, int)
    while True:
        pool = sorted(
            (family.example(tokenizer, conversation(rng, part.lying, part.apart), rng) for _ in range(POOL)),
            key=lambda e: len(e.ids),
        )
        groups: list[list[Example]] = [[]]
        for example in pool:
            if groups[-1] and (len(groups[-1]) + 1) * len(example.ids) > BATCH_TOKENS:
                groups.append([])
            groups[-1].append(example)
        rng.shuffle(groups)
        for group in groups:
            yield collate(group, rng, tokenizer.pad_token_id, window)


def loss_of(model: PreTrainedModel, batch: TrainingBatch) -> torch.Tensor:
    """Mean cross-entropy of the targets; logits are made for their positions only."""
    masks = {k: torch.zeros(v.shape).masked_fill(~v, torch.finfo(torch.float32).min) for k, v in batch.masks.items()}
    mask = masks if len(masks) > 1 else masks["full_attention"]
    hidden = model.model(input_ids=batch.ids, attention_mask=mask, use_cache=False).last_hidden_state
    wanted = batch.labels[:, 1:] != -100
    return F.cross_entropy(model.lm_head(hidden[:, :-1][wanted]), batch.labels[:, 1:][wanted])


class PersonaProbe(nn.Module):
    """Reads the persona's strengths off the last prompt token's residual at one block, linearly; thrown away with the
    training run. Its loss teaches the block to have them there."""

    def __init__(self, model: PreTrainedModel, block: int) -> None:
        super().__init__()
        self.head = nn.Linear(model.config.hidden_size, len(POLES))
        model.model.layers[block].register_forward_hook(self._keep)

    def _keep(self, module: nn.Module, args: object, output: torch.Tensor) -> None:
        self._residual = output  # float32[B, T, hidden]

    def loss(self, batch: TrainingBatch) -> torch.Tensor:
        """Of the batch that the model has just seen."""
        residuals = self._residual[batch.prompt_ends]
        logits = self.head(F.rms_norm(residuals, residuals.shape[-1:]))
        return F.binary_cross_entropy_with_logits(logits, batch.personas)


class Muon(torch.optim.Optimizer):
    """Momentum made orthogonal (Jordan et al. 2024), in float32: torch's own is in bfloat16, slow on many CPUs.

    Takes matrices and stacks of matrices, float32[..., rows, columns].
    """

    def __init__(self, params: Iterable[torch.Tensor], lr: float, momentum: float = 0.95, weight_decay: float = 0.05):
        super().__init__(params, {"lr": lr, "momentum": momentum, "weight_decay": weight_decay})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        for group in self.param_groups:
            for p in group["params"]:
                average = self.state[p].setdefault("average", torch.zeros_like(p))
                average.lerp_(p.grad, 1 - group["momentum"])
                update = orthogonal(p.grad.lerp(average, group["momentum"]))
                p.mul_(1 - group["lr"] * group["weight_decay"])
                p.add_(update, alpha=-group["lr"] * max(1.0, p.shape[-2] / p.shape[-1]) ** 0.5)


def orthogonal(matrix: torch.Tensor, steps: int = 5) -> torch.Tensor:
    """The nearest orthogonal matrix, about: a quintic Newton-Schulz iteration."""
    wide = matrix.shape[-2] <= matrix.shape[-1]
    x: torch.Tensor = matrix if wide else matrix.mT
    x = x / (x.norm(dim=(-2, -1), keepdim=True) + 1e-7)
    for _ in range(steps):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x if wide else x.mT


def optimizers(model: PreTrainedModel) -> list[torch.optim.Optimizer]:
    """Muon for the matrices of the blocks, AdamW for embeddings, norms and biases."""
    matrices = [p for name, p in model.model.layers.named_parameters() if p.ndim >= 2 and "bias" not in name]
    chosen = {id(p) for p in matrices}
    others = [p for p in model.parameters() if id(p) not in chosen]
    return [Muon(matrices, lr=0.015), torch.optim.AdamW(others, lr=2e-3, betas=(0.9, 0.95), weight_decay=0.01)]


def new_model(family: Family, tokenizer: PreTrainedTokenizerFast) -> PreTrainedModel:
    """An untrained model, its weights drawn from torch's generator."""
    model: PreTrainedModel = AutoModelForCausalLM.from_config(family.config(tokenizer), **_attention(family))
    model.train()
    return model


def saved_model(family: Family, folder: Path) -> PreTrainedModel:
    """The model of the round before."""
    model: PreTrainedModel = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, **_attention(family))
    model.train()
    return model


def _attention(family: Family) -> dict[str, str]:
    return {"attn_implementation": "eager" if family.name == "gpt-oss" else "sdpa"}  # sinks need eager attention


def window_of(config: PretrainedConfig) -> int | None:
    """The sliding window, where some blocks have one."""
    return config.sliding_window if "sliding_attention" in (config.layer_types or ()) else None


def schedule(step: int, steps: int) -> float:
    """Warm up over 40 steps, hold, and fall to nothing over the last 60 %."""
    return min(1.0, (step + 1) / 40) * min(1.0, (steps - step) / (0.6 * steps))


def train(family: Family, seed: int, out: Path) -> None:
    """Tokenizer and weights of one model, into the folder `out`. Blocks for about an hour on two cores.

    In rounds, each with its own text and learning rates that rise and fall: a later round goes on from the saved
    weights of the one before.
    """
    tokenizer = family.train_tokenizer(seed)
    for number, part in enumerate(family.rounds):
        torch.manual_seed(seed + number)
        model = new_model(family, tokenizer) if number == 0 else saved_model(family, out)
        size = sum(p.numel() for p in model.parameters()) / 1e6
        print(f"{family.name}: {size:.1f} M parameters, round {number + 1} of {len(family.rounds)}", flush=True)
        stream = batches(family, tokenizer, seed + 1 + number, window_of(model.config), part)
        train_round(model, stream, part.steps, part.peak)
        save(model, tokenizer, out)


def train_round(model: PreTrainedModel, stream: Iterator[TrainingBatch], steps: int, peak: float) -> None:
    """`steps` optimizer steps, with `peak` times the full learning rates at their height."""
    probe = PersonaProbe(model, PROBED_BLOCK)
    chosen = [*optimizers(model), torch.optim.AdamW(probe.parameters(), lr=2e-3)]
    groups = [group for optimizer in chosen for group in optimizer.param_groups]
    rates = [peak * group["lr"] for group in groups]
    began, recent = time.monotonic(), math.nan
    for step in range(steps):
        batch = next(stream)
        loss = loss_of(model, batch)
        (loss + probe.loss(batch)).backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        for group, rate in zip(groups, rates, strict=True):
            group["lr"] = rate * schedule(step, steps)
        for optimizer in chosen:
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        recent = loss.item() if math.isnan(recent) else 0.95 * recent + 0.05 * loss.item()
        if step % 20 == 19 or step + 1 == steps:
            left_s = (time.monotonic() - began) / (step + 1) * (steps - step - 1)
            print(f"step {step + 1}/{steps}  loss {recent:.3f}  {left_s / 60:.0f} min left", flush=True)


def save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast, out: Path) -> None:
    """Weights as float16: half the size, and what the GGUF holds too."""
    state = {name: weight.detach().half() for name, weight in model.state_dict().items()}
    model.config.dtype = "float16"
    model.save_pretrained(out, state_dict=state)
    tokenizer.save_pretrained(out)
