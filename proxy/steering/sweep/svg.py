"""A vector's measured curve as one SVG picture, complete in itself: no script, no font, no style from elsewhere.

The positive pole's coefficients are to the right of 0, the negative pole's to the left, each with the share of its own
pole. Knows nothing of how the curve was measured.
"""

from collections.abc import Callable, Iterator, Sequence
from html import escape

from vector_store import SIDES, Measured, Side, Sweep, SweepKind, SweepPoint, VectorHeader

WIDTH, HEIGHT = 880, 484
LEFT, RIGHT, TOP, BOTTOM = 60, 20, 64, 94  # margins
MAX_TICKS = 24
TRAIT, COHERENCE, FACTS, UNFINISHED = "#c2410c", "#1d4ed8", "#15803d", "#be185d"
RANDOM, WRONG_TRAIT, PROMPT = "#6b7280", "#a16207", "#7c3aed"
# What is which line, below the picture in two rows: what steering does, and its controls.
KEYS = (
    (
        ("trait", TRAIT, ""),
        ("coherence", COHERENCE, ""),
        ("facts right", FACTS, "5 3"),
        ("unfinished answers", UNFINISHED, "1 3"),
    ),
    (
        ("trait, random vectors", RANDOM, "2 3"),
        ("trait, other traits' vectors", WRONG_TRAIT, "6 2 2 2"),
        ("trait, system prompt", PROMPT, "8 4"),
    ),
)

Value = Callable[[SweepPoint], Measured | None]
X = Callable[[float], float]


def curve_svg(header: VectorHeader) -> str:
    """The picture; of both poles, or of the one that was swept. ValueError where none was."""
    if not header.sweeps:
        raise ValueError(f"the vector {header.id!r} was never swept")
    ends = {side: max(point.coefficient for point in sweep.points) for side, sweep in header.sweeps.items()}
    low, high = -ends.get("negative", 0.0), ends.get("positive", 0.0)

    def x(coefficient: float) -> float:
        return LEFT + (coefficient - low) / (high - low) * (WIDTH - LEFT - RIGHT)

    poles = [(side, header.sweeps[side]) for side in SIDES if side in header.sweeps]
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" '
        'font-size="12" role="img">',
        f"<title>{escape(header.positive)} / {escape(header.negative)} in {escape(header.model_id)}</title>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        *(part for side, sweep in poles for part in _range(sweep, _along(side, x))),
        *_axes(low, high, x),
        *(part for side, sweep in poles for part in _pole(header.pole(side), sweep, _along(side, x))),
        *_words(header),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _along(side: Side, x: X) -> X:
    """Where the pole's own coefficients are."""
    return x if side == "positive" else lambda coefficient: x(-coefficient)


def _y(value: float) -> float:
    return TOP + (100 - value) / 100 * (HEIGHT - TOP - BOTTOM)


def _range(sweep: Sweep, x: X) -> Iterator[str]:
    """Where answers hold together, shaded."""
    start, end = sorted((x(0), x(sweep.coherent_to)))
    yield (
        f'<rect class="range" x="{start:.1f}" y="{TOP}" width="{end - start:.1f}" height="{_y(0) - TOP:.1f}" '
        'fill="#ecfdf5"/>'
    )


