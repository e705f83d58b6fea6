"""Evaluations on disk: each beside the maps it measured, and in reports wherever one wants them.

    <transfers>/<transfer>/evaluations/<id>.json    the figures, under an id of what was measured
    <report>/transfers/<pair of models>.json        the same, the newest of each pair
    <report>/TRANSFER.md                            a page made of all in the report

Knows nothing of how anything is measured.
"""

from pathlib import Path

import msgspec

from proxy.errors import SetupError
from proxy.steering.transfer.figures import Evaluation
from proxy.steering.transfer.page import page
from vector_store.store import slug
from vector_store.whole import write_over

KEPT = "evaluations"
PAGE, FIGURES = "TRANSFER.md", "transfers"


def keep(folder: Path, id_: str, found: Evaluation) -> None:
    """Keep an evaluation beside its transfer, one of those in `folder`. SetupError where that is impossible."""
    path = folder / found.transfer / KEPT / f"{id_}.json"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_over(path, _encoded(found))
    except OSError as error:
        raise SetupError(f"{path}: can't be written: {error.strerror}") from error


def kept(folder: Path, transfer_id: str) -> dict[str, Evaluation]:
    """The evaluations of a transfer, each by its own id, newest first; what is damaged or of another version is passed
    over."""
    found: dict[str, Evaluation] = {}
    for path in sorted((folder / transfer_id / KEPT).glob("*.json")):
        try:
            found[path.stem] = msgspec.json.decode(path.read_bytes(), type=Evaluation)
        except (OSError, msgspec.DecodeError):
            continue
    return dict(sorted(found.items(), key=lambda item: item[1].created, reverse=True))


def prepare_report(folder: Path) -> None:
    """Find out before the long part whether a report can be written. SetupError."""
    try:
        (folder / FIGURES).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(f"{folder}: no report can be written there: {error.strerror}") from error


def write_report(folder: Path, found: Evaluation) -> Path:
    """Write down the figures, and the page of all that are in the folder, which is returned. SetupError."""
    name = f"{slug(found.source)}-to-{slug(found.target)}.json"
    try:
        (folder / FIGURES / name).write_bytes(_encoded(found))
        (folder / PAGE).write_text(page(read_report(folder)), "utf-8")
    except OSError as error:
        raise SetupError(f"{folder}: the report can't be written: {error.strerror}") from error
    return folder / PAGE


def read_report(folder: Path) -> list[Evaluation]:
    """All evaluations written down in a folder, by name. SetupError for a file that is damaged."""
    found = []
    for path in sorted((folder / FIGURES).glob("*-to-*.json")):
        try:
            found.append(msgspec.json.decode(path.read_bytes(), type=Evaluation))
        except msgspec.DecodeError as error:
            raise SetupError(f"{path}: is no evaluation of this version: {error}; delete it") from error
    return found


def _encoded(found: Evaluation) -> bytes:
    return msgspec.json.format(msgspec.json.encode(found)) + b"\n"
