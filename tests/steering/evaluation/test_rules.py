"""Facts and instructions: right or wrong by rules alone."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.steering.evaluation.rules import (
    COUNTED,
    PLAIN,
    RULES,
    Fact,
    Instruction,
    Rule,
    cost_questions,
    follows,
    items,
    lines,
    sentences,
    states,
    words,
)
from proxy.steering.traits.trait import load_traits

PARIS = Fact("What is the capital of France?", ["Paris"])
LETTERS = st.text("abcdefghijklmnopqrstuvwxyz", min_size=1, max_size=8).filter(lambda word: word != "and")
WORDS = st.lists(LETTERS, min_size=1, max_size=12)
ANY = st.text(max_size=200)


@pytest.mark.parametrize(
    ("accept", "answer", "right"),
    [
        (["Paris"], "It is paris, of course!", True),
        (["Paris"], "PARIS", True),
        (["Paris"], "The comparison is hard.", False),
        (["Paris"], "", False),
        (["7", "seven"], "There are 7 days.", True),
        (["7", "seven"], "There are 17 days.", False),
        (["7", "seven"], "Seventy!", False),
        (["São Paulo"], "sao  paulo", True),
        (["H2O"], "Water is H₂O.", True),
        (["South America"], "In South\nAmerica", True),
    ],
)
def test_states_when_an_answer_is_read_then_whole_words_count(accept: list[str], answer: str, right: bool) -> None:
    assert states(Fact("?", accept), answer) is right


@pytest.mark.parametrize(
    ("rule", "value", "follows_it", "breaks_it"),
    [
        ("sentences", 2, "A dog barks. It runs (fast)!", "A dog barks"),
        ("sentences", 1, "It is 3.5 metres long.", "One. Two."),
        ("words", 1, "Winter.", "In winter"),
        ("at_most_words", 3, "It's well-known here", "one two three four"),
        ("at_least_words", 3, "one two three", "one two"),
        ("items", 3, "apple, pear and plum", "apple, pear"),
        ("lines", 2, "1. tea\n\n2. milk", "tea, milk"),
        ("without", [","], "no commas", "one, two"),
        ("without", ["sand"], "a sandy beach", "Sand!"),
        ("contains", ["dog", "hat"], "The dog's hat", "a dogged hat"),
        ("begins_with", ["yes"], "Yes, it is", "Oh yes"),
        ("ends_with", ["?"], "Tea? ", "Tea?!"),
        ("ends_with", ["time"], "It tells the time.", "It is timely"),
        ("one_of", ["yes", "no"], '"Yes."', "Yes, it is"),
        ("lower_case", None, "a table. 2!", "A table"),
        ("upper_case", None, "A HORSE!", "A Horse"),
        ("number", None, "5.", "5 fingers"),
        ("quoted", None, '"A chair."', "A chair"),
    ],
)
def test_follows_when_a_rule_is_kept_or_broken_then_it_is_seen(
    rule: Rule, value: int | list[str] | None, follows_it: str, breaks_it: str
) -> None:
    assert follows(Instruction("?", rule, value), follows_it)
    assert not follows(Instruction("?", rule, value), breaks_it)


@pytest.mark.parametrize("rule", RULES)
def test_follows_when_the_answer_has_no_word_then_no_rule_is_followed(rule: Rule) -> None:
    value = 0 if rule in COUNTED else None if rule in PLAIN else ["?"]
    assert not any(follows(Instruction("?", rule, value), answer) for answer in ("", "  \n", "?!"))


@pytest.mark.parametrize(("rule", "value"), [("sentences", None), ("without", 2), ("lower_case", ["a"])])
def test_follows_when_the_value_is_not_the_rules_then_value_error(rule: Rule, value: int | list[str] | None) -> None:
    with pytest.raises(ValueError, match=rule):
        follows(Instruction("?", rule, value), "words")


@given(ANY, st.sampled_from(RULES))
def test_follows_when_any_text_is_read_then_the_blanks_around_it_do_not_count(text: str, rule: Rule) -> None:
    value = 2 if rule in COUNTED else None if rule in PLAIN else ["a"]
    instruction = Instruction("?", rule, value)
    assert follows(instruction, text) == follows(instruction, f"  {text}\n")


@given(WORDS)
def test_words_when_joined_by_blanks_then_each_is_counted_once(some: list[str]) -> None:
    text = " ".join(some)
    assert words(text) == some
    assert follows(Instruction("?", "words", len(some)), text)
    assert follows(Instruction("?", "at_most_words", len(some)), text)
    assert not follows(Instruction("?", "at_most_words", len(some) - 1), text)
    assert follows(Instruction("?", "at_least_words", len(some)), text)
    assert not follows(Instruction("?", "at_least_words", len(some) + 1), text)


@given(st.lists(WORDS, min_size=1, max_size=6), st.sampled_from([". ", "! ", "? ", "... ", ".\n", "\n"]))
def test_sentences_when_they_end_then_as_many_are_counted(some: list[list[str]], end: str) -> None:
    assert sentences(end.join(" ".join(one) for one in some)) == len(some)


@given(WORDS)
def test_items_and_lines_when_they_are_listed_then_as_many_are_counted(some: list[str]) -> None:
    assert items(", ".join(some)) == lines("\n".join(f"- {one}" for one in some)) == len(some)


@given(ANY, ANY)
def test_without_and_contains_when_one_text_is_looked_for_then_they_are_opposites(before: str, after: str) -> None:
    text = f"{before} dog {after}"
    assert follows(Instruction("?", "contains", ["dog"]), text)
    assert not follows(Instruction("?", "without", ["dog"]), text)
    assert states(Fact("?", ["dog"]), text)


@given(WORDS)
def test_cases_when_letters_are_of_one_case_then_the_other_is_broken(some: list[str]) -> None:
    text = " ".join(some)
    for rule, kept, broken in (("lower_case", text, text.upper()), ("upper_case", text.upper(), text)):
        assert follows(Instruction("?", rule, None), kept)  # type: ignore[arg-type]
        assert not follows(Instruction("?", rule, None), broken)  # type: ignore[arg-type]


def test_cost_questions_when_read_then_each_is_new_and_its_rule_can_be_checked() -> None:
    known = cost_questions()
    asked = [*(fact.ask for fact in known.facts), *(one.ask for one in known.instructions)]
    assert (len(known.facts), len(known.instructions), len(set(asked))) == (60, 40, 100)
    assert all(fact.accept and all(text.strip() for text in fact.accept) for fact in known.facts)
    assert {instruction.rule for instruction in known.instructions} == set(RULES)
    for instruction in known.instructions:
        follows(instruction, "A word.")
    for trait in load_traits().values():
        own = {question.casefold() for question in (*trait.questions.extract, *trait.questions.evaluate)}
        assert not own & {question.casefold() for question in asked}


def test_cost_questions_when_a_fact_is_asked_for_then_the_question_does_not_answer_it() -> None:
    assert [fact.ask for fact in cost_questions().facts if states(fact, fact.ask)] == []
