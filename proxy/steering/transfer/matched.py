"""What is compared pole by pole: native and transferred vector of one trait, and the place and dose they share.

Nothing here is chosen by what a transferred vector does. Either place and dose are the native vector's own, or, as for
a trait the target has no vector of, those that the other traits' native vectors have most in common. Knows nothing of
answers.
"""

import statistics
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from proxy.engines.base import FloatArray, ModelInfo
from proxy.errors import SetupError
from proxy.steering.measuring import OwnResiduals
from proxy.steering.traits.trait import Trait
from proxy.steering.transfer.apply import carried, check
from proxy.steering.transfer.files import TransferInfo
from proxy.steering.trials import Place
from vector_store import SIDES, PersonaVector, PoleChoice, Side, VectorStore


@dataclass(frozen=True)
class Pole:
    """One pole in the target. `source` is the source's own vector, `native` the target's, `transferred` the source's
    carried over, `shuffled` the same by maps that were fitted to wrongly paired text. `choice`: where and how strongly
    all of them are added."""

    trait: Trait
    side: Side
    source: PersonaVector
    native: PersonaVector
    transferred: PersonaVector
    shuffled: Sequence[PersonaVector]
    choice: PoleChoice

    @property
    def name(self) -> str:
        return self.trait.pole(self.side)

    def direction(self, vector: PersonaVector) -> FloatArray:
        """float32[hidden], not normalised: the vector's at the pole's place."""
        return vector.direction(self.side, self.choice.span, self.choice.block)

    @property
    def residual_norm(self) -> float:
        """The median one at the pole's place."""
        return float(self.native.residual_norms[self.choice.span][self.choice.block])


def poles_of(
    info: ModelInfo, traits: Mapping[str, Trait], store: VectorStore, transfer: TransferInfo, folder: Path
) -> list[Pole]:
    """Both poles of each trait. `folder` holds all transfers. SetupError where a native vector is missing or has no
    place at a block that has a map, and as in apply.check."""
    found = []
    for trait in traits.values():
        source = native_vector(store, transfer.source.id, transfer.source.fingerprint, trait)
        native = native_vector(store, info.id, info.fingerprint, trait)
        check(info, trait, source, transfer)
        # Its own residuals are in it: with them the dose is the same for both to the last digit.
        own = OwnResiduals(
            {span: means["neutral"] for span, means in native.means.items()},
            native.residual_norms,
            native.counts["neutral"],
        )
        n_controls = min(map_.n_controls for map_ in transfer.maps)
        transferred, *shuffled = [
            carried(info, source, transfer, folder, own, control) for control in (None, *range(n_controls))
        ]
        found += [
            Pole(trait, side, source, native, transferred, shuffled, _own_choice(native, transferred, side))
            for side in SIDES
        ]
    return found


def native_vector(store: VectorStore, model_id: str, fingerprint: str, trait: Trait) -> PersonaVector:
    """The newest vector of these weights that was taken from the model itself. SetupError where there is none."""
    for header in store.list(model_id, trait.id):
        if (header.fingerprint, header.origin) == (fingerprint, "native"):
            return store.get(header.id)
    raise SetupError(
        f"{model_id} has no vector of its own for {trait.id}: persona-proxy extract --model {model_id} "
        f"--trait {trait.id}"
    )


def by_others(pole: Pole, poles: Sequence[Pole]) -> PoleChoice | None:
    """The most common place of the other traits' poles, and their median relative dose there; None without others."""
    others = [other.choice for other in poles if other.trait.id != pole.trait.id]
    if not others:
        return None
    place = Counter(map(Place.of, others)).most_common(1)[0][0]
    dose = statistics.median(choice.relative_dose for choice in others if Place.of(choice) == place)
    return PoleChoice(block=place.block, span=place.span, positions=place.positions, relative_dose=dose)


def _own_choice(native: PersonaVector, transferred: PersonaVector, side: Side) -> PoleChoice:
    """The native vector's, or, where that block has no map, the place of those with one at which the native vector
    gains most likelihood."""
    choice = native.poles.get(side)
    if choice is not None and _reaches(transferred, side, Place.of(choice)):
        return choice
    mapped = [gain for gain in native.gains if gain.side == side and _reaches(transferred, side, Place.of(gain))]
    if not mapped:
        where = "nowhere" if choice is None else f"at block {choice.block}, {choice.span}"
        raise SetupError(
            f"the vector {native.id!r} steers {native.pole(side)!r} {where}, where the transfer has no map; fit one "
            "with that block"
        )
    best = max(mapped, key=lambda gain: gain.gain)
    return PoleChoice(block=best.block, span=best.span, positions=best.positions, relative_dose=best.relative_dose)


def _reaches(transferred: PersonaVector, side: Side, place: Place) -> bool:
    return place.span in transferred.means and bool(transferred.direction(side, place.span, place.block).any())
