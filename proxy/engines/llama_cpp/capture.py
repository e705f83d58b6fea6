"""Residuals and log-probabilities of many texts in a GGUF model.

Each function is a generator that runs one step of the model between two yields, so that the worker can let chats go on
in between, and returns its result at the end.
"""

from collections.abc import Callable, Generator, Iterator, Sequence

import numpy as np

from proxy.engines.answer import Steering
from proxy.engines.base import AnswerReadings, FloatArray, Likelihood, Rollout, Span, SpanStats
from proxy.engines.llama_cpp.model import LlamaModel
from proxy.engines.llama_cpp.reading import Step, Text, TextReader, TextSlice
from proxy.engines.logprobs import likelihood, log_softmax, logsumexp
from proxy.engines.spans import bounds

Progress = Callable[[int], None] | None


def capture_steps(
    model: LlamaModel, rollouts: Sequence[Rollout], spans: Sequence[Span], progress: Progress
) -> Generator[None, None, dict[Span, SpanStats]]:
    """Engine.capture in steps."""
    gatherers = {span: _SpanGatherer(rollouts, span, model.n_layers, model.hidden_size) for span in spans}
    reader = TextReader(model, _texts(rollouts, spans, progress))
    for step in reader.steps:

        def take(block: int, residuals: FloatArray, step: Step = step) -> None:
            norms = np.linalg.norm(residuals, axis=-1)
            for piece, results in _results(step):
                for gatherer in gatherers.values():
                    gatherer.add(piece, block, residuals[results], norms[results])

        reader.run(step, range(model.n_layers), take)
        _tell(progress, step)
        yield
    return {span: gatherer.result() for span, gatherer in gatherers.items()}


class _SpanGatherer:
    """One span's statistics, gathered block by block and piece by piece."""

    def __init__(self, rollouts: Sequence[Rollout], span: Span, n_layers: int, hidden_size: int) -> None:
        self._bounds = [bounds(rollout, span) for rollout in rollouts]
        self._means = np.zeros((len(rollouts), n_layers, hidden_size), np.float32)
        self._norms = [np.zeros((n_layers, end - begin), np.float32) for begin, end in self._bounds]

    def add(self, piece: TextSlice, block: int, residuals: FloatArray, norms: FloatArray) -> None:
        """A block's output float32[n, hidden] at the piece's wanted positions, and its norms float32[n]."""
        member, start = piece.text.member, piece.wanted.start
        begin, end = self._bounds[member]
        first, last = max(begin, start), min(end, piece.end)
        if first < last:
            part = slice(first - start, last - start)
            self._means[member, block] += residuals[part].sum(axis=0) / (end - begin)
            self._norms[member][block, first - begin : last - begin] = norms[part]

    def result(self) -> SpanStats:
        """Zeros where the span is empty."""
        medians = np.zeros(self._means.shape[:2], np.float32)
        for member, norms in enumerate(self._norms):
            if norms.size:
                medians[member] = np.median(norms, axis=-1)
        return SpanStats(self._means, medians)


def capture_token_steps(
    model: LlamaModel, rollouts: Sequence[Rollout], span: Span, blocks: Sequence[int]
) -> Generator[None, None, list[FloatArray]]:
    """Engine.capture_tokens in steps."""
    spans = [bounds(rollout, span) for rollout in rollouts]
    found = [np.zeros((end - begin, len(blocks), model.hidden_size), np.float32) for begin, end in spans]
    reader = TextReader(model, _texts(rollouts, [span], None))
    for step in reader.steps:

        def take(block: int, residuals: FloatArray, step: Step = step) -> None:
            for piece, results in _results(step):
                begin, _ = spans[piece.text.member]
                at = slice(piece.wanted.start - begin, piece.end - begin)
                found[piece.text.member][at, blocks.index(block)] = residuals[results]

        reader.run(step, blocks, take)
        yield
    return found


def score_steps(
    model: LlamaModel, rollouts: Sequence[Rollout], steering: Sequence[Steering], progress: Progress
) -> Generator[None, None, list[FloatArray]]:
    """Engine.score in steps; `steering` is what is done to every token of each rollout."""
    found = [np.zeros(len(rollout.response), np.float32) for rollout in rollouts]
    texts = _scored(rollouts, steering)
    _tell_of_empty(progress, len(rollouts) - len(texts))
    reader = TextReader(model, texts)
    for step in reader.steps:
        _take_logprobs(found, rollouts, step, reader.run(step))
        _tell(progress, step)
        yield
    return found


