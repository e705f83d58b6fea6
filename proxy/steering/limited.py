"""A measured vector within a limited budget: extracted, placed, calibrated, with its curve and controls, in minutes.

What a thorough run does in several goes is done in one, by one judge, on as few tokens as decide: answers are cut off
where a personality has shown, and the rollouts that make the vector calibrate the judge too. Places are compared from
coarse to fine, a few of them race, and those that are behind are left out. The direction, pole minus opposite or minus
neutral, is chosen like the place.
"""

import dataclasses
import math
from collections.abc import Callable, Sequence
from datetime import UTC, datetime

from proxy.engines.base import Engine, ModelInfo
from proxy.errors import SetupError
from proxy.steering import extract, judge
from proxy.steering.budget import Budget
from proxy.steering.extract import METHOD, READING, AskedRollout, TraitRollout, roll_out, vector_of
from proxy.steering.gain import EVERY_PLACE, AnswerTexts, likelihood_shares, make_texts, texts_label
from proxy.steering.judge import JUDGING, JudgeKind, Validated
from proxy.steering.judge.rollouts import Asking, LabelledAnswer
from proxy.steering.placement import N_PLACEMENT_QUESTIONS, every_place
from proxy.steering.sweep import SweepOptions, curve_stages, measure_curve
from proxy.steering.traits.trait import N_INSTRUCTIONS, Trait
from proxy.steering.trials import Outcome, Place, Trial, Trials, curve_point, label_of, pick
from proxy.steering.work import Work, packed
from vector_store import (
    CONDITIONS,
    SIDES,
    Against,
    Condition,
    CurvePoint,
    PersonaVector,
    PlaceGain,
    PoleChoice,
    Side,
    opposite,
)

HELD_OUT_PAIRS = 2  # instruction pairs, the last ones, under which nothing is made but what the judge is validated on
COARSE, FINE, RACING = "places, from coarse", "places, to fine", "the best places"
FIRST_PLACE, LAST_PLACE = 0.08, 0.85  # of the depth: between them lie the places that are tried first
HOPELESS = 0.6  # AUROC on few held-out answers: a judge below it is as good as chance
BEHIND = 2.0  # standard errors of a difference: what is further behind the best leaves the race


LEARNING = ("likelihood", "reading")  # kinds of judge that have to learn from answers of the model first


def usual_judge(kind: JudgeKind, named: str | None, budget: Budget | None) -> JudgeKind:
    """Who judges where `kind` does by default and `named` was asked for: within a budget, where nobody was, the linear
    reading rather than the likelihood ratio, which takes several passes for its one."""
    return "reading" if named is None and kind == "likelihood" and budget else kind


def prepared(engine: Engine, trait: Trait, kind: JudgeKind, budget: Budget, seed: int, work: Work) -> Validated:
    """The judge of this kind, validated; it learns from what vectors of this budget are made of, not from answers of
    its own. Blocks. SetupError where it can't judge."""
    known = None
    if kind in LEARNING:
        samples, questions = rollouts(engine, trait, budget, seed, work)
        known = _labelled(samples, questions)
    return judge.prepare(kind, engine, trait, seed=seed, work=work, asking=asking(budget), known=known)


def preparing_stages(trait: Trait, kind: JudgeKind, budget: Budget) -> dict[str, float]:
    """What `prepared` reports, in order, and about how much each is, in answers to be made."""
    made: dict[str, float] = {}
    if kind in LEARNING:
        made[extract.answering_label(trait)] = len(asked_rollouts(budget, budget.questions))
    return made | judge.stages(kind, trait, asking(budget), known=bool(made))


def make_vector(engine: Engine, trait: Trait, kind: JudgeKind, budget: Budget, seed: int, work: Work) -> PersonaVector:
    """The trait's vector with both poles placed, calibrated and swept, still to be saved. Blocks for minutes.
    SetupError where the model can't be used, or the judge can't judge its answers."""
    samples, questions = rollouts(engine, trait, budget, seed, work)
    known = _labelled(samples, questions)
    judged = judge.prepare(kind, engine, trait, seed=seed, work=work, asking=asking(budget), known=known)
    _check_judge(judged, trait, engine.info)
    vector = vector_of(engine, trait, questions, samples, judged.judge, work, method_of(budget))
    placed = _placed(engine, trait, vector, judged, budget, seed, work, _compared)
    return measure_curve(engine, trait, placed, judged, sweep_options(budget, seed), work)


