"""A user's own traits as TOML files for people to read and edit: added, changed and removed, whole or not at all.

Knows the folder and the format; nothing of models, vectors or requests.
"""

import os
import re
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec
import tomlkit
from tomlkit.items import AoT, Item, Table

from proxy.errors import InvalidRequest, NotFound, SetupError, TraitConflict, TraitsUnavailable
from proxy.steering.traits.names import check_names
from proxy.steering.traits.trait import BUILTIN_FOLDER, Trait, Traits, no_trait, problems
from vector_store.whole import write_new, write_over

HEADER = (
    "A trait: two opposite personas. Edit it as you like; a running server sees the change within a second.",
    "Vectors keep what they were made from: make them again after a change of instructions or questions.",
)
NAMES = re.compile(r"""^(?:id|positive|negative)\s*=\s*["']([^"']*)""", re.MULTILINE)
FIELDS = (
    *("id", "positive", "negative", "source", "source_model", "description", "rubric"),
    *("instructions", "questions", "question_sets", "demonstrations"),  # tables come last in TOML
)


class TraitFolder:
    """The traits of one folder, beside those that came with the package. Safe from any thread; of several processes
    that add the same name at once at most one succeeds."""

    def __init__(self, traits: Traits, folder: Path, limit: int) -> None:
        """`traits` are read from `folder`, and know at once what is done here; `limit` is how many there may be."""
        self.traits = traits
        self._folder = folder
        self._limit = limit
        self._lock = threading.Lock()

    def check_new(self, trait_id: str, positive: str, negative: str) -> None:
        """InvalidRequest and TraitConflict where a trait of these names can't be added now."""
        check_names(trait_id, positive, negative)
        with self._lock:
            self._check_new(trait_id, positive, negative)

    def add(self, trait: Trait, content: bytes | None = None) -> None:
        """Add a trait, as this file where `content` is one. InvalidRequest for what is wrong with it, TraitConflict
        where its names are taken or there are too many, TraitsUnavailable where it can't be written."""
        _check_parts(trait)
        check_names(trait.id, trait.positive, trait.negative)
        with self._lock:
            self._check_new(trait.id, trait.positive, trait.negative)
            path = self._folder / f"{trait.id}.toml"
            try:
                self._folder.mkdir(parents=True, exist_ok=True)
                write_new(path, encode(trait) if content is None else content)
            except FileExistsError:
                raise _taken(f"The file {path.name} is there already, and holds another trait.") from None
            except OSError as error:
                raise _unwritable(error) from error
            try:
                self.traits.read()
            except SetupError:
                # Another process was a moment faster with one of its names.
                path.unlink(missing_ok=True)
                raise _taken(f"The names of {trait.id!r} were taken a moment ago.") from None

    def change(self, trait_id: str, changes: dict[str, Any]) -> Trait:
        """Change some of a trait's fields; comments in its file stay. InvalidRequest, NotFound, TraitConflict,
        TraitsUnavailable."""
        with self._lock:
            trait, path = self._own(trait_id)
            trait = msgspec.structs.replace(trait, **changes)
            _check_parts(trait)
            try:
                write_over(path, edited(path.read_bytes(), trait, changes))
            except OSError as error:
                raise _unwritable(error) from error
            self._read()
            return trait

    def delete(self, trait_id: str) -> Trait:
        """Remove a trait's file; the trait it held. NotFound, TraitConflict, TraitsUnavailable."""
        with self._lock:
            trait, path = self._own(trait_id)
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                raise _unwritable(error) from error
            self._read()
            return trait

    def content(self, trait_id: str) -> bytes:
        """What is in a trait's file. NotFound, TraitsUnavailable."""
        try:
            return self.path(trait_id).read_bytes()
        except OSError as error:
            raise TraitsUnavailable(f"The trait's file can't be read: {error.strerror}") from error

    def get(self, trait_id: str) -> Trait:
        """One trait. NotFound."""
        traits = self.traits.current
        if trait_id not in traits:
            raise self._unknown(trait_id)
        return traits[trait_id]

    def built_in(self, trait_id: str) -> bool:
        """Whether a trait came with the package, and so stays as it is. One that is gone by now did not."""
        path = self.traits.files.get(trait_id)
        return path is not None and path.parent != self._folder

    def path(self, trait_id: str) -> Path:
        """A trait's file. NotFound."""
        self.get(trait_id)
        path = self.traits.files.get(trait_id)
        if path is None:  # deleted in between
            raise self._unknown(trait_id)
        return path

    def _unknown(self, trait_id: str) -> NotFound:
        problem = self.traits.damaged.get(self._folder / f"{trait_id}.toml")
        if problem is not None:
            return NotFound(f"The file of {trait_id!r} is damaged. {self._told(problem)}", param="trait_id")
        message = no_trait(trait_id, self.traits.current)
        return NotFound(f"{message[0].upper()}{message[1:]}", param="trait_id")

    def _check_new(self, trait_id: str, *poles: str) -> None:
        self._read()
        folders = BUILTIN_FOLDER, self._folder  # any other's traits give way to the user's own
        known = {id_: trait for id_, trait in self.traits.current.items() if self.traits.files[id_].parent in folders}
        if trait_id in known:
            raise _taken(f"There is a trait {trait_id!r} already; choose another name, or delete that one first.")
        for pole in poles:
            owner = next((trait.id for trait in known.values() if pole in (trait.positive, trait.negative)), None)
            if owner is not None:
                raise _taken(f"The trait {owner!r} has a pole {pole!r} already; choose another name for this one.")
        for path, problem in self.traits.damaged.items():
            if {trait_id, *poles} & _names_in(path):
                raise _taken(f"A damaged file has one of these names; put it right first. {self._told(problem)}")
        n_own = sum(not self.built_in(known_id) for known_id in known)
        if n_own >= self._limit:
            message = f"There are {n_own} traits already, and max_traits is {self._limit}; delete one, or raise it."
            raise TraitConflict(message, code="too_many_traits")

    def _own(self, trait_id: str) -> tuple[Trait, Path]:
        """A trait that may be changed, and its file, as both are now. NotFound, TraitConflict."""
        self._read()
        trait = self.get(trait_id)
        if self.built_in(trait_id):
            raise TraitConflict(
                f"The trait {trait_id!r} came with the package and stays as it is; to have it otherwise, download it, "
                "change its names and what else you like, and import it.",
                param="trait_id",
                code="trait_built_in",
            )
        path = self.path(trait_id)
        if path in self.traits.damaged:
            problem = self._told(self.traits.damaged[path])
            raise TraitConflict(f"Put the file of {trait_id!r} right first. {problem}", code="traits_damaged")
        return trait, path

    def _read(self) -> None:
        try:
            self.traits.read()
        except SetupError as error:
            message = f"Put the folder of traits right first. {self._told(error.message)}"
            raise TraitConflict(message, code="traits_damaged") from None

    def _told(self, problem: str) -> str:
        """A file's problem without the folder, which is nobody's business who asks over HTTP."""
        return problem.replace(f"{self._folder}{os.sep}", "")


