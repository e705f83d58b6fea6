"""Which personas a model can be steered to, by which vectors, and what a client is told where it can't be.

Everything here may block on files. Knows nothing of HTTP or prompts.
"""

import shlex
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from proxy.chat.personas import Wanted
from proxy.engines.base import ModelInfo
from proxy.engines.registry import ModelState, Registry
from proxy.errors import VectorUnavailable
from proxy.settings import ModelSettings, demo_models, place_of
from proxy.steering.budget import first_try
from proxy.steering.traits.trait import Poles, Trait
from vector_store import PersonaVector, VectorHeader, VectorStore

# The id of the job that is making the vector of a model and a trait, by their ids; None where there is none.
UnderWay = Callable[[str, str], str | None]
COMMAND = "persona-proxy"


class Available:
    """The server's models, vectors and personas. Safe from any thread."""

    def __init__(
        self,
        poles: Callable[[], Poles],
        store: VectorStore,
        registry: Registry,
        models: Sequence[ModelSettings] = (),
        under_way: UnderWay = lambda model, trait: None,
    ) -> None:
        """`poles` tells the personas as they are now; `models` are the settings' own."""
        self._poles = poles
        self._store = store
        self._registry = registry
        self._models = models
        self._under_way = under_way

    def personas_of(self, model: ModelState) -> list[str]:
        """The personas this model can be steered to: its weights have a vector in use, with a measured place.

        By prompt it can be steered to all of them, where that is how it is asked.
        Of a model that was never loaded the weights are unknown. Where it is loaded on demand, these are then the
        personas with a vector for its id, of whatever weights; elsewhere none.
        """
        if model.info is None and not model.on_demand:
            return []
        if model.info is not None and model.info.by_prompt:
            return list(self._poles())
        if model.info is not None and not model.info.steerable:
            return []
        used = self._store.all_in_use(model.id, None if model.info is None else model.info.fingerprint)
        return [
            name for name, (trait, side) in self._poles().items() if trait.id in used and side in used[trait.id].poles
        ]

    def own_vector(self, trait: Trait, info: ModelInfo) -> PersonaVector | None:
        """The one in use of the model's own weights."""
        return self._store.in_use(info.id, trait.id, info.fingerprint)

    def is_unmeasured(self, trait: Trait, info: ModelInfo) -> bool:
        """Whether the newest vector for this model was imported, and nothing of it was measured since."""
        newest = next(iter(self._store.list(info.id, trait.id)), None)
        return newest is not None and newest.fingerprint == "" and not newest.poles

    def strength_source(self, trait: Trait, info: ModelInfo) -> VectorHeader | None:
        """The vector whose measured strength stands for the trait's: the model's own, else the newest of another
        model. What was measured on the toy models says nothing of a real one, nor the other way round."""
        own = self._store.all_in_use(info.id, info.fingerprint).get(trait.id)
        if own is not None:
            return own
        toys = {model.id for model in demo_models()}
        others = (header for header in self._store.list(None, trait.id) if header.model_id != info.id)
        return next((header for header in others if (header.model_id in toys) == (info.world is not None)), None)

    def unavailable(self, wanted: Wanted, info: ModelInfo) -> VectorUnavailable:
        """That the model has no vector for a persona: why, what to run, what else would do, and what there is."""
        trait, name = wanted.trait, wanted.name
        if not info.steerable:
            return self._out_of_reach(wanted, info)
        if self.is_unmeasured(trait, info):
            reason = (
                f"the vector for {name!r} was imported and its strength was never measured; run "
                f"{_command()} vectors measure --model {info.id} --trait {trait.id}"
            )
        else:
            if not self._store.list(info.id, trait.id):
                pole = "" if name == trait.id else f", a pole of {trait.id!r},"
                reason = f"there is no vector for {name!r}{pole} and the model {info.id}"
            else:
                reason = f"the vector for {name!r} was taken from other weights than those {info.id} has now"
            reason += f"; {self._making(trait, info.id)}"
        parts = [f"persona: {reason}", self._otherwise(trait, info), self._possible(name, info)]
        return VectorUnavailable("; ".join(parts), param="persona")

    def _out_of_reach(self, wanted: Wanted, info: ModelInfo) -> VectorUnavailable:
        """That a model which another server runs can't be steered to a persona, and what else would do."""
        methods = " or ".join(f'"{method}"' for method in self._other_methods(wanted.trait, info))
        return VectorUnavailable(
            f"steering.method: {info.id} runs on another server, which can't be steered; possible: {methods}, such as "
            f'"steering": {{"method": "prompt"}}; an operator makes that the default for {info.id} with '
            f'method = "prompt" in its table upstream',
            param="steering.method",
        )

    def _making(self, trait: Trait, model: str) -> str:
        job = self._under_way(model, trait.id)
        if job is not None:
            return f"the job {job} is making it, see GET /api/jobs/{job}"
        settings = next((each for each in self._models if each.id == model), None)
        where = "where the weights are" if settings is not None and settings.engine == "upstream" else "with"
        return f"make it {where}: {extract_command(model if settings is None else settings, trait.id)}"

    def _otherwise(self, trait: Trait, info: ModelInfo) -> str:
        methods = self._other_methods(trait, info)
        asked = " or ".join(f'"steering": {{"method": "{method}"}}' for method in methods)
        return f"without it: {asked}"

    def _other_methods(self, trait: Trait, info: ModelInfo) -> list[str]:
        return ["prompt"] if self.strength_source(trait, info) is None else ["sampling", "prompt"]

    def _possible(self, persona: str, info: ModelInfo) -> str:
        personas = {model.id: self.personas_of(model) for model in self._registry.models()}
        models = [id_ for id_, names in personas.items() if persona in names]
        return (
            f"models with this persona: {', '.join(models) or 'none'}; "
            f"personas of this model: {', '.join(personas[info.id]) or 'none'}"
        )


def extract_command(model: ModelSettings | str, trait: str) -> str:
    """What the operator runs to make a model's vector of a trait, or of `all`: within a budget, but for a toy."""
    source = model
    if isinstance(model, ModelSettings) and model.engine == "upstream":
        source = f"{model.id}=FOLDER"
    elif isinstance(model, ModelSettings):
        source = model.id if model.source in (model.id, place_of(model.id)) else f"{model.id}={model.source}"
    id_ = model.id if isinstance(model, ModelSettings) else model
    budget = first_try(toy=id_ in {toy.id for toy in demo_models()})
    return f"{_command()} extract --model {shlex.quote(str(source))} --trait {trait}{budget}"


def _command() -> str:
    """The command line as whoever started this process typed it: it may not be on the path."""
    typed = Path(sys.argv[0])
    return str(typed) if typed.name == COMMAND and not typed.is_absolute() else COMMAND
