"""Large and odd bodies cost the event loop little, and work for a client that has left is not begun."""

import threading
import time
from typing import Any

import anyio
import httpx
import pytest

from proxy.chat import turn
from proxy.chat.turn import Turn
from proxy.settings import Settings
from tests.fakes import FakeEngine, serving, wait_until

MESSAGES = b'"messages": [{"role": "user", "content": "hi"}]'


class CountingEngine(FakeEngine):
    """Counts how many conversations it renders, each of which takes until it is let go."""

    def __init__(self) -> None:
        super().__init__()
        self.go = threading.Event()
        self.begun = 0

    def render(self, *args: Any, **more: Any) -> list[int]:
        self.begun += 1
        self.go.wait(60)
        return super().render(*args, **more)


def test_prompts_when_their_clients_leave_before_they_are_prepared_then_are_never_begun(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    engine = CountingEngine()
    gone: set[Turn] = set()
    close = Turn.close

    def noted(self: Turn) -> None:
        close(self)
        gone.add(self)  # once: turns may be closed twice

    monkeypatch.setattr(Turn, "close", noted)
    with serving(settings, engine) as url:
        body = {"messages": [{"role": "user", "content": "hi"}]}

        async def leave_soon() -> None:
            async with httpx.AsyncClient(timeout=0.5) as client, anyio.create_task_group() as group:
                for _ in range(20):
                    group.start_soon(give_up, client)

        async def give_up(client: httpx.AsyncClient) -> None:
            with pytest.raises(httpx.TimeoutException):
                await client.post(f"{url}/v1/chat/completions", json=body)

        anyio.run(leave_soon)
        wait_until(lambda: len(gone) == 20)
        httpx.get(f"{url}/health")  # the event loop has gone round once more, and dropped what they waited for
        assert engine.begun == turn.PREPARING
        engine.go.set()
        wait_until(lambda: httpx.post(f"{url}/v1/chat/completions", json=body).is_success)
        assert engine.begun == turn.PREPARING + 1


@pytest.mark.parametrize(
    "more",
    [
        b'"metadata": {"a": [' + b",".join([b"[]"] * 1_000_000) + b"]}",
        b'"tools": [{"type": "function", "function": {"name": "f", "parameters": {"a": ['
        + b",".join([b"[]"] * 1_000_000)
        + b"]}}}]",
        b'"a": [' + b",".join([b'{"a": [1]}'] * 300_000) + b", NaN]",
    ],
    ids=["metadata", "tools", "NaN"],
)
def test_body_when_it_holds_a_million_small_values_then_health_is_answered_meanwhile(
    more: bytes, settings: Settings
) -> None:
    """In processor time, and far above what it takes: it was seconds."""
    with serving(settings, FakeEngine()) as url, httpx.Client() as client:
        client.get(f"{url}/health")
        before = time.process_time()
        headers = {"content-type": "application/json"}
        response = client.post(
            f"{url}/v1/chat/completions", content=b"{" + MESSAGES + b"," + more + b"}", headers=headers
        )
        assert response.status_code in (200, 400) and client.get(f"{url}/health").is_success
        assert time.process_time() - before < 2
