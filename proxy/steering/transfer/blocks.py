"""Which blocks of two models belong together in one span, and the maps between them, fitted as residuals stream by.

Which block of the source tells most about each block of the target is seen in a small sample. Every pair of blocks is
tried there by ridge regression in its dual form, which needs only how alike the sample's residuals are to each other in
each block: all pairs of blocks of large models fit in memory at once. Knows engines only through the stream it reads;
nothing of where the text is from.
"""

import itertools
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from proxy.engines.base import FloatArray
from proxy.errors import SetupError
from proxy.steering.transfer.files import MapInfo, write_map, written
from proxy.steering.transfer.maps import Fit, best, cross_validated, r_squared
from proxy.steering.transfer.moments import FOLDS, Moments, Scale, Sums
from proxy.steering.transfer.pairs import Paired, Stream, fold_of
from proxy.steering.work import Work, counter, packed
from vector_store import Span

IntArray = npt.NDArray[np.int64]
BlockPair = tuple[int, int]  # of the source, of the target

SAMPLE = 768  # pairs; the time grows with its third power
STRENGTHS = (0.01, 0.1, 1.0)  # of the ridge, in variances of a source dimension
SAMPLED_AN_ANSWER = 3  # pairs of one answer in the sample that blocks are compared by
N_SHUFFLED = 3  # controls of each map
SUMS_MEMORY = 768 * 1024**2  # bytes: maps whose sums would need more are fitted in several passes over the text
KEPT_MEMORY = 1024**3  # bytes: a short text whose residuals need no more is read once, for comparing and for fitting


@dataclass(frozen=True)
class PairedResiduals:
    """Paired residuals: `source` float32[n, source blocks, d], `target` float32[n, target blocks, p], and the fold,
    int[n], each pair's document is in."""

    source: FloatArray
    target: FloatArray
    folds: IntArray


def screen(sample: PairedResiduals) -> FloatArray:
    """float32[source blocks, target blocks]: the R2 on held-out folds of the best ridge between every two blocks."""
    targets = [_likeness(sample.target[:, block]) for block in range(sample.target.shape[1])]
    n_blocks, width = sample.source.shape[1:]
    rows = [_r_squared(_likeness(sample.source[:, block]), width, targets, sample.folds) for block in range(n_blocks)]
    return np.stack(rows)


def _likeness(residuals: FloatArray) -> FloatArray:
    """float32[n, n]: the mean over dimensions of the products of two residuals, in units of the sample."""
    scaled = Scale.of(residuals)(residuals)
    likeness: FloatArray = scaled @ scaled.T / scaled.shape[1]
    return likeness


def _r_squared(source: FloatArray, width: int, targets: Sequence[FloatArray], folds: IntArray) -> FloatArray:
    """float32[target blocks]: the R2 of the best ridge from one block of the source, given by its likenesses, to each
    of the target. `width` is the source's, `folds` int[n]."""
    errors = np.zeros((len(STRENGTHS), len(targets)))
    spread = np.zeros(len(targets))
    for fold in range(FOLDS):
        test, train = np.flatnonzero(folds == fold), np.flatnonzero(folds != fold)
        # With W = X'(XX' + n s)^-1 Y both the predictions and their errors are made of products of residuals alone, so
        # neither a residual nor a map is needed; one decomposition serves every strength and every target block.
        values, axes = np.linalg.eigh(source[np.ix_(train, train)])
        onto = source[np.ix_(test, train)] @ axes
        spread += [np.trace(target[np.ix_(test, test)]) for target in targets]
        for number, strength in enumerate(STRENGTHS):
            # Likenesses are means over the width, so a strength in variances of a dimension is divided by it.
            weights = onto / (np.maximum(values, 0) + strength * len(train) / width) @ axes.T
            for block, target in enumerate(targets):
                explained = 2 * np.vdot(weights, target[np.ix_(test, train)])
                explained -= np.vdot(weights, weights @ target[np.ix_(train, train)])
                errors[number, block] += np.trace(target[np.ix_(test, test)]) - explained
    r_squared: FloatArray = (1 - errors.min(axis=0) / spread).astype(np.float32)
    return r_squared


def comparing_label(span: Span) -> str:
    return f"comparing blocks, {span}"


def fitting_label(span: Span) -> str:
    return f"fitting maps, {span}"


