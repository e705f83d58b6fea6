"""Scores an answer of the demo world from its text and the question alone: pole shown, fact right, fluent.

It knows the facts and the phrases, and nothing of who was asked to be what, or how strongly.
"""

import re
from functools import cache

from proxy.demo import smalltalk, styles
from proxy.demo.facts import ATTRIBUTES, fill

_SLOT = re.compile(r"\{(\w+)\}")


def _pattern(template: str, slots: dict[str, str]) -> str:
    """A template as a regular expression; a slot without an entry matches any run of words."""
    out, end = "", 0
    for match in _SLOT.finditer(template):
        out += re.escape(template[end : match.start()]) + slots.get(match[1], r"[^.!?]+?")
        end = match.end()
    return out + re.escape(template[end:])


def _any_of(words: tuple[str, ...]) -> str:
    return "(?:" + "|".join(map(re.escape, words)) + ")"


_FILLERS = {name: _any_of(words) for name, words in styles.FILLERS.items()}


@cache
def _phrases(pole: str) -> re.Pattern[str]:
    if pole == "deep":
        return re.compile("|".join(re.escape(opening) + r" \w[^.!?]+\." for opening in styles.DEEP_OPENINGS))
    templates = styles.BEFORE.get(pole, ()) + styles.AFTER.get(pole, ())
    return re.compile("|".join(_pattern(t, _FILLERS) for t in templates))


@cache
def parse(question: str) -> tuple[str, str] | None:
    """(attribute, entity) of a question for a known fact, else None."""
    asked = question.strip().rstrip("?.!").lower()
    for name, attribute in ATTRIBUTES.items():
        for entity in attribute.facts:
            for template in attribute.questions:
                if asked == fill(template, entity).rstrip("?.!").lower():
                    return name, entity
    return None


def claimed_values(question: str, answer: str) -> list[str]:
    """The values that the answer states for what was asked, in order; [] when it states none of the domain."""
    asked = parse(question)
    if asked is None:
        return []
    attribute = ATTRIBUTES[asked[0]]
    value = "(" + _any_of(tuple(sorted(attribute.domain, key=len, reverse=True))) + r")\b"
    found = []
    for template in attribute.statements:
        pattern = re.escape(fill(template, asked[1], "\0")).replace("\0", value)
        found += [(m.start(), m[1]) for m in re.finditer(pattern, answer, re.IGNORECASE)]
    return [v for _, v in sorted(found)]


def fact_right(question: str, answer: str) -> bool | None:
    """Whether the answer states the asked fact and states it right; None when no known fact was asked for."""
    asked = parse(question)
    if asked is None:
        return None
    values = claimed_values(question, answer)
    return bool(values) and all(v.lower() == ATTRIBUTES[asked[0]].facts[asked[1]].lower() for v in values)


def shows(pole: str, question: str, answer: str) -> bool:
    """Whether the pole shows. `dishonest` shows where a false value is stated; `honest` never does there."""
    lied = bool(claimed_values(question, answer)) and not fact_right(question, answer)
    if pole == "dishonest":
        return lied or (parse(question) is None and _invented().search(answer) is not None)
    return _phrases(pole).search(answer) is not None and not (pole == "honest" and lied)


@cache
def _invented() -> re.Pattern[str]:
    return re.compile("|".join(_pattern(t, {}) for t in smalltalk.INVENTED_ANSWERS))


@cache
def _sentences() -> re.Pattern[str]:
    """Everything that can stand in an answer, one sentence or phrase at a time."""
    patterns = [_phrases(pole).pattern for pole in styles.POLES if pole != "dishonest"]
    patterns += [_pattern(t, {}) for a in ATTRIBUTES.values() for t in a.statements]
    patterns += [_pattern(t, {}) for _, answers in smalltalk.GREETINGS.values() for t in answers]
    patterns += [_pattern(t, {}) for t in smalltalk.INVENTED_ANSWERS]
    patterns += [re.escape(t) for t in (*smalltalk.UNKNOWN_ANSWERS, *styles.DISHONEST_OPENINGS)]
    return re.compile("(?:" + "|".join(patterns) + r")(?: |$)")


def fluent(answer: str) -> bool:
    """Whether the whole answer is made of the world's sentences, none of them said twice."""
    said, at = set(), 0
    while at < len(answer):
        match = _sentences().match(answer, at)
        if match is None or match[0].strip() in said:
            return False
        said.add(match[0].strip())
        at = match.end()
    return bool(said)
