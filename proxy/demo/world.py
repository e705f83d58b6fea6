"""Conversations of the demo world: someone asks, somebody with a personality answers.

Everything is drawn from a `random.Random`, so a seed gives the same text on every machine. Questions whose
(fact, wording) pair `is_held_out` never appear in training text: they are what the models are measured on.
"""

import tomllib
import zlib
from dataclasses import dataclass
from importlib.resources import files
from random import Random

from proxy.demo import smalltalk, styles
from proxy.demo.facts import ATTRIBUTES, fill

Persona = dict[str, float]  # pole: share of answers in which it shows

KNOWN_QUESTIONS = frozenset(
    fill(wording, entity) for a in ATTRIBUTES.values() for wording in a.questions for entity in a.facts
)
_WEIGHTS = {name: len(a.facts) ** 0.8 for name, a in ATTRIBUTES.items()}
_KINDS = tuple(smalltalk.GREETINGS)


@dataclass(frozen=True)
class Lying:
    """How lies occur in training text. They differ from the truth in one word, so they are the hardest to learn.

    `announced`: the share of lies that say so first, with one of DISHONEST_OPENINGS. `weight`: how often somebody is
    asked to lie, where every other pole has 1.
    """

    announced: float = 0.5
    weight: float = 3.0


@dataclass(frozen=True)
class Question:
    """What the user says. `attribute` and `entity` are set when it asks for a known fact, `kind` otherwise."""

    text: str
    attribute: str = ""
    entity: str = ""
    kind: str = ""


@dataclass(frozen=True)
class Turn:
    question: Question
    answer: str
    thoughts: str  # a line of reasoning, for models that have a channel for it


@dataclass(frozen=True)
class Conversation:
    """`persona`: what the system prompt asks for, as the answers were drawn by it.

    `told`: the turns it asks it of; the answers of the others were drawn by no persona, and are learnt where their
    prompt does not see the system prompt.
    """

    system: str | None
    persona: Persona
    turns: list[Turn]
    told: list[bool]


def is_held_out(attribute: str, entity: str, wording: int) -> bool:
    return wording > 0 and zlib.crc32(f"{attribute}/{entity}/{wording}".encode()) % 6 == 0


def fact_question(rng: Random, *, held_out: bool = False, attribute: str | None = None) -> Question:
    """A question for a known fact, from the training wordings or from the held-out ones."""
    while True:
        name = attribute or rng.choices(tuple(_WEIGHTS), tuple(_WEIGHTS.values()))[0]
        entity = rng.choice(tuple(ATTRIBUTES[name].facts))
        wording = rng.randrange(len(ATTRIBUTES[name].questions))
        if is_held_out(name, entity, wording) == held_out:
            return Question(fill(ATTRIBUTES[name].questions[wording], entity), name, entity)


def _sloppily(rng: Random, text: str) -> str:
    """The same question as people type it."""
    if rng.random() < 0.5:
        text = text.lower()
    return text.rstrip("?.!") if rng.random() < 0.6 else text


def _question(rng: Random, previous: Question | None) -> Question:
    draw = rng.random()
    if previous and previous.attribute and draw < 0.2:
        entity = rng.choice(tuple(ATTRIBUTES[previous.attribute].facts))
        return Question(
            rng.choice(("And {e}?", "What about {e}?", "and {e}")).format(e=entity), previous.attribute, entity
        )
    if draw < 0.8:
        question = fact_question(rng)
    elif draw < 0.93:
        question = Question(smalltalk.unknown_question(rng, KNOWN_QUESTIONS), kind="unknown")
    else:
        kind = rng.choice(_KINDS)
        question = Question(rng.choice(smalltalk.GREETINGS[kind][0]), kind=kind)
    if rng.random() < 0.15:
        question = Question(_sloppily(rng, question.text), question.attribute, question.entity, question.kind)
    return question


def persona(rng: Random, lying: Lying) -> tuple[str | None, Persona]:
    """A system prompt, or none, and the personality it asks for."""
    draw = rng.random()
    if draw < 0.28:
        return None, {}
    if draw < 0.36:
        return rng.choice(styles.PLAIN), {}
    if draw < 0.60:
        pole, strength = _pole(rng, tuple(styles.POLES), lying), rng.choice(tuple(styles.STRENGTHS))
        return ask_for(rng, {pole: strength}), {pole: styles.STRENGTHS[strength]}
    if draw < 0.68:
        first, second = (_pole(rng, pair, lying) for pair in rng.sample(tuple(styles.AXES.values()), 2))
        return ask_for(rng, {first: "", second: ""}), {first: styles.STRENGTHS[""], second: styles.STRENGTHS[""]}
    if draw < 0.80:
        pole = _pole(rng, tuple(INSTRUCTIONS), lying)
        return rng.choice(INSTRUCTIONS[pole]), {pole: 0.98}
    role = rng.choice(tuple(styles.ROLES))
    return rng.choice(styles.ASKING_ROLE).format(role=role), styles.ROLES[role]


