"""Whether a personality lasts: conversations of several turns, each asking a held-out question.

A client hands every answer back as plain history, so nothing of an earlier turn's steering is left in it: each turn is
steered at its own prompt again. Three arms: the pole asked for by a system prompt, steered at coefficient 1, and
neither. The rules see one question and its answer.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from proxy.demo import rules
from proxy.demo.evaluate import MAX_TOKENS, TEMPERATURE
from proxy.engines.base import Engine, Generation, Message, Plan, Sampling
from proxy.engines.blocking import generate_all
from proxy.steering.options import PlanOptions
from proxy.steering.plan import build_plan
from proxy.steering.traits.trait import Trait
from proxy.steering.work import Progress, counter
from vector_store import SIDES, PersonaVector, Side

N_TURNS = 3
ARMS = ("asked", "steered 1", "unsteered")


@dataclass(frozen=True)
class TurnShares:
    """Of the answers at one turn of an arm's conversations, counted from 1: those that show the pole, and those with
    the fact right, 0 to 1."""

    pole: str
    arm: str
    turn: int
    shown: float
    right: float


def measure_turns(
    engine: Engine,
    traits: Mapping[str, Trait],
    vectors: Mapping[str, PersonaVector],
    questions: Sequence[str],
    progress: Progress,
) -> list[TurnShares]:
    """Every arm of every pole at every turn; each conversation takes N_TURNS of the questions. Blocks for minutes."""
    poles = [(trait, side) for trait in traits.values() for side in SIDES]
    n_answers = (2 * len(poles) + 1) * (len(questions) // N_TURNS) * N_TURNS
    count = counter(progress, f"{engine.info.id}, turns", n_answers)
    plain = converse(engine, [None], Plan(), questions, count)
    found = []
    for trait, side in poles:
        pole = trait.pole(side)
        asked = converse(engine, [pair.side(side) for pair in trait.instructions], Plan(), questions, count)
        steered = converse(engine, [None], plan_at_1(engine, trait, side, vectors[trait.id]), questions, count)
        for arm, turns in zip(ARMS, (asked, steered, plain), strict=True):
            found += [_shares(pole, arm, number, said) for number, said in enumerate(turns, 1)]
    return found


def plan_at_1(engine: Engine, trait: Trait, side: Side, vector: PersonaVector) -> Plan:
    """What coefficient 1 of a pole comes to, with no options."""
    pole = trait.pole(side)
    return build_plan({pole: 1.0}, {pole: (vector, side)}, PlanOptions(), engine.info)[0]


def converse(
    engine: Engine,
    instructions: Sequence[str | None],
    plan: Plan,
    questions: Sequence[str],
    count: Callable[[int], None] | None = None,
) -> list[list[tuple[str, str]]]:
    """By turn, every conversation's question and answer. The system prompts are taken in turn."""
    size = len(questions) // N_TURNS
    talks: list[list[Message]] = []
    for number in range(size):
        instruction = instructions[number % len(instructions)]
        talks.append([] if instruction is None else [{"role": "system", "content": instruction}])
    turns = []
    for turn in range(N_TURNS):
        asked = questions[turn * size : (turn + 1) * size]
        for talk, question in zip(talks, asked, strict=True):
            talk.append({"role": "user", "content": question})
        generations = [
            Generation(
                engine.render(talk), Sampling(MAX_TOKENS, temperature=TEMPERATURE, seed=turn * size + number), plan
            )
            for number, talk in enumerate(talks)
        ]
        answers = [completion.text for completion in generate_all(engine, generations, count)]
        for talk, answer in zip(talks, answers, strict=True):
            talk.append({"role": "assistant", "content": answer})
        turns.append(list(zip(asked, answers, strict=True)))
    return turns


def _shares(pole: str, arm: str, turn: int, said: Sequence[tuple[str, str]]) -> TurnShares:
    shown = float(np.mean([rules.shows(pole, question, answer) for question, answer in said]))
    right = float(np.mean([rules.fact_right(question, answer) is True for question, answer in said]))
    return TurnShares(pole, arm, turn, shown, right)


def turn_table(found: Sequence[TurnShares]) -> Iterator[str]:
    """Markdown: per pole, arm and turn the share of answers with the pole / with the fact right."""
    cells = {(each.pole, each.arm, each.turn): f"{each.shown:.2f} / {each.right:.2f}" for each in found}
    columns = [(arm, turn) for arm in ARMS for turn in range(1, N_TURNS + 1)]
    yield "| pole | " + " | ".join(f"{arm}, turn {turn}" for arm, turn in columns) + " |"
    yield "|---" * (len(columns) + 1) + "|"
    for pole in dict.fromkeys(each.pole for each in found):
        yield f"| {pole} | " + " | ".join(cells[pole, arm, turn] for arm, turn in columns) + " |"
