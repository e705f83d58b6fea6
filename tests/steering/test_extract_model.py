"""Extraction and the trying of places on a real, if tiny and random, network: what is averaged and what is steered."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM

from proxy.engines.base import Engine
from proxy.engines.transformers.engine import load
from proxy.settings import ModelSettings
from proxy.steering import extract as extraction
from proxy.steering.extract import extract
from proxy.steering.judge import Answer, Score
from proxy.steering.traits.trait import Trait
from proxy.steering.trials import Trial, Trials
from tests.engines.tiny_models import save_tiny_model
from tests.steering.pretend import WORK, PretendJudge
from vector_store import PersonaVector, PoleChoice

TOKENS = 5


class Lenient:
    """Finds in every answer what was asked for: extraction's order is positive, negative, neutral."""

    def __init__(self) -> None:
        self.n_seen = 0

    def score(self, answers: Sequence[Answer]) -> list[Score | None]:
        numbers = range(self.n_seen, self.n_seen + len(answers))
        self.n_seen += len(answers)
        return [Score(0.0 if number % 3 == 1 else 100.0, 100.0) for number in numbers]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model("qwen2", tmp_path_factory.mktemp("model") / "qwen2")


@pytest.fixture(scope="module")
def engine(folder: Path) -> Iterator[Engine]:
    loaded = load(ModelSettings("tiny", str(folder), device="cpu"), 16)
    yield loaded
    loaded.close()


@pytest.fixture(autouse=True)
def _short_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = extraction.roll_out.__kwdefaults__
    assert defaults
    monkeypatch.setitem(defaults, "max_tokens", TOKENS)


def make_vector(engine: Engine, trait: Trait) -> PersonaVector:
    return extract(engine, trait, Lenient(), rollouts=1, questions=3, seed=1, work=WORK)


def test_the_means_are_those_of_the_networks_own_residuals(engine: Engine, folder: Path, trait: Trait) -> None:
    vector = make_vector(engine, trait)
    model = AutoModelForCausalLM.from_pretrained(folder)
    outputs: list[torch.Tensor] = []
    for block in model.model.layers:
        block.register_forward_hook(lambda module, args, output: outputs.append(output))
    means, norms = [], []
    for question in trait.questions.extract[:3]:
        outputs.clear()
        with torch.no_grad():
            model(torch.tensor([engine.render([{"role": "user", "content": question}])]))
        last = torch.stack([output[0, -1] for output in outputs])  # [n_layers, hidden]
        means.append(last.numpy())
        norms.append(last.norm(dim=-1).numpy())

    assert vector.means["last_prompt"]["neutral"].shape == (4, 32)
    np.testing.assert_allclose(vector.means["last_prompt"]["neutral"], np.mean(means, axis=0), rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(vector.residual_norms["last_prompt"], np.median(norms, axis=0), rtol=1e-3)
    assert not np.allclose(vector.means["response"]["positive"], vector.means["response"]["negative"])


def test_trials_steer_and_the_unsteered_one_does_not(engine: Engine, trait: Trait) -> None:
    vector = make_vector(engine, trait)
    judge = PretendJudge()
    questions = trait.questions.evaluate[:10]
    search = Trials(engine, trait, vector, judge, "negative", questions, 1, WORK, TOKENS)
    choice = PoleChoice(block=1, span="response", positions="response", relative_dose=4.0)
    search.measure([Trial(None), Trial(choice), Trial(choice, random=0), Trial(None), Trial(choice, 0.0)], 1, "trying")

    texts = np.array([answer.text for answer in judge.seen]).reshape(5, 10)
    unsteered, steered, random, again, at_zero = (tuple(row) for row in texts)
    assert unsteered == again == at_zero
    assert len({unsteered, steered, random}) == 3
