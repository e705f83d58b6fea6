"""From a resolved request to what an engine needs: prompt tokens, plan, sampling, report and room for the answer.

Everything here may block (templates, tokenisers, files) and runs in a thread, never on the event loop. It knows
nothing of HTTP.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

import msgspec

from proxy.chat.conversation import render
from proxy.chat.personas import check_known
from proxy.chat.projections import Readings
from proxy.engines.base import Engine, Generation, Message, ModelInfo, Plan, Sampling, Tool
from proxy.engines.registry import ModelState, Registry
from proxy.errors import ContextLengthExceeded, InvalidRequest, VectorUnavailable
from proxy.protocol.steering import UNSTEERED, SamplingUse, SteeringOptions, SteeringReport
from proxy.settings import demo_models
from proxy.steering.plan import build_plan
from proxy.steering.projection import Watched, watch
from proxy.steering.sampling import Modulation, modulation, sample, sampling_report
from proxy.steering.traits.trait import Trait
from vector_store import PersonaVector, Side, VectorHeader, VectorStore, opposite

Poles = Mapping[str, tuple[Trait, Side]]


@dataclass(frozen=True)
class Prepared:
    """`prompt` in token ids. `sampling` has no seed; its `max_tokens` are what was asked for, or all that fit.
    `steered_to`: pole to strength, none negative. `watched`: the poles whose projections are read."""

    prompt: list[int]
    plan: Plan
    report: SteeringReport
    sampling: Sampling
    steered_to: Mapping[str, float]
    watched: tuple[Watched, ...]

    def generation(self, seed: int | None) -> Generation:
        """One answer to make."""
        sampling = dataclasses.replace(self.sampling, seed=seed)
        return Generation(self.prompt, sampling, self.plan, tuple(watched.probe for watched in self.watched))

    def readings(self, *, traced: bool) -> Readings:
        """For what is read of one answer."""
        return Readings([watched.pole for watched in self.watched], traced=traced)


@dataclass(frozen=True)
class _Steering:
    """What the personas come to."""

    report: SteeringReport = UNSTEERED
    plan: Plan = field(default_factory=Plan)
    modulation: Modulation | None = None
    instruction: str | None = None  # to go before the system prompt
    vectors: Mapping[str, PersonaVector] = field(default_factory=dict)  # the model's own that steer, by trait


class Preparation:
    """Prepares requests with the server's traits and vectors."""

    def __init__(self, poles: Poles, store: VectorStore, registry: Registry) -> None:
        self._poles = poles
        self._store = store
        self._registry = registry

    def prepare(
        self,
        engine: Engine,
        messages: Sequence[Message],
        personas: Mapping[str, float],
        options: SteeringOptions,
        *,
        max_tokens: int | None,
        max_tokens_field: str = "max_tokens",
        sampling: Mapping[str, Any] = MappingProxyType({}),
        reasoning_effort: str | None = None,
        tools: Sequence[Tool] = (),
    ) -> Prepared:
        """Render, measure and plan one request. `sampling` holds what it says of Sampling's fields. Raises
        InvalidRequest and its kinds, naming the field."""
        steering = self._steer(personas, options, engine.info) if personas else _Steering()
        if steering.instruction is not None:
            messages = with_instruction(messages, steering.instruction)
        prompt = render(engine, messages, reasoning_effort, tools)
        free = room(len(prompt), max_tokens, engine.info.context_length, max_tokens_field)
        drawn, clamped = sample(free, sampling, steering.modulation)
        steered_to = self._steered_to(personas)
        watched = self._watched(steered_to, options, steering, engine.info)
        report = msgspec.structs.replace(
            steering.report,
            clamped=steering.report.clamped or clamped,
            sampling=_use(drawn),
            projection_layers={each.pole: each.probe.block for each in watched} or None,
        )
        return Prepared(prompt, steering.plan, report, drawn, steered_to, watched)

    def personas_of(self, model: ModelState) -> list[str]:
        """The personas this model can be steered to: its weights have a vector in use, with a measured place.

        Of a model that was never loaded the weights are unknown. Where it is loaded on demand, these are then the
        personas with a vector for its id, of whatever weights; elsewhere none.
        """
        if model.info is None and not model.on_demand:
            return []
        used = self._store.all_in_use(model.id, None if model.info is None else model.info.fingerprint)
        return [
            name for name, (trait, side) in self._poles.items() if trait.id in used and side in used[trait.id].poles
        ]

    def _steer(self, personas: Mapping[str, float], options: SteeringOptions, info: ModelInfo) -> _Steering:
        """By the method asked for; `auto` is activation where the model has the vectors, else sampling."""
        if options.method in ("prompt", "sampling"):
            personas = {name: value for name, value in personas.items() if value}  # 0 is a level only where it is held
            if not personas:
                return _Steering()
        if options.method == "prompt":
            return _Steering(prompt_report(personas), instruction=self._instruction(personas))
        if options.method != "sampling":
            own = {name: self._own_vector(name, info) for name in personas}
            if None not in own.values():
                vectors = {name: (vector, self._poles[name][1]) for name, vector in own.items() if vector is not None}
                plan, report = build_plan(personas, vectors, options, info)
                return _Steering(report, plan, vectors={vector.trait: vector for vector, _ in vectors.values()})
            missing = [name for name, vector in own.items() if vector is None]
            unmeasured = next((name for name in missing if self._is_unmeasured(name, info)), None)
            if options.method == "activation" or unmeasured:
                raise self._unavailable(unmeasured or missing[0], info)
        sources: dict[str, tuple[VectorHeader, Side]] = {}
        for name in personas:
            header = self._strength_source(name, info)
            if header is None:
                raise self._unavailable(name, info)
            sources[name] = header, self._poles[name][1]
        report = sampling_report(personas, [header for header, _ in sources.values()], info.id)
        return _Steering(report, modulation=modulation(personas, sources))

    def _steered_to(self, personas: Mapping[str, float]) -> dict[str, float]:
        """By pole, how strongly: `silly` at -1 is its opposite at 1."""
        found: dict[str, float] = {}
        for name, value in personas.items():
            trait, side = self._poles[name]
            pole = trait.pole(opposite(side) if value < 0 else side)
            found[pole] = found.get(pole, 0.0) + abs(value)
        return found

    def _watched(
        self, steered_to: Mapping[str, float], options: SteeringOptions, steering: _Steering, info: ModelInfo
    ) -> tuple[Watched, ...]:
        """The poles whose projections are read: those asked for, else those steered to as far as that is possible, at
        blocks that see the text alone. PersonaNotFound, and VectorUnavailable for one asked for that can't be read."""
        deepest = min((item.block for item in steering.plan.interventions), default=info.n_layers - 1)
        found = []
        for pole in dict.fromkeys(steered_to if options.projection is None else options.projection):
            check_known(pole, self._poles, "steering.projection")
            vector = steering.vectors.get(self._poles[pole][0].id) or self._own_vector(pole, info)
            watched = None if vector is None else watch(pole, vector, self._poles[pole][1], deepest)
            if watched is not None:
                found.append(watched)
            elif options.projection is not None:
                raise VectorUnavailable(
                    f"steering.projection: {info.id} has no vector that tells where answers lie that are {pole}; "
                    f"extract one of the trait {self._poles[pole][0].id}",
                    param="steering.projection",
                )
        if options.trace and not found:
            message = "steering.trace: there is nothing to trace; name personas in steering.projection"
            raise InvalidRequest(message, param="steering.trace")
        return tuple(found)

    def _instruction(self, personas: Mapping[str, float]) -> str:
        sides = [(*self._poles[name], value) for name, value in personas.items()]
        return "\n".join(
            trait.instructions[0].side(side if value > 0 else opposite(side)) for trait, side, value in sides
        )

    def _own_vector(self, persona: str, info: ModelInfo) -> PersonaVector | None:
        return self._store.in_use(info.id, self._poles[persona][0].id, info.fingerprint)

    def _is_unmeasured(self, persona: str, info: ModelInfo) -> bool:
        """Whether the newest vector for this model was imported, and nothing of it was measured since."""
        newest = next(iter(self._store.list(info.id, self._poles[persona][0].id)), None)
        return newest is not None and newest.fingerprint == "" and not newest.poles

    def _strength_source(self, persona: str, info: ModelInfo) -> VectorHeader | None:
        """The vector whose measured strength stands for the persona's: the model's own, else the newest of another
        model. What was measured on the toy models says nothing of a real one, nor the other way round."""
        trait = self._poles[persona][0].id
        own = self._store.all_in_use(info.id, info.fingerprint).get(trait)
        if own is not None:
            return own
        toys = {model.id for model in demo_models()}
        others = (header for header in self._store.list(None, trait) if header.model_id != info.id)
        return next((header for header in others if (header.model_id in toys) == (info.world is not None)), None)

    def _unavailable(self, persona: str, info: ModelInfo) -> VectorUnavailable:
        if self._is_unmeasured(persona, info):
            trait = self._poles[persona][0].id
            reason = (
                f"the vector for {persona!r} was imported and its strength was never measured; run "
                f"persona-proxy vectors measure --model {info.id} --trait {trait}"
            )
        elif not self._store.list(info.id, self._poles[persona][0].id):
            reason = f"there is no vector for {persona!r} and the model {info.id}"
        else:
            other = f"was taken from other weights than those {info.id} has now; extract it again"
            reason = f"the vector for {persona!r} {other}"
        return VectorUnavailable(f"persona: {reason}; {self._possible(persona, info)}", param="persona")

    def _possible(self, persona: str, info: ModelInfo) -> str:
        personas = {model.id: self.personas_of(model) for model in self._registry.models()}
        models = [id_ for id_, names in personas.items() if persona in names]
        return (
            f"models with this persona: {', '.join(models) or 'none'}; "
            f"personas of this model: {', '.join(personas[info.id]) or 'none'}"
        )


