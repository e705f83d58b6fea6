"""The command `python -m tests.benchmarks`: reads the command line, measures, writes results, prints tables."""

import argparse
import asyncio
import sys
from collections.abc import Sequence
from pathlib import Path

import torch

from proxy.cli.console import ProgressBar
from proxy.engines.transformers.loading import choose_device
from proxy.errors import SetupError
from tests.benchmarks import native, records
from tests.benchmarks.client import BenchmarkError
from tests.benchmarks.contenders import NAMES, ours
from tests.benchmarks.models import DEMO, MODELS, usual
from tests.benchmarks.native import MODELS as NATIVE
from tests.benchmarks.native_tables import native_misses, slower
from tests.benchmarks.run import Effort, measure_model
from tests.benchmarks.soak import flat, soak
from tests.benchmarks.surface import CONTENDERS as SURFACES
from tests.benchmarks.surface import QUICK, Amount, measure_surface
from tests.benchmarks.tables import misses, render, surface_misses

EXAMPLES = """examples:
  python -m tests.benchmarks speed                          all of it: about 40 minutes on two cores
  python -m tests.benchmarks speed --quick                  to try things: a minute or two, and nothing is kept
  python -m tests.benchmarks speed --model demo-qwen2 --server ours --server saklas
  python -m tests.benchmarks speed --model demo-gpt-oss-gguf --server llama-cpp-python
  python -m tests.benchmarks soak                           10,000 requests, and what memory does meanwhile
  python -m tests.benchmarks surface                        what servers cost beside their model: five minutes
  python -m tests.benchmarks native                         beside llama-server, on real models: half an hour
  python -m tests.benchmarks tables                         what docs/results/SPEED.md shows between its markers

Leave the machine alone meanwhile: anything else that computes shows in the figures.
`make bench` installs what is measured against into .venv-bench, then runs `speed` and `native`.
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0, 1 a failure, 2 the operator's mistake, 130 interrupted."""
    args = parser().parse_args(argv)
    try:
        return int(args.run(args))
    except SetupError as error:
        print(f"benchmarks: {error.message}", file=sys.stderr)
        return 2
    except BenchmarkError as error:
        print(f"benchmarks: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    raw = argparse.RawDescriptionHelpFormatter
    root = argparse.ArgumentParser(
        prog="python -m tests.benchmarks",
        description="How fast the server is, beside others, over HTTP, on this machine.",
        epilog=EXAMPLES,
        formatter_class=raw,
    )
    commands = root.add_subparsers(title="commands", metavar="COMMAND", required=True)
    speed = commands.add_parser("speed", help="tokens per second and time to the first token, beside other servers")
    speed.add_argument(
        "--model", action="append", choices=MODELS, help="repeatable; by default the demos and the shape of a real one"
    )
    speed.add_argument("--server", action="append", choices=NAMES, help="repeatable; by default all that can run it")
    speed.add_argument("--quick", action="store_true", help="a small part, for trying things; prints and keeps nothing")
    _add_common(speed)
    speed.set_defaults(run=_speed)
    endurance = commands.add_parser("soak", help="many short requests to one server: does its memory stay flat?")
    endurance.add_argument("--model", choices=MODELS, default=DEMO.id, help=f"({DEMO.id})")
    endurance.add_argument("--requests", type=int, default=10000, help="how many (10000)")
    _add_common(endurance)
    endurance.set_defaults(run=_soak)
    surface = commands.add_parser("surface", help="what a server costs beside its model, which answers at once")
    surface.add_argument("--quick", action="store_true", help="one short round, for trying things; keeps nothing")
    surface.add_argument("--out", type=Path, metavar="FILE", help="where results go (tests/benchmarks/results)")
    surface.set_defaults(run=_surface)
    native = commands.add_parser("native", help="beside llama.cpp's own server, on real models")
    native.add_argument(
        "--model", action="append", choices=NATIVE, help="repeatable; by default all, --quick the first"
    )
    native.add_argument("--quick", action="store_true", help="a small part, for trying things; keeps nothing")
    native.add_argument("--out", type=Path, metavar="FILE", help="where results go (tests/benchmarks/results)")
    native.set_defaults(run=_native)
    tables = commands.add_parser("tables", help="print the results that are kept, as Markdown")
    tables.set_defaults(run=_tables)
    return root


def _add_common(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", default="auto", help="auto (CUDA, else the CPU), cpu or cuda")
    command.add_argument("--out", type=Path, metavar="FILE", help="where results go (tests/benchmarks/results)")


def _speed(args: argparse.Namespace) -> int:
    device, machine = _place(args.device)
    models = [MODELS[name] for name in args.model] if args.model else [DEMO] if args.quick else usual(device)
    names = list(dict.fromkeys(["ours", *(args.server or NAMES)]))
    path = args.out or records.FOLDER / f"{machine.name}.json"
    measured = records.Results(machine)
    for model in models:
        with ProgressBar(sys.stderr) as progress:
            result = measure_model(model, names, device, machine.cores, Effort(args.quick), progress)
        measured.put(result)
        if not args.quick or args.out:
            kept = records.read(path, machine)
            kept.put(result)
            records.write(path, kept)
    print(render([measured]))
    missed = [line for result in measured.models for line in misses(result)]
    print("\nmissed:" if missed else "\neverything wanted was met", *missed, sep="\n- ")
    return 0


def _soak(args: argparse.Namespace) -> int:
    if args.requests < 100:
        raise SetupError(f"--requests must be at least 100, not {args.requests}")
    device, machine = _place(args.device)
    path = args.out or records.FOLDER / f"{machine.name}.json"
    model = MODELS[args.model]
    server = ours(model, model.prepared(), device)
    with ProgressBar(sys.stderr) as progress:
        result = asyncio.run(soak(server, args.requests, 1, progress))
    kept = records.read(path, machine)
    kept.put(result)
    records.write(path, kept)
    first, last = result.rss_mb[0], result.rss_mb[-1]
    print(
        f"{first[1]:.1f} MB after {first[0]} requests, {last[1]:.1f} MB after {last[0]}; "
        f"{result.slope_mb:+.3f} MB per 1,000 requests; {result.cancelled} were hung up on"
    )
    if not flat(result):
        print("benchmarks: memory grows", file=sys.stderr)
        return 1
    return 0


def _surface(args: argparse.Namespace) -> int:
    _, machine = _place("cpu")
    path = args.out or records.FOLDER / f"{machine.name}.json"
    with ProgressBar(sys.stderr) as progress:
        result = asyncio.run(measure_surface(list(SURFACES), QUICK if args.quick else Amount(), progress))
    if not args.quick or args.out:
        kept = records.read(path, machine)
        kept.surface = result
        records.write(path, kept)
    print(render([records.Results(machine, surface=result)]))
    print(*(f"missed: {line}" for line in surface_misses(result)), sep="\n")
    return 0


def _native(args: argparse.Namespace) -> int:
    _, machine = _place("cpu")
    path = args.out or records.FOLDER / f"{machine.name}.json"
    amount = native.QUICK if args.quick else native.Amount()
    for name in args.model or list(NATIVE)[: 1 if args.quick else None]:
        kept = records.read(path, machine)
        before = next((each for each in kept.native if each.model == name), None)
        try:
            with ProgressBar(sys.stderr) as progress:
                result = asyncio.run(native.measure_native(NATIVE[name], machine.cores, amount, progress))
        except BenchmarkError as error:
            print(f"{name} beside llama-server: not measured: {error}")
            continue
        if not args.quick or args.out:
            kept.put(result)
            records.write(path, kept)
        print(render([records.Results(machine, native=[result])]))
        print(*(f"missed: {line}" for line in native_misses(result)), sep="\n")
        print(*(f"slower than kept: {line}" for line in slower(before, result)), sep="\n")
    return 0


def _tables(args: argparse.Namespace) -> int:
    print(render(records.read_all()))
    return 0


def _place(wanted: str) -> tuple[str, records.Machine]:
    """The device to run on, and the machine with its name. SetupError for one that is not there."""
    device = choose_device(wanted)
    gpu = torch.cuda.get_device_name(device) if device.type == "cuda" else None
    return device.type, records.this_machine(gpu)


if __name__ == "__main__":
    sys.exit(main())
