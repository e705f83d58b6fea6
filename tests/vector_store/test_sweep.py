"""A vector keeps its measured curves, and those that have none are read as before."""

import dataclasses
import json

import pytest

from tests.vector_store.vectors import make_vector
from vector_store import JudgedBy, Measured, Sweep, SweepPoint
from vector_store.files import decode, decode_header, encode, header_of

SWEEP = Sweep(
    points=[
        SweepPoint(
            kind="steered",
            coefficient=1.0,
            relative_dose=0.7,
            trait=Measured(mean=90.0, low=80.0, high=97.5),
            coherence=Measured(mean=99.0, low=97.0, high=100.0),
            wrong_way=Measured(mean=0.0, low=0.0, high=0.0),
            correct=None,
            score=0.89,
            n=40,
        )
    ],
    chosen_on=[],
    judge=JudgedBy(name="likelihood", auroc=0.97, n=80, scored=True),
    coherent_to=1.5,
    collapse=None,
    factor=0.8,
    verdict="1 was set to what 0.80 was",
    seed=0,
)


def test_file_when_a_pole_was_swept_then_its_curve_comes_back() -> None:
    vector = make_vector(sweeps={"negative": SWEEP})
    content = encode(vector)
    assert decode(content, "x").sweeps == {"negative": SWEEP}
    assert decode_header(lambda start, end: content[start:end], len(content), "x") == header_of(vector)


def test_file_when_it_was_written_before_there_were_sweeps_then_it_has_none() -> None:
    content = encode(make_vector())
    old = content.replace(b'\\"sweeps\\":{},', b" " * len(b'\\"sweeps\\":{},'))
    assert old != content and decode(old, "x").sweeps == {}
    length = int.from_bytes(old[:8], "little")
    assert "sweeps" not in json.loads(json.loads(old[8 : 8 + length])["__metadata__"]["persona_vector"])["header"]


def test_file_when_it_was_written_before_unfinished_answers_were_counted_then_none_are_known() -> None:
    new = dataclasses.replace(SWEEP, wrong_traits=["deep"])
    content = encode(make_vector(sweeps={"negative": new}))
    for name in (b',\\"unfinished\\":null', b',\\"wrong_traits\\":[\\"deep\\"]'):
        assert name in content
        content = content.replace(name, b" " * len(name))
    assert decode(content, "x").sweeps == {"negative": SWEEP}


def test_vector_when_a_pole_was_swept_that_is_steered_nowhere_then_refused() -> None:
    vector = make_vector(sweeps={"negative": SWEEP})
    with pytest.raises(ValueError, match="the negative pole was swept without a place"):
        dataclasses.replace(vector, poles={"positive": vector.poles["positive"]})
