"""What commands have in common: flags, models, traits, surroundings of long work. Imports nothing heavy before a
command runs."""

import argparse
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Self, TextIO, TypeAlias

from proxy.errors import InvalidRequest, NotFound, ProxyError, SetupError, TraitConflict, TraitsUnavailable
from proxy.settings import ModelSettings, Settings, demo_models, model_settings, override_models

if TYPE_CHECKING:
    from proxy.engines.base import Engine
    from proxy.jobs.kinds.vectors import Surroundings
    from proxy.steering.traits.trait import Trait
    from vector_store import VectorStore

Command = Callable[[argparse.Namespace], None]
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
MODEL = "[ID=]NAME_OR_FOLDER"
TRAIT_HELP = "a trait's id, or `all`; may be given several times"
JUDGE_HELP = "who scores the answers; see `persona-proxy extract --help`"


def add_command(
    commands: Commands, name: str, summary: str, examples: str | None = None, description: str | None = None
) -> argparse.ArgumentParser:
    """A command, described by its summary where by nothing else. Examples keep their lines, and so does a description
    beside them. It is `args.command` where it is given, for errors that show its own usage."""
    command: argparse.ArgumentParser = commands.add_parser(
        name,
        help=summary,
        description=description or f"{summary[0].upper()}{summary[1:]}.",
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter if examples else argparse.HelpFormatter,
    )
    command.set_defaults(command=command)
    return command


def add_config(command: argparse.ArgumentParser) -> None:
    command.add_argument("--config", type=Path, metavar="FILE", help="settings in TOML; flags and environment win")


def add_model_flags(command: argparse.ArgumentParser) -> None:
    """Flags that say how the command's models are loaded."""
    command.add_argument("--device", help="auto, cpu, cuda, cuda:1 or mps, for every model (auto)")
    command.add_argument("--dtype", help="auto, float32, bfloat16 or float16, for every model (auto)")


def add_model(command: argparse.ArgumentParser) -> None:
    """`--model`, by default the first demo model."""
    help_ = "the model, under the id it is served by (%(default)s)"
    command.add_argument("--model", default=demo_models()[0].id, metavar=MODEL, help=help_)


def add_making_flags(command: argparse.ArgumentParser, judge_help: str = JUDGE_HELP) -> None:
    """Flags of a command that makes vectors."""
    command.add_argument("--judge", help=judge_help)
    add_fresh(command)
    command.add_argument("--out", type=Path, metavar="FOLDER", help="where to keep the vectors (vectors_dir)")


def add_fresh(command: argparse.ArgumentParser) -> None:
    command.add_argument("--fresh", action="store_true", help="start over, not where a run was broken off")


@contextmanager
def explained() -> Iterator[None]:
    """What is wrong with a trait, a vector, a file, a name or the store is the operator's to put right, in one line:
    SetupError."""
    try:
        yield
    except (InvalidRequest, NotFound, TraitConflict, TraitsUnavailable) as error:
        raise SetupError(error.message) from error
    except ProxyError:
        raise
    except Exception as error:
        from vector_store import VectorStoreError  # heavy, and not needed before something failed

        if isinstance(error, VectorStoreError):
            raise SetupError(str(error)) from error
        raise


def traits_named(names: Sequence[str], settings: Settings, *others: str) -> "list[Trait]":
    """The traits of these ids; `others` are names that stand for all. SetupError."""
    from proxy.steering.traits.trait import Traits, no_trait

    known = Traits(*settings.trait_folders).current
    found: dict[str, Trait] = {}
    for name in names:
        if name not in (*known, *others):
            raise SetupError(f"--trait: {no_trait(name, known, *others)}")
        found |= known if name in others else {name: known[name]}
    return list(found.values())


class Models:
    """The models of one command, as they are served. Each is loaded when it is first needed, and closed in the end."""

    def __init__(
        self, settings: Settings, device: str | None, dtype: str | None, console: TextIO | None = None
    ) -> None:
        """SetupError for a device or dtype that is none. `console` is told of loading, standard output without."""
        self._device, self._dtype = device, dtype
        self._console = console
        self._known = {model.id: model for model in override_models(settings.models, device=device, dtype=dtype)}
        self._loaded: dict[str, Engine] = {}
        self._closing = ExitStack()

    def named(self, name: str) -> ModelSettings:
        """The served model of this id, else what the name says by itself. SetupError."""
        if name in self._known:
            return self._known[name]
        (model,) = override_models([model_settings(name)], device=self._device, dtype=self._dtype)
        self._known[model.id] = model
        return model

    def weights(self, model: ModelSettings) -> str | None:
        """The fingerprint of its weights as far as it can be told before they are loaded: of those that are here."""
        place = Path(model.source).expanduser()
        if place.is_file():
            from proxy.engines.gguf.file import file_fingerprint

            return file_fingerprint(place)
        if place.is_dir():
            from proxy.engines.transformers.loading import weights_fingerprint

            return weights_fingerprint(place)
        return None

    def load(self, model: ModelSettings) -> "Engine":
        """Its engine. Blocks while the model is loaded."""
        if model.engine == "upstream":
            raise SetupError(f"{model.id} runs on another server, which tells nothing of its tokens and residuals")
        if model.id not in self._loaded:
            from proxy.catalogue.pull import fetch_missing

            fetch_missing([model])
            print(f"Loading {model.source} ...", file=self._console, flush=True)
            from proxy.engines.blocking import MAX_RUNNING
            from proxy.engines.registry import load_engine

            self._loaded[model.id] = load_engine(model, MAX_RUNNING)
            self._closing.callback(self._loaded[model.id].close)
        return self._loaded[model.id]

    @contextmanager
    def lend(self, model_id: str, check: Callable[[], None]) -> "Iterator[Engine]":
        """One of them, to judge with or to read."""
        yield self.load(self._known[model_id])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._closing.close()


def check_vectors(store: "VectorStore", models: Models, model: ModelSettings, traits: "Sequence[Trait]") -> None:
    """SetupError, before the model is loaded, where it has a vector for none of the traits, or where none is named for
    no trait at all. Of weights that are not here yet nothing is known before."""
    weights = models.weights(model)
    if weights is None:
        return
    from proxy.steering.making import no_vector

    toy = model.id in {demo.id for demo in demo_models()}
    used = store.all_in_use(model.id, weights)
    placed = [header for header in used.values() if header.poles]
    if traits and not any(trait.id in used for trait in traits):
        raise SetupError("; ".join(no_vector(model.id, trait.id, toy=toy) for trait in traits))
    if not traits and not placed:
        raise SetupError(no_vector(model.id, toy=toy))


def surroundings(
    settings: Settings,
    models: Models,
    *,
    judge: str | None = None,
    second_judge: str | None = None,
    out: Path | None = None,
    saves: bool = True,
) -> "Surroundings":
    """What long work is done with. `judge` is who is to score, `second_judge` who is compared with that one, `out`
    where vectors are kept, if the work `saves` any. SetupError where there is no such judge, or vectors can't be
    saved."""
    from proxy.engines.blocking import MAX_RUNNING
    from proxy.jobs.kinds.vectors import Surroundings
    from proxy.judges import judges_of_command
    from proxy.steering.making import prepare
    from proxy.steering.traits.trait import Traits
    from vector_store import VectorStore

    traits = Traits(*settings.trait_folders)
    judges = judges_of_command(judge, settings, models.lend, second_judge)
    store = VectorStore([out, *settings.vector_folders] if out else settings.vector_folders)
    if saves:
        prepare(store, settings.parts_dir)
    return Surroundings(lambda: traits.current, judges, store, settings.parts_dir, MAX_RUNNING)
