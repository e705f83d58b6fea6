"""A pretend model that writes traits: each part's JSON is what a script says, whatever it was asked."""

import dataclasses
import json
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from proxy.engines.base import Event, Finish, Generation, ModelInfo, Run, Token
from tests.steering.pretend import FinishedRun, PretendEngine

THINGS = ("eggs", "soap", "wind", "bread", "trains", "paint", "cats", "bikes", "songs", "books", "rain", "maps")
VERBS = ("boil", "clean", "draw", "fix", "hide", "carry", "count", "press", "lift", "mend", "weigh")


def questions(number: int) -> list[str]:
    """Five questions, other ones for each number."""
    return [f"How do I {VERBS[(number + i) % 11]} {THINGS[(number * 5 + i) % 12]} {number * 5 + i}?" for i in range(5)]


def pairs() -> list[dict[str, str]]:
    return [
        {"positive": f"You {verb} at everything you are asked.", "negative": f"You smile while you {verb} along."}
        for verb in VERBS[:5]
    ]


MANNERS: dict[str, Any] = {
    "description": "Sighs and complaints, against good cheer.",
    "positive_answers": "They sigh, complain and cut the matter short.",
    "negative_answers": "They are glad to be asked and say so.",
    "positive_levels": ["no sigh anywhere", "one sigh", "many sighs", "nothing but sighs"],
    "negative_levels": ["no gladness", "a warm word", "warm throughout", "overjoyed"],
}


@dataclass
class Writer(PretendEngine):
    """`spoil` gets each part's value, its name and how many answers of it there were, and gives what is said instead:
    text as it is, anything else as JSON."""

    spoil: Callable[[Any, str, int], Any] = lambda value, part, number: value
    context_length: int = 4000
    asked: dict[str, list[str]] = field(default_factory=dict)

    @property
    def info(self) -> ModelInfo:
        return dataclasses.replace(super().info, context_length=self.context_length)

    def start(self, generation: Generation, on_event: Callable[[Event], None]) -> Run:
        self.started.append(generation)
        schema = json.loads(generation.sampling.json_schema or "")
        first = next(iter(schema["properties"]))
        part = first if first in ("instructions", "questions") else "rubric"
        prompts = self.asked.setdefault(part, [])
        number = len(prompts)
        prompts.append("".join(map(chr, generation.prompt)))
        value = {
            "instructions": {"instructions": pairs()},
            "questions": {"questions": questions(number)},
            "rubric": MANNERS,
        }[part]
        said = self.spoil(value, part, number)
        on_event(Token(0, said if isinstance(said, str) else json.dumps(said)))
        on_event(Finish("stop"))
        return FinishedRun()
