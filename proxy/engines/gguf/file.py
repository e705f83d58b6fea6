"""What a GGUF file says of itself, and whose weights it holds. The weights themselves are not read.

Read by ourselves: llama.cpp does not hand out lists, and the package gguf takes its time for long ones.
"""

import hashlib
import mmap
import struct
from dataclasses import dataclass
from math import prod
from pathlib import Path

from proxy.errors import SetupError

_MAGIC = b"GGUF"
_SAMPLES, _SAMPLE_BYTES = 32, 64 * 1024
_STRING, _ARRAY = 8, 9  # kinds of values
# The others, as struct knows them.
_NUMBERS = {0: "B", 1: "b", 2: "H", 3: "h", 4: "I", 5: "i", 6: "f", 7: "?", 10: "Q", 11: "q", 12: "d"}
_HEADER = 24  # bytes before the first value

_ALIGNMENT = 32  # bytes, where a file does not say another

Value = str | int | float | bool


@dataclass(frozen=True)
class StoredTensor:
    """How many numbers it holds, as ggml's kind of number, and where it begins behind the header."""

    count: int
    kind: int
    offset: int


def check_file(source: str) -> Path:
    """The file of a source. SetupError where there is none, or it is of another kind."""
    file = Path(source).expanduser()
    if not file.is_file():
        raise SetupError(f"{source}: there is no such file")
    with file.open("rb") as stream:
        if stream.read(len(_MAGIC)) != _MAGIC:
            raise SetupError(f"{source}: is no GGUF file")
    return file


def file_fingerprint(file: Path) -> str:
    """Hex digest of the stored weights and what the file says of them: its size and samples from all over it, which
    is quick for any size."""
    size = file.stat().st_size
    digest = hashlib.sha256(str(size).encode())
    with file.open("rb") as stream:
        for number in range(_SAMPLES):
            stream.seek(max(size - _SAMPLE_BYTES, 0) * number // (_SAMPLES - 1))
            digest.update(stream.read(_SAMPLE_BYTES))
    return digest.hexdigest()


class GgufFile:
    """A file's key-value pairs and the names and sizes of its tensors."""

    def __init__(self, path: Path) -> None:
        """SetupError for a file that ends before it has said everything."""
        self.path = path
        self.values: dict[str, Value] = {}
        self._lists: dict[str, int] = {}  # where each begins
        self.tensors: dict[str, StoredTensor] = {}
        self.header_bytes = 0  # where the tensors begin
        try:
            with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
                self._read(data)
        except (struct.error, ValueError, KeyError):
            raise SetupError(f"{path}: is cut off or broken: it ends before it has said what it holds") from None

    def text(self, key: str) -> str | None:
        """The text under a key, None where there is none."""
        value = self.values.get(key)
        return value if isinstance(value, str) else None

    def number(self, key: str) -> int | None:
        """The whole number under a key, None where there is none."""
        value = self.values.get(key)
        return value if isinstance(value, int) else None

    def texts(self, key: str) -> list[str]:
        """The list of texts under a key, empty where there is none."""
        at = self._lists.get(key)
        if at is None:
            return []
        with self.path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _strings(data, at)[0]

    def numbers(self, key: str) -> list[int]:
        """The list of numbers under a key, empty where there is none."""
        at = self._lists.get(key)
        if at is None:
            return []
        with self.path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
            kind, length = struct.unpack_from("<IQ", data, at)
            return list(struct.unpack_from(f"<{length}{_NUMBERS[kind]}", data, at + 12))

    @property
    def architecture(self) -> str:
        """What kind of model it is, by llama.cpp's name."""
        return self.text("general.architecture") or "unknown"

    def _read(self, data: mmap.mmap) -> None:
        n_tensors, n_values = struct.unpack_from("<QQ", data, _HEADER - 16)
        at = _HEADER
        for _ in range(n_values):
            key, at = _string(data, at)
            kind, at = struct.unpack_from("<I", data, at)[0], at + 4
            if kind == _ARRAY:
                self._lists[key] = at
                at = _behind_list(data, at)
            elif kind == _STRING:
                self.values[key], at = _string(data, at)
            else:
                self.values[key] = struct.unpack_from(f"<{_NUMBERS[kind]}", data, at)[0]
                at += struct.calcsize(_NUMBERS[kind])
        for _ in range(n_tensors):
            name, at = _string(data, at)
            (n_dimensions,) = struct.unpack_from("<I", data, at)
            shape = struct.unpack_from(f"<{n_dimensions}Q", data, at + 4)
            at += 4 + 8 * n_dimensions
            kind, offset = struct.unpack_from("<IQ", data, at)
            at += 12
            self.tensors[name] = StoredTensor(prod(shape), kind, offset)
        alignment = self.number("general.alignment") or _ALIGNMENT
        self.header_bytes = -(-at // alignment) * alignment


def _behind_list(data: mmap.mmap, at: int) -> int:
    """Where the list at `at` ends."""
    kind, length = struct.unpack_from("<IQ", data, at)
    if kind != _STRING:
        return at + 12 + int(length) * struct.calcsize(_NUMBERS[kind])
    at += 12
    for _ in range(length):
        at += 8 + int(struct.unpack_from("<Q", data, at)[0])
    return at


def _strings(data: mmap.mmap, at: int) -> tuple[list[str], int]:
    _, length = struct.unpack_from("<IQ", data, at)
    at += 12
    found = []
    for _ in range(length):
        text, at = _string(data, at)
        found.append(text)
    return found, at


def _string(data: mmap.mmap, at: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<Q", data, at)
    begin, end = at + 8, at + 8 + length
    if end > len(data):
        raise ValueError("beyond the file's end")
    return data[begin:end].decode("utf-8", "replace"), end
