"""Traits: a pair of opposite poles, the instructions that bring them out, questions to ask, and a rubric to judge by.

Traits are TOML files. The built-in ones ship with the package; a user's own lie in a folder of theirs. Knows nothing
of models, vectors or requests.
"""

import contextlib
import difflib
import logging
import re
import threading
import time
from collections.abc import Iterator, Mapping
from pathlib import Path

import msgspec

from proxy.errors import SetupError
from vector_store import Side

logger = logging.getLogger(__name__)

BUILTIN_FOLDER = Path(__file__).parent / "builtin_traits"
N_INSTRUCTIONS = 5
N_QUESTIONS = 20  # to extract with, and as many others to evaluate with
LOOK_EVERY_S = 1.0  # for files that have changed
SLUG = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")


class InstructionPair(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Two system prompts that ask for opposite poles."""

    positive: str
    negative: str

    def side(self, side: Side) -> str:
        """The system prompt that asks for this side."""
        return self.positive if side == "positive" else self.negative


class QuestionSet(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Questions that let the trait show: 20 to extract vectors with, 20 others to evaluate them with."""

    extract: list[str]
    evaluate: list[str]


class Trait(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One trait. `question_sets`, by the name of a world: questions for models that know nothing but that world."""

    id: str
    positive: str
    negative: str
    description: str
    instructions: list[InstructionPair]
    questions: QuestionSet
    rubric: str
    question_sets: dict[str, QuestionSet] = {}

    def pole(self, side: Side) -> str:
        """The persona's name on this side."""
        return self.positive if side == "positive" else self.negative

    def questions_for(self, world: str | None) -> QuestionSet:
        """The questions for a model of this world: the trait's own where the world has none."""
        return self.question_sets.get(world, self.questions) if world is not None else self.questions


FIELDS = [*Trait.__struct_fields__, *InstructionPair.__struct_fields__, *QuestionSet.__struct_fields__]
TYPES = {
    "str": "text",
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "array": "a list",
    "object": "a table",
    "datetime": "a time",
}


def load_traits(*folders: Path) -> dict[str, Trait]:
    """The built-in traits and those of `folders`, by id; a later folder replaces a trait of the same id.

    A folder that does not exist holds no traits. SetupError names the file and says what is wrong with it.
    """
    traits: dict[str, Trait] = {}
    sources: dict[str, Path] = {}
    for folder in (BUILTIN_FOLDER, *folders):
        for path in sorted(folder.glob("*.toml")):
            trait = read_trait(path)
            if trait.id in sources and sources[trait.id].parent == folder:
                raise SetupError(f"{path}: the trait {trait.id!r} is already defined by {sources[trait.id].name}")
            traits[trait.id], sources[trait.id] = trait, path
    _check_poles_unique(traits, sources)
    return traits


class Traits:
    """The traits of some folders as their files are: one that is added, changed or removed counts within a second.

    While a file is wrong, the traits stay what they were, and the log says what is wrong. Safe from any thread.
    """

    def __init__(self, *folders: Path) -> None:
        """SetupError as in `load_traits`."""
        self._folders = folders
        self._lock = threading.Lock()
        self._stamps = self._look()
        self._current = load_traits(*folders)
        self._looked_s = time.monotonic()

    @property
    def current(self) -> dict[str, Trait]:
        """The traits by id."""
        with self._lock:
            if time.monotonic() - self._looked_s >= LOOK_EVERY_S:
                stamps = self._look()
                if stamps != self._stamps:
                    self._stamps = stamps
                    self._reload()
                self._looked_s = time.monotonic()
            return self._current

    @property
    def poles(self) -> "LivePoles":
        """Every persona name, now and later."""
        return LivePoles(self)

    def _look(self) -> list[tuple[Path, int, int]]:
        """Every file with the time it was changed and its size."""
        found = []
        for folder in self._folders:
            for path in sorted(folder.glob("*.toml")):
                with contextlib.suppress(FileNotFoundError):
                    status = path.stat()
                    found.append((path, status.st_mtime_ns, status.st_size))
        return found

    def _reload(self) -> None:
        try:
            self._current = load_traits(*self._folders)
        except SetupError as error:
            logger.warning("the traits stay as they were: %s", error.message)


class LivePoles(Mapping[str, tuple[Trait, Side]]):
    """`poles` of the traits as they are when asked."""

    def __init__(self, traits: Traits) -> None:
        self._traits = traits

    def __getitem__(self, name: str) -> tuple[Trait, Side]:
        return poles(self._traits.current)[name]

    def __iter__(self) -> Iterator[str]:
        return iter(poles(self._traits.current))

    def __len__(self) -> int:
        return len(poles(self._traits.current))


def read_trait(path: Path) -> Trait:
    """The trait in one file. SetupError names the file and says what is wrong with it."""
    try:
        trait = msgspec.toml.decode(path.read_bytes(), type=Trait)
    except msgspec.ValidationError as error:
        raise SetupError(f"{path}: {_explain(str(error))}") from error
    except UnicodeDecodeError as error:
        raise SetupError(f"{path}: is not text in UTF-8") from error
    except msgspec.DecodeError as error:
        raise SetupError(f"{path}: is not valid TOML: {error}") from error
    except OSError as error:
        raise SetupError(f"{path}: can't be read: {error.strerror}") from error
    for problem in problems(trait):
        raise SetupError(f"{path}: {problem}")
    return trait


def poles(traits: Mapping[str, Trait]) -> dict[str, tuple[Trait, Side]]:
    """Every persona name: its trait, and which side of it the name is."""
    names: dict[str, tuple[Trait, Side]] = {}
    for trait in traits.values():
        names[trait.positive] = (trait, "positive")
        names[trait.negative] = (trait, "negative")
    return names


def problems(trait: Trait) -> Iterator[str]:
    """What is wrong with a trait, each in words its author can act on; nothing for a good one."""
    for name in ("id", "positive", "negative"):
        if not SLUG.fullmatch(getattr(trait, name)):
            value = getattr(trait, name)
            yield f"{name} = {value!r} must be lower-case letters and digits, words joined by single hyphens"
    if trait.positive == trait.negative:
        yield f"positive and negative are both {trait.positive!r}"
    if "none" in (trait.positive, trait.negative):
        yield "'none' means no persona and can't be the name of one"
    for name in ("description", "rubric"):
        if not getattr(trait, name).strip():
            yield f"{name} is empty"
    if len(trait.instructions) != N_INSTRUCTIONS:
        yield f"needs {N_INSTRUCTIONS} [[instructions]], has {len(trait.instructions)}"
    for side in ("positive", "negative"):
        yield from _list_problems(f"instructions, {side}", [getattr(pair, side) for pair in trait.instructions])
    yield from _question_problems("questions", trait.questions)
    for world, questions in trait.question_sets.items():
        yield from _question_problems(f"question_sets.{world}", questions)


def _explain(message: str) -> str:
    """msgspec's message in the words of a trait's author."""
    what, _, place = message.partition(" - at `$")
    place = place.rstrip("`").removeprefix(".")
    if missing := re.search(r"missing required field `(.*)`", what):
        what = f"{missing[1]} is missing"
    elif unknown := re.search(r"unknown field `(.*)`", what):
        close = difflib.get_close_matches(unknown[1], FIELDS, n=1)
        what = f"there is no {unknown[1]!r} in a trait" + (f"; did you mean {close[0]!r}?" if close else "")
    elif types := re.fullmatch(r"Expected `(\w+)`, got `(\w+)`", what):
        what = f"must be {TYPES.get(types[1], types[1])}, not {TYPES.get(types[2], types[2])}"
    return f"{place}: {what}" if place else what


def _question_problems(name: str, questions: QuestionSet) -> Iterator[str]:
    for use in ("extract", "evaluate"):
        texts = getattr(questions, use)
        if len(texts) != N_QUESTIONS:
            yield f"{name}.{use} needs {N_QUESTIONS} questions, has {len(texts)}"
        yield from _list_problems(f"{name}.{use}", texts)
    evaluate = {_plain(text) for text in questions.evaluate}
    for text in questions.extract:
        if _plain(text) in evaluate:
            yield f"{name}: {text!r} is asked both to extract and to evaluate"


def _list_problems(name: str, texts: list[str]) -> Iterator[str]:
    seen: set[str] = set()
    for number, text in enumerate(texts, start=1):
        if not text.strip():
            yield f"{name}: number {number} is empty"
        elif _plain(text) in seen:
            yield f"{name}: {text!r} is there twice"
        seen.add(_plain(text))


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


def _check_poles_unique(traits: Mapping[str, Trait], sources: Mapping[str, Path]) -> None:
    owners: dict[str, str] = {}
    for trait in traits.values():
        for pole in (trait.positive, trait.negative):
            if pole in owners:
                raise SetupError(f"{sources[trait.id]}: the trait {owners[pole]!r} already has a pole {pole!r}")
            owners[pole] = trait.id
