"""How a question is put to a model: as which conversation, and with how much room for the answer."""

from collections.abc import Sequence

from proxy.engines.base import Engine, Message
from proxy.errors import SetupError
from proxy.steering.traits.trait import Demonstration, Trait
from vector_store import Condition, Side

MAX_TOKENS = 200  # of an answer


def messages(instruction: str | None, question: str) -> list[Message]:
    """A conversation of one question, under a system prompt or none."""
    system: list[Message] = [] if instruction is None else [{"role": "system", "content": instruction}]
    return [*system, {"role": "user", "content": question}]


def in_manner(side: Side, instruction: str, shown: Sequence[Demonstration], question: str) -> list[Message]:
    """A conversation under a pole's instruction that begins with questions answered in its manner."""
    *system, asked = messages(instruction, question)
    turns: list[Message] = []
    for one in shown:
        turns += [{"role": "user", "content": one.question}, {"role": "assistant", "content": one.side(side)}]
    return [*system, *turns, asked]


def under(
    condition: Condition, trait: Trait, pair: int, question: str, world: str | None, *, held_out: bool = False
) -> list[Message]:
    """The conversation that asks a model of this world for a condition: for a pole by a pair's instruction and behind
    demonstrations, the second half of the trait's where they are `held_out`; for neutral by the bare question."""
    if condition == "neutral":
        return messages(None, question)
    shown = trait.shown_to(world, held_out=held_out)
    return in_manner(condition, trait.instructions[pair].side(condition), shown, question)


def answer_tokens(engine: Engine, prompt: Sequence[int], limit: int) -> int:
    """How many tokens an answer may have: `limit`, or what the context leaves. SetupError where it leaves none."""
    room = engine.info.context_length - len(prompt)
    if room < 1:
        raise SetupError(f"a prompt of {len(prompt)} tokens leaves {engine.info.id} no room to answer")
    return min(limit, room)
