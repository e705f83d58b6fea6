"""A trait's file that would cost a parser much is refused before it is parsed, and no honest one is."""

import time
import tracemalloc

import pytest

from proxy.errors import SetupError
from proxy.steering.traits.toml_limits import problem
from proxy.steering.traits.trait import decode_trait

BOMBS = {
    "dotted key": b".".join([b"a"] * 100_000) + b"=1",
    "dotted table": b"[" + b" . ".join([b'"a"'] * 20_000) + b"]",
    "lists": b"a=" + b"[" * 100_000,
    "tables": b"a=" + b"{a=" * 50_000,
    "size": b'a="' + b"a" * 300_000 + b'"',
    "texts without end": b'"""' + b'"' * 100_000,
}


@pytest.mark.parametrize("name", BOMBS)
def test_decode_when_the_file_would_cost_much_then_it_is_refused_soon_in_little_memory(name: str) -> None:
    began = time.process_time()
    tracemalloc.start()
    try:
        with pytest.raises(SetupError, match=r"^file: (is|has) "):
            decode_trait(BOMBS[name], "file")
        assert tracemalloc.get_traced_memory()[1] < 20_000_000
    finally:
        tracemalloc.stop()
    assert time.process_time() - began < 3


def test_problem_when_brackets_and_dots_stand_in_texts_and_comments_then_there_is_none() -> None:
    marks = "[" * 40 + "." * 40
    for quotes in ('"', "'", '"""', "'''"):
        assert (
            problem(f"# don't {marks}\na = {quotes}{marks}{quotes} # {marks}\n[b.c]\nd = [['x'], [1.5]]".encode())
            is None
        )
