"""The commands `persona-proxy transfer ...`: their arguments, and what they print.

Everything heavy is imported by the command that needs it.
"""

import argparse
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.cli.transfer_evaluate import add_evaluate
from proxy.errors import SetupError
from proxy.settings import ModelSettings, Settings, load_settings, model_settings, override_models

if TYPE_CHECKING:
    from proxy.engines.base import Engine
    from proxy.steering.traits.trait import Trait
    from proxy.steering.transfer.fit import Corpus

EXAMPLES = """examples:
  persona-proxy transfer fit --source demo-qwen2 --target demo-gpt-oss-gguf      minutes on a CPU
  persona-proxy transfer apply --source demo-qwen2 --target demo-gpt-oss-gguf --trait all
  persona-proxy transfer evaluate --source demo-qwen2 --target demo-gpt-oss-gguf --out report
"""


def add_transfer(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    """Add `transfer` and its commands to the command line."""
    transfer = commands.add_parser(
        "transfer",
        help="carry persona vectors from one model to another, and measure what they are worth there",
        description="Carry persona vectors from one model to another, of any architecture and engine.",
        epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    actions = transfer.add_subparsers(title="commands", metavar="COMMAND", required=True)

    fit = _command(actions, "fit", "fit linear maps between the residuals of two models")
    fit.add_argument(
        "--text",
        default="built-in",
        metavar="WHAT",
        help="what both models read: `built-in` roles and styles, `neutral` questions, or a file or folder of your "
        "own (%(default)s)",
    )
    fit.add_argument("--documents", type=int, default=1200, help="how many, of the first two (%(default)s)")
    fit.add_argument("--blocks", metavar="N,N", help="blocks of the target to fit maps to (all, or 8 from the middle)")
    fit.add_argument("--estimate", action="store_true", help="say what it would take, by a few documents, and stop")
    fit.set_defaults(run=_fit)

    apply = _command(actions, "apply", "carry vectors across by fitted maps, and measure how strongly they steer")
    apply.add_argument(
        "--trait", action="append", required=True, help="a trait's id, or `all`; may be given several times"
    )
    apply.add_argument("--transfer", metavar="ID", help="the transfer, by its id (the newest)")
    apply.add_argument("--judge", help="who scores the answers; see `persona-proxy extract --help`")
    apply.add_argument("--out", type=Path, metavar="FOLDER", help="where to keep the vectors (vectors_dir)")
    apply.set_defaults(run=_apply)

    add_evaluate(actions)


def _command(
    actions: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, summary: str
) -> argparse.ArgumentParser:
    command = actions.add_parser(name, help=summary, description=summary[0].upper() + summary[1:] + ".")
    for side, of in (("source", "the vectors are from"), ("target", "they are for")):
        command.add_argument(
            f"--{side}", required=True, metavar="[ID=]NAME_OR_FOLDER", help=f"the model {of}, as it is served"
        )
    command.add_argument("--seed", type=int, default=0, help="of texts and answers (%(default)s)")
    command.add_argument("--device", help="auto, cpu, cuda, cuda:1 or mps, for both models (auto)")
    command.add_argument("--dtype", help="auto, float32, bfloat16 or float16, for both models (auto)")
    command.add_argument("--config", type=Path, metavar="FILE", help="settings in TOML; flags and environment win")
    return command


def _model(name: str, settings: Settings, args: argparse.Namespace) -> ModelSettings:
    """The served model of this id, else what the name says by itself."""
    served = next((model for model in settings.models if model.id == name), None)
    return override_models([served or model_settings(name)], device=args.device, dtype=args.dtype)[0]


def _traits(args: argparse.Namespace, settings: Settings) -> "list[Trait]":
    from proxy.steering.traits.trait import Traits, no_trait

    known = Traits(settings.traits_dir).current
    for name in args.trait:
        if name != "all" and name not in known:
            raise SetupError(f"--trait: {no_trait(name, known, 'all')}")
    return [trait for id_, trait in known.items() if {id_, "all"} & set(args.trait)]


@contextmanager
def _loaded(*models: ModelSettings) -> "Iterator[list[Engine]]":
    """The models, loaded one after the other."""
    from proxy.engines.blocking import MAX_RUNNING
    from proxy.engines.registry import load_engine

    engines: list[Engine] = []
    try:
        for model in models:
            print(f"Loading {model.source} ...", flush=True)
            engines.append(load_engine(model, MAX_RUNNING))
        yield engines
    finally:
        for engine in engines:
            engine.close()


def _fit(args: argparse.Namespace) -> None:
    settings = load_settings(args.config)
    blocks = _blocks(args.blocks)
    source, target = _model(args.source, settings, args), _model(args.target, settings, args)
    if source.id == target.id:
        raise SetupError(f"--target: {source.id} is the source itself; a transfer needs two models")
    from proxy.steering.traits.trait import Traits
    from proxy.steering.transfer.console import fitted_lines, run_fit
    from proxy.steering.transfer.estimate import estimated_lines

    traits = Traits(settings.traits_dir).current
    own = None if args.text in ("built-in", "neutral") else _corpus(args, traits, None)
    with _loaded(source, target) as (one, other):
        corpus = own or _corpus(args, traits, other.info.world)
        if args.estimate:
            print(*estimated_lines(one, other, corpus, blocks), sep="\n")
            return
        info = run_fit(
            one,
            other,
            corpus,
            traits,
            settings.transfers_dir,
            sys.stdout,
            parts_folder=settings.parts_dir,
            target_blocks=blocks,
        )
    print(*fitted_lines(info), sep="\n")


def _corpus(args: argparse.Namespace, traits: "Mapping[str, Trait]", world: str | None) -> "Corpus":
    from proxy.steering.transfer.fit import Corpus, corpus_of
    from proxy.steering.transfer.text import read_corpus

    if args.documents < 1:
        raise SetupError(f"--documents must be at least 1, not {args.documents}")
    if args.text in ("built-in", "neutral"):
        return corpus_of(args.text, traits, world, args.seed, args.documents)
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
    traits = _traits(args, settings)
    source, target = _model(args.source, settings, args), _model(args.target, settings, args)
    from proxy.judges import judge_meant
    from proxy.steering.transfer.console import run_apply
    from vector_store import VectorStore

    store = VectorStore([args.out, *settings.vector_folders] if args.out else settings.vector_folders)
    with _loaded(target) as (engine,), judge_meant(args.judge, settings, engine, args.device, args.dtype) as judge:
        run_apply(
            engine,
            source.id,
            traits,
            store,
            settings.transfers_dir,
            sys.stdout,
            judge=judge,
            parts_folder=settings.parts_dir,
            transfer_id=args.transfer,
            seed=args.seed,
        )
