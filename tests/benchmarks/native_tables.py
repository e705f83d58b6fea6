"""What was measured beside llama-server, as docs/results/SPEED.md shows it, and what is slower than it was kept.

Pure: results in, Markdown and sentences out.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from tests.benchmarks.records import NativeLoad, NativeResult

WANTED = 0.95  # of llama-server's speed
STEERED = 0.98  # of our own, unsteered
NOISE = 0.05  # a ratio that is lower by so much than the one kept is worth a look


def render_native(result: NativeResult, place: str) -> Iterator[str]:
    """Ratios, never speeds: what a machine does at the time is not what is told."""
    machine = f"{place}, {result.threads} threads, {result.date}"
    yield f"**`{result.model}`** beside `llama-server`: {result.about}; {machine}"
    yield ""
    yield f"Completion tokens per second, answers of {result.tokens} tokens, ours : `llama-server`:"
    yield ""
    yield "| prompts | at once | unsteered | all different | all different : unsteered |"
    yield "|---|---|---|---|---|"
    for load in result.loads:
        cells = [spread(each) for each in ratios(load)]
        yield f"| {load.prompt} | {load.streams} | {' | '.join(cells)} |"
    yield ""
    yield "| | ours | `llama-server` | ours : it |"
    yield "|---|---|---|---|"
    rows = {
        "first token of a prompt of a thousand tokens, ms": _pair(result.cold_s, 1000),
        "first token of one that begins alike, ms": _pair(result.warm_s, 1000),
        "from the command to the first short answer, s": _pair({k: v.ready_s for k, v in result.starts.items()}),
        "resident then, MB": _pair({k: v.resident_mb for k, v in result.starts.items()}),
    }
    for name, (ours, theirs) in rows.items():
        unit = 2 if name.endswith(" s") else 0
        ratio = spread([a / b for a, b in zip(ours, theirs, strict=True)])
        yield f"| {name} | {np.median(ours):,.{unit}f} | {np.median(theirs):,.{unit}f} | {ratio} |"
    yield ""
    if result.delays:
        yield "Milliseconds to the first token, and its ratio to `llama-server`'s:"
        yield ""
        yield "| | unsteered | steered | `llama-server` |"
        yield "|---|---|---|---|"
        for delay in result.delays:
            cells = [f"{1000 * np.median(each):,.0f}" for each in (delay.unsteered, delay.mixed, delay.other)]
            for at, ours in enumerate((delay.unsteered, delay.mixed)):
                cells[at] += f", {spread([a / b for a, b in zip(ours, delay.other, strict=True)])}"
            yield f"| {delay.what} | {' | '.join(cells)} |"
        yield ""


def native_misses(result: NativeResult) -> Iterator[str]:
    """What was wanted and is not there, in words."""
    for load in result.loads:
        unsteered, _, steered = (float(np.median(each)) for each in ratios(load))
        what = f"{result.model}, {load.streams} at once, {load.prompt} prompts"
        if unsteered < WANTED:
            yield f"{what}: {unsteered:.2f} of llama-server's speed, not {WANTED}"
        if steered < STEERED:
            yield f"{what}: {steered:.2f} of the unsteered speed when all are steered differently, not {STEERED}"


def slower(kept: NativeResult | None, now: NativeResult) -> Iterator[str]:
    """What fell behind the ratios that were kept, in words."""
    older = {} if kept is None else {(load.prompt, load.streams): load for load in kept.loads}
    for load in now.loads:
        if (before := older.get((load.prompt, load.streams))) is None:
            continue
        for name, old, new in zip(("unsteered", "all different"), ratios(before), ratios(load), strict=False):
            was, is_ = float(np.median(old)), float(np.median(new))
            if is_ < was - NOISE:
                yield f"{now.model}, {load.streams} at once, {load.prompt} prompts, {name}: {was:.2f} became {is_:.2f}"


def ratios(load: NativeLoad) -> tuple[list[float], list[float], list[float]]:
    """Of each round: ours to llama-server's, ours all different to it, and that to ours unsteered."""
    rounds = list(zip(load.unsteered, load.mixed, load.other, strict=True))
    return [a / c for a, _, c in rounds], [b / c for _, b, c in rounds], [b / a for a, b, _ in rounds]


def spread(values: Sequence[float]) -> str:
    """Median, and range."""
    return f"{np.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"


def _pair(by_server: dict[str, list[float]], times: float = 1) -> tuple[list[float], list[float]]:
    return [times * each for each in by_server["ours"]], [times * each for each in by_server["llama-server"]]
