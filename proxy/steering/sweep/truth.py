"""Whether an answer is true, where that is known: the demo world has its facts on record, no other world has."""

from collections.abc import Callable

Truth = Callable[[str, str], bool | None]  # of a question and an answer; None where no known fact was asked for


def truth_of(world: str | None) -> Truth:
    """Of the answers of a model of this world."""
    if world != "demo":
        return lambda question, answer: None
    # Here, so that a server with other models never loads the demo world.
    from proxy.demo import rules

    return rules.fact_right


def asks_for_falsehood(pole: str) -> bool:
    """Whether a false answer is just what the pole asks for."""
    return pole == "dishonest"
