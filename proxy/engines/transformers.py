"""The engine that runs Hugging Face models in this process, each request with its own steering, all in one batch."""

import copy
import threading
from collections.abc import Callable, Generator, Sequence
from functools import partial
from typing import Any

import jinja2
import torch

from proxy.engines import loading
from proxy.engines.answer import Answer
from proxy.engines.base import (
    Event,
    FloatArray,
    Generation,
    Message,
    ModelInfo,
    Plan,
    Rollout,
    Run,
    Sampling,
    Span,
    SpanStats,
    Tool,
)
from proxy.engines.capture import capture_steps, capture_token_steps
from proxy.engines.checks import check_blocks, check_generation, check_plan, check_rollouts
from proxy.engines.decoding import DecodingBatch
from proxy.engines.runner import ModelRunner, release_memory
from proxy.engines.scoring import next_token_steps, score_steps, steering_of
from proxy.engines.speech import Speaker
from proxy.engines.worker import Worker
from proxy.errors import InvalidRequest
from proxy.settings import ModelSettings


def load(settings: ModelSettings, max_batch: int) -> "TransformersEngine":
    """Load a model and start its worker; takes seconds to minutes. Raises SetupError in one line."""
    folder = loading.resolve_folder(settings.source)
    config = loading.load_config(folder)
    context_length = loading.context_length(config, settings.context_length)
    fingerprint = loading.weights_fingerprint(folder)
    device = loading.choose_device(settings.device)
    dtype = loading.choose_dtype(settings.dtype, device)
    tokenizer = loading.load_tokenizer(folder)
    runner = ModelRunner(loading.load_network(folder, config, device, dtype))
    info = ModelInfo(
        id=settings.id,
        family=config.model_type,
        n_layers=runner.n_layers,
        hidden_size=runner.hidden_size,
        context_length=context_length,
        fingerprint=fingerprint,
        engine="transformers",
        device=str(device),
        dtype=str(runner.network.dtype).removeprefix("torch."),  # some quantised weights keep their own
        world=getattr(config, "persona_world", None),
    )
    return TransformersEngine(info, runner, tokenizer, max_batch)


class TransformersEngine:
    """See Engine. At most `max_batch` answers run at once; the others wait their turn."""

    def __init__(self, info: ModelInfo, runner: ModelRunner, tokenizer: Any, max_batch: int) -> None:
        eos = runner.network.generation_config.eos_token_id
        self._info = info
        self._tokenizer = tokenizer
        self._encoding = threading.Lock()  # a fast tokenizer can't be used by two threads at once
        self._speaker = Speaker(copy.deepcopy(tokenizer), eos if isinstance(eos, list) else [eos])
        self._vocabulary = runner.vocabulary
        batch = DecodingBatch(runner, self._speaker.stops, info.context_length, max_batch)
        self._worker = Worker(info.id, runner, batch, torch.inference_mode(), partial(release_memory, runner.device))

    @property
    def info(self) -> ModelInfo:
        return self._info

    def render(
        self, messages: Sequence[Message], *, reasoning_effort: str | None = None, tools: Sequence[Tool] | None = None
    ) -> list[int]:
        """See Engine.render."""
        extra = {} if reasoning_effort is None else {"reasoning_effort": reasoning_effort}
        try:
            with self._encoding:
                ids: list[int] = self._tokenizer.apply_chat_template(
                    list(messages),
                    tools=list(tools) if tools else None,
                    add_generation_prompt=True,
                    tokenize=True,
                    return_dict=False,
                    **extra,
                )
        except (jinja2.TemplateError, TypeError, ValueError, KeyError) as error:
            raise InvalidRequest(f"the model's chat template refuses: {error}", param="messages") from error
        if not ids:
            raise InvalidRequest("the model's chat template makes nothing of these messages", param="messages")
        return ids

    def encode(self, text: str) -> list[int]:
        """See Engine.encode."""
        with self._encoding:
            ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
        return ids

    def start(self, generation: Generation, on_event: Callable[[Event], None]) -> Run:
        """See Engine.start. Raises ContextLengthExceeded, InvalidRequest or, once closed, ModelUnavailable."""
        check_generation(generation, self._info, self._vocabulary)
        answer = Answer(generation, on_event, self._speaker.speech(generation.prompt))
        self._worker.start(answer)
        return answer

    def capture(
        self, rollouts: Sequence[Rollout], spans: Sequence[Span], progress: Callable[[int], None] | None = None
    ) -> dict[Span, SpanStats]:
        """See Engine.capture. Raises EngineFailure when the model fails."""
        check_rollouts(rollouts, self._info, self._vocabulary)
        return self._worker.run(lambda runner: capture_steps(runner, rollouts, spans, progress))

    def capture_tokens(self, rollouts: Sequence[Rollout], span: Span, blocks: Sequence[int]) -> list[FloatArray]:
        """See Engine.capture_tokens. Raises EngineFailure when the model fails."""
        check_rollouts(rollouts, self._info, self._vocabulary)
        check_blocks(blocks, self._info)
        return self._worker.run(lambda runner: capture_token_steps(runner, rollouts, span, blocks))

    def score(
        self,
        rollouts: Sequence[Rollout],
        plans: Sequence[Plan] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> list[FloatArray]:
        """See Engine.score. Raises EngineFailure when the model fails."""
        check_rollouts(rollouts, self._info, self._vocabulary)
        plans = [Plan()] * len(rollouts) if plans is None else plans
        for plan in plans:
            check_plan(plan, self._info)
        pairs = list(zip(rollouts, plans, strict=True))

        def steps(runner: ModelRunner) -> Generator[None, None, list[FloatArray]]:
            steering = [steering_of(self._answer_to(rollout, plan), rollout.response) for rollout, plan in pairs]
            texts = [[*rollout.prompt, *rollout.response] for rollout in rollouts]
            return score_steps(runner, [len(rollout.prompt) for rollout in rollouts], texts, steering, progress)

        return self._worker.run(steps)

    def _answer_to(self, rollout: Rollout, plan: Plan) -> Answer:
        """Nobody listens to it. On the worker thread, whose tokenizer it uses."""
        generation = Generation(rollout.prompt, Sampling(len(rollout.response) + 1), plan)
        return Answer(generation, lambda event: None, self._speaker.speech(rollout.prompt))

    def next_token_logprobs(self, prompts: Sequence[Sequence[int]], token_ids: Sequence[int]) -> FloatArray:
        """See Engine.next_token_logprobs. Raises EngineFailure when the model fails."""
        check_rollouts([Rollout(prompt) for prompt in prompts], self._info, self._vocabulary)
        return self._worker.run(lambda runner: next_token_steps(runner, prompts, token_ids))

    def close(self) -> None:
        """See Engine.close."""
        self._worker.close()
