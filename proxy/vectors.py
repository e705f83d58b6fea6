"""What can be done with stored vectors, for the command line and the API alike: import, export, and choosing one.

Knows nothing of HTTP and nothing of how a vector is made or used.
"""

import re
from collections.abc import Mapping
from datetime import UTC, datetime

import proxy
from proxy.errors import InvalidRequest, NotFound
from proxy.protocol.vectors import PoleDetails, VectorCurve
from proxy.steering.traits.trait import Trait, no_trait
from vector_store import PersonaVector, Side, VectorHeader, VectorStore
from vector_store.exchange import Subject, import_vector
from vector_store.files import is_vector_file
from vector_store.formats import FORMAT_NAMES, Format

Shape = tuple[int, int]  # blocks, hidden size
_MODEL_ID = re.compile(r"[^/\s]([^/]*[^/\s])?(/[^/\s]([^/]*[^/\s])?)?")


def take(
    content: bytes,
    store: VectorStore,
    traits: Mapping[str, Trait],
    *,
    model: str | None = None,
    trait: str | None = None,
    format: str | None = None,
    pole: str | None = None,
    shape: Shape | None = None,
    family: str | None = None,
    insist: bool = False,
) -> PersonaVector:
    """The vector in a file of any known format, still to be saved.

    The store's own files say all of themselves; of any other, `model` and `trait` must be given. `pole` is the one the
    file's directions lead to, the positive one where neither it nor the file says; `shape` is the model's, found in its
    other vectors where it isn't given, `family` its architecture's name. A file that hints at another model or family
    is taken only with `insist`. InvalidRequest and NotFound name the field; ImportRefused and BadVectorFile are
    of the file.
    """
    checked = _format(format)
    subject, side = None, None
    if trait is not None or model is not None or not is_vector_file(content):
        known, side = _trait(trait, traits, pole)
        if model is None or len(model) > 200 or not _MODEL_ID.fullmatch(model):
            raise InvalidRequest("model: name the model the vector is for, by the id it is served by", param="model")
        blocks, hidden = shape or shape_of(store, model) or (None, None)
        subject = Subject(model, known.id, known.positive, known.negative, blocks, hidden, family)
    return import_vector(
        content,
        subject,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        software_version=proxy.__version__,
        format=checked,
        side=side,
        insist=insist,
    )


def chosen(
    store: VectorStore, model: str, trait: str, version: str | None = None, fingerprint: str | None = None
) -> PersonaVector:
    """One version of a trait's vector: the one in use without `version`, or the newest where none is.
    `fingerprint` is of the model's weights, None where nobody knows them. NotFound."""
    headers = versions(store, model, trait, version, fingerprint)
    used = store.in_use(model, trait, fingerprint) if version is None else None
    return store.get(headers[0].id) if used is None else used


def versions(
    store: VectorStore, model: str, trait: str, version: str | None = None, fingerprint: str | None = None
) -> list[VectorHeader]:
    """All versions of a trait's vector, newest first, or the one. `fingerprint` is of the model's weights, where they
    are known: what was made for the same ones under another id counts too. NotFound where there is none."""
    headers = [header for header in store.versions(model, trait, fingerprint) if version in (None, header.id)]
    if not headers:
        what = f"vector {version!r}" if version else "vector"
        message = f"There is no {what} of {trait!r} for the model {model!r}."
        if version:
            raise NotFound(message, param="version")
        raise NotFound(f"{message} {_possible(store, model, trait)}", param="trait")
    return headers


def _possible(store: VectorStore, model: str, trait: str) -> str:
    """What there is instead of a model's vector of a trait, in a sentence."""
    owner = trait_of(store, model, trait)
    if owner != trait:
        return f"It is a pole of {owner!r}."
    headers = store.list()
    traits = dict.fromkeys(header.trait for header in headers if header.model_id == model)
    if traits:
        return f"The model has: {', '.join(traits)}."
    models = dict.fromkeys(header.model_id for header in headers)
    return f"Models that have any: {', '.join(models) or 'none'}."


def trait_of(store: VectorStore, model: str | None, name: str) -> str:
    """The trait that has a pole of this name in a vector of the model, or of any; otherwise the name itself."""
    owners = (header.trait for header in store.list(model) if name in (header.positive, header.negative))
    return next(owners, name)


