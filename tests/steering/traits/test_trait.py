"""Traits of the package are complete, a user's traits join them, and a mistake in a file is named and explained."""

from pathlib import Path
from typing import Any

import pytest

from proxy.errors import SetupError
from proxy.settings import KNOWN_FOLDER
from proxy.steering.traits import trait as traits_module
from proxy.steering.traits.trait import BUILTIN_FOLDER, Trait, Traits, everyday, load_traits, no_trait, poles, problems

BUILTIN_POLES = {
    "silly": "serious",
    "dishonest": "honest",
    "superficial": "deep",
    "inattentive": "focused",
}


def trait_file(**changes: Any) -> str:
    """A valid trait in TOML, with top-level values or whole lists replaced."""
    values: dict[str, Any] = {
        "id": "pirate",
        "positive": "pirate",
        "negative": "landlubber",
        "description": "Salt.",
        "rubric": "Count the arrs.",
        "positives": [f"Talk like a pirate, way {i}." for i in range(5)],
        "negatives": [f"Talk like a clerk, way {i}." for i in range(5)],
        "extract": [f"What is {i}?" for i in range(20)],
        "evaluate": [f"Why is {i}?" for i in range(20)],
        "more": "",
        **changes,
    }
    lines = [f'{name} = "{values[name]}"' for name in ("id", "positive", "negative", "description", "rubric")]
    for positive, negative in zip(values["positives"], values["negatives"], strict=True):
        lines += ["[[instructions]]", f'positive = "{positive}"', f'negative = "{negative}"']
    lines += ["[questions]", f"extract = {values['extract']}", f"evaluate = {values['evaluate']}", values["more"]]
    return "\n".join(lines)


def demonstrations(count: int) -> str:
    shown = ("[[demonstrations]]", 'question = "How is {0}?"', 'positive = "Arr {0}!"', 'negative = "It is {0}."')
    return "\n".join(line.format(number) for number in range(count) for line in shown)


def write(folder: Path, name: str = "pirate.toml", **changes: Any) -> Path:
    path = folder / name
    path.write_text(trait_file(**changes))
    return path


def test_builtin_traits_are_the_four_with_both_poles() -> None:
    traits = load_traits()
    assert {trait.positive: trait.negative for trait in traits.values()} == BUILTIN_POLES
    assert all(trait_id == trait.id for trait_id, trait in traits.items())
    assert set(poles(traits)) == set(BUILTIN_POLES) | set(BUILTIN_POLES.values())
    assert poles(traits)["serious"] == (traits["silly"], "negative")
    assert poles(traits)["silly"] == (traits["silly"], "positive")


SHIPPED = load_traits(KNOWN_FOLDER / "traits")


@pytest.mark.parametrize("trait", SHIPPED.values(), ids=lambda trait: trait.id)
def test_no_shipped_question_names_its_trait(trait: Trait) -> None:
    for question in trait.questions.extract + trait.questions.evaluate:
        assert trait.positive not in question.lower() and trait.negative not in question.lower()


def test_shipped_questions_are_asked_once_over_all_traits() -> None:
    asked = [q for trait in SHIPPED.values() for q in trait.questions.extract + trait.questions.evaluate]
    assert len(asked) == len(set(asked)) and not set(asked) & set(everyday().questions)
    assert not set(asked) & {shown.question for trait in SHIPPED.values() for shown in trait.demonstrations}


def test_traits_of_known_models_when_a_user_has_one_of_their_names_then_the_users_counts(tmp_path: Path) -> None:
    write(tmp_path, "mine.toml", id="mine", positive="merry", negative="grumpy")
    traits = load_traits(KNOWN_FOLDER / "traits", tmp_path)
    assert set(SHIPPED) - set(traits) == {"cheerful"} and poles(traits)["grumpy"][0].id == "mine"


def test_a_users_trait_joins_the_builtin_ones(tmp_path: Path) -> None:
    write(tmp_path)
    traits = load_traits(tmp_path, tmp_path / "missing")
    assert len(traits) == 5
    assert traits["pirate"].pole("negative") == "landlubber"
    assert traits["pirate"].instructions[2].side("negative") == "Talk like a clerk, way 2."


def test_a_users_trait_replaces_a_builtin_one_of_the_same_id(tmp_path: Path) -> None:
    source = (BUILTIN_FOLDER / "silly.toml").read_text()
    (tmp_path / "mine.toml").write_text(source.replace('negative = "serious"', 'negative = "grave"', 1))
    traits = load_traits(tmp_path)
    assert len(traits) == 4 and traits["silly"].negative == "grave"


def test_questions_of_a_world_are_used_there_and_only_there(tmp_path: Path) -> None:
    extract, evaluate = [f"Dust {i}?" for i in range(20)], [f"Rock {i}?" for i in range(20)]
    write(tmp_path, more=f"[question_sets.moon]\nextract = {extract}\nevaluate = {evaluate}")
    trait = load_traits(tmp_path)["pirate"]
    assert trait.questions_for("moon").extract[0] == "Dust 0?"
    assert trait.questions_for(None) == trait.questions_for("mars") == trait.questions


def test_shown_to_when_half_is_held_out_then_no_demonstration_is_in_both_halves(tmp_path: Path) -> None:
    write(tmp_path, more=demonstrations(6))
    trait = load_traits(tmp_path)["pirate"]
    shown = [[one.side("positive") for one in trait.shown_to(None, held_out=held_out)] for held_out in (False, True)]
    assert shown == [["Arr 0!", "Arr 1!", "Arr 2!"], ["Arr 3!", "Arr 4!", "Arr 5!"]]


