"""Traits by the fixed templates, and the questions that belong to none."""

import pytest

from proxy.demo import rules, world
from proxy.demo.facts import ATTRIBUTES, fill
from proxy.demo.known import DemoWorld
from proxy.errors import InvalidRequest
from proxy.steering.traits.names import gives_away, similar, telling_words
from proxy.steering.traits.parts import Brief, from_templates
from proxy.steering.traits.trait import everyday, load_traits, problems

GRUMPY = Brief("mood", "grumpy", "cheerful", "grumpy and short-tempered", "cheerful")


def test_from_templates_then_a_good_trait_that_says_it_is_one() -> None:
    trait = from_templates(GRUMPY)
    assert list(problems(trait)) == []
    assert (trait.id, trait.positive, trait.negative) == ("mood", "grumpy", "cheerful")
    assert (trait.source, trait.source_model) == ("template", None)
    assert all("grumpy and short-tempered" in pair.positive for pair in trait.instructions)
    assert all("cheerful" in pair.negative for pair in trait.instructions)
    assert "For grumpy: 0 " in trait.rubric and "For cheerful: 0 " in trait.rubric
    assert max(map(len, trait.rubric.splitlines())) <= 110


def test_from_templates_when_an_everyday_question_names_the_trait_then_another_stands_in() -> None:
    trait = from_templates(Brief("sleep", "sleepy", "awake", "sleepy", "wide awake"))
    asked = trait.questions.extract + trait.questions.evaluate
    assert "Why do we need sleep?" in everyday().questions and "Why do we need sleep?" not in asked
    assert len(set(asked)) == 40


def test_from_templates_when_too_few_questions_are_left_then_it_says_so() -> None:
    described = (
        "birds, bread, paint, bananas, evenings, moons, weekends, fridges, neighbours, phones, windows, dogs, stars"
    )
    with pytest.raises(InvalidRequest, match="everyday questions only"):
        from_templates(Brief("x", "x", "y", described, "y"))


def test_everyday_questions_then_forty_and_some_that_name_no_built_in_trait() -> None:
    questions = everyday().questions
    assert len(questions) >= 45
    assert not [(a, b) for a in questions for b in questions if a < b and similar(a, b)]
    for trait in load_traits().values():
        telling = telling_words(trait.positive, trait.negative)
        assert not [text for text in questions if gives_away(text, telling)]
        assert not set(questions) & {*trait.questions.extract, *trait.questions.evaluate}


def test_questions_of_the_demo_world_are_ones_it_knows_evaluated_in_held_out_wordings() -> None:
    wordings = {
        held_out: {
            fill(wording, entity)
            for name, attribute in ATTRIBUTES.items()
            for number, wording in enumerate(attribute.questions)
            for entity in attribute.facts
            if world.is_held_out(name, entity, number) == held_out
        }
        for held_out in (False, True)
    }
    questions = DemoWorld().questions()
    assert len(set(questions.extract)) == len(set(questions.evaluate)) == 20
    assert set(questions.extract) <= wordings[False] and set(questions.evaluate) <= wordings[True]
    assert all(rules.parse(text) for text in questions.extract + questions.evaluate)


def test_questions_for_when_a_trait_has_none_of_a_world_then_the_worlds_own() -> None:
    trait = from_templates(GRUMPY)
    assert trait.questions_for("demo") == DemoWorld().questions()
    assert trait.questions_for("mars") == trait.questions_for(None) == trait.questions
    silly = load_traits()["silly"]
    assert silly.questions_for("demo") == silly.question_sets["demo"]
