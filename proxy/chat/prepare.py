"""From a resolved request to what an engine needs: prompt tokens, plan, sampling, report and room for the answer.

Everything here may block (templates, tokenisers, files) and runs in a thread, never on the event loop. It knows
nothing of HTTP, and looks no name up: what a request names is resolved before.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from proxy.chat.available import Available
from proxy.chat.calling import NO_CALLS, Calling
from proxy.chat.conversation import Begun, is_gpt_oss, render
from proxy.chat.doubts import warnings_of
from proxy.chat.in_words import check_in_words
from proxy.chat.logprobs import Speller
from proxy.chat.output import check_schema, speller
from proxy.chat.personas import Wanted, coefficients, strengths
from proxy.chat.projections import Readings
from proxy.chat.report import activation_report, prompt_report, sampling_report, sampling_use
from proxy.chat.told_schema import ToldSchema
from proxy.chat.told_tools import with_system
from proxy.engines.base import NO_LIMIT, CallRules, Engine, Generation, Message, ModelInfo, Plan, Sampling, Talk
from proxy.engines.errors import PromptTooLong
from proxy.errors import ContextLengthExceeded, InvalidRequest, VectorUnavailable
from proxy.protocol.steering import UNSTEERED, SteeringOptions, SteeringReport
from proxy.steering.options import PlanOptions
from proxy.steering.plan import build_plan
from proxy.steering.projection import Watched, watch
from proxy.steering.sampling import AskedSampling, Modulation, modulation, sample
from proxy.steering.traits.trait import Trait
from proxy.steering.trials import with_random_direction
from vector_store import PersonaVector, Side, VectorHeader


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What is asked for, with every name looked up. `projected`: the poles whose projections are to be read, None for
    those steered to. `begun`: what the answer goes on with. `schema_field` is where the request has its schema, of
    which the model is told `told_schema`. `template_options` are what else the chat template gets to see. `raw`, a text
    or token ids, is the whole prompt in place of a conversation."""

    messages: Sequence[Message] = ()
    raw: str | Sequence[int] | None = None
    begun: Begun = Begun()
    personas: Sequence[Wanted] = ()
    steering: SteeringOptions = SteeringOptions()
    projected: Sequence[tuple[Trait, Side]] | None = None
    sampling: AskedSampling = AskedSampling()
    max_tokens: int | None = None
    schema_field: str = "response_format"
    told_schema: ToldSchema | None = None
    template_options: Mapping[str, Any] = field(default_factory=dict)
    calling: Calling = NO_CALLS


@dataclass(frozen=True)
class Prepared:
    """`prompt` in token ids. `sampling` has no seed; its `max_tokens` are what was asked for, or all that fit.
    `steered_to`: pole to strength, none negative. `watched`: the poles whose projections are read. `spell` is there
    where log-probabilities are asked for. `traced`: the projections are told token by token. `calls`: which functions
    may be called. `begun`: so many of the prompt's last tokens are the answer's own text. `raw`: the prompt is raw
    text. `talk` is the prompt where the model takes it in words; then `prompt` is empty."""

    prompt: list[int]
    plan: Plan
    report: SteeringReport
    sampling: Sampling
    steered_to: Mapping[str, float]
    watched: tuple[Watched, ...]
    spell: Speller | None
    traced: bool
    calls: CallRules | None
    begun: int
    raw: bool
    talk: Talk | None = None

    def generation(self, seed: int | None, stops: Sequence[str] = ()) -> Generation:
        """One answer to make; whoever reads it ends it at one of `stops`."""
        sampling = dataclasses.replace(self.sampling, seed=seed)
        probes = tuple(watched.probe for watched in self.watched)
        talk = None if self.talk is None else dataclasses.replace(self.talk, stops=tuple(stops))
        return Generation(self.prompt, sampling, self.plan, probes, self.calls, self.begun, self.raw, talk=talk)

    def readings(self) -> Readings:
        """For what is read of one answer."""
        return Readings([watched.pole for watched in self.watched], traced=self.traced)


