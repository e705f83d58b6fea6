"""From personas and coefficients to what happens at each block: a plan for the engine and a report of what it does.

Pure numpy: no model, no store, no request. The terms:

- A coefficient's sign picks the pole, its size the strength: `silly` at -1 is `serious` at 1, with that pole's own
  direction (pole minus neutral), place and dose.
- `add` moves the residual along the direction; coefficient 1 adds the pole's relative dose in median residual norms.
  With several blocks each gets an equal share, so that the whole stays comparable.
- `channels` that are not all of them limit everything to what is generated into them; see Plan.
- `target` and `cap` hold the residual's projection on the direction at, or below, a level, token by token: 0 is where
  the neutral mean lies, 1 where the pole's own does, both over the kind of tokens that is held. Of a vector whose
  pole's mean nobody knows 1 is where coefficient 1 takes the neutral mean. A level is not shared out between blocks.
  Several personas are held together. A negative level is the opposite pole's, on that pole's own direction.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from proxy.engines.base import Channel, FloatArray, Intervention, ModelInfo, Plan, Positions
from proxy.errors import InvalidRequest, VectorUnavailable
from proxy.steering.dose import addition_dose, independent, smallest_move, unit
from proxy.steering.options import CHANNEL_NAMES, ChannelName, PlanOptions, PlanReport
from vector_store import PersonaVector, PoleChoice, Side, Span, opposite

CHANNELS: dict[ChannelName, Channel] = {"analysis": "reasoning", "final": "content"}
WIDEST_FIRST: tuple[Positions, ...] = ("all", "response", "last_prompt")  # each reaches all that the next one reaches


@dataclass(frozen=True)
class _Push:
    """One persona's part at one block: a way to go and how far, in residual units."""

    block: int
    positions: Positions
    direction: FloatArray  # float32[hidden], unit
    distance: float
    neutral: float  # the neutral mean's projection on the direction
    residual_norm: float  # the median there


def build_plan(
    personas: Mapping[str, float],
    vectors: Mapping[str, tuple[PersonaVector, Side]],
    options: PlanOptions,
    info: ModelInfo,
) -> tuple[Plan, PlanReport]:
    """The plan for `personas` (pole name to coefficient, finite) and what to report of it.

    `vectors` holds each pole's vector and its side in it. No personas are an empty plan; in `add` mode so are
    coefficients of 0. Raises VectorUnavailable for a vector of another model or without a measured place, and
    InvalidRequest for layers the model lacks, personas that can't be held together, and a rejected dose.
    """
    if not personas:
        return Plan(), PlanReport()
    choices = {name: _choice(name, value, *vectors[name], info) for name, value in personas.items()}
    pushes = [
        push
        for name, value in personas.items()
        if value or options.mode != "add"
        for push in _pushes(name, abs(value), vectors[name][0], *choices[name], options, info)
    ]
    dose = _relative_dose(pushes, options)
    scale = _scale(dose, options)
    named = tuple(name for name in CHANNEL_NAMES if name in options.channels)
    limit = None if named == CHANNEL_NAMES else frozenset(CHANNELS[name] for name in named)
    interventions = _additions(pushes, scale) if options.mode == "add" else _holds(pushes, scale, options)
    report = PlanReport(
        positions=next((where for where in WIDEST_FIRST if any(push.positions == where for push in pushes)), None),
        channels=None if limit is None else named,
        layers=tuple(sorted({push.block for push in pushes})),
        relative_dose=round(dose * scale, 6),  # clients are shown 1.0, not what float32 makes of it
        clamped=scale < 1,
        beyond_measured_range=_beyond(
            [(abs(value) * scale, choices[name][1]) for name, value in personas.items()], options
        ),
    )
    return Plan(tuple(interventions), limit), report


def _choice(
    name: str, coefficient: float, vector: PersonaVector, side: Side, info: ModelInfo
) -> tuple[Side, PoleChoice]:
    """The side the coefficient's sign means, and where that side is steered."""
    if vector.fingerprint != info.fingerprint:
        raise VectorUnavailable(
            f"persona: the vector for {name!r} was taken from other weights than those of {info.id}", param="persona"
        )
    if (vector.n_layers, vector.hidden_size) != (info.n_layers, info.hidden_size):
        raise VectorUnavailable(
            f"persona: the vector for {name!r} is for {vector.n_layers} blocks of {vector.hidden_size}, {info.id} has "
            f"{info.n_layers} of {info.hidden_size}",
            param="persona",
        )
    meant = opposite(side) if coefficient < 0 else side
    if meant not in vector.poles:
        raise VectorUnavailable(
            f"persona: where and how strongly to steer {name!r} at {coefficient:g} was never measured", param="persona"
        )
    return meant, vector.poles[meant]


def _pushes(
    name: str,
    size: float,
    vector: PersonaVector,
    side: Side,
    choice: PoleChoice,
    options: PlanOptions,
    info: ModelInfo,
) -> list[_Push]:
    """What one persona does, block by block."""
    blocks = [choice.block] if options.layers == "best" else _checked_blocks(options.layers, info)
    positions = options.positions or choice.positions
    held = options.mode != "add"
    span = _span_of(positions, vector, choice) if held else choice.span
    pushes = []
    for block in blocks:
        gap = vector.direction(side, span, block)
        direction = unit(gap)
        norm = float(vector.residual_norms[span][block])
        if direction is None or norm <= 0:
            raise VectorUnavailable(f"persona: the vector for {name!r} is empty at block {block}", param="persona")
        neutral = float(vector.means[span]["neutral"][block] @ direction)
        if held and vector.knows_poles:
            # A level is counted from the neutral mean, whatever the direction was counted from.
            distance = size * float(vector.means[span][side][block] @ direction - neutral)
        else:
            distance = size * choice.relative_dose * norm * (1 if held else 1 / len(blocks))
        pushes.append(_Push(block, positions, direction, distance, neutral, norm))
    return pushes


