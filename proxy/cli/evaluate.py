"""The command `persona-proxy evaluate`: its arguments, and what it prints and writes.

Everything heavy is imported by the command itself.
"""

import argparse
import sys
from pathlib import Path

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

DESCRIPTION = """Measure what a model's vectors are worth, on questions that nothing was chosen on.

Both poles are steered to at coefficients up to 2. Beside them stand no steering, random directions and other traits'
ones of the same dose, the system prompt, the system prompt with the vector, and the system prompt with demonstrations.
Of each: trait with its 95 % interval over questions, coherence, cut off and looping answers, words, and the share of
answers that were steered the wrong way; then second turns of conversations, and facts and instructions that are right
or wrong by rules alone. Each pole gets a verdict. All of it is kept in a new version of the vector.

Needs vectors: persona-proxy extract.
"""

EXAMPLES = """examples:
  persona-proxy evaluate --model smollm2-135m-instruct                     all traits it has vectors of
  persona-proxy evaluate --model smollm2-135m-instruct --trait silly --budget quick
  persona-proxy evaluate --trait silly --second-judge reading --out report
                                                  also report/EVALUATION.md and report/evaluations/*.json

A run that was broken off goes on when the same command is given again.
"""


def add_evaluate(commands: Commands) -> None:
    """Add `evaluate` to the command line."""
    summary = "measure what a model's vectors bring and what they cost, beside prompts and controls"
    command = add_command(commands, "evaluate", summary, EXAMPLES, DESCRIPTION)
    add_model(command)
    command.add_argument("--trait", action="append", help="a trait's id; repeatable (all that have a vector)")
    help_ = "how much is asked: quick, standard or thorough (%(default)s)"
    command.add_argument("--budget", choices=("quick", "standard", "thorough"), default="standard", help=help_)
    command.add_argument("--samples", type=int, help="answers to each question in each way (1, 2 or 4, by the budget)")
    command.add_argument("--seed", type=int, default=0, help="the same seed makes the same answers (%(default)s)")
    command.add_argument("--judge", help=JUDGE_HELP)
    command.add_argument("--second-judge", metavar="JUDGE", help="another judge, to see how the two agree (none)")
    add_fresh(command)
    command.add_argument("--out", type=Path, metavar="FOLDER", help="write the tables there too, and their figures")
    add_model_flags(command)
    add_config(command)
    command.set_defaults(run=_evaluate)


def _evaluate(args: argparse.Namespace) -> None:
    settings = load_settings(args.config)
    models = Models(settings, args.device, args.dtype, sys.stderr)
    model = models.named(args.model)
    named = traits_named(args.trait or [], settings)

    from proxy.cli.console import Console
    from proxy.cli.results import expected_evaluation_line
    from proxy.jobs.kinds.evaluating import VectorEvaluationParameters, evaluation_kind
    from proxy.steering.evaluation.options import VectorEvaluationOptions
    from proxy.steering.evaluation.report import evaluation_of, make_report_folder, section, write_evaluation
    from proxy.steering.making import in_use, no_vector
    from proxy.steering.traits.trait import Trait

    options = VectorEvaluationOptions(args.budget, args.samples, args.seed)
    if args.second_judge is not None and args.second_judge == args.judge:
        raise SetupError(f"--second-judge: it is the first judge too, {args.judge!r}; name another one")
    if args.out:
        make_report_folder(args.out)
    around = surroundings(settings, models, judge=args.judge, second_judge=args.second_judge)
    check_vectors(around.store, models, model, named)

    def asked(trait: Trait) -> VectorEvaluationParameters:
        engine = models.load(model)
        wanted = VectorEvaluationParameters(
            trait=trait.id,
            judge=args.judge,
            version=in_use(around.store, engine, trait).id,
            budget=options.budget,
            samples=options.samples,
            seed=options.seed,
            second_judge=args.second_judge,
        )
        print(expected_evaluation_line(engine, trait, wanted), file=sys.stderr, flush=True)
        return wanted

    def show(result: dict[str, str]) -> None:
        found = evaluation_of(around.store.get(result["vector"]))
        print(*section(found), "", sep="\n", flush=True)
        print(result["note"], file=sys.stderr, flush=True)
        if args.out:
            print(f"written: {write_evaluation(args.out, found)}", file=sys.stderr, flush=True)

    with models:
        engine = models.load(model)
        used = around.store.all_in_use(engine.info.id, engine.info.fingerprint)
        traits = named or [trait for id_, trait in around.traits().items() if id_ in used and used[id_].poles]
        if not traits:
            raise SetupError(no_vector(engine.info.id, toy=engine.info.world is not None))
        Console(sys.stderr, args.fresh).each(evaluation_kind(around), engine, traits, asked, show)
