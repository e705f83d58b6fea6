"""Calls of functions as Qwen and its kin write them: `<tool_call>{"name": ..., "arguments": {...}}</tool_call>`.

For tokenizers that have the two tags as one token each, whose ids alone count. A call is told when it is complete,
because what is inside the tags is JSON whose order nobody promises. What is no call is content, as it was written,
tags and all. Knows nothing of models.
"""

import json

from proxy.engines.base import Token
from proxy.engines.text.calling_speech import CallingSpeech
from proxy.engines.text.depth import too_deep
from proxy.engines.text.detokenizer import Detokenizer
from proxy.engines.text.tag_pair import TagPair


class ToolTags(TagPair):
    """The tags around a call."""

    OPEN, CLOSE = "<tool_call>", "</tool_call>"


class TaggedSpeech(CallingSpeech[str]):
    """An answer's text where calls stand between tags, of which one is known by what stands behind its opening tag so
    far. It counts without its closing tag too, where another call or the answer's end follows it."""

    def __init__(self, detokenizer: Detokenizer, tags: ToolTags) -> None:
        super().__init__(detokenizer)
        self._tags = tags

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
            return (
                self._said(token, self._tags.CLOSE) if written is None else self._told(token, written, self._tags.CLOSE)
            )
        text = self._detokenizer.add(token)
        if self._call is None:
            return self._said(token, text)
        self._call += text
        return Token(token, "")

    def rest(self) -> Token | None:
        """What was held back, once nothing follows."""
        written, self._call = self._call, None
        return None if written is None else self._told(self._last, written, "")

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
        return self._said(token, self._tags.OPEN + written + end)