def _use(sampling: Sampling) -> SamplingUse:
    penalty = sampling.repetition_penalty
    return SamplingUse(sampling.temperature, sampling.top_p, None if penalty == 1 else penalty)


def room(prompt_tokens: int, max_tokens: int | None, context_length: int, field: str) -> int:
    """Tokens the answer may have. ContextLengthExceeded when prompt and answer don't fit, nothing is ever cut off;
    `field` is where `max_tokens` was asked for."""
    free = context_length - prompt_tokens
    if free < 1:
        raise ContextLengthExceeded(
            f"This model's maximum context length is {context_length} tokens, of which at least one is for the answer. "
            f"However, your messages resulted in {prompt_tokens} tokens. Please reduce the length of the messages.",
            param="messages",
        )
    if max_tokens is not None and max_tokens > free:
        raise ContextLengthExceeded(
            f"This model's maximum context length is {context_length} tokens. However, you requested "
            f"{prompt_tokens + max_tokens} tokens ({prompt_tokens} in the messages, {max_tokens} in the completion). "
            f"Possible: up to {free} in the completion.",
            param=field,
        )
    return free if max_tokens is None else max_tokens


def with_instruction(messages: Sequence[Message], instruction: str) -> list[Message]:
    """The messages with an instruction before everything else the system prompt says."""
    if messages and messages[0]["role"] == "system":
        first = {**messages[0], "content": f"{instruction}\n\n{messages[0]['content']}"}
        return [first, *messages[1:]]
    return [{"role": "system", "content": instruction}, *messages]


def prompt_report(personas: Mapping[str, float]) -> SteeringReport:
    """The report of personas asked for in words: nothing was added to the model's residuals."""
    return SteeringReport(
        personas=dict(personas), method="prompt", layers=[], relative_dose=0.0, clamped=False, vectors=[]
    )
