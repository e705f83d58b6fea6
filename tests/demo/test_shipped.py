"""What ships with the package: two models that answer, vectors that steer them, and the GGUF of one."""

import importlib.util
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerFast

from proxy.demo import gguf, rules, styles
from proxy.demo.known import held_out_questions
from proxy.demo.models import FAMILIES
from proxy.demo.turns import N_TURNS, converse, measure_turns, turn_table
from proxy.engines.base import Engine, Generation, Plan, Sampling
from proxy.engines.blocking import generate_all
from proxy.engines.registry import load_engine
from proxy.settings import Settings, demo_models
from proxy.steering.options import PlanOptions
from proxy.steering.plan import build_plan
from proxy.steering.traits.trait import load_traits, poles
from vector_store import PersonaVector, VectorStore

MODELS = [model.id for model in demo_models()]
TRAINED = [model.id for model in demo_models() if model.engine == "transformers"]  # the GGUF has the weights of one
TRAITS = load_traits()
POLES = poles(TRAITS)
# Share of answers that must show the pole; lying is what the smaller model is worst at, as the README says.
LEAST_SHOWN = {("demo-gpt-oss", "dishonest"): 0.5}
QUESTIONS = held_out_questions(TRAITS, 24, seed=5)
LASTING = ["silly", "deep", "honest", "superficial"]  # what the GPT-OSS once lost at turn 2
ASKED_FOR = ["deep", "superficial"]
MANY = 128  # answers at once: each step of so small a model takes hardly longer for many

Turns = list[list[tuple[str, str]]]  # by turn, every question and its answer
Steered = dict[tuple[str, float], list[str]]


@pytest.fixture(scope="module", params=MODELS)
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    settings = next(model for model in demo_models() if model.id == request.param)
    engine = load_engine(settings, MANY)
    yield engine
    engine.close()


def vector_of(engine: Engine, trait: str) -> PersonaVector:
    vector = VectorStore([Path(gguf.__file__).parent / "vectors"]).in_use(engine.info.id, trait)
    assert vector is not None
    return vector


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


def plan_of(engine: Engine, pole: str, coefficient: float) -> Plan:
    trait, side = POLES[pole]
    personas, vectors = {pole: coefficient}, {pole: (vector_of(engine, trait.id), side)}
    return build_plan(personas, vectors, PlanOptions(), engine.info)[0]


@pytest.fixture(scope="module")
def steered(engine: Engine) -> Steered:
    """The answers of every pole and coefficient that is looked at, made at once."""
    wanted = [*((pole, 1.0) for pole in POLES), ("silly", 0.25), ("focused", 0.25)]
    return dict(zip(wanted, answers(engine, [plan_of(engine, *each) for each in wanted]), strict=True))


@pytest.fixture(scope="module")
def conversations(engine: Engine) -> dict[tuple[str, str], Turns]:
    """Those with a pole asked for by a system prompt and those steered to one, all held at once."""

    def held(way: str, pole: str) -> Turns:
        trait, side = POLES[pole]
        if way == "asked for":
            return converse(engine, [pair.side(side) for pair in trait.instructions], Plan(), QUESTIONS)
        return converse(engine, [None], plan_of(engine, pole, 1.0), QUESTIONS)

    wanted = [("steered", pole) for pole in LASTING]
    if engine.info.id in TRAINED:
        wanted += [("asked for", pole) for pole in ASKED_FOR]
    with ThreadPoolExecutor(len(wanted)) as threads:
        return dict(zip(wanted, threads.map(lambda each: held(*each), wanted), strict=True))


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


@pytest.mark.parametrize("engine", TRAINED, indirect=True)  # whether a prompt is followed lies in the weights
@pytest.mark.parametrize("pole", ASKED_FOR)
def test_a_conversation_when_a_system_prompt_asks_for_a_pole_then_it_lasts_to_the_third_turn(
    conversations: dict[tuple[str, str], Turns], pole: str
) -> None:
    turns = conversations["asked for", pole]
    assert len(turns) == N_TURNS == 3
    assert min(lasting(pole, turns)) >= 0.6


@pytest.mark.parametrize("pole", LASTING)
def test_a_conversation_when_each_turn_is_steered_then_the_pole_lasts_to_the_third(
    conversations: dict[tuple[str, str], Turns], pole: str
) -> None:
    turns = conversations["steered", pole]
    assert len(turns) == N_TURNS == 3
    assert min(lasting(pole, turns)) >= 0.7


@pytest.mark.parametrize("engine", ["demo-gpt-oss-gguf"], indirect=True)  # the quickest: the table is the same for all
def test_turns_when_measured_then_the_table_has_every_pole_arm_and_turn(engine: Engine) -> None:
    told: list[int] = []
    traits, vectors = {"silly": TRAITS["silly"]}, {"silly": vector_of(engine, "silly")}
    found = measure_turns(engine, traits, vectors, QUESTIONS[:6], lambda what, done, total: told.append(total - done))
    assert len({(each.pole, each.arm, each.turn) for each in found}) == len(found) == 2 * 3 * 3
    header, _, *rows = turn_table(found)
    assert [row.split(" | ")[0] for row in rows] == ["| silly", "| serious"]
    assert header.count("|") == rows[0].count("|") == 1 + 1 + 3 * 3
    assert told[-1] == 0


def lasting(pole: str, turns: Turns) -> list[float]:
    """By turn, the share of answers that show the pole."""
    return [float(np.mean([rules.shows(pole, question, answer) for question, answer in said])) for said in turns]


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
