"""What can't be done with a model whose weights and tokenizer are another server's: most of what an engine does."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from proxy.engines.base import (
    AnswerReadings,
    CallRules,
    FloatArray,
    Likelihood,
    Message,
    Plan,
    Reword,
    Rollout,
    Span,
    SpanStats,
    Tool,
)
from proxy.engines.errors import Refusal


def _refused() -> Refusal:
    return Refusal("this model runs on another server, which tells nothing of its tokens and residuals")


class OutOfReach:
    """Refuses whatever needs tokens or residuals."""

    @property
    def cached_bytes(self) -> int:
        """What the other server keeps is none of our memory."""
        return 0

    @property
    def opening(self) -> list[int]:
        raise _refused()

    def render(
        self,
        messages: Sequence[Message],
        *,
        reasoning_effort: str | None = None,
        tools: Sequence[Tool] | None = None,
        options: Mapping[str, Any] | None = None,
        reword: Reword | None = None,
    ) -> list[int]:
        raise _refused()

    def begin(self, prompt: Sequence[int], content: str, reasoning: str = "") -> tuple[list[int], list[int]]:
        raise _refused()

    def capture(
        self, rollouts: Sequence[Rollout], spans: Sequence[Span], progress: Callable[[int], None] | None = None
    ) -> dict[Span, SpanStats]:
        raise _refused()

    def capture_tokens(self, rollouts: Sequence[Rollout], span: Span, blocks: Sequence[int]) -> list[FloatArray]:
        raise _refused()

    def score(
        self,
        rollouts: Sequence[Rollout],
        plans: Sequence[Plan] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> list[FloatArray]:
        raise _refused()

    def likelihoods(
        self,
        texts: Sequence[Sequence[int]],
        plans: Sequence[Plan],
        n_top: int,
        given_up: Callable[[], bool] = lambda: False,
    ) -> list[list[Likelihood]]:
        raise _refused()

    def read(
        self, rollouts: Sequence[Rollout], blocks: Sequence[int], progress: Callable[[int], None] | None = None
    ) -> AnswerReadings:
        raise _refused()

    def next_token_logprobs(self, prompts: Sequence[Sequence[int]], token_ids: Sequence[int]) -> FloatArray:
        raise _refused()

    def encode(self, text: str) -> list[int]:
        raise _refused()

    def tokenize(self, text: str) -> list[int]:
        raise _refused()

    def pieces(self, token_ids: Sequence[int]) -> list[str]:
        raise _refused()

    def check_schema(self, schema: str | None, calls: CallRules | None = None) -> None:
        raise _refused()

    def speller(self, *, marked: bool = False) -> Callable[[int], bytes]:
        raise _refused()
