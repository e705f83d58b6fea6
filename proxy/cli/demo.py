"""The commands `persona-proxy demo ...`: their arguments. What they do and print is in proxy.demo.report."""

import argparse
from pathlib import Path

from proxy.cli.common import Commands, add_command, add_config, add_model_flags
from proxy.errors import SetupError
from proxy.settings import ModelSettings, demo_models, load_settings, override_models

EXAMPLES = """examples:
  persona-proxy demo evaluate                               what the demo models show, as tables; minutes
  persona-proxy demo judges                                 whether scores can be believed; many minutes
  persona-proxy demo blocks                                 the choice of places beside brute force; many minutes
  persona-proxy demo thermostat                             a level held beside addition; many minutes
  persona-proxy demo train qwen2                            train one again, as it was; about an hour on two cores
  persona-proxy demo train gpt-oss --out ./my-gpt-oss       into a folder of your own, the GGUF with it
  persona-proxy extract --model demo-qwen2 --trait all      make its vectors again
"""

MEASURED = (  # the command, what it does, and how many questions it asks unless told otherwise
    ("evaluate", "measure poles and facts, asked for and steered, beside the controls", 100),
    ("blocks", "choose every pole's place anew, and compare with trying them all", None),
    ("thermostat", "compare holding and capping a level with adding", 30),
    ("judges", "compare the likelihood ratio with the rules, on the same answers", 20),
)


def add_demo(commands: Commands) -> None:
    """Add `demo` and its commands to the command line."""
    demo = add_command(commands, "demo", "train the demo models again, and measure them", EXAMPLES)
    actions = demo.add_subparsers(title="commands", metavar="COMMAND", required=True)
    train = add_command(actions, "train", "train one from scratch, seeded")
    train.add_argument("family", choices=("qwen2", "gpt-oss"))
    train.add_argument("--seed", type=int, default=1, help="of text, weights and order (%(default)s)")
    train.add_argument("--out", type=Path, metavar="FOLDER", help="where to write it (over the package's own)")
    train.set_defaults(run=_train_demo)
    for name, summary, questions in MEASURED:
        command = add_command(actions, name, summary)
        command.add_argument("--model", action="append", metavar="ID", help="only this one; repeatable (all)")
        if questions is not None:
            help_ = "held-out questions to each arm (%(default)s)"
            command.add_argument("--questions", type=int, default=questions, help=help_)
        add_model_flags(command)
        add_config(command)
        command.set_defaults(run=_measure, measured=name)


def _train_demo(args: argparse.Namespace) -> None:
    from proxy.demo.report import train_family

    train_family(args.family, args.seed, args.out)


def _measure(args: argparse.Namespace) -> None:
    settings, models = load_settings(args.config), _demo_models(args)
    if args.measured != "blocks" and not 1 <= args.questions <= 200:
        raise SetupError(f"--questions must be from 1 to 200, not {args.questions}")
    from proxy.demo.report import compare_choices, compare_judges, compare_modes, evaluate_models

    if args.measured == "blocks":
        compare_choices(models, settings)
        return
    measures = {"evaluate": evaluate_models, "thermostat": compare_modes, "judges": compare_judges}
    measures[args.measured](models, settings, args.questions)


def _demo_models(args: argparse.Namespace) -> list[ModelSettings]:
    """The demo models that `--model` names, else all."""
    known = {model.id: model for model in demo_models()}
    for name in args.model or ():
        if name not in known:
            raise SetupError(f"--model: there is no demo model {name!r}; possible: {', '.join(known)}")
    return override_models([known[id_] for id_ in args.model or known], device=args.device, dtype=args.dtype)
