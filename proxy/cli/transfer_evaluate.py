"""The command `persona-proxy transfer evaluate`: its arguments, and what it prints.

Everything heavy is imported by the command itself.
"""

import argparse
import sys
from pathlib import Path

from proxy.errors import SetupError
from proxy.settings import load_settings, model_settings, override_models

DESCRIPTION = """Measure what the vectors carried from one model to another are worth there.

The target answers questions that nothing was chosen on, in one mixed batch: unsteered, steered by its own vector, by
the transferred one, by random directions (any, and such as its activations vary in), by maps that were fitted to
wrongly paired text and by the other traits' vectors, all at the same place and relative dose; then with changed
sampling parameters, and asked by a system prompt. A judge that is not told the arm scores trait and coherence; a trait
whose judge can't tell its poles apart (AUROC below 0.9) is "unscored".

Needs: maps from the source to the target (persona-proxy transfer fit), and of every trait a vector of the source and
one of the target (persona-proxy extract). The source model itself is not loaded.
"""

EXAMPLES = """examples:
  persona-proxy transfer evaluate --source demo-qwen2 --target demo-gpt-oss-gguf
                                                            some minutes on two cores; prints the tables
  persona-proxy transfer evaluate --source Qwen/Qwen2.5-7B-Instruct --target gpt-oss-20b --out report
                                                            also report/TRANSFER.md and report/transfers/*.json
  persona-proxy transfer evaluate --source demo-qwen2 --target demo-gpt-oss --trait silly --trait dishonest --samples 1
                                                            quicker and rougher

A run that was broken off goes on when the same command is given again. Exit codes: 0 measured, whatever was found;
1 a failure; 2 something is missing or wrong, found out before any answer is made; 130 interrupted.
"""


def add_evaluate(actions: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `evaluate` to the commands of `transfer`."""
    command = actions.add_parser(
        "evaluate",
        help="measure what transferred vectors are worth, beside native ones and controls",
        description=DESCRIPTION,
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument(
        "--source", required=True, metavar="[ID=]NAME_OR_FOLDER", help="the model the vectors are from, as it is served"
    )
    command.add_argument(
        "--target",
        required=True,
        metavar="[ID=]NAME_OR_FOLDER",
        help="the model to steer, under the id it is served by",
    )
    command.add_argument("--transfer", metavar="ID", help="the maps, by their id (the newest)")
    command.add_argument("--trait", action="append", help="a trait's id; repeatable (all built-in ones)")
    command.add_argument("--samples", type=int, default=2, help="answers to each question in each arm (%(default)s)")
    command.add_argument("--seed", type=int, default=0, help="the same seed makes the same answers (%(default)s)")
    command.add_argument("--judge", help="who scores the answers; see `persona-proxy extract --help`")
    command.add_argument("--fresh", action="store_true", help="start over, not where a run was broken off")
    command.add_argument(
        "--out", type=Path, metavar="FOLDER", help="keep the figures there, and a page of all that were kept there"
    )
    command.add_argument("--device", help="auto, cpu, cuda, cuda:1 or mps (auto)")
    command.add_argument("--dtype", help="auto, float32, bfloat16 or float16 (auto)")
    command.add_argument("--config", type=Path, metavar="FILE", help="settings in TOML; flags and environment win")
    command.set_defaults(run=_evaluate)


def _evaluate(args: argparse.Namespace) -> None:
    settings = load_settings(args.config)
    served = {model.id: model for model in settings.models}
    source, target = (served.get(name) or model_settings(name) for name in (args.source, args.target))
    target = override_models([target], device=args.device, dtype=args.dtype)[0]

    from proxy.steering.traits.trait import Traits, load_traits, no_trait

    known = Traits(settings.traits_dir).current
    for name in args.trait or ():
        if name not in known:
            raise SetupError(f"--trait: {no_trait(name, known)}")
    traits = {id_: known[id_] for id_ in args.trait or load_traits()}

    from proxy.engines.blocking import MAX_RUNNING
    from proxy.engines.registry import load_engine
    from proxy.judges import judge_meant
    from proxy.steering.transfer import reporting
    from proxy.steering.transfer.arms import EvaluationOptions
    from proxy.steering.transfer.files import find
    from proxy.steering.transfer.page import section
    from vector_store import VectorStore

    options = EvaluationOptions(args.samples, args.seed)
    if args.out:
        reporting.prepare(args.out)
    print(f"Loading {target.source} ...", file=sys.stderr, flush=True)
    engine = load_engine(target, MAX_RUNNING)
    try:
        transfer = find(settings.transfers_dir, source.id, engine.info, args.transfer)
        with judge_meant(args.judge, settings, engine, args.device, args.dtype) as judge:
            found = reporting.run_evaluation(
                engine,
                traits,
                VectorStore(settings.vector_folders),
                transfer,
                settings.transfers_dir,
                options,
                sys.stderr,
                judge=judge,
                parts_folder=settings.parts_dir,
                fresh=args.fresh,
            )
    finally:
        engine.close()
    print(*section(found), sep="\n", flush=True)
    if args.out:
        print(f"written: {reporting.write(args.out, found)}", file=sys.stderr)
