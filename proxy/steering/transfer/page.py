"""A page of evaluations in Markdown: what was compared, tables of each, and what fell short.

Knows nothing of how anything was measured.
"""

from collections.abc import Callable, Iterator, Sequence

from proxy.steering.transfer.arms import N_RANDOM, ArmKind
from proxy.steering.transfer.figures import (
    FEWEST_POLES,
    WANTED_LEAST,
    WANTED_MEAN,
    WANTED_P,
    ArmFigures,
    Evaluation,
    PoleFigures,
    misses,
    missing,
    points,
)
from vector_store import Measured, PoleChoice

NAMES: dict[ArmKind, str] = {
    "none": "none",
    "native": "native",
    "transferred": "transferred",
    "random": "random",
    "random_covariance": "random, within the covariance",
    "shuffled": "shuffled maps",
    "wrong_trait": "wrong trait",
    "sampling": "sampling",
    "prompt": "system prompt",
}
NOT_MEASURED = "not measured"
BESIDE: tuple[ArmKind, ...] = ("none", "native", "transferred", "shuffled", "prompt")  # where there is no room for all

INTRODUCTION = f"""# Personas carried from one model to another

How well a persona vector extracted from one model steers another one, after a linear map between their residuals.
`persona-proxy transfer evaluate` measured this and wrote this page.

Every arm answers the same questions, in one stream of batches, and a judge that is not told the arm scores the answers.
All arms that add to the residuals do so at the same block and positions and with the same relative dose:

- **none**: no steering.
- **native**: the vector that was extracted from the target itself.
- **transferred**: the source's vector, carried over.
- **random**: {N_RANDOM} directions, any direction being as likely; **within the covariance**: {N_RANDOM} drawn from the
  normal distribution with the covariance of the target's own residuals in answers to trait-free text.
- **shuffled maps**: the source's vector, carried over by maps that were fitted to wrongly paired text.
- **wrong trait**: the transferred vectors of the other traits.
- **sampling**: changed sampling parameters instead of a vector, as a server steers that has none for the model.
- **system prompt**: the pole asked for in words.

Nothing was chosen on what is reported. The blocks that were paired, the way to fit and its strength were chosen by
cross-validation on text that names no trait. Place and dose are those of the native vector, found on other questions,
and by what the native vector does, not the transferred one; where the target has no native vector, they are those at
which `transfer apply` placed the transferred one, on other questions too. In the tables *placed by the other traits*
they are the most common place of the other traits' native vectors and their median dose there, so that nothing at all
was chosen on the trait itself.

*Trait* and *coherence* are from 0 to 100. *Recovery* is (transferred - none) / (native - none) in trait. *Anti-steered*
is the share of answers that show less of the pole than the same question's unsteered answers do on average. In brackets
are 95 % intervals, by drawing the questions again, the same for all arms; *most* is the mean of the best of an arm's
directions or maps. Where the models' world has its facts on record, an answer that gets its fact wrong counts as
incoherent, but for a pole that asks for falsehood, such as *dishonest*.
"""


def page(found: Sequence[Evaluation]) -> str:
    """The whole page of some evaluations."""
    return "\n".join([INTRODUCTION, *_overview(found), *(line for each in found for line in section(each))])


def section(found: Evaluation) -> Iterator[str]:
    """The lines of one evaluation."""
    yield f"## {found.source} to {found.target}"
    yield ""
    yield from _summary(found)
    yield ""
    yield from _table("Trait", found, _scores())
    yield from _table("Recovery: of what the native vector adds to the trait", found, _recoveries())
    yield from _table("Coherence / facts right, in percent", found, _kept())
    yield from _table("Anti-steered, in percent of the answers", found, _against())
    yield from _table("What happens to the other traits: mean size of the change of a pole's score", found, _moved())
    yield from _table("Where, and how alike the directions are", found, _geometry())
    yield from _table("Placed by the other traits", found, _by_others())
    yield from _answers(found)


