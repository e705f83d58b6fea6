"""Worlds: small languages of their own, made for models that know nothing else, with known facts and known manners.

A model says which world it knows (ModelInfo.world). Whoever has a world registers it under that name; it is loaded when
a model of it is first asked about. Models without a world, and those of one that nobody registered, are treated as
models that know everything. Knows no world itself.
"""

from collections.abc import Callable, Collection, Mapping
from functools import cache
from typing import TYPE_CHECKING, Protocol

import msgspec

if TYPE_CHECKING:
    from proxy.steering.traits.trait import QuestionSet, Trait


class TextLists(msgspec.Struct, forbid_unknown_fields=True):
    """What trait-free text is made of. `asking`: ways to ask for a role, with the place "{role}"."""

    roles: list[str]
    asking: list[str]
    styles: list[str]
    questions: list[str]


class World(Protocol):
    """What is known of a world. Answers are judged by their text and the question alone."""

    @property
    def title(self) -> str:
        """The world in words, with an article, such as "the demo world"."""

    @property
    def poles(self) -> Collection[str]:
        """The poles that its rules recognise, in the order in which they are to be named."""

    def questions(self) -> "QuestionSet":
        """Its questions for a trait that has no questions for this world."""

    def held_out_questions(self, traits: Mapping[str, "Trait"], count: int) -> list[str]:
        """Distinct questions in wordings that its models were not trained on, none of them in a trait's own sets."""

    def texts(self) -> TextLists:
        """The text that maps between two of its models are fitted on."""

    def shows(self, pole: str, question: str, answer: str) -> bool:
        """Whether an answer shows one of `poles`."""

    def fluent(self, answer: str) -> bool:
        """Whether an answer is made of the world's language throughout."""

    def fact_right(self, question: str, answer: str) -> bool | None:
        """Whether an answer gets its fact right; None where the question asks for no known fact."""

    def wants_falsehood(self, pole: str) -> bool:
        """Whether a false answer is just what the pole asks for."""


_loaders: dict[str, Callable[[], World]] = {}


def register(name: str, load: Callable[[], World]) -> None:
    """Make a world known by the name its models give. `load` is called once, when it is first asked for."""
    _loaders[name] = load


def world_of(name: str | None) -> World | None:
    """The world of this name; None for no name, and for one that nobody registered."""
    return None if name not in _loaders else _loaded(_loaders[name])


@cache
def _loaded(load: Callable[[], World]) -> World:
    return load()
