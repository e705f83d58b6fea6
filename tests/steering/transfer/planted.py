"""A source model of eight numbers, of which one is silly, and maps from it to the pretend model.

The maps carry that number to the pretend model's hidden direction; the controls carry it anywhere. A second trait,
merry, is another of the eight numbers, which means nothing to the pretend model.
"""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from proxy.engines.base import FloatArray, Span
from proxy.steering.traits.trait import Trait
from proxy.steering.transfer.files import MapInfo, Side, TransferInfo, write_map, write_transfer
from proxy.steering.transfer.maps import Method
from tests.steering.pretend import HIDDEN, N_LAYERS, PretendEngine, hidden_direction, make_trait
from tests.steering.sweep.swept import placed
from vector_store import Condition, Count, PersonaVector, VectorStore

SOURCE = Side("org/source", "5" * 16, 2, 8)
SOURCE_BLOCK = 0
NOWHERE = np.roll(hidden_direction(), 1) - np.roll(hidden_direction(), 1) @ hidden_direction() * hidden_direction()
TRAITS: dict[str, Trait] = {"silly": make_trait(), "merry": make_trait("merry", "merry", "glum")}


def planted_map() -> FloatArray:
    """float32[8, HIDDEN]: number 0 is silly, number 1 merry."""
    map_ = np.zeros((8, HIDDEN), np.float32)
    map_[0], map_[1] = 3 * hidden_direction() + 0.3 * NOWHERE, NOWHERE
    return map_


def planted_transfer(folder: Path, blocks: tuple[int, ...] = tuple(range(N_LAYERS))) -> TransferInfo:
    """Written below `folder`, with maps to these blocks of the pretend model, each with two controls."""
    rng = np.random.default_rng(3)
    maps = [
        MapInfo(
            span="last_prompt",
            source_block=SOURCE_BLOCK,
            target_block=block,
            method=Method("ridge", 0.1),
            r2=0.9,
            r2_shuffled=-0.1,
            r2_by_kind={"ridge": 0.9},
            n_pairs=500,
            n_controls=2,
        )
        for block in blocks
    ]
    info = TransferInfo(
        id="transfer-planted",
        source=SOURCE,
        target=Side.of(PretendEngine().info),
        created="2026-01-03T00:00:00+00:00",
        software_version="1",
        text="made up",
        corpus_sha256="0",
        n_documents=100,
        seed=0,
        maps=maps,
        target_blocks=list(blocks),
        screened={},
        words=[],
    )
    for map_ in maps:
        shuffled = [rng.normal(0, 1, (8, HIDDEN)).astype(np.float32) for _ in range(map_.n_controls)]
        write_map(folder / info.id, map_, planted_map(), shuffled)
    write_transfer(folder / info.id, info)
    return info


def source_vector(trait: Trait, number: int) -> PersonaVector:
    """The source's, along one of its numbers."""
    step = np.zeros((SOURCE.n_layers, SOURCE.hidden_size), np.float32)
    step[:, number] = 1
    zero = np.zeros_like(step)
    return PersonaVector(
        model_id=SOURCE.id,
        fingerprint=SOURCE.fingerprint,
        trait=trait.id,
        positive=trait.positive,
        negative=trait.negative,
        n_layers=SOURCE.n_layers,
        hidden_size=SOURCE.hidden_size,
        created="2026-01-01T00:00:00+00:00",
        software_version="1",
        method="planted",
        means={"last_prompt": {"positive": step, "negative": -step, "neutral": zero}},
        residual_norms={"last_prompt": np.ones(SOURCE.n_layers, np.float32)},
        id=f"{trait.id}-source",
    )


def native_vectors() -> dict[str, PersonaVector]:
    """The pretend model's own."""
    counts: dict[Condition, Count] = {"neutral": Count(made=20, kept=20)}
    silly = dataclasses.replace(placed(0.8), counts=counts)
    shift = np.tile(NOWHERE.astype(np.float32), (N_LAYERS, 1))
    means: dict[Span, dict[Condition, FloatArray]] = {
        "last_prompt": {"positive": shift, "negative": -shift, "neutral": np.zeros_like(shift)}
    }
    poles = {side: dataclasses.replace(choice, relative_dose=0.6) for side, choice in silly.poles.items()}
    names: dict[str, Any] = {"trait": "merry", "positive": "merry", "negative": "glum", "id": "merry-placed"}
    return {"silly": silly, "merry": dataclasses.replace(silly, means=means, poles=poles, **names)}


def planted_store(folder: Path) -> VectorStore:
    """With the vectors of both models."""
    store = VectorStore([folder])
    for number, trait in enumerate(TRAITS.values()):
        store.save(source_vector(trait, number))
    for vector in native_vectors().values():
        store.save(vector)
    return store