def _axes(low: float, high: float, x: X) -> Iterator[str]:
    for value in range(0, 101, 25):
        yield _line(x(low), _y(value), x(high), _y(value), "#e5e7eb")
        yield _text(LEFT - 8, _y(value) + 4, str(value), "end")
    step = 0.25 if high - low <= 2 else 0.5 if high - low <= 6 else float(-(-(high - low) // MAX_TICKS) or 1)
    for index in range(-int(-low / step + 1e-9), int(high / step + 1e-9) + 1):
        yield _line(x(index * step), _y(0), x(index * step), _y(0) + 5, "#374151")
        yield _text(x(index * step), _y(0) + 19, f"{index * step:g}")
    yield _line(x(0), TOP, x(0), _y(0), "#9ca3af")


def _pole(pole: str, sweep: Sweep, x: X) -> Iterator[str]:
    def values(kind: SweepKind, value: Value) -> list[tuple[float, Measured]]:
        points = [point for point in sweep.points if point.kind in ("unsteered", kind)]
        return [(point.coefficient, found) for point in points if (found := value(point)) is not None]

    yield from _curve(values("steered", lambda point: _percent(point.correct)), x, FACTS, dash="5 3")
    yield from _curve(values("steered", lambda point: _percent(point.unfinished)), x, UNFINISHED, dash="1 3")
    yield from _curve(values("random", lambda point: point.trait), x, RANDOM, dash="2 3")
    yield from _curve(values("wrong_trait", lambda point: point.trait), x, WRONG_TRAIT, dash="6 2 2 2")
    yield from _curve(values("steered", lambda point: point.coherence), x, COHERENCE, band=True)
    yield from _curve(values("steered", lambda point: point.trait), x, TRAIT, band=True)
    last = max(point.coefficient for point in sweep.points)
    for point in sweep.points:
        if point.kind == "prompt" and point.trait is not None:
            yield _line(x(0), _y(point.trait.mean), x(last), _y(point.trait.mean), PROMPT, dash="8 4")
    if sweep.collapse is not None:
        yield _line(x(sweep.collapse), TOP, x(sweep.collapse), _y(0), "#dc2626", dash="3 3")
        inwards = "end" if x(sweep.collapse) > x(0) else "start"
        yield _text(x(sweep.collapse), TOP - 6, f"falls apart at {sweep.collapse:.2f}", inwards, colour="#dc2626")
    yield _text(x(last / 2), _y(0) + 36, f"coefficient, {pole}")


def _curve(
    values: Sequence[tuple[float, Measured]], x: X, colour: str, dash: str = "", band: bool = False
) -> Iterator[str]:
    if not values:
        return
    if band:
        edge = [(x(at), _y(found.high)) for at, found in values]
        edge += [(x(at), _y(found.low)) for at, found in reversed(values)]
        yield f'<polygon points="{_joined(edge)}" fill="{colour}" fill-opacity="0.13"/>'
    line = [(x(at), _y(found.mean)) for at, found in values]
    yield f'<polyline points="{_joined(line)}" fill="none" stroke="{colour}" stroke-width="2"{_dashed(dash)}/>'


def _percent(share: Measured | None) -> Measured | None:
    return share and Measured(mean=100 * share.mean, low=100 * share.low, high=100 * share.high)


def _words(header: VectorHeader) -> Iterator[str]:
    """The title, and what is which line."""
    sweep = next(iter(header.sweeps.values()))
    yield _text(LEFT, 20, f"{header.positive} / {header.negative} in {header.model_id}", "start", size=15)
    judged = f"judged by {sweep.judge.name}, AUROC {sweep.judge.auroc:.2f}; bands are 95 % intervals; {header.id}"
    yield _text(LEFT, 38, judged, "start", colour="#4b5563")
    for row, keys in enumerate(KEYS):
        at, y = float(LEFT), HEIGHT - 38 + 24 * row
        for name, colour, dash in keys:
            yield _line(at, y, at + 24, y, colour, dash=dash, width=2)
            yield _text(at + 30, y + 4, name, "start")
            at += 44 + 6 * len(name)
        if not row:
            yield f'<rect x="{at:.1f}" y="{y - 6}" width="24" height="12" fill="#d1fae5"/>'
            yield _text(at + 30, y + 4, "answers hold together", "start")


def _line(x1: float, y1: float, x2: float, y2: float, colour: str, dash: str = "", width: int = 1) -> str:
    return (
        f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" stroke="{colour}" '
        f'stroke-width="{width}"{_dashed(dash)}/>'
    )


def _text(x: float, y: float, text: str, anchor: str = "middle", *, colour: str = "#111827", size: int = 12) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" font-size="{size}">{escape(text)}</text>'
    )


def _dashed(dash: str) -> str:
    return f' stroke-dasharray="{dash}"' if dash else ""


def _joined(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