@dataclass(frozen=True)
class _Steering:
    """What the personas come to."""

    report: SteeringReport = UNSTEERED
    plan: Plan = field(default_factory=Plan)
    modulation: Modulation | None = None
    instruction: str | None = None  # to go before the system prompt
    vectors: Mapping[str, PersonaVector] = field(default_factory=dict)  # the model's own that steer, by trait


class Preparation:
    """Prepares requests with the server's vectors."""

    def __init__(self, available: Available) -> None:
        self.available = available

    def prepare(self, engine: Engine, asked: Asked) -> Prepared:
        """Render, measure and plan one request. Raises InvalidRequest and its kinds, naming the field, and what the
        engine refuses."""
        if engine.info.in_words:
            return self._in_words(engine.info, asked)
        steering = self._steer(asked.personas, asked.steering, engine.info)
        prompt, begun = _fitting_prompt(engine, asked, steering.instruction)
        free = room(len(prompt), engine.info.context_length, least=0 if asked.max_tokens == 0 else 1)
        cut = asked.max_tokens is not None and asked.max_tokens > free
        limit = free if asked.max_tokens is None or cut else asked.max_tokens
        drawn, clamped = sample(limit, asked.sampling, steering.modulation)
        check_schema(engine, drawn, asked.schema_field, asked.calling.rules)
        watched = self._watched(asked, steering, engine.info)
        report = msgspec.structs.replace(
            steering.report,
            clamped=steering.report.clamped or clamped,
            sampling=sampling_use(drawn),
            max_tokens=limit if cut else None,
            projection_layers=_blocks(watched),
        )
        return Prepared(
            prompt,
            steering.plan,
            report,
            drawn,
            strengths(asked.personas),
            watched,
            speller(engine, marked=asked.raw is not None) if drawn.top_logprobs is not None else None,
            asked.steering.trace,
            asked.calling.rules,
            begun,
            asked.raw is not None,
        )

    def _in_words(self, info: ModelInfo, asked: Asked) -> Prepared:
        """Plan one request to a model whose tokens another server has, which renders, measures and may refuse it."""
        if not info.steerable:
            check_in_words(asked.steering, asked.projected)
        steering = self._steer(asked.personas, asked.steering, info)
        messages = () if asked.raw is not None else _told(asked, steering.instruction, info)
        _check_raw(asked, steering.instruction)
        talk = Talk(
            messages,
            asked.raw,
            asked.calling.tools,
            asked.template_options,
            asked.begun.content,
            asked.begun.reasoning,
            weights=info.fingerprint,
        )
        limit = NO_LIMIT if asked.max_tokens is None else asked.max_tokens
        drawn, clamped = sample(limit, asked.sampling, steering.modulation)
        # OpenAI's API has no such penalty, so only one that the client itself asked for is sent.
        drawn = dataclasses.replace(drawn, repetition_penalty=asked.sampling.repetition_penalty)
        # Servers that can't be read may answer too, where nobody has asked for what is read and nobody is steered.
        read = bool(steering.plan.interventions) or asked.projected is not None or asked.steering.trace
        watched = self._watched(asked, steering, info) if info.steerable and read else ()
        report = msgspec.structs.replace(
            steering.report,
            clamped=steering.report.clamped or clamped,
            sampling=sampling_use(drawn),
            projection_layers=_blocks(watched),
        )
        return Prepared(
            prompt=[],
            plan=steering.plan,
            report=report,
            sampling=drawn,
            steered_to=strengths(asked.personas),
            watched=watched,
            spell=None if drawn.top_logprobs is None else talk.spelling.bytes_of,
            traced=asked.steering.trace,
            calls=asked.calling.rules,
            begun=0,
            raw=asked.raw is not None,
            talk=talk,
        )

    def _steer(self, personas: Sequence[Wanted], options: SteeringOptions, info: ModelInfo) -> _Steering:
        """By the method asked for; `auto` is activation, or what the model's settings say, and sampling where a GPT-OSS
        model lacks a vector."""
        _check_random_direction(options)
        method = "prompt" if options.method == "auto" and info.by_prompt else options.method
        if method in ("prompt", "sampling"):
            personas = [wanted for wanted in personas if wanted.coefficient]  # 0 is a level only where it is held
        if not personas:
            return _Steering()
        if method == "prompt":
            return _Steering(prompt_report(coefficients(personas)), instruction=_instruction(personas))
        if method == "sampling":
            return self._modulated(personas, info)
        if not info.steerable:
            raise self.available.unavailable(personas[0], info)
        own = [self.available.own_vector(wanted.trait, info) for wanted in personas]
        vectors = [vector for vector in own if vector is not None]
        if len(vectors) == len(personas):
            return _activated(personas, vectors, options, info)
        missing = [wanted for wanted, vector in zip(personas, own, strict=True) if vector is None]
        unmeasured = [wanted for wanted in missing if self.available.is_unmeasured(wanted.trait, info)]
        modulable = method == "auto" and options.random_direction is None
        if modulable and not unmeasured and is_gpt_oss(info):
            return self._modulated(personas, info)
        raise self.available.unavailable([*unmeasured, *missing][0], info)

    def _modulated(self, personas: Sequence[Wanted], info: ModelInfo) -> _Steering:
        """By sampling parameters, as strongly as the personas' vectors were measured to be."""
        sources: dict[str, tuple[VectorHeader, Side]] = {}
        for wanted in personas:
            header = self.available.strength_source(wanted.trait, info)
            if header is None:
                raise self.available.unavailable(wanted, info)
            sources[wanted.name] = header, wanted.side
        by_name = coefficients(personas)
        report = sampling_report(by_name, [header for header, _ in sources.values()], info.id)
        return _Steering(report, modulation=modulation(by_name, sources))

    def _watched(self, asked: Asked, steering: _Steering, info: ModelInfo) -> tuple[Watched, ...]:
        """The poles whose projections are read: those asked for, else those steered to as far as that is possible, at
        blocks that see the text alone. VectorUnavailable for one asked for that can't be read."""
        deepest = min((item.block for item in steering.plan.interventions), default=info.n_layers - 1)
        steered_to = [(wanted.trait, wanted.toward) for wanted in asked.personas]
        poles = {trait.pole(side): (trait, side) for trait, side in asked.projected or ()}
        if asked.projected is None:
            poles = {trait.pole(side): (trait, side) for trait, side in steered_to}
        found = []
        for pole, (trait, side) in poles.items():
            vector = steering.vectors.get(trait.id) or self.available.own_vector(trait, info)
            watched = None if vector is None else watch(pole, vector, side, deepest)
            if watched is not None:
                found.append(watched)
            elif asked.projected is not None:
                raise VectorUnavailable(
                    f"steering.projection: {info.id} has no vector that tells where answers lie that are {pole}; "
                    f"extract one of the trait {trait.id}",
                    param="steering.projection",
                )
        if asked.steering.trace and not found:
            message = "steering.trace: there is nothing to trace; name personas in steering.projection"
            raise InvalidRequest(message, param="steering.trace")
        return tuple(found)


