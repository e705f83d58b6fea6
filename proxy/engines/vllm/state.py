"""The same for vLLM's second model runner, V2: a model's state that tells of requests that come and go, and of steps.

Never run: V2 needs a GPU. Tests hold it to what vLLM's own class says, and to what a runner would call. Answers that
are steered in some of their channels, or kept to rules, are not for V2: what was drawn is only on the GPU there.
"""

from collections.abc import Sequence
from typing import Any

from proxy.engines.vllm.steering import Steering


def steered(original: type[Any]) -> type[Any]:
    """The class of a model's state, with steering. A runner makes one as it loads the model."""

    class SteeredState(original):  # type: ignore[misc]
        def __init__(self, vllm_config: Any, model: Any, encoder_cache: Any, device: Any) -> None:
            super().__init__(vllm_config, model, encoder_cache, device)
            self.persona_steering = Steering(vllm_config, model, device)

        def add_request(self, req_index: int, new_req_data: Any) -> None:
            """Comes again after a request was set back; what it had generated is then no part of its prompt either."""
            super().add_request(req_index, new_req_data)
            params = new_req_data.sampling_params
            extra = None if params is None else params.extra_args
            self.persona_steering.add(new_req_data.req_id, extra, new_req_data.prompt_token_ids or ())

        def remove_request(self, req_id: str) -> None:
            super().remove_request(req_id)
            self.persona_steering.drop([req_id])

        def prepare_inputs(self, input_batch: Any, req_states: Any) -> Any:
            """Called in each step, whose batch is in an order of its own."""
            self.persona_steering.begin(
                input_batch.req_ids,
                input_batch.num_scheduled_tokens.tolist(),
                input_batch.num_computed_tokens_np.tolist(),
                _unknown,
            )
            return super().prepare_inputs(input_batch, req_states)

        def postprocess_state(self, *args: Any, **kwargs: Any) -> Any:
            """Called when a step is over, before anybody is told what it drew."""
            self.persona_steering.end()
            return super().postprocess_state(*args, **kwargs)

    return SteeredState


def _unknown(name: str) -> Sequence[int]:
    raise RuntimeError("steering in some channels needs vLLM's V1 runner (VLLM_USE_V2_MODEL_RUNNER=0)")
