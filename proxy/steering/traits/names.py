"""What a trait and its poles may be called, and whether a question gives them away. Pure words: no files, no models."""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Set

from proxy.errors import InvalidRequest
from proxy.steering.traits.trait import SLUG, name_problems

MAX_NAME = 64  # characters; a name is part of file names and of model ids
MAX_POLE_WORDS = 3  # a longer description is no name
RESERVED = ("all", "import", "generate-custom")  # ids that the command line and the API's paths use for something else
# LobeChat shows no model whose id contains one of these, and personas stand in model ids.
HIDDEN = ("ada", "tts", "babbage", "davinci", "curie", "whisper", "moderation", "embedding", "dall-e")

_NEGATIONS = ("un", "dis", "in", "im", "non")
# Endings, longest of a kind first, and how long a root must be that one is taken from.
_ENDINGS = {ending: 3 for ending in ("ness", "ful", "less", "s")} | {
    ending: 4 for ending in ("ally", "ly", "ing", "ed", "er", "est", "ity", "ic", "al", "ous", "y", "i", "e")
}
_COMMON = """
a an and are as at be being but by can could do does ever for from full get give go has have how i in is it its know
less like little make may might more most must my never no not of on one or other over people person quite rather say
should someone tell that the their them they thing things this to too very want way what when where which who whom why
will with without would you your
"""
_COMMON_WORDS = frozenset(_COMMON.split())


def slug(text: str) -> str:
    """A name in the form names have: "Grumpy Cat!" is grumpy-cat; "" where no letter or digit is left."""
    plain = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().casefold()
    return "-".join(re.findall("[a-z0-9]+", plain.replace("'", "")))


def pole_name(description: str, fallback: str) -> str:
    """The persona that a pole's description names: its words where they are few, else `fallback`."""
    name = slug(description)
    return name if len(name.split("-")) <= MAX_POLE_WORDS and SLUG.fullmatch(name) else fallback


def check_names(trait_id: str, positive: str, negative: str) -> None:
    """InvalidRequest for names that a new trait can't have. More is wrong here than in a file a person put there."""
    for problem in name_problems(trait_id, positive, negative):
        raise InvalidRequest(problem, param=problem.partition(" ")[0])
    for field, name in {"id": trait_id, "positive": positive, "negative": negative}.items():
        if len(name) > MAX_NAME:
            raise InvalidRequest(
                f"{field}: {name!r} has {len(name)} characters; possible: up to {MAX_NAME}", param=field
            )
    if trait_id in RESERVED:
        raise InvalidRequest(f"id: {trait_id!r} means something else here; possible: any other name", param="id")
    for field, name in {"positive": positive, "negative": negative}.items():
        hidden = next((part for part in HIDDEN if part in name), None)
        if hidden is not None:
            raise InvalidRequest(
                f"{field}: some chat front-ends hide every model whose id contains {hidden!r}, and personas stand in "
                f"model ids; possible: another name than {name!r}",
                param=field,
            )


def telling_words(*texts: str) -> frozenset[str]:
    """The roots of the words that give a trait away: those of its names and descriptions, less words of every day."""
    return frozenset(_root(word) for word in _words(texts) if word not in _COMMON_WORDS)


def gives_away(text: str, telling: Set[str]) -> bool:
    """Whether a text has a form of one of these words, as "grumpily" is one of "grumpy" and "dishonest" of "honest"."""
    return any(_root(word) in telling for word in _words([text]))


def similar(one: str, other: str) -> bool:
    """Whether two questions are nearly the same: most of their words are."""
    words, others = ({_root(word) for word in _words([text])} for text in (one, other))
    return len(words & others) >= 0.75 * len(words | others)


def _words(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        plain = unicodedata.normalize("NFKD", text).casefold().replace("'", "").replace("’", "")
        yield from re.findall(r"[^\W_]+", plain)


def _root(word: str) -> str:
    """What the forms of a word have in common, roughly: silly, silliness and sillier all come to "sil"."""
    for negation in _NEGATIONS:
        if word.startswith(negation) and len(word) - len(negation) >= 4:
            word = word.removeprefix(negation)
            break
    while ending := next(
        (e for e, least in _ENDINGS.items() if word.endswith(e) and len(word) - len(e) >= least), None
    ):
        word = word.removesuffix(ending)
    return word[:-1] if len(word) > 3 and word[-1] == word[-2] else word
