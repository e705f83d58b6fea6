"""GPT-OSS's answer format: which message each token belongs to, told from token ids alone.

A message is `<|start|>role<|channel|>name<|message|>body<|end|>`. The body of `final`, and of `commentary` that is
addressed to nobody, is the answer's content (so is an assistant's that names no channel); that of `analysis` is
reasoning; one addressed `to=functions.NAME`, in role or channel, is a call's arguments. Everything else has no text.
Text that only looks like a marker is text, because only the marker's own token id counts, and no marker has any text
wherever it turns up.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from proxy.engines.base import Channel

_MARKERS = ("<|start|>", "<|channel|>", "<|message|>", "<|end|>", "<|return|>", "<|call|>")
_CONSTRAIN = "<|constrain|>"  # ends a recipient: the name of the body's format follows, with or without a space
_TO_FUNCTION = re.compile(r"to=functions\.([\w.-]{1,64})", re.ASCII)


@dataclass(frozen=True)
class Body:
    """What a message says: the channel of the answer it is in and, for "arguments", whose they are."""

    channel: Channel
    function: str | None = None


class HarmonyFormat:
    """The format's marker ids in one tokenizer."""

    def __init__(self, tokenizer: Any, ids: dict[str, int]) -> None:
        self.tokenizer = tokenizer
        self.start, self.channel, self.message, self.end, self.give_back, self.call = (ids[m] for m in _MARKERS)
        self.constrain = ids.get(_CONSTRAIN)
        self.stops = frozenset((self.give_back, self.call))
        self.markers = frozenset(ids.values())

    @classmethod
    def of(cls, tokenizer: Any) -> "HarmonyFormat | None":
        """The format as the tokenizer writes it, or None when its vocabulary lacks a marker."""
        vocabulary = tokenizer.get_vocab()
        if any(marker not in vocabulary for marker in _MARKERS):
            return None
        known = [marker for marker in (*_MARKERS, _CONSTRAIN) if marker in vocabulary]
        return cls(tokenizer, {marker: vocabulary[marker] for marker in known})

    def reader(self, prompt: Sequence[int]) -> "HarmonyReader":
        """A reader for the answer to `prompt`, which may have begun the answer's header, or even its body."""
        reader = HarmonyReader(self)
        for token in self.begun_by(prompt):
            reader.add(token)
        return reader

    def begun_by(self, prompt: Sequence[int]) -> Sequence[int]:
        """What of the answer stands in `prompt` already: its last `<|start|>`, and what follows that."""
        begun = next((at for at in range(len(prompt) - 1, -1, -1) if prompt[at] == self.start), len(prompt))
        return prompt[begun:]

    def header(self, channel: str, encode: Callable[[str], list[int]]) -> list[int]:
        """What stands between a message's role and its body."""
        return [self.channel, *encode(channel), self.message]

    def begun(self, content: str, reasoning: str, encode: Callable[[str], list[int]]) -> tuple[list[int], list[int]]:
        """Headers and text of an answer that has said so much, behind a prompt that ends with the answer's role."""
        thinking, thought = self.header("analysis", encode), encode(reasoning)
        if not content:
            return (thinking, thought) if thought else ([], [])
        answering = self.header("final", encode)
        if thought:
            answering = [*thinking, *thought, self.end, self.start, *encode("assistant"), *answering]
        return answering, encode(content)


class HarmonyReader:
    """Reads one answer, token by token. `body` is what the next token goes on with; None in a header, between
    messages, and in a message that is not for the client."""

    def __init__(self, format_: HarmonyFormat) -> None:
        self.body: Body | None = None
        self._format = format_
        self._in_body = False
        self._role: list[int] = []
        self._name: list[int] | None = None  # of the channel, and who is addressed
        self._complete = False  # the header, but for the name of the body's format

    def add(self, token: int) -> bool:
        """Whether `token` is text of the body so far; no marker is, and nothing in a header."""
        form = self._format
        if token == form.start or token == form.end or token in form.stops:
            self._begin([])
        elif token == form.channel:
            # Inside a body it is a message whose end was forgotten: the same role goes on in another channel.
            self._begin(self._role)
            self._name = []
        elif self._in_body:
            return self.body is not None and token not in form.markers
        elif token == form.message:
            self._in_body, self.body = True, self._addressee()
        elif token == form.constrain:
            self._complete = True
        elif not self._complete:
            (self._role if self._name is None else self._name).append(token)
        return False

    def _begin(self, role: list[int]) -> None:
        """A header, with what is known of it."""
        self.body, self._in_body, self._complete = None, False, False
        self._role, self._name = role, None

    def _addressee(self) -> Body | None:
        """Whose the body is that begins now, from its header `role to=...<|channel|>name to=...`."""
        role, name = self._words(self._role), self._words(self._name or [])
        if role[:1] not in ([], ["assistant"]):
            return None  # the model plays another part
        recipients = [word for word in role + name if word.startswith("to=")]
        if recipients:
            called = _TO_FUNCTION.fullmatch(recipients[-1])
            return Body("arguments", called[1]) if called else None
        if name[:1] == ["analysis"]:
            return Body("reasoning")
        spoken = name[:1] in (["final"], ["commentary"]) or (self._name is None and role[:1] == ["assistant"])
        return Body("content") if spoken else None

    def _words(self, ids: list[int]) -> list[str]:
        text: str = self._format.tokenizer.decode(ids, skip_special_tokens=True)
        return text.split()
