"""No text ends the process: llama.cpp's std::regex runs out of stack over long runs, so it never sees them."""

import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.engines.errors import Refusal
from tests.engines.llama_cpp.models import LoadLlama

pytest.importorskip("llama_cpp", reason="needs the extra llama-cpp")

from proxy.engines.gguf import word_cutting  # noqa: E402
from tests.engines.llama_cpp.vocabularies import CHARACTERS, MARKERS, UNKNOWN, vocabulary  # noqa: E402

MERGED = sorted({cutting.name for cutting in word_cutting._KNOWN.values()})
OWN_CODE = ["gemma4", "gpt-2", "kimi-k2", "laguna", "llama-bpe", "qwen2", "qwen35", "smollm"]  # one for each
# A stack of 256 KiB: what calls itself once a character has no chance.
ATTACK = """
import sys, threading
from pathlib import Path
from tests.engines.llama_cpp.vocabularies import RUNS, UNKNOWN, vocabulary
from proxy.engines.errors import Refusal

def attack():
    for name in sys.argv[2:]:
        known = vocabulary(Path(sys.argv[1]), name)
        for run in RUNS:
            text = run * (4000 // len(run))
            try:
                ids = known.encode(text)
            except Refusal:
                assert name in UNKNOWN
            else:
                assert name == "gemma4" or known.decode(ids) == text, (name, run)
    print("alive")

threading.stack_size(256 * 1024)
thread = threading.Thread(target=attack)
thread.start()
thread.join()
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("vocabularies")


@pytest.mark.parametrize("names", [MERGED + UNKNOWN, OWN_CODE], ids=["std::regex", "own code"])
def test_a_run_when_longer_than_the_stack_then_the_process_lives(folder: Path, names: list[str]) -> None:
    for name in names:
        vocabulary(folder, name)
    attack = subprocess.run(
        [sys.executable, "-c", ATTACK, str(folder), *names], capture_output=True, text=True, timeout=300
    )
    assert attack.stdout == "alive\n", (attack.returncode, attack.stderr[-2000:])


@pytest.mark.parametrize("name", MERGED)
def test_ids_when_merged_without_llama_cpp_then_are_the_same(folder: Path, name: str) -> None:
    known = vocabulary(folder, name)
    assert known._byte_pairs is not None
    pairs = known._byte_pairs

    @settings(max_examples=15)  # of each of sixteen vocabularies
    @given(st.lists(st.text(CHARACTERS, max_size=30) | st.sampled_from(sorted(MARKERS)) | st.text(max_size=10)))
    def check(parts: list[str]) -> None:
        text = "".join(parts).encode("utf-8", "replace").decode()
        for markers in (True, False):
            assert pairs.tokenize(text, markers) == known._tokenize(text, markers)

    check()


def test_a_run_when_llama_cpp_alone_could_cut_it_then_is_refused_and_a_shorter_one_is_not(folder: Path) -> None:
    known = vocabulary(folder, "default")
    with pytest.raises(Refusal, match="a run of 1000 characters"):
        known.encode("-" * word_cutting.LONGEST_RUN)
    assert known.decode(known.encode("-" * 999 + " " + "a" * 999)) == "-" * 999 + " " + "a" * 999


def test_a_run_when_asked_of_a_served_model_then_is_read(llama_of: LoadLlama) -> None:
    engine = llama_of("gpt-oss")
    run = engine.encode("-" * 1500)
    prompt = engine.render([{"role": "user", "content": "-" * 1500}])
    begin = next(at for at in range(len(prompt)) if prompt[at : at + len(run)] == run)
    assert prompt[:begin] + prompt[begin + len(run) :] == engine.render([{"role": "user", "content": ""}])
