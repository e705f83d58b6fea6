"""The ways to get a pole that are compared: what steers each of them, and all of them as generations from one list, so
that they share every batch.

All that add to the residuals do so at the same place and relative dose; they differ in the direction alone. Nothing
here is chosen by what a transferred vector does. Either place and dose are the native vector's own, or, as for a trait
the target has no vector of, those that the other traits' native vectors have most in common. The same question and
sample has the same seed in every arm. Knows nothing of what the answers are worth.
"""

import dataclasses
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path
from typing import Literal, NamedTuple, get_args

import numpy as np

from proxy.engines.base import Engine, FloatArray, Generation, Intervention, ModelInfo, Plan, Rollout, Sampling, Span
from proxy.errors import SetupError
from proxy.steering import sampling
from proxy.steering.asking import MAX_TOKENS, answer_tokens, messages
from proxy.steering.budget import BUDGETS, THOROUGH, Budget, BudgetName
from proxy.steering.dose import unit
from proxy.steering.measuring import OwnResiduals
from proxy.steering.placement import N_PLACEMENT_QUESTIONS
from proxy.steering.seeds import Purpose, seed_of
from proxy.steering.traits.trait import Trait
from proxy.steering.transfer.apply import carried, check
from proxy.steering.transfer.files import TransferInfo
from proxy.steering.transfer.pairs import prompt
from proxy.steering.transfer.text import documents
from proxy.steering.trials import TEMPERATURE, Place
from proxy.steering.work import Work
from proxy.steering.world import world_of
from vector_store import SIDES, SPANS, PersonaVector, PoleChoice, Side, VectorStore

ArmKind = Literal[
    "none",
    "native",
    "transferred",
    "random",
    "random_covariance",
    "shuffled",
    "wrong_trait",
    "sampling",
    "prompt",
    "native_by_others",
    "transferred_by_others",
]
KINDS: tuple[ArmKind, ...] = get_args(ArmKind)
# Within a limited budget: the others ask for much beside, or for answers of several traits.
KINDS_WITHIN: tuple[ArmKind, ...] = ("none", "native", "transferred", "random", "shuffled", "wrong_trait", "prompt")
N_RANDOM = 5  # directions of either kind, a sample each
N_WITHIN = 2  # directions or maps of each control within a limited budget
N_ACTIVATIONS = 256  # answers whose residuals say how activations vary
N_WORLD_QUESTIONS = 20  # held-out ones of the model's own world, besides each trait's
ACTIVATIONS = "activations"


@dataclass(frozen=True)
class Pole:
    """One pole in the target. `source` is the source's own vector, `native` the target's, None where it has none,
    `transferred` the source's carried over, `shuffled` the same by maps that were fitted to wrongly paired text.
    `choice`: where and how strongly all of them are added."""

    trait: Trait
    side: Side
    source: PersonaVector
    native: PersonaVector | None
    transferred: PersonaVector
    shuffled: Sequence[PersonaVector]
    choice: PoleChoice

    @property
    def name(self) -> str:
        return self.trait.pole(self.side)

    def direction(self, vector: PersonaVector) -> FloatArray:
        """float32[hidden], not normalised: the vector's at the pole's place."""
        return vector.direction(self.side, self.choice.span, self.choice.block)

    @property
    def residual_norm(self) -> float:
        """The median residual norm at the pole's place."""
        return float(self.transferred.residual_norms[self.choice.span][self.choice.block])


def poles_of(
    info: ModelInfo, traits: Mapping[str, Trait], store: VectorStore, transfer: TransferInfo, folder: Path
) -> list[Pole]:
    """Both poles of each trait. `folder` holds all transfers. Where the target has no vector of its own, place and dose
    are those at which the carried one was placed. SetupError where that was not done either, where the native vector
    has no place at a block that has a map, and as in apply.check."""
    found = []
    for trait in traits.values():
        source = native_vector(store, transfer.source.id, transfer.source.fingerprint, trait)
        native = store.in_use(info.id, trait.id, info.fingerprint, origin="native")
        check(info, trait, source, transfer)
        placed = native or applied(store, transfer, trait)
        if placed is None:
            raise SetupError(
                f"{info.id} has no vector of its own for {trait.id}, nor one that was carried over by {transfer.id}: "
                f"persona-proxy extract --model {info.id} --trait {trait.id}, or persona-proxy transfer apply"
            )
        own = _own_residuals(placed)
        n_controls = min(map_.n_controls for map_ in transfer.maps)
        transferred, *shuffled = [
            carried(info, source, transfer, folder, own, control) for control in (None, *range(n_controls))
        ]
        for side in SIDES:
            choice = placed.poles[side] if native is None else _own_choice(native, transferred, side)
            found.append(Pole(trait, side, source, native, transferred, shuffled, choice))
    return found


