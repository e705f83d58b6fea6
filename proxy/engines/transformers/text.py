"""What a Hugging Face tokenizer and its chat template say: conversations written down, texts as ids, ids as texts.

Knows nothing of weights or of how they are run.
"""

import copy
import json
import threading
from collections.abc import Sequence
from typing import Any

import jinja2
from llguidance.hf import from_tokenizer

from proxy.engines.base import Message, Tool
from proxy.engines.errors import Refusal
from proxy.engines.speaking import SpeakingEngine
from proxy.engines.text.detokenizer import Detokenizer
from proxy.engines.text.lexicon import Lexicon
from proxy.engines.text.speech import Speaker
from proxy.engines.text.token_bound import TokenBound
from proxy.engines.text.typed_markers import Marker, Markers, any_of, apart, is_tag


class Tokenizing:
    """One tokenizer, for any thread, and what an engine makes of it. `vocabulary`: the tokens that the model has logits
    for; `eos`: those that its generation settings call ends."""

    def __init__(self, tokenizer: Any, vocabulary: int, eos: Sequence[int]) -> None:
        self.tokenizer = tokenizer
        self.lock = threading.Lock()  # a fast tokenizer can't be used by two threads at once
        self.speaker = Speaker(copy.deepcopy(tokenizer), eos, _template(tokenizer))
        self.lexicon = lexicon_of(tokenizer, vocabulary, self.speaker)
        self.bound = _bound(tokenizer)
        self.markers = _markers(tokenizer)


def lexicon_of(tokenizer: Any, vocabulary: int, speaker: Speaker) -> Lexicon:
    """What each token spells; `vocabulary` are those that the model has logits for."""
    return Lexicon(
        lambda: from_tokenizer(tokenizer, max(vocabulary, len(tokenizer)), sorted(speaker.stops)),
        vocabulary,
        speaker.special,
        speaker.stops,
        speaker.tags,
        speaker.calls,
    )


class TokenizerText(SpeakingEngine):
    """An engine's text by a Hugging Face tokenizer."""

    def _use(self, text: Tokenizing) -> None:
        """Before anything is said."""
        self._tokenizer = text.tokenizer
        self._encoding = text.lock
        self._tags = any_of(text for text, marker in self._markers.known.items() if marker.tag)
        self._begins_apart = self._begins_texts_apart()

    def _write(self, messages: Sequence[Message], tools: Sequence[Tool] | None, **extra: Any) -> str:
        try:
            with self._encoding:
                text: str = self._tokenizer.apply_chat_template(
                    list(messages),
                    tools=list(tools) if tools else None,
                    add_generation_prompt=True,
                    tokenize=False,
                    **extra,
                )
        except (jinja2.TemplateError, TypeError, ValueError, KeyError) as error:
            raise Refusal(f"the model's chat template refuses: {error}", "prompt") from error
        return text

    def _tokenize(self, text: str) -> list[int]:
        with self._encoding:
            ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False)
        return ids

    @property
    def _first_id(self) -> int | None:
        with self._encoding:
            ids: list[int] = self._tokenizer.encode("", add_special_tokens=True)
        return ids[0] if ids and ids[0] == self._tokenizer.bos_token_id else None

    def encode(self, text: str) -> list[int]:
        """Token ids of plain text, without markers."""
        first, *others = apart(text, self._tags)
        return [*self._encode(first), *(id_ for piece in others for id_ in self._encode_on(piece))]

    def _encode(self, text: str) -> list[int]:
        """The ids of plain text that has no tags."""
        with self._encoding:
            ids: list[int] = self._tokenizer.encode(text, add_special_tokens=False, split_special_tokens=True)
        return ids

    def _encode_on(self, text: str) -> list[int]:
        if not self._begins_apart:
            return self.encode(text)
        begun, ids = self.encode("\n"), self.encode("\n" + text)
        return ids[len(begun) :] if ids[: len(begun)] == begun else self.encode(text)

    def _begins_texts_apart(self) -> bool:
        """Whether the tokenizer puts a blank before a text's beginning, and none behind a special token."""
        for text, marker in self._markers.known.items():
            return self._tokenize(text + "a") != [marker.id, *self.encode("a")]
        return False

    def pieces(self, token_ids: Sequence[int]) -> list[str]:
        """What each token adds to a text, whole characters only."""
        with self._encoding:
            detokenizer = Detokenizer(self._tokenizer, self._speaker.special)
            return [detokenizer.add(token) for token in token_ids]


def _template(tokenizer: Any) -> str:
    """All of the chat template, where it has several parts."""
    template = tokenizer.chat_template
    return template if isinstance(template, str) else "".join(template.values())


def _markers(tokenizer: Any) -> Markers:
    template = _template(tokenizer)
    return Markers(
        {
            it.content: Marker(id_, it.lstrip, it.rstrip, tag=not it.special)
            for id_, it in tokenizer.added_tokens_decoder.items()
            if it.special or is_tag(it.content, template)
        }
    )


def _bound(tokenizer: Any) -> TokenBound | None:
    """None for tokenizers that may leave something of a text out, or put another in its place."""
    state = json.loads(tokenizer.backend_tokenizer.to_str())
    cut = state["pre_tokenizer"] or {}
    kinds = {part["type"] for part in cut.get("pretokenizers", [cut]) if part}
    composed = (state["normalizer"] or {}).get("type") == "NFC"
    if not (state["normalizer"] is None or composed) or "ByteLevel" not in kinds:
        return None
    if any(added["lstrip"] or added["rstrip"] for added in state["added_tokens"]):
        return None
    # A letter stands for a byte. In UTF-8 some are longer than that, so that the bound is lower than it might be.
    return TokenBound((text.replace("Ġ", " ").encode() for text in tokenizer.get_vocab()), composed=composed)
