"""Vectors in the files of other tools: which formats there are, and which one a file is in.

A format knows bytes and directions per block. What is made of those is the business of `vector_store.exchange`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, get_args

from vector_store.errors import ImportRefused
from vector_store.formats import gguf, prototype, torch_file
from vector_store.formats.directions import Directions, Exported

ForeignFormat = Literal["gguf", "paper", "hotwire", "prototype"]
Format = Literal["safetensors", "gguf", "paper", "hotwire", "prototype"]  # the first is the store's own
FORMAT_NAMES: tuple[Format, ...] = get_args(Format)


@dataclass(frozen=True)
class FileFormat:
    """`read` takes a file's bytes and how many blocks the model has, where that is known."""

    suffix: str
    read: Callable[[bytes, int | None], Directions]
    write: Callable[[Exported], bytes]


__all__ = ["CODECS", "FORMAT_NAMES", "FileFormat", "Directions", "Exported", "ForeignFormat", "Format", "detect"]

CODECS: dict[ForeignFormat, FileFormat] = {
    "gguf": FileFormat(".gguf", gguf.read, gguf.write),
    "paper": FileFormat(".pt", torch_file.read_paper, torch_file.write_paper),
    "hotwire": FileFormat(".pt", torch_file.read_hotwire, torch_file.write_hotwire),
    "prototype": FileFormat(".json", prototype.read, prototype.write),
}


def detect(content: bytes, n_layers: int | None) -> ForeignFormat:
    """The format of a file of another tool. ImportRefused where it is none of them, or may be two."""
    if content.startswith(gguf.MAGIC):
        return "gguf"
    if content[:64].lstrip()[:1] == b"{":
        return "prototype"
    if not content.startswith((b"PK", b"\x80")):
        raise ImportRefused(f"the file is in no format that is known here; possible: {', '.join(FORMAT_NAMES)}")
    rows = torch_file.n_rows(content)
    if rows is None:
        return "hotwire"
    if n_layers is None or rows not in (n_layers, n_layers + 1):
        blocks = (
            "nobody knows how many blocks the model has" if n_layers is None else f"the model has {n_layers} blocks"
        )
        raise ImportRefused(
            f"the torch file has {rows} rows and {blocks}: say which format it is in, paper (a row for the embeddings "
            "and one for each block) or hotwire (a row for each block)"
        )
    return "hotwire" if rows == n_layers else "paper"
