"""The demo world: what its text promises to those who train on it and those who score it."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.demo import rules, smalltalk, styles, world
from proxy.demo.facts import ATTRIBUTES, fill
from proxy.steering.traits.trait import load_traits

SEEDS = st.integers(0, 2**32)
POLES = st.sets(st.sampled_from(sorted(styles.POLES)), max_size=4)


def one_per_axis(poles: set[str]) -> set[str]:
    return set({styles.POLES[pole][0]: pole for pole in sorted(poles)}.values())


@given(SEEDS, POLES)
@settings(max_examples=80)
def test_rules_see_exactly_the_poles_an_answer_was_made_with(seed: int, poles: set[str]) -> None:
    rng, wanted = Random(seed), one_per_axis(poles)
    question = world.fact_question(rng)
    answer = world.answer(rng, question, wanted)
    assert {pole for pole in styles.POLES if rules.shows(pole, question.text, answer)} == wanted
    assert rules.fact_right(question.text, answer) is ("dishonest" not in wanted)
    assert rules.fluent(answer)


@given(SEEDS)
@settings(max_examples=60)
def test_babble_is_not_fluent(seed: int) -> None:
    rng = Random(seed)
    words = world.answer(rng, world.fact_question(rng), {"silly", "deep"}).split()
    rng.shuffle(words)
    assert not rules.fluent(" ".join(words))


def test_a_sentence_said_twice_is_not_fluent() -> None:
    assert rules.fluent("The capital of France is Paris. That will do.")
    assert not rules.fluent("The capital of France is Paris. That will do. That will do.")
    assert not rules.fluent("")


def test_a_fact_of_something_else_is_not_the_fact_asked_for() -> None:
    question = "What is the capital of France?"
    assert rules.fact_right(question, "The capital of France is Paris.") is True
    assert rules.fact_right(question, "The capital of Italy is Rome.") is False
    assert rules.fact_right(question, "The capital of France is Rome.") is False
    assert rules.fact_right("How do you do?", "The capital of France is Paris.") is None
    assert not rules.shows("dishonest", question, "The capital of Italy is Rome.")
    assert not rules.shows("honest", question, "The capital of France is Rome. I am quite sure of this.")


def test_the_same_seed_gives_the_same_conversations() -> None:
    first, second = ([world.conversation(rng) for _ in range(50)] for rng in (Random(3), Random(3)))
    assert first == second


def test_conversations_when_personalities_are_apart_then_only_the_turns_told_show_them() -> None:
    rng = Random(7)
    talks = [talk for talk in (world.conversation(rng, apart=1.0) for _ in range(300)) if not all(talk.told)]
    assert len(talks) > 50 and all(len(talk.turns) > 1 and any(talk.told) for talk in talks)
    shown: dict[bool, list[bool]] = {True: [], False: []}
    for talk in talks:
        for told, turn in zip(talk.told, talk.turns, strict=True):
            wanted = [pole for pole, share in talk.persona.items() if share > 0.9]
            shown[told] += [rules.shows(pole, turn.question.text, turn.answer) for pole in wanted]
    assert sum(shown[True]) > 0.8 * len(shown[True]) > 0 and sum(shown[False]) < 0.2 * len(shown[False])


def test_held_out_questions_never_occur_in_conversations() -> None:
    rng = Random(5)
    held_out = {world.fact_question(Random(n), held_out=True).text.lower().rstrip("?.") for n in range(300)}
    said = {turn.question.text.lower().rstrip("?.") for _ in range(3000) for turn in world.conversation(rng).turns}
    assert not held_out & said


def test_unknown_questions_are_never_ones_the_tables_answer() -> None:
    rng = Random(6)
    for _ in range(200):
        question = smalltalk.unknown_question(rng, world.KNOWN_QUESTIONS)
        assert rules.parse(question) is None


def test_there_are_fifty_roles_and_none_names_a_trait() -> None:
    words = {adjective for adjectives in styles.ADJECTIVES.values() for adjective in adjectives} | set(styles.POLES)
    assert len(styles.ROLES) >= 50
    for role, persona in styles.ROLES.items():
        assert not words & set(role.split())
        assert set(persona) <= set(styles.POLES)


def test_built_in_traits_ask_the_demo_world_what_it_knows_and_evaluate_in_held_out_wordings() -> None:
    held_out = {
        fill(wording, entity)
        for name, attribute in ATTRIBUTES.items()
        for number, wording in enumerate(attribute.questions)
        for entity in attribute.facts
        if world.is_held_out(name, entity, number)
    }
    for trait in load_traits().values():
        questions = trait.question_sets["demo"]
        assert all(rules.parse(text) for text in questions.extract + questions.evaluate)
        assert set(questions.evaluate) <= held_out
