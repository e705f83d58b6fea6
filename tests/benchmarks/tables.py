"""The results as docs/results/SPEED.md shows them, and what they fall short of. Pure: results in, Markdown out."""

from collections.abc import Iterator, Sequence

import numpy as np

from tests.benchmarks.native_tables import render_native
from tests.benchmarks.records import Load, ModelResult, Results, ServerResult, StepCost, SurfaceResult, SurfaceServer

CONDITIONS = {"unsteered": "unsteered", "one": "one persona", "mixed": "all different"}
OTHERS = {
    "transformers": "`transformers serve`",
    "transformers-batching": "`transformers serve`, batching",
    "saklas": "saklas",
    "llama-cpp-python": "`llama_cpp.server`",
}
ALONE = {"transformers": "`generate` with a hook", "llama_cpp": "A `Llama`, unsteered"}
SURFACE_TIMES = 5  # our whole answers per second to any other's: wanted
SURFACE_MS = 1.0  # for a token of a stream: wanted
NEVER_BELOW = ("transformers", "transformers-batching")


def render(everything: Sequence[Results]) -> str:
    """All tables, of every machine."""
    return "\n".join(line for results in everything for line in _machine(results)).strip()


def _machine(results: Results) -> Iterator[str]:
    machine = results.machine
    place = machine.gpu or f"{machine.cores} CPU cores ({machine.cpu})"
    for model in results.models:
        yield from _model(model, place)
    for soak in results.soaks:
        first, last = soak.rss_mb[0], soak.rss_mb[-1]
        yield (
            f"Memory of the server with `{soak.model}` on {place}: {first[1]:.0f} MB after {first[0]:,} requests, "
            f"{last[1]:.0f} MB after {last[0]:,}, {soak.cancelled:,} of which were hung up on ({soak.slope_mb:+.2f} MB "
            f"per 1,000 requests)."
        )
        yield ""
    for native in results.native:
        yield from render_native(native, place)
    if results.surface is not None:
        yield from _surface(results.surface, place)


def _surface(surface: SurfaceResult, place: str) -> Iterator[str]:
    yield (
        f"What servers cost beside a model that answers at once, {surface.at_once} requests at a time, on {place}, "
        f"{surface.date}; whole answers of {surface.whole_tokens} tokens, streams of {surface.stream_tokens}:"
    )
    yield ""
    yield _row("server", "whole answers per second", "ours : it", "ms per token of streams", "it : ours")
    yield "|---" * 5 + "|"
    ours = surface.servers[0]
    for server in surface.servers:
        name = "ours" if server is ours else OTHERS[server.name]
        if server.failure is not None:
            yield _row(name, f"not measured: {server.failure.splitlines()[0]}", "", "", "")
            continue
        answers, tokens = (float(np.median(each)) for each in (server.requests_per_s, server.ms_per_token))
        ratios = [_spread(each) for each in surface_ratios(ours, server)] if server is not ours else ["", ""]
        yield _row(name, _number(answers), ratios[0], f"{tokens:.3f}", ratios[1])
    yield ""


def surface_ratios(ours: SurfaceServer, other: SurfaceServer) -> tuple[list[float], list[float]]:
    """Of each round: our whole answers per second over the other's, and its milliseconds a token over ours."""
    answers = zip(ours.requests_per_s, other.requests_per_s, strict=True)
    tokens = zip(other.ms_per_token, ours.ms_per_token, strict=True)
    return [a / b for a, b in answers], [a / b for a, b in tokens]


def surface_misses(surface: SurfaceResult) -> Iterator[str]:
    """What was wanted of our surface and is not there, in words."""
    ours, *others = surface.servers
    if (ms := float(np.median(ours.ms_per_token))) >= SURFACE_MS:
        yield f"a token of a stream costs {ms:.3f} ms, not below {SURFACE_MS:g}"
    for other in others:
        if other.failure is None and (times := float(np.median(surface_ratios(ours, other)[0]))) < SURFACE_TIMES:
            yield f"whole answers per second are {times:.1f} times those of {OTHERS[other.name]}, not {SURFACE_TIMES}"