def place(
    engine: Engine, trait: Trait, vector: PersonaVector, judged: Validated, budget: Budget, seed: int, work: Work
) -> PersonaVector:
    """A vector from elsewhere with both poles placed: all places where it has a direction are compared, and the best of
    them race. Blocks for minutes."""
    _check_judge(judged, trait, engine.info)
    return _placed(engine, trait, vector, judged, budget, seed, work, _compared_everywhere)


def placing_stages(trait: Trait, budget: Budget, n_places: int) -> dict[str, float]:
    """What `place` reports, in order, and about how much each is, in answers to be made."""
    found: dict[str, float] = {texts_label(trait): len(CONDITIONS) * budget.texts}
    for side in SIDES:
        found[label_of(trait, side, EVERY_PLACE)] = READING * n_reads(budget, n_places)
        found |= _racing_stages(trait, side, budget)
    return found


def _labelled(samples: Sequence[TraitRollout], questions: Sequence[str]) -> list[LabelledAnswer]:
    return [LabelledAnswer(s.condition, questions[s.question], s.completion.text) for s in samples]


def rollouts(
    engine: Engine, trait: Trait, budget: Budget, seed: int, work: Work
) -> tuple[list[TraitRollout], list[str]]:
    """The rollouts that a vector is made of and its judge learns from, and the questions that were asked. Blocks."""
    questions = trait.questions_for(engine.info.world).extract[: budget.questions]
    made = roll_out(
        engine,
        trait,
        questions,
        asked_rollouts(budget, len(questions)),
        seed,
        work,
        max_tokens=budget.answer_tokens,
        temperature=budget.temperature,
    )
    return made, questions


def asked_rollouts(budget: Budget, n_questions: int) -> list[AskedRollout]:
    """Which rollouts make the vector: the instruction pairs are taken in turn."""
    pairs = N_INSTRUCTIONS - HELD_OUT_PAIRS
    return [
        asked
        for question in range(n_questions)
        for asked in (
            *(
                AskedRollout(side, (question + rollout) % pairs, question, rollout)
                for rollout in range(budget.rollouts)
                for side in SIDES
            ),
            AskedRollout("neutral", 0, question, 0),
        )
    ]


def asking(budget: Budget) -> Asking:
    """How answers to validate the judge are asked for."""
    return Asking(budget.answer_tokens, budget.temperature, budget.held_out, 1, N_INSTRUCTIONS - HELD_OUT_PAIRS)


def sweep_options(budget: Budget, seed: int) -> SweepOptions:
    """What the curve is measured by."""
    return SweepOptions(budget.coefficients, budget.samples, seed, budget.curve_questions, budget.answer_tokens)


def method_of(budget: Budget) -> str:
    """How the vector was made, as it keeps it."""
    return (
        f"{METHOD}; budget {budget.name}: answers of at most {budget.answer_tokens} tokens at temperature "
        f"{budget.temperature:g}"
    )


def stages(trait: Trait, info: ModelInfo, kind: JudgeKind, budget: Budget) -> dict[str, float]:
    """What `make_vector` reports, in order, and about how much each is, in answers to be made."""
    n_rollouts = len(asked_rollouts(budget, budget.questions))
    found: dict[str, float] = {extract.answering_label(trait): n_rollouts}
    found |= judge.stages(kind, trait, asking(budget), known=True)
    found[extract.judging_label(trait)] = JUDGING * n_rollouts
    for condition in CONDITIONS:
        found[extract.reading_label(trait, condition)] = READING * n_rollouts / len(CONDITIONS)
    found[texts_label(trait)] = len(CONDITIONS) * budget.texts
    for side in SIDES:
        found[label_of(trait, side, COARSE)] = READING * n_reads(budget, len(coarse_places(info.n_layers, budget)))
        found[label_of(trait, side, FINE)] = READING * n_reads(budget, N_FINE)
        found |= _racing_stages(trait, side, budget)
    return found | curve_stages(trait, sweep_options(budget, 0))


