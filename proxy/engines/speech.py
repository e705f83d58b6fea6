"""What a generated token says: its text, and whether that is the answer or the model thinking."""

from collections.abc import Sequence
from typing import Any

from proxy.engines.base import Channel
from proxy.engines.detokenizer import Detokenizer
from proxy.engines.harmony import HarmonyFormat


class Speaker:
    """Everything about a tokenizer that turns ids into text. Belongs to the worker thread: tokenizers are not safe to
    share with a thread that encodes."""

    def __init__(self, tokenizer: Any, eos_ids: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self._harmony = HarmonyFormat.of(tokenizer)
        added = tokenizer.added_tokens_decoder
        self._special = frozenset(tokenizer.all_special_ids) | {id_ for id_, token in added.items() if token.special}
        stops = {*eos_ids, tokenizer.eos_token_id} - {None}
        if self._harmony is not None:
            stops = (stops | self._harmony.stops) - {self._harmony.end}
        self.stops: frozenset[int] = frozenset(stops)

    def speech(self, prompt: Sequence[int]) -> "Speech":
        """For the answer to `prompt`."""
        return Speech(Detokenizer(self._tokenizer, self._special), self._harmony, prompt)


class Speech:
    """One answer's text so far."""

    def __init__(self, detokenizer: Detokenizer, harmony: HarmonyFormat | None, prompt: Sequence[int]) -> None:
        self._detokenizer = detokenizer
        self._reader = None if harmony is None else harmony.reader(prompt)

    def add(self, token: int) -> tuple[str, Channel]:
        """The text `token` adds, and its channel."""
        if self._reader is None:
            return self._detokenizer.add(token), "content"
        channel = self._reader.add(token)
        if channel is None:
            self._detokenizer.reset()
            return "", "content"
        return self._detokenizer.add(token), channel
