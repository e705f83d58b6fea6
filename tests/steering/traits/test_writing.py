"""A model writes a trait: what it writes is checked, asked for again, and in the end refused in words."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from proxy.errors import SetupError
from proxy.steering.traits.parts import Brief
from proxy.steering.traits.trait import problems
from proxy.steering.traits.writing import MAX_ROUNDS, TOPICS, parts_of, stages, write_trait
from proxy.steering.work import Work
from tests.steering.pretend import WORK
from tests.steering.traits.trait_writer import MANNERS, Writer, pairs, questions

BRIEF = Brief("mood", "grumpy", "cheerful", "grumpy {and} short-tempered", "cheerful", seed=7)


def test_write_trait_then_a_good_trait_that_says_who_wrote_it() -> None:
    engine = Writer()
    trait = write_trait(engine, BRIEF, WORK)
    assert list(problems(trait)) == []
    assert (trait.id, trait.positive, trait.negative) == ("mood", "grumpy", "cheerful")
    assert (trait.source, trait.source_model) == ("generated", "org/pretend")
    assert [{"positive": pair.positive, "negative": pair.negative} for pair in trait.instructions] == pairs()
    assert trait.description == MANNERS["description"]
    rubric = " ".join(trait.rubric.split())
    assert "For grumpy: 0 no sigh anywhere; 3 one sigh; 6 many sighs; 9 nothing but sighs." in rubric
    assert "What 'cheerful' means: They are glad to be asked and say so." in rubric
    assert {part: len(asked) for part, asked in engine.asked.items()} == {
        "instructions": 1,
        "questions": 9,
        "rubric": 1,
    }
    assert all("grumpy {and} short-tempered" in prompt for asked in engine.asked.values() for prompt in asked)


def test_write_trait_then_each_topic_is_asked_about_and_has_its_share_of_both_sets() -> None:
    engine = Writer()
    trait = write_trait(engine, BRIEF, WORK)
    for number, (topic, prompt) in enumerate(zip(TOPICS, engine.asked["questions"], strict=True)):
        assert topic in prompt
        asked = set(questions(number))
        assert {len(asked & set(trait.questions.extract)), len(asked & set(trait.questions.evaluate))} <= {2, 3}


def test_write_trait_then_decoding_is_held_to_a_schema_and_seeds_differ() -> None:
    engine = Writer()
    write_trait(engine, BRIEF, WORK)
    schemas = {generation.sampling.json_schema for generation in engine.started}
    assert len(schemas) == 3
    for schema in schemas:
        outer = json.loads(schema or "")
        assert outer["additionalProperties"] is False and outer["required"] == list(outer["properties"])
    seeds = [generation.sampling.seed for generation in engine.started[1:10]]
    assert len(set(seeds)) == 9
    other = Writer()
    write_trait(other, BRIEF, WORK)
    assert [generation.sampling for generation in other.started] == [one.sampling for one in engine.started]


def only(part: str, replaced: Callable[[Any], Any], numbers: range = range(1000)) -> Callable[[Any, str, int], Any]:
    """Spoils one part's first answers."""
    return lambda value, name, number: replaced(value) if name == part and number in numbers else value


def first_question(text: str) -> Callable[[Any], Any]:
    return lambda value: {"questions": [text, *value["questions"][1:]]}


@pytest.mark.parametrize(
    "text", ["Why are you so grumpily quiet?", "Is short temper bad?", "Cheer up?", "Tell me about soap.", "Why?"]
)
def test_write_trait_when_a_question_is_unusable_then_another_is_asked_for(text: str) -> None:
    engine = Writer(spoil=only("questions", first_question(text), range(9)))
    trait = write_trait(engine, BRIEF, WORK)
    assert text not in trait.questions.extract + trait.questions.evaluate
    engine = Writer(spoil=only("questions", lambda value: {"questions": [text] * 5}, range(9)))
    trait = write_trait(engine, BRIEF, WORK)
    assert len(engine.asked["questions"]) == 18 and list(problems(trait)) == []


def test_write_trait_when_questions_are_the_same_but_for_a_word_then_they_count_once() -> None:
    same = only("questions", lambda value: {"questions": ["How do I boil eggs?", "how do i boil an egg ?"] * 3})
    with pytest.raises(SetupError, match=r"wrote 1 usable of 40 \(.* times one that was there already"):
        write_trait(Writer(spoil=same), BRIEF, WORK)


