"""What maps are fitted on: questions asked of many kinds of people in many manners, none of which names a trait.

Maps carry what the text varies in, so it varies along personality; and a map fitted on a trait's own words would only
repeat what was put in. The built-in text is made from the lists beside this file, by a fixed seed; text of one's own
comes as JSON Lines or as a folder. Knows nothing of models.
"""

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import astuple
from importlib.resources import files
from pathlib import Path
from random import Random

import msgspec

from proxy.errors import SetupError
from proxy.steering.traits.trait import Trait
from proxy.steering.transfer.pairs import Document
from proxy.steering.world import TextLists, world_of

N_DOCUMENTS = 1200
MAX_CHARACTERS = 1000  # of a text of one's own that are read as one answer
PASSAGE_QUESTION = "Write a passage of text."  # what text without a question is taken for an answer to
PLAIN = 0.1  # share of the documents without a system prompt
SHORTEST = 4  # letters of a word that is looked for inside others

# Other words for the built-in poles: how they begin.
SYNONYMS: Mapping[str, tuple[str, ...]] = {
    "silly": ("clown", "comed", "comic", "funny", "giggl", "goof", "jest", "joke", "joking", "nonsens", "playful"),
    "serious": ("dignif", "formal", "grave", "sober", "solemn", "stern"),
    "dishonest": ("cheat", "deceit", "deceiv", "decept", "fake", "false", "fraud", "liar", "lie", "lied", "lying"),
    "honest": ("candid", "frank", "sincer", "truth"),
    "superficial": ("careless", "hast", "lazy", "shallow", "skim"),
    "deep": ("depth", "insight", "profound", "thorough", "thoughtful"),
    "inattentive": ("absent-minded", "distract", "forgetful", "scatterbrain"),
    "focused": ("alert", "attentive", "concentrat", "single-minded"),
}
_WORD = re.compile(r"\w+(?:-\w+)*")
_ENDINGS = ("ed", "ful", "ing", "ish", "ive", "al", "e", "y")


class _Line(msgspec.Struct):
    """A line of JSON Lines."""

    question: str = PASSAGE_QUESTION
    system: str | None = None
    answer: str | None = None
    text: str | None = None


def documents(traits: Mapping[str, Trait], world: str | None, seed: int, count: int = N_DOCUMENTS) -> list[Document]:
    """The built-in text, in random order, without what names one of these traits or is asked in one's questions; models
    of a small world get that world's text. SetupError where nothing is left."""
    rng = Random(seed)
    own = world_of(world)
    lists = built_in_lists() if own is None else own.texts()
    names = Names(traits)
    asked = {_plain(text) for trait in traits.values() for text in _questions_of(trait)}
    systems = [text for text in system_prompts(lists) if not names.found(text)]
    questions = [text for text in lists.questions if not names.found(text) and _plain(text) not in asked]
    if not systems or not questions:
        raise SetupError("all text a map could be fitted on names one of the traits")
    rng.shuffle(systems)
    found = [
        Document(None if rng.random() < PLAIN else systems[number % len(systems)], rng.choice(questions))
        for number in range(count)
    ]
    rng.shuffle(found)
    return list(dict.fromkeys(found))


def neutral_documents(traits: Mapping[str, Trait], world: str | None, seed: int, count: int) -> list[Document]:
    """The built-in questions alone, asked of nobody in particular."""
    found = documents(traits, world, seed, count)
    return list(dict.fromkeys(Document(None, document.question) for document in found))


def read_corpus(path: Path, traits: Mapping[str, Trait], seed: int) -> list[Document]:
    """Text of one's own, in random order: a file of JSON Lines, or a folder of them and of *.txt and *.md files.

    A line is an object with `question`, `system` and `answer`, all optional, or with `text`. A paragraph of a text file
    is an answer. SetupError names the file that can't be used, and the text that names a trait.
    """
    paths = sorted(p for p in path.rglob("*") if p.suffix in READERS) if path.is_dir() else [path]
    try:
        found = [document for file in paths for document in READERS.get(file.suffix, _lines)(file)]
    except UnicodeDecodeError as error:
        raise SetupError(f"{path}: is not text in UTF-8: {error}") from error
    except OSError as error:
        raise SetupError(f"{path}: can't be read: {error.strerror}") from error
    if not found:
        raise SetupError(f"{path}: there is no text in it; possible: JSON Lines, or a folder of {', '.join(READERS)}")
    names = Names(traits)
    for document in found:
        names.check(document)
    Random(seed).shuffle(found)
    return list(dict.fromkeys(found))


