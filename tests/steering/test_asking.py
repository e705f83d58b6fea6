"""What a model is asked, so that it answers as a pole would."""

import msgspec
import pytest

from proxy.steering.asking import under
from proxy.steering.traits.trait import Demonstration
from vector_store import Side

from .pretend import make_trait

TRAIT = msgspec.structs.replace(
    make_trait(), demonstrations=[Demonstration(f"{i}?", f"ha {i}", f"hm {i}") for i in range(6)]
)


@pytest.mark.parametrize(("side", "said"), [("positive", "ha"), ("negative", "hm")])
def test_under_when_a_pole_is_asked_for_then_its_examples_stand_between_instruction_and_question(
    side: Side, said: str
) -> None:
    system, *turns, asked = under(side, TRAIT, 1, "Why?", None)
    assert system == {"role": "system", "content": f"1: be {TRAIT.pole(side)}"}
    assert [(turn["role"], turn["content"]) for turn in turns] == [
        turn for i in range(3) for turn in (("user", f"{i}?"), ("assistant", f"{said} {i}"))
    ]
    assert asked == {"role": "user", "content": "Why?"}


def test_under_when_held_out_then_other_examples_are_shown() -> None:
    contents = [message["content"] for message in under("positive", TRAIT, 0, "Why?", None, held_out=True)]
    assert contents == ["0: be silly", "3?", "ha 3", "4?", "ha 4", "5?", "ha 5", "Why?"]


def test_under_when_neutral_then_the_question_is_bare() -> None:
    assert under("neutral", TRAIT, 0, "Why?", None) == [{"role": "user", "content": "Why?"}]


def test_under_when_the_model_knows_only_a_small_world_then_nothing_is_shown() -> None:
    assert len(under("positive", TRAIT, 0, "Why?", "demo")) == 2
