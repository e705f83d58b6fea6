"""V2 itself can't run here: its part is held to what a runner calls, with a model of two blocks instead of vLLM's."""

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from proxy.engines.base import Intervention, Plan
from proxy.engines.vllm.directive import Directive
from proxy.engines.vllm.orders import AT, PLAN
from proxy.engines.vllm.state import steered

HIDDEN = 4


class Layer(nn.Module):
    def forward(self, hidden: torch.Tensor, residual: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return hidden.clone(), residual


class Model(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList([Layer(), Layer()])


@dataclass
class TheirState:
    """As vLLM's own class: made so, and called so."""

    vllm_config: Any
    model: Any
    encoder_cache: Any
    device: Any
    called: list[str] = field(default_factory=list)

    def add_request(self, req_index: int, new_req_data: Any) -> None:
        self.called.append("add_request")

    def remove_request(self, req_id: str) -> None:
        self.called.append("remove_request")

    def prepare_inputs(self, input_batch: Any, req_states: Any) -> dict[str, Any]:
        self.called.append("prepare_inputs")
        return {"positions": 7}

    def postprocess_state(self, idx_mapping: Any, num_sampled: Any, num_computed_tokens: Any = None) -> None:
        self.called.append("postprocess_state")


def config(**more: Any) -> Any:
    text = SimpleNamespace(num_hidden_layers=2, hidden_size=HIDDEN)
    parallel = SimpleNamespace(
        enable_dbo=False, pipeline_parallel_size=1, decode_context_parallel_size=1, prefill_context_parallel_size=1
    )
    return SimpleNamespace(
        additional_config={"persona": {"slots": 8, "directives": 4}},
        model_config=SimpleNamespace(hf_text_config=text, tokenizer="none", get_vocab_size=lambda: 9),
        scheduler_config=SimpleNamespace(max_num_batched_tokens=16, async_scheduling=False),
        parallel_config=parallel,
        compilation_config=SimpleNamespace(pass_config=SimpleNamespace(enable_sp=False)),
        speculative_config=more.get("speculative_config"),
    )


def new(name: str, prompt: list[int], extra: dict[str, Any] | None, generated: int = 0) -> Any:
    return SimpleNamespace(
        req_id=name,
        sampling_params=SimpleNamespace(extra_args=extra),
        prompt_token_ids=prompt,
        prefill_token_ids=prompt + [0] * generated,
    )


def batch(rows: list[tuple[str, int, int]]) -> Any:
    return SimpleNamespace(
        req_ids=[name for name, _, _ in rows],
        num_scheduled_tokens=np.array([count for _, count, _ in rows], np.int32),
        num_computed_tokens_np=np.array([start for _, _, start in rows], np.int32),
    )


def test_a_state_of_v2_when_a_runner_calls_it_then_tokens_are_steered_wherever_their_rows_are() -> None:
    model = Model()
    state = steered(TheirState)(config(), model, None, torch.device("cpu"))
    vector = np.arange(1, HIDDEN + 1, dtype=np.float32)
    directive = Directive(Plan((Intervention(1, "response", "add", vector=vector),)))
    assert state.persona_steering.residents.hold(directive.to_bytes())
    extra = {PLAN: directive.id, AT: 2}
    state.add_request(0, new("steered", [1, 2, 3], extra))
    state.add_request(1, new("plain", [1, 2, 3], None))

    def moved(rows: list[tuple[str, int, int]]) -> list[bool]:
        n_tokens = sum(count for _, count, _ in rows) + 2  # two of padding
        assert state.prepare_inputs(batch(rows), None) == {"positions": 7}
        hidden, residual = torch.zeros(n_tokens, HIDDEN), torch.ones(n_tokens, HIDDEN)
        for layer in model.layers:
            hidden, residual = layer(hidden, residual)
        state.postprocess_state(None, None)
        for row in hidden[hidden.any(dim=-1)]:
            assert row.tolist() == vector.tolist()
        return hidden.any(dim=-1).tolist()

    assert moved([("plain", 3, 0), ("steered", 3, 0)]) == [False] * 5 + [True, False, False]
    assert moved([("steered", 1, 3), ("plain", 1, 3)]) == [True, False, False, False]
    # Set back: it comes again, with what it had generated to be read anew.
    state.remove_request("steered")
    state.add_request(2, new("steered", [1, 2, 3], extra, generated=2))
    assert moved([("plain", 1, 4), ("steered", 5, 0)]) == [False, False, False, True, True, True, False, False]
    state.remove_request("steered")
    assert moved([("steered", 1, 5), ("plain", 1, 5)]) == [False] * 4
    assert state.called.count("prepare_inputs") == state.called.count("postprocess_state") == 4


def test_a_state_of_v2_when_a_plan_is_unknown_then_it_does_not_run_unsteered() -> None:
    state = steered(TheirState)(config(), Model(), None, torch.device("cpu"))
    with pytest.raises(RuntimeError, match="no persona plan 12 was registered"):
        state.add_request(0, new("steered", [1], {PLAN: "12"}))


def test_a_state_of_v2_when_there_is_a_draft_model_then_it_is_refused() -> None:
    with pytest.raises(RuntimeError, match="speculative decoding; turn that off"):
        steered(TheirState)(config(speculative_config=object()), Model(), None, torch.device("cpu"))
