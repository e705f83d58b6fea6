"""What is kept of a measurement, and how it is told: tables, what was missed, and the page's copy."""

import re
from pathlib import Path

import pytest
from msgspec import structs

from proxy.errors import SetupError
from tests.benchmarks import records
from tests.benchmarks.__main__ import main
from tests.benchmarks.records import Extraction, Load, Machine, ModelResult, Results, ServerResult, SoakResult, StepCost
from tests.benchmarks.servers import CONDITIONS, Condition
from tests.benchmarks.tables import misses, render

PAGE = Path(__file__).parents[2] / "docs" / "results" / "SPEED.md"
MACHINE = Machine("Some CPU", 2, None)


def loads(speeds: dict[int, float], conditions: tuple[Condition, ...] = CONDITIONS, mixed: float = 1.0) -> list[Load]:
    share = {"mixed": mixed}
    return [
        Load(condition, at_once, [speed * share.get(condition, 1.0)] * 2, (0.01, 0.2))
        for at_once, speed in speeds.items()
        for condition in conditions
    ]


def result(mixed: float = 1.0, at_32: float = 500.0, other: float = 90.0, alone: float = 100.0) -> ModelResult:
    return ModelResult(
        model="m",
        engine="transformers",
        toy=True,
        about="a model",
        date="2026-01-01",
        versions={},
        dtype="float32",
        threads=2,
        threads_tried={"1": 300.0, "2": 400.0},
        tokens=64,
        prompt_tokens=20,
        servers=[
            ServerResult("ours", loads({1: 100.0, 8: 450.0, 32: at_32}, mixed=mixed)),
            ServerResult("transformers", loads({1: other, 8: other, 32: other}, ("unsteered",))),
            ServerResult("saklas", note="does one at a time"),
            ServerResult("transformers-batching", failure="it broke\nin detail"),
        ],
        alone_tokens_per_s=[alone, alone],
        extraction=Extraction([30.0, 40.0], [10.0, 10.0]),
    )


def gguf_result(mixed: float = 1.0, toy: bool = False, other: float = 90.0) -> ModelResult:
    servers = [
        ServerResult("ours", loads({1: 100.0, 8: 450.0}, mixed=mixed)),
        ServerResult("llama-cpp-python", loads({1: other, 8: other}, ("unsteered",))),
    ]
    steps = [StepCost(1, [2.0, 4.0], [2.0, 4.0], [2.2, 4.4])]
    return structs.replace(
        result(), model="g", engine="llama_cpp", toy=toy, servers=servers, extraction=None, steps=steps
    )


def soaked(model: str) -> SoakResult:
    rss = [(1, 100.0), (9, 101.0)]
    return SoakResult(model=model, date="d", versions={}, requests=9, cancelled=1, rss_mb=rss, slope_mb=0.1)


def test_render_when_there_are_results_then_every_figure_has_its_place() -> None:
    text = render([Results(MACHINE, [result(mixed=0.99)], [soaked("m"), soaked("g")])])
    assert "| 8 | 450 | 450 | 446 | 0.990 (0.990 to 0.990) | 90.0 (× 5.0) |" in text
    assert "| 8 | 10.0 / 200 | 10.0 / 200 | 10.0 / 200 | 10.0 / 200 |" in text
    assert "one request at a time, in process: 100 tokens per second; ours, all different, makes 1.0 times" in text
    assert "Extraction: 35.0 texts per second, 10.0 by a loop of forward passes (× 3.5)" in text
    assert "saklas does one at a time." in text and "batching was not measured: it broke." in text
    assert "`m` on 2 CPU cores (Some CPU): 100 MB after 1 requests, 101 MB after 9" in text and "`g` on" in text
    assert "2 CPU cores (Some CPU), 2 threads" in text


def test_render_when_a_model_is_a_file_then_steps_stand_in_the_place_of_extraction() -> None:
    text = render([Results(MACHINE, [gguf_result()])])
    assert "| 1 | 3.00 | 3.00 (× 1.000) | 3.30 (× 1.100) |" in text
    assert "A `Llama`, unsteered, one request at a time, in process: 100 tokens per second" in text
    assert "| 8 | 450 | 450 | 450 | 1.000 (1.000 to 1.000) | 90.0 (× 5.0) |" in text
    assert "Extraction" not in text and "callback" not in render([Results(MACHINE, [result()])])


@pytest.mark.parametrize("met", [result(), gguf_result(), gguf_result(mixed=0.9, toy=True)])
def test_misses_when_all_is_met_then_nothing(met: ModelResult) -> None:
    assert list(misses(met)) == []


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        (result(mixed=0.97), "all different is 0.970 of unsteered"),
        (result(at_32=400.0), "falls from 8 at once to 32"),
        (result(other=110.0), "1 at once: 0.91 times `transformers serve`"),
        (result(alone=120.0), "8 at once: 3.8 times one at a time"),
        (gguf_result(mixed=0.97), "all different is 0.970 of unsteered"),
        (gguf_result(other=160.0), "8 at once: 2.8 times `llama_cpp.server`, not 3"),
    ],
)
def test_misses_when_something_wanted_is_not_there_then_it_is_named(missing: ModelResult, told: str) -> None:
    assert any(told in line for line in misses(missing))


def test_results_when_written_then_read_back_and_a_model_measured_again_replaces_its_older_result(
    tmp_path: Path,
) -> None:
    path = tmp_path / "results" / f"{MACHINE.name}.json"
    kept = records.read(path, MACHINE)
    for alone in (1.0, 2.0):
        kept.put(result(alone=alone))
    for requests in (9, 8):
        kept.put(structs.replace(soaked("m"), requests=requests))
    records.write(path, kept)
    assert [soak.requests for soak in records.read(path, MACHINE).soaks] == [8]
    assert [model.alone_tokens_per_s for model in records.read(path, MACHINE).models] == [[2.0, 2.0]]
    assert records.read_all(path.parent) == [kept]
    path.write_text("[]")
    with pytest.raises(SetupError, match="cpu-2-cores.json"):
        records.read(path, MACHINE)


def test_machine_when_models_run_on_a_gpu_then_its_file_is_named_after_it() -> None:
    assert Machine("c", 16, "NVIDIA H100 80GB HBM3").name == "nvidia-h100-80gb-hbm3"


@pytest.mark.parametrize(
    "arguments",
    [
        ["speed", "--device", "cuda:7"],
        ["soak", "--requests", "5"],
        ["soak", "--model", "unknown"],
        ["speed", "--model", "unknown"],
    ],
)
def test_command_when_used_wrongly_then_exit_code_is_two(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    try:
        code = main(arguments)
    except SystemExit as end:  # argparse's own
        code = int(end.code or 0)
    assert code == 2 and capsys.readouterr().err


def test_readme_when_results_change_then_its_tables_are_theirs() -> None:
    match = re.search(r"<!-- benchmark -->\n(.*?)\n<!-- /benchmark -->", PAGE.read_text("utf-8"), re.DOTALL)
    shown = match[1].strip() if match else ""
    assert shown == render(records.read_all()), "put the output of `python -m tests.benchmarks tables` between them"
