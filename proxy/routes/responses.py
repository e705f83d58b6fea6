"""POST /v1/responses, as another form of a chat. Nothing is stored, so there is nothing to get or to delete."""

import time
from contextlib import ExitStack
from typing import Annotated, Any

import msgspec
from litestar import Request, delete, get, post
from litestar.openapi.datastructures import ResponseSpec
from litestar.params import Body, FromPath
from litestar.response.base import ASGIResponse
from litestar.types import ASGIApp

from proxy.chat.refusals import told_as
from proxy.chat.responses.events import ResponseSequence
from proxy.chat.responses.request import begun_response, to_chat
from proxy.chat.turn import Turn
from proxy.chat.unsupported import UNSUPPORTED_IN_RESPONSES
from proxy.errors import NotFound
from proxy.protocol.responses import ResponseObject, ResponseRequest
from proxy.routes import observe
from proxy.routes.answering import StreamedAnswer, admit, unless_gone
from proxy.routes.asking import answer_facts, asked_of, head_of
from proxy.routes.body import OpenAIBody
from proxy.routes.errors import declared


class _ResponseBody(OpenAIBody[ResponseRequest]):
    unsupported = UNSUPPORTED_IN_RESPONSES


@post(
    "/responses",
    status_code=200,
    dto=_ResponseBody,
    return_dto=None,
    summary="Respond, in character",
    description="OpenAI's response, which is not stored. With `stream` it is a text/event-stream of OpenAI's events, "
    "from response.created to response.completed.",
    responses={
        200: ResponseSpec(ResponseObject, description="The response, or its stream", generate_examples=False),
        **declared(400, 401, 404, 413, 429, 500, 502, 503, 504),
    },
)
async def create_response(request: Request[Any, Any, Any], data: Annotated[ResponseRequest, Body()]) -> ASGIApp:
    chat, names = to_chat(data)
    record = observe.record_of(request.scope)
    with told_as(names), ExitStack() as until_handed_on:
        model, asked = await asked_of(request, chat)
        turn = until_handed_on.enter_context(admit(request, model, 1))
        engine = await unless_gone(request, turn.engine())
        [prepared] = await unless_gone(request, turn.prepare(engine, [asked]))
        record.facts |= answer_facts(prepared.report)
        stops = [chat.stop] if isinstance(chat.stop, str) else chat.stop or []
        choice = turn.start(engine, prepared, chat.seed, stops, asked.calling)
        head = head_of("resp_", engine, prepared)
        begun = begun_response(data, chat, head, prepared.sampling)
        sequence = ResponseSequence(begun, head, choice, clock=time.time, names=names)
        if data.stream:
            await unless_gone(request, turn.accepted())
            until_handed_on.pop_all()
            return StreamedAnswer(turn, sequence, named=True)
        await unless_gone(request, _collect(turn, sequence))
    turn.note()
    record.facts["tokens"] = turn.tokens
    return ASGIResponse(body=msgspec.json.encode(sequence.response()), media_type="application/json")


async def _collect(turn: Turn, sequence: ResponseSequence) -> None:
    """Run the answer to its end."""
    async for _, event in turn.events():
        sequence.grow(event)


# Told of in the manual alone: the OpenAPI document has what can be asked for.
@get(["/responses/{response_id:str}", "/responses/{response_id:str}/input_items"], include_in_schema=False)
async def get_response(response_id: FromPath[str]) -> None:
    raise _not_stored(response_id)


@delete("/responses/{response_id:str}", status_code=200, include_in_schema=False)
async def delete_response(response_id: FromPath[str]) -> None:
    raise _not_stored(response_id)


def _not_stored(response_id: str) -> NotFound:
    return NotFound(f"There is no response {response_id!r}: this server stores none.", param="response_id")
