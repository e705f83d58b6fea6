"""Which persona a request gets, and that everything unclear about it is an error naming the field."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.chat.personas import MAX_PERSONAS, Place, parse, parse_coefficient, resolve, split_model
from proxy.errors import InvalidRequest, PersonaNotFound

KNOWN = ["silly", "serious", "honest", "dishonest"]
BODY, HEADER, SUFFIX, DEFAULT = range(4)


def places(**given: Place) -> list[Place]:
    order = {"body": BODY, "header": HEADER, "suffix": SUFFIX, "default": DEFAULT}
    result = [Place(), Place(), Place(), Place()]
    for name, place in given.items():
        result[order[name]] = place
    return result


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        (places(), {}),
        (places(body=Place("silly")), {"silly": 1.0}),
        (places(body=Place("silly", -2)), {"silly": -2}),
        (places(body=Place("none", 2), suffix=Place("silly")), {}),
        (places(body=Place("silly", 0)), {}),
        (places(body=Place(coefficient=0)), {}),
        (places(body=Place({"silly": 1.0, "honest": 0.5, "serious": 0.0})), {"silly": 1.0, "honest": 0.5}),
        (places(body=Place({})), {}),
        (places(header=Place("silly", 0.5), suffix=Place("honest", 2)), {"silly": 0.5}),
        (places(suffix=Place("honest", -1.5), default=Place("silly")), {"honest": -1.5}),
        (places(default=Place("silly")), {"silly": 1.0}),
        (places(body=Place("none"), default=Place("silly")), {}),
        # A coefficient belongs to the personas of its own place and the later ones ...
        (places(body=Place(coefficient=0.5), suffix=Place("silly", 2)), {"silly": 0.5}),
        (places(header=Place(coefficient=0.5), default=Place("silly")), {"silly": 0.5}),
        # ... never to those of an earlier place.
        (places(body=Place("honest"), header=Place("silly", -2)), {"honest": 1.0}),
        (places(body=Place({"honest": 1.0}), header=Place("silly", -2)), {"honest": 1.0}),
        (places(body=Place("honest"), suffix=Place("silly", -2)), {"honest": 1.0}),
    ],
)
def test_precedence(asked: list[Place], expected: dict[str, float]) -> None:
    assert resolve(asked, KNOWN) == expected


def test_a_coefficient_of_0_when_it_is_a_level_then_is_kept() -> None:
    for place in (Place("silly", 0), Place({"silly": 0.0})):
        assert resolve(places(body=place), KNOWN, keep_zeros=True) == {"silly": 0.0}
    assert resolve(places(body=Place("none", 0)), KNOWN, keep_zeros=True) == {}


@pytest.mark.parametrize(
    ("asked", "param"),
    [
        (places(body=Place("silly", 2.01)), "coefficient"),
        (places(body=Place("silly", math.nan)), "coefficient"),
        (places(body=Place("silly", -math.inf)), "coefficient"),
        (places(body=Place({"silly": 3.0})), "persona.silly"),
        (places(body=Place({"silly": 1.0}, 1.0)), "coefficient"),
        (places(body=Place({"silly": 2.0, "honest": -2.0, "serious": 0.5})), "persona"),
        (places(body=Place(coefficient=1.0)), "persona"),
        (places(header=Place("silly", 9, "X-Persona", "X-Persona-Coefficient")), "X-Persona-Coefficient"),
    ],
)
def test_wrong_when_asked_then_the_field_is_named(asked: list[Place], param: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        resolve(asked, KNOWN)
    assert caught.value.param == param
    assert "possible" in caught.value.message or "each persona has its own" in caught.value.message


@pytest.mark.parametrize("persona", ["sily", "", "Silly", {"sily": 1.0}])
def test_unknown_persona_then_the_known_ones_are_named(persona: str | dict[str, float]) -> None:
    with pytest.raises(PersonaNotFound) as caught:
        resolve([Place(persona)], KNOWN)
    assert all(name in caught.value.message for name in [*KNOWN, "none"])


def test_too_many_personas_then_refused() -> None:
    known = [f"p{number}" for number in range(MAX_PERSONAS + 1)]
    with pytest.raises(InvalidRequest):
        resolve([Place(dict.fromkeys(known, 0.1))], known)


@pytest.mark.parametrize(
    ("model", "expected"),
    [
        ("m", ("m", Place())),
        ("m:silly", ("m", parse("silly", "model"))),
        ("m:silly@-1.5", ("m", parse("silly@-1.5", "model"))),
        ("org/m:7b:silly@1", ("org/m:7b", parse("silly@1", "model"))),
        ("m:exact", ("m:exact", Place())),
        ("unknown:silly", ("unknown:silly", Place())),
    ],
)
def test_model_suffix(model: str, expected: tuple[str, Place]) -> None:
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
