"""The engine that runs GGUF models in this process, by llama.cpp: each request with its own steering, in one batch."""

from collections.abc import Callable, Generator, Sequence
from contextlib import nullcontext

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
from proxy.engines.checks import check_blocks, check_generation, check_plan, check_rollouts
from proxy.engines.llama.batch import MOST_PIECE, LlamaBatch
from proxy.engines.llama.capture import capture_steps, capture_token_steps, next_token_steps, score_steps
from proxy.engines.llama.context import Context
from proxy.engines.llama.library import llama
from proxy.engines.llama.model import LlamaModel, check_file, context_length, file_fingerprint
from proxy.engines.llama.vocabulary import Vocabulary
from proxy.engines.scoring import steering_of
from proxy.engines.speech import Speaker
from proxy.engines.worker import Worker
from proxy.errors import SetupError
from proxy.settings import ModelSettings

SHARED_TOKENS = 32768  # room for this many is taken, if so many can be under way: all answers share it


def load(settings: ModelSettings, max_batch: int) -> "LlamaEngine":
    """Load a GGUF file and start its worker; takes seconds to minutes. Raises SetupError in one line.

    The settings' dtype means nothing here: weights are used as they are stored.
    """
    file = check_file(settings.source)
    vocabulary = Vocabulary(LlamaModel(file, vocabulary_only=True))
    model = LlamaModel(file, settings.device)
    if not model.keeps_all_positions:
        raise SetupError(f"{file}: recurrent models are not supported")
    length = context_length(model.trained_length, settings.context_length)
    # One answer of full length always fits.
    n_seats = min(max_batch, llama.llama_max_parallel_sequences())
    n_cells = max(length, min(n_seats * length, SHARED_TOKENS))
    context = Context(model, n_cells, n_seats, MOST_PIECE + n_seats, n_seats)
    model.trimmed_block = context.find_trimmed_block()
    info = ModelInfo(
        id=settings.id,
        family=model.metadata("general.architecture") or "unknown",
        n_layers=model.n_layers,
        hidden_size=model.hidden_size,
        context_length=length,
        fingerprint=file_fingerprint(file),
        engine="llama_cpp",
        device=model.device,
        dtype=model.precision,
        world=model.metadata("persona.world"),
    )
    return LlamaEngine(info, model, context, vocabulary, n_seats)


class LlamaEngine:
    """See Engine. At most `n_seats` answers run at once; the others wait their turn."""

    def __init__(
        self, info: ModelInfo, model: LlamaModel, context: Context, vocabulary: Vocabulary, n_seats: int
    ) -> None:
        self._info = info
        self._vocabulary = vocabulary
        self._speaker = Speaker(vocabulary, vocabulary.end_ids)
        batch = LlamaBatch(context, self._speaker.stops, info.context_length, n_seats)
        # The worker alone refers to the weights: they go with it.
        self._worker = Worker(info.id, model, batch, nullcontext(), lambda: None)

    @property
    def info(self) -> ModelInfo:
        return self._info

    def render(
        self, messages: Sequence[Message], *, reasoning_effort: str | None = None, tools: Sequence[Tool] | None = None
    ) -> list[int]:
        """See Engine.render."""
        extra = {} if reasoning_effort is None else {"reasoning_effort": reasoning_effort}
        return self._vocabulary.render(messages, tools, **extra)

    def encode(self, text: str) -> list[int]:
        """See Engine.encode."""
        return self._vocabulary.encode(text)

    def start(self, generation: Generation, on_event: Callable[[Event], None]) -> Run:
        """See Engine.start. Raises ContextLengthExceeded, InvalidRequest or, once closed, ModelUnavailable."""
        check_generation(generation, self._info, self._vocabulary.size)
        answer = Answer(generation, on_event, self._speaker.speech(generation.prompt))
        self._worker.start(answer)
        return answer

    def capture(
        self, rollouts: Sequence[Rollout], spans: Sequence[Span], progress: Callable[[int], None] | None = None
    ) -> dict[Span, SpanStats]:
        """See Engine.capture. Raises EngineFailure when the model fails."""
        check_rollouts(rollouts, self._info, self._vocabulary.size)
        return self._worker.run(lambda model: capture_steps(model, rollouts, spans, progress))

    def capture_tokens(self, rollouts: Sequence[Rollout], span: Span, blocks: Sequence[int]) -> list[FloatArray]:
        """See Engine.capture_tokens. Raises EngineFailure when the model fails."""
        check_rollouts(rollouts, self._info, self._vocabulary.size)
        check_blocks(blocks, self._info)
        return self._worker.run(lambda model: capture_token_steps(model, rollouts, span, blocks))

    def score(
        self,
        rollouts: Sequence[Rollout],
        plans: Sequence[Plan] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> list[FloatArray]:
        """See Engine.score. Raises EngineFailure when the model fails."""
        check_rollouts(rollouts, self._info, self._vocabulary.size)
        plans = [Plan()] * len(rollouts) if plans is None else plans
        for plan in plans:
            check_plan(plan, self._info)
        pairs = list(zip(rollouts, plans, strict=True))

        def steps(model: LlamaModel) -> Generator[None, None, list[FloatArray]]:
            steering = [steering_of(self._answer_to(rollout, plan), rollout.response) for rollout, plan in pairs]
            return score_steps(model, rollouts, steering, progress)

        return self._worker.run(steps)

    def _answer_to(self, rollout: Rollout, plan: Plan) -> Answer:
        """Nobody listens to it."""
        generation = Generation(rollout.prompt, Sampling(len(rollout.response) + 1), plan)
        return Answer(generation, lambda event: None, self._speaker.speech(rollout.prompt))

    def next_token_logprobs(self, prompts: Sequence[Sequence[int]], token_ids: Sequence[int]) -> FloatArray:
        """See Engine.next_token_logprobs. Raises EngineFailure when the model fails."""
        check_rollouts([Rollout(prompt) for prompt in prompts], self._info, self._vocabulary.size)
        return self._worker.run(lambda model: next_token_steps(model, prompts, token_ids))

    def close(self) -> None:
        """See Engine.close."""
        self._worker.close()
