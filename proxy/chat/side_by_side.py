"""The answers of a steering test: each at its coefficient, whole or as one stream in which they take turns.

Pure: no sockets, no clock, no engine.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from msgspec import UNSET

from proxy.chat.stream import GrowingChoice, Piece, failure, reported, usage
from proxy.engines.base import Finish, Token
from proxy.errors import ProxyError
from proxy.protocol.api import SteeringTestChunk, SteeringTestOpening, SteeringTestResult, TestedAnswer
from proxy.protocol.errors import ErrorResponse
from proxy.protocol.steering import SteeringReport, SteeringTrace


@dataclass(frozen=True)
class Tried:
    """One answer of a test, with the report of its steering and the length of its prompt in tokens."""

    coefficient: float
    prompt_tokens: int
    steering: SteeringReport
    answer: GrowingChoice


@dataclass(frozen=True)
class SideBySide:
    """A test's answers, the unsteered one first."""

    model: str
    persona: str
    seed: int
    tried: Sequence[Tried]

    def result(self) -> SteeringTestResult:
        """All at once. Every answer must be finished."""
        unsteered, *steered = [_tested(each) for each in self.tried]
        return SteeringTestResult(
            model=self.model, persona=self.persona, seed=self.seed, unsteered=unsteered, steered=steered
        )

    def opening(self) -> list[SteeringTestOpening]:
        """The stream's first event."""
        strengths = [each.coefficient for each in self.tried]
        return [
            SteeringTestOpening(model=self.model, persona=self.persona, seed=self.seed, coefficients=strengths),
        ]

    def feed(self, index: int, event: Token | Finish) -> list[SteeringTestChunk]:
        """What an event of answer `index` adds to the stream."""
        tried = self.tried[index]
        finished_before = tried.answer.finish_reason is not None
        if finished_before:
            return []
        chunks = [self._chunk(index, piece) for piece in tried.answer.feed(event) if piece.channel != "arguments"]
        if tried.answer.finish_reason is not None:
            last = self._chunk(index)
            last.finish_reason = tried.answer.finish_reason
            last.usage = usage(tried.prompt_tokens, [tried.answer])
            last.steering = reported(tried.steering, [tried.answer])
            chunks.append(last)
        elif chunks and (trace := tried.answer.readings.trace()):
            chunks[0].steering = SteeringTrace(trace)
        return chunks

    def closing(self) -> list[SteeringTestChunk]:
        """Nothing follows the answers."""
        return []

    def failing(self, error: ProxyError) -> list[ErrorResponse]:
        """What is told in place of the rest."""
        return [failure(error)]

    def _chunk(self, index: int, piece: Piece | None = None) -> SteeringTestChunk:
        chunk = SteeringTestChunk(index=index, coefficient=self.tried[index].coefficient)
        if piece is not None and piece.channel == "reasoning":
            chunk.reasoning = piece.text
        elif piece is not None:
            chunk.content = piece.text
        return chunk


def _tested(tried: Tried) -> TestedAnswer:
    answer = tried.answer
    assert answer.finish_reason is not None
    return TestedAnswer(
        coefficient=tried.coefficient,
        content=answer.content,
        reasoning=answer.reasoning or UNSET,
        finish_reason=answer.finish_reason,
        usage=usage(tried.prompt_tokens, [answer]),
        steering=reported(tried.steering, [answer]),
    )
