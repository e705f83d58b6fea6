"""What each token adds to a text is told alike by both engines: whole characters, and nothing for markers."""

from pathlib import Path

import pytest

from tests.engines.conftest import LoadEngine
from tests.engines.llama_cpp.models import LoadLlama

TEXT = "naïve 🙂 ends"


def test_pieces_when_a_character_takes_several_tokens_then_it_comes_with_the_last(
    engine_of: LoadEngine, gpt_oss: Path
) -> None:
    engine = engine_of(gpt_oss)
    pieces = engine.pieces(engine.encode(TEXT))
    assert "".join(pieces) == TEXT and "🙂" in pieces and "" in pieces


def test_pieces_when_a_template_s_markers_are_among_the_tokens_then_they_add_nothing(
    engine_of: LoadEngine, gpt_oss: Path
) -> None:
    engine = engine_of(gpt_oss)
    prompt = engine.render([{"role": "user", "content": TEXT}])
    assert "".join(engine.pieces(prompt)).count(TEXT) == 1 and "<|" not in "".join(engine.pieces(prompt))


def test_pieces_when_llama_runs_the_model_then_they_are_the_same(
    engine_of: LoadEngine, llama_of: LoadLlama, gpt_oss: Path
) -> None:
    pytest.importorskip("llama_cpp", reason="needs the extra llama-cpp")
    one, other = engine_of(gpt_oss), llama_of("gpt-oss")
    prompt = one.render([{"role": "user", "content": TEXT}])
    assert other.pieces(prompt) == one.pieces(prompt)
