"""Two pretend models with one meaning: their residuals are different linear functions of the same few hidden numbers.

One cuts text into words, the other into pieces of three letters, each in a chat template of its own. What a token means
depends on the system prompt and on all text up to where the token ends, so tokens that end at the same character mean
the same, and a linear map between the models exists. At one block of each, the best one, there is no noise.
"""

import re
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from itertools import accumulate
from typing import TYPE_CHECKING, Any

import numpy as np

from proxy.engines.base import (
    AnswerReadings,
    CallRules,
    Engine,
    Event,
    Finish,
    FloatArray,
    Generation,
    Likelihood,
    Message,
    ModelInfo,
    Plan,
    Reword,
    Rollout,
    Run,
    Span,
    SpanStats,
    Token,
    Tool,
)
from tests.steering.pretend import FinishedRun

MEANINGS = 8  # hidden numbers
N_LAYERS = 3
ANSWER = "Most people like a warm meal and a good friend in the evening."


@dataclass
class PairedEngine:
    """`cut`: a regular expression whose matches are the tokens of plain text. Special tokens are written <...>."""

    id: str
    cut: str
    hidden: int
    best_block: int
    header: str = ""  # of an answer, after the prompt
    world: str | None = None
    keeps_answers: bool = True
    captured: list[tuple[int, Span, tuple[int, ...]]] = field(default_factory=list)
    vocabulary: list[str] = field(default_factory=list)
    noise: np.random.Generator = field(default_factory=lambda: np.random.default_rng(0))

    @property
    def info(self) -> ModelInfo:
        fingerprint = f"{zlib.crc32(self.id.encode()):064x}"
        return ModelInfo(
            self.id, "pretend", N_LAYERS, self.hidden, 500, fingerprint, "transformers", "cpu", "float32", self.world
        )

    @property
    def cached_bytes(self) -> int:
        return 0

    @property
    def opening(self) -> list[int]:
        return self._ids(self.header, rf"<\w+>|{self.cut}")

    def begin(self, prompt: Sequence[int], content: str, reasoning: str = "") -> tuple[list[int], list[int]]:
        return [], self.encode(content)

    def render(
        self,
        messages: Sequence[Message],
        *,
        reasoning_effort: str | None = None,
        tools: Sequence[Tool] | None = None,
        options: Mapping[str, Any] | None = None,
        reword: Reword | None = None,
    ) -> list[int]:
        text = ""
        for message in messages:
            content = message["content"] if self.keeps_answers else message["content"].upper()
            header = self.header if message["role"] == "assistant" else ""
            text += f"<{message['role']}>{header}{content}<end>"
        return self._ids(text + "<assistant>", rf"<\w+>|{self.cut}")

    def encode(self, text: str) -> list[int]:
        return self._ids(text, self.cut)

    def likelihoods(
        self,
        texts: Sequence[Sequence[int]],
        plans: Sequence[Plan],
        n_top: int,
        given_up: Callable[[], bool] = lambda: False,
    ) -> list[list[Likelihood]]:
        raise AssertionError("the pretend model is asked by no client")

    def tokenize(self, text: str) -> list[int]:
        return self.encode(text)

    def pieces(self, token_ids: Sequence[int]) -> list[str]:
        words = (self.vocabulary[id_] for id_ in token_ids)
        return ["" if word.startswith("<") else word for word in words]

    def start(self, generation: Generation, on_event: Callable[[Event], None]) -> Run:
        for id_ in self.encode(ANSWER):
            on_event(Token(id_, self.vocabulary[id_]))
        on_event(Finish("stop"))
        return FinishedRun()

    def capture_tokens(self, rollouts: Sequence[Rollout], span: Span, blocks: Sequence[int]) -> list[FloatArray]:
        self.captured.append((len(rollouts), span, tuple(blocks)))
        found = []
        for rollout in rollouts:
            system = re.match(r"<system>(.*?)<end>", self._text(rollout.prompt))
            so_far = [self._text([])]
            if span == "response":
                so_far = list(accumulate(self.pieces(rollout.response)))
                so_far = [text.removeprefix(re.sub(r"<\w+>", "", self.header)) for text in so_far]
            meanings = [meaning(system[1] if system else "", text) for text in so_far]
            rows = [[self.residual(hidden, block) for block in blocks] for hidden in meanings]
            found.append(np.array(rows, np.float32))
        return found

    def capture(
        self, rollouts: Sequence[Rollout], spans: Sequence[Span], progress: Callable[[int], None] | None = None
    ) -> dict[Span, SpanStats]:
        shape = len(rollouts), N_LAYERS, self.hidden
        return {span: SpanStats(np.ones(shape, np.float32), np.full(shape[:2], 2.0, np.float32)) for span in spans}

    def residual(self, hidden: FloatArray, block: int) -> FloatArray:
        """float32[hidden]: what a block makes of a meaning."""
        noise = self.noise.normal(0, 0.0 if block == self.best_block else 2.0, self.hidden)
        return (hidden @ self.matrix(block) + 5.0 + noise).astype(np.float32)

    def matrix(self, block: int) -> FloatArray:
        """float32[MEANINGS, hidden]."""
        return _matrix(self.id, block, self.hidden)

    def score(
        self,
        rollouts: Sequence[Rollout],
        plans: Sequence[Plan] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> list[FloatArray]:
        raise AssertionError("the pair's answers are not scored")

    def read(
        self, rollouts: Sequence[Rollout], blocks: Sequence[int], progress: Callable[[int], None] | None = None
    ) -> AnswerReadings:
        raise AssertionError("the pair's answers are not judged by reading")

    def next_token_logprobs(self, prompts: Sequence[Sequence[int]], token_ids: Sequence[int]) -> FloatArray:
        raise AssertionError("neither of the pair is a judge")

    def check_schema(self, schema: str | None, calls: CallRules | None = None) -> None: ...

    def speller(self, *, marked: bool = False) -> Callable[[int], bytes]:
        return lambda id_: self.vocabulary[id_].encode()

    def close(self) -> None: ...

    def _ids(self, text: str, cut: str) -> list[int]:
        ids = []
        for word in re.findall(cut, text):
            if word not in self.vocabulary:
                self.vocabulary.append(word)
            ids.append(self.vocabulary.index(word))
        return ids

    def _text(self, ids: Sequence[int]) -> str:
        return "".join(self.vocabulary[id_] for id_ in ids)


if TYPE_CHECKING:
    _: Engine = PairedEngine("", "", 0, 0)


@cache
def _matrix(name: str, block: int, hidden: int) -> FloatArray:
    rng = np.random.default_rng(zlib.crc32(f"{name} {block}".encode()))
    return rng.normal(0, 1, (MEANINGS, hidden)).astype(np.float32)


@cache
def meaning(system: str, text: str) -> FloatArray:
    """float32[MEANINGS]: half of it from the system prompt, half from the text so far."""
    halves = [np.random.default_rng(zlib.crc32(part.encode())).normal(0, 1, MEANINGS // 2) for part in (system, text)]
    return np.concatenate(halves).astype(np.float32)


def word_model(**changes: object) -> PairedEngine:
    return PairedEngine("words", r" ?\w+|\W", 24, best_block=1, **changes)  # type: ignore[arg-type]


def letter_model(**changes: object) -> PairedEngine:
    """Three letters at a time, with a header before each answer."""
    known = {"header": "<channel>final<message>"} | changes
    return PairedEngine("letters", r"\w{1,3}|\W", 16, best_block=2, **known)  # type: ignore[arg-type]
