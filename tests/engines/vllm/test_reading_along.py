"""What is read of answers that vLLM makes for a proxy elsewhere: texts and readings by token, kept until asked for."""

import asyncio
from collections.abc import Callable

import pytest

from proxy.engines.answer import RunningAnswer
from proxy.engines.base import Event, Generation, Sampling, Token
from proxy.engines.vllm import reading_along
from proxy.engines.vllm.listening import ProbeReadings
from proxy.engines.vllm.reading_along import ReadAnswers, ReadingAlong
from proxy.engines.vllm.wire import ReadAnswer


class Letters:
    """A speech whose tokens are letters."""

    channels = frozenset(("content",))
    special = frozenset[int]()
    writing = "content"
    opener = None

    def add(self, token: int) -> Token:
        return Token(token, chr(token))

    def rest(self) -> None:
        return None


def answer(on_event: Callable[[Event], None]) -> RunningAnswer:
    generation = Generation([1, 2, 3], Sampling(2**31))
    return RunningAnswer(generation, on_event, Letters())  # type: ignore[arg-type]


def test_an_answer_when_it_is_read_along_then_each_token_but_the_last_has_its_text_and_what_was_read() -> None:
    async def read() -> ReadAnswer:
        readings = ProbeReadings({2: [9.0], 3: [1.0]})
        along = ReadingAlong(answer, readings, 3)
        for tokens in ([ord("a")], [], [ord("b"), ord("c")]):
            along.hear(tokens)
        reading = asyncio.create_task(along.read())
        await asyncio.sleep(0)
        assert not reading.done()
        readings.found[4] = [2.0]
        readings.changed.set()
        return await reading

    assert asyncio.run(read()) == ReadAnswer([("a", [1.0]), ("b", [2.0])])


def test_an_answer_when_it_was_taken_or_others_came_since_then_it_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading_along, "MOST_KEPT", 2)
    answers = ReadAnswers()
    kept = [ReadAnswer([(str(number), [])]) for number in range(3)]
    for number, each in enumerate(kept):
        answers.keep(str(number), each)
    assert [answers.take(name) for name in ("0", "2", "2", "1", "other")] == [None, kept[2], None, kept[1], None]


def test_an_answer_when_nobody_asks_for_it_then_it_is_not_kept_for_ever() -> None:
    now = [100.0]
    answers = ReadAnswers(lambda: now[0])
    answers.keep("old", ReadAnswer([]))
    now[0] += reading_along.KEPT_S + 1
    answers.keep("new", ReadAnswer([]))
    assert answers.take("old") is None and answers.take("new") is not None
