"""The command `persona-proxy sweep`: its arguments, and what it prints.

Everything heavy is imported by the command itself.
"""

import argparse
import re
import sys

from proxy.cli.common import (
    TRAIT_HELP,
    Commands,
    Models,
    add_command,
    add_config,
    add_making_flags,
    add_model,
    add_model_flags,
    check_vectors,
    surroundings,
    traits_named,
)
from proxy.settings import load_settings

EXAMPLES = """examples:
  persona-proxy sweep --trait silly                         a small demo model, in a minute or two on a CPU
  persona-proxy sweep --model Qwen/Qwen2.5-7B-Instruct --trait all
  persona-proxy sweep --trait silly --from 0 --to 3 --step 0.5      the positive pole alone, further and rougher
"""


def add_sweep(commands: Commands) -> None:
    """Add `sweep` to the command line."""
    summary = "measure a vector over a range of coefficients, and set what coefficient 1 is"
    description = f"{summary[0].upper()}{summary[1:]}. The measured vector is saved as a new version."
    command = add_command(commands, "sweep", summary, EXAMPLES, description)
    add_model(command)
    command.add_argument("--trait", action="append", required=True, help=TRAIT_HELP)
    # As later Pythons have it, where -1e-3 is no option but a number.
    command._negative_number_matcher = re.compile(r"-\.?\d")
    command.add_argument("--from", type=float, default=-2.0, dest="start", help="the first coefficient (%(default)g)")
    command.add_argument("--to", type=float, default=2.0, dest="end", help="the last coefficient (%(default)g)")
    command.add_argument("--step", type=float, default=0.25, help="between two coefficients (%(default)g)")
    command.add_argument("--samples", type=int, default=4, help="answers to each question (%(default)s)")
    command.add_argument("--seed", type=int, default=0, help="the same seed makes the same answers (%(default)s)")
    command.add_argument(
        "--keep-strength", action="store_true", help="leave what coefficient 1 is, and only measure it"
    )
    add_making_flags(command)
    command.add_argument("--json", action="store_true", help="print the curves as JSON, a line for each trait")
    add_model_flags(command)
    add_config(command)
    command.set_defaults(run=_sweep)


def _sweep(args: argparse.Namespace) -> None:
    out = sys.stderr if args.json else sys.stdout
    settings = load_settings(args.config)
    models = Models(settings, args.device, args.dtype, out)
    model = models.named(args.model)
    traits = traits_named(args.trait, settings, "all")

    import msgspec

    from proxy.cli.console import Console
    from proxy.jobs.kinds.sweeping import SweepParameters, sweeping_kind
    from proxy.steering.making import in_use
    from proxy.steering.sweep import SweepOptions, grid
    from proxy.steering.sweep.table import curve_table
    from proxy.steering.traits.trait import Trait
    from proxy.vectors import curve_of

    options = SweepOptions(
        grid(args.start, args.end, args.step), args.samples, args.seed, keep_strength=args.keep_strength
    )
    around = surroundings(settings, models, judge=args.judge, out=args.out)
    check_vectors(around.store, models, model, traits)

    def asked(trait: Trait) -> SweepParameters:
        return SweepParameters(
            trait=trait.id,
            judge=args.judge,
            version=in_use(around.store, models.load(model), trait).id,
            coefficients=list(options.coefficients),
            samples=options.samples,
            seed=options.seed,
            keep_strength=options.keep_strength,
        )

    def show(result: dict[str, str]) -> None:
        vector = around.store.get(result["vector"])
        if args.json:
            print(msgspec.json.encode(curve_of(vector)).decode(), flush=True)
        else:
            print(f"{vector.positive} / {vector.negative} in {vector.model_id}, saved as {vector.id}")
            print(*curve_table(vector), sep="\n", flush=True)
        print(result["note"], file=out, flush=True)

    with models:
        Console(out, args.fresh).each(sweeping_kind(around), models.load(model), traits, asked, show)
