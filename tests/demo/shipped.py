"""The models and vectors that ship with the package, and what they are asked."""

from pathlib import Path

from proxy.demo import gguf
from proxy.demo.known import held_out_questions
from proxy.engines.base import Engine, Plan
from proxy.settings import demo_models
from proxy.steering.options import PlanOptions
from proxy.steering.plan import build_plan
from proxy.steering.traits.trait import load_traits, poles
from vector_store import PersonaVector, VectorStore

MODELS = [model.id for model in demo_models()]
TRAITS = load_traits()
POLES = poles(TRAITS)
QUESTIONS = held_out_questions(TRAITS, 24, seed=5)
MANY = 128  # answers at once: each step of so small a model takes hardly longer for many


def vector_of(engine: Engine, trait: str) -> PersonaVector:
    vector = VectorStore([Path(gguf.__file__).parent / "vectors"]).in_use(engine.info.id, trait)
    assert vector is not None
    return vector


def plan_of(engine: Engine, pole: str, coefficient: float) -> Plan:
    trait, side = POLES[pole]
    personas, vectors = {pole: coefficient}, {pole: (vector_of(engine, trait.id), side)}
    return build_plan(personas, vectors, PlanOptions(), engine.info)[0]
