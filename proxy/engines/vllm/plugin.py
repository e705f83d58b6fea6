"""The plugin of vLLM, which reads it by its entry point in every process: it wraps what steers nothing by itself.

A model is made ready to be steered where vLLM's `additional_config` has the key `persona`, and left alone elsewhere.
What is wrapped is no interface of vLLM's, so that all of it is looked for first: an unknown vLLM is refused in a
sentence, and never runs unsteered.
"""

import functools
import importlib
import inspect
from collections.abc import Callable, Sequence
from typing import Any

from proxy.engines.vllm.embedded import live_with_server
from proxy.engines.vllm.library import SECOND_RUNNER
from proxy.engines.vllm.orders import AT, OPTIONS, STEERED

KNOWN = "0.32"
RULES = "proxy.engines.vllm.rules:Rules"  # what vLLM is started with
EXTENSION = "proxy.engines.vllm.extension.SteeringExtension"

_RUNNER = "vllm.v1.worker.gpu_model_runner:GPUModelRunner"
_CPU_RUNNER = "vllm.v1.worker.cpu_model_runner:CPUModelRunner"
# What is wrapped or called, with the parameters that are relied on.
_EXPECTED: dict[str, tuple[str, ...]] = {
    f"{_RUNNER}.load_model": ("self",),
    f"{_CPU_RUNNER}.load_model": ("self",),
    f"{_RUNNER}._update_states": ("self", "scheduler_output"),
    f"{_RUNNER}._prepare_inputs": ("self", "scheduler_output", "num_scheduled_tokens"),
    f"{_RUNNER}.execute_model": ("self", "scheduler_output"),
    "vllm.v1.worker.gpu.model_states:init_model_state": ("vllm_config", "model", "encoder_cache", "device"),
    "vllm.v1.worker.gpu.model_states:resolve_model_state_cls": ("vllm_config", "model"),
    "vllm.v1.core.kv_cache_utils:generate_block_hash_extra_keys": ("request", "start_token_idx", "end_token_idx"),
    "vllm.v1.core.kv_cache_utils:_gen_prompt_embeds_extra_hash_keys": (
        *("request", "start_token_idx", "end_token_idx"),
    ),
}
# What is wrapped has to be called by its name, by these.
_CALLS = {
    "vllm.v1.core.kv_cache_utils:generate_block_hash_extra_keys": "_gen_prompt_embeds_extra_hash_keys",
    "vllm.v1.worker.gpu.model_states:init_model_state": "resolve_model_state_cls",
}
ATTRIBUTE = "persona_steering"  # of the runner


def install() -> None:
    """Wrap what has to be, once a process. RuntimeError for a vLLM in which something of it is missing."""
    check()
    runner, cpu_runner = _find(_RUNNER), _find(_CPU_RUNNER)
    if hasattr(runner, ATTRIBUTE):
        return
    setattr(runner, ATTRIBUTE, None)
    live_with_server()
    for each in (runner, cpu_runner):
        each.load_model = _loading(each.load_model)
    runner._update_states = _updating(runner._update_states)
    runner._prepare_inputs = _preparing(runner._prepare_inputs)
    runner.execute_model = _executing(runner.execute_model)
    states = importlib.import_module("vllm.v1.worker.gpu.model_states")
    states.resolve_model_state_cls = _refusing(states.resolve_model_state_cls)  # type: ignore[attr-defined]
    caching = importlib.import_module("vllm.v1.core.kv_cache_utils")
    caching._gen_prompt_embeds_extra_hash_keys = _keying(  # type: ignore[attr-defined]
        caching._gen_prompt_embeds_extra_hash_keys
    )


def check() -> None:
    """RuntimeError, with what is known, where this vLLM is another."""
    strange = [name for name, parameters in _EXPECTED.items() if not _as_expected(name, parameters)]
    if not strange:
        strange = [name for name, called in _CALLS.items() if called not in _find(name).__code__.co_names]
    if strange:
        import vllm

        raise RuntimeError(
            f"persona-steering-proxy knows vLLM {KNOWN}, and this is {vllm.__version__}, in which "
            f"{', '.join(strange)} {'is' if len(strange) == 1 else 'are'} missing or different"
        )


