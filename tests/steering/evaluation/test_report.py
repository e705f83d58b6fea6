"""A report: what each way is called, how verdicts are told, and that a folder collects several vectors."""

import dataclasses
from pathlib import Path

import msgspec
import pytest

from proxy.errors import SetupError
from proxy.steering.evaluation.report import (
    FIGURES,
    PAGE,
    VectorEvaluation,
    page,
    read_evaluations,
    section,
    verdict_line,
    way_name,
    write_evaluation,
)
from tests.vector_store.test_evaluation import ARM, EVALUATION, FIGURE
from vector_store import CostArm

FOUND = VectorEvaluation(
    id="silly-1",
    model="org/model",
    trait="silly",
    positive="silly",
    negative="serious",
    evaluations={"positive": EVALUATION},
)


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"kind": "unsteered", "coefficient": 0.0}, "not steered"),
        ({}, "steered at -1"),
        ({"coefficient": 1.5, "turn": 2}, "steered at 1.5, second turn"),
        ({"kind": "random", "coefficient": 2.0}, "random directions, as strong as 2"),
        ({"kind": "wrong_trait", "coefficient": 1.0}, "other traits' directions, as strong as 1"),
        ({"kind": "unsteered", "coefficient": 0.0, "asked_by": "prompt"}, "system prompt"),
        ({"coefficient": 1.0, "asked_by": "prompt"}, "system prompt and vector at 1"),
        ({"kind": "unsteered", "coefficient": 0.0, "asked_by": "demonstrations"}, "system prompt with demonstrations"),
    ],
)
def test_way_name_when_it_is_told_then_in_words(changes: dict[str, object], name: str) -> None:
    assert way_name(dataclasses.replace(ARM, **changes)) == name  # type: ignore[arg-type]


def test_way_name_when_it_is_a_cost_then_in_the_same_words() -> None:
    assert way_name(CostArm(asked_by="nothing", coefficient=1.5, facts=FIGURE, instructions=None)) == "steered at 1.5"


def test_section_then_what_was_not_measured_says_so_and_both_judges_are_there() -> None:
    lines = list(section(FOUND))
    assert "### silly: weak" in lines and "It shows more at 2." in lines
    assert "| steered at -1 | 20 | 90 (80 to 98) | 90 (80 to 98) | not measured |" in "\n".join(lines)
    assert any("The second judge is reading" in line and "unknown" in line and "of 10%" in line for line in lines)
    assert "| system prompt | 90 (80 to 98) | not measured |" not in lines  # figures of costs are shares
    assert verdict_line("silly", EVALUATION) == "silly: weak (it shows more at 2)"


def test_section_when_every_row_is_read_then_it_has_as_many_cells_as_its_head() -> None:
    second = dataclasses.replace(EVALUATION, arms=[ARM, dataclasses.replace(ARM, second=FIGURE)])
    for found in (EVALUATION, second):
        rows = [
            line
            for line in section(msgspec.structs.replace(FOUND, evaluations={"positive": found}))
            if line.startswith("|")
        ]
        tables = [[row.count("|") for row in rows if (row.count("|") == 4) is costs] for costs in (True, False)]
        assert all(len(set(table)) == 1 and len(table) > 2 for table in tables)


def test_write_when_several_vectors_are_written_then_the_page_has_all_and_the_newest_of_each(tmp_path: Path) -> None:
    deep = msgspec.structs.replace(FOUND, trait="superficial", positive="superficial", id="superficial-1")
    for found in (FOUND, deep, msgspec.structs.replace(FOUND, id="silly-2")):
        assert write_evaluation(tmp_path, found) == tmp_path / PAGE
    assert [found.id for found in read_evaluations(tmp_path)] == ["silly-2", "superficial-1"]
    text = (tmp_path / PAGE).read_text("utf-8")
    assert text == page(read_evaluations(tmp_path))
    assert "silly-1" not in text and "- *What is a noun?* A word." in text
    (tmp_path / FIGURES / "org--model-silly.json").write_bytes(b"{")
    with pytest.raises(SetupError, match="no evaluation of this version"):
        write_evaluation(tmp_path, deep)


def test_write_when_the_folder_is_a_file_then_setup_error(tmp_path: Path) -> None:
    (tmp_path / "report").write_text("")
    with pytest.raises(SetupError, match="can't be written"):
        write_evaluation(tmp_path / "report", FOUND)
