"""Which persona a request gets, and that everything unclear about it is an error naming the field."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.chat.personas import (
    MAX_PERSONAS,
    PersonaSource,
    Wanted,
    coefficients,
    parse,
    parse_coefficient,
    projected,
    resolve,
    split_model,
    strengths,
)
from proxy.errors import InvalidRequest, PersonaNotFound
from proxy.steering.traits.trait import load_traits, poles

KNOWN = {name: pole for name, pole in poles(load_traits()).items() if pole[0].id in ("silly", "dishonest")}
BODY, HEADER, SUFFIX, DEFAULT = range(4)


def places(**given: PersonaSource) -> list[PersonaSource]:
    order = {"body": BODY, "header": HEADER, "suffix": SUFFIX, "default": DEFAULT}
    result = [PersonaSource(), PersonaSource(), PersonaSource(), PersonaSource()]
    for name, place in given.items():
        result[order[name]] = place
    return result


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (places(), {}),
        (places(body=PersonaSource("silly")), {"silly": 1.0}),
        (places(body=PersonaSource("silly", -2)), {"silly": -2}),
        (places(body=PersonaSource("none", 2), suffix=PersonaSource("silly")), {}),
        (places(body=PersonaSource("silly", 0)), {}),
        (places(body=PersonaSource(coefficient=0)), {}),
        (places(body=PersonaSource({"silly": 1.0, "honest": 0.5, "serious": 0.0})), {"silly": 1.0, "honest": 0.5}),
        (places(body=PersonaSource({})), {}),
        (places(header=PersonaSource("silly", 0.5), suffix=PersonaSource("honest", 2)), {"silly": 0.5}),
        (places(suffix=PersonaSource("honest", -1.5), default=PersonaSource("silly")), {"honest": -1.5}),
        (places(default=PersonaSource("silly")), {"silly": 1.0}),
        (places(body=PersonaSource("none"), default=PersonaSource("silly")), {}),
        # A coefficient belongs to the personas of its own place and the later ones ...
        (places(body=PersonaSource(coefficient=0.5), suffix=PersonaSource("silly", 2)), {"silly": 0.5}),
        (places(header=PersonaSource(coefficient=0.5), default=PersonaSource("silly")), {"silly": 0.5}),
        # ... never to those of an earlier place.
        (places(body=PersonaSource("honest"), header=PersonaSource("silly", -2)), {"honest": 1.0}),
        (places(body=PersonaSource({"honest": 1.0}), header=PersonaSource("silly", -2)), {"honest": 1.0}),
        (places(body=PersonaSource("honest"), suffix=PersonaSource("silly", -2)), {"honest": 1.0}),
    ],
)
def test_precedence(asked: list[PersonaSource], expected: dict[str, float]) -> None:
    assert coefficients(resolve(asked, KNOWN)) == expected


def test_a_coefficient_of_0_when_it_is_a_level_then_is_kept() -> None:
    for place in (PersonaSource("silly", 0), PersonaSource({"silly": 0.0})):
        assert resolve(places(body=place), KNOWN, keep_zeros=True) == (Wanted(*KNOWN["silly"], 0.0),)
    assert resolve(places(body=PersonaSource("none", 0)), KNOWN, keep_zeros=True) == ()


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        (places(body=PersonaSource("silly", 2.01)), "coefficient"),
        (places(body=PersonaSource("silly", math.nan)), "coefficient"),
        (places(body=PersonaSource("silly", -math.inf)), "coefficient"),
        (places(body=PersonaSource({"silly": 3.0})), "persona.silly"),
        (places(body=PersonaSource({"silly": 1.0}, 1.0)), "coefficient"),
        (places(body=PersonaSource({"silly": 2.0, "honest": -2.0, "serious": 0.5})), "persona"),
        (places(body=PersonaSource(coefficient=1.0)), "persona"),
        (places(header=PersonaSource("silly", 9, "X-Persona", "X-Persona-Coefficient")), "X-Persona-Coefficient"),
    ],
)
def test_wrong_when_asked_then_the_field_is_named(asked: list[PersonaSource], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        resolve(asked, KNOWN)
    assert caught.value.param == param
    assert "possible" in caught.value.message or "each persona has its own" in caught.value.message


@pytest.mark.parametrize("persona", ["sily", "", "Silly", {"sily": 1.0}])
def test_unknown_persona_then_the_known_ones_are_named(persona: str | dict[str, float]) -> None:
    with pytest.raises(PersonaNotFound) as caught:
        resolve([PersonaSource(persona)], KNOWN)
    assert all(name in caught.value.message for name in [*KNOWN, "none"])


@pytest.mark.parametrize(("name", "meant"), [("sily", "silly"), ("serius", "serious"), ("pirate", None), ("", None)])
def test_unknown_persona_when_it_is_nearly_a_known_one_then_that_is_asked_about(name: str, meant: str | None) -> None:
    with pytest.raises(PersonaNotFound) as caught:
        resolve([PersonaSource(name)], KNOWN)
    assert (f"did you mean {meant!r}?" if meant else "persona") in caught.value.message
    assert meant is not None or "did you mean" not in caught.value.message


def test_too_many_personas_then_refused() -> None:
    known = dict.fromkeys((f"p{number}" for number in range(MAX_PERSONAS + 1)), KNOWN["silly"])
    with pytest.raises(InvalidRequest):
        resolve([PersonaSource(dict.fromkeys(known, 0.1))], known)


def test_personas_when_resolved_then_each_has_its_trait_and_the_side_its_sign_means() -> None:
    [silly, honest] = resolve([PersonaSource({"silly": 1.5, "honest": -0.5})], KNOWN)
    assert (silly.name, silly.trait.id, silly.side, silly.toward) == ("silly", "silly", "positive", "positive")
    assert (honest.name, honest.trait.id, honest.side, honest.toward) == ("honest", "dishonest", "negative", "positive")
    assert strengths([silly, honest]) == {"silly": 1.5, "dishonest": 0.5}
    assert strengths(resolve([PersonaSource({"silly": 1.0, "serious": -0.5})], KNOWN)) == {"silly": 1.5}


def test_poles_to_project_on_then_are_looked_up_and_unknown_ones_refused() -> None:
    assert projected(None, KNOWN) is None and projected([], KNOWN) == []
    assert projected(["serious"], KNOWN) == [(KNOWN["silly"][0], "negative")]
    with pytest.raises(PersonaNotFound) as caught:
        projected(["silly", "sily"], KNOWN)
    assert caught.value.param == "steering.projection"


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("m", ("m", PersonaSource())),
        ("m:silly", ("m", parse("silly", "model"))),
        ("m:silly@-1.5", ("m", parse("silly@-1.5", "model"))),
        ("org/m:7b:silly@1", ("org/m:7b", parse("silly@1", "model"))),
        ("m:exact", ("m:exact", PersonaSource())),
        ("unknown:silly", ("unknown:silly", PersonaSource())),
    ],
)
def test_model_suffix(model: str, expected: tuple[str, PersonaSource]) -> None:
    assert split_model(model, ["m", "org/m:7b", "m:exact"]) == expected


def test_model_suffix_with_a_bad_number_then_the_range_is_named() -> None:
    for suffix in ("silly@", "silly@x", "silly@3", "silly@nan"):
        with pytest.raises(InvalidRequest, match="from -2 to 2") as caught:
            split_model(f"m:{suffix}", ["m"])
        assert caught.value.param == "model"


@given(st.floats(-2, 2))
def test_coefficient_when_written_as_decimal_then_read_back(value: float) -> None:
    assert parse_coefficient(f"{value:.17f}", "x") == pytest.approx(value, abs=1e-15)


@given(st.text())
def test_coefficient_when_any_text_then_in_range_or_an_error(text: str) -> None:
    try:
        assert -2 <= parse_coefficient(text, "x") <= 2
    except InvalidRequest as error:
        assert error.param == "x"
