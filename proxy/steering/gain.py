"""How much likelier steering at a place makes a pole's own answers, at equal damage: places compared by reading alone.

The model's answers to a few extract questions, under each pole's instruction and under none, are read again behind the
bare question, under every place's plan at a few doses. What a plan adds to the log-probability of the pole's answers
is its gain, what it takes from that of the ordinary ones its damage, per token and as shares of what the instruction
adds to the pole's answers. Steering that came to the same as the instruction would gain 1, and a place counts for the
most it gains up to damage 1: until ordinary answers are as far from it as the pole's were from no steering. Both are
estimates of Kullback-Leibler divergences. Knows nothing of judges.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from proxy.engines.base import Engine, FloatArray, Generation, Plan, Rollout, Sampling
from proxy.errors import SetupError
from proxy.steering.asking import MAX_TOKENS, answer_tokens, under
from proxy.steering.seeds import Purpose, seed_of
from proxy.steering.traits.trait import Trait
from proxy.steering.trials import Place, Trials, label_of
from proxy.steering.work import Codec, Work, packed
from vector_store import CONDITIONS, Condition, PlaceGain

N_TEXTS = 8  # questions whose answers are read
N_TOKENS = 48  # read of each answer: a personality shows early
DOSES = (0.25, 0.5, 1.0, 2.0)  # relative ones
EVERY_PLACE = "every place, by likelihood"
_SUMS: Codec[list[float]] = packed(list[float])


@dataclass(frozen=True)
class AnswerTexts:
    """One question's answers: `prompts` are what was put to the model, `answers` the token ids it gave."""

    prompts: Mapping[Condition, list[int]]
    answers: Mapping[Condition, list[int]]

    def read(self, answer: Condition, prompt: Condition) -> Rollout:
        """The beginning of one condition's answer, behind a prompt that may be another condition's."""
        return Rollout(self.prompts[prompt], self.answers[answer][:N_TOKENS])


def n_read(n_places: int) -> int:
    """How many answers `measure_gains` reads: the pole's behind its instruction, and with as many ordinary ones behind
    the bare question, there unsteered and at each place with each dose."""
    return N_TEXTS * (1 + 2 * (1 + n_places * len(DOSES)))


def texts_label(trait: Trait) -> str:
    return f"{trait.id}: answers to compare places by"


def make_texts(
    engine: Engine,
    trait: Trait,
    seed: int,
    work: Work,
    *,
    n_texts: int = N_TEXTS,
    max_tokens: int = MAX_TOKENS,
    temperature: float = 1.0,
) -> list[AnswerTexts]:
    """The model's own answers to the first extract questions, the instruction pairs taken in turn."""
    prompts: list[Mapping[Condition, list[int]]] = []
    for number, question in enumerate(trait.questions_for(engine.info.world).extract[:n_texts]):
        pair = number % len(trait.instructions)
        prompts.append({c: engine.render(under(c, trait, pair, question, engine.info.world)) for c in CONDITIONS})
    generations = [
        Generation(
            prompt,
            Sampling(
                answer_tokens(engine, prompt, max_tokens),
                temperature=temperature,
                seed=seed_of(seed, Purpose.COMPARING_PLACES, number),
            ),
        )
        for number, prompt in enumerate(by[c] for by in prompts for c in CONDITIONS)
    ]
    found = iter(work.answers("texts", texts_label(trait), engine, generations))
    return [AnswerTexts(by, {condition: next(found).token_ids for condition in CONDITIONS}) for by in prompts]


def measure_gains(trials: Trials, places: Sequence[Place], texts: Sequence[AnswerTexts]) -> list[PlaceGain]:
    """What each place gains, in the order of `places`, as a share of what the pole's instruction adds. Blocks.
    SetupError where the instruction makes the pole's answers no likelier, which leaves nothing to compare with."""
    shares = likelihood_shares(trials, places, texts, DOSES, EVERY_PLACE)
    found = [at_equal_damage(DOSES, of_place[:, 0], -of_place[:, 1]) for of_place in shares]
    return [
        PlaceGain(side=trials.side, **place._asdict(), relative_dose=dose, gain=gain)
        for place, (dose, gain) in zip(places, found, strict=True)
    ]


def likelihood_shares(
    trials: Trials, places: Sequence[Place], texts: Sequence[AnswerTexts], doses: Sequence[float], what: str
) -> FloatArray:
    """float[n_places, n_doses, 2]: how much likelier steering makes the pole's answers, and ordinary ones, as shares of
    what the pole's instruction adds to its own. Blocks. `what` is being done, in words. SetupError where the
    instruction makes the pole's answers no likelier, which leaves nothing to compare with."""
    side, n = trials.side, len(texts)
    plans = [trials.plan(place.trial(dose)) for place in places for dose in doses]
    own, ordinary = ([text.read(condition, "neutral") for text in texts] for condition in (side, "neutral"))
    asked = [text.read(side, side) for text in texts]
    items = [(rollout, plan) for plan in (Plan(), *plans) for rollout in (*own, *ordinary)]
    name, label = f"{side}-{what.replace(' ', '-')}", label_of(trials.trait, side, what)
    items += [(rollout, Plan()) for rollout in asked]
    parts = trials.work.in_parts(name, label, items, _SUMS, lambda some: _likelihoods(trials.engine, some))
    sums = np.array([value for part in parts for value in part])
    # Per token of all answers together, not the mean of the answers' own means: short answers would weigh too much.
    n_tokens = [max(sum(len(rollout.response) for rollout in rollouts), 1) for rollouts in (own, ordinary)]
    likelihoods = sums[:-n].reshape(-1, 2, n).sum(axis=2) / n_tokens  # [1 + plans, own and ordinary], per token
    # What the instruction does is the unit, so that poles and models of any temperament compare.
    instructed = sums[-n:].sum() / n_tokens[0] - likelihoods[0, 0]
    if instructed <= 0:
        pole, model_id = trials.trait.pole(side), trials.engine.info.id
        raise SetupError(f"the instructions for {pole!r} make no difference to how {model_id} answers")
    shares: FloatArray = ((likelihoods[1:] - likelihoods[0]) / instructed).reshape(len(places), len(doses), 2)
    return shares


def at_equal_damage(doses: Sequence[float], gains: FloatArray, damages: FloatArray) -> tuple[float, float]:
    """The dose at which the gain is largest, and that gain, as far as the damage is not above 1. `doses` rise; `gains`
    and `damages`, float[n], are shares at each of them. In between lie straight lines, the first of which starts at
    nothing."""
    reached: list[FloatArray] = []
    before = np.zeros(3)  # dose, gain, damage
    for after in np.stack([doses, gains, damages], axis=1):
        # Beyond, steering takes ordinary answers further than the instruction takes the pole's: what it gains there it
        # pays for by breaking the model.
        if after[2] > 1:
            reached.append(before + (after - before) * (1 - before[2]) / (after[2] - before[2]))
            break
        reached.append(after)
        before = after
    dose, gain, _ = max(reached, key=lambda point: float(point[1]))
    return float(dose), float(gain)


def _likelihoods(engine: Engine, items: Sequence[tuple[Rollout, Plan]]) -> list[float]:
    """Each answer's log-probability under its plan, in nats, summed over its tokens."""
    rollouts, plans = [rollout for rollout, _ in items], [plan for _, plan in items]
    return [float(logprobs.sum()) for logprobs in engine.score(rollouts, plans)]