def _model(model: ModelResult, place: str) -> Iterator[str]:
    yield f"**`{model.model}`** — {model.about}; {model.dtype}, {place}, {_threads(model)}, {model.date}"
    yield ""
    yield f"Completion tokens per second, answers of {model.tokens} tokens to prompts of {model.prompt_tokens}:"
    yield ""
    yield from _speeds(model)
    yield ""
    yield "Time to the first token in milliseconds, median / 95th percentile:"
    yield ""
    yield from _delays(model)
    yield ""
    yield from _in_process(model)
    for server in model.servers:
        if remark := server.note or (server.failure and f"was not measured: {server.failure.splitlines()[0]}"):
            yield f"{OTHERS.get(server.name, server.name)} {remark}."
            yield ""


def _threads(model: ModelResult) -> str:
    count = f"{model.threads} thread" + ("s" if model.threads != 1 else "")
    slower = [f"{speed:.0f} tokens/s with {number}" for number, speed in model.threads_tried.items()]
    return f"{count} (8 at once: {', '.join(slower)})" if slower else count


def _speeds(model: ModelResult) -> Iterator[str]:
    ours, others = _own(model), _others(model)
    columns = [CONDITIONS[name] for name in CONDITIONS] + ["all different : unsteered"]
    columns += [_title(server, load.condition) for server, load in _columns(others)]
    yield _row("at once", *columns)
    yield "|---" * (len(columns) + 1) + "|"
    for concurrency in _concurrencies(ours):
        mixed = ours.load("mixed", concurrency)
        assert mixed is not None
        cells = [_number(_speed(ours.load(name, concurrency))) for name in CONDITIONS]  # type: ignore[arg-type]
        cells.append(_spread(ratios(ours, concurrency)))
        for server, load in _columns(others):
            found = server.load(load.condition, concurrency)
            own = ours.load(load.condition, concurrency)
            cells.append(f"{_number(_speed(found))} (× {_speed(own) / _speed(found):.1f})" if found and own else "")
        yield _row(str(concurrency), *cells)


def _delays(model: ModelResult) -> Iterator[str]:
    ours = _own(model)
    shown = [(ours, load) for load in _first(ours)] + _columns(_others(model))
    titles = [
        CONDITIONS[load.condition] if server is ours else _title(server, load.condition) for server, load in shown
    ]
    yield _row("at once", *titles)
    yield "|---" * (len(shown) + 1) + "|"
    for concurrency in _concurrencies(ours):
        loads = [server.load(load.condition, concurrency) for server, load in shown]
        yield _row(str(concurrency), *map(_delay, loads))


def _in_process(model: ModelResult) -> Iterator[str]:
    alone = float(np.median(model.alone_tokens_per_s))
    times = [
        f"{_speed(load) / alone:.1f} times that at {load.concurrency}"
        for load in _own(model).loads
        if load.condition == "mixed"
    ]
    yield (
        f"{ALONE[model.engine]}, one request at a time, in process: {_number(alone)} tokens per second; ours, all "
        f"different, makes {', '.join(times)}."
    )
    yield ""
    if (extraction := model.extraction) is not None:
        ratio = np.median(np.array(extraction.engine) / np.array(extraction.loop))
        yield (
            f"Extraction: {_number(float(np.median(extraction.engine)))} texts per second, "
            f"{_number(float(np.median(extraction.loop)))} by a loop of forward passes (× {ratio:.1f})."
        )
        yield ""
    if model.steps is not None:
        yield from _steps(model.steps)
        yield ""


def _steps(steps: Sequence[StepCost]) -> Iterator[str]:
    yield "A llama.cpp step in process, in milliseconds, and the ratio to the step without the callback:"
    yield ""
    yield _row("sequences", "no callback", "callback, unsteered", "each at a block of its own")
    yield "|---" * 4 + "|"
    for cost in steps:
        found = [
            f"{np.median(times):.2f} (× {np.median(np.array(times) / cost.without):.3f})"
            for times in (cost.unsteered, cost.steered)
        ]
        yield _row(str(cost.sequences), f"{np.median(cost.without):.2f}", *found)


