"""What a file may say of a vector before it is believed: later, pictures are drawn and loops are run by it.

Far wider than anything that is ever measured, and narrow enough that no figure makes work without end.
"""

from collections.abc import Iterator

from vector_store.evaluation import CostArm, EvaluatedArm, PoleEvaluation
from vector_store.sweep import Measured, Sweep, SweepPoint
from vector_store.vector import VectorHeader

# No model is as large; without such bounds a few bytes could ask for any amount of memory.
MAX_BLOCKS = 256
MAX_HIDDEN = 32768
MAX_HEADER_BYTES = 4 * 1024 * 1024  # of the JSON; of a model of 80 blocks it is a tenth of that
MAX_NAME = 300  # characters
MAX_POINTS = 256  # of one sweep; 64 coefficients, each with two controls, are the most that is asked for
MAX_COEFFICIENT = 1000.0
MAX_DOSE = 1000.0  # the addition's norm over the residual's
MAX_FIGURE = 1000.0  # scores are from 0 to 100
MAX_WORDS = 100_000.0  # of an answer: the largest figure of an evaluation
MAX_ANSWERS = 100  # that are kept of one pole's evaluation
MAX_TEXT = 20_000  # characters of one of them, of a question, and of a reason


def check(header: VectorHeader) -> None:
    """ValueError where it says what can't be."""
    for name in ("model_id", "trait", "positive", "negative", "id", "fingerprint", "created", "software_version"):
        if len(getattr(header, name)) > MAX_NAME:
            raise ValueError(f"its {name} is longer than {MAX_NAME} characters")
    _within(header.n_layers, 1, MAX_BLOCKS, "n_layers")
    _within(header.hidden_size, 1, MAX_HIDDEN, "hidden_size")
    for side, choice in header.poles.items():
        _within(choice.relative_dose, 0, MAX_DOSE, f"relative dose of the {side} pole")
        for end in choice.measured_range or ():
            _within(end, -MAX_COEFFICIENT, MAX_COEFFICIENT, f"measured range of the {side} pole")
    for sweep in header.sweeps.values():
        _check_sweep(sweep)
    for evaluation in header.evaluations.values():
        _check_evaluation(evaluation)


def _check_sweep(sweep: Sweep) -> None:
    if len(sweep.judge.name) > MAX_NAME:
        raise ValueError(f"the name of its sweep's judge is longer than {MAX_NAME} characters")
    if len(sweep.wrong_traits) > MAX_POINTS or any(len(pole) > MAX_NAME for pole in sweep.wrong_traits):
        raise ValueError("the names of other traits in its sweep are too many, or too long")
    for points in (sweep.points, sweep.chosen_on):
        if len(points) > MAX_POINTS:
            raise ValueError(f"a sweep of it has {len(points)} points; possible: up to {MAX_POINTS}")
        for point in points:
            _within(point.coefficient, 0, MAX_COEFFICIENT, "coefficient of a sweep")
            _within(point.relative_dose, 0, MAX_DOSE, "relative dose of a sweep")
            for figure in _figures(point):
                _within(figure, -MAX_FIGURE, MAX_FIGURE, "figure of a sweep")
    if not any(point.coefficient for point in sweep.points):
        raise ValueError("a sweep of it has no coefficient besides 0")
    for end in (sweep.coherent_to, sweep.collapse):
        _within(end or 0.0, 0, MAX_COEFFICIENT, "coefficient of a sweep")


def _check_evaluation(found: PoleEvaluation) -> None:
    names = (found.judge.name, found.budget, found.created, *found.wrong_traits)
    if len(names) > MAX_POINTS or any(len(name) > MAX_NAME for name in names):
        raise ValueError("the names in an evaluation of it are too many, or too long")
    if max(len(found.arms), len(found.costs)) > MAX_POINTS or len(found.answers) > MAX_ANSWERS:
        raise ValueError("an evaluation of it has more figures or answers than are ever made")
    if any(
        len(text) > MAX_TEXT
        for text in (found.reason, *(text for one in found.answers for text in (one.question, one.text)))
    ):
        raise ValueError(f"a text in an evaluation of it is longer than {MAX_TEXT} characters")
    figured: list[EvaluatedArm | CostArm] = [*found.arms, *found.costs]
    for one in figured:
        _within(one.coefficient, -MAX_COEFFICIENT, MAX_COEFFICIENT, "coefficient of an evaluation")
        for figure in vars(one).values():
            if isinstance(figure, Measured):
                for value in (figure.mean, figure.low, figure.high):
                    _within(value, -MAX_WORDS, MAX_WORDS, "figure of an evaluation")


def _figures(point: SweepPoint) -> Iterator[float]:
    for found in (point.trait, point.coherence, point.wrong_way, point.correct, point.unfinished, point.looping):
        if isinstance(found, Measured):
            yield from (found.mean, found.low, found.high)


def _within(value: float, low: float, high: float, what: str) -> None:
    if not low <= value <= high:
        raise ValueError(f"its {what} is {value:.6g}; possible: {low:g} to {high:g}")
