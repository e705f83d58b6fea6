"""`python -m tests.benchmarks.at_once.ours serve ...` is `persona-proxy serve ...`, but GGUF models answer at once.

Only what runs the model is replaced: prompts are rendered and tokenised, tokens are told and turned into text as ever.
An answer repeats its prompt.
"""

import sys
from itertools import cycle
from typing import Any

from proxy.cli.main import main
from proxy.engines.answer import RunningAnswer
from proxy.engines.base import Failure


class AtOnce:
    """In place of a batch of llama.cpp's: a token for every answer, as soon as it is asked for."""

    cached_bytes = 0

    def __init__(self, context: Any, stops: frozenset[int], context_length: int, n_seats: int) -> None:
        self._stops = stops
        self._context_length = context_length
        self._answers: list[tuple[RunningAnswer, cycle[int]]] = []

    @property
    def busy(self) -> bool:
        return bool(self._answers)

    def add(self, answer: RunningAnswer) -> None:
        untold = self._stops | answer.special
        self._answers.append((answer, cycle(token for token in answer.prompt if token not in untold)))

    def step(self) -> None:
        self._answers = [
            (answer, tokens)
            for answer, tokens in self._answers
            if not answer.cancelled and answer.accept(next(tokens), self._stops, self._context_length)
        ]

    def pause(self) -> None:
        """Nothing waits for the next step."""

    def fail_all(self, error: Exception) -> None:
        answers, self._answers = self._answers, []
        for answer, _ in answers:
            answer.emit(Failure(error))


if __name__ == "__main__":
    from proxy.engines.llama_cpp import engine

    setattr(engine, "LlamaBatch", AtOnce)  # noqa: B010
    sys.exit(main())
