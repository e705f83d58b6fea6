"""What `torch.save` writes, without torch and without unpickling: a zip of raw storages and a pickle that names them.

The pickle is read opcode by opcode. Numbers, texts, lists, tuples and dicts are made as they are; of names only those
that rebuild a tensor out of a storage mean anything, and they are looked up in a table here, so nothing in the file is
ever called. Every tensor's extent is checked against its storage's bytes before it is made.
"""

import io
import math
import pickletools
import struct
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from vector_store.errors import ImportRefused
from vector_store.vector import FloatArray

MAX_OPCODES = 100_000
MAX_MEMBERS = 1024  # files in the archive
MAX_DIMENSIONS = 8
_BFLOAT16 = "bfloat16"
_DTYPES = {"FloatStorage": "<f4", "DoubleStorage": "<f8", "HalfStorage": "<f2", "BFloat16Storage": _BFLOAT16}
_MARK = object()


@dataclass(frozen=True)
class Tensor:
    """A view of a storage's bytes; nothing is copied until the numbers are asked for."""

    raw: np.ndarray
    dtype: str

    @property
    def shape(self) -> tuple[int, ...]:
        return self.raw.shape

    def floats(self) -> FloatArray:
        if self.dtype == _BFLOAT16:
            return (self.raw.astype(np.uint32) << 16).view(np.float32)
        with np.errstate(over="ignore", invalid="ignore"):  # infinite numbers are found out later
            return self.raw.astype(np.float32)


@dataclass(frozen=True)
class _Name:
    """A name the pickle mentions, of which nothing is imported."""

    module: str
    name: str


@dataclass(frozen=True)
class _Storage:
    dtype: str
    content: bytes


def load(content: bytes) -> Any:
    """The object in a torch file: tensors in lists, tuples and dicts. ImportRefused where it is, or holds, anything
    else, and for a damaged file."""
    if content[:2] == b"\x80\x02" and b"torch" in content[:4096]:
        raise ImportRefused("a torch file of before torch 1.6; load it with torch and save it again")
    # A look-alike among the numbers is rare, and a thousand of them are not by chance.
    if content.count(b"PK\x01\x02") > MAX_MEMBERS:
        raise ImportRefused(f"the torch file has more than {MAX_MEMBERS} parts")
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return _run(*_open(archive, len(content)))
    except ImportRefused:
        raise
    except Exception as error:  # zipfile and pickletools have a dozen kinds for damaged files
        raise ImportRefused(f"not a torch file, or damaged: {error}") from error


def save(array: FloatArray) -> bytes:
    """The bytes torch.save would write for a tensor of float32, but for what torch does not read."""
    rows, columns = array.shape
    pickle = (
        b"\x80\x02ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\n"
        b"X\x01\x00\x00\x000X\x03\x00\x00\x00cpu"
        + _integer(array.size)
        + b"tQ"
        # offset, shape, strides in elements, no gradient, no hooks
        + _integer(0)
        + _integer(rows)
        + _integer(columns)
        + b"\x86"
        + _integer(columns)
        + _integer(1)
        + b"\x86"
        b"\x89ccollections\nOrderedDict\n)RtR."
    )
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_STORED) as archive:
        for name, content in (
            ("data.pkl", pickle),
            ("byteorder", b"little"),
            ("data/0", array.astype("<f4").tobytes()),
            ("version", b"3\n"),
        ):
            # A fixed date, so that equal vectors make equal files.
            archive.writestr(zipfile.ZipInfo(f"archive/{name}", (1980, 1, 1, 0, 0, 0)), content)
    return written.getvalue()


def _integer(value: int) -> bytes:
    return b"J" + struct.pack("<i", value)


def _open(archive: zipfile.ZipFile, size: int) -> tuple[bytes, Callable[[str], bytes]]:
    """The pickle, and what reads a storage by its key, each once and all together no more than the file has bytes."""
    names = archive.namelist()
    (pickle_name,) = [name for name in names if name.rpartition("/")[2] == "data.pkl"]
    prefix = pickle_name.removesuffix("data.pkl")
    if prefix + "byteorder" in names and _member(archive, prefix + "byteorder") != b"little":
        raise ImportRefused("a torch file of a big-endian machine")
    storages: dict[str, bytes] = {}

    def storage(key: str) -> bytes:
        if key not in storages:
            name = f"{prefix}data/{key}"
            if sum(map(len, storages.values())) + archive.getinfo(name).file_size > size:
                raise ImportRefused("the torch file says it holds more than it does")
            storages[key] = _member(archive, name)
        return storages[key]

    return _member(archive, pickle_name), storage


def _member(archive: zipfile.ZipFile, name: str) -> bytes:
    info = archive.getinfo(name)
    if info.compress_type != zipfile.ZIP_STORED or info.file_size != info.compress_size:
        raise ImportRefused("the torch file is compressed, which torch never does")
    return archive.read(info)


def _run(pickle: bytes, storage: Callable[[str], bytes]) -> Any:
    machine = _Machine(storage)
    for count, (opcode, argument, _) in enumerate(pickletools.genops(pickle)):
        if count > MAX_OPCODES:
            raise ImportRefused("the torch file holds far more than tensors")
        if opcode.name == "STOP":
            break
        machine.step(opcode.name, argument)
    (result,) = machine.stack
    return result


