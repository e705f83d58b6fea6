"""Fixtures every test may use: one asynchronous backend, no network, none of the developer's settings.

The demo world is known to steering, as it is in the server and on the command line.
"""

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest

from proxy import demo
from proxy.settings import ENVIRONMENT_PREFIX, Settings
from tests.contract import published
from tests.nursery import Nursery

TESTS = Path(__file__).parent

gc.disable()  # until all is collected: what the imports make stays, and looking through it takes a sixth of their time

# Whatever the environment says: many tests start Pythons of their own, which should not compile all our modules anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# A folder without certificates: nothing is asked over TLS, and each HTTP client would read a hundred and fifty of them.
os.environ.pop("SSL_CERT_FILE", None)
os.environ["SSL_CERT_DIR"] = str(TESTS)
os.environ["HF_HUB_OFFLINE"] = "1"  # read when the hub's library is first imported
os.environ.setdefault("OMP_NUM_THREADS", "1")  # for models this small a second thread costs more than it brings

# The files that take longest, in parts of the tests' folder. They begin first: with `make test` a file runs in one
# process, and the last to begin should not be one that leaves the other processes without work. Those with a browser,
# which computes beside the test and is waited for, stand between others, so that two seldom run at once.
LONGEST = (
    "ui/test_play.py",
    "clients/test_demo_models.py",
    "docs/test_code_blocks.py",
    "ui/test_views.py",
    "demo/test_shipped.py",
    "demo/test_lasting.py",
    "ui/test_page.py",
    "catalogue/test_known.py",
    "engines/test_repeatable.py",
    "ui/test_play_servers.py",
    "test_real_server.py",
    "test_one_store.py",
    "hold/test_hold.py",
    "test_server.py",
    "contract/test_jobs.py",
    "benchmarks/test_native.py",
    "benchmarks/test_measure.py",
    "engines/llama_cpp/test_long_runs.py",
    "engines/upstream/test_several_servers.py",
    "steering/judge/test_endpoint.py",
)

demo.register()

# A machine that runs tests may be busy. Each run tries other examples, so that few in each are many in a week.
hypothesis.settings.register_profile("suite", deadline=None, max_examples=50)
hypothesis.settings.load_profile("suite")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the files that take longest first, and leave all else in its order."""
    first = {TESTS / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: first.get(item.path, len(first)))


def pytest_collection_finish() -> None:
    """Keep what the imports made out of garbage collection, of which every engine that closes does a whole one."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(10_000, 20, 50)  # servers that come and go make many objects: looking less often costs less
    gc.enable()


@pytest.fixture(scope="module", autouse=True)
def _what_is_there_stays() -> None:
    """So it does again before each file: tests import more, and what a session shares is looked through no more."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.startswith(ENVIRONMENT_PREFIX):
            monkeypatch.delenv(name)


@pytest.fixture(autouse=True)
def _answers_are_as_published() -> Iterator[None]:
    """Whatever a test's server answered was in OpenAI's shapes; see tests/contract/published.py."""
    yield
    found, published.FAULTS[:] = list(published.FAULTS), []
    assert not found, "\n".join(found)


@pytest.fixture(scope="session")
def nursery() -> Iterator[Nursery]:
    """Forks real servers of the demo models, for all files of a process: its imports take seconds."""
    from tests.hold.server import ENVIRON, IMPORTS  # its environment is to be the one that is set above

    nursery = Nursery(*IMPORTS, environ=ENVIRON)
    yield nursery
    nursery.close()


@pytest.fixture
def settings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Default settings whose folders are empty ones of this test. Vectors of real models are not there."""
    monkeypatch.setattr("proxy.settings.settings.KNOWN_FOLDER", tmp_path / "known")
    return Settings(
        vectors_dir=str(tmp_path / "vectors"),
        traits_dir=tmp_path / "traits",
        jobs_dir=tmp_path / "jobs",
        transfers_dir=tmp_path / "transfers",
    )
