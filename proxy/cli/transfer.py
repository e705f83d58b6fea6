"""The commands `persona-proxy transfer ...`: their arguments, and what they print.

Everything heavy is imported by the command that needs it.
"""

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.cli.common import (
    JUDGE_HELP,
    MODEL,
    TRAIT_HELP,
    Commands,
    Models,
    add_command,
    add_config,
    add_fresh,
    add_making_flags,
    add_model_flags,
    surroundings,
    traits_named,
)
from proxy.errors import SetupError
from proxy.settings import load_settings
from proxy.steering.budget import BUDGET_NAMES, THOROUGH

if TYPE_CHECKING:
    from proxy.steering.traits.trait import Trait
    from proxy.steering.transfer.fit import Corpus

EXAMPLES = """examples:
  persona-proxy transfer fit --source demo-qwen2 --target demo-gpt-oss-gguf      minutes on a CPU
  persona-proxy transfer apply --source demo-qwen2 --target demo-gpt-oss-gguf --trait all
  persona-proxy transfer evaluate --source demo-qwen2 --target demo-gpt-oss-gguf --out report
"""

EVALUATING = """Measure what the vectors carried from one model to another are worth there.

The target answers questions that nothing was chosen on, in one mixed batch: unsteered, steered by its own vector, by
the transferred one, by random directions (any, and such as its activations vary in), by maps that were fitted to
wrongly paired text and by the other traits' vectors, all at the same place and relative dose; then with changed
sampling parameters, and asked by a system prompt. A judge that is not told the arm scores trait and coherence; a trait
whose judge can't tell its poles apart (AUROC below 0.9) is "unscored".

Needs: maps from the source to the target (persona-proxy transfer fit), and of every trait a vector of the source and
one of the target (persona-proxy extract). Where the target has none of its own, the carried one is taken as `transfer
apply` placed it, and stands beside the controls alone. The source model itself is not loaded.
"""

EVALUATING_EXAMPLES = """examples:
  persona-proxy transfer evaluate --source demo-qwen2 --target demo-gpt-oss-gguf
                                                            some minutes on two cores; prints the tables
  persona-proxy transfer evaluate --source Qwen/Qwen2.5-7B-Instruct --target gpt-oss-20b --out report
                                                            also report/TRANSFER.md and report/transfers/*.json
  persona-proxy transfer evaluate --source demo-qwen2 --target demo-gpt-oss --trait silly --trait dishonest --samples 1
                                                            quicker and rougher

A run that was broken off goes on when the same command is given again. Exit codes: 0 measured, whatever was found;
1 a failure; 2 something is missing or wrong, found out before any answer is made; 130 interrupted.
"""


def add_transfer(commands: Commands) -> None:
    """Add `transfer` and its commands to the command line."""
    transfer = add_command(
        commands,
        "transfer",
        "carry persona vectors from one model to another, and measure what they are worth there",
        EXAMPLES,
        "Carry persona vectors from one model to another, of any architecture and engine.",
    )
    actions = transfer.add_subparsers(title="commands", metavar="COMMAND", required=True)

    fit = add_command(actions, "fit", "fit linear maps between the residuals of two models")
    _add_pair(fit)
    fit.add_argument(
        "--text",
        default="built-in",
        metavar="WHAT",
        help="what both models read: `built-in` roles and styles, `neutral` questions, or a file or folder of your "
        "own (%(default)s)",
    )
    fit.add_argument("--documents", type=int, default=1200, help="how many, of the first two (%(default)s)")
    help_ = "how long the source's answers to these are, at most (%(default)s)"
    fit.add_argument("--answer-tokens", type=int, default=128, metavar="N", help=help_)
    fit.add_argument("--blocks", metavar="N,N", help="blocks of the target to fit maps to (all, or 8 from the middle)")
    fit.add_argument("--estimate", action="store_true", help="say what it would take, by a few documents, and stop")
    fit.set_defaults(run=_fit)

    summary = "carry vectors across by fitted maps, and measure how strongly they steer"
    apply = add_command(actions, "apply", summary)
    _add_pair(apply)
    apply.add_argument("--trait", action="append", required=True, help=TRAIT_HELP)
    apply.add_argument("--transfer", metavar="ID", help="the transfer, by its id (the newest)")
    help_ = "how much is done to find place and strength: quick, standard or thorough (%(default)s)"
    apply.add_argument("--budget", choices=BUDGET_NAMES, default=THOROUGH, help=help_)
    add_making_flags(apply)
    apply.set_defaults(run=_apply)

    summary = "measure what transferred vectors are worth, beside native ones and controls"
    evaluate = add_command(actions, "evaluate", summary, EVALUATING_EXAMPLES, EVALUATING)
    _add_pair(evaluate)
    evaluate.add_argument("--transfer", metavar="ID", help="the maps, by their id (the newest)")
    evaluate.add_argument("--trait", action="append", help="a trait's id; repeatable (all built-in ones)")
    evaluate.add_argument("--samples", type=int, default=2, help="answers to each question in each arm (%(default)s)")
    help_ = "how much is asked: quick, standard or thorough (%(default)s)"
    evaluate.add_argument("--budget", choices=BUDGET_NAMES, default=THOROUGH, help=help_)
    evaluate.add_argument("--judge", help=JUDGE_HELP)
    add_fresh(evaluate)
    help_ = "keep the figures there too, and a page of all that were kept there"
    evaluate.add_argument("--out", type=Path, metavar="FOLDER", help=help_)
    evaluate.set_defaults(run=_evaluate)


