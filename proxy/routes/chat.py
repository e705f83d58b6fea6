"""POST /v1/chat/completions."""

from contextlib import ExitStack
from typing import Annotated, Any

import msgspec
from litestar import Request, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Body
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp

from proxy.chat.stream import ChunkSequence, completion
from proxy.engines.base import Together
from proxy.protocol.chat import ChatCompletion, ChatRequest
from proxy.routes import observe
from proxy.routes.answering import StreamedAnswer, admit, unless_gone
from proxy.routes.asking import answer_facts, asked_of, head_of
from proxy.routes.body import OpenAIBody
from proxy.routes.errors import declared


@post(
    "/chat/completions",
    status_code=200,
    dto=OpenAIBody[ChatRequest],
    return_dto=None,
    summary="Chat, in character",
    description="OpenAI's chat completion. With `stream` the answer is a text/event-stream of chat.completion.chunk.",
    responses={
        200: ResponseSpec(ChatCompletion, description="The answer, or its stream", generate_examples=False),
        **declared(400, 401, 404, 413, 429, 500, 502, 503, 504),
    },
)
async def create_chat_completion(request: Request[Any, Any, Any], data: Annotated[ChatRequest, Body()]) -> ASGIApp:
    model, asked = await asked_of(request, data)
    record = observe.record_of(request.scope)
    with ExitStack() as until_handed_on:
        turn = until_handed_on.enter_context(admit(request, model, data.n or 1))
        engine = await unless_gone(request, turn.engine())
        [prepared] = await unless_gone(request, turn.prepare(engine, [asked]))
        record.facts |= answer_facts(prepared.report)
        together = Together(data.n or 1, data.n or 1)
        for index in range(data.n or 1):
            # Choices of one seeded request differ from one another and are the same next time.
            seed = None if data.seed is None else data.seed + index
            stops = [data.stop] if isinstance(data.stop, str) else data.stop or []
            turn.start(engine, prepared, seed, stops, asked.calling, together=together)
        head = head_of("chatcmpl-", engine, prepared)
        if data.stream:
            include_usage = bool(data.stream_options and data.stream_options.include_usage)
            await unless_gone(request, turn.accepted())
            until_handed_on.pop_all()
            return StreamedAnswer(turn, ChunkSequence(head, turn.choices, include_usage=include_usage))
        await unless_gone(request, turn.collect())
    turn.note()
    record.facts["tokens"] = turn.tokens
    return ASGIResponse(body=msgspec.json.encode(completion(head, turn.choices)), media_type="application/json")
