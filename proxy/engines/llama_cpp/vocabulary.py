"""A GGUF file's vocabulary and chat template: text to token ids, and ids to text.

It speaks of tokens as a Hugging Face tokenizer does, as far as `speech` asks, so that both engines tell text and
channels alike. Needs no weights, and outlives them. Any thread may use it.
"""

import ctypes
import re
from collections.abc import Sequence
from functools import cached_property
from typing import Any

import jinja2
from llguidance import LLTokenizer, TokenizerWrapper

from proxy.engines.base import Message, Tool
from proxy.engines.errors import Refusal
from proxy.engines.gguf.byte_pairs import MARKER, BytePairs, byte_pair_tokenizer
from proxy.engines.gguf.file import GgufFile
from proxy.engines.gguf.word_cutting import LONGEST_RUN, WordCutting, word_cutting
from proxy.engines.llama_cpp.library import llama
from proxy.engines.llama_cpp.model import LlamaModel
from proxy.engines.text.chat_template import ChatTemplate
from proxy.engines.text.token_bound import TokenBound
from proxy.engines.text.typed_markers import Marker, Markers, any_of, apart, is_tag
from proxy.errors import SetupError

_STRIPPING = llama.LLAMA_TOKEN_ATTR_LSTRIP | llama.LLAMA_TOKEN_ATTR_RSTRIP  # takes the blanks around it
_LONGEST_PIECE = 256  # bytes of one token's text that are tried first


def template_of(model: LlamaModel) -> str:
    """The file's chat template. SetupError where there is none."""
    template = model.chat_template
    if template is None:
        raise SetupError("the file has no chat template; only chat models can be served")
    return template


