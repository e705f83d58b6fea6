"""Token ids to text, a token at a time. Knows nothing of channels or models."""

from collections.abc import Sequence
from typing import Any

_BROKEN = "\N{REPLACEMENT CHARACTER}"
_REMEMBERED = 8  # tokens of a text that is gone on with: enough for its last word
_LONGEST_CHARACTER = 4  # UTF-8 bytes, and so tokens, that one character can take


class Detokenizer:
    """The text each token adds to an answer: whole characters only, and nothing for special tokens.

    Tokens whose bytes end inside a character add "" until a later one completes it; what never completes is dropped.
    Decodes a short window instead of the whole answer, starting with the tokens of the text last given out, because
    many tokenizers write a word differently at the beginning of a text.
    """

    def __init__(self, tokenizer: Any, special: frozenset[int]) -> None:
        self.special = special
        self._tokenizer = tokenizer
        self.reset()

    def reset(self) -> None:
        """A new text begins."""
        self._window: list[int] = []
        self._given = 0  # how many tokens of the window have given out their text

    def go_on(self, text: Sequence[int]) -> None:
        """A text goes on, all of which was given out before."""
        self._window = list(text[-_REMEMBERED:])
        self._given = len(self._window)

    def add(self, token: int) -> str:
        """What `token` adds to the text."""
        if token in self.special:
            self.reset()
            return ""
        self._window.append(token)
        before = self._decode(self._window[: self._given]) if self._given else ""
        now = self._decode(self._window)
        held = len(self._window) - self._given
        if now.endswith(_BROKEN) and held < _LONGEST_CHARACTER:
            return ""
        self._window, self._given = self._window[self._given :], held
        return now[len(before) :]

    def _decode(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text
