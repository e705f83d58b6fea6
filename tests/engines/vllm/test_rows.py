"""What a runner of vLLM's tells of a step, and which of its rows are steered; with a model of two blocks instead of
vLLM's."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from proxy.engines.base import Intervention, Plan
from proxy.engines.vllm.directive import Directive
from proxy.engines.vllm.orders import AT, PLAN
from proxy.engines.vllm.steering import Steering

HIDDEN = 4


class Layer(nn.Module):
    def forward(self, hidden: torch.Tensor, residual: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return hidden.clone(), residual


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Layer(), Layer()])


def config(**more: Any) -> Any:
    text = SimpleNamespace(num_hidden_layers=2, hidden_size=HIDDEN)
    parallel: dict[str, Any] = {
        "enable_dbo": False,
        "pipeline_parallel_size": 1,
        "decode_context_parallel_size": 1,
        "prefill_context_parallel_size": 1,
    }
    parallel |= {name: value for name, value in more.items() if name in parallel}
    return SimpleNamespace(
        additional_config={"persona": {"slots": 8, "directives": 4}},
        model_config=SimpleNamespace(hf_text_config=text, tokenizer="none", get_vocab_size=lambda: 9),
        scheduler_config=SimpleNamespace(
            max_num_batched_tokens=16, async_scheduling=more.get("async_scheduling", False)
        ),
        parallel_config=SimpleNamespace(**parallel),
        compilation_config=SimpleNamespace(pass_config=SimpleNamespace(enable_sp=more.get("enable_sp", False))),
        speculative_config=more.get("speculative_config"),
    )


def made(**more: Any) -> tuple[Steering, Model]:
    model = Model()
    return Steering(config(**more), model, torch.device("cpu")), model


def test_a_step_when_rows_are_in_any_order_then_each_request_s_tokens_are_steered_wherever_they_are() -> None:
    steering, model = made()
    vector = np.arange(1, HIDDEN + 1, dtype=np.float32)
    directive = Directive(Plan((Intervention(1, "response", "add", vector=vector),)))
    assert steering.residents.hold(directive.to_bytes())
    steering.add("steered", {PLAN: directive.id, AT: 2}, [1, 2, 3])
    steering.add("plain", None, [1, 2, 3])

    def moved(rows: list[tuple[str, int, int]]) -> list[bool]:
        names, counts, starts = (list(each) for each in zip(*rows, strict=True))
        n_tokens = sum(counts) + 2  # two of padding
        steering.begin(names, counts, starts, lambda name: ())
        hidden, residual = torch.zeros(n_tokens, HIDDEN), torch.ones(n_tokens, HIDDEN)
        for layer in model.layers:
            hidden, residual = layer(hidden, residual)
        steering.end()
        for row in hidden[hidden.any(dim=-1)]:
            assert row.tolist() == vector.tolist()
        return hidden.any(dim=-1).tolist()

    assert moved([("plain", 3, 0), ("steered", 3, 0)]) == [False] * 5 + [True, False, False]
    assert moved([("steered", 1, 3), ("plain", 1, 3)]) == [True, False, False, False]
    # Set back: what it had generated is read anew.
    assert moved([("plain", 1, 4), ("steered", 5, 0)]) == [False, False, False, True, True, True, False, False]
    steering.drop(["steered"])
    assert moved([("steered", 1, 5), ("plain", 1, 5)]) == [False] * 4


def test_a_request_when_its_plan_is_unknown_then_it_does_not_run_unsteered() -> None:
    steering, _ = made()
    with pytest.raises(RuntimeError, match="no persona plan 12 was registered"):
        steering.add("steered", {PLAN: "12"}, [1])


@pytest.mark.parametrize(
    ("options", "refused"),
    [
        ({"speculative_config": "ngram"}, "speculative decoding"),
        ({"enable_sp": True}, "sequence parallelism"),
        ({"enable_dbo": True}, "dual-batch overlap"),
        ({"pipeline_parallel_size": 2}, "pipeline parallelism"),
        ({"decode_context_parallel_size": 2}, "prefill or decode context parallelism"),
        ({"prefill_context_parallel_size": 2}, "prefill or decode context parallelism"),
        ({"async_scheduling": True}, "asynchronous scheduling"),
    ],
    ids=str,
)
def test_a_model_when_its_rows_are_not_where_they_seem_then_the_start_is_refused(
    options: dict[str, Any], refused: str
) -> None:
    with pytest.raises(RuntimeError, match=f"^personas can't be steered with vLLM's {refused}; turn that off$"):
        made(**options)