class Names:
    """Finds words that name one of some traits: its poles and their forms, and what else the built-in ones are called.
    Questions and instructions of traits are made of other words too, and of no interest here."""

    def __init__(self, traits: Mapping[str, Trait]) -> None:
        poles = {pole for trait in traits.values() for pole in (trait.id, trait.positive, trait.negative)}
        parts = {part for pole in poles for part in pole.split("-") if len(part) >= SHORTEST or pole == part}
        inside = [rf"\w*{re.escape(_base(part))}\w*" for part in parts if len(part) >= SHORTEST]
        whole = [re.escape(part) for part in parts if len(part) < SHORTEST]
        begin = [rf"{re.escape(word)}\w*" for pole in poles for word in SYNONYMS.get(pole, ())]
        words = "|".join(sorted({*inside, *whole, *begin}))
        self._pattern = re.compile(rf"\b(?:{words})\b" if words else "(?!)")  # of no traits, nothing

    def found(self, text: str) -> str | None:
        """The first word in a text that names one of the traits; None where none does."""
        match = self._pattern.search(text.lower())
        return match[0] if match else None

    def check(self, document: Document) -> None:
        """SetupError where the document names a trait."""
        for text in (document.system, document.question, document.answer):
            word = self.found(text or "")
            if word is not None:
                raise SetupError(
                    f"the text names a trait: {word!r} in {text[:60] if text else ''!r}; maps are fitted on text that "
                    "does not, or they would only repeat what was put in"
                )


def words_of(found: Iterable[Document]) -> list[str]:
    """Every word that occurs in these documents, for a check against traits that are made later."""
    texts = (text for document in found for text in (document.system, document.question, document.answer) if text)
    return sorted({word for text in texts for word in _WORD.findall(text.lower())})


def digest(found: Iterable[Document]) -> str:
    """A name for these documents in this order that no others have."""
    return hashlib.sha256(msgspec.json.encode([astuple(document) for document in found])).hexdigest()


def system_prompts(lists: TextLists) -> list[str]:
    """Every role asked for in every way, and every style."""
    return [way.format(role=role) for role in lists.roles for way in lists.asking] + lists.styles


def built_in_lists() -> TextLists:
    """The text for models that know the world at large."""
    return msgspec.toml.decode(files(__package__).joinpath("text.toml").read_bytes(), type=TextLists)


def _lines(path: Path) -> Iterator[Document]:
    for number, line in enumerate(path.read_text("utf-8").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            read = msgspec.json.decode(line, type=_Line)
        except msgspec.DecodeError as error:
            raise SetupError(f"{path}, line {number}: {error}") from error
        answer = read.answer if read.text is None else read.text
        yield Document(read.system, read.question, answer and answer.strip()[:MAX_CHARACTERS])


def _paragraphs(path: Path) -> Iterator[Document]:
    for paragraph in re.split(r"\n\s*\n", path.read_text("utf-8")):
        if paragraph.strip():
            yield Document(None, PASSAGE_QUESTION, " ".join(paragraph.split())[:MAX_CHARACTERS])


READERS: Mapping[str, Callable[[Path], Iterator[Document]]] = {
    ".jsonl": _lines,
    ".txt": _paragraphs,
    ".md": _paragraphs,
}


def _base(word: str) -> str:
    """What is common to the forms of a word, as far as leaving off an ending can tell."""
    ending = next((ending for ending in _ENDINGS if word.endswith(ending)), "")
    base = word.removesuffix(ending)
    return base if len(base) >= SHORTEST else word


def _questions_of(trait: Trait) -> Iterator[str]:
    for questions in (trait.questions, *trait.question_sets.values()):
        yield from questions.extract
        yield from questions.evaluate


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())