class _Machine:
    """The part of a pickle machine that tensors in plain containers need."""

    def __init__(self, storage: Callable[[str], bytes]) -> None:
        self.stack: list[Any] = []
        self._memo: dict[int, Any] = {}
        self._storage = storage

    def step(self, opcode: str, argument: Any) -> None:
        match opcode:
            case "PROTO" | "FRAME":
                pass
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                self.stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[opcode])
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT" | "BINUNICODE" | "SHORT_BINUNICODE":
                self.stack.append(argument)
            case "EMPTY_LIST":
                self.stack.append([])
            case "EMPTY_DICT":
                self.stack.append({})
            case "EMPTY_TUPLE":
                self.stack.append(())
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                self.stack.append(tuple(self._pop(int(opcode[-1]))))
            case "MARK":
                self.stack.append(_MARK)
            case "TUPLE":
                self.stack.append(tuple(self._pop_to_mark()))
            case "APPEND":
                self._extend(self._pop(1))
            case "APPENDS":
                self._extend(self._pop_to_mark())
            case "SETITEM":
                self._update(self._pop(2))
            case "SETITEMS":
                self._update(self._pop_to_mark())
            case "BINPUT" | "LONG_BINPUT":
                self._memo[argument] = self.stack[-1]
            case "MEMOIZE":
                self._memo[len(self._memo)] = self.stack[-1]
            case "BINGET" | "LONG_BINGET":
                self.stack.append(self._memo[argument])
            case "GLOBAL":
                self.stack.append(_Name(*argument.split(" ", 1)))
            case "STACK_GLOBAL":
                self.stack.append(_Name(*self._pop(2)))
            case "BINPERSID":
                self.stack.append(self._persistent(*self._pop(1)))
            case "REDUCE":
                self.stack.append(_rebuilt(*self._pop(2)))
            case _:
                raise ImportRefused(f"the torch file holds more than tensors in plain containers ({opcode})")

    def _pop(self, count: int) -> list[Any]:
        taken = self.stack[-count:]
        del self.stack[-count:]
        if len(taken) != count:
            raise ValueError("its stack runs empty")
        return taken

    def _pop_to_mark(self) -> list[Any]:
        start = next(i for i in range(len(self.stack) - 1, -1, -1) if self.stack[i] is _MARK)
        taken = self.stack[start + 1 :]
        del self.stack[start:]
        return taken

    def _extend(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], list):
            raise ValueError("something is appended to what is no list")
        self.stack[-1].extend(items)

    def _update(self, items: list[Any]) -> None:
        if not isinstance(self.stack[-1], dict):
            raise ValueError("an entry is put into what is no dict")
        # Tuples of tuples could take for ever to hash.
        if not all(isinstance(key, str | int) for key in items[::2]):
            raise ImportRefused("the torch file holds a dict whose keys are neither texts nor whole numbers")
        self.stack[-1].update(zip(items[::2], items[1::2], strict=True))

    def _persistent(self, saved: Any) -> _Storage:
        kind, type_, key, _, _ = saved
        if kind != "storage" or not isinstance(type_, _Name) or not isinstance(key, str):
            raise ValueError("a storage is named in no known way")
        if type_.module != "torch" or type_.name not in _DTYPES:
            raise ImportRefused(f"the torch file holds a {type_.name:.40}; possible: {', '.join(_DTYPES)}")
        return _Storage(_DTYPES[type_.name], self._storage(key))


def _rebuilt(name: Any, arguments: Any) -> Any:
    """What a call of this name would have made, for the three names tensors need."""
    match name:
        case _Name("torch._utils", "_rebuild_tensor_v2"):
            return _tensor(*arguments[:4])
        case _Name("torch._utils", "_rebuild_parameter") if isinstance(arguments[0], Tensor):
            return arguments[0]
        case _Name("collections", "OrderedDict") if arguments == ():
            return {}
    called = f"{name.module}.{name.name}" if isinstance(name, _Name) else "something"
    raise ImportRefused(f"the torch file wants {called:.80} to be called, which is never done")


def _tensor(storage: Any, offset: Any, shape: Any, strides: Any) -> Tensor:
    if not isinstance(storage, _Storage) or max(len(shape), len(strides)) > MAX_DIMENSIONS:
        raise ValueError("a tensor is described in no known way")
    if not all(type(number) is int and 0 <= number < 2**62 for number in (offset, *shape, *strides)):
        raise ValueError("a tensor is described in no known way")
    raw = np.frombuffer(storage.content, "<u2" if storage.dtype == _BFLOAT16 else storage.dtype)
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    # Without the second, a stride of 0 would make any number of elements out of one.
    if last >= len(raw) or math.prod(shape) > len(raw) or 0 in shape:
        raise ImportRefused(f"a tensor of shape {list(shape)} does not fit the numbers the file has for it")
    step = raw.itemsize
    return Tensor(
        np.lib.stride_tricks.as_strided(raw[offset:], shape, [stride * step for stride in strides], writeable=False),
        storage.dtype,
    )
