"""What the client promises: it sees what a stream says, waits its turn, and says what went wrong."""

import asyncio
from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from tests.benchmarks.client import BenchmarkError, Unavailable, ask, burst

pytestmark = pytest.mark.anyio
ROLE = 'data: {"choices": [{"delta": {"role": "assistant", "content": ""}}]}\n\n'
TEXT = 'data: {"choices": [{"delta": {"content": "Hi"}}]}\n\n'
CUT_OFF = 'data: {"choices": [{"delta": {}, "finish_reason": "length"}]}\n\ndata: [DONE]\n\n'
USAGE = 'data: {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}\n\ndata: [DONE]\n\n'


def response(text: str, status: int = 200) -> httpx.Response:
    """An answer that arrives in pieces of seven bytes."""

    async def pieces() -> AsyncIterator[bytes]:
        for start in range(0, len(text), 7):
            yield text[start : start + 7].encode()

    return httpx.Response(status, content=pieces())


def client(answer: Callable[[httpx.Request], httpx.Response]) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://server")


async def test_ask_when_stream_is_whole_then_tokens_are_those_of_its_usage() -> None:
    async with client(lambda request: response(ROLE + TEXT + USAGE)) as server:
        answer = await ask(server, {})
    assert (answer.prompt_tokens, answer.completion_tokens) == (3, 2)
    assert answer.first_s > 0


async def test_ask_when_stream_has_no_usage_then_an_answer_that_was_cut_off_is_as_long_as_it_might_be() -> None:
    async with client(lambda request: response(ROLE + TEXT + CUT_OFF)) as server:
        answer = await ask(server, {"max_tokens": 7})
    assert (answer.prompt_tokens, answer.completion_tokens) == (None, 7)


@pytest.mark.parametrize(
    ("status", "text", "error", "message"),
    [
        (200, ROLE + USAGE, BenchmarkError, "without usage or text"),
        (200, ROLE + TEXT, BenchmarkError, "without usage or text"),
        (200, ROLE + TEXT + CUT_OFF.replace("length", "stop"), BenchmarkError, "without usage or text"),
        (200, ROLE + 'data: {"error": {"message": "no"}}\n\n', BenchmarkError, "no"),
        (400, "bad field", BenchmarkError, "HTTP 400: bad field"),
        (503, "loading", Unavailable, "HTTP 503"),
    ],
)
async def test_ask_when_server_fails_then_error_says_how(
    status: int, text: str, error: type[Exception], message: str
) -> None:
    async with client(lambda request: response(text, status)) as server:
        with pytest.raises(error, match=message) as raised:
            await ask(server, {})
    assert type(raised.value) is error


@pytest.mark.parametrize("times", [1, 2])
async def test_ask_when_server_closes_the_connection_unanswered_then_asked_once_more(times: int) -> None:
    left = times

    def answer(request: httpx.Request) -> httpx.Response:
        nonlocal left
        left -= 1
        if left >= 0:
            raise httpx.RemoteProtocolError("Server disconnected without sending a response.")
        return response(ROLE + TEXT + USAGE)

    async with client(answer) as server:
        if times == 1:
            assert (await ask(server, {})).completion_tokens == 2
        else:
            with pytest.raises(BenchmarkError, match="closed the connection instead of answering"):
                await ask(server, {})


async def test_burst_when_server_takes_fewer_at_once_then_the_rest_wait_and_their_time_counts() -> None:
    now = most = 0

    async def answer(request: httpx.Request) -> httpx.Response:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await asyncio.sleep(0.01)
        now -= 1
        return response(ROLE + TEXT + USAGE)

    async with httpx.AsyncClient(transport=httpx.MockTransport(answer), base_url="http://server") as server:
        held = await burst(server, [{}] * 6, 3, at_once=1)
        assert most == 1
        await burst(server, [{}] * 6, 3)
        assert most == 3
    waits = sorted(answer.first_s for answer in held.answers)
    assert len(waits) == 6 and waits[-1] > 2 * waits[0]


async def test_burst_when_one_answer_fails_then_its_error_is_raised_as_it_is() -> None:
    async with client(lambda request: response("broken", 500)) as server:
        with pytest.raises(BenchmarkError, match="broken"):
            await burst(server, [{}] * 4, 2)