def _add_pair(command: argparse.ArgumentParser) -> None:
    for side, of in (("source", "the vectors are from"), ("target", "they are for")):
        command.add_argument(f"--{side}", required=True, metavar=MODEL, help=f"the model {of}, as it is served")
    command.add_argument("--seed", type=int, default=0, help="of texts and answers (%(default)s)")
    add_model_flags(command)
    add_config(command)


def _fit(args: argparse.Namespace) -> None:
    settings = load_settings(args.config)
    models = Models(settings, args.device, args.dtype)
    blocks = _blocks(args.blocks)
    source, target = models.named(args.source), models.named(args.target)
    if source.id == target.id:
        raise SetupError(f"--target: {source.id} is the source itself; a transfer needs two models")
    if args.documents < 1:
        raise SetupError(f"--documents must be at least 1, not {args.documents}")
    if not 8 <= args.answer_tokens <= 512:
        raise SetupError(f"--answer-tokens must be from 8 to 512, not {args.answer_tokens}")

    from proxy.cli.console import Console
    from proxy.cli.results import fitted_lines
    from proxy.jobs.kinds.transferring import TransferParameters, transferring_kind
    from proxy.steering.transfer.estimate import estimated_lines
    from proxy.steering.transfer.files import transfers
    from proxy.steering.transfer.fit import corpus_of

    around, folder = surroundings(settings, models, saves=False), settings.transfers_dir
    built_in = args.text in ("built-in", "neutral")
    own = None if built_in else _own_text(args, around.traits())
    wanted = {"text": args.text, "documents": args.documents, "answer_tokens": args.answer_tokens}
    given = {} if own else wanted
    asked = TransferParameters(source=source.id, blocks=blocks, seed=args.seed, **given)
    with models:
        one, other = models.load(source), models.load(target)
        if args.estimate:
            asked_for = args.seed, args.documents, args.answer_tokens
            corpus = own or corpus_of(args.text, around.traits(), other.info.world, *asked_for)
            print(*estimated_lines(one, other, corpus, blocks), sep="\n")
            return
        result = Console(sys.stdout).do(transferring_kind(around, folder, own), other, asked)
    (info,) = (info for info in transfers(folder) if info.id == result["transfer"])
    print(*fitted_lines(info), sep="\n")


def _own_text(args: argparse.Namespace, traits: "Mapping[str, Trait]") -> "Corpus":
    from proxy.steering.transfer.fit import Corpus
    from proxy.steering.transfer.text import read_corpus

    return Corpus(read_corpus(Path(args.text), traits, args.seed), f"text of one's own, {args.text}", args.seed)


def _blocks(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(number) for number in text.split(",")]
    except ValueError:
        raise SetupError(f"--blocks: {text!r} must be block indices with commas between them, such as 8,12") from None


def _apply(args: argparse.Namespace) -> None:
    settings = load_settings(args.config)
    models = Models(settings, args.device, args.dtype)
    traits = traits_named(args.trait, settings, "all")
    source, target = models.named(args.source), models.named(args.target)

    from proxy.cli.console import Console
    from proxy.cli.results import applied_lines
    from proxy.jobs.kinds.transferring import ApplyParameters, applying_kind, settled
    from proxy.steering.traits.trait import Trait

    around, folder = surroundings(settings, models, judge=args.judge, out=args.out), settings.transfers_dir

    def asked(trait: Trait) -> ApplyParameters:
        parameters = {"source": source.id, "transfer": args.transfer, "seed": args.seed, "budget": args.budget}
        return ApplyParameters(trait=trait.id, judge=args.judge, **parameters)

    def show(result: dict[str, str]) -> None:
        print(*applied_lines(around.store.get(result["vector"])), f"  {result['note']}", sep="\n", flush=True)

    with models:
        engine = models.load(target)
        for trait in traits:  # what is wrong with any is found out before the long part of all
            settled(around, folder, engine.info, trait, asked(trait))
        Console(sys.stdout, args.fresh).each(applying_kind(around, folder), engine, traits, asked, show)


def _evaluate(args: argparse.Namespace) -> None:
    settings = load_settings(args.config)
    models = Models(settings, args.device, args.dtype, sys.stderr)
    source, target = models.named(args.source), models.named(args.target)

    from proxy.cli.console import Console
    from proxy.jobs.kinds.transferring import EvaluationParameters, evaluating_kind
    from proxy.steering.traits.trait import load_traits
    from proxy.steering.transfer.arms import EvaluationOptions
    from proxy.steering.transfer.evaluations import kept, prepare_report, write_report
    from proxy.steering.transfer.page import section

    traits = [trait.id for trait in traits_named(args.trait or list(load_traits()), settings)]
    options = EvaluationOptions(args.samples, args.seed, args.budget)
    if args.out:
        prepare_report(args.out)
    around, folder = surroundings(settings, models, judge=args.judge, saves=False), settings.transfers_dir
    asked = EvaluationParameters(
        source=source.id,
        traits=traits,
        transfer=args.transfer,
        samples=options.samples,
        seed=options.seed,
        budget=options.budget,
        judge=args.judge,
    )
    with models:
        result = Console(sys.stderr, args.fresh).do(evaluating_kind(around, folder), models.load(target), asked)
    found = kept(folder, result["transfer"])[result["evaluation"]]
    print(*section(found), sep="\n", flush=True)
    if args.out:
        print(f"written: {write_report(args.out, found)}", file=sys.stderr)
