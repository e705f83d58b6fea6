"""Calls of functions as Qwen and its kin write them: `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`.

For tokenizers that have the two tags as one token each, whose ids alone count. A call is told when it is complete,
because what is inside the tags is JSON whose order nobody promises. Knows nothing of models.
"""

import json
from dataclasses import dataclass
from typing import Any

from proxy.engines.base import Channel, Token
from proxy.engines.text.detokenizer import Detokenizer

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"


@dataclass(frozen=True)
class ToolTags:
    """The tags' ids in one tokenizer."""

    open: int
    close: int

    @classmethod
    def of(cls, tokenizer: Any) -> "ToolTags | None":
        """None when the vocabulary lacks a tag."""
        vocabulary = tokenizer.get_vocab()
        if _OPEN not in vocabulary or _CLOSE not in vocabulary:
            return None
        return cls(vocabulary[_OPEN], vocabulary[_CLOSE])


class TaggedSpeech:
    """See Speech. What stands between tags and is no call is content; a call that is cut off is left out."""

    channels: frozenset[Channel] = frozenset(("content",))

    def __init__(self, detokenizer: Detokenizer, tags: ToolTags) -> None:
        self.special = detokenizer.special
        self._detokenizer = detokenizer
        self._tags = tags
        self._call: str | None = None  # what stands behind an opening tag so far
        self._called = False  # nothing was said since a call

    @property
    def writing(self) -> Channel | None:
        return "content" if self._call is None else "arguments"

    def add(self, token: int) -> Token:
        """See Speech.add."""
        if token in (self._tags.open, self._tags.close):
            self._detokenizer.reset()
            written, self._call = self._call, "" if token == self._tags.open else None
            return Token(token, "") if written is None else self._closed(token, written)
        text = self._detokenizer.add(token)
        if self._call is not None:
            self._call += text
            return Token(token, "")
        if self._called and not text.strip():
            return Token(token, "")  # the line break between two calls
        self._called = False
        return Token(token, text)

    def _closed(self, token: int, written: str) -> Token:
        try:
            call = json.loads(written)
            name, arguments = call["name"], call["arguments"]
        except (ValueError, TypeError, KeyError):
            return Token(token, written)
        if not (isinstance(name, str) and name and isinstance(arguments, dict)):
            return Token(token, written)
        self._called = True
        return Token(token, json.dumps(arguments, ensure_ascii=False), "arguments", opens=name)
