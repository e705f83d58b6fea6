"""The page of evaluations: figures that were written down, as tables, with what fell short."""

import dataclasses
from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxy.errors import SetupError
from proxy.steering.transfer import evaluations
from proxy.steering.transfer.arms import ArmKind, EvaluationOptions
from proxy.steering.transfer.figures import ArmFigures, Evaluation, PoleFigures, misses, missing
from proxy.steering.transfer.page import page, section
from vector_store import JudgedBy, Measured, PoleChoice, UsedMap

RESULTS = Path(__file__).parents[3] / "docs" / "results"
JUDGE = JudgedBy(name="counting", auroc=0.99, n=80, scored=True)


def measured(mean: float, width: float = 0.0) -> Measured:
    return Measured(mean=mean, low=mean - width, high=mean + width)


def arm(kind: ArmKind, trait: float, recovery: float | None = None, width: float = 5.0, **more: object) -> ArmFigures:
    known: dict[str, Any] = {"variants": [], "others": {}} | more
    return ArmFigures(
        kind=kind,
        n=60,
        trait=measured(trait, width),
        coherence=measured(97.0),
        correct=measured(0.9),
        anti_steered=measured(0.02),
        recovery=None if recovery is None else measured(recovery, 0.05),
        **known,
    )


CONTROLS = [arm(kind, 3) for kind in ("random_covariance", "shuffled", "wrong_trait", "sampling")]


def pole(name: str, arms: list[ArmFigures], judge: JudgedBy = JUDGE) -> PoleFigures:
    choice = PoleChoice(block=1, span="last_prompt", positions="last_prompt", relative_dose=1.25)
    used = UsedMap(
        span="last_prompt", source_block=3, target_block=1, method="ridge", r2=0.98, r2_shuffled=-0.09, n_pairs=1200
    )
    return PoleFigures(
        pole=name,
        trait="silly",
        judge=judge,
        choice=choice,
        map=used,
        arms=arms,
        placed_by_others=dataclasses.replace(choice, block=2),
        recovery_by_others=measured(0.91, 0.02),
        cosine=0.94,
        cosines_of_others={"honest": 0.31, "deep": -0.6},
        cosines_shuffled=[0.12, -0.34],
    )


def evaluation(poles: list[PoleFigures], recovery: float = 0.95) -> Evaluation:
    return Evaluation(
        source="one",
        target="two",
        transfer="transfer-1",
        text="made-up text",
        n_documents=100,
        created="2026-01-01T00:00:00+00:00",
        software_version="1",
        options=EvaluationOptions(),
        n_questions=30,
        poles=poles,
        recovery=measured(recovery, 0.03),
        recovery_by_others=measured(0.9, 0.04),
        cosine_p=0.0001,
    )


GOOD = pole(
    "silly",
    [
        arm("none", 2),
        arm("native", 90),
        arm("transferred", 88, 0.98, others={"honest": -4.0, "deep": 12.0}),
        arm("random", 3, 0.01, variants=[0.0, 6.4]),
        *CONTROLS,
        arm("transferred_by_others", 80, 0.9),
    ],
)
WHOLE = [msgspec.structs.replace(GOOD, pole=name) for name in ("silly", "serious", "honest", "dishonest")]


def test_section_then_figures_stand_beside_their_controls_and_intervals() -> None:
    text = "\n".join(section(evaluation(WHOLE)))
    for part in (
        "## one to two",
        "30 questions for each pole",
        "**Mean recovery 0.95 (0.92 to 0.98)** over 4 poles, the least 0.98; placed by the other traits "
        "0.90 (0.86 to 0.94), the least 0.91. ",
        "p = 0.0001",
        "| silly | 2 (-3 to 7) | 90 (85 to 95) | 88 (83 to 93) | 3 (-2 to 8), most 6 | 3 (-2 to 8) |",
        "| silly | 0.98 (0.93 to 1.03) | 0.01 (-0.04 to 0.06) |",
        "| silly | 97 / 90 | 97 / 90 |",
        "8.0 |",
        "deep +12",
        "| block 1, last_prompt | 1.25 | 3 | ridge | 1200 | 0.98 | -0.09 | 0.94 | 0.31 (honest) | 0.12, -0.34 |",
        "| block 2, last_prompt |",
        "All of it came.",
    ):
        assert part in text, part
    assert all(line.count("|") == text_columns(text, line) for line in text.splitlines() if line.startswith("| silly"))


def text_columns(text: str, row: str) -> int:
    """How many bars the head of the row's table has."""
    lines = text.splitlines()
    end = lines.index(row)
    return next(line for line in reversed(lines[:end]) if line.startswith("| pole")).count("|")


