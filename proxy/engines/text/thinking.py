"""Reasoning as Qwen3, QwQ and R1 write it: `<think>`, thoughts, `</think>`, and then the answer.

For tokenizers that have the two tags as one token each, whose ids alone count, and templates that know of them. Knows
nothing of models.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Literal, Self

from proxy.engines.base import Channel, Token
from proxy.engines.errors import Refusal
from proxy.engines.text.detokenizer import Detokenizer
from proxy.engines.text.saying import Speech
from proxy.engines.text.tag_pair import TagPair
from proxy.engines.text.typed_markers import Encode

Thinking = Literal["ahead", "under way", "over"]


class ThinkTags(TagPair):
    """The tags around thoughts."""

    OPEN, CLOSE = "<think>", "</think>"

    @classmethod
    def of(cls, tokenizer: Any, template: str) -> Self | None:
        """None where the vocabulary lacks a tag, or the chat template does not know of thinking."""
        return cls.found(tokenizer) if cls.CLOSE in template else None

    def state(self, prompt: Sequence[int], special: frozenset[int]) -> Thinking:
        """How far the answer is that a prompt has begun, behind its last special token."""
        for token in reversed(prompt):
            if token == self.close:
                return "over"
            if token == self.open:
                return "under way"
            if token in special:
                break
        return "ahead"

    def header(self, state: Thinking, reasoning: str, encode: Encode) -> list[int]:
        """What stands before an answer's content where the thoughts were these."""
        if state == "over":
            return []
        begun = [] if state == "under way" else [self.open]
        between = f"\n{reasoning}\n" if begun else f"{reasoning}\n"
        return [*begun, *encode(between), self.close, *encode("\n\n")]

    def begun(
        self, state: Thinking, content: str, reasoning: str, encode: Encode, encode_said: Encode
    ) -> tuple[list[int], list[int]]:
        """Headers and text of an answer that has said so much, of which `encode_said` is for the content. Refusal where
        there is no thinking to go on with."""
        if content:
            return self.header(state, reasoning, encode), encode_said(content)
        if not reasoning:
            return [], []
        if state == "over":
            raise Refusal("thinking is turned off, so there is no reasoning to go on with", "begun")
        return [] if state == "under way" else [self.open, *encode("\n")], encode(reasoning)


class ThinkingSpeech:
    """An answer's text where thoughts may come first; `inner` tells what follows them. The line breaks around the tags
    are nobody's text. `goes_on`: the answer goes on in the middle of a text."""

    def __init__(
        self, detokenizer: Detokenizer, tags: ThinkTags, state: Thinking, inner: Speech, *, goes_on: bool
    ) -> None:
        self.channels: frozenset[Channel] = inner.channels | {"reasoning"}
        self.special = inner.special
        self._detokenizer = detokenizer
        self._tags = tags
        self._state = state
        self._inner = inner
        self._bare = not goes_on  # nothing was said since the last tag
        self._held = ""  # blanks that may be the last before a tag

    @property
    def writing(self) -> Channel | None:
        return "reasoning" if self._state == "under way" else self._inner.writing

    @property
    def opener(self) -> int | None:
        """The token that may come next and have the answer begin with thoughts."""
        return self._tags.open if self._state == "ahead" else None

    def add(self, token: int) -> Token:
        """The token with the text it adds, and its channel."""
        if self._state == "ahead" and token == self._tags.open:
            self._state, self._bare = "under way", True
            return Token(token, "", "reasoning")
        if self._state == "under way":
            return self._thought(token)
        said = self._inner.add(token)
        if said.text.strip() or said.channel != "content":
            self._state = "over"
        if self._state == "over" and self._bare and said.channel == "content":
            said = replace(said, text=said.text.lstrip("\n"))
            self._bare = not said.text
        return said

    def rest(self) -> Token | None:
        """What was held back, once nothing follows."""
        return None if self._state == "under way" else self._inner.rest()

    def _thought(self, token: int) -> Token:
        if token == self._tags.close:
            self._state, self._bare, self._held = "over", True, ""
            return Token(token, "", "reasoning")
        text = self._held + self._detokenizer.add(token)
        if self._bare:
            text = text.lstrip("\n")
            self._bare = not text
        kept = text.rstrip()
        self._held = text[len(kept) :]
        return Token(token, kept, "reasoning")