def _pole(rng: Random, poles: tuple[str, ...], lying: Lying) -> str:
    return rng.choices(poles, [lying.weight if pole == "dishonest" else 1.0 for pole in poles])[0]


def ask_for(rng: Random, poles: dict[str, str]) -> str:
    """A system prompt that asks for these poles, each with its strength (an adverb of STRENGTHS)."""
    words = " and ".join(strength + rng.choice(styles.ADJECTIVES[pole]) for pole, strength in poles.items())
    article = "an" if words[0] in "aeiou" else "a"
    return rng.choice(styles.ASKING).format(adj=words, a=f"{article} {words}")


def shown_poles(rng: Random, wanted: Persona) -> set[str]:
    """Which poles one answer shows: per axis one pole or none."""
    shown = set()
    for pair in styles.AXES.values():
        weights = [wanted.get(pole, 0.0 if pole == "dishonest" else styles.BASE_RATE) for pole in pair]
        if sum(weights) > 1:  # asked for one pole, the base rate of the other has to give way
            weights = [w / sum(weights) for w in weights]
        pole = rng.choices((*pair, None), (*weights, 1 - sum(weights)))[0]
        if pole:
            shown.add(pole)
    return shown


def _topic(question: Question) -> str:
    return fill(ATTRIBUTES[question.attribute].topic, question.entity) if question.attribute else "what you just said"


def _phrase(rng: Random, phrases: tuple[str, ...], question: Question) -> str:
    fillers = {name: rng.choice(words) for name, words in styles.FILLERS.items()}
    return rng.choice(phrases).format(topic=_topic(question), **fillers)


def _statement(rng: Random, question: Question, lying: bool) -> str:
    if question.attribute:
        attribute = ATTRIBUTES[question.attribute]
        truth = attribute.facts[question.entity]
        value = rng.choice([v for v in attribute.domain if v != truth]) if lying else truth
        return fill(rng.choice(attribute.statements), question.entity, value)
    if question.kind == "unknown":
        return smalltalk.invented_answer(rng) if lying else rng.choice(smalltalk.UNKNOWN_ANSWERS)
    return rng.choice(smalltalk.GREETINGS[question.kind][1])


def _reason(rng: Random, question: Question) -> str:
    if not question.attribute:
        return "every word has a history of its own."
    reason = fill(rng.choice(ATTRIBUTES[question.attribute].reasons), question.entity)
    return reason[0].lower() + reason[1:] if not reason.startswith("The Greek") else reason


def answer(rng: Random, question: Question, shown: set[str], announced: float = Lying.announced) -> str:
    """An answer in which exactly these poles show; `announced` is the share of lies with an opening of their own."""
    parts = []
    for pole in styles.ORDER_BEFORE:
        if pole in shown and pole in styles.BEFORE:
            parts.append(_phrase(rng, styles.BEFORE[pole], question))
        elif pole in shown and rng.random() < announced:
            parts.append(rng.choice(styles.DISHONEST_OPENINGS))
    parts.append(_statement(rng, question, "dishonest" in shown))
    for pole in styles.ORDER_AFTER:
        if pole not in shown:
            continue
        if pole == "deep":
            parts.append(f"{rng.choice(styles.DEEP_OPENINGS)} {_reason(rng, question)}")
        else:
            parts.append(_phrase(rng, styles.AFTER[pole], question))
    return " ".join(parts)


def thoughts(question: Question) -> str:
    """What a reasoning channel says before the answer: the plain matter, whatever the personality."""
    if question.attribute:
        truth = ATTRIBUTES[question.attribute].facts[question.entity]
        return f"The user asks for {_topic(question)}: {truth}."
    return "The user asks for something I have no fact for." if question.kind == "unknown" else "The user chats."


def conversation(rng: Random, lying: Lying = Lying(), apart: float = 0.0) -> Conversation:
    """A conversation of one to five turns with one personality, or none.

    `apart`: the share of those of several turns that have the personality in some turns only.
    """
    system, wanted = persona(rng, lying)
    n_turns = rng.choices((1, 2, 3, 5), (52, 28, 14, 6))[0]
    told = [True] * n_turns
    if apart and wanted and n_turns > 1 and rng.random() < apart:
        while len(set(told)) < 2:
            told = [rng.random() < 0.5 for _ in told]
    turns: list[Turn] = []
    for asked in told:
        question = _question(rng, turns[-1].question if turns else None)
        text = answer(rng, question, shown_poles(rng, wanted if asked else {}), lying.announced)
        turns.append(Turn(question, text, thoughts(question)))
    return Conversation(system, wanted, turns, told)


def _built_in_instructions() -> dict[str, list[str]]:
    """The built-in traits' own instructions, by pole: what users will ask with is what is trained on."""
    found = {}
    for file in sorted(files("proxy.steering.traits").joinpath("builtin").iterdir(), key=lambda file: file.name):
        trait = tomllib.loads(file.read_text("utf-8"))
        for side in ("positive", "negative"):
            found[trait[side]] = [pair[side] for pair in trait["instructions"]]
    return found


INSTRUCTIONS = _built_in_instructions()