def _span_of(positions: Positions, vector: PersonaVector, choice: PoleChoice) -> Span:
    """Whose means a level is counted from: they only mean something among tokens of the kind they were taken from."""
    span: Span = "last_prompt" if positions == "last_prompt" else "response"
    return span if span in vector.means else choice.span


def _checked_blocks(layers: Sequence[int], info: ModelInfo) -> list[int]:
    blocks = sorted(set(layers))
    if not blocks or blocks[0] < 0 or blocks[-1] >= info.n_layers:
        raise InvalidRequest(
            f"steering.layers: {list(layers)} must name blocks of {info.id}, which has 0 to {info.n_layers - 1}",
            param="steering.layers",
        )
    return blocks


def _groups(pushes: Iterable[_Push]) -> dict[tuple[int, Positions], list[_Push]]:
    """The pushes by block, and there by positions, widest first."""
    groups: dict[tuple[int, Positions], list[_Push]] = defaultdict(list)
    for push in sorted(pushes, key=lambda push: (push.block, WIDEST_FIRST.index(push.positions))):
        groups[push.block, push.positions].append(push)
    return groups


def _felt(pushes: Sequence[_Push]) -> dict[tuple[int, Positions], list[_Push]]:
    """By block and positions that occur: every push felt by the tokens no narrower positions reach."""
    groups = _groups(pushes)
    return {
        (block, positions): [
            push
            for wider in WIDEST_FIRST[: WIDEST_FIRST.index(positions) + 1]
            for push in groups.get((block, wider), ())
        ]
        for block, positions in groups
    }


def _relative_dose(pushes: Sequence[_Push], options: PlanOptions) -> float:
    """The largest over blocks and tokens, all personas together; for `target` and `cap`, of the way from the neutral
    mean to the levels. Where vectors disagree about the median residual norm, the smaller one counts."""
    doses = [0.0]
    for felt in _felt(pushes).values():
        norm = min(push.residual_norm for push in felt)
        if options.mode == "add":
            doses.append(addition_dose([push.direction * np.float32(push.distance) for push in felt], norm))
        else:
            offsets = np.array([push.distance for push in felt], np.float32)
            doses.append(addition_dose([smallest_move(_basis(felt, options), offsets)], norm))
    return max(doses)


def _scale(dose: float, options: PlanOptions) -> float:
    """What the dose is multiplied by. A cap is exempt: the higher its level the less it does."""
    if dose <= options.max_relative_dose or options.mode == "cap" or options.on_exceed == "report":
        return 1.0
    if options.on_exceed == "reject":
        raise InvalidRequest(
            f"steering.max_relative_dose: the personas come to a relative dose of {dose:.3g}, more than "
            f"{options.max_relative_dose:g}; lower the coefficients or raise the limit",
            param="steering.max_relative_dose",
        )
    return options.max_relative_dose / dose


def _additions(pushes: Sequence[_Push], scale: float) -> list[Intervention]:
    return [
        Intervention(
            block,
            positions,
            "add",
            vector=np.sum(
                np.stack([push.direction * np.float32(push.distance * scale) for push in group]), axis=0
            ).astype(np.float32),
        )
        for (block, positions), group in _groups(pushes).items()
    ]


def _holds(pushes: Sequence[_Push], scale: float, options: PlanOptions) -> list[Intervention]:
    """Wider positions first, and every narrower one repeats what the wider ones hold: its joint hold has the last word
    where both reach, so no persona's hold undoes another's."""
    return [
        Intervention(
            block,
            positions,
            options.mode,
            basis=_basis(felt, options),
            levels=np.array([push.neutral + push.distance * scale for push in felt], np.float32),
        )
        for (block, positions), felt in _felt(pushes).items()
    ]


def _basis(felt: Sequence[_Push], options: PlanOptions) -> FloatArray:
    """float32[k, hidden], the directions to hold together."""
    basis = np.stack([push.direction for push in felt])
    if not independent(basis):
        raise InvalidRequest(
            f"persona: at block {felt[0].block} the personas point (almost) the same or opposite ways, so they can't "
            f"each be held at a level; use fewer of them, or steering.mode add instead of {options.mode}",
            param="persona",
        )
    return basis


def _beyond(coefficients: Sequence[tuple[float, PoleChoice]], options: PlanOptions) -> bool | None:
    """Whether some coefficient, each with the choice of its pole, is outside the range in which answers were found
    coherent; None where nobody measured that range. A range is measured by adding, everywhere in an answer, at the
    vector's own block and positions: naming these same ones changes nothing, while all else is beyond it, whatever the
    coefficient."""
    otherwise = options.mode != "add" or set(options.channels) != set(CHANNELS)
    verdicts: list[bool | None] = []
    for size, choice in coefficients:
        elsewhere = options.positions not in (None, choice.positions) or (
            options.layers != "best" and set(options.layers) != {choice.block}
        )
        if otherwise or elsewhere:
            verdicts.append(True)
        elif choice.measured_range is None:
            verdicts.append(None)
        else:
            low, high = choice.measured_range
            verdicts.append(not low <= size <= high)
    return True if True in verdicts else None if None in verdicts else False