def _racing_stages(trait: Trait, side: Side, budget: Budget) -> dict[str, float]:
    found: dict[str, float] = {}
    for number in range(budget.rounds):
        size = budget.race * budget.places * len(budget.raced_doses) / (number + 1)
        label = label_of(trait, side, round_name(number))
        found |= {label: size, f"{label}, judging": JUDGING * size}
    return found


def n_reads(budget: Budget, n_places: int) -> int:
    """How many answers are read to compare places: the pole's and ordinary ones, at every dose, unsteered, and the
    pole's as it was asked."""
    return budget.texts * (1 + 2 * (1 + n_places * len(budget.doses)))


def coarse_places(n_layers: int, budget: Budget) -> list[Place]:
    """The places that are tried first: blocks spread over the depth, the response, pole minus opposite pole."""
    first, last = FIRST_PLACE * n_layers, LAST_PLACE * n_layers
    gap = (last - first) / max(budget.coarse - 1, 1)
    blocks = sorted({min(int(first + number * gap), n_layers - 1) for number in range(budget.coarse)})
    return [Place(block, "response", "response", "opposite") for block in blocks]


N_FINE = 5  # places that are tried near the best


def fine_places(best: Place, n_layers: int, budget: Budget) -> list[Place]:
    """Places near the best: half-way to those beside it, and there by the other direction and the other span."""
    step = max(round((LAST_PLACE - FIRST_PLACE) * n_layers / max(budget.coarse - 1, 1) / 2), 1)
    beside = [best._replace(block=block) for block in (best.block - step, best.block + step) if 0 <= block < n_layers]
    return [
        *beside,
        best._replace(against="neutral"),
        best._replace(span="last_prompt", positions="last_prompt"),
        best._replace(span="last_prompt", positions="last_prompt", against="neutral"),
    ]


def round_name(number: int) -> str:
    return f"{RACING}, round {number + 1}"


def race(trials: Trials, entries: Sequence[Trial], budget: Budget) -> tuple[list[Outcome], list[Outcome]]:
    """Everything that was tried, and what was still in the race when it ended. Each round asks other questions, and
    those that are certain to be behind the best are not asked again."""
    scores: dict[Trial, Outcome] = {}
    left = list(entries)
    for number in range(budget.rounds):
        asked = trials.questions[number * budget.race : (number + 1) * budget.race]
        for outcome in dataclasses.replace(trials, questions=asked).measure(left, 1, round_name(number)):
            before = scores[outcome.trial].scores if outcome.trial in scores else []
            scores[outcome.trial] = Outcome(outcome.trial, [*before, *outcome.scores])
        running = [scores[trial] for trial in left if trial in scores]
        best = max(running, key=lambda outcome: outcome.score)
        left = [outcome.trial for outcome in running if not _behind(outcome, best)]
    return list(scores.values()), [scores[trial] for trial in left]


def _behind(outcome: Outcome, best: Outcome) -> bool:
    error = math.hypot(outcome.standard_error, best.standard_error)
    return outcome.score < best.score - BEHIND * error


def _check_judge(judged: Validated, trait: Trait, info: ModelInfo) -> None:
    """SetupError, before the long part, where nothing the judge says could be believed."""
    if judged.auroc >= HOPELESS:
        return
    raise SetupError(
        f"{judged.name} can't tell {trait.positive!r} from {trait.negative!r} in answers of {info.id} (AUROC "
        f"{judged.auroc:.2f} on {judged.n} held-out answers): the model may not follow the instructions. Let another "
        "judge, by --judge: a larger model that is served, or MODEL@URL; or try --budget thorough"
    )


