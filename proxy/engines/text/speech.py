"""What a generated token says: its text, and whether that is the answer, the model thinking, or a call's arguments."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

from proxy.engines.base import Channel, Token
from proxy.engines.errors import Refusal
from proxy.engines.text.detokenizer import Detokenizer
from proxy.engines.text.harmony import HarmonyFormat, HarmonyReader
from proxy.engines.text.tool_tags import TaggedSpeech, ToolTags


class Speech(Protocol):
    """One answer's text so far. `channels` are those it may have text in, as far as steering can be limited to them;
    `special` are the tokens that have no text wherever they stand."""

    channels: frozenset[Channel]
    special: frozenset[int]

    @property
    def writing(self) -> Channel | None:
        """The channel of the message that the next token goes on with; None where that is not in a message."""

    def add(self, token: int) -> Token:
        """The token with the text it adds, and its channel."""

    def rest(self) -> Token | None:
        """What was held back, once it is certain that nothing follows."""


class Speaker:
    """Everything about a tokenizer that turns ids into text. Belongs to the worker thread: tokenizers are not safe to
    share with a thread that encodes."""

    def __init__(self, tokenizer: Any, eos_ids: Sequence[int]) -> None:
        self._tokenizer = tokenizer
        self.harmony = HarmonyFormat.of(tokenizer)
        self._tags = ToolTags.of(tokenizer)
        added = tokenizer.added_tokens_decoder
        special = {*tokenizer.all_special_ids, *(id_ for id_, token in added.items() if token.special)}
        markers = frozenset() if self.harmony is None else self.harmony.markers
        tags = {} if self._tags is None else self._tags.texts
        self.special = frozenset((*special, *markers)).difference(tags)
        self.tags = frozenset(tags)
        stops = {*eos_ids, tokenizer.eos_token_id} - {None}
        if self.harmony is not None:
            stops = (stops | self.harmony.stops) - {self.harmony.end}
        self.stops: frozenset[int] = frozenset(stops)

    def begun(self, content: str, reasoning: str, encode: Callable[[str], list[int]]) -> tuple[list[int], list[int]]:
        """Headers and text of an answer that has said so much. Refusal for reasoning of a model that has none."""
        if self.harmony is not None:
            return self.harmony.begun(content, reasoning, encode)
        if reasoning and not content:
            raise Refusal(
                "the model does not reason before it answers, so there is no reasoning to go on with", "begun"
            )
        return [], encode(content)

    def speech(self, prompt: Sequence[int], calls: bool = False, begun: int = 0) -> Speech:
        """For the answer to `prompt`, the last `begun` tokens of which are its own text. Without `calls`, tags around
        one are text as any other."""
        detokenizer = Detokenizer(self._tokenizer, self.special)
        detokenizer.go_on(prompt[len(prompt) - begun :])
        if self.harmony is not None:
            return HarmonySpeech(detokenizer, self.harmony.reader(prompt))
        if self._tags is None or not calls:
            return PlainSpeech(detokenizer, {} if self._tags is None else self._tags.texts)
        return TaggedSpeech(detokenizer, self._tags)


class PlainSpeech:
    """A plain answer's text: everything is content, `tags` too: tokens with a text that some tokenizers would leave
    out."""

    channels: frozenset[Channel] = frozenset(("content",))

    def __init__(self, detokenizer: Detokenizer, tags: Mapping[int, str]) -> None:
        self.special = detokenizer.special
        self._detokenizer = detokenizer
        self._tags = tags

    @property
    def writing(self) -> Channel | None:
        return "content"

    def add(self, token: int) -> Token:
        """The token with the text it adds, and its channel."""
        if token in self._tags:
            self._detokenizer.reset()
            return Token(token, self._tags[token])
        return Token(token, self._detokenizer.add(token))

    def rest(self) -> Token | None:
        """What was held back, once nothing follows."""
        return None


class HarmonySpeech:
    """An answer's text in GPT-OSS's messages and their channels."""

    channels: frozenset[Channel] = frozenset(("content", "reasoning"))

    def __init__(self, detokenizer: Detokenizer, reader: HarmonyReader) -> None:
        self.special = detokenizer.special
        self._detokenizer = detokenizer
        self._reader = reader

    @property
    def writing(self) -> Channel | None:
        return None if self._reader.body is None else self._reader.body.channel

    def add(self, token: int) -> Token:
        """The token with the text it adds, and its channel."""
        before = self._reader.body
        if self._reader.add(token):
            assert before is not None
            return Token(token, self._detokenizer.add(token), before.channel)
        self._detokenizer.reset()
        body = self._reader.body
        if body is None or body is before or body.function is None:
            return Token(token, "")
        return Token(token, "", body.channel, opens=body.function)

    def rest(self) -> Token | None:
        """What was held back, once nothing follows."""
        return None
