"""What `persona-proxy demo train`, `evaluate`, `blocks`, `judges` and `thermostat` do, told in plain lines."""

import importlib.util
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from proxy.cli.console import ProgressBar
from proxy.demo import blocks, judging, thermostat
from proxy.demo.evaluate import evaluate, misses, tables
from proxy.demo.known import DemoWorld, held_out_questions
from proxy.demo.models import FAMILIES
from proxy.demo.turns import N_TURNS, measure_turns, turn_table
from proxy.engines.base import Engine
from proxy.engines.blocking import MAX_RUNNING
from proxy.engines.registry import load_engine
from proxy.errors import SetupError
from proxy.settings import ModelSettings, Settings
from proxy.steering.judge import RulesJudge
from proxy.steering.making import in_use
from proxy.steering.traits.trait import Trait, load_traits
from proxy.steering.work import Progress
from vector_store import PersonaVector, VectorStore

N_CONVERSATIONS = 30

Given = TypeVar("Given")
Found = TypeVar("Found")


def train_family(name: str, seed: int, out: Path | None) -> None:
    """Train one demo model into `out`, or over the package's own; the GPT-OSS becomes a GGUF as well."""
    family = FAMILIES[name]
    folder = out or family.folder
    if family.gguf_name and importlib.util.find_spec("gguf") is None:
        raise SetupError("the GGUF is written with the package gguf: pip install 'persona-steering-proxy[llama-cpp]'")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(f"the model can't be written: {error}") from error
    from proxy.demo.train import train

    train(family, seed, folder)
    if family.gguf_name:
        from proxy.demo.gguf import export

        export(folder, folder / family.gguf_name)
        print(f"wrote {folder / family.gguf_name}")


def evaluate_models(models: Sequence[ModelSettings], settings: Settings, n_questions: int) -> None:
    """Measure each model with the vectors the server would use, and print tables and what was missed: first single
    questions, then conversations of several turns, at most N_CONVERSATIONS of them to each arm."""
    for model_id, results in _of_each(models, settings, evaluate, _questions(n_questions)):
        print(f"\n{model_id}: share of {n_questions} answers with the pole / with the fact right\n")
        print("\n".join(tables(results)))
        missed = list(misses(results))
        print("\nmissed:" if missed else "\neverything wanted was met", *missed, sep="\n- ", flush=True)
    n_talks = min(n_questions, N_CONVERSATIONS)
    for model_id, found in _of_each(models, settings, measure_turns, _questions(n_talks * N_TURNS)):
        print(f"\n{model_id}: the same turn by turn, in {n_talks} conversations\n")
        print(*turn_table(found), sep="\n", flush=True)


def compare_choices(models: Sequence[ModelSettings], settings: Settings) -> None:
    """Choose each pole's place anew in each model, with the vectors the server would use, and print how that does
    beside brute force."""
    for model_id, found in _of_each(models, settings, blocks.compare, RulesJudge(DemoWorld())):
        print(f"\n{model_id}: score (trait x coherence) on questions that nothing was chosen by\n")
        print(*blocks.tables(found), "", *(f"- {line}" for line in blocks.findings(found)), sep="\n")


def compare_judges(models: Sequence[ModelSettings], settings: Settings, n_questions: int) -> None:
    """Let the judges of the demo world score the same answers of each model, and print how far they agree."""
    for model_id, found in _of_each(models, settings, judging.compare, _questions(n_questions)):
        print(f"\n{model_id}: by the rules / by the likelihood ratio, means of {n_questions} answers\n")
        print(*judging.tables(*found), sep="\n")


def compare_modes(models: Sequence[ModelSettings], settings: Settings, n_questions: int) -> None:
    """Add to poles, hold and cap them in each model, with the vectors the server would use, and print what comes of
    it."""
    for model_id, found in _of_each(models, settings, thermostat.measure, _questions(n_questions)):
        print(f"\n{model_id}: adding and holding where they show a pole equally often, {n_questions} questions each\n")
        print(*thermostat.equal_table(found), sep="\n")
        print("\nbeside what a system prompt asks for: share of answers with the pole / with the fact right\n")
        print(*thermostat.context_table(found), sep="\n")


def _questions(n_questions: int) -> list[str]:
    return held_out_questions(load_traits(), n_questions)


def _of_each(
    models: Sequence[ModelSettings],
    settings: Settings,
    measure: Callable[[Engine, Mapping[str, Trait], Mapping[str, PersonaVector], Given, Progress], Found],
    given: Given,
) -> Iterator[tuple[str, Found]]:
    """Each model's id with what `measure` finds in it, by the vectors the server would use."""
    traits = load_traits()
    store = VectorStore(settings.vector_folders)
    for model in models:
        engine = load_engine(model, MAX_RUNNING)
        try:
            vectors = {id_: in_use(store, engine, trait) for id_, trait in traits.items()}
            with ProgressBar(sys.stderr) as progress:
                found = measure(engine, traits, vectors, given, progress)
        finally:
            engine.close()
        yield model.id, found
