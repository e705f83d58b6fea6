"""A model writes a trait: five instruction pairs, forty everyday questions, and what the rubric says.

Part by part, as JSON that decoding holds to a schema. What comes back is looked at as a stranger's text: what is
unusable, said before, or gives the trait away is asked for again with another seed, a few times and no more. Knows
nothing of files, and nothing of what the trait will be used for.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path
from typing import Any, Generic, TypeVar

import msgspec

from proxy.engines.base import Engine, Generation, Sampling
from proxy.errors import SetupError
from proxy.steering.asking import answer_tokens
from proxy.steering.seeds import Purpose, seed_of
from proxy.steering.traits.names import gives_away, similar
from proxy.steering.traits.parts import LEVELS, Brief, Manners, assembled
from proxy.steering.traits.trait import N_INSTRUCTIONS, N_QUESTIONS, InstructionPair, Trait
from proxy.steering.work import FolderParts, Work, folder_parts

T = TypeVar("T")

MAX_TOKENS = 2000  # of an answer, what the model thinks before it included
MIN_TOKENS = 100  # without room for them no part can be written
MAX_ROUNDS = 4  # in which a part may be asked for
TEMPERATURE = 0.8
MAX_CHARACTERS = 400  # of one text
BATCH = 5  # questions in one answer
TOPICS = (  # an odd number, so that every other question makes two sets with all topics in both
    "cooking and the household",
    "health, sleep and sport",
    "travel and getting about",
    "work, school and money",
    "friends, family and neighbours",
    "how everyday things work",
    "telephones, computers and the internet",
    "nature, animals and the weather",
    "books, music, games and hobbies",
)

_TRAIT = """\
An assistant can answer in two opposite manners. In the first, called "{positive}", it is {positive_trait}. In the \
second, called "{negative}", it is {negative_trait}."""
_INSTRUCTIONS = """
Write five pairs of system prompts. The positive one of each pair gives an assistant the first manner, the negative \
one gives it the second. Each prompt is one or two sentences long, speaks to the assistant as "you", and holds for \
whatever it may be asked. Word each pair differently."""
_QUESTIONS = """
Write five questions about {topic} that people ask an assistant on an ordinary day. Each is one short sentence that \
ends with a question mark. The questions must not be about the two manners, must not ask for either of them, and must \
not use these words or any form of them: {words}. Word each question differently."""
_MANNERS = """
Write what a judge of answers needs to know. "description": the two manners in one short sentence. "positive_answers" \
and "negative_answers": by what the answers in the first and in the second manner are recognised, in one or two \
sentences. "positive_levels": how an answer looks that has nothing, a little, much and all of the first manner, in \
that order, a few words each. "negative_levels": the same for the second manner."""

_OFFER = (
    "Another seed or model may do better. Fixed templates make a trait of the two descriptions without any, and a "
    'weaker one: "template": true, or --template.'
)

_TEXT = {"type": "string", "minLength": 1, "maxLength": MAX_CHARACTERS}
_LEVELS = {"type": "array", "items": _TEXT, "minItems": len(LEVELS), "maxItems": len(LEVELS)}


class _Instructions(msgspec.Struct):
    instructions: list[InstructionPair]


class _Questions(msgspec.Struct):
    questions: list[str]


@dataclass(frozen=True)
class _Part(Generic[T]):
    """One part to be written: `wanted` items, asked for by all of `prompts` in each round.

    `read` takes the items out of one answer's JSON; `objection` says what is wrong with an item beside those that were
    taken already, None where nothing is.
    """

    name: str
    wanted: int
    prompts: Sequence[str]
    schema: dict[str, Any]
    read: Callable[[str], list[T]]
    objection: Callable[[T, Sequence[T]], str | None]


def write_trait(engine: Engine, brief: Brief, work: Work) -> Trait:
    """The trait as this model writes it. Blocks for a minute or more.

    SetupError says which part the model can't write, and what came back.
    """
    pairs = _written(engine, brief, _instructions_part(brief), work)
    questions = _written(engine, brief, _questions_part(brief), work)
    (manners,) = _written(engine, brief, _manners_part(brief), work)
    trait = assembled(brief, pairs, questions, manners)
    return msgspec.structs.replace(trait, source="generated", source_model=engine.info.id)


def stages(brief: Brief) -> dict[str, float]:
    """What the work reports, in order, and about how much each is, in answers."""
    parts: tuple[_Part[Any], ...] = (_instructions_part(brief), _questions_part(brief), _manners_part(brief))
    return {_label(brief, part): float(len(part.prompts)) for part in parts}


def parts_of(folder: Path, engine: Engine, brief: Brief) -> FolderParts:
    """Where below `folder` the finished parts of this work are kept."""
    return folder_parts(folder, "trait", engine.info, brief)


def _written(engine: Engine, brief: Brief, part: _Part[T], work: Work) -> list[T]:
    """A part's items. SetupError where the rounds did not bring enough."""
    kept: list[T] = []
    objections: Counter[str] = Counter()
    example = ""
    silent = dataclasses.replace(work, progress=_unheard)
    work.progress(_label(brief, part), 0, part.wanted)
    for round_ in range(MAX_ROUNDS):
        answers = silent.answers(f"{part.name}-{round_}", part.name, engine, _asked(engine, part, brief.seed, round_))
        items: list[list[T]] = []
        for answer in answers:
            try:
                items.append(part.read(answer.text))
            except msgspec.MsgspecError:
                objections["no whole JSON of the form asked for"] += 1
                example = answer.text
        # One item of each answer after the other, so that every topic has its share.
        for item in (item for item in chain.from_iterable(zip_longest(*items)) if item is not None):
            objection = part.objection(item, kept)
            if objection is None:
                kept.append(item)
            else:
                objections[objection] += 1
                example = msgspec.json.encode(item).decode()
            if len(kept) == part.wanted:
                work.progress(_label(brief, part), part.wanted, part.wanted)
                return kept
        work.progress(_label(brief, part), len(kept), part.wanted)
    reasons = ", ".join(f"{count} times {objection}" for objection, count in objections.most_common(3))
    raise SetupError(
        f"{engine.info.id} can't write the {part.name} of {brief.id!r}: asked {MAX_ROUNDS} times it wrote {len(kept)} "
        f"usable of {part.wanted} ({reasons}; the last of these: {example[:100]!r}). {_OFFER}"
    )


