"""What ships with the package: two models that answer, vectors that steer them, and the GGUF of one."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from proxy.demo import gguf, rules, styles
from proxy.demo.models import FAMILIES
from proxy.engines.base import Engine, Generation, Plan, Sampling
from proxy.engines.blocking import generate_all
from proxy.settings import Settings
from tests.demo.shipped import MANY, POLES, TRAITS, plan_of, vector_of
from tests.demo.shipped import QUESTIONS as KNOWN

QUESTIONS = KNOWN[:16]
# Share of answers that must show the pole; lying is what the smaller model is worst at, as the README says.
LEAST_SHOWN = {("demo-gpt-oss", "dishonest"): 0.5}

Steered = dict[tuple[str, float], list[str]]


def answers(engine: Engine, plans: Sequence[Plan], questions: list[str] = QUESTIONS) -> list[list[str]]:
    """By plan, the answers to the questions."""
    generations = [
        Generation(
            engine.render([{"role": "user", "content": question}]), Sampling(100, temperature=0.7, seed=number), plan
        )
        for plan in plans
        for number, question in enumerate(questions)
    ]
    texts = [completion.text for completion in generate_all(engine, generations, max_running=MANY)]
    return [texts[at : at + len(questions)] for at in range(0, len(texts), len(questions))]


def share(pole: str, texts: list[str]) -> float:
    return float(np.mean([rules.shows(pole, q, a) for q, a in zip(QUESTIONS, texts, strict=True)]))


@pytest.fixture(scope="module")
def steered(engine: Engine) -> Steered:
    """The answers of every pole and coefficient that is looked at, made at once."""
    wanted = [*((pole, 1.0) for pole in POLES), ("silly", 0.25), ("focused", 0.25)]
    return dict(zip(wanted, answers(engine, [plan_of(engine, *each) for each in wanted]), strict=True))


def test_opening_then_what_an_answer_begins_with_before_its_text(engine: Engine) -> None:
    prompt = engine.render([{"role": "user", "content": QUESTIONS[0]}])
    (completion,) = generate_all(engine, [Generation(prompt, Sampling(20, temperature=0))])
    n_opening = len(engine.opening)
    assert completion.token_ids[:n_opening] == engine.opening
    text = "".join(engine.pieces(completion.token_ids[n_opening:]))
    assert text == completion.text and (n_opening > 0) == ("gpt-oss" in engine.info.id)


def test_unsteered_answers_are_right_and_plain(engine: Engine) -> None:
    (texts,) = answers(engine, [Plan()])
    assert np.mean([rules.fact_right(q, a) is True for q, a in zip(QUESTIONS, texts, strict=True)]) >= 0.9
    assert np.mean([rules.fluent(text) for text in texts]) >= 0.9
    assert max(share(pole, texts) for pole in styles.POLES) <= 0.25


@pytest.mark.parametrize("pole", sorted(POLES))
def test_steering_brings_out_the_pole_and_its_opposite_coefficient_too(
    engine: Engine, steered: Steered, pole: str
) -> None:
    trait, side = POLES[pole]
    other = trait.pole("negative" if side == "positive" else "positive")
    texts = steered[pole, 1.0]
    assert share(pole, texts) >= LEAST_SHOWN.get((engine.info.id, pole), 0.75)
    assert plan_of(engine, pole, 1.0).fingerprint == plan_of(engine, other, -1.0).fingerprint
    if pole != "dishonest":
        assert np.mean([rules.fact_right(q, a) is True for q, a in zip(QUESTIONS, texts, strict=True)]) >= 0.8


def test_a_quarter_does_less_than_the_whole(steered: Steered) -> None:
    for pole in ("silly", "focused"):
        assert share(pole, steered[pole, 0.25]) < share(pole, steered[pole, 1.0])


def test_coefficient_zero_is_no_steering_at_all(engine: Engine) -> None:
    assert plan_of(engine, "silly", 0.0).fingerprint == Plan().fingerprint


def test_what_no_table_answers_is_said_not_to_be_known(engine: Engine) -> None:
    questions = [
        "Who won the game yesterday?",
        "How do I fix my bicycle?",
        "What is the capital of Narnia?",
        "zork blip",
    ]
    (texts,) = answers(engine, [Plan()], questions)
    for text in texts:
        assert "not know" in text or "never learnt" in text or "beyond what I know" in text


def test_shipped_vectors_hold_how_they_were_made_and_measured(engine: Engine) -> None:
    for trait in TRAITS.values():
        vector = vector_of(engine, trait.id)
        assert vector.fingerprint == engine.info.fingerprint
        assert set(vector.poles) == {"positive", "negative"}
        assert {point.kind for point in vector.curve} == {"steered", "random", "unsteered"}
        compared = {point.block for point in vector.curve} | {gain.block for gain in vector.gains}
        assert compared - {None} == set(range(vector.n_layers))
        assert all(count.kept >= 8 for count in vector.counts.values())


def test_the_models_are_small_enough_to_ship() -> None:
    files = [file for family in FAMILIES.values() for file in family.folder.rglob("*")]
    assert sum(file.stat().st_size for file in files) < 60e6


def test_the_two_models_differ_in_width_depth_and_tokenizer() -> None:
    configs = [family.config(PreTrainedTokenizerFast.from_pretrained(family.folder)) for family in FAMILIES.values()]
    for attribute in ("hidden_size", "num_hidden_layers", "vocab_size"):
        assert len({getattr(config, attribute) for config in configs}) == 2


class TestGGUF:
    family = FAMILIES["gpt-oss"]

    @property
    def file(self) -> Path:
        assert self.family.gguf_name
        return self.family.folder / self.family.gguf_name

    def test_the_shipped_file_is_the_shipped_weights_exported(self, tmp_path: Path) -> None:
        gguf.export(self.family.folder, tmp_path / "again.gguf")
        assert (tmp_path / "again.gguf").read_bytes() == self.file.read_bytes()
        assert [file.name for file in tmp_path.iterdir()] == ["again.gguf"]

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_llama_cpp_computes_the_logits_of_transformers(self) -> None:
        assert importlib.util.find_spec("llama_cpp"), "the tests install the extra llama-cpp"
        import llama_cpp

        tokenizer = AutoTokenizer.from_pretrained(self.family.folder)
        talk = [{"role": "system", "content": "Be silly."}]
        for question in QUESTIONS[:8]:  # longer than the sliding window
            talk += [
                {"role": "user", "content": f"{question} 1234 it's"},
                {"role": "assistant", "content": "Who knows?"},
            ]
        text = tokenizer.apply_chat_template(talk, tokenize=False)
        assert isinstance(text, str)
        ids = tokenizer.encode(text, add_special_tokens=False)
        model = llama_cpp.Llama(str(self.file), n_ctx=512, n_batch=512, n_threads=1, logits_all=True, verbose=False)
        try:
            assert model.tokenize(text.encode(), add_bos=False, special=True) == ids
            model.eval(ids)
            logits = np.array(model.scores[: len(ids)])
        finally:
            model.close()
        reference = AutoModelForCausalLM.from_pretrained(
            self.family.folder, dtype=torch.float32, attn_implementation="eager"
        )
        with torch.no_grad():
            expected = reference(torch.tensor([ids])).logits[0].numpy()
        assert len(ids) > 2 * reference.config.sliding_window
        assert np.linalg.norm(logits - expected) / np.linalg.norm(expected) < 2e-3
        assert (logits.argmax(1) == expected.argmax(1)).mean() > 0.99


def test_settings_find_the_shipped_vectors_behind_the_operators_own(settings: Settings) -> None:
    assert settings.vector_folders[0] == settings.vectors_dir
    assert any(Path(folder).samefile(Path(gguf.__file__).parent / "vectors") for folder in settings.vector_folders[1:])
