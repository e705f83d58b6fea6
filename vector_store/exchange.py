"""Import and export: from a file of any known format to a vector of the store, and back.

What a file does not say stays unknown: an imported vector has a direction per block, and no means, residual norms,
place or dose, so nothing can be steered with it until they are measured. An exported file holds the direction that
steers to one pole (its mean minus the neutral one), whole for every block, whatever its length.
"""

from dataclasses import dataclass

import numpy as np

from vector_store.errors import ImportRefused
from vector_store.files import decode, encode, is_vector_file
from vector_store.formats import CODECS, Exported, Format, detect
from vector_store.vector import FloatArray, PersonaVector, Side, Span


@dataclass(frozen=True)
class Subject:
    """Whose vector a file is to become. `n_layers`, `hidden_size` and `family`, the architecture's name, are None where
    nobody knows the model's."""

    model_id: str
    trait: str
    positive: str
    negative: str
    n_layers: int | None = None
    hidden_size: int | None = None
    family: str | None = None


def import_vector(
    content: bytes,
    subject: Subject | None,
    *,
    created: str,
    software_version: str,
    format: Format | None = None,
    side: Side | None = None,
    name: str = "the file",
    insist: bool = False,
) -> PersonaVector:
    """The vector in a file, not saved yet. The format is found out where it is not given, and the pole its directions
    lead to (`side`) is what the file says, else the positive one. The store's own format needs no subject.

    BadVectorFile for a damaged file of the store's own, else ImportRefused, which says what was found; `name` is for
    messages. A file that hints at another model or family is taken only with `insist`."""
    if format == "safetensors" or (format is None and is_vector_file(content)):
        vector = decode(content, name)
        _check_subject(vector, subject)
        return vector
    if subject is None:
        raise ImportRefused("the file does not say everything: name its model and its trait")
    found_format = format or detect(content, subject.n_layers)
    found = CODECS[found_format].read(content, subject.n_layers)
    for what, said, wanted in (("model", found.model, subject.model_id), ("trait", found.trait, subject.trait)):
        if said not in (None, wanted):
            raise ImportRefused(f"the file is for the {what} {said!r:.80}, not {wanted!r}")
    if found.hint is not None and not insist and not _is_meant(found.hint, subject):
        raise ImportRefused(
            f"the file is for {found.hint!r:.80}, which is neither {subject.model_id} nor its family "
            f"({subject.family or 'unknown until it is loaded'}); insist, if it is all the same"
        )
    towards = _side(found.pole, subject, side)
    n_layers, hidden = found.rows.shape
    if subject.hidden_size not in (None, hidden):
        raise ImportRefused(
            f"the directions are {hidden} long, the residuals of {subject.model_id} {subject.hidden_size}"
        )
    _check_rows(found.rows)
    return PersonaVector(
        model_id=subject.model_id,
        fingerprint="",
        trait=subject.trait,
        positive=subject.positive,
        negative=subject.negative,
        n_layers=n_layers,
        hidden_size=hidden,
        created=created,
        software_version=software_version,
        method=f"imported from a file in the format {found_format}; how it was made is unknown",
        origin="imported",
        difference=np.ascontiguousarray(found.rows if towards == "positive" else -found.rows),
    )


def export_vector(vector: PersonaVector, format: Format, side: Side = "positive") -> bytes:
    """A file's bytes with the direction that steers to this side; the store's own format has everything."""
    if format == "safetensors":
        return encode(vector)
    return CODECS[format].write(
        Exported(
            directions(vector, side),
            model=vector.model_id,
            trait=vector.trait,
            pole=vector.pole(side),
            note=note(vector, side),
            created=vector.created,
            effects=tuple(vector.effects(side)),
        )
    )


def suffix(format: Format) -> str:
    """How the names of such files end."""
    return ".safetensors" if format == "safetensors" else CODECS[format].suffix


def directions(vector: PersonaVector, side: Side) -> FloatArray:
    """float32[n_layers, hidden]: each block's direction, from the span the pole is steered by."""
    span = _span(vector, side)
    return np.stack([vector.direction(side, span, block) for block in range(vector.n_layers)])


def note(vector: PersonaVector, side: Side) -> str:
    """In one line what an exported direction is, and what it takes to do with it elsewhere what coefficient 1 does."""
    choice = vector.poles.get(side)
    line = f"{vector.pole(side)} in {vector.model_id}"
    if choice is None:
        return f"{line}; its strength was never measured"
    length = float(np.linalg.norm(vector.direction(side, choice.span, choice.block)))
    scale = choice.relative_dose * float(vector.residual_norms[choice.span][choice.block]) / length
    return (
        f"{line}; coefficient 1 is the direction of block {choice.block} times {scale:.4g}, "
        f"at the positions {choice.positions}"
    )


def _span(vector: PersonaVector, side: Side) -> Span:
    if side in vector.poles:
        return vector.poles[side].span
    return next(iter(vector.means), "response")


def _side(pole: str | None, subject: Subject, wanted: Side | None) -> Side:
    """The side the file's directions lead to: what it says itself, else what was asked for."""
    if pole is None:
        return wanted or "positive"
    if pole not in (subject.positive, subject.negative):
        raise ImportRefused(
            f"the file leads to {pole!r:.80}; the trait's poles are {subject.positive}, {subject.negative}"
        )
    said: Side = "negative" if pole == subject.negative else "positive"
    if wanted not in (None, said):
        raise ImportRefused(f"the file leads to {pole!r}, which is not the pole that was named")
    return said


def _check_rows(rows: FloatArray) -> None:
    """ImportRefused where a block's direction is one that nothing can be steered by; blocks without one are zeros."""
    if not np.isfinite(rows).all():
        raise ImportRefused("the directions have numbers that are not finite")
    if not rows.any():
        raise ImportRefused("the directions are all zero")
    with np.errstate(over="ignore", under="ignore"):
        lengths = np.sqrt(np.einsum("bh,bh->b", rows, rows, dtype=np.float32))
    for block, length in enumerate(lengths):
        if not np.isfinite(length) or (length == 0 and rows[block].any()):
            what = "small" if length == 0 else "large"
            raise ImportRefused(f"the direction of block {block} has numbers too {what} to be steered by")


def _is_meant(hint: str, subject: Subject) -> bool:
    """Whether a hint names the model or its family, however it is spelled; where nobody knows the family, whether it
    stands in the model's id, as in "Qwen/Qwen2.5-7B-Instruct"."""
    plain, model = _plain(hint), _plain(subject.model_id)
    return plain == model or (plain in model if subject.family is None else plain == _plain(subject.family))


def _plain(name: str) -> str:
    return "".join(character for character in name.lower() if character.isalnum())


def _check_subject(vector: PersonaVector, subject: Subject | None) -> None:
    if subject is None:
        return
    for what, said, wanted in (("model", vector.model_id, subject.model_id), ("trait", vector.trait, subject.trait)):
        if said != wanted:
            raise ImportRefused(f"the file is for the {what} {said!r:.80}, not {wanted!r}")
    if (vector.n_layers, vector.hidden_size) != (
        subject.n_layers or vector.n_layers,
        subject.hidden_size or vector.hidden_size,
    ):
        raise ImportRefused(
            f"the file is for {vector.n_layers} blocks of {vector.hidden_size}, {subject.model_id} has "
            f"{subject.n_layers} of {subject.hidden_size}"
        )
