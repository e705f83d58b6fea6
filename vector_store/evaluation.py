"""What a pole was found to be worth in its model: beside every other way to ask for it, and what it costs.

Knows numbers and answers only: no model, no file, and nothing of how they were measured.
"""

from dataclasses import dataclass, field
from typing import Literal

from vector_store.judged import JudgedBy
from vector_store.sweep import Measured, SweepKind

Verdict = Literal["steers", "weak", "prompt_only", "nothing", "by_itself", "unscored"]
AskedBy = Literal["nothing", "prompt", "demonstrations"]  # in words; the last is the prompt with demonstrations


@dataclass(frozen=True, kw_only=True)
class EvaluatedArm:
    """`n` answers made in one way.

    `kind` is how they were steered, at `coefficient`, which below 0 is that of the opposite pole; `asked_by` is how the
    pole was asked for in words. `turn`: 1 are answers to a first question, 2 to a second one in the same conversation.
    `trait` and `coherence` are from 0 to 100; `wrong_way` is the share of answers that show less of the pole than the
    same question's unsteered answers do, `unfinished` of those that were cut off at their longest, `looping` of those
    that go round in circles, all 0 to 1; `words` is the length. `second`: the trait by the second judge. None is what
    could not be measured.
    """

    kind: SweepKind
    asked_by: AskedBy
    coefficient: float
    turn: int
    n: int
    trait: Measured | None
    coherence: Measured | None
    wrong_way: Measured | None
    unfinished: Measured | None
    looping: Measured | None
    words: Measured | None
    second: Measured | None = None


@dataclass(frozen=True, kw_only=True)
class CostArm:
    """What one way to ask costs: the shares of facts that are right and of instructions that are followed, 0 to 1;
    None where none was asked."""

    asked_by: AskedBy
    coefficient: float
    facts: Measured | None
    instructions: Measured | None


@dataclass(frozen=True, kw_only=True)
class KeptAnswer:
    """An answer at coefficient 1, for whoever wants to judge for themselves."""

    question: str
    text: str


@dataclass(frozen=True, kw_only=True)
class Agreement:
    """How a second judge's scores of the trait go with the first one's, over `n` answers that both scored. `opposed`:
    the share of which one says that they show the pole (above 50), and the other that they don't. `correlation` is None
    where either's scores do not vary."""

    judge: JudgedBy
    n: int
    correlation: float | None
    opposed: float


@dataclass(frozen=True, kw_only=True)
class PoleEvaluation:
    """One pole's evaluation, on `questions` questions that nothing was chosen on. `reason` says what the verdict rests
    on. `wrong_traits` are the poles whose directions were a control. `answers` are unpicked. `budget` says how much was
    asked, answers had at most `max_tokens`, and `created` is UTC, ISO 8601."""

    verdict: Verdict
    reason: str
    judge: JudgedBy
    arms: list[EvaluatedArm]
    costs: list[CostArm]
    answers: list[KeptAnswer]
    questions: int
    max_tokens: int
    budget: str
    seed: int
    created: str
    agreement: Agreement | None = None
    wrong_traits: list[str] = field(default_factory=list)
