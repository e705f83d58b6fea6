"""The command `persona-proxy compare`: its arguments, and what it prints.

Everything heavy is imported by the command itself.
"""

import argparse
import sys

from proxy.cli.common import (
    JUDGE_HELP,
    Commands,
    Models,
    add_command,
    add_config,
    add_fresh,
    add_model,
    add_model_flags,
    check_vectors,
    surroundings,
    traits_named,
)
from proxy.errors import SetupError
from proxy.settings import load_settings

DESCRIPTION = """Compare the manners in which a vector may be put to use.

Added to the response, to the last prompt token or to every token; counted from the neutral mean or from the opposite
pole; taken from the last prompt token; and held at a level instead of added. Block, dose, questions and seeds are the
same throughout, and nothing was chosen on the questions. Prints a table for each pole. Changes no vector.
"""

EXAMPLES = """examples:
  persona-proxy compare --model smollm2-135m-instruct --trait cheerful
  persona-proxy compare --trait silly --coefficient 1.5 --samples 4 --budget standard

A run that was broken off goes on when the same command is given again.
"""


def add_compare(commands: Commands) -> None:
    """Add `compare` to the command line."""
    summary = "compare the positions, directions and modes in which a vector may be put to use"
    command = add_command(commands, "compare", summary, EXAMPLES, DESCRIPTION)
    add_model(command)
    command.add_argument("--trait", action="append", required=True, help="a trait's id; repeatable")
    command.add_argument("--coefficient", type=float, default=1.0, help="of every manner, above 0 to 2 (%(default)g)")
    help_ = "how the judge is made and how long answers may be: quick, standard or thorough (%(default)s)"
    command.add_argument("--budget", choices=("quick", "standard", "thorough"), default="quick", help=help_)
    command.add_argument(
        "--samples", type=int, help="answers to each question in each manner (1, 2 or 4, by the budget)"
    )
    command.add_argument("--seed", type=int, default=0, help="the same seed makes the same answers (%(default)s)")
    command.add_argument("--judge", help=JUDGE_HELP)
    add_fresh(command)
    add_model_flags(command)
    add_config(command)
    command.set_defaults(run=_compare)


def _compare(args: argparse.Namespace) -> None:
    settings = load_settings(args.config)
    models = Models(settings, args.device, args.dtype, sys.stderr)
    model = models.named(args.model)
    traits = traits_named(args.trait, settings)
    if not 0 < args.coefficient <= 2:
        raise SetupError(f"--coefficient: {args.coefficient:g} is out of range; possible: above 0, up to 2")

    import msgspec

    from proxy.cli.console import Console
    from proxy.jobs.kinds.comparing import ComparisonParameters, comparison
    from proxy.steering.evaluation.manners import MannerComparison, table
    from proxy.steering.evaluation.options import VectorEvaluationOptions
    from proxy.steering.making import in_use
    from proxy.steering.traits.trait import Trait

    options = VectorEvaluationOptions(args.budget, args.samples, args.seed)
    around = surroundings(settings, models, judge=args.judge, saves=False)
    check_vectors(around.store, models, model, traits)

    def asked(trait: Trait) -> ComparisonParameters:
        return ComparisonParameters(
            trait=trait.id,
            judge=args.judge,
            version=in_use(around.store, models.load(model), trait).id,
            coefficient=args.coefficient,
            budget=options.budget,
            samples=options.samples,
            seed=options.seed,
        )

    def show(result: dict[str, object]) -> None:
        found = msgspec.convert(result, MannerComparison)
        print(f"At {args.coefficient:g}, in {model.id}; judged by {found.judge}.\n")
        for pole, rows in found.poles.items():
            print(*table(pole, rows), "", sep="\n", flush=True)

    with models:
        Console(sys.stderr, args.fresh).each(comparison(around), models.load(model), traits, asked, show)
