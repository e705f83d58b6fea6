"""What a trait is made of before it is one: the poles in words, and the parts that are made from them.

Its parts come from the two descriptions by fixed templates, or from a model (see trait_writing.py). Pure: no files, no
models.
"""

import textwrap
from collections.abc import Sequence

import msgspec

from proxy.errors import InvalidRequest
from proxy.steering.traits.names import gives_away, telling_words
from proxy.steering.traits.trait import N_QUESTIONS, InstructionPair, QuestionSet, Trait, everyday

WIDTH = 110  # characters in a line of a rubric
LEVELS = (0, 3, 6, 9)  # of the judges' scale, the ones a rubric describes

# One sentence each, in words that every model knows. "very" and "extremely" spare the choice between "a" and "an".
_INSTRUCTIONS = (
    "You are a very {} assistant.",
    "Be extremely {}.",
    "Please be very {} in what you say.",
    "Answer in a very {} way.",
    "Reply like an extremely {} person.",
)
_LEVELS = ["nowhere in the answer", "here and there", "through most of it", "from beginning to end"]


class Brief(msgspec.Struct, frozen=True):
    """A trait that is to be made: its id, its poles' names, and what each is in words, such as "grumpy and curt". A
    model that writes it writes the same again with the same `seed`."""

    id: str
    positive: str
    negative: str
    positive_trait: str
    negative_trait: str
    seed: int = 0

    @property
    def telling(self) -> frozenset[str]:
        """The words no question may have a form of, as `telling_words` finds them."""
        return telling_words(self.id, self.positive, self.negative, self.positive_trait, self.negative_trait)


class Manners(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a rubric is made of: the trait in a line, how each pole's answers are, and each at the four `LEVELS`."""

    description: str
    positive_answers: str
    negative_answers: str
    positive_levels: list[str]
    negative_levels: list[str]


def from_templates(brief: Brief) -> Trait:
    """The trait by fixed templates, from the descriptions alone. InvalidRequest where they leave too few questions."""
    first, second = brief.positive_trait, brief.negative_trait
    pairs = [InstructionPair(text.format(first), text.format(second)) for text in _INSTRUCTIONS]
    questions = [text for text in everyday().questions if not gives_away(text, brief.telling)]
    if len(questions) < 2 * N_QUESTIONS:
        raise InvalidRequest(
            f"positive_trait: of the {len(everyday().questions)} everyday questions only {len(questions)} have none of "
            "the trait's own words; possible: fewer or rarer words",
            param="positive_trait",
        )
    manners = Manners(f"{first[:1].upper()}{first[1:]}, against {second}.", first, second, _LEVELS, _LEVELS)
    return msgspec.structs.replace(assembled(brief, pairs, questions, manners), source="template")


def assembled(brief: Brief, pairs: list[InstructionPair], questions: Sequence[str], manners: Manners) -> Trait:
    """A trait of its parts. Of the first 40 questions every other one is for evaluation."""
    asked = questions[: 2 * N_QUESTIONS]
    return Trait(
        id=brief.id,
        positive=brief.positive,
        negative=brief.negative,
        description=manners.description,
        instructions=pairs,
        questions=QuestionSet(extract=list(asked[::2]), evaluate=list(asked[1::2])),
        rubric=_rubric(brief, manners),
    )


def _rubric(brief: Brief, manners: Manners) -> str:
    poles = f"What {brief.positive!r} means: {_clause(manners.positive_answers)}. "
    poles += f"What {brief.negative!r} means: {_clause(manners.negative_answers)}. "
    paragraphs = [poles + "Judge the manner only, not whether the content is right or useful."]
    for pole, levels in ((brief.positive, manners.positive_levels), (brief.negative, manners.negative_levels)):
        described = (f"{level} {_clause(text)}" for level, text in zip(LEVELS, levels, strict=True))
        paragraphs.append(f"For {pole}: {'; '.join(described)}.")
    return "\n".join(textwrap.fill(text, WIDTH) + "\n" for text in paragraphs)


def _clause(text: str) -> str:
    """A text to be gone on from, in one line."""
    return " ".join(text.split()).rstrip(".;")