def others_of(
    info: ModelInfo, poles: Sequence[Pole], store: VectorStore, transfer: TransferInfo, folder: Path
) -> list[PersonaVector]:
    """The source's vectors of other traits than those of `poles`, carried over, in order of their names."""
    asked = {pole.trait.id for pole in poles}
    used = store.all_in_use(transfer.source.id, transfer.source.fingerprint)
    own = _own_residuals(poles[0].transferred)
    return [
        carried(info, store.get(used[id_].id), transfer, folder, own)
        for id_ in sorted(set(used) - asked)
        if used[id_].origin == "native"
    ]


def _own_residuals(vector: PersonaVector) -> OwnResiduals:
    """The model's own, as its vector has them: with them the dose is the same for both to the last digit."""
    neutral = {span: means["neutral"] for span, means in vector.means.items()}
    return OwnResiduals(neutral, vector.residual_norms, vector.counts["neutral"])


def applied(store: VectorStore, transfer: TransferInfo, trait: Trait) -> PersonaVector | None:
    """The target's vector that was carried over by these maps and placed; None where there is none."""
    target = transfer.target
    vector = store.in_use(target.id, trait.id, target.fingerprint, origin="transferred")
    if vector is None or not vector.poles or vector.transfer is None or vector.transfer.id != transfer.id:
        return None
    return vector


def native_vector(store: VectorStore, model_id: str, fingerprint: str, trait: Trait) -> PersonaVector:
    """The vector of these weights, of those taken from the model itself, that would be in use if there were no others.
    SetupError where there is none."""
    vector = store.in_use(model_id, trait.id, fingerprint, origin="native")
    if vector is not None:
        return vector
    raise SetupError(
        f"{model_id} has no vector of its own for {trait.id}: persona-proxy extract --model {model_id} "
        f"--trait {trait.id}"
    )


def by_others(pole: Pole, poles: Sequence[Pole]) -> PoleChoice | None:
    """The most common place of the other traits' native poles, and their median relative dose there; None without
    others, and for a pole that has no native vector to compare with."""
    others = [other.choice for other in poles if other.trait.id != pole.trait.id and other.native is not None]
    if not others or pole.native is None:
        return None
    place = Counter(map(Place.of, others)).most_common(1)[0][0]
    dose = statistics.median(choice.relative_dose for choice in others if Place.of(choice) == place)
    return PoleChoice(block=place.block, span=place.span, positions=place.positions, relative_dose=dose)


def _own_choice(native: PersonaVector, transferred: PersonaVector, side: Side) -> PoleChoice:
    """The native vector's, or, where that block has no map, the place of those with one at which the native vector
    gains most likelihood."""
    choice = native.poles.get(side)
    if choice is not None and _reaches(transferred, side, Place.of(choice)):
        return choice
    mapped = [gain for gain in native.gains if gain.side == side and _reaches(transferred, side, Place.of(gain))]
    if not mapped:
        where = "nowhere" if choice is None else f"at block {choice.block}, {choice.span}"
        raise SetupError(
            f"the vector {native.id!r} steers {native.pole(side)!r} {where}, where the transfer has no map; fit one "
            "with that block"
        )
    best = max(mapped, key=lambda gain: gain.gain)
    return PoleChoice(block=best.block, span=best.span, positions=best.positions, relative_dose=best.relative_dose)


def _reaches(transferred: PersonaVector, side: Side, place: Place) -> bool:
    return place.span in transferred.means and bool(transferred.direction(side, place.span, place.block).any())