def likelihood_steps(
    model: LlamaModel, rollouts: Sequence[Rollout], steering: Sequence[Steering], n_top: int
) -> Generator[None, None, list[list[Likelihood]]]:
    """Engine.likelihoods in steps: of every response token, in order."""
    found: list[list[Likelihood]] = [[] for _ in rollouts]
    reader = TextReader(model, _scored(rollouts, steering))
    for step in reader.steps:
        logits = reader.run(step)
        for piece, results in _results(step):
            targets = _response_at(piece, rollouts)
            pairs = zip(logits[results], targets, strict=True)
            found[piece.text.member] += [likelihood(row, target, n_top) for row, target in pairs]
        yield
    return found


def _scored(rollouts: Sequence[Rollout], steering: Sequence[Steering]) -> list[Text]:
    """The rollouts as far as it takes to tell of every response token: a token's logits are about the one after it."""
    return [
        Text(member, [*rollout.prompt, *rollout.response[:-1]], len(rollout.prompt) - 1, steering[member])
        for member, rollout in enumerate(rollouts)
        if rollout.response
    ]


def read_steps(
    model: LlamaModel, rollouts: Sequence[Rollout], blocks: Sequence[int], progress: Progress
) -> Generator[None, None, AnswerReadings]:
    """Engine.read in steps."""
    gatherer = _SpanGatherer(rollouts, "response", len(blocks), model.hidden_size)
    logprobs = [np.zeros(len(rollout.response), np.float32) for rollout in rollouts]
    # From the last prompt token on, whose logits are about the response's first.
    texts = [
        Text(member, [*rollout.prompt, *rollout.response], len(rollout.prompt) - 1)
        for member, rollout in enumerate(rollouts)
        if rollout.response
    ]
    _tell_of_empty(progress, len(rollouts) - len(texts))
    reader = TextReader(model, texts)
    for step in reader.steps:

        def take(block: int, residuals: FloatArray, step: Step = step) -> None:
            norms = np.zeros(len(residuals), np.float32)
            for piece, results in _results(step):
                gatherer.add(piece, blocks.index(block), residuals[results], norms[results])

        _take_logprobs(logprobs, rollouts, step, reader.run(step, blocks, take, logits=True))
        _tell(progress, step)
        yield
    return AnswerReadings(gatherer.result().means, logprobs)


def _take_logprobs(found: list[FloatArray], rollouts: Sequence[Rollout], step: Step, logits: FloatArray) -> None:
    """Put the log-probabilities of a step's response tokens where they belong. The logits are of the wanted
    tokens, float32[n_wanted, vocabulary], each about the token after it; after a text's last there is none."""
    for piece, results in _results(step):
        begin = piece.wanted.start - piece.text.wanted
        targets = _response_at(piece, rollouts)
        mine = logits[results][: len(targets)]
        own = mine[np.arange(len(targets)), targets]
        found[piece.text.member][begin : begin + len(targets)] = own - logsumexp(mine)


def _response_at(piece: TextSlice, rollouts: Sequence[Rollout]) -> list[int]:
    """The response tokens that a piece's results are about."""
    begin, end = piece.wanted.start - piece.text.wanted, piece.end - piece.text.wanted
    return list(rollouts[piece.text.member].response[begin:end])


def next_token_steps(
    model: LlamaModel, prompts: Sequence[Sequence[int]], token_ids: Sequence[int]
) -> Generator[None, None, FloatArray]:
    """Engine.next_token_logprobs in steps."""
    found = np.zeros((len(prompts), len(token_ids)), np.float32)
    reader = TextReader(model, [Text(member, prompt, len(prompt) - 1) for member, prompt in enumerate(prompts)])
    for step in reader.steps:
        logits = reader.run(step)
        members = [piece.text.member for piece in step if piece.last]
        if members:
            found[members] = log_softmax(logits)[:, list(token_ids)]
        yield
    return found


def _texts(rollouts: Sequence[Rollout], spans: Sequence[Span], progress: Progress) -> list[Text]:
    """What has to be read of rollouts for the sake of some spans; those that have nothing there are done."""
    texts = []
    for member, rollout in enumerate(rollouts):
        stretches = [bounds(rollout, span) for span in spans]
        begin, end = min(begin for begin, _ in stretches), max(end for _, end in stretches)
        if begin < end:
            texts.append(Text(member, [*rollout.prompt, *rollout.response][:end], begin))
    _tell_of_empty(progress, len(rollouts) - len(texts))
    return texts


def _results(step: Step) -> Iterator[tuple[TextSlice, slice]]:
    """Each piece that has results, and which of the step's are its own."""
    begin = 0
    for piece in step:
        end = begin + len(piece.wanted)
        if end > begin:
            yield piece, slice(begin, end)
        begin = end


def _tell(progress: Progress, step: Step) -> None:
    n_done = sum(piece.last for piece in step)
    if progress is not None and n_done:
        progress(n_done)


def _tell_of_empty(progress: Progress, n_empty: int) -> None:
    if progress is not None and n_empty:
        progress(n_empty)
