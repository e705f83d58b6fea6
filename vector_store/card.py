"""A repository's card, written from what its vectors say of themselves. Markdown, as the Hugging Face hub shows it."""

import json
import re
from collections.abc import Iterator, Sequence

from vector_store.vector import SIDES, Side, VectorHeader

_HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+", re.ASCII)


def card(repo: str, headers: Sequence[VectorHeader]) -> str:
    """The whole README.md of a repository that holds these vectors."""
    return "\n".join([*_front_matter(headers), "", f"# Persona vectors: {repo}", "", *_body(repo, headers)]) + "\n"


def _front_matter(headers: Sequence[VectorHeader]) -> Iterator[str]:
    models = sorted({header.model_id for header in headers if _HUB_NAME.fullmatch(header.model_id)})
    yield "---"
    yield "library_name: safetensors"
    yield f"tags: {json.dumps(['persona-vectors', 'activation-steering', 'persona-proxy'])}"
    if models:
        yield f"base_model: {json.dumps(models)}"
    yield "---"


def _body(repo: str, headers: Sequence[VectorHeader]) -> Iterator[str]:
    yield "Directions in models' residual streams, after Chen et al. 2025 (arXiv 2507.21509), a safetensors file each,"
    yield "as `persona-proxy` keeps them. What steering with them does was measured, or it says that it was not."
    yield ""
    yield f"    persona-proxy vectors pull {repo}"
    for header in sorted(headers, key=lambda header: (header.model_id, header.trait, header.created)):
        yield ""
        yield f"## {_plain(header.positive)} / {_plain(header.negative)} in {_plain(header.model_id)}"
        yield ""
        yield _plain(header.id)
        yield ""
        yield "| pole | block | span | positions | relative dose | coherent | score |"
        yield "|---|---|---|---|---|---|---|"
        for side in SIDES:
            yield _row(header, side)
        yield ""
        for name, value in _facts(header):
            yield f"- {name}: {_plain(value)}"


def _row(header: VectorHeader, side: Side) -> str:
    choice = header.poles.get(side)
    if choice is None:
        return f"| {_plain(header.pole(side))} | not measured | | | | | |"
    coherent = "not measured" if choice.measured_range is None else "{:g} to {:g}".format(*choice.measured_range)
    score = "not measured" if choice.score is None else f"{choice.score:.2f}"
    cells = (choice.block, choice.span, choice.positions, f"{choice.relative_dose:.3g}", coherent, score)
    return f"| {_plain(header.pole(side))} | " + " | ".join(map(str, cells)) + " |"


def _facts(header: VectorHeader) -> Iterator[tuple[str, str]]:
    yield "model", f"{header.n_layers} blocks of {header.hidden_size}, weights {header.fingerprint[:16] or 'unknown'}"
    yield "origin", header.origin + (f", made from {header.parent}" if header.parent else "")
    yield "method", header.method
    if header.counts:
        yield "answers used", ", ".join(f"{n.kept} of {n.made} {condition}" for condition, n in header.counts.items())
    if header.filters:
        kept = header.filters
        yield (
            "kept where",
            f"coherence is at least {kept.min_coherence:g} of 100, the trait above {kept.positive_trait_above:g} in "
            f"positive and below {kept.negative_trait_below:g} in negative answers",
        )
    yield "made", f"{header.created}, persona-proxy {header.software_version}"


def _plain(text: str) -> str:
    """Text of a file on one line, with nothing in it that Markdown would take for more than text."""
    return re.sub(r"([\\`*_{}\[\]<>|#])", r"\\\1", " ".join(text.split()))
