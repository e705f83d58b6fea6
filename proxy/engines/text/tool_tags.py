"""Calls of functions as Qwen and its kin write them: `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`.

For tokenizers that have the two tags as one token each, whose ids alone count. A call is told when it is complete,
because what is inside the tags is JSON whose order nobody promises. What is no call is content, as it was written,
tags and all. Knows nothing of models.
"""

import json
from dataclasses import dataclass
from typing import Any

from proxy.engines.base import Channel, Token
from proxy.engines.text.depth import too_deep
from proxy.engines.text.detokenizer import Detokenizer

_OPEN, _CLOSE = "<tool_call>", "</tool_call>"


@dataclass(frozen=True)
class ToolTags:
    """The tags' ids in one tokenizer."""

    open: int
    close: int

    @property
    def texts(self) -> dict[int, str]:
        return {self.open: _OPEN, self.close: _CLOSE}

    @classmethod
    def of(cls, tokenizer: Any) -> "ToolTags | None":
        """None when the vocabulary lacks a tag."""
        vocabulary = tokenizer.get_vocab()
        if _OPEN not in vocabulary or _CLOSE not in vocabulary:
            return None
        return cls(vocabulary[_OPEN], vocabulary[_CLOSE])


class TaggedSpeech:
    """An answer's text where calls stand between tags. A call counts without its closing tag too, where another call or
    the answer's end follows it."""

    channels: frozenset[Channel] = frozenset(("content",))

    def __init__(self, detokenizer: Detokenizer, tags: ToolTags) -> None:
        self.special = detokenizer.special
        self._detokenizer = detokenizer
        self._tags = tags
        self._call: str | None = None  # what stands behind an opening tag so far
        self._called = False  # nothing was said since a call
        self._last = -1

    @property
    def writing(self) -> Channel | None:
        return "content" if self._call is None else "arguments"

    @property
    def opener(self) -> int | None:
        """None: reasoning is no matter of a first token."""
        return None

    def add(self, token: int) -> Token:
        """The token with the text it adds, and its channel."""
        self._last = token
        if token == self._tags.open:
            self._detokenizer.reset()
            written, self._call = self._call, ""
            return Token(token, "") if written is None else self._told(token, written, "")
        if token == self._tags.close:
            self._detokenizer.reset()
            written, self._call = self._call, None
            return self._said(token, _CLOSE) if written is None else self._told(token, written, _CLOSE)
        text = self._detokenizer.add(token)
        if self._call is None:
            return self._said(token, text)
        self._call += text
        return Token(token, "")

    def rest(self) -> Token | None:
        """What was held back, once nothing follows."""
        written, self._call = self._call, None
        return None if written is None else self._told(self._last, written, "")

    def _said(self, token: int, text: str) -> Token:
        if self._called and not text.strip():
            return Token(token, "")  # the line break between two calls
        self._called = False
        return Token(token, text)

    def _told(self, token: int, written: str, end: str) -> Token:
        """The call, or what was written in its place."""
        try:
            call = json.loads(written)
            name, arguments = call["name"], call["arguments"]
            if isinstance(name, str) and name and isinstance(arguments, dict) and not too_deep(arguments):
                told = Token(token, json.dumps(arguments, ensure_ascii=False), "arguments", opens=name)
                self._called = True
                return told
        except (ValueError, TypeError, KeyError, RecursionError):
            pass
        return self._said(token, _OPEN + written + end)
