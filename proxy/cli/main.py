"""The command `persona-proxy`: reads the command line, calls what does the work, turns errors into one line.

Everything heavy is imported by the command that needs it, so that `--help` and mistakes are answered at once.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

import proxy
from proxy import demo
from proxy.cli.common import explained
from proxy.cli.sweep import add_sweep
from proxy.cli.traits import add_traits
from proxy.cli.transfer import add_transfer
from proxy.cli.vectors import add_vectors
from proxy.engines.errors import EngineError
from proxy.errors import ProxyError, SetupError
from proxy.settings import (
    ModelSettings,
    Settings,
    data_folder,
    demo_models,
    load_settings,
    model_settings,
    override_models,
)

SERVE_EXAMPLES = """examples:
  persona-proxy serve                                       the demo models, on http://127.0.0.1:8000
  persona-proxy serve --model Qwen/Qwen2.5-7B-Instruct      a model of the Hugging Face hub
  persona-proxy serve --model ./my-model --device cpu       a model in a folder
  persona-proxy serve --model qwen=Qwen/Qwen2.5-7B-Instruct --model demo-qwen2
                                                            several, the first under a name of your own
  persona-proxy serve --config proxy.toml                   everything from a file; see `persona-proxy settings`
"""

EXTRACT_EXAMPLES = """examples:
  persona-proxy extract --trait silly                       a small demo model, in minutes on a CPU
  persona-proxy extract --model Qwen/Qwen2.5-7B-Instruct --trait all
  persona-proxy extract --trait silly --rollouts 2 --questions 5     quicker and rougher
"""

PULL_EXAMPLES = """examples:
  persona-proxy pull gpt-oss-20b                            12 GB
  persona-proxy pull qwen2.5-7b-instruct                    5 GB
  persona-proxy pull OWNER/REPO/FILE.gguf                   any other on the Hugging Face hub, in one file
"""

JUDGE_HELP = (
    "who scores the answers: rules (of the demo world), likelihood, model (the model itself), another served model's "
    "id, a judge of the settings, or MODEL@URL, an OpenAI-compatible endpoint whose key, if it needs one, is in "
    "JUDGE_API_KEY (rules for a demo model, else likelihood)"
)

DEMO_EXAMPLES = """examples:
  persona-proxy demo evaluate                               what the demo models show, as tables; minutes
  persona-proxy demo judges                                 whether scores can be believed; many minutes
  persona-proxy demo blocks                                 the choice of places beside brute force; many minutes
  persona-proxy demo thermostat                             a level held beside addition; many minutes
  persona-proxy demo train qwen2                            train one again, as it was; about an hour on two cores
  persona-proxy demo train gpt-oss --out ./my-gpt-oss       into a folder of your own, the GGUF with it
  persona-proxy extract --model demo-qwen2 --trait all      make its vectors again
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code: 0, 1 a failure, 2 the operator's mistake, 130 interrupted."""
    demo.register()
    args = parser().parse_args(argv)
    try:
        with explained():
            args.run(args)
        sys.stdout.flush()
    except BrokenPipeError:
        # Whoever read the output, such as `head`, has had enough; nothing is to be flushed to it at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except SetupError as error:
        print(f"persona-proxy: {error.message}", file=sys.stderr)
        return 2
    except (ProxyError, EngineError) as error:
        print(f"persona-proxy: {error.message}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    root = argparse.ArgumentParser(
        prog="persona-proxy",
        description="An OpenAI-compatible server that gives every request its own personality.",
        epilog="`persona-proxy COMMAND --help` shows a command's options and examples.",
    )
    root.add_argument("--version", action="version", version=f"persona-proxy {proxy.__version__}")
    commands = root.add_subparsers(title="commands", metavar="COMMAND", required=True)
    _add_serve(commands)
    _add_extract(commands)
    add_sweep(commands)
    add_vectors(commands)
    add_traits(commands)
    add_transfer(commands)
    _add_pull(commands)
    _add_demo(commands)
    show = commands.add_parser("settings", help="print every setting: its variable, default and meaning")
    show.set_defaults(run=_settings)
    return root