@dataclass(frozen=True)
class EvaluationOptions:
    """How an evaluation is made. `samples`: answers to each question in each arm that has no variants of its own. The
    same `seed` makes the same answers, on the same machine. Within a limited `budget` the judge is made as it is for
    vectors of that budget, answers are as long as there, and there are fewer arms."""

    samples: int = 2
    seed: int = 0
    budget: BudgetName = THOROUGH

    def __post_init__(self) -> None:
        """SetupError where a number is out of range."""
        if not 1 <= self.samples <= 100:
            raise SetupError(f"samples must be from 1 to 100, not {self.samples}")
        if self.seed < 0:
            raise SetupError(f"the seed must not be negative, as {self.seed} is")

    @property
    def limited(self) -> Budget | None:
        """The numbers of a limited budget; None where it is thorough."""
        return BUDGETS.get(self.budget)

    @property
    def max_tokens(self) -> int:
        """Of each answer."""
        return MAX_TOKENS if self.limited is None else self.limited.answer_tokens

    @property
    def kinds(self) -> tuple[ArmKind, ...]:
        """The arms that may be asked."""
        return KINDS if self.limited is None else KINDS_WITHIN

    @property
    def n_random(self) -> int:
        """How many directions of either kind there are."""
        return N_RANDOM if self.limited is None else N_WITHIN


class EvaluationCell(NamedTuple):
    """One answer: to get which pole (its index), in which way, to which question, and which sample."""

    pole: int
    kind: ArmKind
    question: int
    sample: int


@dataclass(frozen=True)
class Arms:
    """Everything that is asked. `questions`: per trait, those nothing was chosen on. `activations`: per span,
    float32[n, n_layers, hidden], what the target's residuals vary in. `others`: carried vectors of other traits, which
    are the wrong ones where one trait is measured alone."""

    engine: Engine
    poles: Sequence[Pole]
    questions: Mapping[str, Sequence[str]]
    activations: Mapping[Span, FloatArray]
    options: EvaluationOptions
    others: Sequence[PersonaVector] = ()

    @cached_property
    def asked(self) -> list[EvaluationCell]:
        """Everything that is asked, question by question. No steering is asked for once per trait, under its first
        pole."""
        longest = max(map(len, self.questions.values()))
        return [
            EvaluationCell(index, kind, question, sample)
            for question in range(longest)
            for index, pole in enumerate(self.poles)
            if question < self.n_questions(index)
            for kind in KINDS
            for sample in range(self.n_samples(index, kind))
        ]

    def n_samples(self, index: int, kind: ArmKind) -> int:
        """How many answers there are to each question; where an arm has variants, one of each."""
        pole = self.poles[index]
        if kind not in self.options.kinds or (kind == "native" and pole.native is None):
            return 0
        if kind == "none":
            return self.options.samples if self.base_of(index) == index else 0
        if kind in ("random", "random_covariance"):
            return self.options.n_random
        if kind == "shuffled":
            return len(pole.shuffled) if self.options.limited is None else min(len(pole.shuffled), N_WITHIN)
        if kind == "wrong_trait":
            return len(self.wrong(index))
        if kind.endswith("by_others") and by_others(pole, self.poles) is None:
            return 0
        return self.options.samples

    def n_questions(self, index: int) -> int:
        return len(self.questions[self.poles[index].trait.id])

    def base_of(self, index: int) -> int:
        """The pole under which the unsteered answers to the same questions are."""
        return next(i for i, pole in enumerate(self.poles) if pole.trait.id == self.poles[index].trait.id)

    def wrong(self, index: int) -> list[PersonaVector]:
        """The other traits' carried vectors, by whose pole of the same side the samples of the arm `wrong_trait` are
        steered."""
        pole = self.poles[index]
        asked = [
            other.transferred for other in self.poles if other.side == pole.side and other.trait.id != pole.trait.id
        ]
        found = asked or [other for other in self.others if pole.direction(other).any()]
        return found if self.options.limited is None else found[:N_WITHIN]

    def question(self, asked: EvaluationCell) -> str:
        return self.questions[self.poles[asked.pole].trait.id][asked.question]

    def generations(self) -> list[Generation]:
        """A generation for each cell that is asked."""

        @cache
        def prompt_of(instruction: str | None, question: str) -> list[int]:
            return self.engine.render(messages(instruction, question))

        @cache
        def plan(pole: int, kind: ArmKind, sample: int) -> Plan:
            return self.plan(pole, kind, sample)

        made = []
        for asked in self.asked:
            tokens = prompt_of(self._instruction(asked), self.question(asked))
            drawn = Sampling(answer_tokens(self.engine, tokens, self.options.max_tokens), temperature=TEMPERATURE)
            if asked.kind == "sampling":
                drawn = self._modulated(self.poles[asked.pole], drawn)
            seed = seed_of(self.options.seed, Purpose.TRANSFER_EVALUATION, asked.question, asked.sample)
            drawn = dataclasses.replace(drawn, seed=seed)
            made.append(Generation(tokens, drawn, plan(asked.pole, asked.kind, asked.sample)))
        return made

    def plan(self, index: int, kind: ArmKind, sample: int) -> Plan:
        """What a pole's answers are steered by in an arm."""
        if kind in ("none", "sampling", "prompt"):
            return Plan()
        pole = self.poles[index]
        if kind.endswith("by_others"):
            pole = dataclasses.replace(pole, choice=by_others(pole, self.poles) or pole.choice)
        return added(self._direction(pole, index, kind, sample), pole)

    def _direction(self, pole: Pole, index: int, kind: ArmKind, sample: int) -> FloatArray:
        rng = np.random.default_rng((self.options.seed, index, sample))
        if kind == "random":
            return rng.standard_normal(pole.transferred.hidden_size).astype(np.float32)
        if kind == "random_covariance":
            return drawn_within(self.activations[pole.choice.span][:, pole.choice.block], rng)
        if kind == "shuffled":
            return pole.direction(pole.shuffled[sample])
        if kind == "wrong_trait":
            return pole.direction(self.wrong(index)[sample])
        return pole.direction(pole.native if kind.startswith("native") and pole.native else pole.transferred)

    def _instruction(self, asked: EvaluationCell) -> str | None:
        """The system prompt of the arm that asks by one, the trait's instructions in turn; None in every other arm."""
        if asked.kind != "prompt":
            return None
        pole = self.poles[asked.pole]
        pairs = pole.trait.instructions
        return pairs[(asked.question + asked.sample) % len(pairs)].side(pole.side)

    def _modulated(self, pole: Pole, drawn: Sampling) -> Sampling:
        """The sampling as a server changes it that has no vector for the model but the source's."""
        change = sampling.modulation({pole.name: 1.0}, {pole.name: (pole.source, pole.side)})
        return sampling.sample(drawn.max_tokens, sampling.AskedSampling(drawn.temperature), change)[0]


