"""The least number of tokens a text can have, told from the vocabulary without tokenising it.

For vocabularies of bytes, of which every token spells some of the text. Knows nothing of tokenizers or models.
"""

import re
import unicodedata
from collections.abc import Iterable

_WORD_END = re.compile(r"[^ \t\r\n] ")
_ACROSS_WORDS = re.compile(rb"[^ \t\r\n] ")


class TokenBound:
    """`pieces` are the bytes that each token spells, or more. `composed`: texts are brought into the form NFC first."""

    def __init__(self, pieces: Iterable[bytes], *, composed: bool = False) -> None:
        self._composed = composed
        self._longest, self._by_words = 1, True
        for piece in pieces:
            self._longest = max(self._longest, len(piece))
            self._by_words = self._by_words and _ACROSS_WORDS.search(piece) is None

    def least(self, text: str) -> int:
        """No tokenisation of `text` has fewer."""
        if self._composed:
            text = unicodedata.normalize("NFC", text)
        by_length = -(-len(text) // self._longest)
        return max(by_length, sum(1 for _ in _WORD_END.finditer(text)) if self._by_words else 0)