def test_misses_when_something_falls_short_then_it_is_said_which_and_how_far() -> None:
    weak = pole("serious", [arm("none", 2), arm("native", 90), arm("transferred", 50, 0.55), arm("shuffled", 42)])
    unscored = pole("honest", [arm("none", 2)], dataclasses.replace(JUDGE, auroc=0.7, scored=False))
    nothing = pole("deep", [arm("none", 2), arm("native", 3), arm("transferred", 40)])
    assert misses(evaluation(WHOLE)) == []
    found = evaluation([GOOD, weak, unscored, nothing], recovery=0.8)
    assert misses(found) == [
        "mean recovery 0.800, wanted 0.85",
        "serious: recovery 0.550, wanted 0.6; the map to block 1, where the native vector steers, explains 0.98 of "
        "what it was not fitted to",
        "serious: 50 (45 to 55) is not clear of shuffled, 42 (37 to 47)",
        "deep: the native vector itself shows no more of it than no steering",
    ]
    text = "\n".join(section(found))
    assert "It fell short:" in text and "- mean recovery 0.800" in text and "All of it came" not in text
    assert (
        "Of the rest there is no verdict, since this is missing:\n\n- honest: unscored, the judge's AUROC is 0.70"
        in text
    )


def test_misses_when_directions_are_no_closer_than_by_chance_then_that_is_said() -> None:
    found = msgspec.structs.replace(evaluation(WHOLE), cosine_p=0.4)
    assert misses(found) == [
        "dealt out to the poles at random, the transferred directions are as close to the native ones with p = 0.4000, "
        "wanted less than 0.05"
    ]


def test_missing_when_one_trait_was_evaluated_then_there_is_no_verdict_but_what_one_needs() -> None:
    alone = [
        msgspec.structs.replace(
            each,
            arms=[arm for arm in each.arms if arm.kind not in ("wrong_trait", "transferred_by_others")],
            placed_by_others=None,
            recovery_by_others=None,
            cosines_of_others={},
        )
        for each in WHOLE[:2]
    ]
    found = msgspec.structs.replace(evaluation(alone), recovery_by_others=None, cosine_p=0.5)
    assert misses(found) == []
    assert missing(found) == [
        "poles that could be scored: there are 2, and at least both of two traits are needed, or chance can't be told "
        "from a match",
        "the control wrong trait, of silly, serious",
        "place and dose by the other traits, of silly, serious",
    ]
    text = "\n".join(section(found))
    assert "There is no verdict, since this is missing:\n\n- poles that could" in text
    assert "All of it came" not in text and "p = 0.5" not in text and "| not measured |" in text and "|  |" not in text
    assert "| not measured |  | no verdict |" in page([found])


@pytest.mark.parametrize("kind", ["none", "random", "random_covariance", "shuffled", "wrong_trait", "sampling"])
def test_missing_when_a_control_was_not_measured_then_it_is_named(kind: ArmKind) -> None:
    without = msgspec.structs.replace(GOOD, arms=[arm for arm in GOOD.arms if arm.kind != kind])
    found = evaluation([without, *WHOLE[1:]])
    assert missing(found) == [f"the control {kind.replace('_', ' ')}, of silly"]
    assert "There is no verdict" in "\n".join(section(found)) and missing(evaluation(WHOLE)) == []


def test_misses_when_it_falls_short_placed_by_the_other_traits_then_that_is_said_too() -> None:
    low = msgspec.structs.replace(GOOD, recovery_by_others=measured(0.4))
    found = msgspec.structs.replace(evaluation([low]), recovery_by_others=measured(0.4))
    assert misses(found) == [
        "placed by the other traits: mean recovery 0.400, wanted 0.85",
        "silly: placed by the other traits: recovery 0.400, wanted 0.6",
    ]


def test_write_then_the_page_is_of_all_that_is_in_the_folder(tmp_path: Path) -> None:
    evaluations.prepare_report(tmp_path)
    one = evaluation(WHOLE)
    back = msgspec.structs.replace(one, source="two", target="one")
    evaluations.write_report(tmp_path, one)
    path = evaluations.write_report(tmp_path, back)
    assert evaluations.read_report(tmp_path) == [one, back]
    assert path.read_text("utf-8") == page([one, back])
    assert path.read_text("utf-8").count("\n## ") == 2
    rows = "| one | two | 0.95 (0.92 to 0.98) | 0.98 | 0.90 (0.86 to 0.94) | 0.91 | nowhere |\n| two | one |"
    assert rows in path.read_text("utf-8")


def test_read_when_a_file_is_damaged_then_it_is_named(tmp_path: Path) -> None:
    evaluations.prepare_report(tmp_path)
    (tmp_path / evaluations.FIGURES / "a-to-b.json").write_text("{}", "utf-8")
    with pytest.raises(SetupError, match="a-to-b.json: is no evaluation"):
        evaluations.read_report(tmp_path)


def test_prepare_when_nothing_can_be_written_then_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(SetupError, match="no report can be written there"):
        evaluations.prepare_report(tmp_path / "file")


def test_the_shipped_page_then_it_is_the_one_made_of_the_shipped_figures() -> None:
    found = evaluations.read_report(RESULTS)
    assert {(each.source, each.target) for each in found} >= {
        ("demo-qwen2", "demo-gpt-oss-gguf"),
        ("demo-gpt-oss-gguf", "demo-qwen2"),
    }
    title, _, rest = page(found).partition("\n\n")
    older = (
        "The GPT-OSS and its GGUF: measured with the weights of before the fifth round of training; not measured again "
        "yet."
    )
    assert (RESULTS / evaluations.PAGE).read_text("utf-8") == f"{title}\n\n{older}\n\n{rest}"
