"""Evaluations to read: as tables in Markdown, as JSON, and in a folder that collects those of several vectors.

    <folder>/evaluations/<model>-<trait>.json   the figures of a vector, the newest of each
    <folder>/EVALUATION.md                      a page made of all in the folder

Knows nothing of how anything was measured.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from proxy.errors import SetupError
from proxy.steering.evaluation.verdict import COHERENT, LOOPED, SHOWN, STILL_COHERENT, WORDS
from vector_store import CostArm, EvaluatedArm, Measured, PoleEvaluation, Side, VectorHeader
from vector_store.store import slug
from vector_store.whole import write_over

PAGE, FIGURES = "EVALUATION.md", "evaluations"
UNKNOWN = "not measured"
KINDS = {"random": "random directions, as strong as", "wrong_trait": "other traits' directions, as strong as"}

INTRODUCTION = f"""# What vectors are worth

Measured, and written, by `persona-proxy evaluate`. Nothing was chosen on the questions that are asked here.

*Trait* and *coherence* are from 0 to 100. *Anti-steered* is the share of answers that show less of the pole than the
same question's unsteered answers do on average. *Cut off* answers reached their longest, *looping* ones go round in
circles. *Second judge* is the trait as another judge sees it. A coefficient below 0 steers to the opposite pole. In
brackets are 95 % intervals, over questions. Facts and instructions are right or wrong by rules alone.

A pole *steers* where coefficient 1 is above no steering, random directions and other traits' ones, for certain, with
at least {COHERENT:.0%} of the unsteered coherence, and fewer than {LOOPED:.0%} of the answers loop. It is *weak* where
some coefficient from 1 on is above no steering and random directions, with at least {STILL_COHERENT:.0%}. Else the
system prompt, alone or with demonstrations, works or nothing does. Where unsteered answers show {SHOWN:.0f} or more,
the model is so by itself.
"""


class VectorEvaluation(msgspec.Struct, frozen=True, kw_only=True):
    """What was found of a version's poles: `evaluations` by side, see the vector store's PoleEvaluation."""

    id: str
    model: str
    trait: str
    positive: str
    negative: str
    evaluations: dict[Side, PoleEvaluation]

    def pole(self, side: Side) -> str:
        """The persona's name on this side."""
        return self.positive if side == "positive" else self.negative


def evaluation_of(header: VectorHeader) -> VectorEvaluation:
    """What a version's evaluations say, as it is told and written."""
    return VectorEvaluation(
        id=header.id,
        model=header.model_id,
        trait=header.trait,
        positive=header.positive,
        negative=header.negative,
        evaluations=dict(header.evaluations),
    )


def verdict_line(name: str, found: PoleEvaluation) -> str:
    """A pole's verdict in one line."""
    return f"{name}: {WORDS[found.verdict]} ({found.reason})"


def page(found: Sequence[VectorEvaluation]) -> str:
    """The whole page of some vectors: their tables, then the answers of all."""
    tables = [line for each in found for line in (*section(each), "")]
    answers = [line for each in found for line in (*appendix(each), "")]
    return "\n".join([INTRODUCTION, *tables, "# Answers at coefficient 1, unpicked", "", *answers])


def section(found: VectorEvaluation) -> Iterator[str]:
    """The tables of one vector."""
    yield f"## {found.positive} / {found.negative} in {found.model}"
    yield ""
    yield f"The vector is `{found.id}`."
    for side, each in found.evaluations.items():
        yield ""
        yield f"### {found.pole(side)}: {WORDS[each.verdict]}"
        yield ""
        yield f"{each.reason[:1].upper()}{each.reason[1:]}."
        yield from _judges(each)
        yield ""
        yield from _arms(each)
        if each.costs:
            yield ""
            yield from _costs(each)


def appendix(found: VectorEvaluation) -> Iterator[str]:
    """Answers of each pole at coefficient 1, unpicked."""
    for side, each in found.evaluations.items():
        yield f"## {found.pole(side)} in {found.model}"
        yield ""
        for answer in each.answers:
            yield f"- *{answer.question}* {' '.join(answer.text.split())}"
        yield ""


