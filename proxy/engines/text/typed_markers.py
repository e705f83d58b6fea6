"""Markers' texts that somebody typed: kept apart from those that a chat template writes.

A marker is a special token, or a tag such as `<tool_call>` that is one token and has a meaning in the template. What is
typed is hidden behind random words while the template is rendered. Then each marker that is found is the template's
own. Knows nothing of tokenizers but their markers, and nothing of messages.
"""

import re
import secrets
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

Encode = Callable[[str], list[int]]

# What this server writes and reads itself, whether or not the template does.
_CALL_TAGS = frozenset(("<tool_call>", "</tool_call>", "<tool_response>", "</tool_response>"))
_OWN_TAGS = _CALL_TAGS | {"<think>", "</think>"}  # which some files call special
_BEHIND_LETTERS = re.compile(r"(?<=[^\W\d_])(?=[\W\d_])")  # where every way to cut words cuts
_IN_BARS = re.compile(r"<[|｜][^|｜<>\s]+[|｜]>")  # DeepSeek's bars are wide


def is_tag(text: str, template: str) -> bool:
    """Whether the text of an added token that is not special is a marker. Other added tokens are ordinary text: Gemma
    has some for line breaks, runs of spaces and HTML."""
    if text in _CALL_TAGS or _IN_BARS.fullmatch(text):
        return True
    return text in template and any(letter.isalpha() for letter in text)


def apart(text: str, stubborn: re.Pattern[str]) -> list[str]:
    """The text in pieces, so that none of the markers that a tokenizer finds even in plain text is in one. Each is cut
    where a tokenizer would, so that the ids are those of plain text."""
    pieces, at = [], 0
    for found in stubborn.finditer(text):
        inside = _BEHIND_LETTERS.search(text, found.start() + 1, found.end())
        cut = found.start() + 1 if inside is None else inside.start()
        pieces.append(text[at:cut])
        at = cut
    return [*pieces, text[at:]]


@dataclass(frozen=True)
class Marker:
    """A token, and whether it takes the blanks before and behind it. `tag`: the tokenizer does not call it special."""

    id: int
    takes_before: bool = False
    takes_behind: bool = False
    tag: bool = False


class Hiding:
    """Of one conversation. Its words are new each time, so that nobody can type them."""

    def __init__(self, markers: "Markers") -> None:
        self._markers = markers
        self._nonce = f"q{secrets.token_hex(12)}x"
        self._word = re.compile(self._nonce + r"(\d+)z")
        self._typed: list[str] = []

    @property
    def needed(self) -> bool:
        """Whether something was hidden."""
        return bool(self._typed)

    def hide_special(self, text: str) -> str:
        """The text without those markers that are special; its tags are left."""

        def replaced(found: re.Match[str]) -> str:
            is_tag = self._markers.known[found[0]].tag or found[0] in _OWN_TAGS
            return found[0] if is_tag else self._replace(found)

        return self._markers.pattern.sub(replaced, text)

    def hide(self, value: Any) -> Any:
        """A copy of strings, lists and dictionaries in which no marker's text is left, keys included."""
        if isinstance(value, str):
            return self._markers.pattern.sub(self._replace, value)
        if isinstance(value, dict):
            return {self.hide(key): self.hide(inner) for key, inner in value.items()}
        return [self.hide(inner) for inner in value] if isinstance(value, list | tuple) else value

    def shown(self, text: str) -> str:
        """The text with what was typed back in its places."""
        return self._word.sub(lambda word: self._typed[int(word[1])], text)

    def tokenize(self, text: str, encode: Encode, encode_on: Encode) -> list[int]:
        """The ids of a rendered text: its markers are one token each, and what was typed is plain text. `encode_on` is
        for what comes behind a marker."""
        ids: list[int] = []
        at, last = 0, None
        for found in self._markers.pattern.finditer(text):
            marker = self._markers.known[found[0]]
            ids += self._plain(text[at : found.start()], last, marker, encode, encode_on)
            ids.append(marker.id)
            at, last = found.end(), marker
        return ids + self._plain(text[at:], last, None, encode, encode_on)

    def _plain(
        self, text: str, before: Marker | None, behind: Marker | None, encode: Encode, encode_on: Encode
    ) -> list[int]:
        if before is not None and before.takes_behind:
            text = text.lstrip()
        if behind is not None and behind.takes_before:
            text = text.rstrip()
        if not text:
            return []
        return (encode if before is None else encode_on)(self.shown(text))

    def _replace(self, found: re.Match[str]) -> str:
        self._typed.append(found[0])
        return f"{self._nonce}{len(self._typed) - 1}z"


class Markers:
    """A tokenizer's markers by their texts. Words of letters alone don't count: templates' own names may be among
    them."""

    def __init__(self, known: Mapping[str, Marker]) -> None:
        self.known = {text: marker for text, marker in known.items() if text and not text.isalnum()}
        self.pattern = any_of(self.known)

    def hiding(self) -> Hiding:
        return Hiding(self)


def any_of(texts: Iterable[str]) -> re.Pattern[str]:
    """Finds the longest of the texts, in a time that does not grow with their number."""
    tree: dict[str, Any] = {}
    for text in texts:
        node = tree
        for letter in text:
            node = node.setdefault(letter, {})
        node[""] = {}
    return re.compile(_branches(tree) if tree else r"(?!)")


def _branches(node: dict[str, Any]) -> str:
    options = [re.escape(letter) + _branches(inner) for letter, inner in node.items() if letter]
    if not options:
        return ""
    if len(options) == 1 and "" not in node:
        return options[0]
    return f"(?:{'|'.join(options)})" + ("?" if "" in node else "")
