"""A personality lasts: conversations of three turns with the models that ship, steered, or asked by a system prompt."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from proxy.demo import rules
from proxy.demo.turns import N_TURNS, converse, measure_turns, turn_table
from proxy.engines.base import Engine, Plan
from proxy.settings import demo_models
from tests.demo.shipped import POLES, TRAITS, plan_of, vector_of
from tests.demo.shipped import QUESTIONS as KNOWN

TRAINED = [model.id for model in demo_models() if model.engine == "transformers"]  # the GGUF has the weights of one
QUESTIONS = KNOWN[:15]  # five conversations: a pole that lasts is in nearly every answer, one that is lost in few
LASTING = ["silly", "deep", "honest", "superficial"]  # what the GPT-OSS once lost at turn 2
ASKED_FOR = ["deep", "superficial"]
# Steering a conversation is the engine's part, so that one model has them all, and the others what differs most.
STEERED = {model.id: LASTING if model.id == "demo-gpt-oss" else LASTING[:2] for model in demo_models()}

Turns = list[list[tuple[str, str]]]  # by turn, every question and its answer


@pytest.fixture(scope="module")
def conversations(engine: Engine) -> dict[tuple[str, str], Turns]:
    """Those with a pole asked for by a system prompt and those steered to one, all held at once."""

    def held(way: str, pole: str) -> Turns:
        trait, side = POLES[pole]
        if way == "asked for":
            return converse(engine, [pair.side(side) for pair in trait.instructions], Plan(), QUESTIONS)
        return converse(engine, [None], plan_of(engine, pole, 1.0), QUESTIONS)

    wanted = [("steered", pole) for pole in STEERED[engine.info.id]]
    if engine.info.id in TRAINED:
        wanted += [("asked for", pole) for pole in ASKED_FOR]
    with ThreadPoolExecutor(len(wanted)) as threads:
        return dict(zip(wanted, threads.map(lambda each: held(*each), wanted), strict=True))


# Each model holds its conversations once, so that its poles are one test.
@pytest.mark.parametrize("engine", TRAINED, indirect=True)  # whether a prompt is followed lies in the weights
def test_conversations_when_a_system_prompt_asks_for_a_pole_then_it_lasts_to_the_third_turn(
    conversations: dict[tuple[str, str], Turns],
) -> None:
    shares = {pole: lasting(pole, turns) for (way, pole), turns in conversations.items() if way == "asked for"}
    assert shares.keys() == set(ASKED_FOR)
    assert {pole: share for pole, share in shares.items() if min(share) < 0.6} == {}


@pytest.mark.parametrize("engine", STEERED, indirect=True)
def test_conversations_when_each_turn_is_steered_then_the_pole_lasts_to_the_third(
    engine: Engine, conversations: dict[tuple[str, str], Turns]
) -> None:
    shares = {pole: lasting(pole, turns) for (way, pole), turns in conversations.items() if way == "steered"}
    assert shares.keys() == set(STEERED[engine.info.id])
    assert {pole: share for pole, share in shares.items() if min(share) < 0.7} == {}


@pytest.mark.parametrize("engine", ["demo-gpt-oss-gguf"], indirect=True)  # the quickest: the table is the same for all
def test_turns_when_measured_then_the_table_has_every_pole_arm_and_turn(engine: Engine) -> None:
    told: list[int] = []
    traits, vectors = {"silly": TRAITS["silly"]}, {"silly": vector_of(engine, "silly")}
    found = measure_turns(engine, traits, vectors, QUESTIONS[:6], lambda what, done, total: told.append(total - done))
    assert len({(each.pole, each.arm, each.turn) for each in found}) == len(found) == 2 * 3 * 3
    header, _, *rows = turn_table(found)
    assert [row.split(" | ")[0] for row in rows] == ["| silly", "| serious"]
    assert header.count("|") == rows[0].count("|") == 1 + 1 + 3 * 3
    assert told[-1] == 0


def lasting(pole: str, turns: Turns) -> list[float]:
    """By turn, of which there are three, the share of answers that show the pole."""
    assert len(turns) == N_TURNS == 3
    return [float(np.mean([rules.shows(pole, question, answer) for question, answer in said])) for said in turns]
