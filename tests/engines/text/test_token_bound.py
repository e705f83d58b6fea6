"""What can't fit is known without tokenising it; what might, is never refused."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from transformers import AutoTokenizer

from proxy.demo.models import FAMILIES
from proxy.engines.base import Engine
from proxy.engines.errors import PromptTooLong, Refusal
from proxy.engines.speaking import without_system
from proxy.engines.transformers.text import _bound
from tests.engines.conftest import LoadEngine
from tests.engines.llama_cpp.models import LoadLlama

TOKENIZERS = [AutoTokenizer.from_pretrained(FAMILIES[name].folder) for name in sorted(FAMILIES)]


@pytest.fixture(params=["transformers", "llama_cpp"])
def engine(request: pytest.FixtureRequest, qwen2: Path, engine_of: LoadEngine, llama_of: LoadLlama) -> Engine:
    return engine_of(qwen2) if request.param == "transformers" else llama_of("qwen2")


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_the_bound_when_a_text_is_tokenised_then_is_never_above_it(tokenizer: Any) -> None:
    bound = _bound(tokenizer)
    assert bound is not None and bound.least("word " * 1000) >= 1000

    @given(st.lists(st.text(max_size=8) | st.sampled_from(["word ", " ", "\n", "<|end|>", "a  b", " \t "])))
    def check(parts: list[str]) -> None:
        text = "".join(parts)
        assert bound.least(text) <= len(tokenizer.encode(text, add_special_tokens=False))

    check()


@pytest.mark.parametrize("text", ["word " * 800000, "-" * 4000000, "\n" * 4000000])
def test_a_prompt_when_it_can_t_fit_then_is_refused_before_it_is_tokenised(
    engine: Engine, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engine, "_tokenize", lambda text: pytest.fail("it was tokenised"))
    with pytest.raises(PromptTooLong, match="at least"):
        engine.render([{"role": "user", "content": text}])


def test_instructions_when_the_template_has_no_system_role_then_go_before_the_first_question(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    write = engine._write  # type: ignore[attr-defined]

    def strict(messages: Any, tools: Any, **extra: Any) -> Any:
        if [message["role"] for message in messages] != ["user", "assistant", "user"][: len(messages)]:
            raise Refusal("System role not supported", "prompt")
        return write(messages, tools, **extra)

    monkeypatch.setattr(engine, "_write", strict)
    talk = [{"role": role, "content": role[0]} for role in ("user", "assistant", "user")]
    folded = [{"role": "user", "content": "Be silly.\n\nu"}, *talk[1:]]
    assert engine.render([{"role": "system", "content": "Be silly."}, *talk]) == engine.render(folded)
    with pytest.raises(Refusal, match="not supported"):
        engine.render(talk[1:])
    assert without_system([{"role": "system", "content": "a"}]) == [{"role": "user", "content": "a"}]
