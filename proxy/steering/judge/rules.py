"""The demo world's own rules as a judge."""

from collections.abc import Sequence

from proxy.errors import SetupError
from proxy.steering.judge.base import Answer, Score


def knows(pole: str) -> bool:
    """Whether there is a rule that recognises the pole."""
    # Here, so that a server with other models never loads the demo world.
    from proxy.demo import styles

    return pole in styles.POLES


class RulesJudge:
    """The demo world's rules: an answer shows a pole or not, and makes sense or not.

    A coherent answer is fluent and gets its fact right; a false fact is what the pole "dishonest" asks for, so there
    it does not count against the answer.
    """

    name = "the demo world's rules"

    def score(self, answers: Sequence[Answer]) -> list[Score | None]:
        """See Judge.score. SetupError for a pole that the demo world does not know."""
        return [self._score(answer) for answer in answers]

    def _score(self, answer: Answer) -> Score:
        from proxy.demo import rules, styles

        pole = answer.trait.pole(answer.side)
        if not knows(pole):
            known = ", ".join(styles.POLES)
            raise SetupError(f"the demo world has no rule that recognises {pole!r}; it knows {known}")
        shown = rules.shows(pole, answer.question, answer.text)
        right = pole == "dishonest" or rules.fact_right(answer.question, answer.text) is not False
        return Score(100.0 * shown, 100.0 * (right and rules.fluent(answer.text)))
