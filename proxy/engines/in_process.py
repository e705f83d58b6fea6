"""What engines that run a model in this process have in common: what comes in is checked, and then left to the worker.

Knows nothing of how a model is run, rendered for or read.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from proxy.engines.answer import RunningAnswer, Steering, steering_of
from proxy.engines.base import (
    AnswerReadings,
    FloatArray,
    Generation,
    Likelihood,
    ModelInfo,
    Plan,
    Rollout,
    Run,
    Sampling,
    Span,
    SpanStats,
)
from proxy.engines.checks import check_blocks, check_plan, check_rollouts
from proxy.engines.speaking import SpeakingEngine
from proxy.engines.text.lexicon import Lexicon
from proxy.engines.text.speech import Speaker
from proxy.engines.text.token_bound import TokenBound
from proxy.engines.text.typed_markers import Markers
from proxy.engines.worker import Worker

M = TypeVar("M")
T = TypeVar("T")
Progress = Callable[[int], None] | None
Steps = Generator[None, None, T]


@dataclass(frozen=True)
class Tasks(Generic[M]):
    """What is done with one kind of model besides answering, in steps: each is a method of Engine that takes the model
    first and, in place of plans, what is done to every token of each rollout."""

    capture: Callable[[M, Sequence[Rollout], Sequence[Span], Progress], Steps[dict[Span, SpanStats]]]
    capture_tokens: Callable[[M, Sequence[Rollout], Span, Sequence[int]], Steps[list[FloatArray]]]
    score: Callable[[M, Sequence[Rollout], Sequence[Steering], Progress], Steps[list[FloatArray]]]
    likelihoods: Callable[[M, Sequence[Rollout], Sequence[Steering], int], Steps[list[list[Likelihood]]]]
    read: Callable[[M, Sequence[Rollout], Sequence[int], Progress], Steps[AnswerReadings]]
    next_token_logprobs: Callable[[M, Sequence[Sequence[int]], Sequence[int]], Steps[FloatArray]]


class InProcessEngine(SpeakingEngine, Generic[M]):
    """An engine over a worker."""

    def __init__(
        self,
        info: ModelInfo,
        lexicon: Lexicon,
        speaker: Speaker,
        worker: Worker[M],
        tasks: Tasks[M],
        bound: TokenBound | None,
        markers: Markers,
    ) -> None:
        super().__init__(info, lexicon, speaker, bound, markers)
        self._worker = worker
        self._tasks = tasks

    @property
    def cached_bytes(self) -> int:
        """Of memory, for what is kept of prompts that were read."""
        return self._worker.cached_bytes

    def _hand_in(self, answer: RunningAnswer) -> Run:
        self._worker.start(answer)
        return answer

    def capture(
        self, rollouts: Sequence[Rollout], spans: Sequence[Span], progress: Progress = None
    ) -> dict[Span, SpanStats]:
        """Mean residuals of texts at every block, by span; blocks the caller. Raises ModelFailed when the model
        fails."""
        check_rollouts(rollouts, self._info, self._n_tokens)
        return self._worker.run(lambda model: self._tasks.capture(model, rollouts, spans, progress))

    def capture_tokens(self, rollouts: Sequence[Rollout], span: Span, blocks: Sequence[int]) -> list[FloatArray]:
        """Residuals of texts token by token, float32[n_tokens, n_blocks, hidden] each; blocks. Raises ModelFailed when
        the model fails."""
        check_rollouts(rollouts, self._info, self._n_tokens)
        check_blocks(blocks, self._info)
        return self._worker.run(lambda model: self._tasks.capture_tokens(model, rollouts, span, blocks))

    def score(
        self, rollouts: Sequence[Rollout], plans: Sequence[Plan] | None = None, progress: Progress = None
    ) -> list[FloatArray]:
        """Log-probabilities of every response token, each text under its own plan; blocks. Raises ModelFailed when the
        model fails."""
        check_rollouts(rollouts, self._info, self._n_tokens)
        plans = [Plan()] * len(rollouts) if plans is None else plans
        for plan in plans:
            check_plan(plan, self._info)
        pairs = list(zip(rollouts, plans, strict=True))

        def steps(model: M) -> Steps[list[FloatArray]]:
            steering = [steering_of(self._answer_to(rollout, plan), rollout.response) for rollout, plan in pairs]
            return self._tasks.score(model, rollouts, steering, progress)

        return self._worker.run(steps)

    def likelihoods(
        self,
        texts: Sequence[Sequence[int]],
        plans: Sequence[Plan],
        n_top: int,
        given_up: Callable[[], bool] = lambda: False,
    ) -> list[list[Likelihood]]:
        """Of each text, every token but the first, with the `n_top` likeliest; blocks. Raises ModelFailed when the
        model fails."""
        rollouts = [Rollout(text[:1], text[1:]) for text in texts]
        check_rollouts(rollouts, self._info, self._n_tokens)
        for plan in plans:
            check_plan(plan, self._info)
        everywhere = [tuple(item for item in plan.interventions if item.positions == "all") for plan in plans]
        steering = [[items] * len(text) for items, text in zip(everywhere, texts, strict=True)]

        def steps(model: M) -> Steps[list[list[Likelihood]]]:
            work = self._tasks.likelihoods(model, rollouts, steering, n_top)
            while not given_up():
                try:
                    yield next(work)
                except StopIteration as done:
                    found: list[list[Likelihood]] = done.value
                    return found
            return []

        return self._worker.run(steps)

    def read(self, rollouts: Sequence[Rollout], blocks: Sequence[int], progress: Progress = None) -> AnswerReadings:
        """Mean residuals over the responses at some blocks, and log-probabilities of the responses; blocks. Raises
        ModelFailed when the model fails."""
        check_rollouts(rollouts, self._info, self._n_tokens)
        check_blocks(blocks, self._info)
        return self._worker.run(lambda model: self._tasks.read(model, rollouts, blocks, progress))

    def _answer_to(self, rollout: Rollout, plan: Plan) -> RunningAnswer:
        """Nobody listens to it. On the worker thread, to which the speaker belongs."""
        generation = Generation(rollout.prompt, Sampling(len(rollout.response) + 1), plan)
        return RunningAnswer(generation, lambda event: None, self._speaker.speech(rollout.prompt))

    def next_token_logprobs(self, prompts: Sequence[Sequence[int]], token_ids: Sequence[int]) -> FloatArray:
        """Log-probabilities of tokens right after prompts, float32[n_prompts, n_token_ids]; blocks. Raises ModelFailed
        when the model fails."""
        check_rollouts([Rollout(prompt) for prompt in prompts], self._info, self._n_tokens)
        return self._worker.run(lambda model: self._tasks.next_token_logprobs(model, prompts, token_ids))

    def close(self) -> None:
        """Stop the worker and give the model's memory back."""
        self._worker.close()
