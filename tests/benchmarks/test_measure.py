"""The harness against the fake model behind a real server: what it counts, not how fast that is."""

import contextlib
import os
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from proxy.settings import Settings
from tests.benchmarks import measure as measuring
from tests.benchmarks import soak as soaking
from tests.benchmarks.client import BenchmarkError, new_client
from tests.benchmarks.measure import Workload, measure
from tests.benchmarks.servers import CONDITIONS, Condition, Running, Server
from tests.benchmarks.soak import flat, soak
from tests.fakes import FakeEngine, save_vector, serving

pytestmark = pytest.mark.anyio
ENDLESS = {"messages": [{"role": "user", "content": "!forever"}]}


def quiet(what: str, done: int, total: int) -> None:
    """No progress bar."""


def fake(
    folder: Path, *flags: str, fixed_length: Mapping[str, Any] = ENDLESS, conditions: tuple[Condition, ...] = CONDITIONS
) -> Server:
    save_vector(folder, "silly", "silly", "serious")
    return Server(
        name="fake",
        command=[sys.executable, "-m", "tests.serve_fake", "serve", "--port", "{port}", *flags],
        model="fake",
        conditions=conditions,
        personas=("silly", "serious"),
        steer=lambda persona, coefficient: {"persona": persona, "coefficient": coefficient, "steering": {}},
        fixed_length=fixed_length,
        environment={"PERSONA_PROXY_VECTORS_DIR": str(folder), "PERSONA_PROXY_TRAITS_DIR": str(folder)},
    )


@pytest.fixture
def at_hand(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server is this process's own, since starting another takes seconds; one test starts it as it is."""
    save_vector(settings.vectors_dir, "silly", "silly", "serious")

    @contextlib.asynccontextmanager
    async def here(server: Server, threads: int) -> AsyncIterator[Running]:
        with serving(settings, FakeEngine(token_s=0.02)) as url:
            async with new_client(url) as client:
                yield Running(os.getpid(), client)

    for module in (measuring, soaking):
        monkeypatch.setattr(module, "running", here)


async def test_measure_when_server_answers_then_every_condition_has_its_rounds_at_every_concurrency(
    tmp_path: Path,
) -> None:
    told: list[tuple[str, int, int]] = []
    measured = await measure(
        fake(tmp_path, "--model", "fake=a/b"), Workload(3, 2, 2, (1, 4)), 1, lambda *what: told.append(what)
    )
    assert sorted((load.condition, load.concurrency) for load in measured.loads) == sorted(
        (condition, concurrency) for condition in CONDITIONS for concurrency in (1, 4)
    )
    for load in measured.loads:
        assert len(load.tokens_per_s) == 2 and min(load.tokens_per_s) > 0
        assert 0 < load.first_token_s[0] <= load.first_token_s[1]
    assert measured.prompt_tokens == len("\0!forever")
    assert told[0] == ("fake: starting", 0, 12) and told[-1] == ("fake", 12, 12)


@pytest.mark.usefixtures("at_hand")
async def test_measure_when_answers_are_shorter_than_asked_for_then_it_says_so(tmp_path: Path) -> None:
    server = fake(tmp_path, "--model", "fake=a/b", fixed_length={}, conditions=("unsteered",))
    with pytest.raises(BenchmarkError, match="had .* tokens, where 400 were asked for"):
        await measure(server, Workload(400, 1, 1, (1,)), 1, quiet)


async def test_measure_when_server_does_not_start_then_its_own_words_are_told(tmp_path: Path) -> None:
    with pytest.raises(BenchmarkError, match="(?s)exit code 2 instead of serving.*no such model folder"):
        await measure(fake(tmp_path, "--model", "./nothing"), Workload(1, 1, 1, (1,)), 1, quiet)


@pytest.mark.usefixtures("at_hand")
async def test_soak_when_clients_come_and_go_then_all_are_counted_and_memory_is_watched(tmp_path: Path) -> None:
    result = await soak(fake(tmp_path, "--model", "fake=a/b", fixed_length={}), 120, 1, quiet)
    assert result.requests == 120 and 0 < result.cancelled < 40
    assert result.rss_mb[0][0] >= 36 and result.rss_mb[-1][0] >= 119
    assert all(size > 10 for _, size in result.rss_mb)


@pytest.mark.parametrize(("sizes", "expected"), [([100, 101, 100, 102], True), ([100, 105, 110, 120], False)])
def test_flat_when_memory_grows_then_it_is_not(sizes: list[float], expected: bool) -> None:
    from tests.benchmarks.records import SoakResult

    rss = [(index, size) for index, size in enumerate(sizes) for _ in range(10)]
    result = SoakResult(model="m", date="d", versions={}, requests=4, cancelled=0, rss_mb=rss, slope_mb=0.0)
    assert flat(result) is expected


def test_body_when_numbers_differ_then_so_do_plans_and_prompts_but_not_their_length(tmp_path: Path) -> None:
    server = fake(tmp_path, fixed_length={})
    bodies = [server.body("mixed", number, 5) for number in range(2000)]
    assert len({(body["persona"], body["coefficient"]) for body in bodies}) == 2000
    assert all(0 < body["coefficient"] <= 2 for body in bodies)
    prompts = {body["messages"][0]["content"] for body in bodies}
    assert len(prompts) == 2000 and len({len(prompt) for prompt in prompts}) == 1
    one = [server.body("one", number, 5) for number in range(9)]
    assert {(body["persona"], body["coefficient"]) for body in one} == {("silly", 1.0)}
    assert "persona" not in server.body("unsteered", 0, 5)