def _find(name: str) -> Any:
    module, _, path = name.partition(":")
    found: Any = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    return found


def _as_expected(name: str, parameters: Sequence[str]) -> bool:
    try:
        there = list(inspect.signature(_find(name)).parameters)
    except (ImportError, AttributeError):
        return False
    return there[: len(parameters)] == list(parameters)


def _loading(original: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(original)
    def load_model(self: Any, *args: Any, **kwargs: Any) -> None:
        from proxy.engines.vllm.steering import Steering

        original(self, *args, **kwargs)
        if wanted(self.vllm_config) and getattr(self, ATTRIBUTE) is None:
            _check_admission(self.vllm_config)
            setattr(self, ATTRIBUTE, Steering(self.vllm_config, self.model, self.device))

    return load_model


def _refusing(original: Callable[..., type[Any]]) -> Callable[..., type[Any]]:
    """Of vLLM's second model runner, which asks which class keeps a model's state, and which nothing here steers."""

    @functools.wraps(original)
    def resolve_model_state_cls(vllm_config: Any, model: Any) -> type[Any]:
        if wanted(vllm_config):
            raise RuntimeError(SECOND_RUNNER)
        return original(vllm_config, model)

    return resolve_model_state_cls


def wanted(config: Any) -> bool:
    """Whether a model is to be made ready to be steered."""
    return isinstance(config.additional_config, dict) and OPTIONS in config.additional_config


def _check_admission(config: Any) -> None:
    """RuntimeError where nobody looks at requests before they reach a worker, which would end at an unknown plan."""
    if RULES not in (config.model_config.logits_processors or ()):
        raise RuntimeError(f"personas can't be steered without --logits-processors {RULES}")


def _updating(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def _update_states(self: Any, scheduler_output: Any) -> Any:
        steering = getattr(self, ATTRIBUTE)
        if steering is not None:
            # Preempted requests come back as known ones, so that only what has ended is forgotten.
            steering.drop(scheduler_output.finished_req_ids)
            for new in scheduler_output.scheduled_new_reqs:
                params = new.sampling_params
                extra = None if params is None else params.extra_args
                steering.add(new.req_id, extra, new.prompt_token_ids or ())
        return original(self, scheduler_output)

    return _update_states


def _preparing(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def _prepare_inputs(self: Any, scheduler_output: Any, num_scheduled_tokens: Any) -> Any:
        prepared = original(self, scheduler_output, num_scheduled_tokens)
        steering = getattr(self, ATTRIBUTE)
        if steering is not None:
            batch = self.input_batch
            steering.begin(
                batch.req_ids,
                num_scheduled_tokens.tolist(),
                batch.num_computed_tokens_cpu[: len(num_scheduled_tokens)].tolist(),
                lambda name: self.requests[name].output_token_ids,
            )
        return prepared

    return _prepare_inputs


def _executing(original: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(original)
    def execute_model(self: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return original(self, *args, **kwargs)
        finally:
            steering = getattr(self, ATTRIBUTE)
            if steering is not None:
                steering.end()

    return execute_model


def _keying(original: Callable[..., list[Any]]) -> Callable[..., list[Any]]:
    """vLLM keeps the keys and values of generated tokens too, for prompts that go on with them. What was steered is not
    what such a prompt would show, so that from the prompt's last token on nobody else may find it."""

    @functools.wraps(original)
    def keys(request: Any, start_token_idx: int, end_token_idx: int) -> list[Any]:
        found = original(request, start_token_idx, end_token_idx)
        params = request.sampling_params
        extra = None if params is None else params.extra_args
        if extra and STEERED in extra and end_token_idx > extra.get(AT, request.num_prompt_tokens - 1):
            return [*found, ("persona", request.request_id)]
        return found

    return keys
