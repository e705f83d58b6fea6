"""The reference says what the code says, and the picture what a model said."""

from functools import cache
from xml.etree import ElementTree

import pytest

from docs.scripts import picture, reference

pages = cache(reference.pages)


@pytest.mark.parametrize("name", ["settings.md", "http-api.md", "command-line.md"])
def test_a_page_of_the_reference_then_it_is_the_one_written_from_the_code(name: str) -> None:
    written = (reference.FOLDER / name).read_text(encoding="utf-8")
    assert written == pages()[name], "out of date: run `python -m docs.scripts.reference`"


def test_the_picture_then_it_is_drawn_of_the_answers_in_it() -> None:
    answers = {-1.0: "Of <course>.", 0.0: "Paris.", 1.0: "Boing! " * 20}
    text = picture.drawn("model", answers)
    rows = [element.text for element in ElementTree.fromstring(text).iter("{http://www.w3.org/2000/svg}text")]
    assert rows[:3] == [picture.QUESTION, "silly \N{MINUS SIGN}1", "Of <course>."] and rows[-1] is not None
    assert rows[-1].startswith("model, seed 1")
    shipped = ElementTree.parse(picture.PICTURE).getroot()
    assert "The capital of France is Paris." in [element.text for element in shipped.iter()]
