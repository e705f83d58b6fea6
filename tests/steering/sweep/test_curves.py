"""A measured curve to look at: a table in plain lines, and a picture that is complete in itself."""

import dataclasses
from xml.etree import ElementTree

import pytest

from proxy.steering.sweep.svg import HEIGHT, WIDTH, curve_svg
from proxy.steering.sweep.table import curve_table
from tests.steering.sweep.swept import placed
from vector_store import JudgedBy, Measured, PersonaVector, Side, Sweep, SweepKind, SweepPoint

SVG = "{http://www.w3.org/2000/svg}"


def around(mean: float) -> Measured:
    return Measured(mean=mean, low=max(mean - 7, 0), high=min(mean + 7, 100))


def point(kind: SweepKind, coefficient: float, trait: float | None, correct: float | None = None) -> SweepPoint:
    return SweepPoint(
        kind=kind,
        coefficient=coefficient,
        relative_dose=coefficient / 2,
        trait=None if trait is None else around(trait),
        coherence=around(100 - 30 * (coefficient > 1)),
        wrong_way=None if trait is None else Measured(mean=0.03, low=0.0, high=0.1),
        correct=None if correct is None else Measured(mean=correct, low=correct, high=correct),
        score=None if trait is None else trait / 100,
        n=40,
        unfinished=Measured(mean=0.25, low=0.1, high=0.4),
        looping=Measured(mean=0.05, low=0.0, high=0.2),
    )


def curve(trait: float | None = 90.0, correct: float | None = None, collapse: float | None = 1.5) -> Sweep:
    steered = [point("steered", c, None if trait is None else trait * min(c, 1), correct) for c in (0.5, 1.0, 1.5)]
    randoms = [point("random", c, None if trait is None else 3.0) for c in (0.5, 1.0, 1.5)]
    randoms += [point("wrong_trait", c, None if trait is None else 7.0) for c in (0.5, 1.0, 1.5)]
    controls = [point("unsteered", 0.0, None if trait is None else 2.0), point("prompt", 0.0, trait)]
    return Sweep(
        points=[controls[0], *steered, *randoms, controls[1]],
        chosen_on=[],
        judge=JudgedBy(name="a <judge> & co", auroc=0.97, n=80, scored=True),
        coherent_to=1.0 if collapse else 1.5,
        collapse=collapse,
        factor=0.5,
        verdict="1 was set to what 0.50 was",
        seed=0,
        wrong_traits=["deep", "superficial"],
    )


def vector(**sweeps: Sweep) -> PersonaVector:
    return dataclasses.replace(placed(0.5), sweeps=sweeps)  # type: ignore[arg-type]


def test_table_then_each_coefficient_has_a_line_with_its_interval_and_its_control() -> None:
    lines = list(curve_table(vector(positive=curve(correct=0.5))))
    text = "\n".join(lines)
    assert lines[0] == "silly: relative dose 0.50 at coefficient 1" and "1 was set to what 0.50 was" in lines[1]
    assert "hold together up to coefficient 1.00 and fall apart at 1.50" in lines[2]
    assert "a <judge> & co, AUROC 0.97" in lines[3]
    (row,) = [line for line in lines if line.startswith("  0.50 ")]
    shares = ("3 (0-10)", "25 (10-40)", "50 (50-50)")
    for part in ("0.25", "45 (38-52)", "100 (93-100)", *shares, "3 / 100", "7 / 100"):
        assert part in row
    assert "system prompt" in text and lines[8].startswith("  0 ") and "serious" not in text
    assert lines[7].split()[-3:] == ["looping", "random", "others"] and "50 (50-50)    5       3 / 100" in row
    assert "other traits: deep, superficial" in text
    assert max(map(len, lines)) <= 120


def test_table_when_unscored_or_without_facts_then_it_says_so_and_has_no_column_for_them() -> None:
    text = "\n".join(curve_table(vector(negative=curve(trait=None, collapse=None))))
    assert "unscored" in text and "facts right" not in text
    assert "at every coefficient tried, up to 1.50" in text and "serious: " in text


def test_table_when_never_swept_then_nothing() -> None:
    assert list(curve_table(placed(1.0))) == []


@pytest.mark.parametrize("sides", [("positive",), ("negative",), ("positive", "negative")])
@pytest.mark.parametrize("trait", [90.0, None])
def test_svg_then_it_is_whole_and_everything_is_inside(sides: tuple[Side, ...], trait: float | None) -> None:
    root = ElementTree.fromstring(curve_svg(vector(**dict.fromkeys(sides, curve(trait, 0.8)))))
    assert root.tag == f"{SVG}svg" and root.get("viewBox") == f"0 0 {WIDTH} {HEIGHT}"
    for line in root.iter(f"{SVG}line"):
        assert all(0 <= float(line.get(name, -1)) <= WIDTH for name in ("x1", "x2"))
        assert all(0 <= float(line.get(name, -1)) <= HEIGHT for name in ("y1", "y2"))
    for shape in (*root.iter(f"{SVG}polyline"), *root.iter(f"{SVG}polygon")):
        for pair in (shape.get("points") or "").split():
            x, y = map(float, pair.split(","))
            assert 0 <= x <= WIDTH and 0 <= y <= HEIGHT
    texts = [text.text for text in root.iter(f"{SVG}text")]
    assert [("coefficient, " + pole in texts) for pole in ("silly", "serious")] == [
        side in sides for side in ("positive", "negative")
    ]
    assert not {"script", "image", "style", "foreignObject"} & {item.tag.removeprefix(SVG) for item in root.iter()}


def test_svg_then_lines_are_where_the_figures_are() -> None:
    """100 is at the top of the axis, and the other pole's curve goes to the left."""
    root = ElementTree.fromstring(curve_svg(vector(positive=curve(100.0), negative=curve(50.0))))
    traits = [line.get("points", "").split() for line in root.iter(f"{SVG}polyline") if line.get("stroke") == "#c2410c"]
    (up, down) = [[tuple(map(float, pair.split(","))) for pair in points] for points in traits]
    assert up[0][0] == down[0][0] == pytest.approx((WIDTH - 80) / 2 + 60)
    assert [x for x, _ in up] == sorted(x for x, _ in up) and [x for x, _ in down] == sorted((x for x, _ in down))[::-1]
    assert up[-1][1] == min(y for _, y in up) < down[-1][1]
    ranges = [rect for rect in root.iter(f"{SVG}rect") if rect.get("class") == "range"]
    assert [float(rect.get("width", 0)) for rect in ranges] == pytest.approx([(WIDTH - 80) / 3] * 2, abs=0.1)


def test_svg_when_names_are_strange_then_they_stay_text() -> None:
    picture = curve_svg(dataclasses.replace(vector(positive=curve()), model_id="<script>&"))
    assert "<script>" not in picture and "&lt;script&gt;&amp;" in picture and "a &lt;judge&gt; &amp; co" in picture


def test_svg_when_never_swept_then_refused() -> None:
    with pytest.raises(ValueError, match="never swept"):
        curve_svg(placed(1.0))
