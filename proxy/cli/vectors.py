"""The commands `persona-proxy vectors ...`: the store on the command line.

What they do is done by `proxy.vectors`, as for the API; here are their arguments and what they print. Everything heavy
is imported by the command that needs it.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from proxy.cli.common import (
    JUDGE_HELP,
    Command,
    Commands,
    Models,
    add_command,
    add_config,
    add_fresh,
    add_model_flags,
    surroundings,
    traits_named,
)
from proxy.errors import SetupError
from proxy.settings import Settings, load_settings

if TYPE_CHECKING:
    from vector_store import PersonaVector, VectorHeader, VectorStore

EXAMPLES = """examples:
  persona-proxy vectors list --model demo-qwen2
  persona-proxy vectors show --model demo-qwen2 --trait silly          the version in use; or one by its id
  persona-proxy vectors use ID                                         steer by this version from now on
  persona-proxy vectors export --model demo-qwen2 --trait silly --format gguf --out silly.gguf
  persona-proxy vectors import evil.pt --model Qwen/Qwen2.5-7B-Instruct --trait evil --measure
  persona-proxy vectors push OWNER/REPO --model demo-qwen2             to the Hugging Face hub
"""


def add_vectors(commands: Commands) -> None:
    """Add `vectors` and its commands to the command line."""
    summary = "list, show, use, import, export, delete, push and pull persona vectors"
    description = "What is done with persona vectors once they are made."
    vectors = add_command(commands, "vectors", summary, EXAMPLES, description)
    actions = vectors.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def add(name: str, summary: str, run: Command, *, version: bool = False) -> argparse.ArgumentParser:
        command = add_command(actions, name, summary)
        if version:
            command.add_argument("id", nargs="?", metavar="ID", help="a version's id, as `list` shows it")
        command.add_argument("--model", metavar="ID", help="the model, by the id it is served by")
        command.add_argument("--trait", metavar="TRAIT", help="the trait's id")
        add_config(command)
        command.set_defaults(run=run)
        return command

    add("list", "list them, newest first, and which are in use", _list)
    add(
        "show",
        "show all that is known of one, the one in use of a model and trait or the one of an id",
        _show,
        version=True,
    )
    choice = add_command(
        actions,
        "use",
        "put a version to use",
        description="Put a version to use: requests for its model's weights are steered by it until another version is "
        "put to use. Without this the newest is in use that is not rougher than the one before it: made of fewer "
        "answers, judged by another judge, never measured, or of another model's.",
    )
    choice.add_argument("id", metavar="ID", help="a version's id, as `list` shows it")
    add_config(choice)
    choice.set_defaults(run=_use)
    export = add("export", "write one to a file, in the format of another tool", _export, version=True)
    export.add_argument("--format", help="safetensors, gguf, paper, hotwire or prototype (safetensors)")
    export.add_argument("--pole", help="whose direction, where the format holds but one (the positive pole)")
    export.add_argument("--out", type=Path, metavar="FILE", help="where to (the id with the format's suffix)")
    take = add("import", "take one from a file of this or another tool", _import)
    take.add_argument("file", type=Path, metavar="FILE")
    take.add_argument("--format", help="safetensors, gguf, paper, hotwire or prototype (what the file looks like)")
    take.add_argument("--pole", help="the pole the file's directions lead to (what it says, else the positive one)")
    take.add_argument("--insist", action="store_true", help="take a file that says it is for another model's family")
    take.add_argument("--measure", action="store_true", help="load the model and measure where and how it steers")
    _add_measuring(take)
    measure = add("measure", "load the model and measure where and how an imported one steers", _measure, version=True)
    _add_measuring(measure)
    add("delete", "delete a version, or all of a model and trait", _delete, version=True)
    push = add("push", "add one, or all of a model or trait, to a repository of the Hugging Face hub", _push)
    push.add_argument("repo", metavar="OWNER/REPO", help="made where it is not there")
    push.add_argument("id", nargs="?", metavar="ID", help="a version's id, as `list` shows it")
    push.add_argument("--private", action="store_true", help="make a new repository a private one")
    pull = add("pull", "get a repository's vectors, or those of a model or trait", _pull)
    pull.add_argument("repo", metavar="OWNER/REPO")


def _add_measuring(command: argparse.ArgumentParser) -> None:
    command.add_argument("--judge", help=JUDGE_HELP)
    add_fresh(command)
    add_model_flags(command)
    command.add_argument("--seed", type=int, default=0, help="of the answers that are measured (%(default)s)")


def _store(args: argparse.Namespace) -> "tuple[Settings, VectorStore]":
    settings = load_settings(args.config)
    from vector_store import VectorStore

    return settings, VectorStore(settings.vector_folders)


def _picked(args: argparse.Namespace, store: "VectorStore") -> "PersonaVector":
    """The version of the id, or the one in use of the model and trait, or the newest where none is. A trait may be
    named by either of its poles."""
    from proxy.vectors import chosen, trait_of

    if args.id is not None:
        return store.get(args.id)
    if args.model is None or args.trait is None:
        raise SetupError("name a version by its id, or the one in use by --model and --trait")
    return chosen(store, args.model, trait_of(store, args.model, args.trait))


def _list(args: argparse.Namespace) -> None:
    from proxy.vectors import trait_of

    store = _store(args)[1]
    trait = args.trait and trait_of(store, args.model, args.trait)
    headers = store.list(args.model, trait)
    if not headers:
        named = " and ".join(name for name in (args.model, args.trait) if name is not None)
        of = f"of {named}" if named else "yet"
        print(f"There are none {of}; `persona-proxy extract --help` shows how to make them.")
        return
    standings = store.standings(trait)
    rows = [("MODEL", "TRAIT", "ID", "MADE", "ORIGIN", "USE", "PLACES")]
    for header in headers:
        blocks = ", ".join(f"{header.pole(side)} at block {choice.block}" for side, choice in header.poles.items())
        used = header.id in standings and standings[header.id].in_use
        rows.append(
            (
                header.model_id,
                header.trait,
                header.id,
                header.created,
                header.origin,
                "in use" if used else "kept",
                blocks or "never measured",
            )
        )
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _show(args: argparse.Namespace) -> None:
    store = _store(args)[1]
    vector = _picked(args, store)
    print(*described(vector), f"  {store.standing(vector.id).note}", sep="\n")


def _use(args: argparse.Namespace) -> None:
    from proxy.vectors import use

    print(use(_store(args)[1], args.id))


def described(header: "VectorHeader") -> list[str]:
    """All that a listing of one vector shows, a line each."""
    from proxy.steering.sweep.table import curve_table
    from vector_store import SIDES

    lines = [
        f"{header.positive} / {header.negative} in {header.model_id}: {header.id}",
        f"  {header.origin}{f', made from {header.parent}' if header.parent else ''}: {header.method}",
        f"  {header.n_layers} blocks of {header.hidden_size}; weights {header.fingerprint or 'unknown'}",
        f"  made {header.created} by persona-proxy {header.software_version}",
    ]
    if header.transfer is not None:
        lines.append(f"  from {header.transfer.source_model} by {header.transfer.id}, R2 of its maps on text held out:")
        lines += [
            f"    {used.span}, block {used.source_block} to {used.target_block}: {used.r2:.2f} (of shuffled pairs "
            f"{used.r2_shuffled:.2f}), {used.method}"
            for used in header.transfer.maps
        ]
    if header.counts:
        kept = ", ".join(f"{count.kept} of {count.made} {condition}" for condition, count in header.counts.items())
        lines.append(f"  answers used: {kept}")
    if header.judge is not None:
        lines.append(f"  judged by: {header.judge}")
    for side in SIDES:
        choice = header.poles.get(side)
        if choice is None:
            lines.append(f"  {header.pole(side)}: its strength was never measured")
            continue
        coherent = "" if choice.measured_range is None else f", coherent up to coefficient {choice.measured_range[1]:g}"
        score = "" if choice.score is None else f", score {choice.score:.2f}" if header.scored else ", unscored"
        lines.append(
            f"  {header.pole(side)}: block {choice.block}, taken from {choice.span}, added at {choice.positions}, "
            f"relative dose {choice.relative_dose:.2f} at coefficient 1{coherent}{score}"
        )
    lines += _verdicts(header)
    lines += _by_block(header)
    lines += [f"  {line}" for line in curve_table(header)]
    return lines


def _verdicts(header: "VectorHeader") -> Iterator[str]:
    """What each pole was found to be worth, a line each."""
    from proxy.steering.evaluation.report import verdict_line
    from proxy.steering.evaluation.verdict import WORDS, verdict_of_curve

    for side, evaluation in header.evaluations.items():
        yield f"  verdict on {verdict_line(header.pole(side), evaluation)}"
    missing = [side for side in header.poles if side not in header.evaluations]
    if missing:
        how = f"persona-proxy evaluate --model {header.model_id} --trait {header.trait}"
        yield f"  verdict on {', '.join(map(header.pole, missing))}: not evaluated; {how} does it"
    for side in missing:
        found = verdict_of_curve(header.sweeps[side]) if side in header.sweeps else None
        if found is not None:
            yield f"    {header.pole(side)}: {WORDS[found[0]]} ({found[1]})"


def _by_block(header: "VectorHeader") -> Iterator[str]:
    """What steering was found to do, a row for each block that was tried; nothing where none was."""
    from vector_store import SIDES

    known = {
        f"{header.pole(side)} {what}": values
        for side in SIDES
        for what, values in (("gain", header.likelihood_gains(side)), ("effect", header.effects(side)))
    }
    columns = {name: values for name, values in known.items() if any(value is not None for value in values)}
    if not columns:
        return
    yield "  the blocks that were tried:"
    if any(name.endswith(" gain") for name in columns):
        yield "    gain: how much likelier steering makes the pole's answers, as a share of what its instruction adds"
    if any(name.endswith(" effect") for name in columns):
        yield "    effect: what steering adds to the score, trait x coherence from 0 to 1, of answers it was tried on"
    yield "    " + "  ".join(["block", *columns])
    for block, row in enumerate(zip(*columns.values(), strict=True)):
        if any(value is not None for value in row):
            cells = ("-" if value is None else f"{value:.2f}" for value in row)
            yield "    " + "  ".join(
                [f"{block:5}", *(f"{cell:>{len(name)}}" for cell, name in zip(cells, columns, strict=True))]
            )


def _export(args: argparse.Namespace) -> None:
    from proxy.vectors import format_of, side_of
    from vector_store.exchange import export_vector, note, suffix
    from vector_store.store import slug

    vector = _picked(args, _store(args)[1])
    format, side = format_of(args.format), side_of(vector, args.pole)
    content = export_vector(vector, format, side)
    path = args.out or Path(slug(vector.id) + suffix(format))
    try:
        with path.open("xb") as file:
            file.write(content)
    except FileExistsError:
        raise SetupError(f"{path} is already there; name another by --out") from None
    except OSError as error:
        raise SetupError(f"{path}: can't be written: {error.strerror}") from None
    print(f"wrote {path}: {vector.id if format == 'safetensors' else note(vector, side)}")


def _import(args: argparse.Namespace) -> None:
    from proxy.steering.traits.trait import Traits
    from proxy.vectors import take

    settings, store = _store(args)
    try:
        with args.file.open("rb") as file:
            content = file.read(settings.max_upload_bytes + 1)
    except OSError as error:
        raise SetupError(f"{args.file}: can't be read: {error.strerror}") from None
    if len(content) > settings.max_upload_bytes:
        raise SetupError(f"{args.file}: larger than max_upload_bytes, {settings.max_upload_bytes}")
    vector = take(
        content,
        store,
        Traits(*settings.trait_folders).current,
        model=args.model,
        trait=args.trait,
        format=args.format,
        pole=args.pole,
        insist=args.insist,
    )
    if args.measure:
        _check_imported(vector)
    id_ = store.save(vector)
    print(f"saved as {id_}")
    if args.measure:
        _measured(args, settings, store, store.get(id_))
    elif vector.poles:
        print(store.standing(id_).note)
    else:
        print(
            "Its strength was never measured, so no request can use it yet; measure it with: persona-proxy vectors "
            f"measure {id_}"
        )


def _measure(args: argparse.Namespace) -> None:
    settings, store = _store(args)
    vector = _picked(args, store)
    _check_imported(vector)
    _measured(args, settings, store, vector)


def _measured(args: argparse.Namespace, settings: Settings, store: "VectorStore", header: "VectorHeader") -> None:
    """Measure an imported vector that is in the store."""
    models = Models(settings, args.device, args.dtype)
    model = models.named(header.model_id)
    (trait,) = traits_named([header.trait], settings)

    from proxy.cli.console import Console
    from proxy.jobs.kinds.measuring import MeasuringParameters, measuring_kind

    around = surroundings(settings, models, judge=args.judge)
    asked = MeasuringParameters(header.id, args.seed, trait=trait.id, judge=args.judge)
    again = f"persona-proxy vectors measure {header.id}"
    with models:
        console = Console(sys.stdout, args.fresh)
        result = console.do(measuring_kind(around), models.load(model), asked, name=trait.id, again=again)
    print(*described(store.get(result["vector"])), f"  {result['note']}", sep="\n")


def _check_imported(vector: "VectorHeader") -> None:
    if vector.origin != "imported":
        raise SetupError(f"the vector {vector.id!r} was not imported: it was measured where it was made")


def _delete(args: argparse.Namespace) -> None:
    store = _store(args)[1]
    if args.id is not None:
        header = next((header for header in store.list(args.model, args.trait) if header.id == args.id), None)
        model, trait = (header.model_id, header.trait) if header else (args.model, args.trait)
        if model is None or trait is None:
            raise SetupError(f"there is no vector {args.id!r}; of a damaged one name --model and --trait too")
        deleted = store.delete(model, trait, args.id)
    elif args.model is None or args.trait is None:
        raise SetupError("name a version by its id, or all of a trait by --model and --trait")
    else:
        deleted = store.delete(args.model, args.trait)
    for id_ in deleted:
        print(f"deleted {id_}")


def _push(args: argparse.Namespace) -> None:
    from proxy.vectors_hub import push

    store = _store(args)[1]
    ids = [args.id] if args.id else [header.id for header in store.list(args.model, args.trait)]
    print(f"pushed {len(ids)} to {push(args.repo, [store.get(id_) for id_ in ids], private=args.private)}")


def _pull(args: argparse.Namespace) -> None:
    from proxy.vectors_hub import pull

    for id_ in pull(args.repo, _store(args)[1], model=args.model, trait=args.trait):
        print(f"saved {id_}")
