"""Everything an evaluation asks the model, each as a generation with its own plan.

Both poles at every coefficient; random directions and other traits' ones of the same dose; the pole asked for by a
system prompt, with demonstrations, and with the vector beside it; and no steering. Knows nothing of what answers are
worth.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

from proxy.engines.base import Engine, Generation, Message, ModelInfo, Sampling
from proxy.steering.asking import answer_tokens, in_manner, messages
from proxy.steering.evaluation.options import COSTED, Extent, VectorEvaluationOptions
from proxy.steering.evaluation.rules import Fact, Instruction, cost_questions
from proxy.steering.placement import N_PLACEMENT_QUESTIONS
from proxy.steering.seeds import Purpose, seed_of
from proxy.steering.sweep.asked import UNSTEERED, Arm, Plans
from proxy.steering.traits.trait import Demonstration, Trait
from proxy.steering.trials import TEMPERATURE
from vector_store import SIDES, AskedBy, PersonaVector, Side, SweepKind

FACT_TOKENS, INSTRUCTED_TOKENS = 24, 48  # at most, of answers that are right or wrong by rules


class Way(NamedTuple):
    """One way to get answers: how they are steered, and as which pole they are asked for in words."""

    steering: Arm = UNSTEERED
    asked_by: AskedBy = "nothing"
    asked_for: Side | None = None

    @property
    def side(self) -> Side | None:
        """The pole that is wanted; None for neither."""
        return self.asked_for or self.steering.side

    @property
    def alone(self) -> bool:
        """Whether nothing but the vector itself, or nothing at all, is done."""
        return self.asked_by == "nothing" and self.steering.kind in ("unsteered", "steered")


BARE = Way()


def steered(side: Side, coefficient: float, kind: SweepKind = "steered") -> Way:
    """Steered to a pole, and asked for nothing."""
    return Way(Arm(kind, side, coefficient))


def in_words(side: Side, asked_by: AskedBy, coefficient: float = 0.0) -> Way:
    """Asked for a pole in words, and steered to it too where there is a coefficient."""
    return Way(Arm("steered", side, coefficient) if coefficient else UNSTEERED, asked_by, side)


class EvaluatedCell(NamedTuple):
    """One answer: in which way, to which of the questions, and which sample."""

    way: Way
    question: int
    sample: int


class RuledCell(NamedTuple):
    """One answer that is right or wrong by rules: in which way, to which of the facts and instructions."""

    way: Way
    number: int
    one: Fact | Instruction


@dataclass(frozen=True)
class AskedModel:
    """What is asked of a model about a trait's vector. `others`: vectors of other traits, as a control."""

    info: ModelInfo
    trait: Trait
    vector: PersonaVector
    options: VectorEvaluationOptions
    others: Sequence[PersonaVector] = ()

    @cached_property
    def sides(self) -> list[Side]:
        """The poles that there is a place to steer for."""
        return [side for side in SIDES if side in self.vector.poles]

    @cached_property
    def questions(self) -> list[str]:
        """The evaluate questions on which nothing was chosen: places, doses and coefficient 1 saw the first half."""
        return self.trait.questions_for(self.info.world).evaluate[N_PLACEMENT_QUESTIONS:]

    @cached_property
    def ways(self) -> list[Way]:
        """The ways that are compared."""
        shown = bool(self._shown)
        return ways(self.sides, self.options.extent, wrong_trait=bool(self.others), shown=shown)

    @cached_property
    def cells(self) -> list[EvaluatedCell]:
        """Everything that is asked once, question by question, so that ways share each batch. Of other traits'
        directions, which answer in turn, one answer to each question is enough."""
        return [
            EvaluatedCell(way, question, sample)
            for question in range(len(self.questions))
            for sample in range(self.options.n_samples)
            for way in self.ways
            if way.steering.kind != "wrong_trait" or sample == 0
        ]

    @cached_property
    def second_cells(self) -> list[EvaluatedCell]:
        """Whose conversations go on for a second turn."""
        lasting = [BARE, *(way for side in self.sides for way in (steered(side, 1.0), in_words(side, "prompt")))]
        return [EvaluatedCell(way, question, 0) for question in range(len(self.questions)) for way in lasting]

    def second_question(self, question: int) -> str:
        """What is asked after a question: the next one."""
        return self.questions[(question + 1) % len(self.questions)]

    @cached_property
    def ruled(self) -> list[RuledCell]:
        """What costs are read off, each in some ways. Models that know nothing but a small world are not asked."""
        if self.info.world is not None:
            return []
        known, extent = cost_questions(), self.options.extent
        asked: list[Fact | Instruction] = [*known.facts[: extent.facts], *known.instructions[: extent.instructions]]
        return [RuledCell(way, number, one) for number, one in enumerate(asked) for way in costed(self.sides)]

    def generations(self, engine: Engine) -> list[Generation]:
        """A generation for each of `cells`."""
        return [
            self._generation(engine, self._messages(cell, self.questions[cell.question]), cell, Purpose.EVALUATING)
            for cell in self.cells
        ]

    def second_generations(self, engine: Engine, answers: Sequence[str]) -> list[Generation]:
        """A generation for each of `second_cells`, whose first answers these are."""
        made = []
        for cell, answer in zip(self.second_cells, answers, strict=True):
            said: Message = {"role": "assistant", "content": answer}
            asked: Message = {"role": "user", "content": self.second_question(cell.question)}
            turns = [*self._messages(cell, self.questions[cell.question]), said, asked]
            made.append(self._generation(engine, turns, cell, Purpose.EVALUATING_SECOND_TURNS))
        return made

    def ruled_generations(self, engine: Engine) -> list[Generation]:
        """A generation for each of `ruled`, the likeliest token each time: chance has no part in what is right."""
        made = []
        for way, number, one in self.ruled:
            tokens = engine.render(self._messages(EvaluatedCell(way, number, 0), one.ask))
            limit = FACT_TOKENS if isinstance(one, Fact) else INSTRUCTED_TOKENS
            sampling = Sampling(answer_tokens(engine, tokens, limit), temperature=0.0, seed=0)
            made.append(Generation(tokens, sampling, self._plans.of(way.steering, 0, 0)))
        return made

    def _generation(
        self, engine: Engine, turns: Sequence[Message], cell: EvaluatedCell, purpose: Purpose
    ) -> Generation:
        """The same question and sample has the same seed in every way, so that ways differ by what is done alone."""
        tokens, options = engine.render(turns), self.options
        sampling = Sampling(
            answer_tokens(engine, tokens, options.extent.max_tokens),
            temperature=TEMPERATURE,
            seed=seed_of(options.seed, purpose, cell.question, cell.sample),
        )
        # Every answer has a random direction of its own.
        number = cell.question * options.n_samples + cell.sample
        return Generation(tokens, sampling, self._plans.of(cell.way.steering, cell.question, number))

    def _messages(self, cell: EvaluatedCell, question: str) -> list[Message]:
        """The conversation that asks a question, under the trait's instructions in turn."""
        way = cell.way
        if way.asked_for is None:
            return messages(None, question)
        pairs = self.trait.instructions
        instruction = pairs[(cell.question + cell.sample) % len(pairs)].side(way.asked_for)
        shown = self._shown if way.asked_by == "demonstrations" else ()
        return in_manner(way.asked_for, instruction, shown, question)

    @cached_property
    def _shown(self) -> Sequence[Demonstration]:
        return self.trait.shown_to(self.info.world)

    @cached_property
    def _plans(self) -> Plans:
        n_answers = len(self.questions) * self.options.n_samples
        return Plans(self.info, self.vector, self.others, self.options.seed, n_answers)


def ways(sides: Iterable[Side], extent: Extent, *, wrong_trait: bool, shown: bool) -> list[Way]:
    """All ways that are compared. `wrong_trait`: there are other traits' directions; `shown`: demonstrations."""
    found = [BARE]
    for side in sides:
        found += [steered(side, coefficient) for coefficient in extent.coefficients]
        controls: tuple[SweepKind, ...] = ("random", "wrong_trait") if wrong_trait else ("random",)
        found += [steered(side, coefficient, kind) for kind in controls for coefficient in extent.controlled]
        found += [in_words(side, "prompt"), in_words(side, "prompt", 1.0)]
        found += [in_words(side, "demonstrations")] if shown else []
    return found


def costed(sides: Iterable[Side]) -> list[Way]:
    """The ways whose costs are measured."""
    found = [BARE]
    for side in sides:
        found += [*(steered(side, coefficient) for coefficient in COSTED), in_words(side, "prompt")]
    return found
