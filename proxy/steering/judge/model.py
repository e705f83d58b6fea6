"""A model that is loaded in this process as a judge, unsteered."""

from collections.abc import Sequence

from proxy.engines.base import Engine, FloatArray
from proxy.errors import SetupError
from proxy.steering.judge.base import Answer, Score
from proxy.steering.judge.digits import DIGITS, expected_digits, scores_by_digit


class ModelJudge:
    """A language model asked for one digit; the score is the expectation over its probabilities of the ten digits."""

    def __init__(self, engine: Engine) -> None:
        """SetupError where the model's tokenizer does not have the digits as tokens of their own."""
        self._engine = engine
        self._digits = [engine.encode(digit)[-1] for digit in DIGITS]
        self.name = engine.info.id
        if len(set(self._digits)) != len(DIGITS):
            raise SetupError(f"{self.name} can't judge: its tokenizer has no token for each digit")

    def score(self, answers: Sequence[Answer]) -> list[Score | None]:
        """One score for each answer, in order; None where the model was not about to reply with a digit. Blocks."""
        return scores_by_digit(answers, self._expected)

    def _expected(self, prompts: Sequence[str]) -> FloatArray:
        rendered = [
            [*self._engine.render([{"role": "user", "content": prompt}]), *self._engine.opening] for prompt in prompts
        ]
        return expected_digits(self._engine.next_token_logprobs(rendered, self._digits))
