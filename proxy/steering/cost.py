"""What making a vector costs, before any of it is done: in tokens through the model, and by a short trial in seconds.

Tokens that are written, tokens that are read for their probabilities, and tokens of which only the residuals are wanted
are counted apart: each is faster than the one before. Knows the numbers of each step; chooses nothing.
"""

import time
from dataclasses import dataclass, replace

from proxy.engines.base import Engine, Generation, ModelInfo, Rollout, Sampling
from proxy.engines.blocking import generate_all
from proxy.steering import gain, limited, measuring, placement
from proxy.steering.asking import MAX_TOKENS, messages, under
from proxy.steering.budget import Budget
from proxy.steering.evaluation.asked import FACT_TOKENS, INSTRUCTED_TOKENS, costed, ways
from proxy.steering.evaluation.options import VectorEvaluationOptions
from proxy.steering.judge import JudgeKind
from proxy.steering.judge.linear import READ_TOKENS
from proxy.steering.judge.rollouts import CALIBRATING_PAIRS, USUAL_ASKING, Asking
from proxy.steering.judge.validation import N_DAMAGED
from proxy.steering.making import ExtractionOptions
from proxy.steering.sweep import SweepOptions
from proxy.steering.sweep.asked import all_listed
from proxy.steering.traits.trait import N_INSTRUCTIONS, N_QUESTIONS, Trait
from proxy.steering.trials import TEMPERATURE
from vector_store import CONDITIONS, SIDES, SPANS

TRIED, TRIED_TOKENS = 16, 24  # answers that are timed, and their tokens
N_READ = 32  # texts that are timed
LONG = 0.75  # of the most tokens of a long answer that one has on average, where most do not end early
USED = 0.8  # of the rollouts pass the judge, so that their residuals are read
DIGIT_PROMPT = 350  # tokens of what a language model is asked for a digit with, besides the answer


@dataclass(frozen=True)
class Cost:
    """Tokens that are `made`, that are `read` for their probabilities, and that are `passed`: read for residuals alone,
    as all of a prompt but its last is."""

    made: float = 0.0
    read: float = 0.0
    passed: float = 0.0

    def __add__(self, other: "Cost") -> "Cost":
        return Cost(self.made + other.made, self.read + other.read, self.passed + other.passed)

    def seconds(self, speed: "Speed") -> float:
        """How long it takes."""
        return self.made / speed.made + self.read / speed.read + self.passed / speed.passed


@dataclass(frozen=True)
class Speed:
    """Tokens a second that a model makes, many answers at once, reads and passes, as in Cost. `prompt`: tokens of a
    bare question; `asked`: of one under an instruction. `length`: tokens of an answer, where most end by themselves."""

    made: float
    read: float
    passed: float
    prompt: float
    asked: float
    length: float | None

    def answer(self, limit: int) -> float:
        """The tokens of an answer of at most `limit`."""
        usual = LONG * limit if limit > READ_TOKENS else float(limit)
        return usual if self.length is None else min(self.length, usual)