def added(direction: FloatArray, pole: Pole) -> Plan:
    """Adding along a direction, whatever its length, at the pole's place and relative dose. SetupError for none."""
    along, choice = unit(direction), pole.choice
    if along is None:
        raise SetupError(f"a direction for {pole.name!r} at block {choice.block} is zero")
    vector = along * np.float32(choice.relative_dose * pole.residual_norm)
    return Plan((Intervention(choice.block, choice.positions, "add", vector=vector),))


def drawn_within(rows: FloatArray, rng: np.random.Generator) -> FloatArray:
    """float32[hidden]: from the normal distribution that has the covariance of `rows`, float32[n, hidden]."""
    weights = rng.standard_normal(len(rows)).astype(np.float32)
    direction: FloatArray = weights @ (rows - rows.mean(axis=0)) / np.float32(len(rows) ** 0.5)
    return direction


def reported_questions(traits: Mapping[str, Trait], world: str | None) -> dict[str, list[str]]:
    """Per trait the half of its evaluate questions that nothing is chosen on; in a world held-out ones too."""
    known = world_of(world)
    more = [] if known is None else known.held_out_questions(traits, N_WORLD_QUESTIONS)
    return {id_: [*trait.questions_for(world).evaluate[N_PLACEMENT_QUESTIONS:], *more] for id_, trait in traits.items()}


def read_activations(engine: Engine, traits: Mapping[str, Trait], seed: int, work: Work) -> dict[Span, FloatArray]:
    """Per span, float32[n, n_layers, hidden]: the model's residuals in its own answers to trait-free text, of many
    kinds of people in many manners. Blocks."""
    prompts = [prompt(engine, document) for document in documents(traits, engine.info.world, seed, N_ACTIVATIONS)]
    generations = [
        Generation(
            ids,
            Sampling(
                answer_tokens(engine, ids, MAX_TOKENS),
                temperature=TEMPERATURE,
                seed=seed_of(seed, Purpose.TRANSFER_ACTIVATIONS, number),
            ),
        )
        for number, ids in enumerate(prompts)
    ]
    answers = work.answers("activations", ACTIVATIONS, engine, generations)
    rollouts = [
        Rollout(ids, answer.token_ids) for ids, answer in zip(prompts, answers, strict=True) if answer.token_ids
    ]
    if len(rollouts) < 2:
        raise SetupError(f"{engine.info.id} answers nothing to text that names no trait")
    stats = engine.capture(rollouts, SPANS)
    return {span: stats[span].means for span in SPANS}
