"""What traits may be called, and which questions give one away."""

import pytest

from proxy.errors import InvalidRequest
from proxy.steering.traits.names import HIDDEN, check_names, gives_away, pole_name, similar, slug, telling_words


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("grumpy", "grumpy"),
        ("Grumpy Cat!", "grumpy-cat"),
        ("  fröhlich__laut ", "frohlich-laut"),
        ("don't care", "dont-care"),
        ("../../etc", "etc"),
        ("怒", ""),
    ],
)
def test_slug_then_words_joined_by_hyphens(text: str, name: str) -> None:
    assert slug(text) == name


def test_pole_name_when_the_description_is_long_or_no_word_then_the_other_name() -> None:
    assert pole_name("Quick to anger", "x") == "quick-to-anger"
    assert pole_name("grumpy and short-tempered", "x") == "x"
    assert pole_name("怒", "x") == "x"


@pytest.mark.parametrize("hidden", HIDDEN)
def test_check_names_when_front_ends_would_hide_the_persona_then_the_pole_is_named(hidden: str) -> None:
    for names, field in (
        (("t", f"x{hidden}", "calm"), "positive"),
        (("t", "calm", f"{hidden}-x"), "negative"),
    ):
        with pytest.raises(InvalidRequest, match=hidden) as caught:
            check_names(*names)
        assert caught.value.param == field
    check_names(slug(hidden), "calm", "tense")  # a trait's id is in no model's id


@pytest.mark.parametrize(
    ("names", "field"),
    [
        (("all", "calm", "tense"), "id"),
        (("import", "calm", "tense"), "id"),
        (("generate-custom", "calm", "tense"), "id"),
        (("a/b", "calm", "tense"), "id"),
        (("c" * 65, "calm", "tense"), "id"),
        (("mood", "Calm", "tense"), "positive"),
        (("mood", "calm", "calm"), "positive"),
        (("mood", "calm", "none"), "negative"),
        (("mood", "none", "calm"), "positive"),
    ],
)
def test_check_names_when_one_can_not_be_had_then_its_field_is_named(names: tuple[str, str, str], field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_names(*names)
    assert caught.value.param == field


@pytest.mark.parametrize(
    ("described", "question"),
    [
        ("grumpy", "Why are you so grumpy today?"),
        ("grumpy", "Is grumpiness healthy?"),
        ("silly", "Which is the sillier hat?"),
        ("cheerful", "How do I cheer up a friend?"),
        ("honest", "Is it dishonest to keep a found coin?"),
        ("sad", "Why is sadness useful?"),
        ("short-tempered", "What does TEMPER mean?"),
        ("poetic", "Who is a good poet?"),
    ],
)
def test_gives_away_when_a_form_of_the_traits_words_is_there_then_true(described: str, question: str) -> None:
    assert gives_away(question, telling_words(described))


def test_gives_away_when_only_words_of_every_day_are_shared_then_false() -> None:
    telling = telling_words("someone who is very grumpy and will not help you", "cheerful")
    assert not gives_away("What is the best way to boil an egg, and how long will it take you?", telling)
    assert gives_away("Can you help me?", telling)


def test_similar_then_most_words_are_the_same() -> None:
    assert similar("How do I boil an egg?", "how do i boil eggs")
    assert not similar("How do I boil an egg?", "How do I boil potatoes in salted water?")
