"""Whether an answer states a fact, and whether it follows an instruction: right or wrong by rules alone. Pure.

A fact counts as stated where an accepted answer stands anywhere in the text as whole words, so "not Paris" counts too:
rules read no meaning. An instruction counts as followed by its form; what the answer says is not looked at.
"""

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from importlib.resources import files
from typing import Literal, get_args

import msgspec

Rule = Literal[
    "sentences",
    "words",
    "at_most_words",
    "at_least_words",
    "items",
    "lines",
    "without",
    "contains",
    "begins_with",
    "ends_with",
    "one_of",
    "lower_case",
    "upper_case",
    "number",
    "quoted",
]
RULES: tuple[Rule, ...] = get_args(Rule)
COUNTED: tuple[Rule, ...] = ("sentences", "words", "at_most_words", "at_least_words", "items", "lines")
PLAIN: tuple[Rule, ...] = ("lower_case", "upper_case", "number", "quoted")  # rules that need no value

_WORD = re.compile(r"[^\W_]+(?:['’\-][^\W_]+)*")
_SENTENCE_END = re.compile(r"[.!?…]+[\"”'’)\]]*(?=\s|$)|\n+")
_NUMBERING = re.compile(r"^\s*(?:\d+[.)]|[-*•])\s+", re.MULTILINE)
_ITEM_END = re.compile(r",|\n|\band\b|&", re.IGNORECASE)
_QUOTES = '"“”'


class Fact(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A question, and the answers that are right."""

    ask: str
    accept: list[str]


class Instruction(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A request, the rule that its answer has to follow, and what the rule needs to know: a number or texts."""

    ask: str
    rule: Rule
    value: int | list[str] | None = None


class CostQuestions(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What costs are read off."""

    facts: list[Fact]
    instructions: list[Instruction]


@cache
def cost_questions() -> CostQuestions:
    """The questions that come with the package."""
    return msgspec.toml.decode(files(__package__).joinpath("questions.toml").read_bytes(), type=CostQuestions)


def states(fact: Fact, answer: str) -> bool:
    """Whether an answer states the fact."""
    return any(_stands_in(text, answer) for text in fact.accept)


def follows(instruction: Instruction, answer: str) -> bool:
    """Whether an answer follows the instruction. One without a word follows none. ValueError for a value that the rule
    can't do with."""
    check, value = _CHECKS[instruction.rule], instruction.value
    if isinstance(value, int) != (instruction.rule in COUNTED) or (value is None) != (instruction.rule in PLAIN):
        raise ValueError(f"the rule {instruction.rule!r} can't do with {value!r}")
    text = answer.strip()
    return bool(words(text)) and check(text, value)


def words(text: str) -> list[str]:
    """The words of a text: letters and digits, joined by hyphens and apostrophes."""
    return _WORD.findall(text)


def sentences(text: str) -> int:
    """How many sentences there are. A new line ends one too, and the numbers of a list are none."""
    parts = _SENTENCE_END.split(_NUMBERING.sub("", text))
    return sum(bool(words(part)) for part in parts)


def items(text: str) -> int:
    """How many things are named, with commas, "and" or new lines between them."""
    return sum(bool(words(part)) for part in _ITEM_END.split(_NUMBERING.sub("", text)))


def lines(text: str) -> int:
    """How many lines have a word in them."""
    return sum(bool(words(line)) for line in text.splitlines())


def _stands_in(wanted: str, text: str) -> bool:
    """Whether a text stands in another one, whatever its case; as whole words where it begins and ends with such."""
    plain = _plain(wanted)
    before = r"(?<!\w)" if plain[:1].isalnum() else ""
    after = r"(?!\w)" if plain[-1:].isalnum() else ""
    return re.search(before + re.escape(plain) + after, _plain(text)) is not None


def _plain(text: str) -> str:
    """Without case and accents, and with single blanks."""
    letters = unicodedata.normalize("NFKD", text.casefold())
    return " ".join("".join(c for c in letters if not unicodedata.combining(c)).split())


def _bare(text: str) -> str:
    """A text without what may stand around it: blanks, full stops and marks."""
    return _plain(text).strip(" .!?,;:\"“”'*")


def _only_letters(text: str, of_case: Callable[[str], str]) -> bool:
    return any(c.isalpha() for c in text) and of_case(text) == text


def _begins(text: str, beginnings: Sequence[str]) -> bool:
    first = words(text)[0].casefold()
    return first in [_plain(beginning) for beginning in beginnings]


def _ends(text: str, endings: Sequence[str]) -> bool:
    """A mark has to be the last character, a word the last word."""
    last = words(text)[-1].casefold()
    return any(last == _plain(end) if end[-1:].isalnum() else text.endswith(end) for end in endings)


_CHECKS: Mapping[Rule, Callable[[str, object], bool]] = {
    "sentences": lambda text, n: sentences(text) == n,
    "words": lambda text, n: len(words(text)) == n,
    "at_most_words": lambda text, n: len(words(text)) <= _number(n),
    "at_least_words": lambda text, n: len(words(text)) >= _number(n),
    "items": lambda text, n: items(text) == n,
    "lines": lambda text, n: lines(text) == n,
    "without": lambda text, texts: not any(_stands_in(one, text) for one in _texts(texts)),
    "contains": lambda text, texts: all(_stands_in(one, text) for one in _texts(texts)),
    "begins_with": lambda text, texts: _begins(text, _texts(texts)),
    "ends_with": lambda text, texts: _ends(text, _texts(texts)),
    "one_of": lambda text, texts: _bare(text) in map(_bare, _texts(texts)),
    "lower_case": lambda text, _: _only_letters(text, str.lower),
    "upper_case": lambda text, _: _only_letters(text, str.upper),
    "number": lambda text, _: re.fullmatch(r"\d+(?:[.,]\d+)*", _bare(text)) is not None,
    "quoted": lambda text, _: len(text) > 2 and text[0] in _QUOTES and text.rstrip(".")[-1] in _QUOTES,
}


def _number(value: object) -> int:
    assert isinstance(value, int)
    return value


def _texts(value: object) -> list[str]:
    assert isinstance(value, list)
    return value
