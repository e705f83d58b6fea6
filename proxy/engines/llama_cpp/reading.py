"""Many texts through a context of their own, to read from them: a small batch at a time, and long ones in pieces.

Texts that begin alike, such as answers to one question or behind one system prompt, have their common beginning read
once. Knows nothing of what is read.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from proxy.engines.base import FloatArray, Intervention
from proxy.engines.llama_cpp.context import Context, StepToken
from proxy.engines.llama_cpp.graph import BlockRead, StepSteering, Take, TokenSlot
from proxy.engines.llama_cpp.model import LlamaModel
from proxy.engines.llama_cpp.shelf import common_length

TOKENS_A_STEP = 512
TEXTS_A_STEP = 32
LOGITS_A_STEP = 2**25  # numbers, 128 MiB of them
LEAST_SHARED = 8  # tokens: a shorter beginning is not worth a step of its own


@dataclass(frozen=True)
class Text:
    """A text to read: `member` tells whose it is; something is read at its tokens from `wanted` on, at one at least.
    `steering`, where there is any, is what is done to each token. `shared`: how many of the first tokens are read once
    for all that have them."""

    member: int
    tokens: Sequence[int]
    wanted: int
    steering: Sequence[Sequence[Intervention]] = ()
    shared: int = 0

    @cached_property
    def plain(self) -> tuple[int, ...]:
        """The first tokens, as far as nothing is read at them and nothing done to them."""
        steered = next((at for at, done in enumerate(self.steering) if done), len(self.tokens))
        return tuple(self.tokens[: min(self.wanted, steered)])

    @cached_property
    def beginning(self) -> tuple[int, ...]:
        """The tokens that are shared."""
        return self.plain[: self.shared]


@dataclass(frozen=True)
class TextSlice:
    """Tokens of a text that are read in one step: those from `start` on, before `end`, into `sequence` of the context.
    What comes before them that sequence holds already, or it is taken from `source`."""

    text: Text
    start: int
    end: int
    sequence: int = 0
    source: int | None = None

    @property
    def n_cells(self) -> int:
        """How much memory the text takes up to here; what is taken from elsewhere is there already."""
        return self.end if self.source is None else self.end - self.start

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
        n_cells = max((sum(piece.n_cells for piece in step) for step in self.steps), default=1)
        self._context = Context(model, n_cells, min(TEXTS_A_STEP, most_wanted), TOKENS_A_STEP, most_wanted)

    def run(
        self, step: Step, blocks: Sequence[int] = (), take: Take | None = None, *, logits: bool = False
    ) -> FloatArray:
        """The next of the steps: the logits float32[n_wanted, vocabulary] of the wanted tokens, piece by piece. With
        `take`, that is told the residuals of these at the output of each of the blocks instead, and the logits mean
        nothing, but with `logits`."""
        if step[0].start == 0:
            self._context.clear()
        for piece in step:
            if piece.source is not None:
                self._context.share(piece.source, piece.sequence, piece.start)
        tokens: list[StepToken] = []
        places: list[TokenSlot] = []
        steered: list[tuple[TokenSlot, Sequence[Intervention]]] = []
        for piece in step:
            for position in range(piece.start, piece.end):
                wanted = position in piece.wanted
                place = TokenSlot(len(tokens), len(places) if wanted else None)
                tokens.append(StepToken(piece.text.tokens[position], position, piece.sequence, wanted))
                if wanted:
                    places.append(place)
                if piece.text.steering and piece.text.steering[position]:
                    steered.append((place, piece.text.steering[position]))
        trimmed = self._model.trimmed_block
        steering = StepSteering(steered, trimmed) if steered else None
        reading = None
        if take is not None and places and blocks:
            reading = BlockRead(places, blocks, take, trimmed, logits=logits)
        return self._context.run(tokens, steering, reading)


def _steps(texts: Sequence[Text], most_wanted: int) -> Iterator[Step]:
    """Every token of every text once, each text's in order, common beginnings once for all: as many texts together as
    fit, and one that does not fit alone in several steps. A step that starts anew has a text's beginning first."""
    together: list[Text] = []
    texts = _compared(texts)
    # Those that begin alike stand side by side; among these, and among all others, the shortest come first.
    for text in sorted(texts, key=lambda text: (len(text.beginning), text.beginning, len(text.tokens))):
        if together and not _fit([*together, text], most_wanted):
            yield from _round(together)
            together = []
        if _fit([text], most_wanted):
            together.append(text)
            continue
        start = 0
        while start < len(text.tokens):
            end = min(start + TOKENS_A_STEP, max(start, text.wanted) + most_wanted, len(text.tokens))
            yield [TextSlice(text, start, end)]
            start = end
    if together:
        yield from _round(together)


def _compared(texts: Sequence[Text]) -> list[Text]:
    """The texts, each with how much of it is to be shared: neighbours in the order of their tokens are taken together
    for as long as that saves more than leaving the next one out."""
    groups: list[tuple[list[Text], int]] = []
    for text in sorted(texts, key=lambda text: text.plain):
        group, length = groups[-1] if groups else ([], 0)
        common = common_length(group[0].plain[:length], text.plain) if group else 0
        if common >= LEAST_SHARED and len(group) * common > (len(group) - 1) * length:
            groups[-1] = ([*group, text], common)
        else:
            groups.append(([text], len(text.plain)))
    return [replace(text, shared=length if len(group) > 1 else 0) for group, length in groups for text in group]


def _round(texts: Sequence[Text]) -> Iterator[Step]:
    """The step of some texts that fit together, behind one of the beginnings that several of them share."""
    shared = _shared(texts)
    holders: dict[tuple[int, ...], int] = {}  # by beginning: the sequence that holds it
    beginnings: Step = []
    rest: Step = []
    whole: Step = []
    for sequence, text in enumerate(texts):
        start, end = len(text.beginning), len(text.tokens)
        if text.beginning not in shared:
            whole.append(TextSlice(text, 0, end, sequence))
        elif text.beginning in holders:
            rest.append(TextSlice(text, start, end, sequence, holders[text.beginning]))
        else:
            holders[text.beginning] = sequence
            beginnings.append(TextSlice(text, 0, start, sequence))
            rest.append(TextSlice(text, start, end, sequence))
    if beginnings:
        yield beginnings
    yield [*rest, *whole]  # one that goes on stands first, so that the beginnings are not cleared away


def _shared(texts: Sequence[Text]) -> set[tuple[int, ...]]:
    """The beginnings that several have."""
    counts = Counter(text.beginning for text in texts if text.beginning)
    return {beginning for beginning, count in counts.items() if count > 1}


def _fit(texts: Sequence[Text], most_wanted: int) -> bool:
    shared = _shared(texts)
    rest = sum(len(text.tokens) - len(text.beginning) * (text.beginning in shared) for text in texts)
    return (
        len(texts) <= TEXTS_A_STEP
        and sum(map(len, shared)) <= TOKENS_A_STEP
        and rest <= TOKENS_A_STEP
        and sum(len(text.tokens) - text.wanted for text in texts) <= most_wanted
    )
