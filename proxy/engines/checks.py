"""What an engine refuses before it reaches the worker: a single bad request would fail the whole batch.

Knows what a model is like, and nothing of how it is run.
"""

from collections.abc import Iterable, Sequence

from proxy.engines.base import Generation, Intervention, ModelInfo, Plan, Probe, Rollout
from proxy.engines.errors import PromptTooLong, Refusal


def check_generation(generation: Generation, info: ModelInfo, vocabulary: int) -> None:
    """PromptTooLong, or Refusal for tokens there are not; ValueError for a plan or probes of another model."""
    check_tokens(generation.prompt, info, vocabulary, room=1)
    for token in generation.sampling.logit_bias:
        if not 0 <= token < vocabulary:
            raise Refusal(f"token {token} is not one of the model's {vocabulary}", "logit_bias")
    check_plan(generation.plan, info)
    check_probes(generation.probes, info)


def check_rollouts(rollouts: Iterable[Rollout], info: ModelInfo, vocabulary: int) -> None:
    """As check_generation, for texts that are only read."""
    for rollout in rollouts:
        check_tokens([*rollout.prompt, *rollout.response], info, vocabulary, room=0)


def check_tokens(tokens: Sequence[int], info: ModelInfo, vocabulary: int, room: int) -> None:
    """They fit, with `room` for more, and every one exists."""
    if not tokens:
        raise Refusal("the prompt has no tokens", "prompt")
    if len(tokens) + room > info.context_length:
        raise PromptTooLong(
            f"the prompt has {len(tokens)} tokens, which leaves no room for an answer: the model's context is "
            f"{info.context_length} tokens"
        )
    if min(tokens) < 0 or max(tokens) >= vocabulary:
        raise Refusal(f"a token is not one of the model's {vocabulary}", "prompt")


def check_plan(plan: Plan, info: ModelInfo) -> None:
    """ValueError for a plan made for another model."""
    for item in plan.interventions:
        _check_intervention(item, info)


def _check_intervention(item: Intervention, info: ModelInfo) -> None:
    arrays = [item.vector] if item.mode == "add" else [item.basis, item.levels]
    if not 0 <= item.block < info.n_layers or any(array is None for array in arrays):
        raise ValueError(f"no such intervention: {item.mode} at block {item.block} of {info.n_layers}")
    if arrays[0] is not None and arrays[0].shape[-1] != info.hidden_size:
        raise ValueError(f"a vector of {arrays[0].shape[-1]} numbers for a model of {info.hidden_size}")


def check_probes(probes: Iterable[Probe], info: ModelInfo) -> None:
    """ValueError for probes made for another model."""
    for probe in probes:
        if not 0 <= probe.block < info.n_layers or probe.direction.shape != (info.hidden_size,):
            raise ValueError(f"no such probe: of {probe.direction.shape} at block {probe.block} of {info.n_layers}")


def check_blocks(blocks: Sequence[int], info: ModelInfo) -> None:
    """ValueError for a block the model does not have."""
    if strays := [block for block in blocks if not 0 <= block < info.n_layers]:
        raise ValueError(f"no such blocks: {strays} of {info.n_layers}")