def _blocks(watched: Sequence[Watched]) -> dict[str, int] | None:
    """Where each projection is read, by pole."""
    return {each.pole: each.probe.block for each in watched} or None


def _fitting_prompt(engine: Engine, asked: Asked, instruction: str | None) -> tuple[list[int], int]:
    """As `_prompt`. The schema is told where that leaves the answer at least half of the room that it would have
    without: the answer follows it in any case."""
    if asked.told_schema is None:
        return _prompt(engine, asked, instruction)
    untold, context = dataclasses.replace(asked, told_schema=None), engine.info.context_length
    try:
        told = _prompt(engine, asked, instruction)
    except PromptTooLong:
        return _prompt(engine, untold, instruction)
    if len(told[0]) * 2 <= context:
        return told
    plain = _prompt(engine, untold, instruction)
    return told if (context - len(told[0])) * 2 >= context - len(plain[0]) else plain


def _prompt(engine: Engine, asked: Asked, instruction: str | None) -> tuple[list[int], int]:
    """The prompt, and how many of its last tokens are the answer's own text. InvalidRequest and Refusal."""
    _check_raw(asked, instruction)
    if asked.raw is not None:
        tokens = engine.tokenize(asked.raw) if isinstance(asked.raw, str) else list(asked.raw)
        if not tokens:
            raise InvalidRequest("prompt: it has no tokens; possible: one or more", param="prompt")
        return tokens, 0
    prompt = render(engine, _told(asked, instruction, engine.info), asked.calling.tools, asked.template_options)
    headers, begun = engine.begin(prompt, asked.begun.content, asked.begun.reasoning)
    return prompt + headers + begun, len(begun)


