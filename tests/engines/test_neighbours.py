"""Nobody's answer ends, or changes, because of what another asks for or of what the model writes for another."""

import queue
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.engines.base import Engine, Event, Failure, Generation, Sampling, Token
from proxy.engines.errors import ModelFailed
from proxy.engines.llama_cpp import sampling as llama_sampling
from proxy.engines.text.speech import PlainSpeech
from proxy.engines.transformers import sampler as torch_sampling
from tests.engines.conftest import LoadEngine
from tests.engines.llama_cpp.models import LoadLlama

LARGEST = 2**31 - 1
BAD = 90  # the first token of a prompt whose answer is made to fail
NO_END = {256: -100.0, 257: -100.0}
# Every number that a client may send, at its ends.
ENDS = st.builds(
    Sampling,
    max_tokens=st.sampled_from([1, 5, 9]),
    temperature=st.sampled_from([0.0, 5e-324, 1e-30, 1.0, 2.0]),
    top_p=st.sampled_from([0.0, 5e-324, 0.5, 1.0]),
    top_k=st.sampled_from([0, 1, 257, 258, 259, 100000, LARGEST]),
    min_p=st.sampled_from([0.0, 5e-324, 1.0]),
    frequency_penalty=st.sampled_from([-2.0, 0.0, 5e-324, 2.0]),
    presence_penalty=st.sampled_from([-2.0, 0.0, 2.0]),
    repetition_penalty=st.sampled_from([0.01, 1.0, 100.0]),
    logit_bias=st.dictionaries(st.sampled_from([0, 1, 257]), st.sampled_from([-100.0, 5e-324, 100.0])),
    seed=st.sampled_from([None, 0, 1, 2**32 - 2, 2**32 - 1, 2**32, 2**63 - 1, -(2**63)]),
    top_logprobs=st.sampled_from([None, 0, 20]),
)
INNOCENT = [
    Generation([65 + number] * (3 + 7 * number), Sampling(12, temperature=0.9, seed=number, logit_bias=NO_END))
    for number in range(3)
]


@pytest.fixture(params=["transformers", "llama_cpp"])
def engine(request: pytest.FixtureRequest, qwen2: Path, engine_of: LoadEngine, llama_of: LoadLlama) -> Engine:
    return engine_of(qwen2) if request.param == "transformers" else llama_of("qwen2", exact=True)


def told(engine: Engine, generations: Sequence[Generation]) -> list[list[Event]]:
    """What each of them tells, all made at once."""
    events: queue.SimpleQueue[tuple[int, Event]] = queue.SimpleQueue()
    for number, generation in enumerate(generations):
        engine.start(generation, lambda event, number=number: events.put((number, event)))  # type: ignore[misc]
    found: list[list[Event]] = [[] for _ in generations]
    left = len(generations)
    while left:
        number, event = events.get(timeout=60)
        found[number].append(event)
        left -= not isinstance(event, Token)
    return found


def test_numbers_when_at_their_ends_then_nobody_s_answer_changes(engine: Engine) -> None:
    expected = [told(engine, [generation])[0] for generation in INNOCENT]

    @settings(max_examples=15, suppress_health_check=list(HealthCheck))
    @given(st.lists(ENDS, min_size=1, max_size=4))
    def check(rules: list[Sampling]) -> None:
        hostile = [Generation([66, 67, 68 + number], rule) for number, rule in enumerate(rules)]
        found = told(engine, [*hostile[:1], *INNOCENT, *hostile[1:]])
        assert found[1 : 1 + len(INNOCENT)] == expected
        assert not any(isinstance(events[-1], Failure) for events in found)

    check()


def bomb_speech(error: type[Exception], patch: pytest.MonkeyPatch) -> None:
    add = PlainSpeech.add

    def broken(self: PlainSpeech, token: int) -> Token:
        if getattr(self, "bad", False):
            raise error("boom")
        return add(self, token)

    patch.setattr(PlainSpeech, "add", broken)
    patch.setattr("proxy.engines.text.speech.Speaker.speech", _marking(patch))


def _marking(patch: pytest.MonkeyPatch) -> Callable[..., Any]:
    from proxy.engines.text.speech import Speaker

    speech = Speaker.speech

    def marked(self: Speaker, prompt: Sequence[int], *more: Any, **named: Any) -> Any:
        made = speech(self, prompt, *more, **named)
        made.bad = prompt[0] == BAD  # type: ignore[attr-defined]
        return made

    return marked


def bomb_sampler(error: type[Exception], patch: pytest.MonkeyPatch) -> None:
    for module in (torch_sampling, llama_sampling):
        make = module.Sampler.__init__

        def broken(self: Any, rules: Sampling, prompt: Sequence[int], *more: Any, make: Any = make) -> None:
            if prompt[0] == BAD:
                raise error("boom")
            make(self, rules, prompt, *more)

        patch.setattr(module.Sampler, "__init__", broken)


def bomb_draw(error: type[Exception], patch: pytest.MonkeyPatch) -> None:
    """At the third draw, when everybody is in the batch."""
    for module, name in ((torch_sampling, "adjust"), (llama_sampling, "draw")):
        make, do = module.Sampler.__init__, getattr(module.Sampler, name)

        def making(self: Any, rules: Sampling, prompt: Sequence[int], *more: Any, make: Any = make) -> None:
            self.left = 2 if prompt[0] == BAD else 10**9
            make(self, rules, prompt, *more)

        def broken(self: Any, *more: Any, do: Any = do) -> Any:
            self.left -= 1
            if self.left < 0:
                raise error("boom")
            return do(self, *more)

        patch.setattr(module.Sampler, "__init__", making)
        patch.setattr(module.Sampler, name, broken)


# Each place catches whatever is raised there, so that no error needs trying in all of them.
@pytest.mark.parametrize(
    ("bomb", "error"),
    [(bomb_speech, ValueError), (bomb_sampler, RecursionError), (bomb_draw, OverflowError), (bomb_draw, KeyError)],
)
def test_what_goes_wrong_over_one_answer_then_ends_it_alone(
    engine: Engine,
    bomb: Callable[[type[Exception], pytest.MonkeyPatch], None],
    error: type[Exception],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    expected = [told(engine, [generation])[0] for generation in INNOCENT]
    hostile = Generation([BAD] * 5, Sampling(12, temperature=0.9, seed=1, logit_bias=NO_END))
    with monkeypatch.context() as patch:
        bomb(error, patch)
        found = told(engine, [INNOCENT[0], hostile, *INNOCENT[1:], hostile])
    assert [found[0], *found[2:4]] == expected
    for events in (found[1], found[4]):
        assert isinstance(events[-1], Failure) and isinstance(events[-1].error, ModelFailed)
    assert told(engine, [INNOCENT[0]]) == expected[:1]
