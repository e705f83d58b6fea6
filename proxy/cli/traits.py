"""The commands `persona-proxy traits ...`: traits on the command line.

What they do is done by `proxy.traits` and `proxy.steering`, as for the API; here are their arguments and what they
print. Everything heavy is imported by the command that needs it.
"""

import argparse
import sys
import textwrap
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.cli.common import MODEL, Command, Commands, Models, add_command, add_config, add_fresh, add_model_flags
from proxy.errors import SetupError
from proxy.settings import Settings, load_settings

if TYPE_CHECKING:
    from proxy.steering.traits.files import TraitFolder
    from proxy.steering.traits.parts import Brief
    from proxy.steering.traits.trait import Trait
    from vector_store import VectorStore

EXAMPLES = """examples:
  persona-proxy traits list
  persona-proxy traits show silly
  persona-proxy traits create grumpy --positive-trait "grumpy and short-tempered" --negative-trait cheerful \\
      --model Qwen/Qwen2.5-7B-Instruct                  the model writes instructions, questions and rubric
  persona-proxy traits create grumpy --positive-trait grumpy --negative-trait cheerful --template
                                                        without a model, by fixed templates: weaker
  persona-proxy traits export grumpy --out mine.toml    change it as you like, its names too ...
  persona-proxy traits import mine.toml                 ... and have another trait
  persona-proxy extract --model demo-qwen2 --trait grumpy

A trait is a TOML file in traits_dir. Edit it there at any time; a running server sees it within a second.
"""
SOURCES = {"written": "written by hand", "template": "made by fixed templates"}


def add_traits(commands: Commands) -> None:
    """Add `traits` and its commands to the command line."""
    summary = "list, show, create, delete, export and import traits"
    description = "Traits: pairs of opposite personas, and what vectors of them are made with."
    traits = add_command(commands, "traits", summary, EXAMPLES, description)
    actions = traits.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, summary: str, run: Command) -> argparse.ArgumentParser:
        command = add_command(actions, name, summary)
        add_config(command)
        command.set_defaults(run=run)
        return command

    add("list", "list them, and where they come from", _list)
    add("show", "show one: its instructions, questions and rubric", _show).add_argument("id", metavar="ID")
    _add_create(add("create", "make one from two descriptions, by a model or by fixed templates", _create))
    add("delete", "delete one of your own; its vectors stay", _delete).add_argument("id", metavar="ID")
    export = add("export", "write one's file, to change or to give away", _export)
    export.add_argument("id", metavar="ID")
    export.add_argument("--out", type=Path, metavar="FILE", help="where to (the id with .toml)")
    take = add("import", "add one from a file", _import)
    take.add_argument("file", type=Path, metavar="FILE")


def _add_create(create: argparse.ArgumentParser) -> None:
    create.add_argument("name", metavar="NAME", help="what the trait is called; its id is made from it")
    create.add_argument("--positive-trait", required=True, metavar="TEXT", help='e.g. "grumpy and short-tempered"')
    create.add_argument("--negative-trait", required=True, metavar="TEXT", help="its opposite, e.g. cheerful")
    create.add_argument(
        "--positive", metavar="PERSONA", help="that persona's name (its description where that is short, else NAME)"
    )
    create.add_argument("--negative", metavar="PERSONA", help="the other's (its description, else not-NAME)")
    way = create.add_mutually_exclusive_group(required=True)
    way.add_argument("--model", metavar=MODEL, help="let this model write it")
    way.add_argument("--template", action="store_true", help="make it by fixed templates, at once; weaker")
    add_model_flags(create)
    add_fresh(create)
    create.add_argument("--seed", type=int, default=0, help="another one makes another trait (%(default)s)")


