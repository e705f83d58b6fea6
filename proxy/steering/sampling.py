"""Steering by sampling parameters: livelier or calmer draws instead of a moved residual. It works on every engine.

A persona's effect is its coefficient, with the sign of the trait's positive pole (`serious` at 1 is `silly` at -1),
times what its vector was measured to do. Then

    temperature        = base + 0.3 * effect
    top_p              = base - 0.2 * |effect|
    repetition_penalty = base + 0.1 * |effect|

with the base from the request, else 0.7, 0.9 and 1.0. The effects of several personas add up. Pure: it knows no model,
no store and no request.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from proxy.engines.base import Sampling
from vector_store import Side, VectorHeader, opposite

TEMPERATURE_STEP, TOP_P_STEP, PENALTY_STEP = 0.3, 0.2, 0.1
BASE_TEMPERATURE, BASE_TOP_P = 0.7, 0.9  # where the request says nothing; the penalty's is that of any request
TEMPERATURES, TOP_PS, PENALTIES = (0.0, 2.0), (0.05, 1.0), (1.0, 2.0)  # never outside these, but for the base itself


@dataclass(frozen=True)
class AskedSampling:
    """What a request says of how its tokens are drawn, in the terms of Sampling. None where it says nothing and that
    is not always the same."""

    temperature: float | None = None
    top_p: float | None = None
    top_k: int = 0
    min_p: float = 0.0
    frequency_penalty: float = 0.0
    presence_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    json_schema: str | None = None
    top_logprobs: int | None = None


@dataclass(frozen=True)
class Modulation:
    """What the personas come to: the sum of their effects, and of the effects' sizes."""

    effect: float
    size: float


def modulation(personas: Mapping[str, float], sources: Mapping[str, tuple[VectorHeader, Side]]) -> Modulation:
    """Of pole names with their coefficients; `sources` holds each pole's vector and its side in it."""
    effects = []
    for name, coefficient in personas.items():
        header, side = sources[name]
        along_positive = coefficient if side == "positive" else -coefficient
        effects.append(along_positive * strength(header, opposite(side) if coefficient < 0 else side))
    return Modulation(sum(effects), sum(map(abs, effects)))


def strength(header: VectorHeader, side: Side) -> float:
    """How far steering at coefficient 1 took the pole's score from its base rate towards 1: 0 to 1, and 1 where nobody
    measured it."""
    choice = header.poles.get(side)
    if choice is None or choice.score is None:
        return 1.0
    base = next((point.score for point in header.curve if (point.side, point.kind) == (side, "unsteered")), 0.0)
    return min(max((choice.score - base) / max(1 - base, 1e-9), 0.0), 1.0)


def sample(max_tokens: int, asked: AskedSampling, change: Modulation | None) -> tuple[Sampling, bool]:
    """The sampling of a request, and whether `change` was cut short at a limit."""
    temperature, top_p = (1.0, 1.0) if change is None else (BASE_TEMPERATURE, BASE_TOP_P)
    base = Sampling(
        max_tokens,
        temperature=temperature if asked.temperature is None else asked.temperature,
        top_p=top_p if asked.top_p is None else asked.top_p,
        top_k=asked.top_k,
        min_p=asked.min_p,
        frequency_penalty=asked.frequency_penalty,
        presence_penalty=asked.presence_penalty,
        repetition_penalty=asked.repetition_penalty,
        logit_bias=asked.logit_bias,
        json_schema=asked.json_schema,
        top_logprobs=asked.top_logprobs,
    )
    if change is None:
        return base, False
    moves = [
        (base.temperature, TEMPERATURE_STEP * change.effect, TEMPERATURES),
        (base.top_p, -TOP_P_STEP * change.size, TOP_PS),
        (base.repetition_penalty, PENALTY_STEP * change.size, PENALTIES),
    ]
    # Rounded, because clients are shown 0.4 and not 0.39999999999999997.
    wanted = [round(start + move, 6) for start, move, _ in moves]
    kept = [_within(limits, start, value) for (start, _, limits), value in zip(moves, wanted, strict=True)]
    temperature, top_p, penalty = kept
    return replace(base, temperature=temperature, top_p=top_p, repetition_penalty=penalty), kept != wanted


def _within(limits: tuple[float, float], base: float, value: float) -> float:
    """The value, or the limit it passed; a base that is past one itself may stay where it is."""
    return min(max(value, min(limits[0], base)), max(limits[1], base))
