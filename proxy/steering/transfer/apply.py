"""A persona vector carried to another model: its directions mapped, its place and strength measured anew.

A map's linear part alone is used, and of what it makes only the direction: how far the target is pushed along it is
found as for any other vector. Knows nothing of how maps are fitted.
"""

import dataclasses
from pathlib import Path

import proxy
from proxy.engines.base import Engine, FloatArray, ModelInfo
from proxy.errors import SetupError
from proxy.steering import limited, placement
from proxy.steering.budget import Budget
from proxy.steering.dose import unit
from proxy.steering.judge import Validated
from proxy.steering.measuring import OwnResiduals, own_residuals
from proxy.steering.traits.trait import Trait
from proxy.steering.transfer.files import TransferInfo, read_map
from proxy.steering.transfer.text import Names
from proxy.steering.work import Work
from vector_store import SIDES, Condition, PersonaVector, Span, Transferred, UsedMap

METHOD = (
    "another model's directions, mapped; a pole's mean is the neutral one and one residual norm along its direction"
)


def apply(
    engine: Engine,
    trait: Trait,
    vector: PersonaVector,
    transfer: TransferInfo,
    folder: Path,
    judged: Validated,
    *,
    seed: int,
    work: Work,
    budget: Budget | None = None,
) -> PersonaVector:
    """The vector as one of `engine`'s model, with places and doses measured there, within a limited `budget` where
    there is one, still to be saved. `folder` holds all transfers. Blocks for minutes. SetupError as in `check`."""
    check(engine.info, trait, vector, transfer)
    if budget is None:
        own = own_residuals(engine, trait, seed=seed, work=work)
        moved = dataclasses.replace(carried(engine.info, vector, transfer, folder, own), judge=judged.record)
        return placement.choose(engine, trait, moved, judged.judge, seed=seed, work=work)
    own = own_residuals(
        engine, trait, seed=seed, work=work, max_tokens=budget.answer_tokens, temperature=budget.temperature
    )
    moved = dataclasses.replace(
        carried(engine.info, vector, transfer, folder, own), method=f"{METHOD}; placed within the budget {budget.name}"
    )
    return limited.place(engine, trait, moved, judged, budget, seed, work)


def check(info: ModelInfo, trait: Trait, vector: PersonaVector, transfer: TransferInfo) -> None:
    """SetupError where the vector or the transfer is of other models or weights, where the vector has no means, and
    for a trait that the text the maps were fitted on names."""
    if vector.fingerprint != transfer.source.fingerprint:
        raise SetupError(
            f"the transfer {transfer.id!r} is from other weights of {transfer.source.id} than those the vector "
            f"{vector.id!r} was taken from; fit it again"
        )
    if info.fingerprint != transfer.target.fingerprint:
        raise SetupError(f"the transfer {transfer.id!r} is to other weights than {info.id} has; fit it again")
    if vector.difference is not None:
        raise SetupError(f"the vector {vector.id!r} was imported: the residuals it comes from are not known")
    names = Names({trait.id: trait})
    named = sorted({word for word in transfer.words if names.found(word)})
    if named:
        raise SetupError(
            f"the transfer {transfer.id!r} was fitted on text that names {trait.id!r} ({', '.join(named[:3])}); fit it "
            "again now that the trait is known"
        )


def carried(
    info: ModelInfo,
    vector: PersonaVector,
    transfer: TransferInfo,
    folder: Path,
    own: OwnResiduals,
    control: int | None = None,
) -> PersonaVector:
    """The vector in the target, `info`, with no places chosen yet: directions at the blocks that have a map, made with
    the maps or with one of their controls."""
    means: dict[Span, dict[Condition, FloatArray]] = {
        span: {"neutral": neutral, **{side: neutral.copy() for side in SIDES}} for span, neutral in own.means.items()
    }
    used = [map_ for map_ in transfer.maps if map_.span in vector.means]
    for map_ in used:
        array = read_map(folder / transfer.id, map_, control)
        for side in SIDES:
            direction = unit(vector.direction(side, map_.span, map_.source_block) @ array)
            if direction is not None:
                length = own.norms[map_.span][map_.target_block]
                means[map_.span][side][map_.target_block] += length * direction
    return PersonaVector(
        model_id=info.id,
        fingerprint=info.fingerprint,
        trait=vector.trait,
        positive=vector.positive,
        negative=vector.negative,
        n_layers=info.n_layers,
        hidden_size=info.hidden_size,
        created="",
        software_version=proxy.__version__,
        method=METHOD,
        origin="transferred",
        parent=vector.id,
        counts={"neutral": own.count},
        means=means,
        residual_norms=own.norms,
        transfer=Transferred(
            id=transfer.id,
            source_model=transfer.source.id,
            source_fingerprint=transfer.source.fingerprint,
            maps=[
                UsedMap(
                    span=map_.span,
                    source_block=map_.source_block,
                    target_block=map_.target_block,
                    method=map_.method.words,
                    r2=map_.r2,
                    r2_shuffled=map_.r2_shuffled,
                    n_pairs=map_.n_pairs,
                )
                for map_ in used
            ],
        ),
    )