def _opened(args: argparse.Namespace) -> "tuple[Settings, TraitFolder, VectorStore]":
    settings = load_settings(args.config)
    from proxy.steering.traits.files import TraitFolder
    from proxy.steering.traits.trait import Traits
    from vector_store import VectorStore

    folder = TraitFolder(Traits(*settings.trait_folders), settings.traits_dir, settings.max_traits)
    return settings, folder, VectorStore(settings.vector_folders)


def _list(args: argparse.Namespace) -> None:
    _, folder, _ = _opened(args)
    for trait in folder.traits.current.values():
        print(f"{trait.id}  {trait.positive} / {trait.negative}  {_source(folder, trait)}")


def _show(args: argparse.Namespace) -> None:
    _, folder, store = _opened(args)
    trait = folder.get(args.id)
    print(f"{trait.id}: {trait.positive} / {trait.negative}, {_source(folder, trait)}")
    print(textwrap.indent(f"{trait.description}\n\n{trait.rubric.strip()}\n", "  "))
    for number, pair in enumerate(trait.instructions, start=1):
        print(f"  {number} {trait.positive}: {pair.positive}\n    {trait.negative}: {pair.negative}")
    for use, texts in (("extract", trait.questions.extract), ("evaluate", trait.questions.evaluate)):
        print(f"  questions to {use} with:", *texts, sep="\n    ")
    print(f"  file: {folder.path(trait.id)}")
    print("  vectors:", ", ".join(header.id for header in store.list(None, trait.id)) or "none")


def _source(folder: "TraitFolder", trait: "Trait") -> str:
    if folder.built_in(trait.id):
        return "came with the package"
    return SOURCES.get(trait.source, f"generated by {trait.source_model}")


def _create(args: argparse.Namespace) -> None:
    from proxy.steering.traits.parts import from_templates
    from proxy.traits import add, brief_of, check_new

    settings, folder, store = _opened(args)
    brief = brief_of(args.name, args.positive_trait, args.negative_trait, args.positive, args.negative, args.seed)
    if args.template:
        add(from_templates(brief), folder, store)
    else:
        check_new(brief, folder, store)
        _write(args, settings, folder, brief)
    print(f"{brief.id}: {brief.positive} / {brief.negative}, in {folder.path(brief.id)}")
    print(f"Read it through, then make its vectors: persona-proxy extract --model MODEL --trait {brief.id}")


def _write(args: argparse.Namespace, settings: Settings, folder: "TraitFolder", brief: "Brief") -> None:
    models = Models(settings, args.device, args.dtype)
    model = models.named(args.model)

    from proxy.cli.console import Console
    from proxy.engines.blocking import MAX_RUNNING
    from proxy.jobs.kinds.trait_writing import trait_writing_kind

    kind = trait_writing_kind(folder, settings.parts_dir, MAX_RUNNING)
    with models:
        Console(sys.stdout, args.fresh).do(kind, models.load(model), brief, name=brief.id)


def _delete(args: argparse.Namespace) -> None:
    from proxy.traits import deleted_note

    _, folder, store = _opened(args)
    trait = folder.delete(args.id)
    note = deleted_note(trait, [header.id for header in store.list(None, trait.id)])
    print(f"deleted {trait.id}{f'; {note}' if note else ''}")


def _export(args: argparse.Namespace) -> None:
    _, folder, _ = _opened(args)
    content = folder.content(args.id)
    path = args.out or Path(f"{args.id}.toml")
    try:
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError:
        raise SetupError(f"{path} is already there; name another by --out") from None
    except OSError as error:
        raise SetupError(f"{path}: can't be written: {error.strerror}") from None
    print(f"wrote {path}")


def _import(args: argparse.Namespace) -> None:
    from proxy.traits import add, file_trait

    _, folder, store = _opened(args)
    try:
        content = args.file.read_bytes()
    except OSError as error:
        raise SetupError(f"{args.file}: can't be read: {error.strerror}") from None
    trait = file_trait(content)
    add(trait, folder, store, content)
    print(f"{trait.id}: {trait.positive} / {trait.negative}, in {folder.path(trait.id)}")
