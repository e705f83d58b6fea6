"""A vector's measured curve in plain lines, for a terminal. Knows nothing of how it was measured."""

from collections.abc import Container, Iterator

from vector_store import SIDES, Measured, Sweep, SweepKind, SweepPoint, VectorHeader

CELL = 14  # characters of a figure with its interval
LOOPING = 8
BESIDE = 11
SHARES = {"wrong_way": "wrong way", "unfinished": "unfinished", "correct": "facts right"}
CONTROLS: dict[SweepKind, str] = {"random": "random", "wrong_trait": "others"}  # beside each coefficient


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
    controls = {(point.kind, point.coefficient): point for point in sweep.points if point.kind in CONTROLS}
    known = {name for name in SHARES if any(getattr(point, name) for point in sweep.points)}
    shares = "".join(f"{title:{CELL}}" for name, title in SHARES.items() if name in known)
    kinds = [kind for kind in CONTROLS if any(kind == measured for measured, _ in controls)]
    yield "  mean (95 % interval): trait and coherence from 0 to 100, the others in percent of the answers;"
    yield "  of random vectors and those of other traits, as strong as this one, the means: trait / coherence"
    looping = any(point.looping for point in sweep.points)
    shares += f"{'looping':{LOOPING}}" if looping else ""
    yield f"  other traits: {', '.join(sweep.wrong_traits) or 'none, the model had no other vector of this kind'}"
    beside = "".join(f"{CONTROLS[kind]:{BESIDE}}" for kind in kinds)
    yield f"  {'coefficient':14}{'dose':5}{'trait':{CELL}}{'coherence':{CELL}}{shares}{beside}".rstrip()
    for point in sweep.points:
        if point.kind not in CONTROLS:
            beside = "".join(f"{_beside(controls.get((kind, point.coefficient))):{BESIDE}}" for kind in kinds)
            share = f"{_share(point.looping):{LOOPING}}" if looping else ""
            yield f"  {_row(point, known)}{share}{beside}".rstrip()


def _row(point: SweepPoint, known: Container[str]) -> str:
    names = {"unsteered": "0", "prompt": "system prompt"}
    dose = f"{point.relative_dose:.2f}" if point.kind == "steered" else ""
    shares = "".join(f"{_cell(getattr(point, name), 100, '-'):{CELL}}" for name in SHARES if name in known)
    return (
        f"{names.get(point.kind, f'{point.coefficient:.2f}'):14}{dose:5}{_cell(point.trait):{CELL}}"
        f"{_cell(point.coherence):{CELL}}{shares}"
    )


def _beside(control: SweepPoint | None) -> str:
    return "" if control is None else f"{_mean(control.trait)} / {_mean(control.coherence)}"


def _cell(measured: Measured | None, scale: float = 1.0, none: str = "unscored") -> str:
    if measured is None:
        return none
    return f"{measured.mean * scale:.0f} ({measured.low * scale:.0f}-{measured.high * scale:.0f})"


def _mean(measured: Measured | None) -> str:
    return "-" if measured is None else f"{measured.mean:.0f}"


def _share(measured: Measured | None) -> str:
    return "-" if measured is None else f"{measured.mean * 100:.0f}"
