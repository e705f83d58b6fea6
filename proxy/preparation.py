"""From a resolved request to what an engine needs: prompt tokens, plan, report and room for the answer.

Everything here may block (templates, tokenisers, files) and runs in a thread, never on the event loop. It knows
nothing of HTTP.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from proxy.conversation import render
from proxy.engines.base import Engine, Message, ModelInfo, Plan, Tool
from proxy.engines.registry import ModelState, Registry
from proxy.errors import ContextLengthExceeded, InvalidRequest, VectorUnavailable
from proxy.protocol.steering import UNSTEERED, SteeringOptions, SteeringReport
from proxy.steering.plan import build_plan
from proxy.steering.traits import Trait
from vector_store import PersonaVector, Side, VectorHeader, VectorStore, opposite

Poles = Mapping[str, tuple[Trait, Side]]


@dataclass(frozen=True)
class Prepared:
    """`prompt` in token ids; `max_tokens` is what the client asked for, or all that fits."""

    prompt: list[int]
    plan: Plan
    report: SteeringReport
    max_tokens: int


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
        reasoning_effort: str | None = None,
        tools: Sequence[Tool] = (),
    ) -> Prepared:
        """Render, measure and plan one request. Raises InvalidRequest and its kinds, naming the field."""
        check_options(options)
        plan, report = Plan(), UNSTEERED
        if personas and options.method == "prompt":
            messages = with_instruction(messages, self._instruction(personas))
            report = prompt_report(personas)
        elif personas:
            vectors = {name: (self._vector(name, engine.info), self._poles[name][1]) for name in personas}
            plan, report = build_plan(personas, vectors, options, engine.info)
        prompt = render(engine, messages, reasoning_effort, tools)
        return Prepared(
            prompt, plan, report, room(len(prompt), max_tokens, engine.info.context_length, max_tokens_field)
        )

    def personas_of(self, model: ModelState) -> list[str]:
        """The personas this model can be steered to: with a newest vector of its own weights and a measured place.

        Of a model that was never loaded the weights are unknown. Where it is loaded on demand, these are then the
        personas with a vector for its id, of whatever weights; elsewhere none.
        """
        if model.info is None and not model.on_demand:
            return []
        newest: dict[str, VectorHeader] = {}
        for header in self._store.list(model.id):
            if model.info is None or header.fingerprint == model.info.fingerprint:
                newest.setdefault(header.trait, header)
        return [
            name for name, (trait, side) in self._poles.items() if trait.id in newest and side in newest[trait.id].poles
        ]

    def _instruction(self, personas: Mapping[str, float]) -> str:
        sides = [(*self._poles[name], value) for name, value in personas.items()]
        return "\n".join(
            trait.instructions[0].side(side if value > 0 else opposite(side)) for trait, side, value in sides
        )

    def _vector(self, persona: str, info: ModelInfo) -> PersonaVector:
        trait = self._poles[persona][0].id
        vector = self._store.latest(info.id, trait, info.fingerprint)
        if vector is not None:
            return vector
        if self._store.latest(info.id, trait) is None:
            reason = f"there is no vector for {persona!r} and the model {info.id}"
        else:
            other = f"was taken from other weights than those {info.id} has now; extract it again"
            reason = f"the vector for {persona!r} {other}"
        raise VectorUnavailable(f"persona: {reason}; {self._possible(persona, info)}", param="persona")

    def _possible(self, persona: str, info: ModelInfo) -> str:
        personas = {model.id: self.personas_of(model) for model in self._registry.models()}
        models = [id_ for id_, names in personas.items() if persona in names]
        return (
            f"models with this persona: {', '.join(models) or 'none'}; "
            f"personas of this model: {', '.join(personas[info.id]) or 'none'}"
        )


def check_options(options: SteeringOptions) -> None:
    """InvalidRequest for options that exist on the wire but that no engine here can follow."""
    if options.method == "sampling":
        raise InvalidRequest(
            "steering.method: 'sampling' is not available for this model's engine; possible: auto, activation, prompt",
            param="steering.method",
        )
    if options.trace:
        raise InvalidRequest("steering.trace: traces are not available; possible: false", param="steering.trace")


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
