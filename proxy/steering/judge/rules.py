"""A world's own rules as a judge."""

from collections.abc import Sequence

from proxy.errors import SetupError
from proxy.steering.judge.base import Answer, Score
from proxy.steering.world import World


class RulesJudge:
    """A world's rules: an answer shows a pole or not, and makes sense or not.

    A coherent answer is fluent and gets its fact right; where a false fact is what the pole asks for, it does not count
    against the answer.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self.name = f"{world.title}'s rules"

    def score(self, answers: Sequence[Answer]) -> list[Score | None]:
        """One score of 0 or 100 each for each answer, in order. SetupError for a pole that the world does not know."""
        return [self._score(answer) for answer in answers]

    def _score(self, answer: Answer) -> Score:
        pole, world = answer.trait.pole(answer.side), self._world
        if pole not in world.poles:
            known = ", ".join(world.poles)
            raise SetupError(f"{world.title} has no rule that recognises {pole!r}; it knows {known}")
        shown = world.shows(pole, answer.question, answer.text)
        right = world.wants_falsehood(pole) or world.fact_right(answer.question, answer.text) is not False
        return Score(100.0 * shown, 100.0 * (right and world.fluent(answer.text)))
