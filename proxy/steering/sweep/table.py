"""A vector's measured curve in plain lines, for a terminal. Knows nothing of how it was measured."""

from collections.abc import Iterator

from vector_store import SIDES, Measured, Sweep, SweepPoint, VectorHeader

BAR = 20  # characters for a trait of 100


def curve_table(header: VectorHeader) -> Iterator[str]:
    """What was found of each pole that was swept, its curve and the controls; nothing where none was."""
    for side in SIDES:
        if side in header.sweeps:
            sweep = header.sweeps[side]
            yield f"{header.pole(side)}: relative dose {header.poles[side].relative_dose:.2f} at coefficient 1"
            yield f"  {sweep.verdict}"
            yield f"  {reached(sweep)}"
            yield f"  judged by {sweep.judge.name}, AUROC {sweep.judge.auroc:.2f}; intervals are over questions"
            yield from _rows(sweep)


def reached(sweep: Sweep) -> str:
    """How far answers hold together, in words."""
    if sweep.collapse is None:
        return f"answers hold together at every coefficient tried, up to {sweep.coherent_to:.2f}"
    return f"answers hold together up to coefficient {sweep.coherent_to:.2f} and fall apart at {sweep.collapse:.2f}"


def _rows(sweep: Sweep) -> Iterator[str]:
    randoms = {point.coefficient: point for point in sweep.points if point.kind == "random"}
    known = any(point.correct for point in sweep.points)
    facts = f"{'facts right':14}" if known else ""
    yield "  mean (95 % interval): trait and coherence from 0 to 100, the others in percent of the answers;"
    yield "  of random vectors as strong as this one the means: trait / coherence"
    yield f"  {'coefficient':14}{'dose':6}{'trait':14}{'coherence':14}{'wrong way':14}{facts}{'random vector':15}trait"
    for point in sweep.points:
        if point.kind != "random":
            random = randoms.get(point.coefficient) if point.kind == "steered" else None
            yield "  " + _row(point, random, known).rstrip()


def _row(point: SweepPoint, random: SweepPoint | None, known: bool) -> str:
    names = {"unsteered": "0", "prompt": "system prompt"}
    dose = f"{point.relative_dose:.2f}" if point.kind == "steered" else ""
    facts = f"{_cell(point.correct, 100):14}" if known else ""
    beside = "" if random is None else f"{_mean(random.trait)} / {_mean(random.coherence)}"
    return (
        f"{names.get(point.kind, f'{point.coefficient:.2f}'):14}{dose:6}{_cell(point.trait):14}"
        f"{_cell(point.coherence):14}{_cell(point.wrong_way, 100):14}{facts}{beside:15}{_bar(point.trait)}"
    )


def _cell(measured: Measured | None, scale: float = 1.0) -> str:
    if measured is None:
        return "unscored"
    return f"{measured.mean * scale:.0f} ({measured.low * scale:.0f}-{measured.high * scale:.0f})"


def _mean(measured: Measured | None) -> str:
    return "-" if measured is None else f"{measured.mean:.0f}"


def _bar(trait: Measured | None) -> str:
    return "" if trait is None else "█" * round(trait.mean / 100 * BAR)
