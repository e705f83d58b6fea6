"""The command `persona-proxy models`."""

import argparse

from proxy.catalogue.files import in_words
from proxy.catalogue.known import KNOWN
from proxy.cli.common import Commands, add_command, add_config
from proxy.settings import demo_models, load_settings, models_folder

DESCRIPTION = """List the models that `serve` and `pull` know by name, what is here of them, and the personas of each.
`serve --model` takes any of these names, and downloads what is not here."""


def add_models(commands: Commands) -> None:
    """Add `models` to the command line."""
    show = add_command(commands, "models", "list the known models, what is here, and their vectors", None, DESCRIPTION)
    add_config(show)
    show.set_defaults(run=_models)


def _models(args: argparse.Namespace) -> None:
    from proxy.engines.gguf.file import file_fingerprint
    from proxy.steering.evaluation.verdict import WARNED
    from proxy.steering.traits.trait import load_traits, poles
    from vector_store import VectorStore

    settings = load_settings(args.config)
    store, folder = VectorStore(settings.vector_folders), models_folder()
    known = poles(load_traits(*settings.trait_folders))

    def personas(model: str, fingerprint: str | None = None) -> str:
        used = store.all_in_use(model, fingerprint)
        found = []
        for name, (trait, side) in known.items():
            if trait.id in used and side in used[trait.id].poles:
                evaluation = used[trait.id].evaluations.get(side)
                doubtful = evaluation is not None and evaluation.verdict in WARNED
                found.append(f"{name} (hardly shows, see `vectors show`)" if doubtful else name)
        return ", ".join(found) or "none yet"

    for model in KNOWN.values():
        file = model.place(folder)
        here = file.is_file()
        print(f"{model.id}  {in_words(model.size)}, {'here' if here else 'not here'}")
        print(f"  {model.what} ({model.licence})")
        print(f"  personas: {personas(model.id, file_fingerprint(file) if here else None)}")
    for demo in demo_models():
        print(f"{demo.id}  comes with the package\n  a toy for trying and testing\n  personas: {personas(demo.id)}")
    print(f"\nDownloads are kept in {folder}")