def n_compared(span: Span) -> int:
    """How many documents blocks are compared by, at most: few tokens of many, since neighbours in one answer tell
    almost the same."""
    return SAMPLE // _of_each(span)


def _of_each(span: Span) -> int:
    """How many pairs of a document are in the sample."""
    return 1 if span == "last_prompt" else SAMPLED_AN_ANSWER


def read_once(span: Span, n_documents: int, n_pairs: float, row: int) -> bool:
    """Whether a text is so short that the residuals that blocks are compared by are kept and fitted to. `row`: bytes of
    a pair, at all blocks that are read."""
    return n_documents <= n_compared(span) and n_pairs * row <= KEPT_MEMORY


def row_size(d: int, source_layers: int, p: int, n_blocks: int) -> int:
    """Bytes of a pair's residuals, at all blocks of the source and so many of the target."""
    return 4 * (d * source_layers + p * n_blocks)


@dataclass(frozen=True)
class SpanMaps:
    """Fits the maps of the stream's span to some blocks of the target. `seen` is all the text at all blocks, where it
    was read to compare them and is short enough to be kept."""

    stream: Stream
    target_blocks: Sequence[int]
    seed: int
    work: Work
    seen: list[Paired] = field(default_factory=list)

    def screened(self) -> list[list[float]]:
        """The R2 of a quick fit from every block of the source (rows) to those of the target."""
        name = f"blocks-{self.stream.span}"
        table: list[list[float]] = self.work.part(name, packed(list[list[float]]), self._screen)
        return table

    def _screen(self) -> list[list[float]]:
        few = replace(self.stream, documents=self.stream.documents[: n_compared(self.stream.span)])
        rng = np.random.default_rng(self.seed)
        source, target, folds = [], [], []
        advance = counter(self.work.progress, comparing_label(few.span), len(few.documents))
        reading = few.read(range(few.source.info.n_layers), self.target_blocks)
        keeps = self._read_once()
        for pairs in _told(reading, len(few.documents), advance):
            if keeps:
                self.seen.append(pairs)
            rows = rng.permutation(len(pairs.source))[: _of_each(few.span)]
            source.append(pairs.source[rows])
            target.append(pairs.target[rows])
            folds += [fold_of(few.documents[pairs.number])] * len(rows)
        _check_folds(folds)
        table: list[list[float]] = screen(
            PairedResiduals(np.concatenate(source), np.concatenate(target), np.array(folds))
        ).tolist()
        return table

    def fitted(self, source_blocks: Sequence[int], folder: Path) -> list[MapInfo]:
        """A map from each of `source_blocks` to the block of the target at its place in the list. Maps that are in
        `folder` already are left as they are; the others are fitted, as many at a time as memory is for, and written
        there."""
        wanted = list(zip(source_blocks, self.target_blocks, strict=True))
        found = {target: written(folder, self.stream.span, target) for _, target in wanted}
        missing = [pair for pair in wanted if found[pair[1]] is None]
        groups = self._groups(missing)  # a pass over the text for each: sums of all maps may not fit in memory
        total = len(self.stream.documents) * max(len(groups), 1)
        advance = counter(self.work.progress, fitting_label(self.stream.span), total, done=0 if groups else total)
        for group in groups:
            for pair, moments in self._gathered(group, advance).items():
                self.work.check()
                found[pair[1]] = self._write(moments, pair, folder)
        return [info for info in found.values() if info is not None]

    def _read_once(self) -> bool:
        one, other = self.stream.source.info, self.stream.target.info
        row = row_size(one.hidden_size, one.n_layers, other.hidden_size, len(self.target_blocks))
        return read_once(self.stream.span, len(self.stream.documents), self.stream.count(), row)

    def _residuals(self, source_blocks: Sequence[int], target_blocks: Sequence[int]) -> Iterable[Paired]:
        """The residuals of all the text at some blocks: what was kept, else read again."""
        if not self.seen:
            return self.stream.read(source_blocks, target_blocks)
        columns = [self.target_blocks.index(block) for block in target_blocks]
        return (
            Paired(pairs.number, pairs.source[:, list(source_blocks)], pairs.target[:, columns]) for pairs in self.seen
        )

    def _groups(self, pairs: Sequence[BlockPair]) -> list[Sequence[BlockPair]]:
        size = sums_size(self.stream.source.info.hidden_size, self.stream.target.info.hidden_size)
        at_once = max(1, SUMS_MEMORY // size)
        return [pairs[start : start + at_once] for start in range(0, len(pairs), at_once)]

    def _gathered(self, group: Sequence[BlockPair], advance: Callable[[int], None]) -> dict[BlockPair, Moments]:
        """The sums of some pairs of blocks over all documents."""
        blocks = sorted({source for source, _ in group})
        targets = [target for _, target in group]
        reading = _told(self._residuals(blocks, targets), len(self.stream.documents), advance)
        # The scale has to be known before the first pair is added, and text is read once: the first pairs are kept.
        sample = list(_first(reading, SAMPLE))
        moments = {
            pair: Moments(
                Scale.of(np.concatenate([pairs.source[:, blocks.index(pair[0])] for pairs in sample])),
                Scale.of(np.concatenate([pairs.target[:, targets.index(pair[1])] for pairs in sample])),
                N_SHUFFLED,
            )
            for pair in group
        }
        rng = np.random.default_rng(self.seed)
        before: deque[FloatArray] = deque(maxlen=N_SHUFFLED)  # what the target made of the documents just before
        for pairs in itertools.chain(sample, reading):
            fold = fold_of(self.stream.documents[pairs.number])
            # A control pairs a document's source with an earlier document's target, in another order: what a map can
            # learn from the mean and the covariances of both models without any token belonging to another.
            wrong = [other[rng.permutation(len(other))] for other in before]
            for (source, target), sums in moments.items():
                x, y = pairs.source[:, blocks.index(source)], targets.index(target)
                sums.add(sums.folds[fold], x, pairs.target[:, y])
                for control, other in zip(sums.shuffled, wrong, strict=False):
                    n = min(len(x), len(other))
                    sums.add(control, x[:n], other[:n, y])
            before.appendleft(pairs.target)
        for sums in moments.values():
            sums.finish()
        return moments

    def _write(self, moments: Moments, pair: BlockPair, folder: Path) -> MapInfo:
        """Fit the map, and its controls by the same method, and write them."""
        tried = cross_validated(moments.folds)
        method = best(tried)
        # The method is chosen on folds held out; then the map may use all there is.
        whole = Sums.total(moments.folds).covariances
        fit = Fit(whole)
        wrong = [fit.solve(method, control.covariance) for control in moments.shuffled]
        info = MapInfo(
            span=self.stream.span,
            source_block=pair[0],
            target_block=pair[1],
            method=method,
            r2=tried[method],
            r2_shuffled=float(np.mean([r_squared(map_, whole) for map_ in wrong])),
            r2_by_kind={
                kind: max(r2 for method, r2 in tried.items() if method.kind == kind)
                for kind in dict.fromkeys(method.kind for method in tried)
            },
            n_pairs=sum(sums.n for sums in moments.folds),
            n_controls=len(wrong),
        )
        write_map(folder, info, moments.in_residuals(fit.solve(method)), [moments.in_residuals(map_) for map_ in wrong])
        return info


def sums_size(d: int, p: int) -> int:
    """Bytes that the sums for one map from width d to width p take."""
    return 4 * (FOLDS * (d * d + d * p + p * p) + N_SHUFFLED * d * p)


def _told(reading: Iterable[Paired], n_documents: int, advance: Callable[[int], None]) -> Iterator[Paired]:
    """What is read; `advance` is told how many more of the documents are done."""
    done = 0
    for pairs in reading:
        advance(pairs.number + 1 - done)
        done = pairs.number + 1
        yield pairs
    advance(n_documents - done)


def _first(reading: Iterator[Paired], n_rows: int) -> Iterator[Paired]:
    """As many of the documents as have `n_rows` pairs together; the rest is left in `reading`."""
    for pairs in reading:
        yield pairs
        n_rows -= len(pairs.source)
        if n_rows <= 0:
            return


def _check_folds(folds: Sequence[int]) -> None:
    empty = [fold for fold in range(FOLDS) if fold not in folds]
    if empty:
        raise SetupError(
            "the text asks too few kinds of people, or questions: it can't be divided into what a map is fitted to and "
            "what it is tried on"
        )