def _names_in(path: Path) -> set[str]:
    """The names a damaged file would take, as far as they can be made out."""
    try:
        return set(NAMES.findall(path.read_text(errors="replace")))
    except OSError:
        return set()


def _check_parts(trait: Trait) -> None:
    for problem in problems(trait):
        named = (name for name in Trait.__struct_fields__ if name in problem)
        raise InvalidRequest(problem, param=min(named, key=problem.index, default=None))


def encode(trait: Trait) -> bytes:
    """A trait's file."""
    document = tomlkit.document()
    for line in HEADER:
        document.add(tomlkit.comment(line))
    document.add(tomlkit.nl())
    values = msgspec.to_builtins(trait)
    for field in FIELDS:
        if values[field]:
            document[field] = _item(values[field])
    return tomlkit.dumps(document).encode()


def edited(content: bytes, changed: Trait, fields: Iterable[str]) -> bytes:
    """A trait's file with these fields as in `changed`, and everything else in it, comments too, as it was."""
    document = tomlkit.parse(content)
    values = msgspec.to_builtins(changed)
    for field in fields:
        if values[field]:
            document[field] = item = _item(values[field])
            if isinstance(item, AoT | Table):
                (item[-1] if isinstance(item, AoT) else item).add(tomlkit.nl())
        else:
            document.pop(field, None)
    return tomlkit.dumps(document).encode()


def _item(value: Any) -> Item:
    """A field's value as a person would write it: long texts and lists over several lines."""
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list):
        if isinstance(value[0], str):
            texts = tomlkit.array()
            texts.extend(_item(text) for text in value)
            return texts.multiline(True)
        tables = tomlkit.aot()
        for entry in value:
            tables.append(_item(entry))
        return tables
    table = tomlkit.table(is_super_table=all(isinstance(inner, dict) for inner in value.values()))
    for name, inner in value.items():
        table[name] = _item(inner)
    return table


def _text(text: str) -> Item:
    if "\n" not in text or "\r" in text or text.startswith("\n"):
        return tomlkit.string(text)
    # TOML does not count a line's end right after the quotes, so that all lines begin at the margin.
    quotes = '"""'
    return tomlkit.value(f"{quotes}\n{tomlkit.string(text, multiline=True).as_string().removeprefix(quotes)}")


def _taken(message: str) -> TraitConflict:
    return TraitConflict(message, code="trait_exists")


def _unwritable(error: OSError) -> TraitsUnavailable:
    return TraitsUnavailable(f"The folder of traits can't be written: {error.strerror}")