def swept(
    store: VectorStore, model: str, trait: str, version: str | None = None, fingerprint: str | None = None
) -> VectorHeader:
    """One version of a trait's vector, or the newest that was swept. `fingerprint` is of the model's weights,
    None where nobody knows them. NotFound, where
    the one was not swept too."""
    found = [header for header in versions(store, model, trait, version, fingerprint) if header.sweeps]
    if not found:
        what = f"vector {version!r}" if version else f"vector of {trait!r} for the model {model!r}"
        raise NotFound(f"The {what} was never swept; POST /api/steering/sweep does it.", code="not_swept")
    return found[0]


def evaluated(
    store: VectorStore, model: str, trait: str, version: str | None = None, fingerprint: str | None = None
) -> VectorHeader:
    """One version of a trait's vector, or the newest that was evaluated. `fingerprint` is of the model's weights, None
    where nobody knows them. NotFound, where the one was not evaluated too."""
    found = [header for header in versions(store, model, trait, version, fingerprint) if header.evaluations]
    if not found:
        what = f"vector {version!r}" if version else f"vector of {trait!r} for the model {model!r}"
        raise NotFound(f"The {what} was never evaluated; POST /api/vectors/evaluate does it.", code="not_evaluated")
    return found[0]


def use(store: VectorStore, version: str) -> str:
    """Put a version to use for its weights; what to tell whoever asked. InvalidRequest for one that can't be used, and
    VectorNotFound."""
    try:
        before = store.use(version)
    except ValueError as error:
        raise InvalidRequest(f"version: {error}", param="version") from error
    back = "" if before in (None, version) else f"; go back with: persona-proxy vectors use {before}"
    return f"{version}: now in use{back}"


def curve_of(header: VectorHeader) -> VectorCurve:
    """What a version was measured to do, as clients are told."""
    return VectorCurve(
        id=header.id,
        model=header.model_id,
        trait=header.trait,
        positive=header.positive,
        negative=header.negative,
        poles=poles_of(header),
        sweeps={side: sweep for side, sweep in header.sweeps.items()},
    )


def poles_of(header: VectorHeader) -> dict[str, PoleDetails]:
    """Where and how strongly each pole is steered, as clients are told, by side."""
    return {
        side: PoleDetails(
            choice.block,
            choice.span,
            choice.positions,
            choice.relative_dose,
            choice.measured_range,
            choice.score if header.scored else None,
            choice.against,
            header.evaluations[side].verdict if side in header.evaluations else None,
            header.evaluations[side].reason if side in header.evaluations else None,
        )
        for side, choice in header.poles.items()
    }


def format_of(name: str | None) -> Format:
    """A format by its name, the store's own without one. InvalidRequest."""
    return _format(name) or "safetensors"


def side_of(header: VectorHeader, pole: str | None) -> Side:
    """The side of a pole's name, the positive one without. InvalidRequest."""
    if pole not in (None, header.positive, header.negative):
        raise InvalidRequest(
            f"pole: {pole!r} is none of {header.trait!r}; possible: {header.positive}, {header.negative}", param="pole"
        )
    return "negative" if pole == header.negative else "positive"


def shape_of(store: VectorStore, model: str) -> Shape | None:
    """The model's shape as its measured vectors know it."""
    shapes = ((header.n_layers, header.hidden_size) for header in store.list(model) if header.fingerprint)
    return next(shapes, None)


def _format(name: str | None) -> Format | None:
    if name is not None and name not in FORMAT_NAMES:
        raise InvalidRequest(f"format: {name!r} is not known; possible: {', '.join(FORMAT_NAMES)}", param="format")
    return name


def _trait(name: str | None, traits: Mapping[str, Trait], pole: str | None) -> tuple[Trait, Side | None]:
    if name is None:
        raise InvalidRequest(f"trait: name the vector's trait; possible: {', '.join(traits)}", param="trait")
    if name not in traits:
        raise NotFound(f"trait: {no_trait(name, traits)}", param="trait")
    trait = traits[name]
    if pole not in (None, trait.positive, trait.negative):
        raise InvalidRequest(
            f"pole: {pole!r} is none of {name!r}; possible: {trait.positive}, {trait.negative}", param="pole"
        )
    return trait, None if pole is None else "positive" if pole == trait.positive else "negative"
