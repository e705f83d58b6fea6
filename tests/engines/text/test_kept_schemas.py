"""Schemas are compiled within limits of size, time and memory, and kept within a bound of bytes."""

import contextlib
import json
import multiprocessing
import resource
import time
from typing import Any

import pytest

from proxy.engines.errors import Refusal
from proxy.engines.text.kept_schemas import MAX_KEPT_BYTES, KeptSchemas
from proxy.engines.text.schema_bounds import MAX_MULTIPLES, MAX_PROPERTIES, MAX_SCHEMA_BYTES, too_large
from tests.engines.test_constrained import PLAIN, lexicon_of

MAX_MB = 200
MAX_S = 3  # of the processor; one on a machine that has nothing else to do
TEXT = {"type": "string"}


def of_size(n_bytes: int) -> str:
    return json.dumps("x" * (n_bytes - 2))


def test_a_schema_when_asked_for_again_then_it_is_not_compiled_again() -> None:
    compiled: list[str] = []
    kept = KeptSchemas(compiled.append)
    for schema in ("a", "b", "a"):
        kept(schema)
    assert compiled == ["a", "b"]


def test_schemas_when_they_take_more_than_the_bound_then_what_was_not_asked_for_longest_goes() -> None:
    compiled: list[str] = []
    kept = KeptSchemas(compiled.append)
    kept("first")
    for number in range(300):
        kept(of_size(1000 + number))
        kept("first")
        assert kept.n_bytes <= MAX_KEPT_BYTES
    assert compiled.count("first") == 1
    kept(of_size(1000))
    assert compiled.count(of_size(1000)) == 2


def test_a_schema_when_it_is_too_large_then_refused_before_it_is_compiled() -> None:
    compiled: list[str] = []
    kept = KeptSchemas(compiled.append)
    kept(of_size(MAX_SCHEMA_BYTES))
    with pytest.raises(Refusal, match="up to 65536"):
        kept(of_size(MAX_SCHEMA_BYTES + 1))
    with pytest.raises(Refusal, match="up to 65536"):
        kept("é" * (MAX_SCHEMA_BYTES // 2 + 1))
    assert len(compiled) == 1


def grown(part: Any, number: int) -> Any:
    """As many of a kind of part as go into a schema."""
    return part(range(number)) if len(json.dumps(part(range(number)))) <= MAX_SCHEMA_BYTES else grown(part, number - 50)


HEAVY: dict[str, Any] = {
    "one constant": {"const": "a" * (MAX_SCHEMA_BYTES - 50)},
    "many values": grown(lambda numbers: {"enum": [f"{each:x}" for each in numbers]}, 9000),
    "many fields": grown(lambda ns: {"type": "object", "properties": {f"p{n}": TEXT for n in ns}}, MAX_PROPERTIES),
    "many shapes": grown(
        lambda ns: {"anyOf": [{"type": "object", "properties": {f"q{n}": TEXT}, "required": [f"q{n}"]} for n in ns]},
        900,
    ),
    "many formats": grown(lambda ns: {"anyOf": [{"type": "string", "format": "date-time"} for _ in ns]}, 1400),
    "many patterns": grown(lambda ns: {"anyOf": [{"type": "string", "pattern": f"a{n}.*b{{{n}}}"} for n in ns]}, 1400),
    "counted repeats of repeats": {"type": "string", "pattern": "^(((a{50}){50}){50}){50}$"},
    "a long repeat": {"type": "string", "pattern": "^a{1000000}$"},
    "multiples": {"type": "object", "properties": {f"p{n}": {"multipleOf": 7919 + n} for n in range(5)}},
    "too many multiples": {"type": "object", "properties": {f"p{n}": {"multipleOf": 7919 + n} for n in range(99)}},
    "short names": {"type": "object", "properties": {f"{n:x}": {} for n in range(5000)}},
    "references to references": {
        "$defs": {
            **{f"d{n}": {"anyOf": [{"$ref": f"#/$defs/d{n + 1}"}, {"$ref": f"#/$defs/d{n + 1}"}]} for n in range(400)},
            "d400": TEXT,
        },
        "$ref": "#/$defs/d0",
    },
    "choices of choices": {
        "allOf": [{"anyOf": [{"properties": {f"a{i}_{j}": TEXT}} for j in range(4)]} for i in range(8)]
    },
}


def compiling(schema: str, told: Any) -> None:
    lexicon = lexicon_of(PLAIN)
    before, started = _peak_mb(), time.process_time()
    with contextlib.suppress(Refusal):
        lexicon.constraint(schema)
    told.send((time.process_time() - started, _peak_mb() - before))


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000


@pytest.mark.parametrize("kind", HEAVY)
def test_a_schema_when_it_is_as_heavy_as_may_be_then_compiled_or_refused_in_time_and_memory(kind: str) -> None:
    schema = json.dumps(HEAVY[kind])
    assert len(schema) <= MAX_SCHEMA_BYTES
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe()
    process = context.Process(target=compiling, args=(schema, there))
    process.start()
    assert here.poll(60)
    seconds, megabytes = here.recv()
    process.join()
    assert seconds < MAX_S and megabytes < MAX_MB


@pytest.mark.parametrize(
    ("schema", "beyond"),
    [
        ({"items": {"properties": {f"p{n}": {} for n in range(MAX_PROPERTIES)}}}, None),
        ({"items": {"properties": {f"p{n}": {} for n in range(MAX_PROPERTIES + 1)}}}, "2001 properties"),
        ({"anyOf": [{"multipleOf": MAX_MULTIPLES}, {"multipleOf": 100_000_000}]}, None),
        ({"anyOf": [{"multipleOf": MAX_MULTIPLES - 1}] * 3}, None),
        ({"anyOf": [{"multipleOf": MAX_MULTIPLES - 1}, {"multipleOf": 0.002}]}, "multipleOf"),
        ({"properties": {"multipleOf": {"const": "x"}, "properties": {"type": "null"}}, "multipleOf": "x"}, None),
    ],
)
def test_a_schema_when_it_is_beyond_a_bound_then_that_is_named(schema: Any, beyond: str | None) -> None:
    told = too_large(json.dumps(schema))
    assert (told is None) == (beyond is None) and (beyond or "") in (told or "")


def test_a_bound_when_a_schema_is_no_json_then_it_says_nothing_of_it() -> None:
    assert too_large("{") is None and too_large('{"items":' * 5000 + "{}" + "}" * 5000) is None
