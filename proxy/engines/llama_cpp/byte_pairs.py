"""A GGUF file's byte pairs merged by the library `tokenizers`, for texts over which llama.cpp would run out of stack.

The ids are llama.cpp's: its vocabulary, its merges and its way to cut words. Made when the first such text comes.
"""

import mmap
import struct
import threading
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers

from proxy.engines.llama_cpp.word_cutting import WordCutting

_MERGES = "tokenizer.ggml.merges"
_STRING, _ARRAY = 8, 9  # kinds of values in a GGUF file
_SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}  # of the others, in bytes
_HEADER = 24  # bytes before the first value


class BytePairs:
    """Any thread may use it. `added` are the tokens that are looked for in a text before it is cut into words: each
    one's text, and whether it counts as a marker."""

    def __init__(self, file: Path, texts: Sequence[str], added: Mapping[str, bool], cutting: WordCutting) -> None:
        """ValueError for a file whose merges are not all of its tokens."""
        vocabulary = {text: id_ for id_, text in reversed(list(enumerate(texts)))}
        alphabet = pre_tokenizers.ByteLevel.alphabet()
        if not vocabulary.keys() >= set(alphabet):
            raise ValueError("some byte is no token")
        # What is not made of bytes' letters can't turn up in a text.
        merges = [pair for pair in _merges(file) if set("".join(pair)) <= set(alphabet)]
        if any("".join(pair) not in vocabulary for pair in merges):
            raise ValueError("a merge makes no token")
        self._tokenizer = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=cutting.whole_words))
        cuts = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in cutting.patterns or ()]
        to_letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
        self._tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*cuts, to_letters])
        self._tokenizer.add_special_tokens(_added(text for text, marker in added.items() if marker))
        self._tokenizer.add_tokens(_added(text for text, marker in added.items() if not marker))
        self._lock = threading.Lock()

    def tokenize(self, text: str, markers: bool) -> list[int]:
        """With `markers`, what looks like a special token is one."""
        with self._lock:  # one text at a time, also for the memory that takes
            self._tokenizer.encode_special_tokens = not markers
            ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids


def _added(texts: Iterator[str]) -> list[AddedToken]:
    return [AddedToken(text, normalized=False) for text in texts]


def _merges(file: Path) -> list[tuple[str, str]]:
    """Read by ourselves: llama.cpp does not hand out lists, and the package gguf takes its time for long ones."""
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        (n_values,) = struct.unpack_from("<Q", data, _HEADER - 8)
        at = _HEADER
        for _ in range(n_values):
            key, at = _string(data, at)
            kind, at = struct.unpack_from("<I", data, at)[0], at + 4
            if key == _MERGES:
                merges, at = _strings(data, at)
                return [_pair(merge) for merge in merges]
            at = _behind(data, at, kind)
    raise ValueError("the file has no merges")


def _pair(merge: str) -> tuple[str, str]:
    left, _, right = merge.partition(" ")
    return left, right


def _behind(data: mmap.mmap, at: int, kind: int) -> int:
    """Where the value at `at` ends."""
    if kind == _STRING:
        return _string(data, at)[1]
    if kind != _ARRAY:
        return at + _SIZES[kind]
    inner, length = struct.unpack_from("<IQ", data, at)
    return _strings(data, at)[1] if inner == _STRING else at + 12 + length * _SIZES[inner]


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
    return data[begin:end].decode("utf-8", "replace"), end