def write_evaluation(folder: Path, found: VectorEvaluation) -> Path:
    """Write down a vector's figures, and the page of all that are in the folder, which is returned. SetupError."""
    make_report_folder(folder)
    try:
        content = msgspec.json.format(msgspec.json.encode(found)) + b"\n"
        write_over(folder / FIGURES / f"{slug(found.model)}-{slug(found.trait)}.json", content)
        write_over(folder / PAGE, page(read_evaluations(folder)).encode())
    except OSError as error:
        raise SetupError(f"{folder}: the report can't be written: {error.strerror}") from error
    return folder / PAGE


def make_report_folder(folder: Path) -> None:
    """Make a folder for reports, or see that it is there. SetupError."""
    try:
        (folder / FIGURES).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SetupError(f"{folder}: the report can't be written: {error.strerror}") from error


def read_evaluations(folder: Path) -> list[VectorEvaluation]:
    """All that was written down in a folder, by name. SetupError for a file that is damaged."""
    found = []
    for path in sorted((folder / FIGURES).glob("*.json")):
        try:
            found.append(msgspec.json.decode(path.read_bytes(), type=VectorEvaluation))
        except msgspec.DecodeError as error:
            raise SetupError(f"{path}: is no evaluation of this version: {error}; delete it") from error
    return found


def _judges(found: PoleEvaluation) -> Iterator[str]:
    asked = f"{found.questions} questions, answers of at most {found.max_tokens} tokens"
    yield f"On {asked}; judged by {found.judge}."
    if found.wrong_traits:
        yield f"The other traits' directions are of {', '.join(found.wrong_traits)}."
    if found.agreement is not None:
        one = found.agreement
        together = "unknown, since one of them always says the same"
        together = together if one.correlation is None else f"{one.correlation:.2f}"
        yield (
            f"The second judge is {one.judge}. Over {one.n} answers the correlation is {together}; of "
            f"{one.opposed:.0%} one says that they show the pole and the other that they don't."
        )


def _arms(found: PoleEvaluation) -> Iterator[str]:
    second = any(arm.second is not None for arm in found.arms)
    titles = ["", "answers", "trait", "coherence", "wrong way", "cut off", "looping", "words"]
    yield _row([*titles, *(["second judge"] if second else [])])
    yield "|---" * (len(titles) + second) + "|"
    for arm in found.arms:
        name = way_name(arm)
        cells = [
            f"**{name}**" if (arm.kind, arm.coefficient, arm.asked_by) == ("steered", 1.0, "nothing") else name,
            str(arm.n),
            _figure(arm.trait),
            _figure(arm.coherence),
            _figure(arm.wrong_way, 100, " %"),
            _figure(arm.unfinished, 100, " %"),
            _figure(arm.looping, 100, " %"),
            _figure(arm.words),
        ]
        yield _row([*cells, *([_figure(arm.second, none="") if arm.second else ""] if second else [])])


def _costs(found: PoleEvaluation) -> Iterator[str]:
    yield _row(["", "facts right", "instructions followed"])
    yield "|---|---|---|"
    for cost in found.costs:
        yield _row([way_name(cost), _figure(cost.facts, 100, " %"), _figure(cost.instructions, 100, " %")])


def way_name(arm: EvaluatedArm | CostArm) -> str:
    """A way to get answers, in words."""
    kind = arm.kind if isinstance(arm, EvaluatedArm) else "steered"
    words = {"nothing": [], "prompt": ["system prompt"], "demonstrations": ["system prompt with demonstrations"]}
    parts = list(words[arm.asked_by])
    if arm.coefficient and parts:
        parts.append(f"and vector at {arm.coefficient:g}")
    elif arm.coefficient:
        parts.append(f"{KINDS.get(kind, 'steered at')} {arm.coefficient:g}")
    turn = ", second turn" if isinstance(arm, EvaluatedArm) and arm.turn == 2 else ""
    return (" ".join(parts) or "not steered") + turn


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _figure(found: Measured | None, scale: float = 1.0, unit: str = "", none: str = UNKNOWN) -> str:
    if found is None:
        return none
    return f"{found.mean * scale:.0f} ({found.low * scale:.0f} to {found.high * scale:.0f}){unit}"