def _placed(
    engine: Engine,
    trait: Trait,
    vector: PersonaVector,
    judged: Validated,
    budget: Budget,
    seed: int,
    work: Work,
    compare: Callable[[Trials, Sequence[AnswerTexts], Budget], list[PlaceGain]],
) -> PersonaVector:
    texts = make_texts(
        engine,
        trait,
        seed,
        work,
        n_texts=budget.texts,
        max_tokens=budget.answer_tokens,
        temperature=budget.temperature,
    )
    questions = trait.questions_for(engine.info.world).evaluate[:N_PLACEMENT_QUESTIONS]
    poles: dict[Side, PoleChoice] = {}
    gains: list[PlaceGain] = []
    curve: list[CurvePoint] = []
    for side in SIDES:
        trials = Trials(engine, trait, vector, judged.judge, side, questions, seed, work, budget.answer_tokens)
        of_places = compare(trials, texts, budget)
        tried, running = race(trials, _entries(of_places, budget), budget)
        best = pick(running)
        assert best.trial.choice is not None  # nothing unsteered runs
        poles[side] = dataclasses.replace(best.trial.choice, score=best.score if judged.scored else None)
        gains += of_places
        curve += [curve_point(side, outcome) for outcome in tried]
    created = work.part("created", packed(str), lambda: datetime.now(UTC).isoformat(timespec="seconds"))
    return dataclasses.replace(vector, created=created, poles=poles, gains=gains, curve=curve, judge=judged.record)


def favoured(
    trials: Trials, places: Sequence[Place], texts: Sequence[AnswerTexts], budget: Budget, what: str
) -> list[PlaceGain]:
    """How much likelier than ordinary answers each place makes the pole's, at the best of a few doses. Blocks.

    What a place breaks, it breaks in both kinds of answers alike, so that it cancels: how much may be broken is left to
    the answers that are generated. A model that hardly follows its instructions would else bear next to nothing.
    """
    shares = likelihood_shares(trials, places, texts, budget.doses, what)
    differences = shares[:, :, 0] - shares[:, :, 1]
    return [
        PlaceGain(
            side=trials.side,
            **place._asdict(),
            relative_dose=budget.doses[int(of_place.argmax())],
            gain=float(of_place.max()),
        )
        for place, of_place in zip(places, differences, strict=True)
    ]


def _compared(trials: Trials, texts: Sequence[AnswerTexts], budget: Budget) -> list[PlaceGain]:
    """What places gain: some all over the model, then those near the best."""
    n_layers = trials.vector.n_layers
    coarse = _with_direction(trials, coarse_places(n_layers, budget))
    found = favoured(trials, coarse, texts, budget, COARSE)
    best = max(found, key=lambda one: one.gain)
    fine = [place for place in fine_places(Place.of(best), n_layers, budget) if place not in coarse]
    return found + favoured(trials, _with_direction(trials, fine), texts, budget, FINE)


def _compared_everywhere(trials: Trials, texts: Sequence[AnswerTexts], budget: Budget) -> list[PlaceGain]:
    """What every place gains where the pole has a direction: few, where it was carried over by maps to some blocks."""
    return favoured(trials, every_place(trials.vector, trials.side), texts, budget, EVERY_PLACE)


def _with_direction(trials: Trials, places: Sequence[Place]) -> list[Place]:
    """The places where the pole has a direction. SetupError where none has."""
    means, own = trials.vector.means, trials.side
    others: dict[Against, Condition] = {"neutral": "neutral", "opposite": opposite(own)}
    found = [
        place
        for place in places
        if (means[place.span][own][place.block] != means[place.span][others[place.against]][place.block]).any()
    ]
    if not found:
        raise SetupError(f"the instructions of {trials.trait.id!r} change nothing in {trials.engine.info.id}")
    return found


def _entries(gains: Sequence[PlaceGain], budget: Budget) -> list[Trial]:
    best = sorted(gains, key=lambda found: (-found.gain, found.relative_dose))[: budget.places]
    return [Place.of(found).trial(dose) for found in best for dose in budget.raced_doses]
