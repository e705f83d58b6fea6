"""However many models there are, llama.cpp computes on one thread, where its helpers stay awake."""

import threading
import time
from pathlib import Path
from typing import Any

import pytest

from proxy.engines.base import Generation, Plan, Rollout, Sampling
from proxy.engines.blocking import generate_all
from tests.engines.llama_cpp.models import LoadLlama, export_tiny, load_tiny

pytest.importorskip("llama_cpp", reason="needs the extra llama-cpp")

from proxy.engines.llama_cpp import turns  # noqa: E402
from proxy.engines.llama_cpp.context import Context  # noqa: E402
from proxy.engines.llama_cpp.library import llama  # noqa: E402
from proxy.engines.llama_cpp.turns import in_turn  # noqa: E402


def test_models_when_loaded_read_and_answering_then_all_compute_on_one_thread(
    models_folder: Path, llama_of: LoadLlama, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    threads = set()
    decode = llama.llama_decode

    def note(*args: Any) -> Any:
        threads.add(threading.get_ident())
        return decode(*args)

    monkeypatch.setattr(llama, "llama_decode", note)
    other = load_tiny(export_tiny("gpt-oss", models_folder / "gpt-oss", tmp_path / "tiny.gguf"))
    try:
        for engine in (llama_of("qwen2"), other):
            assert generate_all(engine, [Generation([65, 66], Sampling(3))])
            engine.score([Rollout([65], [66, 67])], [Plan()])
    finally:
        other.close()
    assert len(threads) == 1 and threading.get_ident() not in threads


def test_a_turn_when_its_work_fails_then_the_asker_alone_is_told() -> None:
    def fail() -> None:
        raise ValueError("of its own")

    with pytest.raises(ValueError, match="of its own"):
        in_turn(fail)
    assert in_turn(lambda: 7) == 7


def test_a_turn_when_there_is_something_to_do_meanwhile_then_it_is_done_beside_the_work_on_the_asker_s_thread() -> None:
    begun, told, on = threading.Event(), threading.Event(), []

    def work() -> bool:
        begun.set()
        return told.wait(20)

    def tell() -> None:
        on.append(threading.get_ident())
        begun.wait(20)
        told.set()

    assert in_turn(work, tell)
    assert on == [threading.get_ident()]


def test_a_turn_when_it_is_asked_for_within_another_then_it_is_part_of_that() -> None:
    told: list[str] = []

    def work() -> int:
        thread = in_turn(threading.get_ident, lambda: told.append("before"))
        assert told == ["before"]
        return thread

    assert in_turn(work) == in_turn(threading.get_ident) != threading.get_ident()


def test_answers_of_two_models_when_made_at_the_same_time_then_their_steps_take_turns(
    models_folder: Path, llama_of: LoadLlama, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []
    run = Context.run

    def note(context: Context, *args: Any) -> Any:
        steps.append(id(context))
        return run(context, *args)

    other = load_tiny(export_tiny("gpt-oss", models_folder / "gpt-oss", tmp_path / "tiny.gguf"))
    monkeypatch.setattr(Context, "run", note)
    try:
        engines = [llama_of("qwen2"), other]
        ended = []
        for engine, n_tokens in zip(engines, (258, 263), strict=True):
            ends = {token: -100.0 for token in range(256, n_tokens)}
            asked = [Generation([65, 66], Sampling(300, temperature=0, logit_bias=ends))]
            ended.append(threading.Thread(target=generate_all, args=(engine, asked)))
        hold = threading.Event()
        holding = threading.Thread(target=in_turn, args=(lambda: hold.wait(20),))
        holding.start()
        for each in ended:
            each.start()
        while turns._asked.qsize() < 2 and all(each.is_alive() for each in ended):
            time.sleep(0.001)
        hold.set()
        for each in [*ended, holding]:
            each.join()
    finally:
        other.close()
    first, last = steps.index(steps[-1]), len(steps) - steps[::-1].index(steps[0])
    assert last > first  # neither waited for the other to end
