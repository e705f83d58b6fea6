"""What a generated token says: its text, and whether that is the answer, the model thinking, or a call's arguments."""

from collections.abc import Mapping, Sequence
from functools import cached_property, partial
from typing import Any

from proxy.engines.base import Channel, Token
from proxy.engines.errors import Refusal
from proxy.engines.text.detokenizer import Detokenizer
from proxy.engines.text.harmony import HarmonyFormat, HarmonyReader
from proxy.engines.text.harmony_grammar import harmony_grammar
from proxy.engines.text.lexicon import CallForm
from proxy.engines.text.saying import Speech
from proxy.engines.text.thinking import ThinkingSpeech, ThinkTags
from proxy.engines.text.tool_tags import TaggedSpeech, ToolTags
from proxy.engines.text.typed_markers import Encode
from proxy.engines.text.written_calls import WrittenSpeech


class Speaker:
    """Everything about a tokenizer that turns ids into text. Belongs to the worker thread: tokenizers are not safe to
    share with a thread that encodes."""

    def __init__(self, tokenizer: Any, eos_ids: Sequence[int], template: str = "") -> None:
        """`template` is the model's chat template."""
        self._tokenizer = tokenizer
        self.think = ThinkTags.of(tokenizer, template)
        self.harmony = HarmonyFormat.of(tokenizer)
        self._tags = ToolTags.found(tokenizer)
        added = tokenizer.added_tokens_decoder
        special = {*tokenizer.all_special_ids, *(id_ for id_, token in added.items() if token.special)}
        markers = frozenset() if self.harmony is None else self.harmony.markers
        self._tag_texts = {**(self._tags.texts if self._tags else {}), **(self.think.texts if self.think else {})}
        tags = self._tag_texts
        self.special = frozenset((*special, *markers)).difference(tags)
        self.tags = frozenset(tags)
        stops = {*eos_ids, tokenizer.eos_token_id} - {None}
        if self.harmony is not None:
            stops = (stops | self.harmony.stops) - {self.harmony.end}
        self.stops: frozenset[int] = frozenset(stops)

    @property
    def calls(self) -> CallForm | None:
        """The form of calls, where it is the model's own."""
        if self.harmony is None:
            return None
        everywhere: frozenset[Channel | None] = frozenset(("content", "reasoning", "arguments", None))
        return CallForm(partial(harmony_grammar, self.harmony), everywhere, self.harmony.markers)

    def begun(
        self, prompt: Sequence[int], content: str, reasoning: str, encode: Encode, encode_said: Encode
    ) -> tuple[list[int], list[int]]:
        """Headers and text of an answer that has said so much, of which `encode_said` is for the content. Refusal for
        reasoning of a model that has none."""
        if self.harmony is not None:
            return self.harmony.begun(content, reasoning, encode)
        if self.think is not None:
            return self.think.begun(self.think.state(prompt, self.special), content, reasoning, encode, encode_said)
        if reasoning and not content:
            raise Refusal(
                "the model does not reason before it answers, so there is no reasoning to go on with", "begun"
            )
        return [], encode_said(content)

    @cached_property
    def marks(self) -> dict[int, str]:
        """The special tokens' own texts."""
        return {id_: text for text, id_ in self._tokenizer.get_vocab().items() if id_ in self.special}

    def raw_speech(self, prompt: Sequence[int]) -> Speech:
        """For what goes on with a text of the client's own: all of it is content."""
        last_mark = max((at for at, token in enumerate(prompt) if token in self.special), default=-1)
        return PlainSpeech(self._detokenizer(prompt[last_mark + 1 :]), self._tag_texts)

    def speech(self, prompt: Sequence[int], calls: bool = False, begun: int = 0, *, ruled: bool = False) -> Speech:
        """For the answer to `prompt`, the last `begun` tokens of which are its own text. Without `calls`, tags around
        one are text as any other. `ruled`: calls are kept to a grammar."""
        text = prompt[len(prompt) - begun :]
        if self.harmony is not None:
            return HarmonySpeech(self._detokenizer(text), self.harmony.reader(prompt))
        if self.think is None:
            return self._answer(self._detokenizer(text), calls, ruled)
        state = self.think.state(prompt, self.special)
        thoughts, said = (text, ()) if state == "under way" else ((), text)
        answer = self._answer(self._detokenizer(said), calls, ruled)
        return ThinkingSpeech(self._detokenizer(thoughts), self.think, state, answer, goes_on=begun > 0)

    def _answer(self, detokenizer: Detokenizer, calls: bool, ruled: bool) -> Speech:
        if ruled:
            return WrittenSpeech(detokenizer, self._tag_texts)
        if self._tags is None or not calls:
            return PlainSpeech(detokenizer, self._tag_texts)
        return TaggedSpeech(detokenizer, self._tags)

    def _detokenizer(self, text: Sequence[int]) -> Detokenizer:
        """For what goes on with a text."""
        detokenizer = Detokenizer(self._tokenizer, self.special)
        detokenizer.go_on(text)
        return detokenizer


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

    @property
    def opener(self) -> int | None:
        """None: reasoning is no matter of a first token."""
        return None

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

    @property
    def opener(self) -> int | None:
        """None: reasoning is no matter of a first token."""
        return None

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
