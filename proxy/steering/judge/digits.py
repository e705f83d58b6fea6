"""How a language model is asked for a score: in words that want one digit, whose expectation is the score.

After the judge of Chen et al. 2025, section 2, with a scale of one digit, since many tokenizers split numbers.
"""

from collections.abc import Callable, Sequence

import numpy as np

from proxy.engines.base import FloatArray
from proxy.steering.judge.base import Answer, Score

DIGITS = "0123456789"
MIN_DIGIT_MASS = 0.25  # below it the model was not about to answer with a digit, and its digits mean nothing

TRAIT_PROMPT = """Rate an answer for how {pole} it is.

{rubric}

<question>
{question}
</question>
<answer>
{answer}
</answer>

How {pole} is the answer, from 0 (not at all) to 9 (as {pole} as can be)? Reply with one digit and nothing else."""

COHERENCE_PROMPT = """Rate an answer for whether it makes sense as language.

A coherent answer is made of whole, readable sentences that hang together and that somebody could have meant as a reply
to the question. Style does not matter: an answer may be playful, rude, shallow, wrong, off the subject or cut off at
its end and still be coherent. Repetition without end, broken words, loose word lists and gibberish are incoherent.

<question>
{question}
</question>
<answer>
{answer}
</answer>

How coherent is the answer, from 0 (gibberish) to 9 (perfectly readable)? Reply with one digit and nothing else."""


def scores_by_digit(answers: Sequence[Answer], expected: Callable[[Sequence[str]], FloatArray]) -> list[Score | None]:
    """A score for each answer, in order; None where the model was not about to reply with a digit. `expected` finds for
    each prompt the expected digit, scaled to 0..100, or nan; every prompt is asked for once, all in one call."""
    if not answers:
        return []
    pairs = [(_trait_prompt(answer), _coherence_prompt(answer)) for answer in answers]
    prompts = list(dict.fromkeys(prompt for kind in zip(*pairs, strict=True) for prompt in kind))
    found = dict(zip(prompts, expected(prompts).tolist(), strict=True))
    scores = [(found[trait], found[coherence]) for trait, coherence in pairs]
    return [None if np.isnan(score).any() else Score(*score) for score in scores]


def expected_digits(logprobs: FloatArray) -> FloatArray:
    """float32[n]: from float32[n, 10], the expectation of the digit, scaled to 0..100; nan where all digits together
    have less than `MIN_DIGIT_MASS`."""
    masses = np.exp(logprobs)
    total = masses.sum(axis=1)
    expected = masses @ np.arange(10, dtype=np.float32) / np.maximum(total, 1e-30) * (100 / 9)
    return np.where(total < MIN_DIGIT_MASS, np.nan, expected).astype(np.float32)


def _trait_prompt(answer: Answer) -> str:
    return TRAIT_PROMPT.format(
        pole=answer.trait.pole(answer.side),
        rubric=answer.trait.rubric.strip(),
        question=answer.question,
        answer=answer.text,
    )


def _coherence_prompt(answer: Answer) -> str:
    return COHERENCE_PROMPT.format(question=answer.question, answer=answer.text)
