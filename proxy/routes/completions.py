"""POST /v1/completions: what follows a raw text, in character; and how likely the text itself is."""

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from typing import Annotated, Any

import msgspec
from litestar import Request, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Body
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp

from proxy.chat.completions import (
    FIELDS,
    CompletionSequence,
    Echo,
    Growing,
    prompt_logprobs,
    text_completion,
)
from proxy.chat.in_words import WHY
from proxy.chat.output import drawing, speller
from proxy.chat.prepare import Asked, Prepared
from proxy.chat.refusals import told_as
from proxy.chat.stream import GrowingChoice, Head
from proxy.chat.turn import Turn
from proxy.chat.unsupported import UNSUPPORTED_IN_COMPLETIONS
from proxy.engines.base import Engine, Likelihood, Together
from proxy.errors import InvalidRequest
from proxy.protocol.completions import DEFAULT_MAX_TOKENS, CompletionRequest, TextCompletion
from proxy.routes import observe
from proxy.routes.answering import StreamedAnswer, admit, unless_gone
from proxy.routes.asking import answer_facts, head_of, steered_of
from proxy.routes.body import OpenAIBody
from proxy.routes.errors import declared


class _CompletionBody(OpenAIBody[CompletionRequest]):
    unsupported = UNSUPPORTED_IN_COMPLETIONS


@post(
    "/completions",
    status_code=200,
    dto=_CompletionBody,
    return_dto=None,
    summary="Go on with a raw text, in character",
    description="OpenAI's older completion, without a chat template. With `echo` and `logprobs` it tells how likely "
    "the prompt is. With `stream` the answer is a text/event-stream of text_completion.",
    responses={
        200: ResponseSpec(TextCompletion, description="The answer, or its stream", generate_examples=False),
        **declared(400, 401, 404, 413, 429, 500, 502, 503, 504),
    },
)
async def create_completion(request: Request[Any, Any, Any], data: Annotated[CompletionRequest, Body()]) -> ASGIApp:
    model, asked = await _asked(request, data)
    per_prompt = data.n or 1
    places = len(asked) * per_prompt
    _refuse_together(data, places)
    record = observe.record_of(request.scope)
    with ExitStack() as until_handed_on, told_as(FIELDS):
        field = "prompt" if len(asked) > 1 else "n"
        turn = until_handed_on.enter_context(admit(request, model, places, field))
        engine = await unless_gone(request, turn.engine())
        _refuse_out_of_reach(engine, data)
        prepared = await unless_gone(request, turn.prepare(engine, asked))
        head = _head(engine, prepared)
        record.facts |= answer_facts(head.steering)
        echoes = await unless_gone(request, _echoes(turn, engine, data, prepared))
        together = Together(places, places)
        choices = [
            Growing(echo, answer, each.report)
            for each, echo in zip(prepared, echoes, strict=True)
            for answer in _answers(turn, engine, data, each, together)
        ]
        if data.stream:
            include_usage = bool(data.stream_options and data.stream_options.include_usage)
            await unless_gone(request, turn.accepted())
            until_handed_on.pop_all()
            return StreamedAnswer(turn, CompletionSequence(head, choices, per_prompt, include_usage=include_usage))
        await unless_gone(request, turn.collect())
    turn.note()
    record.facts["tokens"] = turn.tokens
    body = msgspec.json.encode(text_completion(head, choices, per_prompt))
    return ASGIResponse(body=body, media_type="application/json")


async def _asked(request: Request[Any, Any, Any], data: CompletionRequest) -> tuple[str, list[Asked]]:
    """The model's id, and what is asked of it for each prompt; the request's log line tells of both.
    InvalidRequest, ModelNotFound and PersonaNotFound."""
    prompts = _prompts(data)
    model, steered = await steered_of(request, data)
    if data.echo and data.logprobs is not None and steered.steering.positions is None:
        # What is told of the prompt is then told of the model in character.
        steered = replace(steered, steering=msgspec.structs.replace(steered.steering, positions="all"))
    asked = replace(
        steered,
        sampling=replace(drawing(data), top_logprobs=data.logprobs),
        max_tokens=DEFAULT_MAX_TOKENS if data.max_tokens is None else data.max_tokens,
    )
    return model, [replace(asked, raw=prompt) for prompt in prompts]


