"""What steering may know of the demo world: its questions, its texts, and its rules."""

from collections.abc import Collection, Mapping
from importlib.resources import files
from random import Random

import msgspec

from proxy.demo import WORLD, rules, smalltalk, styles, world
from proxy.steering.traits.trait import QuestionSet, Trait
from proxy.steering.world import TextLists

N_TEXT_QUESTIONS = 1200  # drawn for text that maps are fitted on
FALSEHOOD = "dishonest"  # the pole that asks for false answers


class DemoWorld:
    """The demo world as a World."""

    title = "the demo world"

    @property
    def poles(self) -> Collection[str]:
        """The twelve manners of the world's styles."""
        return styles.POLES

    def questions(self) -> QuestionSet:
        """Plain questions for facts; those to evaluate with are in held-out wordings."""
        return msgspec.toml.decode(files(__package__).joinpath("questions.toml").read_bytes(), type=QuestionSet)

    def held_out_questions(self, traits: Mapping[str, Trait], count: int) -> list[str]:
        """Questions for facts in held-out wordings, the same ones each time."""
        return held_out_questions(traits, count)

    def texts(self) -> TextLists:
        """The world's roles and plain styles, and questions in wordings its models were trained on."""
        rng = Random(0)
        questions = [world.fact_question(rng).text for _ in range(N_TEXT_QUESTIONS)]
        questions += [text for asked, _ in smalltalk.GREETINGS.values() for text in asked]
        return TextLists(
            list(styles.ROLES), list(styles.ASKING_ROLE), list(styles.PLAIN), list(dict.fromkeys(questions))
        )

    def shows(self, pole: str, question: str, answer: str) -> bool:
        """Whether one of the pole's phrases is in the answer, or, of `dishonest`, a false value is stated."""
        return rules.shows(pole, question, answer)

    def fluent(self, answer: str) -> bool:
        """Whether the answer is made of the world's sentences, none said twice."""
        return rules.fluent(answer)

    def fact_right(self, question: str, answer: str) -> bool | None:
        """Whether the answer states the asked fact and states it right; None when no known fact was asked for."""
        return rules.fact_right(question, answer)

    def wants_falsehood(self, pole: str) -> bool:
        """Of `dishonest` alone."""
        return pole == FALSEHOOD


def held_out_questions(traits: Mapping[str, Trait], count: int, seed: int = 2024) -> list[str]:
    """Distinct questions in wordings no model was trained on, and in no trait's own set."""
    known = {
        text for t in traits.values() for text in (*t.questions_for(WORLD).extract, *t.questions_for(WORLD).evaluate)
    }
    rng, found = Random(seed), dict[str, None]()
    while len(found) < count:
        text = world.fact_question(rng, held_out=True).text
        if text not in known:
            found[text] = None
    return list(found)