def _told(asked: Asked, instruction: str | None, info: ModelInfo) -> Sequence[Message]:
    """The conversation with what the model is told besides."""
    messages = asked.messages if instruction is None else with_instruction(asked.messages, instruction)
    if asked.told_schema is None:
        return messages
    return with_system(messages, asked.told_schema.words(harmony=is_gpt_oss(info)))


def _check_raw(asked: Asked, instruction: str | None) -> None:
    if asked.raw is not None and instruction is not None:
        possible = "activation; or write the instruction into the prompt"
        message = f"steering.method: a raw prompt has no place for an instruction; possible: {possible}"
        raise InvalidRequest(message, param="steering.method")


def _activated(
    personas: Sequence[Wanted], own: Sequence[PersonaVector], options: SteeringOptions, info: ModelInfo
) -> _Steering:
    """By a plan, with each persona's vector."""
    number = options.random_direction
    vectors = {
        wanted.name: (vector if number is None else _random(vector, wanted, number, place), wanted.side)
        for place, (wanted, vector) in enumerate(zip(personas, own, strict=True))
    }
    by_name = coefficients(personas)
    plan, done = build_plan(by_name, vectors, _plan_options(options), info)
    report = activation_report(by_name, options.mode, done, own)
    told = warnings_of([(vector, wanted.toward) for wanted, vector in zip(personas, own, strict=True)])
    report = msgspec.structs.replace(report, warnings=told or None)
    if number is not None:  # what the range was measured with is another direction
        report = msgspec.structs.replace(report, random_direction=number, beyond_measured_range=None, warnings=None)
    return _Steering(report, plan, vectors={vector.trait: vector for vector in own})


def _random(vector: PersonaVector, wanted: Wanted, number: int, place: int) -> PersonaVector:
    """With a random direction for the pole that the coefficient means; each persona of a request has its own."""
    if wanted.toward not in vector.poles:
        return vector  # refused later, in the words for that
    return with_random_direction(vector, wanted.toward, number, place)


def _check_random_direction(options: SteeringOptions) -> None:
    """InvalidRequest where there is no direction, or where its length would count."""
    if options.random_direction is None:
        return
    for name, given, possible in (
        ("method", options.method, ("activation", "auto")),
        ("mode", options.mode, ("add",)),
        ("layers", options.layers, ("best",)),
    ):
        if given not in possible:
            choice = " or ".join(f'"{value}"' for value in possible)
            message = f"steering.random_direction: it needs steering.{name} to be {choice}"
            raise InvalidRequest(message, param="steering.random_direction")


def _plan_options(options: SteeringOptions) -> PlanOptions:
    return PlanOptions(
        options.mode,
        options.positions,
        options.layers,
        options.channels,
        options.max_relative_dose,
        options.on_exceed,
    )


def _instruction(personas: Sequence[Wanted]) -> str:
    return "\n".join(wanted.trait.instructions[0].side(wanted.toward) for wanted in personas)


def room(prompt_tokens: int, context_length: int, least: int = 1) -> int:
    """Tokens the answer may have at most. ContextLengthExceeded where the prompt does not leave the `least` that it
    needs: it is never cut."""
    free = context_length - prompt_tokens
    if free < least:
        raise ContextLengthExceeded(
            f"This model's maximum context length is {context_length} tokens, of which at least one is for the answer. "
            f"However, the prompt has {prompt_tokens} tokens. Please reduce its length.",
            param="messages",
        )
    return free


def with_instruction(messages: Sequence[Message], instruction: str) -> list[Message]:
    """The messages with an instruction before everything else the system prompt says."""
    if messages and messages[0]["role"] == "system":
        first = {**messages[0], "content": f"{instruction}\n\n{messages[0]['content']}"}
        return [first, *messages[1:]]
    return [{"role": "system", "content": instruction}, *messages]
