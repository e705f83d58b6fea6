"""Fitted maps on disk: a folder for each transfer, a safetensors file in it for each map.

    <folder>/<id>/<span>-<target block>.safetensors     the map, and the controls fitted to shuffled pairs
    <folder>/<id>/transfer.json                         what they are of; written last, so its presence means whole

Files are written whole or not at all. Knows nothing of models, and nothing of how a map is fitted.
"""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np
import safetensors
import safetensors.numpy

from proxy.engines.base import FloatArray, ModelInfo
from proxy.errors import NotFound, SetupError
from proxy.steering.transfer.maps import Method
from vector_store import Span
from vector_store.whole import write_over

HEADER = "transfer.json"
METADATA_KEY = "map"
FORMAT = 1


class Side(msgspec.Struct, frozen=True):
    """One of the two models."""

    id: str
    fingerprint: str
    n_layers: int
    hidden_size: int

    @classmethod
    def of(cls, info: ModelInfo) -> "Side":
        return cls(info.id, info.fingerprint, info.n_layers, info.hidden_size)


class MapInfo(msgspec.Struct, frozen=True, kw_only=True):
    """One map: from a block of the source to one of the target. `r2` is of the method on documents it was not fitted
    to, dimension by dimension in its own variance; `r2_shuffled` the mean of the controls'; `r2_by_kind` the best of
    each way to fit that was tried."""

    span: Span
    source_block: int
    target_block: int
    method: Method
    r2: float
    r2_shuffled: float
    r2_by_kind: dict[str, float]
    n_pairs: int
    n_controls: int

    @property
    def file(self) -> str:
        return f"{self.span}-{self.target_block}.safetensors"


class TransferInfo(msgspec.Struct, frozen=True, kw_only=True):
    """Everything of a transfer but its arrays. `screened`: by span, R2 of a quick fit from every block of the source
    (rows) to the blocks of the target that get a map, `target_blocks`. `words`: all that occur in the text it was
    fitted on. `created` is UTC, ISO 8601."""

    id: str
    source: Side
    target: Side
    created: str
    software_version: str
    text: str
    corpus_sha256: str
    n_documents: int
    seed: int
    maps: list[MapInfo]
    target_blocks: list[int]
    screened: dict[Span, list[list[float]]]
    words: list[str]
    format: int = FORMAT

    def best(self, span: Span) -> MapInfo | None:
        """The span's map with the highest R2."""
        return max((m for m in self.maps if m.span == span), key=lambda m: m.r2, default=None)


def write_map(folder: Path, info: MapInfo, map_: FloatArray, shuffled: list[FloatArray]) -> None:
    """A map, float32[source width, target width], and its controls. SetupError where it can't be written."""
    tensors = {"map": map_, **{f"shuffled.{number}": control for number, control in enumerate(shuffled)}}
    metadata = {METADATA_KEY: msgspec.json.encode(info).decode()}
    contiguous = {name: np.ascontiguousarray(array, np.float32) for name, array in tensors.items()}
    _write(folder / info.file, safetensors.numpy.save(contiguous, metadata))


def written(folder: Path, span: Span, target_block: int) -> MapInfo | None:
    """What is known of a map that was written before; None where there is none, or it is damaged."""
    path = folder / f"{span}-{target_block}.safetensors"
    try:
        with safetensors.safe_open(path, "numpy") as file:
            return msgspec.json.decode(file.metadata()[METADATA_KEY], type=MapInfo)
    except (OSError, safetensors.SafetensorError, msgspec.DecodeError, LookupError, TypeError):
        return None


def write_transfer(folder: Path, info: TransferInfo) -> None:
    """Make the transfer in `folder` whole. SetupError where it can't be written."""
    _write(folder / HEADER, msgspec.json.encode(info))


def read_map(folder: Path, info: MapInfo, control: int | None = None) -> FloatArray:
    """float32[source width, target width]: the map, or one of its controls. SetupError where it is damaged."""
    name = "map" if control is None else f"shuffled.{control}"
    try:
        with safetensors.safe_open(folder / info.file, "numpy") as file:
            array: FloatArray = file.get_tensor(name)
            return array
    except (OSError, safetensors.SafetensorError) as error:
        raise SetupError(f"{folder / info.file}: the map can't be read: {error}") from error


def transfers(folder: Path) -> Iterator[TransferInfo]:
    """All whole transfers, newest first; what is damaged or of another version is passed over."""
    found = []
    for path in folder.glob(f"*/{HEADER}"):
        try:
            info = msgspec.json.decode(path.read_bytes(), type=TransferInfo)
        except (OSError, msgspec.DecodeError):
            continue
        if info.format == FORMAT and info.id == path.parent.name:
            found.append(info)
    yield from sorted(found, key=lambda info: (info.created, info.id), reverse=True)


def find(folder: Path, source: ModelInfo | str, target: ModelInfo, id_: str | None = None) -> TransferInfo:
    """The newest transfer from `source` (a model, or its id) to `target`, or the one of an id. NotFound where there is
    none; SetupError for one that was fitted to other weights."""
    source_id = source if isinstance(source, str) else source.id
    known = [t for t in transfers(folder) if (t.source.id, t.target.id) == (source_id, target.id)]
    named = [transfer for transfer in known if id_ in (None, transfer.id)]
    if not named:
        what = f"transfer {id_!r}" if id_ else "transfer"
        raise NotFound(f"There is no {what} from {source_id} to {target.id}; persona-proxy transfer fit makes one.")
    fitting = [t for t in named if t.target.fingerprint == target.fingerprint]
    if not isinstance(source, str):
        fitting = [t for t in fitting if t.source.fingerprint == source.fingerprint]
    if not fitting:
        raise SetupError(
            f"the transfer {named[0].id!r} was fitted to other weights than {source_id} and {target.id} have "
            "now; fit it again"
        )
    return fitting[0]


def _write(path: Path, content: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_over(path, content)
    except OSError as error:
        raise SetupError(f"{path}: can't be written: {error.strerror}") from error