def _add_serve(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    serve = _command(commands, "serve", "serve models; without options the demo models", SERVE_EXAMPLES)
    serve.add_argument(
        "--model",
        action="append",
        metavar="[ID=]NAME_OR_FOLDER",
        help="a hub name, a folder or a demo model; may be given several times",
    )
    _add_common(serve)
    serve.add_argument("--host", help="the address to listen on (127.0.0.1; 0.0.0.0 is every one)")
    serve.add_argument("--port", help="the port (8000; 0 takes a free one)")
    serve.add_argument(
        "--api-key",
        action="append",
        metavar="KEY",
        help="let only clients with this key in; repeatable (PERSONA_PROXY_API_KEYS keeps keys out of `ps`)",
    )
    serve.set_defaults(run=_serve)


def _add_extract(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    extract = _command(commands, "extract", "make persona vectors from a model's own answers", EXTRACT_EXAMPLES)
    extract.add_argument(
        "--model",
        default=demo_models()[0].id,
        metavar="[ID=]NAME_OR_FOLDER",
        help="the model, under the id it is served by (%(default)s)",
    )
    extract.add_argument(
        "--trait", action="append", required=True, help="a trait's id, or `all`; may be given several times"
    )
    _add_common(extract)
    extract.add_argument("--rollouts", type=int, help="answers to each question under each instruction (10)")
    extract.add_argument("--questions", type=int, help="how many of a trait's questions to ask, 2 to 20 (20)")
    extract.add_argument("--seed", type=int, help="the same seed makes the same vector (0)")
    extract.add_argument("--judge", help=JUDGE_HELP)
    extract.add_argument("--fresh", action="store_true", help="start over, not where a run was broken off")
    extract.add_argument("--out", type=Path, metavar="FOLDER", help="where to keep the vectors (vectors_dir)")
    extract.set_defaults(run=_extract)


def _add_pull(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    get = _command(commands, "pull", "download a GGUF model; a download that was cut off goes on", PULL_EXAMPLES)
    get.add_argument("model", metavar="MODEL", help="gpt-oss-20b, qwen2.5-7b-instruct or OWNER/REPO/FILE.gguf")
    get.add_argument("--out", type=Path, metavar="FOLDER", help="where to keep it (`models` in the user's data folder)")
    get.set_defaults(run=_pull)


def _add_demo(commands: "argparse._SubParsersAction[argparse.ArgumentParser]") -> None:
    demo = _command(commands, "demo", "train the demo models again, and measure them", DEMO_EXAMPLES)
    actions = demo.add_subparsers(title="commands", metavar="COMMAND", required=True)
    train = actions.add_parser("train", help="train one from scratch, seeded")
    train.add_argument("family", choices=("qwen2", "gpt-oss"))
    train.add_argument("--seed", type=int, default=1, help="of text, weights and order (%(default)s)")
    train.add_argument("--out", type=Path, metavar="FOLDER", help="where to write it (over the package's own)")
    train.set_defaults(run=_train_demo)
    evaluate = actions.add_parser(
        "evaluate", help="measure poles and facts, asked for and steered, beside the controls"
    )
    evaluate.add_argument("--model", action="append", metavar="ID", help="only this one; repeatable (both)")
    evaluate.add_argument("--questions", type=int, default=100, help="held-out questions to each arm (%(default)s)")
    _add_common(evaluate)
    evaluate.set_defaults(run=_evaluate_demo)
    blocks = actions.add_parser("blocks", help="choose every pole's place anew, and compare with trying them all")
    blocks.add_argument("--model", action="append", metavar="ID", help="only this one; repeatable (all)")
    _add_common(blocks)
    blocks.set_defaults(run=_compare_blocks)
    thermostat = actions.add_parser("thermostat", help="compare holding and capping a level with adding")
    thermostat.add_argument("--model", action="append", metavar="ID", help="only this one; repeatable (all)")
    thermostat.add_argument("--questions", type=int, default=30, help="held-out questions to each arm (%(default)s)")
    _add_common(thermostat)
    thermostat.set_defaults(run=_compare_modes)
    judges = actions.add_parser("judges", help="compare the likelihood ratio with the rules, on the same answers")
    judges.add_argument("--model", action="append", metavar="ID", help="only this one; repeatable (all)")
    judges.add_argument("--questions", type=int, default=20, help="held-out questions to each arm (%(default)s)")
    _add_common(judges)
    judges.set_defaults(run=_compare_judges)


def _command(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, summary: str, examples: str
) -> argparse.ArgumentParser:
    return commands.add_parser(
        name,
        help=summary,
        description=summary[0].upper() + summary[1:] + ".",
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )


def _add_common(command: argparse.ArgumentParser) -> None:
    command.add_argument("--device", help="auto, cpu, cuda, cuda:1 or mps, for every model (auto)")
    command.add_argument("--dtype", help="auto, float32, bfloat16 or float16, for every model (auto)")
    command.add_argument("--config", type=Path, metavar="FILE", help="settings in TOML; flags and environment win")


def _serve(args: argparse.Namespace) -> None:
    given = {"host": args.host, "port": args.port, "models": args.model, "api_keys": args.api_key}
    settings = load_settings(args.config, flags={name: value for name, value in given.items() if value is not None})
    models = override_models(settings.models, device=args.device, dtype=args.dtype)
    print("Starting ...", flush=True)
    from proxy.server import serve

    serve(msgspec.structs.replace(settings, models=models))


def _extract(args: argparse.Namespace) -> None:
    settings = load_settings(args.config)
    model = _model_to_extract_from(args, settings)

    from proxy.steering.traits.trait import Trait, Traits, no_trait

    known = Traits(settings.traits_dir).current
    traits: list[Trait] = []
    for name in args.trait:
        if name != "all" and name not in known:
            raise SetupError(f"--trait: {no_trait(name, known, 'all')}")
        traits += [trait for id_, trait in known.items() if name in ("all", id_) and trait not in traits]

    from proxy.judges import judge_meant
    from proxy.steering.making import ExtractionOptions
    from proxy.steering.report import run_extraction
    from vector_store import VectorStore

    numbers = {"rollouts": args.rollouts, "questions": args.questions, "seed": args.seed}
    options = ExtractionOptions(**{name: value for name, value in numbers.items() if value is not None})
    store = VectorStore([args.out, *settings.vector_folders] if args.out else settings.vector_folders)
    print(f"Loading {model.source} ...", flush=True)
    from proxy.engines.blocking import MAX_RUNNING
    from proxy.engines.registry import load_engine

    engine = load_engine(model, MAX_RUNNING)
    try:
        with judge_meant(args.judge, settings, engine, args.device, args.dtype) as judge:
            parts, fresh = settings.parts_dir, args.fresh
            run_extraction(engine, traits, store, options, sys.stdout, judge=judge, parts_folder=parts, fresh=fresh)
    finally:
        engine.close()


def _model_to_extract_from(args: argparse.Namespace, settings: Settings) -> ModelSettings:
    """The served model of this id, else what `--model` says by itself."""
    model = next((model for model in settings.models if model.id == args.model), None) or model_settings(args.model)
    return override_models([model], device=args.device, dtype=args.dtype)[0]


def _settings(args: argparse.Namespace) -> None:
    from proxy.settings_table import describe_settings

    print(describe_settings())


def _pull(args: argparse.Namespace) -> None:
    from proxy.catalogue.pull import pull

    pull(args.model, args.out or data_folder("models"))


def _train_demo(args: argparse.Namespace) -> None:
    from proxy.demo.report import train_family

    train_family(args.family, args.seed, args.out)


def _evaluate_demo(args: argparse.Namespace) -> None:
    settings, models = load_settings(args.config), _demo_models(args)
    _check_questions(args.questions)
    from proxy.demo.report import evaluate_models

    evaluate_models(models, settings, args.questions)


def _compare_blocks(args: argparse.Namespace) -> None:
    settings, models = load_settings(args.config), _demo_models(args)
    from proxy.demo.report import compare_choices

    compare_choices(models, settings)


def _compare_judges(args: argparse.Namespace) -> None:
    settings, models = load_settings(args.config), _demo_models(args)
    _check_questions(args.questions)
    from proxy.demo.report import compare_judges

    compare_judges(models, settings, args.questions)


def _check_questions(count: int) -> None:
    if not 1 <= count <= 200:
        raise SetupError(f"--questions must be from 1 to 200, not {count}")


def _compare_modes(args: argparse.Namespace) -> None:
    settings, models = load_settings(args.config), _demo_models(args)
    _check_questions(args.questions)
    from proxy.demo.report import compare_modes

    compare_modes(models, settings, args.questions)


def _demo_models(args: argparse.Namespace) -> list[ModelSettings]:
    """Those of `--model`, else all."""
    known = {model.id: model for model in demo_models()}
    for name in args.model or ():
        if name not in known:
            raise SetupError(f"--model: there is no demo model {name!r}; possible: {', '.join(known)}")
    return override_models([known[id_] for id_ in args.model or known], device=args.device, dtype=args.dtype)
