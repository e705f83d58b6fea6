"""What a request's turn came to, in numbers, for whoever counts. Holds no text; knows nothing of metrics or HTTP."""

from collections.abc import Sequence
from dataclasses import dataclass

from proxy.engines.base import Sampling


@dataclass(frozen=True, kw_only=True)
class AnswerSummary:
    """One answer. `finish_reason` is OpenAI's, "error" where it failed, "abort" where it was broken off.

    When its first and last token came is in seconds on time.perf_counter's clock, None where none did. `personas`: pole
    to strength, as it was steered, none for a random direction. `method`, `relative_dose` and
    `beyond_measured_range` are the report's, which says nothing of the last where nothing was measured."""

    finish_reason: str
    tokens: int
    first_token_s: float | None
    last_token_s: float | None
    method: str
    personas: dict[str, float]
    relative_dose: float
    beyond_measured_range: bool

    @property
    def seconds_per_token(self) -> float | None:
        """The mean time between two of its tokens; None where there are no two."""
        if self.first_token_s is None or self.last_token_s is None or self.tokens < 2:
            return None
        return (self.last_token_s - self.first_token_s) / (self.tokens - 1)


@dataclass(frozen=True, kw_only=True)
class TurnSummary:
    """A request: its answers, how the first is drawn, and the prompts that were read for it. `cached_tokens` of these
    had been read before."""

    model: str
    sampling: Sampling | None
    prompt_tokens: int
    cached_tokens: int
    answers: Sequence[AnswerSummary]