def _prompts(data: CompletionRequest) -> list[str] | list[list[int]]:
    """The prompts, each a text or the ids of its tokens."""
    given = [data.prompt] if isinstance(data.prompt, str) else data.prompt
    texts = [each for each in given if isinstance(each, str)]
    ids = [each for each in given if isinstance(each, int)]
    lists = [each for each in given if isinstance(each, list)]
    if len(given) not in (len(texts), len(ids), len(lists)):
        raise InvalidRequest(
            "prompt: its parts are of several kinds; possible: a text, texts, the ids of one text's tokens, lists of "
            "such ids",
            param="prompt",
        )
    return texts or lists or [ids]


def _head(engine: Engine, prepared: Sequence[Prepared]) -> Head:
    """Of all prompts together. Where answers are limited differently, the least is told."""
    head = head_of("cmpl-", engine, prepared[0])
    limits = [each.report.max_tokens for each in prepared if each.report.max_tokens is not None]
    report = msgspec.structs.replace(head.steering, max_tokens=min(limits, default=None))
    return replace(head, prompt_tokens=sum(len(each.prompt) for each in prepared), steering=report)


def _answers(
    turn: Turn, engine: Engine, data: CompletionRequest, prepared: Prepared, together: Together
) -> list[GrowingChoice]:
    """Begin the answers to one prompt. A seeded one comes out the same whatever prompts stand beside it."""
    if data.max_tokens == 0:
        return [GrowingChoice(finish_reason="length") for _ in range(data.n or 1)]
    stops = [data.stop] if isinstance(data.stop, str) else data.stop or []
    seeds = [None if data.seed is None else data.seed + index for index in range(data.n or 1)]
    return [turn.start(engine, prepared, seed, stops, together=together) for seed in seeds]


async def _echoes(
    turn: Turn, engine: Engine, data: CompletionRequest, prepared: Sequence[Prepared]
) -> Sequence[Echo | None]:
    """What is repeated of each prompt."""
    if not data.echo:
        return [None] * len(prepared)
    texts = await asyncio.to_thread(_texts, engine, data, prepared)
    if data.logprobs is None:
        return [Echo(text) for text in texts]
    return await turn.score(engine, prepared, data.logprobs, partial(_told, prepared, texts))


def _texts(engine: Engine, data: CompletionRequest, prepared: Sequence[Prepared]) -> list[str]:
    if texts := _given_texts(data):
        return texts
    spell = speller(engine, marked=True)
    return [b"".join(map(spell, each.prompt)).decode("utf-8", "replace") for each in prepared]


def _given_texts(data: CompletionRequest) -> list[str]:
    given = [data.prompt] if isinstance(data.prompt, str) else data.prompt
    return [each for each in given if isinstance(each, str)]


def _told(prepared: Sequence[Prepared], texts: Sequence[str], likely: Sequence[Sequence[Likelihood]]) -> list[Echo]:
    return [
        Echo(text, prompt_logprobs(text, each.prompt, found, each.spell))
        for each, text, found in zip(prepared, texts, likely, strict=True)
        if each.spell is not None
    ]


def _refuse_out_of_reach(engine: Engine, data: CompletionRequest) -> None:
    """InvalidRequest for what needs a model's tokens, where another server has them."""
    if engine.info.in_words and data.echo and (data.logprobs is not None or not _given_texts(data)):
        raise InvalidRequest(f"echo: {WHY}; possible: false; or a text, without logprobs", param="echo")


def _refuse_together(data: CompletionRequest, places: int) -> None:
    """InvalidRequest for fields that don't go together."""
    if data.steering is not None and data.steering.trace and places > 1:
        raise InvalidRequest("steering.trace follows one answer; it takes one prompt and n 1", param="steering.trace")
    if data.best_of is not None and data.best_of != (data.n or 1):
        message = f"best_of: answers are not ranked here, all are told; possible: {data.n or 1}, as n"
        raise InvalidRequest(message, param="best_of")
