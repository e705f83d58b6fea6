"""How a question is put to a model: as which conversation, and with how much room for the answer."""

from collections.abc import Sequence

from proxy.engines.base import Engine, Message
from proxy.errors import SetupError

MAX_TOKENS = 200  # of an answer


def messages(instruction: str | None, question: str) -> list[Message]:
    """A conversation of one question, under a system prompt or none."""
    system: list[Message] = [] if instruction is None else [{"role": "system", "content": instruction}]
    return [*system, {"role": "user", "content": question}]


def answer_tokens(engine: Engine, prompt: Sequence[int], limit: int) -> int:
    """How many tokens an answer may have: `limit`, or what the context leaves. SetupError where it leaves none."""
    room = engine.info.context_length - len(prompt)
    if room < 1:
        raise SetupError(f"a prompt of {len(prompt)} tokens leaves {engine.info.id} no room to answer")
    return min(limit, room)
