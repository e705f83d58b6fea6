"""The command `persona-proxy extract`: its arguments, and what it has done.

Everything heavy is imported by the command itself.
"""

import argparse
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
    surroundings,
    traits_named,
)
from proxy.settings import load_settings

EXAMPLES = """examples:
  persona-proxy extract --trait silly                       a small demo model, in minutes on a CPU
  persona-proxy extract --model Qwen/Qwen2.5-7B-Instruct --trait all
  persona-proxy extract --model smollm2-135m-instruct --trait silly --budget quick      a first try, in minutes
  persona-proxy extract --trait silly --rollouts 2 --questions 5     quicker and rougher
"""

JUDGE_HELP = (
    "who scores the answers: rules (of the demo world), likelihood, reading, model (the model itself), another served "
    "model's id, a judge of the settings, or MODEL@URL, an OpenAI-compatible endpoint whose key, if it needs one, is "
    "in JUDGE_API_KEY (rules for a demo model, else likelihood, and reading within a budget)"
)


def add_extract(commands: Commands) -> None:
    """Add `extract` to the command line."""
    extract = add_command(commands, "extract", "make persona vectors from a model's own answers", EXAMPLES)
    add_model(extract)
    extract.add_argument("--trait", action="append", required=True, help=TRAIT_HELP)
    add_model_flags(extract)
    add_config(extract)
    extract.add_argument(
        "--budget",
        choices=("quick", "standard", "thorough"),
        help="how much is asked: quick for a first try, standard, or thorough, which takes hours on a real model "
        "without a GPU; the first two make the curve too (thorough)",
    )
    extract.add_argument("--rollouts", type=int, help="answers to each question under each instruction (10)")
    extract.add_argument("--questions", type=int, help="how many of a trait's questions to ask, 2 to 20 (20)")
    extract.add_argument("--seed", type=int, help="the same seed makes the same vector (0)")
    add_making_flags(extract, JUDGE_HELP)
    extract.set_defaults(run=_extract)


def _extract(args: argparse.Namespace) -> None:
    settings = load_settings(args.config)
    models = Models(settings, args.device, args.dtype)
    model = models.named(args.model)
    traits = traits_named(args.trait, settings, "all")

    from proxy.cli.console import Console
    from proxy.cli.results import expected_line, extracted_lines
    from proxy.jobs.kinds.extraction import ExtractionParameters, extraction
    from proxy.steering.making import ExtractionOptions, check_numbers
    from proxy.steering.sweep.table import curve_table
    from proxy.steering.traits.trait import Trait

    numbers = {"rollouts": args.rollouts, "questions": args.questions, "seed": args.seed, "budget": args.budget}
    given = {name: value for name, value in numbers.items() if value is not None}
    check_numbers(args.budget, args.rollouts, args.questions)
    ExtractionOptions(**given)  # says what is out of range
    around = surroundings(settings, models, judge=args.judge, out=args.out)

    def asked(trait: Trait) -> ExtractionParameters:
        wanted = ExtractionParameters(trait=trait.id, judge=args.judge, **given)
        print(expected_line(models.load(model), trait, wanted), flush=True)
        return wanted

    def show(result: dict[str, str]) -> None:
        vector = around.store.get(result["vector"])
        print(*extracted_lines(vector), f"  {result['note']}", *curve_table(vector), sep="\n", flush=True)

    with models:
        Console(sys.stdout, args.fresh).each(extraction(around), models.load(model), traits, asked, show)