def _asked(engine: Engine, part: _Part[Any], seed: int, round_: int) -> list[Generation]:
    schema = msgspec.json.encode(part.schema).decode()
    generations = []
    for number, text in enumerate(part.prompts):
        prompt = engine.render([{"role": "user", "content": text}], reasoning_effort="low")
        if len(prompt) + MIN_TOKENS > engine.info.context_length:
            raise SetupError(
                f"{engine.info.id} can't write the {part.name}: the request has {len(prompt)} tokens and the answer "
                f"needs {MIN_TOKENS}, and {engine.info.context_length} are all it takes. {_OFFER}"
            )
        sampling = Sampling(
            answer_tokens(engine, prompt, MAX_TOKENS),
            temperature=TEMPERATURE,
            seed=seed_of(seed, Purpose.WRITING_TRAITS, number, round_),
            json_schema=schema,
        )
        generations.append(Generation(prompt, sampling))
    return generations


def _instructions_part(brief: Brief) -> _Part[InstructionPair]:
    def objection(pair: InstructionPair, kept: Sequence[InstructionPair]) -> str | None:
        wrong = _unusable(pair.positive, 3) or _unusable(pair.negative, 3)
        if wrong is None and similar(pair.positive, pair.negative):
            wrong = "both of a pair said the same"
        if wrong is None and any(
            similar(pair.positive, other.positive) or similar(pair.negative, other.negative) for other in kept
        ):
            wrong = "one that was there already"
        return wrong

    pair = _object({"positive": _TEXT, "negative": _TEXT})
    items = {"type": "array", "items": pair, "minItems": N_INSTRUCTIONS, "maxItems": N_INSTRUCTIONS}
    return _Part(
        "instructions",
        N_INSTRUCTIONS,
        [_prompt(brief, _INSTRUCTIONS)],
        _object({"instructions": items}),
        lambda text: [
            InstructionPair(_tidy(pair.positive), _tidy(pair.negative))
            for pair in msgspec.json.decode(text, type=_Instructions).instructions
        ],
        objection,
    )


def _questions_part(brief: Brief) -> _Part[str]:
    telling = brief.telling

    def objection(question: str, kept: Sequence[str]) -> str | None:
        wrong = _unusable(question, 3)
        if wrong is None and not question.endswith("?"):
            wrong = "no question"
        if wrong is None and gives_away(question, telling):
            wrong = "one that names the trait"
        if wrong is None and any(similar(question, other) for other in kept):
            wrong = "one that was there already"
        return wrong

    words = ", ".join(dict.fromkeys((brief.positive, brief.negative, brief.positive_trait, brief.negative_trait)))
    items = {"type": "array", "items": _TEXT, "minItems": BATCH, "maxItems": BATCH}
    return _Part(
        "questions",
        2 * N_QUESTIONS,
        [_prompt(brief, _QUESTIONS, topic=topic, words=words) for topic in TOPICS],
        _object({"questions": items}),
        lambda text: [_tidy(question) for question in msgspec.json.decode(text, type=_Questions).questions],
        objection,
    )


def _manners_part(brief: Brief) -> _Part[Manners]:
    def objection(manners: Manners, kept: Sequence[Manners]) -> str | None:
        for levels in (manners.positive_levels, manners.negative_levels):
            if len(levels) != len(LEVELS) or len({_tidy(level) for level in levels} - {""}) != len(LEVELS):
                return f"not {len(LEVELS)} levels that differ"
        texts = (manners.description, manners.positive_answers, manners.negative_answers)
        wrong = next((wrong for text in texts if (wrong := _unusable(text, 3))), None)
        if wrong is None and similar(manners.positive_answers, manners.negative_answers):
            wrong = "both manners described alike"
        return wrong

    fields = {name: _TEXT for name in ("description", "positive_answers", "negative_answers")}
    return _Part(
        "rubric",
        1,
        [_prompt(brief, _MANNERS)],
        _object({**fields, "positive_levels": _LEVELS, "negative_levels": _LEVELS}),
        lambda text: [msgspec.json.decode(text, type=Manners)],
        objection,
    )


def _prompt(brief: Brief, task: str, **fields: str) -> str:
    return f"{_TRAIT}\n{task}\n\nReply with JSON and nothing else.".format(**msgspec.structs.asdict(brief), **fields)


def _tidy(text: str) -> str:
    return " ".join(text.split())


def _unusable(text: str, min_words: int) -> str | None:
    if len(text.split()) < min_words:
        return "too short"
    return "too long" if len(text) > MAX_CHARACTERS else None


def _object(properties: dict[str, Any]) -> dict[str, Any]:
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def _label(brief: Brief, part: _Part[Any]) -> str:
    return f"{brief.id}: writing {part.name}"


def _unheard(what: str, done: int, total: int) -> None: ...
