"""Many texts through a context of their own, to read from them: a small batch at a time, and long ones in pieces.

Knows nothing of what is read.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from proxy.engines.base import FloatArray, Intervention
from proxy.engines.llama_cpp.context import Context, StepToken
from proxy.engines.llama_cpp.graph import BlockRead, StepSteering, Take, TokenSlot
from proxy.engines.llama_cpp.model import LlamaModel

TOKENS_A_STEP = 512
TEXTS_A_STEP = 32
LOGITS_A_STEP = 2**25  # numbers, 128 MiB of them


@dataclass(frozen=True)
class Text:
    """A text to read: `member` tells whose it is; something is read at its tokens from `wanted` on, at one at least.
    `steering`, where there is any, is what is done to each token."""

    member: int
    tokens: Sequence[int]
    wanted: int
    steering: Sequence[Sequence[Intervention]] = ()


@dataclass(frozen=True)
class TextSlice:
    """Tokens of a text that are read in one step: those from `start` on, before `end`."""

    text: Text
    start: int
    end: int

    @property
    def wanted(self) -> range:
        """The positions in the text at which something is read."""
        return range(min(max(self.text.wanted, self.start), self.end), self.end)

    @property
    def last(self) -> bool:
        """Whether the text ends with it."""
        return self.end == len(self.text.tokens)


Step = list[TextSlice]  # the pieces of one run of the model, each of another text


class TextReader:
    """Runs texts through a model, beside its answers. Make one for a task and let go of it afterwards: it holds as much
    memory as the task's largest batch needs."""

    def __init__(self, model: LlamaModel, texts: Sequence[Text]) -> None:
        """SetupError where there is no memory for it."""
        self._model = model
        most_wanted = min(max(LOGITS_A_STEP // model.n_tokens, 1), TOKENS_A_STEP)
        self.steps = list(_steps(texts, most_wanted))
        n_cells = max((sum(piece.end for piece in step) for step in self.steps), default=1)
        self._context = Context(model, n_cells, min(TEXTS_A_STEP, most_wanted), TOKENS_A_STEP, most_wanted)

    def run(self, step: Step, blocks: Sequence[int] = (), take: Take | None = None) -> FloatArray:
        """The next of the steps: the logits float32[n_wanted, vocabulary] of the wanted tokens, piece by piece. With
        `take`, that is told the residuals of these at the output of each of the blocks instead, and the logits mean
        nothing."""
        if step[0].start == 0:
            self._context.clear()
        tokens: list[StepToken] = []
        places: list[TokenSlot] = []
        steered: list[tuple[TokenSlot, Sequence[Intervention]]] = []
        for sequence, piece in enumerate(step):
            for position in range(piece.start, piece.end):
                wanted = position in piece.wanted
                place = TokenSlot(len(tokens), len(places) if wanted else None)
                tokens.append(StepToken(piece.text.tokens[position], position, sequence, wanted))
                if wanted:
                    places.append(place)
                if piece.text.steering and piece.text.steering[position]:
                    steered.append((place, piece.text.steering[position]))
        trimmed = self._model.trimmed_block
        steering = StepSteering(steered, self._model.hidden_size, trimmed) if steered else None
        reading = BlockRead(places, blocks, take, trimmed) if take is not None and places and blocks else None
        return self._context.run(tokens, steering, reading)


def _steps(texts: Sequence[Text], most_wanted: int) -> Iterator[Step]:
    """Every token of every text once, in order; the shortest texts first, as many in a step as fit into it, and one
    that does not alone in several."""
    group: Step = []
    for text in sorted(texts, key=lambda text: len(text.tokens)):
        whole = TextSlice(text, 0, len(text.tokens))
        if group and not _fit([*group, whole], most_wanted):
            yield group
            group = []
        if _fit([whole], most_wanted):
            group.append(whole)
            continue
        start = 0
        while start < whole.end:
            end = min(start + TOKENS_A_STEP, max(start, text.wanted) + most_wanted, whole.end)
            yield [TextSlice(text, start, end)]
            start = end
    if group:
        yield group


def _fit(step: Step, most_wanted: int) -> bool:
    return (
        len(step) <= TEXTS_A_STEP
        and sum(piece.end - piece.start for piece in step) <= TOKENS_A_STEP
        and sum(len(piece.wanted) for piece in step) <= most_wanted
    )