def test_write_trait_when_an_answer_is_broken_off_then_it_is_asked_again_with_another_seed() -> None:
    engine = Writer(spoil=only("instructions", lambda value: '{"instructions": [{"posi', range(2)))
    trait = write_trait(engine, BRIEF, WORK)
    assert len(trait.instructions) == 5 and len({one.sampling.seed for one in engine.started[:3]}) == 3


@pytest.mark.parametrize(
    ("part", "replaced", "said"),
    [
        ("instructions", lambda value: "The cow moos.", "no whole JSON"),
        ("instructions", lambda value: {"instructions": [{"positive": "Be so.", "negative": "Be so."}]}, "too short"),
        (
            "instructions",
            lambda value: {"instructions": [{"positive": "You sigh a lot.", "negative": "you sigh a lot"}]},
            "both of a pair said the same",
        ),
        ("instructions", lambda value: {"instructions": value["instructions"][:1]}, "one that was there already"),
        ("questions", lambda value: {"questions": ["The capital is Rome."]}, "no question"),
        ("questions", lambda value: {"questions": ["Who is grumpy here?"]}, "one that names the trait"),
        ("questions", lambda value: {"questions": ["Who " * 200 + "?"]}, "too long"),
        ("rubric", lambda value: {**value, "positive_levels": ["a", "a", "b", "c"]}, "not 4 levels that differ"),
        ("rubric", lambda value: {**value, "negative_levels": ["a", " ", "b", "c"]}, "not 4 levels that differ"),
        ("rubric", lambda value: {**value, "description": ""}, "too short"),
        (
            "rubric",
            lambda value: {**value, "negative_answers": value["positive_answers"]},
            "both manners described alike",
        ),
    ],
)
def test_write_trait_when_the_model_can_not_do_it_then_the_part_and_what_came_are_named_and_templates_offered(
    part: str, replaced: Callable[[Any], Any], said: str
) -> None:
    engine = Writer(spoil=only(part, replaced))
    with pytest.raises(SetupError) as caught:
        write_trait(engine, BRIEF, WORK)
    message = caught.value.message
    assert message.startswith(f"org/pretend can't write the {part} of 'mood': asked {MAX_ROUNDS} times")
    assert said in message and '"template": true' in message and "\n" not in message
    assert len(engine.asked[part]) == MAX_ROUNDS * (9 if part == "questions" else 1)


def test_write_trait_when_answers_are_kept_then_each_round_has_its_own(tmp_path: Path) -> None:
    engine = Writer(spoil=only("questions", lambda value: {"questions": ["No question."]}, range(9)))
    work = dataclasses.replace(WORK, parts=parts_of(tmp_path, engine, BRIEF))
    assert write_trait(engine, BRIEF, work) == write_trait(Writer(), BRIEF, work)
    assert len(engine.asked["questions"]) == 18


def test_write_trait_when_the_model_has_no_room_then_it_says_so_and_templates_are_offered() -> None:
    with pytest.raises(SetupError, match=r"can't write the instructions: the request has \d+ tokens.*--template"):
        write_trait(Writer(context_length=500), BRIEF, WORK)


def test_write_trait_when_it_was_cut_off_then_it_goes_on_with_what_was_written(tmp_path: Path) -> None:
    engine = Writer()
    parts = parts_of(tmp_path, engine, BRIEF)

    class Cut(Exception): ...

    def cut(value: Any, part: str, number: int) -> Any:
        if part == "rubric":
            raise Cut
        return value

    with pytest.raises(Cut):
        write_trait(Writer(spoil=cut), BRIEF, dataclasses.replace(WORK, parts=parts))
    trait = write_trait(engine, BRIEF, dataclasses.replace(WORK, parts=parts))
    assert list(engine.asked) == ["rubric"] and trait == write_trait(Writer(), BRIEF, WORK)
    assert parts.begun and not parts_of(tmp_path, engine, msgspec.structs.replace(BRIEF, seed=8)).begun


def test_write_trait_then_progress_is_of_the_stages_it_announces_and_never_goes_back() -> None:
    told: list[tuple[str, int, int]] = []
    spoiled = only("questions", first_question("Who is grumpy here?"))
    write_trait(Writer(spoil=spoiled), BRIEF, Work(lambda *progress: told.append(progress)))
    assert list(dict.fromkeys(stage for stage, _, _ in told)) == list(stages(BRIEF))
    for stage in stages(BRIEF):
        counts = [done for name, done, _ in told if name == stage]
        assert counts[0] == 0 and counts == sorted(counts)
    assert {total for stage, _, total in told if "questions" in stage} == {40}
