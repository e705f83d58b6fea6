"""Which personas a request gets, at which coefficients: names, the places they may stand in, and their precedence.

Names are looked up here and nowhere later: what comes out holds the traits as they were at that moment.

Pure, and knows nothing of HTTP, vectors or models. The places, first to last: the body, the headers, the metadata, the
model id's suffix, the API key's default, the server's default. The first that names a persona decides. A coefficient
belongs to the personas of its own place and of the later ones, never to those of an earlier place: a client whose
headers always say -2 does not turn around the persona another caller puts in the body.
"""

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

from proxy.errors import InvalidRequest, PersonaNotFound
from proxy.protocol.steering import MAX_COEFFICIENT, MIN_COEFFICIENT, SteeringOptions
from proxy.steering.traits.trait import Poles, Trait
from vector_store import Side, opposite

NONE = "none"
DEFAULT_COEFFICIENT = 1.0
MAX_PERSONAS = 8
MAX_TOTAL = 4.0  # of the coefficients' absolute values
ALIKE = 0.7  # of a name that is nearly known, as difflib counts it
MAX_GUESSED = 64  # characters of an unknown name that are compared with the known ones
READ_ONLY = ("projection", "trace")  # fields of `steering` that steer nothing, and need no persona
RANGE = f"a number from {MIN_COEFFICIENT:g} to {MAX_COEFFICIENT:g}"

_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)", re.ASCII)


@dataclass(frozen=True)
class PersonaSource:
    """What one place of a request says. The fields' names are what an error calls them."""

    persona: str | Mapping[str, float] | None = None
    coefficient: float | None = None
    persona_field: str = "persona"
    coefficient_field: str = "coefficient"


@dataclass(frozen=True)
class Wanted:
    """One persona that a request gets: the pole of `trait` on `side`, or, below 0, its opposite."""

    trait: Trait
    side: Side
    coefficient: float

    @property
    def name(self) -> str:
        """The persona's name, as the request has it."""
        return self.trait.pole(self.side)

    @property
    def toward(self) -> Side:
        """The side that is steered to: `silly` at -1 is `serious` at 1."""
        return opposite(self.side) if self.coefficient < 0 else self.side


def resolve(
    places: Sequence[PersonaSource],
    known: Poles,
    *,
    keep_zeros: bool = False,
    manner: str | None = None,
    offered: Collection[str] | None = None,
) -> tuple[Wanted, ...]:
    """The personas, without those at 0 unless `keep_zeros`; none for "none" and where nothing is asked.

    `places` come first to last. `manner` is a field that says how to steer: then some place has to say to what, be it
    "none". Raises PersonaNotFound, or InvalidRequest naming the field and what is possible: the `offered` personas, by
    default all.
    """
    possible = known if offered is None else offered
    coefficient: PersonaSource | None = None
    for place in places:
        if place.coefficient is not None and coefficient is None:
            _check(place.coefficient, place.coefficient_field)
            coefficient = place
        if place.persona is not None:
            chosen = _chosen(place, coefficient, known, possible)
            return tuple(Wanted(*known[name], value) for name, value in chosen.items() if value or keep_zeros)
    given = manner if coefficient is None else coefficient.coefficient_field
    if given is not None and (coefficient is None or coefficient.coefficient != 0):
        message = f"{given} is given but no persona; possible personas: {_names(possible)}"
        raise InvalidRequest(message, param="persona")
    return ()


def manner_of(options: SteeringOptions) -> str | None:
    """The first field that says how to steer, by its name in a request; None where only projections are asked for."""
    usual = SteeringOptions()
    names = (name for name in options.__struct_fields__ if name not in READ_ONLY)
    return next((f"steering.{name}" for name in names if getattr(options, name) != getattr(usual, name)), None)


def projected(
    names: Sequence[str] | None, known: Poles, offered: Collection[str] | None = None
) -> list[tuple[Trait, Side]] | None:
    """The poles that `steering.projection` names, None where it is left out. PersonaNotFound names those that are
    `offered`, by default all."""
    if names is None:
        return None
    for name in names:
        check_known(name, known, "steering.projection", offered)
    return [known[name] for name in names]


