"""The seats of a batch: what each sequence of the context holds, and whose answer it is for.

Knows nothing of steps or of memory.
"""

from collections.abc import Sequence

from proxy.engines.answer import RunningAnswer
from proxy.engines.base import Intervention
from proxy.engines.llama_cpp.sampling import Sampler


class SeatedAnswer:
    """An answer with its text so far: prompt and what was generated."""

    def __init__(self, answer: RunningAnswer) -> None:
        self.answer = answer
        self.text = list(answer.prompt)
        self.sampler: Sampler | None = None
        self.ends: list[int] = []  # where its prompt is to be cut, if it runs alone and is repeatable


class Seat:
    """A sequence of the context, by its number, and the job it is for. When that has ended, its tokens stay until the
    seat is needed: a later prompt may begin with them."""

    def __init__(self, number: int) -> None:
        self.number = number
        self.job: SeatedAnswer | None = None
        self.tokens: list[int] = []  # what the context holds
        self.key = ""  # what was done to those of them that others may use
        self.settled = 0  # how many of the first are as reading their text alone leaves them, to the last bit
        self.passing = False  # whether its text is of no use to others later
        self.since = 0  # when it was last taken, left or of use

    @property
    def shareable(self) -> int:
        """How many of the first tokens are as `key` says."""
        # The last token of a prompt is the first that its own plan may have changed.
        return len(self.tokens) if self.job is None else min(len(self.tokens), len(self.job.answer.prompt) - 1)

    @property
    def pending(self) -> list[int]:
        """What is still to be read."""
        return [] if self.job is None else self.job.text[len(self.tokens) :]


def length_alike(answer: RunningAnswer, n_tokens: int) -> int:
    """How many of an answer's first tokens were treated as most of its prompt's were."""
    everywhere = [item for item in answer.generation.plan.interventions if item.positions == "all"]
    length = min(n_tokens, len(answer.prompt) - 1)
    while length < n_tokens and _identical(answer.steering_at(length), everywhere):
        length += 1
    return length


def _identical(first: Sequence[Intervention], second: Sequence[Intervention]) -> bool:
    return len(first) == len(second) and all(a is b for a, b in zip(first, second, strict=True))
