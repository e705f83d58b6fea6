"""What the engine must do, done the plain way: one request, a hook on each block, the whole sequence every time."""

from collections.abc import Sequence

import numpy as np
import torch
from transformers import PreTrainedModel

from proxy.engines.base import FloatArray, Intervention, Plan


def apply(item: Intervention, hidden: FloatArray) -> FloatArray:
    """The intervention on residuals float[n, hidden], as base.Intervention defines it."""
    if item.mode == "add":
        assert item.vector is not None
        return hidden + item.vector
    assert item.basis is not None and item.levels is not None
    deficit = item.levels - hidden @ item.basis.T
    if item.mode == "cap":
        deficit = np.minimum(deficit, 0)
    moved: FloatArray = hidden + deficit @ np.linalg.pinv(item.basis).T
    return moved


def steered_logits(model: PreTrainedModel, prompt: Sequence[int], answer: Sequence[int], plan: Plan) -> torch.Tensor:
    """float32[len(answer) + 1, vocabulary]: the logits after the prompt and after each token of the answer."""
    return steered(model, prompt, answer, plan)[0]


def steered(
    model: PreTrainedModel, prompt: Sequence[int], answer: Sequence[int], plan: Plan
) -> tuple[torch.Tensor, list[FloatArray]]:
    """The logits as above, and by block float32[len(answer), hidden]: each of the answer's tokens before anything is
    done to it there."""
    residuals: dict[int, FloatArray] = {}
    begins = {"all": 0, "response": len(prompt) - 1, "last_prompt": len(prompt) - 1}

    def hook(index: int) -> object:
        def steer(module: object, args: object, output: torch.Tensor) -> torch.Tensor:
            hidden = output[0].detach().numpy().astype(np.float32).copy()
            residuals[index] = hidden[len(prompt) :].copy()
            for item in plan.interventions:
                if item.block == index:
                    end = len(prompt) if item.positions == "last_prompt" else len(hidden)
                    begin = begins[item.positions]
                    hidden[begin:end] = apply(item, hidden[begin:end])
            return torch.from_numpy(hidden)[None]

        return steer

    handles = [block.register_forward_hook(hook(i)) for i, block in enumerate(model.get_decoder().layers)]
    try:
        with torch.no_grad():
            logits = model(torch.tensor([[*prompt, *answer]]), use_cache=False).logits[0]
    finally:
        for handle in handles:
            handle.remove()
    return logits[len(prompt) - 1 :], [residuals[block] for block in sorted(residuals)]


def is_greedy(model: PreTrainedModel, prompt: Sequence[int], answer: Sequence[int], plan: Plan, ended: bool) -> bool:
    """Whether each token of the answer, and its end token where it `ended` by itself, is the likeliest one."""
    expected = [*answer, model.generation_config.eos_token_id] if ended else list(answer)
    likeliest = steered_logits(model, prompt, answer, plan).argmax(dim=-1).tolist()
    return likeliest[: len(expected)] == expected