def ratios(ours: ServerResult, concurrency: int) -> list[float]:
    """Of each round: all different over unsteered."""
    mixed, plain = ours.load("mixed", concurrency), ours.load("unsteered", concurrency)
    assert mixed is not None and plain is not None
    return [a / b for a, b in zip(mixed.tokens_per_s, plain.tokens_per_s, strict=True)]


def misses(model: ModelResult) -> Iterator[str]:
    """What was wanted of a model and is not there, in words; nothing when all is."""
    ours = _own(model)
    gguf = model.engine == "llama_cpp"
    for concurrency in _concurrencies(ours):
        ratio = float(np.median(ratios(ours, concurrency)))
        if ratio < 0.98 and not (gguf and model.toy):
            yield f"{model.model}, {concurrency} at once: all different is {ratio:.3f} of unsteered, not 0.98"
        for name in NEVER_BELOW:
            found = server.load("unsteered", concurrency) if (server := model.server(name)) else None
            if found and (share := _speed(ours.load("unsteered", concurrency)) / _speed(found)) < 1:
                yield f"{model.model}, {concurrency} at once: {share:.2f} times {OTHERS[name]}, unsteered"
    mixed = {load.concurrency: _speed(load) for load in ours.loads if load.condition == "mixed"}
    yield from (_gguf_misses if gguf else _transformers_misses)(model, mixed)


def _gguf_misses(model: ModelResult, mixed: dict[int, float]) -> Iterator[str]:
    other = model.server("llama-cpp-python")
    found = other.load("unsteered", 8) if other else None
    if found and 8 in mixed and (share := mixed[8] / _speed(found)) < 3:
        yield f"{model.model}, 8 at once: {share:.1f} times {OTHERS['llama-cpp-python']}, not 3"


def _transformers_misses(model: ModelResult, mixed: dict[int, float]) -> Iterator[str]:
    alone = float(np.median(model.alone_tokens_per_s))
    if 8 in mixed and mixed[8] < 4 * alone:
        yield f"{model.model}, 8 at once: {mixed[8] / alone:.1f} times one at a time, not 4"
    speeds = [mixed[concurrency] for concurrency in sorted(mixed) if concurrency >= 8]
    if any(later < 0.98 * earlier for earlier, later in zip(speeds, speeds[1:], strict=False)):
        yield f"{model.model}: it falls from 8 at once to 32: {', '.join(map(_number, speeds))} tokens per second"


def _own(model: ModelResult) -> ServerResult:
    ours = model.server("ours")
    assert ours is not None
    return ours


def _others(model: ModelResult) -> list[ServerResult]:
    return [server for server in model.servers if server.name != "ours" and server.failure is None]


def _columns(servers: Sequence[ServerResult]) -> list[tuple[ServerResult, Load]]:
    """A column for each condition that each server could do."""
    return [(server, load) for server in servers for load in _first(server)]


def _first(server: ServerResult) -> list[Load]:
    """One load of each condition."""
    return list({load.condition: load for load in reversed(server.loads)}.values())[::-1]


def _concurrencies(ours: ServerResult) -> list[int]:
    return list(dict.fromkeys(load.concurrency for load in ours.loads))


def _title(server: ServerResult, condition: str) -> str:
    if server.name == "ours":
        return CONDITIONS[condition]
    name = OTHERS.get(server.name, server.name)
    return name if condition == "unsteered" else f"{name}, {CONDITIONS[condition]}"


def _speed(load: Load | None) -> float:
    assert load is not None
    return float(np.median(load.tokens_per_s))


def _delay(load: Load | None) -> str:
    return "" if load is None else " / ".join(_number(1000 * each) for each in load.first_token_s)


def _spread(values: Sequence[float]) -> str:
    return f"{np.median(values):.3f} ({min(values):.3f} to {max(values):.3f})"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"