def _answers(found: Evaluation) -> Iterator[str]:
    """What there is to read: the first answers of each pole, unpicked."""
    for pole in found.poles:
        if pole.answers:
            yield f"### Answers, unpicked: {pole.pole}"
            yield ""
            yield "| question | not steered | steered by the transferred vector |"
            yield "|---|---|---|"
            for one in pole.answers:
                yield f"| {' | '.join(map(_in_cell, (one.question, one.unsteered, one.transferred)))} |"
            yield ""


def _in_cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _overview(found: Sequence[Evaluation]) -> Iterator[str]:
    yield "| from | to | mean recovery | least | placed by the other traits | least | fell short |"
    yield "|---" * 7 + "|"
    for each in found:
        own, by_others = (_least(measured) for measured in _recovered(each))
        yield (
            f"| {each.source} | {each.target} | {_share(each.recovery)} | {own} | {_mean_by_others(each)} | "
            f"{by_others} | {len(misses(each)) or ('no verdict' if missing(each) else 'nowhere')} |"
        )
    yield ""


def _recovered(found: Evaluation) -> tuple[list[Measured], list[Measured]]:
    """The recovery of the transferred vector, of each pole that has one: at the native place, and at that of the other
    traits."""
    own = [arm.recovery for pole in found.poles if (arm := pole.arm("transferred")) and arm.recovery]
    return own, [pole.recovery_by_others for pole in found.poles if pole.recovery_by_others]


def _least(measured: Sequence[Measured]) -> str:
    return f"{min(each.mean for each in measured):.2f}" if measured else ""


def _summary(found: Evaluation) -> Iterator[str]:
    judges = dict.fromkeys(pole.judge.name for pole in found.poles)
    worst = min(pole.judge.auroc for pole in found.poles)
    each = found.options.samples
    yield (
        f"{found.n_questions} questions for each pole, {each} answers to each in every arm that has no variants; "
        f"judged by {', '.join(judges)}, AUROC {worst:.2f} or more. Maps `{found.transfer}`, fitted to "
        f"{found.n_documents} documents ({found.text})."
    )
    own, by_others = _recovered(found)
    if own and found.cosine_p is not None:
        placed = _mean_by_others(found) + (f", the least {_least(by_others)}" if by_others else "")
        chance = (
            " Dealt out to the poles at random, the transferred directions are as close to the native ones with p = "
            f"{found.cosine_p:.4f}."
        )
        yield ""
        yield (
            f"**Mean recovery {_share(found.recovery)}** over {len(own)} poles, the least {_least(own)}; placed by the "
            f"other traits {placed}." + (chance if len(found.poles) >= FEWEST_POLES else "")
        )
    yield ""
    yield from _verdict(found)


def _verdict(found: Evaluation) -> Iterator[str]:
    """What was wanted and whether it came, which is said only where all that could show otherwise was measured."""
    missed, lacking = misses(found), missing(found)
    wanted = (
        f"mean recovery {WANTED_MEAN}, none below {WANTED_LEAST}, above every control with intervals apart, directions "
        f"closer to the native ones than by chance (p below {WANTED_P})"
    )
    if not missed and not lacking:
        yield f"Wanted: {wanted}. All of it came."
        return
    yield f"Wanted: {wanted}. " + ("It fell short:" if missed else "There is no verdict, since this is missing:")
    yield ""
    yield from (f"- {line}" for line in missed or lacking)
    if missed and lacking:
        yield ""
        yield "Of the rest there is no verdict, since this is missing:"
        yield ""
        yield from (f"- {line}" for line in lacking)


Columns = dict[str, Callable[[PoleFigures], str]]


def _table(title: str, found: Evaluation, columns: Columns) -> Iterator[str]:
    yield f"### {title}"
    yield ""
    yield "| pole | " + " | ".join(columns) + " |"
    yield "|---" * (len(columns) + 1) + "|"
    for pole in found.poles:
        yield f"| {pole.pole} | " + " | ".join(cell(pole) for cell in columns.values()) + " |"
    yield ""


def _scores() -> Columns:
    return {name: _of(kind, _trait) for kind, name in NAMES.items()}


