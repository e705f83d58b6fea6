"""Fitting a transfer: both models read the same text, and maps are fitted between the residuals of paired tokens.

First a small sample says which block of the source tells most about each block of the target; then the maps of these
pairs of blocks are fitted on everything, with the method chosen on documents held out. Nothing here sees a trait.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import msgspec
import numpy as np

import proxy
from proxy.engines.base import Engine, Generation, ModelInfo, Sampling
from proxy.errors import SetupError
from proxy.steering.asking import answer_tokens
from proxy.steering.seeds import SCHEME, Purpose, seed_of
from proxy.steering.traits.trait import Trait
from proxy.steering.transfer.blocks import SpanMaps, comparing_label, fitting_label
from proxy.steering.transfer.files import MapInfo, Side, TransferInfo, write_transfer
from proxy.steering.transfer.pairs import Document, Stream, prompt
from proxy.steering.transfer.text import Names, digest, documents, neutral_documents, words_of
from proxy.steering.work import FolderParts, Work, folder_parts
from vector_store import SPANS, Span

ANSWER_TOKENS = 128
TEMPERATURE = 0.7
MAX_TARGET_BLOCKS = 8  # of deeper models, so many from the middle
MIDDLE = 0.2, 0.8  # of the depth
PAIRS_A_DIMENSION = 0.25  # of the wider model; with fewer a map is mostly made up
FEWEST_PAIRS = 60
PAIRS_AN_ANSWER = 16  # of one that is still to be made, at least, as a rule; else one in four characters at most
TRIED = 32  # documents that show whether tokens can be paired at all
MIN_PAIRED = 0.5  # share of them in which some are
ANSWERING = "answering"


@dataclass(frozen=True)
class Corpus:
    """What a transfer is fitted on. `text` says in words where it came from. Documents are in random order; those
    without an answer get one of at most `answer_tokens` from the source model."""

    documents: Sequence[Document]
    text: str
    seed: int = 0
    answer_tokens: int = ANSWER_TOKENS


def corpus_of(
    text: str,
    traits: Mapping[str, Trait],
    world: str | None,
    seed: int,
    count: int,
    answer_tokens: int = ANSWER_TOKENS,
) -> Corpus:
    """`count` documents for models of this world: the "built-in" roles and styles, or "neutral" questions."""
    if text == "neutral":
        return Corpus(neutral_documents(traits, world, seed, count), "neutral questions", seed, answer_tokens)
    return Corpus(documents(traits, world, seed, count), "built-in roles and styles", seed, answer_tokens)


def fit(
    source: Engine,
    target: Engine,
    corpus: Corpus,
    traits: Mapping[str, Trait],
    folder: Path,
    work: Work,
    target_blocks: Sequence[int] | None = None,
) -> TransferInfo:
    """Fit the maps from `source` to `target` and keep them below `folder`. Blocks for minutes.

    What was cut off goes on where it was: maps that were written stay. `traits`: those whose names may not occur.
    SetupError where the models or the text can't be used.
    """
    check(source, target, corpus, target_blocks)
    fitting = _Fitting(source, target, corpus, Names(traits), blocks_of(target.info, target_blocks), folder, work)
    return fitting.run()


def check(source: Engine, target: Engine, corpus: Corpus, target_blocks: Sequence[int] | None = None) -> None:
    """SetupError for all that can be known to be wrong before any work is done."""
    one, other = source.info, target.info
    if one.id == other.id or one.fingerprint == other.fingerprint:
        raise SetupError(f"{one.id} and {other.id} are the same model; a transfer needs two")
    if one.world != other.world:
        small = one if one.world else other
        raise SetupError(f"{one.id} and {other.id} share no language: {small.id} knows the {small.world} world alone")
    for block in target_blocks or ():
        if not 0 <= block < other.n_layers:
            raise SetupError(f"{other.id} has no block {block}; possible: 0 to {other.n_layers - 1}")
    n_documents, needed = len(corpus.documents), pairs_needed(one, other)
    longest = sum(max(PAIRS_AN_ANSWER, len(document.answer or "") // 4) for document in corpus.documents)
    if longest < needed:
        raise SetupError(_too_few(n_documents, "documents", one, other))
    tried = [replace(document, answer=document.answer or document.question) for document in corpus.documents[:TRIED]]
    n_paired = sum(1 for _ in Stream(source, target, tried, "response", lambda: None).pairings())
    if n_paired < MIN_PAIRED * len(tried):
        raise SetupError(
            f"{one.id} and {other.id} share no language of text: in {n_paired} of {len(tried)} documents there was a "
            "token that ends where one of the other model's does"
        )


def fit_parts(
    folder: Path, source: ModelInfo, target: ModelInfo, corpus: Corpus, target_blocks: Sequence[int] | None
) -> FolderParts:
    """Where below `folder` the finished parts of fitting this are kept."""
    text = digest(corpus.documents), corpus.answer_tokens
    return folder_parts(folder, source, target, text, corpus.seed, target_blocks)


def pairs_needed(source: ModelInfo, target: ModelInfo) -> int:
    """How many paired tokens a map between these widths is fitted to at least."""
    return max(FEWEST_PAIRS, round(PAIRS_A_DIMENSION * max(source.hidden_size, target.hidden_size)))


def blocks_of(target: ModelInfo, wanted: Sequence[int] | None = None) -> list[int]:
    """The blocks of the target that get a map, in order: the wanted ones, else all, of deeper models some from the
    middle."""
    if wanted is not None:
        return sorted(set(wanted))
    if target.n_layers <= MAX_TARGET_BLOCKS:
        return list(range(target.n_layers))
    spread = np.linspace(*MIDDLE, MAX_TARGET_BLOCKS) * (target.n_layers - 1)
    return sorted({round(float(block)) for block in spread})


def stages(n_documents: int) -> dict[str, float]:
    """What the work reports while it fits, in order, and about how much each is, in documents read."""
    found = {ANSWERING: 8.0 * n_documents}
    for span in SPANS:
        found |= {comparing_label(span): 0.5 * n_documents, fitting_label(span): 2.0 * n_documents}
    return found


@dataclass(frozen=True)
class _Fitting:
    """One transfer under way."""

    source: Engine
    target: Engine
    corpus: Corpus
    names: Names
    target_blocks: list[int]
    folder: Path
    work: Work

    def run(self) -> TransferInfo:
        one, other = Side.of(self.source.info), Side.of(self.target.info)
        sha256 = digest(self.corpus.documents)
        id_ = self._id(one, other, sha256)
        answered = self._answered()
        maps: list[MapInfo] = []
        screened: dict[Span, list[list[float]]] = {}
        counts: list[int] = []
        for span in SPANS:
            stream = Stream(self.source, self.target, _of_span(answered, span), span, self.work.check)
            counts.append(stream.count())
            if counts[-1] < pairs_needed(self.source.info, self.target.info):
                continue
            maker = SpanMaps(stream, self.target_blocks, self.corpus.seed, self.work)
            screened[span] = maker.screened()
            maps += maker.fitted(np.asarray(screened[span]).argmax(axis=0).tolist(), self.folder / id_)
        if not maps:
            raise SetupError(_too_few(max(counts), "paired tokens", self.source.info, self.target.info))
        info = TransferInfo(
            id=id_,
            source=one,
            target=other,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            software_version=proxy.__version__,
            text=self.corpus.text,
            corpus_sha256=sha256,
            n_documents=len(answered),
            seed=self.corpus.seed,
            maps=maps,
            target_blocks=self.target_blocks,
            screened=screened,
            words=words_of(answered),
        )
        write_transfer(self.folder / id_, info)
        return info

    def _id(self, one: Side, other: Side, sha256: str) -> str:
        text = sha256, self.corpus.answer_tokens
        everything = (proxy.__version__, SCHEME, one, other, text, self.corpus.seed, self.target_blocks)
        return f"transfer-{hashlib.sha256(msgspec.json.encode(everything)).hexdigest()[:12]}"

    def _answered(self) -> list[Document]:
        """The documents with their answers, less those whose answer names a trait."""
        asked = [document for document in self.corpus.documents if document.answer is None]
        prompts = [prompt(self.source, document) for document in asked]
        generations = [
            Generation(
                ids,
                Sampling(
                    answer_tokens(self.source, ids, self.corpus.answer_tokens),
                    temperature=TEMPERATURE,
                    seed=seed_of(self.corpus.seed, Purpose.TRANSFER_TEXT, number),
                ),
            )
            for number, ids in enumerate(prompts)
        ]
        completions = iter(self.work.answers("answers", ANSWERING, self.source, generations))
        answered = [
            document if document.answer is not None else replace(document, answer=next(completions).text)
            for document in self.corpus.documents
        ]
        return [document for document in answered if self.names.found(document.answer or "") is None]


def _of_span(documents: Sequence[Document], span: Span) -> list[Document]:
    """The documents that differ in what is read up to the span's end."""
    if span == "response":
        return list(documents)
    return list(dict.fromkeys(replace(document, answer=None) for document in documents))


def _too_few(n: int, what: str, source: ModelInfo, target: ModelInfo) -> str:
    return (
        f"{n} {what} are too few for a map from {source.id}, of width {source.hidden_size}, to {target.id}, of width "
        f"{target.hidden_size}: at least {pairs_needed(source, target)} paired tokens are needed"
    )
