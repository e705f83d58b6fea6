"""Many answers at once: in order, within bounds, and nothing left running when it goes wrong."""

from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from proxy.engines.base import Event, Failure, Finish, Generation, Sampling, Token
from proxy.engines.blocking import Completion, generate_all
from proxy.engines.errors import ModelFailed


@dataclass
class Scripted:
    """An engine that answers as soon as three are running, the latest first; prompt [9] fails."""

    running: list[tuple[Generation, Callable[[Event], None]]] = field(default_factory=list)
    most: int = 0
    cancelled: list[int] = field(default_factory=list)
    left: int = 0

    def start(self, generation: Generation, on_event: Callable[[Event], None]) -> "Handle":
        self.running.append((generation, on_event))
        self.most = max(self.most, len(self.running))
        self.left -= 1
        if len(self.running) == 3 or self.left == 0:
            for started, tell in reversed(self.running):
                number = started.prompt[0]
                if number == 9:
                    tell(Failure(ModelFailed("broken")))
                else:
                    tell(Token(number, f"<{number}>"))
                    tell(Token(100, "why", "reasoning"))
                    tell(Finish("length" if number % 2 else "stop"))
            self.running = []
        return Handle(self, generation.prompt[0])


@dataclass
class Handle:
    engine: Scripted
    number: int

    def cancel(self) -> None:
        self.engine.cancelled.append(self.number)


def generations(*numbers: int) -> list[Generation]:
    return [Generation([number], Sampling(1)) for number in numbers]


def test_answers_when_they_end_out_of_order_then_come_back_in_order() -> None:
    engine = Scripted(left=7)
    told: list[int] = []
    answers = generate_all(engine, generations(*range(7)), told.append, max_running=3)  # type: ignore[arg-type]
    assert answers == [
        Completion(f"<{number}>", "why", [number, 100], "length" if number % 2 else "stop") for number in range(7)
    ]
    assert sum(told) == 7 and engine.most == 3 and not engine.cancelled


def test_a_failure_when_it_comes_then_is_raised_and_the_rest_cancelled() -> None:
    engine = Scripted(left=3)
    with pytest.raises(ModelFailed, match="broken"):
        generate_all(engine, generations(1, 2, 9), max_running=3)  # type: ignore[arg-type]
    assert {1, 2} <= set(engine.cancelled)


def test_no_generations_then_no_answers() -> None:
    assert generate_all(Scripted(), []) == []  # type: ignore[arg-type]