def _recoveries() -> Columns:
    kinds = [kind for kind in NAMES if kind not in ("none", "native")]
    return {NAMES[kind]: _of(kind, lambda arm: _share(arm.recovery)) for kind in kinds}


def _kept() -> Columns:
    return {name: _of(kind, _coherence) for kind, name in NAMES.items()}


def _against() -> Columns:
    return {name: _of(kind, lambda arm: _percent(arm.anti_steered)) for kind, name in NAMES.items()}


def _moved() -> Columns:
    columns = {NAMES[kind]: _of(kind, _others) for kind in BESIDE if kind != "none"}
    return columns | {"moved most by the transferred vector": _of("transferred", _most)}


def _geometry() -> Columns:
    return {
        "place": lambda pole: _place(pole.choice),
        "relative dose": lambda pole: f"{pole.choice.relative_dose:.2f}",
        "map from block": lambda pole: str(pole.map.source_block),
        "by": lambda pole: pole.map.method,
        "paired tokens": lambda pole: str(pole.map.n_pairs),
        "R² held out": lambda pole: f"{pole.map.r2:.2f}",
        "R² shuffled": lambda pole: f"{pole.map.r2_shuffled:.2f}",
        "cosine to native": lambda pole: NOT_MEASURED if pole.cosine is None else f"{pole.cosine:.2f}",
        "most to another trait's": _nearest,
        "by shuffled maps": lambda pole: ", ".join(f"{value:.2f}" for value in pole.cosines_shuffled),
    }


def _by_others() -> Columns:
    return {
        "place": lambda pole: _place(pole.placed_by_others),
        "relative dose": lambda pole: (
            f"{pole.placed_by_others.relative_dose:.2f}" if pole.placed_by_others else NOT_MEASURED
        ),
        "native": _of("native_by_others", _trait),
        "transferred": _of("transferred_by_others", _trait),
        "recovery": lambda pole: NOT_MEASURED if pole.placed_by_others is None else _share(pole.recovery_by_others),
        "coherence / facts right, transferred": _of("transferred_by_others", _coherence),
    }


def _of(kind: ArmKind, cell: Callable[[ArmFigures], str]) -> Callable[[PoleFigures], str]:
    def of(pole: PoleFigures) -> str:
        arm = pole.arm(kind)
        return NOT_MEASURED if arm is None else cell(arm)

    return of


def _trait(arm: ArmFigures) -> str:
    known = [value for value in arm.variants if value is not None]
    most = f", most {max(known):.0f}" if known else ""
    return f"{_points(arm.trait)}{most}"


def _coherence(arm: ArmFigures) -> str:
    facts = "" if arm.correct is None else f" / {100 * arm.correct.mean:.0f}"
    return ("unscored" if arm.coherence is None else f"{arm.coherence.mean:.0f}") + facts


def _others(arm: ArmFigures) -> str:
    return "unscored" if arm.moved is None else f"{arm.moved:.1f}"


def _most(arm: ArmFigures) -> str:
    if not arm.others:
        return "unscored"
    pole, change = max(arm.others.items(), key=lambda item: abs(item[1]))
    return f"{pole} {change:+.0f}"


def _nearest(pole: PoleFigures) -> str:
    if not pole.cosines_of_others:
        return NOT_MEASURED
    name, value = max(pole.cosines_of_others.items(), key=lambda item: item[1])
    return f"{value:.2f} ({name})"


def _place(choice: PoleChoice | None) -> str:
    return NOT_MEASURED if choice is None else f"block {choice.block}, {choice.positions}"


def _points(measured: Measured | None) -> str:
    return "unscored" if measured is None else points(measured)


def _percent(measured: Measured | None) -> str:
    return "unscored" if measured is None else f"{100 * measured.mean:.0f}"


def _mean_by_others(found: Evaluation) -> str:
    if all(pole.placed_by_others is None for pole in found.poles):
        return NOT_MEASURED
    return _share(found.recovery_by_others)


def _share(measured: Measured | None) -> str:
    return "unscored" if measured is None else f"{measured.mean:.2f} ({measured.low:.2f} to {measured.high:.2f})"
