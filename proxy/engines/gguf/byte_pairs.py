"""A GGUF file's byte pairs merged by the library `tokenizers`: for the engine that has no llama.cpp, and for texts over
which llama.cpp would run out of stack.

The ids are llama.cpp's: its vocabulary, its merges and its way to cut words.
"""

import re
import threading
from collections.abc import Iterator, Mapping, Sequence

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers

from proxy.engines.gguf.file import GgufFile
from proxy.engines.gguf.word_cutting import WordCutting

MARKER = re.compile(r"<\|[^|<>\s]+\|>")  # special, though files may call it a word that somebody added


def byte_pair_tokenizer(
    file: GgufFile, texts: Sequence[str], added: Mapping[str, bool], cutting: WordCutting
) -> Tokenizer:
    """The file's tokenizer. `texts` are its tokens, `added` those that are looked for in a text before it is cut into
    words: each one's text, and whether it counts as a marker. ValueError for a file whose merges are not all of its
    tokens."""
    vocabulary = {text: id_ for id_, text in reversed(list(enumerate(texts)))}
    alphabet = set(pre_tokenizers.ByteLevel.alphabet())  # of which a byte that is no token is left out of texts
    # What is not made of bytes' letters can't turn up in a text.
    merges = [_pair(merge) for merge in file.texts("tokenizer.ggml.merges")]
    merges = [pair for pair in merges if set("".join(pair)) <= alphabet]
    if any("".join(pair) not in vocabulary for pair in merges):
        raise ValueError("a merge makes no token")
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, ignore_merges=cutting.whole_words))
    cuts = [pre_tokenizers.Split(Regex(pattern), "isolated") for pattern in cutting.patterns or ()]
    to_letters = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([*cuts, to_letters])
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(_added(text for text, marker in added.items() if marker))
    tokenizer.add_tokens(_added(text for text, marker in added.items() if not marker))
    return tokenizer


class BytePairs:
    """A tokenizer of byte pairs that any thread may use."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self._lock = threading.Lock()

    def tokenize(self, text: str, markers: bool) -> list[int]:
        """With `markers`, what looks like a special token is one."""
        with self._lock:  # one text at a time, also for the memory that takes
            self._tokenizer.encode_special_tokens = not markers
            ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False).ids
        return ids


def _added(texts: Iterator[str]) -> list[AddedToken]:
    return [AddedToken(text, normalized=False) for text in texts]


def _pair(merge: str) -> tuple[str, str]:
    left, _, right = merge.partition(" ")
    return left, right