def coefficients(personas: Iterable[Wanted]) -> dict[str, float]:
    """The coefficient of each persona, by its name."""
    return {wanted.name: wanted.coefficient for wanted in personas}


def strengths(personas: Iterable[Wanted]) -> dict[str, float]:
    """How strongly each pole is steered to, by its name; none negative."""
    found: dict[str, float] = {}
    for wanted in personas:
        pole = wanted.trait.pole(wanted.toward)
        found[pole] = found.get(pole, 0.0) + abs(wanted.coefficient)
    return found


def label(poles: Iterable[str]) -> str:
    """What answers that are steered to these poles are filed under."""
    return ",".join(sorted(poles)) or NONE


def _chosen(
    place: PersonaSource, coefficient: PersonaSource | None, known: Collection[str], possible: Collection[str]
) -> dict[str, float]:
    if isinstance(place.persona, str):
        if place.persona == NONE:
            return {}
        check_known(place.persona, known, place.persona_field, possible)
        value = DEFAULT_COEFFICIENT if coefficient is None else coefficient.coefficient
        return {place.persona: value or 0.0}
    assert place.persona is not None
    if coefficient is not None:
        raise InvalidRequest(
            f"{coefficient.coefficient_field} goes with one persona given by name; "
            f"where {place.persona_field} is an object each persona has its own coefficient",
            param=coefficient.coefficient_field,
        )
    return _several(place.persona, place.persona_field, known, possible)


def _several(
    personas: Mapping[str, float], field: str, known: Collection[str], possible: Collection[str]
) -> dict[str, float]:
    for name, value in personas.items():
        check_known(name, known, field, possible)
        _check(value, f"{field}.{name}")
    if len(personas) > MAX_PERSONAS:
        raise InvalidRequest(f"{field} names {len(personas)} personas; possible: up to {MAX_PERSONAS}", param=field)
    total = sum(abs(value) for value in personas.values())
    if total > MAX_TOTAL:
        raise InvalidRequest(
            f"the coefficients in {field} come to {total:g} without their signs; "
            f"possible: up to {MAX_TOTAL:g} together",
            param=field,
        )
    return dict(personas)


def split_model(model: str, models: Collection[str]) -> tuple[str, PersonaSource]:
    """A model id and what its suffix says: `model`, `model:persona` or `model:persona@-1.5`.

    One of `models` wins over splitting; what can't be split into one of them comes back whole.
    """
    if model in models:
        return model, PersonaSource()
    base, separator, suffix = model.rpartition(":")
    if not separator or base not in models:
        return model, PersonaSource()
    return base, parse(suffix, "model")


def parse(text: str, field: str) -> PersonaSource:
    """`persona` or `persona@coefficient`, as in a model id's suffix and in the settings' default personas."""
    persona, separator, number = text.partition("@")
    coefficient = parse_coefficient(number, field) if separator else None
    return PersonaSource(persona, coefficient, persona_field=field, coefficient_field=field)


def parse_coefficient(text: str, field: str) -> float:
    """A coefficient written as text. InvalidRequest names the field and the range."""
    if not _NUMBER.fullmatch(text.strip()):
        raise InvalidRequest(f"{field}: {text!r} is no coefficient; possible: {RANGE}", param=field)
    value = float(text.strip())
    _check(value, field)
    return value


def _check(value: float, field: str) -> None:
    # Written so that NaN fails it too.
    if not MIN_COEFFICIENT <= value <= MAX_COEFFICIENT:
        raise InvalidRequest(f"{field}: the coefficient {value:g} is out of range; possible: {RANGE}", param=field)


def check_known(name: str, known: Collection[str], field: str, possible: Collection[str] | None = None) -> None:
    """PersonaNotFound, naming the field and those that are `possible`, by default the known ones."""
    if name not in known:
        nearly = get_close_matches(name[:MAX_GUESSED], known, n=1, cutoff=ALIKE)
        meant = f" (did you mean {nearly[0]!r}?)" if nearly else ""
        names = _names(known if possible is None else possible)
        raise PersonaNotFound(f"{field}: there is no persona {name!r}{meant}; possible: {names}", param=field)


def _names(known: Collection[str]) -> str:
    return ", ".join([*sorted(known), NONE])
