"""What was made, in plain lines: a vector, the maps between two models, a vector that was carried over."""

from collections.abc import Iterator

import msgspec

from proxy.engines.base import Engine
from proxy.jobs.kinds.evaluating import VectorEvaluationParameters
from proxy.jobs.kinds.extraction import ExtractionParameters
from proxy.steering.budget import LIMITED, BudgetName
from proxy.steering.cost import cost_of, cost_of_evaluation, measure_speed
from proxy.steering.judge import JudgeKind, default_kind
from proxy.steering.traits.trait import Trait
from proxy.steering.transfer.files import TransferInfo
from vector_store import SIDES, SPANS, CurvePoint, PersonaVector, PoleChoice, Side

WHERE = {"last_prompt": "the last prompt token", "response": "the response", "all": "every token"}


def expected_line(engine: Engine, trait: Trait, asked: ExtractionParameters) -> str:
    """How long an extraction may take by a short trial, which blocks for seconds; what its intervals will be; and where
    it is long, what less would take."""
    kind = asked.usual(default_kind(engine.info, trait)) if asked.judge is None else asked.judge
    speed = measure_speed(engine, trait)

    def about(budget: BudgetName, judge: JudgeKind) -> str:
        options = msgspec.structs.replace(asked, budget=budget).options
        return duration(cost_of(trait, engine.info.n_layers, judge, options, speed).seconds(speed))

    line = f"{trait.id}: {about(asked.budget, kind)}, budget {asked.budget}"
    limited = asked.options.limited
    if limited is not None:
        return f"{line}; the curve's 95 % intervals will reach about {limited.interval} of 100 points to either side"
    quicker = "reading" if kind == "likelihood" else kind
    others = (f"--budget {name} {about(name, quicker)}" for name in LIMITED)
    return f"{line}, without a curve; with one: {', '.join(others)}"


def expected_evaluation_line(engine: Engine, trait: Trait, asked: VectorEvaluationParameters) -> str:
    """How long an evaluation may take, by a short trial, which blocks for seconds."""
    kind = asked.usual(default_kind(engine.info, trait)) if asked.judge is None else asked.judge
    speed = measure_speed(engine, trait)
    cost = cost_of_evaluation(trait, engine.info, kind, asked.options, speed, asked.second_judge)
    return f"{trait.id}: {duration(cost.seconds(speed))}, budget {asked.budget}"


def duration(seconds: float) -> str:
    """In words, rounded to what an estimate is good for."""
    for unit, size in (("hour", 3600), ("minute", 60)):
        if seconds >= 1.5 * size:
            return f"about {round(seconds / size)} {unit}s"
    return "about a minute" if seconds > 45 else "less than a minute"


def extracted_lines(vector: PersonaVector) -> Iterator[str]:
    """What was kept, how well every block separates the poles, and what was chosen, beside its controls."""
    yield f"{vector.positive} / {vector.negative} in {vector.model_id}"
    kept = (f"{count.kept} of {count.made} {condition}" for condition, count in vector.counts.items())
    yield f"  answers kept: {', '.join(kept)}"
    if vector.judge is not None:
        yield f"  judged by: {vector.judge}"
    yield "  separation of the poles by block (AUROC on the other half of the questions; 0.5 is chance):"
    yield "    block" + "".join(f"{span:>14}" for span in vector.separation)
    for block in range(vector.n_layers):
        yield f"    {block:5}" + "".join(f"{values[block]:14.2f}" for values in vector.separation.values())
    for side in SIDES:
        yield from _pole_summary(vector, side, vector.poles[side])
    yield f"  saved as {vector.id}"


def _pole_summary(vector: PersonaVector, side: Side, choice: PoleChoice) -> Iterator[str]:
    pole = vector.positive if side == "positive" else vector.negative
    yield (
        f"  {pole}: taken from {WHERE[choice.span]} at block {choice.block}, added to "
        f"{WHERE[choice.positions]}, relative dose {choice.relative_dose:.2f} at coefficient 1"
        + (", counted from the opposite pole" if choice.against == "opposite" else "")
    )
    points = {point.kind: point for point in vector.curve if point.side == side and _is_shown(point, choice)}
    for kind, name in (("steered", "steered"), ("unsteered", "not steered"), ("random", "random vector")):
        if kind in points:
            trait = f"trait {points[kind].trait:5.1f}" if vector.scored else "trait unscored"
            yield (
                f"    {name:14} {trait}  coherence {points[kind].coherence:5.1f}  (of 100; {points[kind].n} answers)"
            )
    if choice.measured_range is not None:
        yield f"    coherent up to coefficient {choice.measured_range[1]:g}"
    both = vector.scored and "steered" in points and "unsteered" in points
    if both and points["steered"].score <= points["unsteered"].score:
        yield f"    steering shows no more of {pole!r} than no steering does"


def _is_shown(point: CurvePoint, choice: PoleChoice) -> bool:
    return point.kind != "steered" or (
        (point.block, point.span, point.positions) == (choice.block, choice.span, choice.positions)
        and point.relative_dose == choice.relative_dose
        and point.score == choice.score
    )


def fitted_lines(info: TransferInfo) -> Iterator[str]:
    """What was fitted, and how well."""
    yield f"{info.source.id} to {info.target.id}: {info.id}"
    yield f"  fitted on {info.n_documents} documents ({info.text}); R2 on documents held out, beside shuffled pairs"
    for span in SPANS:
        for map_ in info.maps:
            if map_.span == span:
                others = ", ".join(f"{kind} {r2:.3f}" for kind, r2 in map_.r2_by_kind.items())
                yield (
                    f"  {span:11} block {map_.source_block} to {map_.target_block}: {map_.r2:.3f} (shuffled "
                    f"{map_.r2_shuffled:.3f}) by {map_.method.words}, of {others}; {map_.n_pairs} pairs"
                )
        if span not in info.screened:
            yield f"  {span}: too few pairs for a map"


def applied_lines(vector: PersonaVector) -> Iterator[str]:
    """What became of a vector."""
    source = vector.transfer.source_model if vector.transfer else "another model"
    yield f"{vector.positive} / {vector.negative} in {vector.model_id}, from {source}: saved as {vector.id}"
    for side in SIDES:
        choice = vector.poles[side]
        score = "" if choice.score is None else f", score {choice.score:.2f}"
        yield (
            f"  {vector.pole(side)}: block {choice.block}, added at {choice.positions}, relative dose "
            f"{choice.relative_dose:.2f} at coefficient 1{score}"
        )