class Vocabulary:
    """Belongs to `model`, of which it needs the vocabulary alone. SetupError where there is no chat template."""

    def __init__(self, model: LlamaModel) -> None:
        self.template = template_of(model)
        self._chat_template = ChatTemplate(self.template)
        self._model = model  # what the C side points into
        self._vocabulary = model.vocabulary
        self.size = model.n_tokens
        # Asked for once: loading looks through all tokens several times.
        self._attributes = [llama.llama_vocab_get_attr(self._vocabulary, id_) for id_ in range(self.size)]
        texts = [llama.llama_vocab_get_text(self._vocabulary, id_) for id_ in range(self.size)]
        self._texts: list[str] = [text.decode("utf-8", "replace") for text in texts]
        self.all_special_ids = [id_ for id_ in range(self.size) if self._is_special(id_)]
        self.added_tokens_decoder: dict[int, Any] = {}  # whichever are special stand in `all_special_ids`
        self.end_ids = [id_ for id_ in range(self.size) if llama.llama_vocab_is_eog(self._vocabulary, id_)]
        self.eos_token_id: int = llama.llama_vocab_eos(self._vocabulary)
        self._special = frozenset(self.all_special_ids)
        self._pieces: dict[int, bytes] = {}
        kind = llama.llama_vocab_type(self._vocabulary)
        self._sentencepiece = kind == llama.LLAMA_VOCAB_TYPE_SPM
        self._cutting: WordCutting | None = None  # of kinds of vocabularies whose texts are cut into words first
        if kind == llama.LLAMA_VOCAB_TYPE_BPE:
            self._cutting = word_cutting(model.metadata("tokenizer.ggml.pre") or "default")
        prefixed = model.metadata("tokenizer.ggml.add_space_prefix") != "false"
        self._drops_space = self._sentencepiece and prefixed  # before a text's first word, where none is in the text

    def write(self, messages: Sequence[Message], tools: Sequence[Tool] | None, **extra: Any) -> str:
        """The conversation in the file's own chat template, with the prompt for an answer; `extra` is what else the
        template gets to see. Refusal when it refuses."""
        try:
            return self._chat_template.render(messages, tools, {**self._special_texts(), **extra})
        except (jinja2.TemplateError, TypeError, ValueError, KeyError) as error:
            raise Refusal(f"the model's chat template refuses: {error}", "prompt") from error

    def tokenize(self, text: str) -> list[int]:
        """The ids of a text in which markers are special tokens."""
        return self._tokenize(text, markers=True)

    @property
    def first_id(self) -> int | None:
        """The token that texts begin with, None where there is none."""
        first: int = llama.llama_vocab_bos(self._vocabulary)
        return first if first >= 0 and llama.llama_vocab_get_add_bos(self._vocabulary) else None

    @property
    def bound(self) -> TokenBound | None:
        """None for kinds of vocabularies that may leave something of a text out."""
        if self._cutting is None and not self._sentencepiece:
            return None
        if any(self._has(id_, _STRIPPING) for id_ in self.all_special_ids):
            return None
        return TokenBound(self.piece(id_) for id_ in range(self.size))

    @cached_property
    def markers(self) -> Markers:
        """The special tokens, and tags that have a meaning in the template."""
        return Markers(
            {
                self._texts[id_]: Marker(
                    id_,
                    self._has(id_, llama.LLAMA_TOKEN_ATTR_LSTRIP),
                    self._has(id_, llama.LLAMA_TOKEN_ATTR_RSTRIP),
                    tag=id_ not in self._special,
                )
                for id_ in range(self.size)
                if id_ in self._special or (self._is_added(id_) and is_tag(self._texts[id_], self.template))
            }
        )

    @cached_property
    def _stubborn(self) -> re.Pattern[str]:
        """Markers that llama.cpp takes for one token even where it is told to find none."""
        return any_of(text for text, marker in self.markers.known.items() if not self._is_control(marker.id))

    def encode(self, text: str) -> list[int]:
        """The ids of plain text, in which what looks like a marker is text."""
        first, *others = apart(text, self._stubborn)
        return [*self._tokenize(first, markers=False), *(id_ for piece in others for id_ in self._going_on(piece))]

    def _going_on(self, text: str) -> list[int]:
        """The ids of plain text in the middle of a text."""
        if not self._drops_space:
            return self._tokenize(text, markers=False)
        begun = self._tokenize("\n", markers=False)  # never one token with what follows
        return self._tokenize("\n" + text, markers=False)[len(begun) :]

    def decode(
        self, ids: Sequence[int], *, skip_special_tokens: bool = False, clean_up_tokenization_spaces: bool = False
    ) -> str:
        """The text of `ids`; what is no whole character becomes replacement characters. Nothing is ever cleaned up."""
        shown = [id_ for id_ in ids if not (skip_special_tokens and id_ in self._special)]
        text = b"".join(self.piece(id_) for id_ in shown).decode("utf-8", "replace")
        return text[1:] if self._drops_space and text.startswith(" ") else text

    def get_vocab(self) -> dict[str, int]:
        """Every token as the file writes it, and its id."""
        return {text: id_ for id_, text in enumerate(self._texts)}

    def to_bytes(self) -> LLTokenizer:
        """The tokens as the bytes they add to a text."""
        return LLTokenizer(TokenizerWrapper(_Tokens(self)), eos_token=self.end_ids)

    def _is_special(self, id_: int) -> bool:
        # llama.cpp takes GPT-OSS's markers for words that somebody added.
        return self._is_control(id_) or (self._is_added(id_) and MARKER.fullmatch(self._texts[id_]) is not None)

    def _is_control(self, id_: int) -> bool:
        return self._has(id_, llama.LLAMA_TOKEN_ATTR_CONTROL | llama.LLAMA_TOKEN_ATTR_UNKNOWN)

    def _is_added(self, id_: int) -> bool:
        """Whether llama.cpp looks for its text before it cuts words."""
        return self._is_control(id_) or self._has(id_, llama.LLAMA_TOKEN_ATTR_USER_DEFINED)

    def _has(self, id_: int, attributes: int) -> bool:
        return bool(self._attributes[id_] & attributes)

    def _special_texts(self) -> dict[str, str]:
        known = {
            "bos_token": llama.llama_vocab_bos(self._vocabulary),
            "eos_token": self.eos_token_id,
            "pad_token": llama.llama_vocab_pad(self._vocabulary),
        }
        return {name: self._texts[id_] for name, id_ in known.items() if id_ >= 0}

    def piece(self, id_: int) -> bytes:
        """What a token adds to a text."""
        if id_ not in self._pieces:
            size = _LONGEST_PIECE
            while True:
                text = ctypes.create_string_buffer(size)
                length: int = llama.llama_token_to_piece(self._vocabulary, id_, text, size, 0, True)
                if length >= 0:
                    break
                size = -length
            self._pieces[id_] = text.raw[:length]
        return self._pieces[id_]

    @cached_property
    def _byte_pairs(self) -> BytePairs | None:
        """None where it is not known how llama.cpp cuts this vocabulary's words."""
        if self._cutting is None or self._cutting.patterns is None:
            return None
        added = {self._texts[id_]: self._is_control(id_) for id_ in range(self.size) if self._is_added(id_)}
        try:
            return BytePairs(byte_pair_tokenizer(GgufFile(self._model.file), self._texts, added, self._cutting))
        except ValueError:
            return None

    def _tokenize(self, text: str, markers: bool) -> list[int]:
        """With `markers`, what looks like a special token is one. Refusal for what llama.cpp can't tokenise."""
        if self._cutting is not None and self._cutting.too_long(text):
            if self._byte_pairs is None:
                raise Refusal(
                    f"llama.cpp can't tokenise a run of {LONGEST_RUN} characters for this model; put spaces into it",
                    "prompt",
                )
            return self._byte_pairs.tokenize(text, markers)
        raw = text.encode("utf-8", "replace")
        size = len(raw) + 8
        while True:
            ids = (llama.llama_token * size)()
            n_ids: int = llama.llama_tokenize(self._vocabulary, raw, len(raw), ids, size, False, markers)
            if n_ids >= 0:
                return list(ids[:n_ids])
            size = -n_ids


class _Tokens:
    """A vocabulary as llguidance asks for it: called with a text, it gives ids that spell this and nothing else."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self.tokens = [vocabulary.piece(id_) for id_ in range(vocabulary.size)]
        self.special_token_ids = vocabulary.all_special_ids
        self.eos_token_id = vocabulary.eos_token_id
        self.bos_token_id = None
        self._encode = vocabulary.encode
        special = frozenset(self.special_token_ids)
        self._ids = {piece: id_ for id_, piece in enumerate(self.tokens) if id_ not in special}

    def __call__(self, text: str) -> list[int]:
        ids, raw = self._encode(text), text.encode()
        if b"".join(self.tokens[id_] for id_ in ids) == raw:
            return ids
        # SentencePiece puts a space before a text, which is wrong in the middle of one.
        ids = []
        while raw:
            longest = next((raw[:end] for end in range(len(raw), 0, -1) if raw[:end] in self._ids), None)
            if longest is None:
                break  # it can't be spelt
            ids.append(self._ids[longest])
            raw = raw[len(longest) :]
        return ids
