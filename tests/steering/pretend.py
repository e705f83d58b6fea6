"""A small pretend model with a planted personality: numpy, no weights, answers in three words.

An answer is ten words, "ha" (silly), "hm" (serious), "so" (neither) or "#" (gibberish), drawn from the seed. How many
of each depends on the system prompt and on the plan: steering works along one hidden direction, best at one block and
span, and too much of it turns words to gibberish.

Its tokens are characters, but each word of an answer is one, and another one in each place: what it says is the same
few words, and still no answer goes round in circles.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from proxy.engines.base import (
    AnswerReadings,
    CallRules,
    Engine,
    Event,
    Finish,
    FloatArray,
    Generation,
    Intervention,
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
from proxy.steering.judge import Answer, Judge, Score, Validated
from proxy.steering.seeds import NUMBERS, SAMPLES, SEEDS, Purpose, seed_of
from proxy.steering.traits.trait import InstructionPair, QuestionSet, Trait
from proxy.steering.work import Work

N_LAYERS, HIDDEN = 3, 24
BEST_BLOCK: int = 1
BEST_SPAN: Span = "last_prompt"
RESIDUAL_NORM = 10.0
WORDS = ("ha", "hm", "so", "#")
FIRST_WORD = 0x110000  # of the tokens: beyond all characters


@dataclass
class FinishedRun:
    def cancel(self) -> None: ...


@dataclass
class PretendEngine:
    """`obedience`: how much of a pole an instruction brings out, 0 to 1. `broken`: all words are gibberish. `circling`:
    answers are told in characters, so that most go round in circles."""

    obedience: float = 1.0
    broken: bool = False
    circling: bool = False
    world: str | None = None
    started: list[Generation] = field(default_factory=list)

    @property
    def info(self) -> ModelInfo:
        return ModelInfo(
            "org/pretend", "pretend", N_LAYERS, HIDDEN, 2000, "f" * 16, "transformers", "cpu", "float32", self.world
        )

    @property
    def cached_bytes(self) -> int:
        return 0

    @property
    def opening(self) -> list[int]:
        return []

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
        return self.encode("".join(f"{message['role']}: {message['content']}\n" for message in messages))

    def encode(self, text: str) -> list[int]:
        return [ord(character) for character in text]

    def start(self, generation: Generation, on_event: Callable[[Event], None]) -> Run:
        self.started.append(generation)
        rng = np.random.default_rng((generation.sampling.seed or 0, sum(generation.prompt)))
        upto = np.cumsum(self._shares(generation.prompt, generation.plan))
        words = np.searchsorted(upto / upto[-1], rng.random(10), side="right")  # as rng.choice, in a tenth of the time
        for place, index in enumerate(words.tolist()):
            word = FIRST_WORD + place * len(WORDS) + index
            for token in self.encode(spelt([word])) if self.circling else [word]:
                on_event(Token(token, spelt([token])))
        on_event(Finish("stop"))
        return FinishedRun()

    def capture(
        self, rollouts: Sequence[Rollout], spans: Sequence[Span], progress: Callable[[int], None] | None = None
    ) -> dict[Span, SpanStats]:
        rng = np.random.default_rng(sum(sum(rollout.prompt) + sum(rollout.response) for rollout in rollouts))
        levels: dict[Span, list[float]] = {
            "last_prompt": [self._asked(rollout.prompt) for rollout in rollouts],
            "response": [
                (text.count("ha") - text.count("hm")) / 10 for text in (spelt(rollout.response) for rollout in rollouts)
            ],
        }
        strength = np.array([0.0, 1.0, 0.5])[:, None]  # block 0 knows nothing of personality
        stats: dict[Span, SpanStats] = {}
        for span in spans:
            means = rng.normal(0, 0.1, (len(rollouts), N_LAYERS, HIDDEN))
            means += np.array(levels[span])[:, None, None] * strength * hidden_direction()
            norms = np.full((len(rollouts), N_LAYERS), RESIDUAL_NORM)
            stats[span] = SpanStats(means.astype(np.float32), norms.astype(np.float32))
        if progress is not None:
            progress(len(rollouts))
        return stats

    def score(
        self,
        rollouts: Sequence[Rollout],
        plans: Sequence[Plan] | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> list[FloatArray]:
        plans = [Plan()] * len(rollouts) if plans is None else plans
        found = []
        for rollout, plan in zip(rollouts, plans, strict=True):
            shares, pieces = self._shares(rollout.prompt, plan), self.pieces(rollout.response)
            starts = np.cumsum([0, *map(len, pieces)])
            logprobs = np.zeros(len(pieces), np.float32)
            for match in re.finditer(r"\S+", "".join(pieces)):  # the whole word's stands at its first token
                share = shares[WORDS.index(match[0])] if match[0] in WORDS else 0.0
                logprobs[np.searchsorted(starts, match.start(), "right") - 1] = np.log(max(share, 1e-3))
            found.append(logprobs)
        return found

    def read(
        self, rollouts: Sequence[Rollout], blocks: Sequence[int], progress: Callable[[int], None] | None = None
    ) -> AnswerReadings:
        means = self.capture(rollouts, ["response"])["response"].means[:, list(blocks)]
        return AnswerReadings(means, self.score(rollouts, progress=progress))

    def next_token_logprobs(self, prompts: Sequence[Sequence[int]], token_ids: Sequence[int]) -> FloatArray:
        raise AssertionError("the pretend model is no judge")

    def capture_tokens(self, rollouts: Sequence[Rollout], span: Span, blocks: Sequence[int]) -> list[FloatArray]:
        raise AssertionError("the pretend model is in no transfer")

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
        return [spelt([id_]) for id_ in token_ids]

    def check_schema(self, schema: str | None, calls: CallRules | None = None) -> None: ...

    def speller(self, *, marked: bool = False) -> Callable[[int], bytes]:
        return lambda id_: spelt([id_]).encode()

    def close(self) -> None: ...

    def _shares(self, prompt: Sequence[int], plan: Plan) -> npt.NDArray[np.float64]:
        """How likely each of the words is."""
        level, noise = self._asked(prompt), float(self.broken)
        for item in plan.interventions:
            if item.vector is None:
                level = _held(level, item)
                continue
            along = float(item.vector @ hidden_direction()) / RESIDUAL_NORM
            level += along if (item.block, item.positions) == (BEST_BLOCK, BEST_SPAN) else 0.1 * along
            noise += max(0.0, float(np.linalg.norm(item.vector)) / RESIDUAL_NORM - 1.2)
        shares = np.array([max(level, 0.0), max(-level, 0.0), max(0.0, 1 - abs(level)), 4 * noise])
        likely: npt.NDArray[np.float64] = shares / shares.sum()
        return likely

    def _asked(self, prompt: Sequence[int]) -> float:
        text = "".join(map(chr, prompt))
        asked = text.partition("\nuser:")[0] if text.startswith("system:") else ""
        return self.obedience * (("be silly" in asked) - ("be serious" in asked))


def _held(level: float, item: Intervention) -> float:
    """The level where its projection is held at one, or kept from going beyond it."""
    assert item.basis is not None and item.levels is not None
    wanted = float(item.levels @ item.basis @ hidden_direction()) / RESIDUAL_NORM
    return wanted if item.mode == "target" else min(level, wanted)


if TYPE_CHECKING:
    _: Engine = PretendEngine()


class PretendJudge:
    """Counts words. Remembers what it was shown."""

    name = "counting"

    def __init__(self) -> None:
        self.seen: list[Answer] = []

    def score(self, answers: Sequence[Answer]) -> list[Score | None]:
        self.seen += answers
        scores: list[Score | None] = []
        for answer in answers:
            words = answer.text.split()
            word = "ha" if answer.side == "positive" else "hm"
            scores.append(Score(10.0 * words.count(word), 10.0 * (len(words) - words.count("#"))))
        return scores


def judged_by(judge: Judge) -> Validated:
    """A judge that needs no validation."""
    return Validated(judge, "counting", 1.0, 80)


def spelt(token_ids: Sequence[int]) -> str:
    """The text of tokens."""
    return "".join(chr(id_) if id_ < FIRST_WORD else _word(id_) for id_ in token_ids)


@cache
def _word(token: int) -> str:
    place, index = divmod(token - FIRST_WORD, len(WORDS))
    return f" {WORDS[index]}" if place else WORDS[index]


@cache
def hidden_direction() -> FloatArray:
    """float32[HIDDEN], unit."""
    direction = np.random.default_rng(7).standard_normal(HIDDEN)
    unit = (direction / np.linalg.norm(direction)).astype(np.float32)
    unit.setflags(write=False)
    return unit


def question_set(name: str) -> QuestionSet:
    return QuestionSet([f"{name} extract {i}?" for i in range(20)], [f"{name} evaluate {i}?" for i in range(20)])


def make_trait(trait_id: str = "silly", positive: str = "silly", negative: str = "serious") -> Trait:
    return Trait(
        id=trait_id,
        positive=positive,
        negative=negative,
        description="Jokes against gravity.",
        instructions=[InstructionPair(f"{i}: be silly", f"{i}: be serious") for i in range(5)],
        questions=question_set("plain"),
        rubric="Count the laughs.",
        question_sets={"demo": question_set("demo")},
    )


def made_for(purpose: Purpose, generation: Generation, run: int = 0) -> bool:
    """Whether an answer's seed is one of those of a purpose in a run."""
    index = (generation.sampling.seed or 0) - seed_of(run, purpose, 0)
    return index % SEEDS < NUMBERS * SAMPLES


def no_progress(what: str, done: int, total: int) -> None:
    assert 0 <= done <= total and what


WORK = Work(no_progress)


def steered_level(plan: Plan) -> float:
    """How strongly a plan pushes along the hidden direction, in residual norms."""
    vectors = [item.vector for item in plan.interventions if item.vector is not None]
    return float(sum(vector @ hidden_direction() for vector in vectors)) / RESIDUAL_NORM