def measure_speed(engine: Engine, trait: Trait) -> Speed:
    """By a few answers to the trait's questions, made and read again. Blocks for seconds."""
    questions = trait.questions_for(engine.info.world).extract[: TRIED // 4]
    prompts = [engine.render(messages(None, question)) for question in questions]
    asked = [engine.render(under("positive", trait, 0, question, engine.info.world)) for question in questions]
    wanted = [
        Generation(prompts[number % len(prompts)], Sampling(TRIED_TOKENS, temperature=TEMPERATURE, seed=number))
        for number in range(TRIED)
    ]
    generate_all(engine, [replace(wanted[0], sampling=replace(wanted[0].sampling, max_tokens=2))])  # warms up
    began = time.perf_counter()
    answers = generate_all(engine, wanted)
    made_s = time.perf_counter() - began
    n_made = sum(len(answer.token_ids) + 1 for answer in answers)
    texts = [
        Rollout(wanted[number % TRIED].prompt, answers[number % TRIED].token_ids or prompts[0])
        for number in range(N_READ)
    ]
    began = time.perf_counter()
    engine.score(texts)
    read_s = time.perf_counter() - began
    began = time.perf_counter()
    engine.capture(texts, ["response"])
    passed_s = time.perf_counter() - began
    n_prompt = sum(map(len, prompts)) / len(prompts)
    ended = sum(answer.finish_reason == "stop" for answer in answers) > len(answers) / 2
    n_read = sum(len(text.response) + n_prompt / 4 for text in texts)
    return Speed(
        made=n_made / max(made_s, 1e-6),
        read=n_read / max(read_s, 1e-6),
        passed=n_read / max(passed_s, 1e-6),
        prompt=n_prompt,
        asked=sum(map(len, asked)) / len(asked),
        length=n_made / len(answers) if ended else None,
    )


def cost_of(trait: Trait, n_layers: int, kind: JudgeKind, options: ExtractionOptions, speed: Speed) -> Cost:
    """What making the trait's vector costs."""
    if options.limited is not None:
        return _limited(n_layers, kind, options.limited, speed)
    return _thorough(trait, n_layers, kind, options, speed)


def cost_of_evaluation(
    trait: Trait,
    info: ModelInfo,
    kind: JudgeKind,
    options: VectorEvaluationOptions,
    speed: Speed,
    second: JudgeKind | None = None,
) -> Cost:
    """What evaluating both poles of the trait's vector costs."""
    limit, budget = options.extent.max_tokens, options.limited
    n_questions = len(trait.questions_for(info.world).evaluate) - placement.N_PLACEMENT_QUESTIONS
    shown = bool(trait.shown_to(info.world))
    n_first = n_questions * options.n_samples * len(ways(SIDES, options.extent, wrong_trait=True, shown=shown))
    n_second = n_questions * (1 + 2 * len(SIDES))
    n_costed = 0 if info.world else len(costed(SIDES))
    n_compared = 4 * len(SIDES) * n_questions * options.n_samples
    preparing = _preparing(kind, budget, speed) + (Cost() if second is None else _preparing(second, budget, speed))
    return (
        preparing
        + _answers(n_first, limit, speed)
        + _answers(n_second, limit, speed)
        + _passed(n_second, speed.answer(limit), speed.prompt)
        + _answers(n_costed * options.extent.facts, FACT_TOKENS, speed)
        + _answers(n_costed * options.extent.instructions, INSTRUCTED_TOKENS, speed)
        + _judged(kind, n_first + n_second, limit, speed)
        + (Cost() if second is None else _judged(second, n_compared, limit, speed))
    )


def cost_of_sweep(trait: Trait, kind: JudgeKind, options: SweepOptions, speed: Speed) -> Cost:
    """What sweeping the trait's vector costs, other traits' directions included."""
    n = len(all_listed(options, wrong_trait=True))
    limit = options.max_tokens
    return _preparing(kind, None, speed) + _answers(n, limit, speed) + _judged(kind, n, limit, speed)


def cost_of_measuring(trait: Trait, info: ModelInfo, kind: JudgeKind, speed: Speed) -> Cost:
    """What measuring where and how strongly a vector from elsewhere steers costs."""
    sizes = measuring.stages(trait, info)
    n = sum(size for what, size in sizes.items() if "judging" not in what and "likelihood" not in what)
    return _preparing(kind, None, speed) + _answers(n, MAX_TOKENS, speed) + _judged(kind, n, MAX_TOKENS, speed)


def _preparing(kind: JudgeKind, budget: Budget | None, speed: Speed) -> Cost:
    """What a judge of its own costs."""
    limit = MAX_TOKENS if budget is None else budget.answer_tokens
    n_known = 0
    if kind in ("likelihood", "reading"):
        in_all = N_QUESTIONS * len(CONDITIONS)
        n_known = in_all if budget is None else len(limited.asked_rollouts(budget, budget.questions))
    asking = USUAL_ASKING if budget is None else limited.asking(budget)
    return (
        _answers(n_known, limit, speed, instructed=True)
        + _judged(kind, n_known, limit, speed)
        + _validated(kind, asking, speed)
    )


def _limited(n_layers: int, kind: JudgeKind, budget: Budget, speed: Speed) -> Cost:
    limit = budget.answer_tokens
    n_rollouts = len(limited.asked_rollouts(budget, budget.questions))
    n_races = sum(
        budget.race * budget.places * len(budget.raced_doses) / (number + 1) for number in range(budget.rounds)
    )
    n_curve = len(all_listed(limited.sweep_options(budget, 0), wrong_trait=False))
    n_places = len(limited.coarse_places(n_layers, budget)) + limited.N_FINE
    n_compared = limited.n_reads(budget, n_places) * len(SIDES)
    return (
        _answers(n_rollouts, limit, speed, instructed=True)
        + _passed(USED * n_rollouts, speed.answer(limit), speed.asked)
        + _judged(kind, n_rollouts, limit, speed)
        + _validated(kind, limited.asking(budget), speed)
        + _answers(len(CONDITIONS) * budget.texts, limit, speed, instructed=True)
        + _read(n_compared, speed.answer(min(limit, gain.N_TOKENS)), speed.prompt / 12)
        + _answers(len(SIDES) * n_races, limit, speed)
        + _judged(kind, len(SIDES) * n_races, limit, speed)
        + _answers(n_curve, limit, speed)
        + _judged(kind, n_curve, limit, speed)
    )


def _thorough(trait: Trait, n_layers: int, kind: JudgeKind, options: ExtractionOptions, speed: Speed) -> Cost:
    n_rollouts = len(trait.instructions) * options.questions * options.rollouts * len(CONDITIONS)
    n_tried = (
        len(SIDES)
        * sum(
            size
            for what, size in placement.stages(trait, n_layers).items()
            if "judging" not in what and "likelihood" not in what
        )
        / len(SIDES)
    )
    n_compared = gain.n_read(n_layers * len(SPANS)) * len(SIDES)
    n_calibrating = N_QUESTIONS * len(CONDITIONS) if kind in ("likelihood", "reading") else 0
    return (
        _answers(n_rollouts + n_calibrating, MAX_TOKENS, speed, instructed=True)
        + _passed(USED * n_rollouts, speed.answer(MAX_TOKENS), speed.asked)
        + _judged(kind, n_rollouts + n_calibrating, MAX_TOKENS, speed)
        + _validated(kind, USUAL_ASKING, speed)
        + _read(n_compared, speed.answer(gain.N_TOKENS), speed.prompt / 12)
        + _answers(n_tried, MAX_TOKENS, speed)
        + _judged(kind, n_tried, MAX_TOKENS, speed)
    )


def _answers(n: float, limit: int, speed: Speed, instructed: bool = False) -> Cost:
    """`n` answers. What prompts begin with alike is read once: the bare question's is kept from one answer to the next,
    and of those under an instruction all before the question."""
    beginnings = min(n, N_INSTRUCTIONS * len(SIDES)) * speed.asked
    prompts = beginnings + n * speed.prompt / 2 if instructed else n * speed.prompt / 8
    return Cost(n * speed.answer(limit), passed=prompts)


def _read(n: float, tokens: float, prompt: float) -> Cost:
    return Cost(read=n * (tokens + prompt))


def _passed(n: float, tokens: float, prompt: float) -> Cost:
    return Cost(passed=n * (tokens + prompt))


def _judged(kind: JudgeKind, n: float, limit: int, speed: Speed) -> Cost:
    tokens = speed.answer(limit)
    if kind == "likelihood":
        return _read((1 + 2 * len(CALIBRATING_PAIRS)) * n, tokens, speed.asked / 4)
    if kind == "reading":
        return _read(n, min(tokens, READ_TOKENS), speed.prompt / 4)
    # The rules cost nothing, an endpoint's tokens are not this model's, and another model's speed is not known here.
    return _read(2 * n, tokens, DIGIT_PROMPT) if kind == "model" else Cost()


def _validated(kind: JudgeKind, asking: Asking, speed: Speed) -> Cost:
    n = asking.n_held_out
    n_damaged = min(n, 2 * N_DAMAGED)
    return _answers(n, asking.max_tokens, speed, instructed=True) + _judged(
        kind, n + n_damaged, asking.max_tokens, speed
    )
