"""Calls that are kept to a grammar: their arguments are told while they are written.

Tags count by their text, whether they are one token or many. Knows nothing of models.
"""

import json
import re
from collections.abc import Mapping

from proxy.engines.base import Token
from proxy.engines.text.call_grammar import CLOSE, OPEN
from proxy.engines.text.calling_speech import CallingSpeech
from proxy.engines.text.detokenizer import Detokenizer

_HEAD = re.compile(r'\s*\{\s*"name"\s*:\s*("(?:[^"\\]|\\.)*")\s*,\s*"arguments"\s*:\s*')


class CallReader:
    """One call, from behind its opening tag on. `behind` is what follows its closing tag, once that is there."""

    def __init__(self) -> None:
        self.behind: str | None = None
        self.opened = False
        self._unread = ""
        self._depth = 0
        self._in_string = self._escaped = self._over = False

    def keep(self, text: str) -> None:
        """Text to be read with what comes next."""
        self._unread += text

    def feed(self, text: str) -> tuple[str | None, str]:
        """The function, where the text opens the call, and what it adds to the arguments."""
        self.keep(text)
        opens = self._open() if not self.opened else None
        arguments = self._arguments() if self.opened and not self._over else ""
        if self._over and (at := self._unread.find(CLOSE)) >= 0:
            self.behind = self._unread[at + len(CLOSE) :]
        return opens, arguments

    def _open(self) -> str | None:
        head = _HEAD.match(self._unread)
        if head is None:
            return None
        self.opened, self._unread = True, self._unread[head.end() :]
        name: str = json.loads(head[1])
        return name

    def _arguments(self) -> str:
        """What is there of the JSON value, up to the bracket that closes it."""
        if self._depth == 0:
            self._unread = self._unread.lstrip()
        for at, letter in enumerate(self._unread):
            if self._in_string:
                self._in_string = self._escaped or letter != '"'
                self._escaped = letter == "\\" and not self._escaped
            elif letter == '"':
                self._in_string = True
            else:
                self._depth += (letter in "{[") - (letter in "}]")
                if self._depth == 0 and letter in "}]":
                    self._over = True
                    told, self._unread = self._unread[: at + 1], self._unread[at + 1 :]
                    return told
        told, self._unread = self._unread, ""
        return told


class WrittenSpeech(CallingSpeech[CallReader]):
    """An answer's text with calls in it. `tags` are tokens with a text that some tokenizers would leave out."""

    def __init__(self, detokenizer: Detokenizer, tags: Mapping[int, str]) -> None:
        super().__init__(detokenizer)
        self._tags = tags
        self._held = ""  # what may yet become a tag

    def add(self, token: int) -> Token:
        """The token with the text it adds, and its channel."""
        self._last = token
        if token in self._tags:
            self._detokenizer.reset()
            text = self._tags[token]
        else:
            text = self._detokenizer.add(token)
        if self._call is not None:
            return self._go_on(self._call, token, text)
        self._held += text
        at = self._held.find(OPEN)
        if at < 0:
            kept = len(self._held) - _begun(self._held, OPEN)
            said, self._held = self._held[:kept], self._held[kept:]
            return self._said(token, said)
        before, behind = self._held[:at], self._held[at + len(OPEN) :]
        self._held, self._call = "", CallReader()
        told = self._said(token, before)
        if told.text:
            self._call.keep(behind)
            return told
        return self._go_on(self._call, token, behind)

    def rest(self) -> Token | None:
        """What was held back, once nothing follows."""
        call, self._call = self._call, None
        if call is not None:
            return None  # what was cut off was no text, but for its function's name not yet a call
        held, self._held = self._held, ""
        return self._said(self._last, held) if held else None

    def _go_on(self, call: CallReader, token: int, text: str) -> Token:
        opens, arguments = call.feed(text)
        if call.behind is not None:
            self._held, self._call, self._called = call.behind, None, True
        return Token(token, arguments, "arguments", opens=opens) if opens or arguments else Token(token, "")


def _begun(text: str, tag: str) -> int:
    """How many of the text's last characters may be a tag's first."""
    longest = min(len(text), len(tag) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(tag[:size])), 0)
