"""The command `persona-proxy sweep`: its arguments, and what it prints.

Everything heavy is imported by the command itself.
"""

import argparse
import re
import sys
from pathlib import Path

from proxy.errors import SetupError
from proxy.settings import demo_models, load_settings, model_settings, override_models

EXAMPLES = """examples:
  persona-proxy sweep --trait silly                         a small demo model, in a minute or two on a CPU
  persona-proxy sweep --model Qwen/Qwen2.5-7B-Instruct --trait all
  persona-proxy sweep --trait silly --from 0 --to 3 --step 0.5      the positive pole alone, further and rougher
"""


def add_sweep(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `sweep` to the command line."""
    summary = "measure a vector over a range of coefficients, and set what coefficient 1 is"
    command = commands.add_parser(
        "sweep",
        help=summary,
        description=summary[0].upper() + summary[1:] + ". The measured vector is saved as a new version.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "--model",
        default=demo_models()[0].id,
        metavar="[ID=]NAME_OR_FOLDER",
        help="the model, under the id it is served by (%(default)s)",
    )
    command.add_argument(
        "--trait", action="append", required=True, help="a trait's id, or `all`; may be given several times"
    )
    # As later Pythons have it, where -1e-3 is no option but a number.
    command._negative_number_matcher = re.compile(r"-\.?\d")
    command.add_argument("--from", type=float, default=-2.0, dest="start", help="the first coefficient (%(default)g)")
    command.add_argument("--to", type=float, default=2.0, dest="end", help="the last coefficient (%(default)g)")
    command.add_argument("--step", type=float, default=0.25, help="between two coefficients (%(default)g)")
    command.add_argument("--samples", type=int, default=4, help="answers to each question (%(default)s)")
    command.add_argument("--seed", type=int, default=0, help="the same seed makes the same answers (%(default)s)")
    command.add_argument("--judge", help="who scores the answers; see `persona-proxy extract --help`")
    command.add_argument("--fresh", action="store_true", help="start over, not where a run was broken off")
    command.add_argument("--json", action="store_true", help="print the curves as JSON, a line for each trait")
    command.add_argument("--out", type=Path, metavar="FOLDER", help="where to keep the vectors (vectors_dir)")
    command.add_argument("--device", help="auto, cpu, cuda, cuda:1 or mps (auto)")
    command.add_argument("--dtype", help="auto, float32, bfloat16 or float16 (auto)")
    command.add_argument("--config", type=Path, metavar="FILE", help="settings in TOML; flags and environment win")
    command.set_defaults(run=_sweep)


def _sweep(args: argparse.Namespace) -> None:
    settings = load_settings(args.config)
    served = next((model for model in settings.models if model.id == args.model), None)
    model = override_models([served or model_settings(args.model)], device=args.device, dtype=args.dtype)[0]

    from proxy.steering.traits.trait import Traits, no_trait

    known = Traits(settings.traits_dir).current
    for name in args.trait:
        if name != "all" and name not in known:
            raise SetupError(f"--trait: {no_trait(name, known, 'all')}")
    traits = [trait for id_, trait in known.items() if {id_, "all"} & set(args.trait)]

    import msgspec

    from proxy.judges import judge_meant
    from proxy.steering.sweep import SweepOptions, grid
    from proxy.steering.sweep.console import run_sweeps
    from proxy.steering.sweep.table import curve_table
    from proxy.vectors import curve_of
    from vector_store import PersonaVector, VectorStore

    options = SweepOptions(grid(args.start, args.end, args.step), args.samples, args.seed)
    store = VectorStore([args.out, *settings.vector_folders] if args.out else settings.vector_folders)

    def show(vector: PersonaVector) -> None:
        if args.json:
            print(msgspec.json.encode(curve_of(vector)).decode(), flush=True)
        else:
            print(f"{vector.positive} / {vector.negative} in {vector.model_id}, saved as {vector.id}")
            print(*curve_table(vector), sep="\n", flush=True)

    console = sys.stderr if args.json else sys.stdout
    print(f"Loading {model.source} ...", file=console, flush=True)
    from proxy.engines.blocking import MAX_RUNNING
    from proxy.engines.registry import load_engine

    engine = load_engine(model, MAX_RUNNING)
    try:
        with judge_meant(args.judge, settings, engine, args.device, args.dtype) as judge:
            places = {"parts_folder": settings.parts_dir, "fresh": args.fresh}
            run_sweeps(engine, traits, store, options, console, show, judge=judge, **places)
    finally:
        engine.close()