def test_shown_to_when_the_model_knows_only_a_small_world_then_nothing(tmp_path: Path) -> None:
    write(tmp_path, more=demonstrations(6))
    assert not load_traits(tmp_path)["pirate"].shown_to("demo")


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"positive": "Pirate!"}, "positive = 'Pirate!' must be lower-case"),
        ({"id": "../up"}, "id = '../up' must be lower-case"),
        ({"negative": "pirate"}, "both 'pirate'"),
        ({"negative": "none"}, "'none' means no persona"),
        ({"rubric": " "}, "rubric is empty"),
        ({"positives": ["a", "b"], "negatives": ["c", "d"]}, "needs 5 [[instructions]], has 2"),
        ({"positives": ["same"] * 5}, "instructions, positive: 'same' is there twice"),
        ({"negatives": ["a", "b", "c", "d", ""]}, "instructions, negative: number 5 is empty"),
        ({"extract": ["one?"]}, "questions.extract needs 20 questions, has 1"),
        ({"evaluate": [f"Why is {i // 2}?" for i in range(20)]}, "questions.evaluate: 'Why is 0?' is there twice"),
        ({"evaluate": [f"what  is {i}?" for i in range(20)]}, "asked both to extract and to evaluate"),
        ({"more": "[question_sets.moon]\nextract = []\nevaluate = []"}, "question_sets.moon.extract needs 20"),
        ({"more": "[colour]"}, "there is no 'colour' in a trait"),
        ({"more": "[instruction]"}, "there is no 'instruction' in a trait; did you mean 'instructions'?"),
        ({"more": "= ="}, "pirate.toml: is not valid TOML: "),
        ({"more": demonstrations(5)}, "needs 6 [[demonstrations]] or none, has 5"),
        ({"more": demonstrations(6).replace("Arr 1!", "Arr 0!")}, "demonstrations, positive: 'Arr 0!' is there twice"),
        ({"more": demonstrations(6).replace("How is 2?", "why is 2?")}, "'why is 2?' is one of the questions too"),
        ({"extract": [3] * 20}, "questions.extract[0]: must be text, not a whole number"),
    ],
)
def test_a_mistake_is_explained_with_the_files_name(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    path = write(tmp_path, **changes)
    with pytest.raises(SetupError) as caught:
        load_traits(tmp_path)
    assert str(path) in caught.value.message and said in caught.value.message
    assert "\n" not in caught.value.message


def test_a_file_that_is_no_text_is_explained(tmp_path: Path) -> None:
    (tmp_path / "bad.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(SetupError, match="bad.toml: is not text in UTF-8"):
        load_traits(tmp_path)


def test_a_file_that_lacks_something_is_told_what(tmp_path: Path) -> None:
    source = trait_file()
    (tmp_path / "pirate.toml").write_text(source.replace('rubric = "Count the arrs."\n', ""))
    with pytest.raises(SetupError, match="pirate.toml: rubric is missing"):
        load_traits(tmp_path)
    (tmp_path / "pirate.toml").write_text(source.replace('positive = "Talk like a pirate, way 1."\n', ""))
    with pytest.raises(SetupError, match=r"pirate.toml: instructions\[1\]: positive is missing"):
        load_traits(tmp_path)


@pytest.fixture
def live(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Traits:
    """Looked at again whenever asked."""
    monkeypatch.setattr(traits_module, "LOOK_EVERY_S", 0.0)
    return Traits(tmp_path)


def test_a_file_that_comes_changes_or_goes_counts_without_a_restart(live: Traits, tmp_path: Path) -> None:
    names = live.poles
    assert "pirate" not in live.current and "pirate" not in names
    before = live.current
    assert live.current is before  # nothing was read again
    path = write(tmp_path)
    assert live.current["pirate"].negative == "landlubber" and live.poles["landlubber"][1] == "negative"
    write(tmp_path, negative="lubber")
    changed = live.poles
    assert "lubber" in changed and "landlubber" not in changed and len(changed) == 10
    assert "pirate" not in names  # what was told before is as it was
    path.unlink()
    assert "pirate" not in live.current


def test_a_file_that_is_wrong_leaves_the_traits_as_they_were_and_is_told_of_once(
    live: Traits, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(tmp_path)
    assert "pirate" in live.current
    write(tmp_path, rubric="")
    for _ in range(3):
        assert live.current["pirate"].rubric == "Count the arrs."
    (record,) = caplog.records
    assert "pirate.toml: rubric is empty" in record.getMessage()
    write(tmp_path, rubric="Count the ayes.")
    assert live.current["pirate"].rubric == "Count the ayes."


def test_files_are_not_looked_at_all_the_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(traits_module, "LOOK_EVERY_S", 60.0)
    live = Traits(tmp_path)
    write(tmp_path)
    assert "pirate" not in live.current


@pytest.mark.parametrize("name", ["silly", "honest"])
def test_a_pole_belongs_to_one_trait(tmp_path: Path, name: str) -> None:
    write(tmp_path, positive=name)
    with pytest.raises(SetupError, match=f"already has a pole '{name}'"):
        load_traits(tmp_path)


def test_an_id_is_defined_once_in_a_folder(tmp_path: Path) -> None:
    write(tmp_path, "one.toml")
    write(tmp_path, "two.toml")
    with pytest.raises(SetupError, match=r"two.toml: the trait 'pirate' is already defined by one.toml"):
        load_traits(tmp_path)


def test_no_trait_when_the_name_is_a_poles_then_its_trait_is_named_else_what_there_is() -> None:
    traits = load_traits()
    assert no_trait("deep", traits) == "there is no trait 'deep', it is a pole of 'superficial'"
    assert no_trait("depe", traits, "all").endswith("'depe'; possible: dishonest, inattentive, silly, superficial, all")


def test_a_good_trait_has_no_problems(trait: Trait) -> None:
    assert list(problems(trait)) == []
