"""Which version is in use: the one that was asked for, else the newest that is not rougher; and what is said of it."""

import dataclasses
import itertools
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.vector_store.vectors import make_vector
from vector_store import Count, JudgedBy, Sweep, SweepPoint, VectorHeader
from vector_store.choice import choose, made_at, rougher, standing
from vector_store.files import header_of

RULES = JudgedBy(name="rules", auroc=0.99, n=80, scored=True)
LIKELIHOOD = JudgedBy(name="likelihood ratio", auroc=0.9, n=80, scored=True)
BLIND = JudgedBy(name="rules", auroc=0.6, n=80, scored=False)
PLACE = header_of(make_vector()).poles["positive"]


def version(id: str, day: int, *, made: int = 400, judge: JudgedBy | None = RULES, **changes: Any) -> VectorHeader:
    """One of 400 answers that rules judged."""
    counts: Any = {"positive": Count(made=made, kept=made // 2)}
    known: dict[str, Any] = {"id": id, "created": f"2026-01-{day:02}T00:00:00+00:00", "counts": counts, "judge": judge}
    return dataclasses.replace(header_of(make_vector()), **(known | changes))


def swept(n: int, judge: JudgedBy = RULES) -> Any:
    point = SweepPoint(
        kind="steered",
        coefficient=1.0,
        relative_dose=0.5,
        trait=None,
        coherence=None,
        wrong_way=None,
        correct=None,
        score=None,
        n=n,
    )
    sweep = Sweep(
        points=[point], chosen_on=[], judge=judge, coherent_to=1.0, collapse=None, factor=None, verdict="", seed=0
    )
    return {"positive": sweep}


@pytest.mark.parametrize(
    ("old", "new", "why"),
    [
        ({}, {}, None),
        ({}, {"made": 800}, None),
        ({}, {"made": 399}, "it was made of 399 answers, old of 400"),
        ({}, {"counts": {}}, "it was made of 0 answers"),
        ({}, {"judge": LIKELIHOOD}, "it was judged by likelihood ratio, old by rules"),
        ({}, {"judge": BLIND}, "its judge, rules, told the poles apart too rarely to score by"),
        ({}, {"judge": None}, "nobody knows who judged it, and old was judged by rules"),
        ({"judge": None}, {}, None),
        ({"judge": None}, {"judge": BLIND}, "too rarely"),
        ({"judge": BLIND}, {"judge": LIKELIHOOD}, None),
        ({"judge": BLIND}, {"judge": BLIND}, None),
        ({}, {"poles": {}}, "where and how strongly it steers to silly was never measured"),
        ({}, {"poles": {"positive": PLACE}}, "to serious was never measured, as it was for old"),
        ({"poles": {}}, {}, None),
        ({}, {"origin": "imported", "made": 800}, "it was imported, while old is of the model's own answers"),
        ({}, {"origin": "transferred"}, "it was carried over from another model, while old"),
        ({"origin": "imported"}, {"made": 1, "judge": LIKELIHOOD}, None),
        ({"origin": "imported"}, {"origin": "transferred"}, None),
        ({"sweeps": swept(40)}, {}, None),
        ({}, {"sweeps": swept(4)}, None),
        ({"sweeps": swept(40)}, {"sweeps": swept(80)}, None),
        ({"sweeps": swept(40)}, {"sweeps": swept(10)}, "swept by 10 answers at each strength, old by 40"),
        ({"sweeps": swept(40)}, {"sweeps": swept(40, LIKELIHOOD)}, "judged by likelihood ratio, old by rules"),
        ({"sweeps": swept(40)}, {"sweeps": swept(40, BLIND)}, "too rarely"),
    ],
)
def test_a_newer_version_when_it_is_rougher_then_it_is_kept_and_the_reason_is_named(
    old: dict[str, Any], new: dict[str, Any], why: str | None
) -> None:
    before, after = version("old", 1, **old), version("new", 2, **new)
    found = choose([after, before], None)
    assert found == (after if why is None else before)
    said = standing(after, [before, after], None)
    assert said.in_use == (why is None)
    if why is not None:
        assert why in str(rougher(after, before))
        if after.poles:
            assert why in said.note and said.note.endswith("; use it with: persona-proxy vectors use new")


def test_standing_when_one_takes_over_then_it_says_how_to_go_back() -> None:
    first, second = version("first", 1), version("second", 2)
    assert standing(first, [first], None).note == "now in use"
    assert standing(second, [first, second], None).note == ("now in use; go back with: persona-proxy vectors use first")
    assert standing(first, [first, second], None).note == (
        "kept, not in use, because second is newer; use it with: persona-proxy vectors use first"
    )
    assert "because first was asked for;" in standing(second, [first, second], "first").note
    unmeasured = version("third", 3, poles={}, fingerprint="")
    assert "never measured" in standing(unmeasured, [unmeasured], None).note
    unknown = version("fourth", 4, fingerprint="")
    assert not standing(unknown, [unknown], None).in_use


def test_choose_when_one_was_asked_for_then_it_is_in_use_as_long_as_it_is_there() -> None:
    rough, good, newest = version("rough", 1, made=1), version("good", 2), version("newest", 3)
    for asked in (rough, good, newest):
        assert choose([rough, good, newest], asked.id) == asked
    assert choose([rough, good, newest], "deleted") == newest
    assert choose([], "rough") is None


@given(st.lists(st.tuples(st.sampled_from([1, 60, 400]), st.sampled_from([RULES, LIKELIHOOD, BLIND])), max_size=4))
def test_choose_when_the_files_come_in_any_order_then_it_is_the_same_and_not_rougher_than_what_it_took_over_from(
    kinds: list[tuple[int, JudgedBy]],
) -> None:
    versions = [version(f"v{day}", day, made=made, judge=judge) for day, (made, judge) in enumerate(kinds, 1)]
    found = {choose(order, None) and choose(order, None).id for order in itertools.permutations(versions)}  # type: ignore[union-attr]
    assert len(found) == 1
    assert [said for each in versions if (said := standing(each, versions, None)).in_use][1:] == []


@pytest.mark.parametrize(
    "created", ["", "yesterday", "9999-12-31T23:59:59-12:00", "2026-01-02", "0001-01-01T00:00+23:00"]
)
def test_made_at_when_it_is_no_time_then_it_is_before_all_others(created: str) -> None:
    assert made_at(version("x", 1, created=created)) < made_at(version("x", 3))
