"""The page of what things would cost says what its formulas come to."""

from pathlib import Path

from docs.scripts import arithmetic
from proxy.catalogue import known
from proxy.catalogue.known import KNOWN
from proxy.engines.vllm import steering, table
from vector_store.store import KEPT_BYTES


def test_the_page_then_its_tables_are_the_computed_ones() -> None:
    text = arithmetic.PAGE.read_text("utf-8")
    assert arithmetic.filled(text) == text, "out of date: run `python -m docs.scripts.arithmetic`"
    assert all(table() in text for table in arithmetic.TABLES.values())


def test_its_facts_then_the_code_has_the_same() -> None:
    assert arithmetic.KEPT_VECTORS == KEPT_BYTES
    assert arithmetic.SMOL.weights == KNOWN["smollm2-135m-instruct"].size
    assert arithmetic.QWEN_Q4.weights == KNOWN["qwen2.5-7b-instruct"].size
    assert arithmetic.GPT_OSS.weights == KNOWN["gpt-oss-20b"].size
    assert arithmetic.SMOL.kv_per_token == 23_040
    assert (arithmetic.SLOTS, arithmetic.DIRECTIVES) == (steering.SLOTS, steering.DIRECTIVES)
    assert (arithmetic.ADDED_AND_HELD, arithmetic.READ) == (2 * table.ROUNDS, table.MOST_READ)


def test_a_stored_vector_then_its_numbers_take_what_the_page_says() -> None:
    files = list((Path(known.__file__).parent / "vectors" / "smollm2-135m-instruct").glob("*/*.safetensors"))
    assert files
    for file in files:
        with file.open("rb") as data:
            header = int.from_bytes(data.read(8), "little")
        assert file.stat().st_size - 8 - header == arithmetic.SMOL.vector
