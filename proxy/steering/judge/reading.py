"""What an unsteered model makes of an answer: how likely it is under a trait's instructions; and what plain counting
says of it. Knows nothing of scores.
"""

import zlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from proxy.engines.base import Engine, Rollout
from proxy.steering.asking import messages
from proxy.steering.traits.trait import InstructionPair
from vector_store import SIDES

N_GRAM = 3  # tokens


class AnswerEvidence(NamedTuple):
    """What can be read off one answer. Likelihoods are mean log-probabilities per token, in nats.

    `plain`: under no instruction. `positive`, `negative`: under that pole's instructions, mean over them. `best`: under
    whichever of all these makes it likeliest. `distinct`: share of its runs of three tokens that are distinct.
    `density`: bytes it is compressed to, per byte. An answer without a token has zeros.
    """

    plain: float
    positive: float
    negative: float
    best: float
    distinct: float
    density: float
    n_tokens: int


EMPTY = AnswerEvidence(0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0)


class EvidenceReader:
    """Reads answers by teacher forcing, under `pairs` and under no instruction."""

    def __init__(self, engine: Engine, pairs: Sequence[InstructionPair]) -> None:
        self._engine = engine
        self._instructions: list[str | None] = [None, *(pair.side(side) for side in SIDES for pair in pairs)]
        self._known: dict[tuple[str, str], AnswerEvidence] = {}

    def read(self, asked: Sequence[tuple[str, str]]) -> list[AnswerEvidence]:
        """The evidence of each question and answer, in order; of those that were never read before in one pass of the
        engine. Blocks."""
        new = [one for one in dict.fromkeys(asked) if one not in self._known]
        self._known |= dict(zip(new, self._read(new), strict=True))
        return [self._known[one] for one in asked]

    def _read(self, asked: Sequence[tuple[str, str]]) -> list[AnswerEvidence]:
        prompts = {question: self._prompts(question) for question, _ in asked}
        answers = [(prompts[question], self._engine.encode(text)) for question, text in asked]
        rollouts = [
            Rollout(prompt, tokens[: self._engine.info.context_length - len(prompt)])
            for mine, tokens in answers
            if tokens
            for prompt in mine
        ]
        means = iter([float(logprobs.mean()) for logprobs in self._engine.score(rollouts)])
        return [
            evidence([next(means) for _ in mine], tokens, text) if tokens else EMPTY
            for (mine, tokens), (_, text) in zip(answers, asked, strict=True)
        ]

    def _prompts(self, question: str) -> list[list[int]]:
        """The question under no, the positive and the negative instructions, up to where an answer's text begins."""
        return [
            [*self._engine.render(messages(instruction, question)), *self._engine.opening]
            for instruction in self._instructions
        ]


def evidence(means: Sequence[float], tokens: Sequence[int], text: str) -> AnswerEvidence:
    """The evidence of an answer from its mean log-probability under no instruction, under each of the positive and each
    of the negative ones, and from its tokens, of which there is one at least."""
    positive, negative = np.split(np.array(means[1:]), 2)
    content = text.encode()
    return AnswerEvidence(
        plain=means[0],
        positive=float(positive.mean()),
        negative=float(negative.mean()),
        best=max(means),
        distinct=distinct_share(tokens),
        density=len(zlib.compress(content, 9, wbits=-15)) / len(content),
        n_tokens=len(tokens),
    )


def distinct_share(tokens: Sequence[int]) -> float:
    """How many of the runs of three tokens are distinct, of all that there are; 1 where there are none."""
    runs = [tuple(tokens[at : at + N_GRAM]) for at in range(len(tokens) - N_GRAM + 1)]
    return len(set(runs)) / len(runs) if runs else 1.0
