"""GPT-OSS's answer format: which channel each token belongs to, told from token ids alone.

A message is `<|start|>role<|channel|>name<|message|>body<|end|>`. Body tokens of `final`, and of
`commentary` that is addressed to nobody, are the answer's content (so are an assistant's that names no channel); those
of `analysis` are reasoning; everything else has no text.
Text that only looks like a marker is text, because only the marker's own token id counts.
"""

from collections.abc import Sequence
from typing import Any

from proxy.engines.base import Channel

_MARKERS = ("<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>", "<|call|>")


class HarmonyFormat:
    """The format's marker ids in one tokenizer."""

    def __init__(self, tokenizer: Any, ids: dict[str, int]) -> None:
        self.tokenizer = tokenizer
        self.start, self.channel, self.message, self.end, self.give_back, self.call = (ids[m] for m in _MARKERS)
        self.stops = frozenset((self.give_back, self.call))

    @classmethod
    def of(cls, tokenizer: Any) -> "HarmonyFormat | None":
        """The format as the tokenizer writes it, or None when its vocabulary lacks a marker."""
        vocabulary = tokenizer.get_vocab()
        if any(marker not in vocabulary for marker in _MARKERS):
            return None
        return cls(tokenizer, {marker: vocabulary[marker] for marker in _MARKERS})

    def reader(self, prompt: Sequence[int]) -> "HarmonyReader":
        """A reader for the answer to `prompt`, which may have begun the answer's header, or even its body."""
        reader = HarmonyReader(self)
        begun = next((at for at in range(len(prompt) - 1, -1, -1) if prompt[at] == self.start), len(prompt))
        for token in prompt[begun:]:
            reader.add(token)
        return reader


class HarmonyReader:
    """Reads one answer, token by token."""

    def __init__(self, format_: HarmonyFormat) -> None:
        self._format = format_
        self._header: list[int] = []
        self._in_body = False
        self._body: Channel | None = None

    def add(self, token: int) -> Channel | None:
        """The channel whose text `token` adds to; None for markers, headers and messages to a tool."""
        form = self._format
        if token == form.start or token == form.end or token in form.stops:
            self._in_body, self._header = False, []
            return None
        if self._in_body:
            return None if token in (form.channel, form.message) else self._body
        if token == form.message:
            self._in_body, self._body = True, self._addressee()
            return None
        self._header.append(token)
        return None

    def _addressee(self) -> Channel | None:
        """Where the body that begins now goes, from its header `role to=...<|channel|>name to=...`."""
        form = self._format
        named = form.channel in self._header
        at = self._header.index(form.channel) if named else len(self._header)
        role, name = (form.tokenizer.decode(ids, skip_special_tokens=True).split() for ids in _split(self._header, at))
        if name[:1] == ["analysis"]:
            return "reasoning"
        addressed = any(word.startswith("to=") for word in role + name)
        spoken = name[:1] in (["final"], ["commentary"]) or (not named and role[:1] == ["assistant"])
        return "content" if spoken and not addressed else None


def _split(ids: list[int], at: int) -> tuple[list[int], list[int]]:
    return ids[:at], ids[at + 1 :]
