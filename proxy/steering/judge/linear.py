"""A linear reading of the unsteered model as a judge: whether a model that reads an answer is in the state that answers
of a pole bring it into, and whether the answer is as likely as its ordinary ones.

One pass over the beginning of the answer, behind the bare question, where the likelihood ratio takes five over all of
it. It sees text alone, as every judge does: what a steered model wrote is read by the unsteered one. What it was
calibrated by it judges by what the answers to other questions say.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import msgspec
import numpy as np
import numpy.typing as npt

from proxy.engines.base import Engine, FloatArray, Rollout
from proxy.steering.asking import messages
from proxy.steering.judge.base import Answer, Score
from proxy.steering.judge.coherence import Coherence, usual_coherence
from proxy.steering.judge.likelihood import Logistic, fit_logistic
from proxy.steering.judge.reading import EMPTY, AnswerEvidence, evidence
from proxy.steering.judge.rollouts import LabelledAnswer
from proxy.steering.traits.trait import Trait
from proxy.steering.work import Codec, packed
from vector_store import SIDES, Condition, Side

READ_TOKENS = 64  # of an answer: a personality shows early
DEPTHS = (1 / 2, 2 / 3)  # of the blocks that are read
FOLDS = 5  # parts of the questions, each judged by what the others say
RIDGE = 1.0  # times the mean length of an answer's features: how far the directions are drawn in
CONTRASTS: tuple[tuple[Condition, Condition], ...] = (
    ("positive", "negative"),
    ("positive", "neutral"),
    ("negative", "neutral"),
)


class Reading(NamedTuple):
    """What one pass shows of an answer. `state`: its mean residuals at some blocks, float32[n_blocks * hidden].
    `evidence` has the one likelihood there is as `plain` and `best`; all zeros for an answer without a token."""

    state: FloatArray
    evidence: AnswerEvidence


class StateReader:
    """Reads answers, each text once."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._blocks = sorted({int(depth * engine.info.n_layers) for depth in DEPTHS})
        self._known: dict[tuple[str, str], Reading] = {}

    def read(self, asked: Sequence[tuple[str, str]]) -> list[Reading]:
        """The reading of each question and answer, in order; those that are new all in one pass. Blocks."""
        new = [one for one in dict.fromkeys(asked) if one not in self._known]
        self.know(new, self._read(new))
        return [self._known[one] for one in asked]

    def know(self, asked: Sequence[tuple[str, str]], readings: Sequence[Reading]) -> None:
        """Take what was read of answers before."""
        self._known |= dict(zip(asked, readings, strict=True))

    def _read(self, asked: Sequence[tuple[str, str]]) -> list[Reading]:
        engine = self._engine
        prompts = {
            question: [*engine.render(messages(None, question)), *engine.opening]
            for question in dict.fromkeys(question for question, _ in asked)
        }
        tokens = [engine.encode(text) for _, text in asked]
        rollouts = [
            Rollout(prompts[question], some[: min(READ_TOKENS, engine.info.context_length - len(prompts[question]))])
            for (question, _), some in zip(asked, tokens, strict=True)
        ]
        found = engine.read(rollouts, self._blocks)
        return [
            Reading(means.reshape(-1), _evidence(logprobs, some, text) if len(logprobs) else EMPTY)
            for means, logprobs, some, (_, text) in zip(found.means, found.logprobs, tokens, asked, strict=True)
        ]


def _evidence(logprobs: FloatArray, tokens: Sequence[int], text: str) -> AnswerEvidence:
    plain = float(logprobs.mean())
    return evidence([plain] * 3, tokens, text)


@dataclass(frozen=True)
class Contrasts:
    """Where answers of one condition differ from those of another, and from what they are counted: `axes` is
    float32[len(CONTRASTS), n], for states less `centre`, over `scale`, float32[n] each."""

    axes: FloatArray
    centre: FloatArray
    scale: FloatArray

    def along(self, states: FloatArray) -> FloatArray:
        """float[n_answers, len(CONTRASTS)]: how far each state, float32[n_answers, n], lies along each axis."""
        projected: FloatArray = ((states - self.centre) / self.scale @ self.axes.T).astype(np.float32)
        return projected


def find_directions(states: FloatArray, conditions: Sequence[Condition]) -> Contrasts:
    """The axes that tell the conditions apart, by ridge regression of which of two it is: with the scatter of answers
    in mind, which a difference of means forgets, and drawn in, since there are more numbers in a state than answers."""
    asked = np.array(conditions)
    centre: FloatArray = states.mean(axis=0)
    scale: FloatArray = np.maximum(states.std(axis=0), 1e-6).astype(np.float32)
    features = ((states - centre) / scale).astype(np.float64)
    axes = [_axis(features[asked == one], features[asked == other]) for one, other in CONTRASTS]
    return Contrasts(np.stack(axes), centre, scale)


def _axis(members: npt.NDArray[np.float64], others: npt.NDArray[np.float64]) -> FloatArray:
    """float32[k]: the ridge regression of which of two classes it is on features, float64[n, k] each; zeros, which tell
    nothing apart, where a class is missing or no feature differs."""
    features = np.concatenate([members, others])
    if not (len(members) and len(others)):
        return np.zeros(features.shape[1], np.float32)
    features = features - features.mean(axis=0)
    target = np.repeat([1.0, -1.0], [len(members), len(others)])
    target -= target.mean()
    likeness = features @ features.T
    drawn_in = RIDGE * np.trace(likeness) / len(features)
    if drawn_in == 0:
        return np.zeros(features.shape[1], np.float32)
    axis: FloatArray = (features.T @ np.linalg.solve(likeness + drawn_in * np.eye(len(features)), target)).astype(
        np.float32
    )
    return axis


def side_values(along: FloatArray, side: Side) -> FloatArray:
    """float[n_answers, 2]: how far answers lie towards a side from the other one, and from ordinary ones."""
    sign, own = (1, 1) if side == "positive" else (-1, 2)
    return np.stack([sign * along[:, 0], along[:, own]], axis=1)


class LinearJudge:
    """A linear reading of the unsteered model for one trait. An answer to a question that it was calibrated by is
    judged by directions that were found without that question, any other by those that all answers gave."""

    name = "linear reading"

    def __init__(
        self,
        trait: Trait,
        reader: StateReader,
        samples: Sequence[LabelledAnswer],
        readings: Sequence[Reading],
    ) -> None:
        """Calibrated by these answers, which have a token at least, and what was read of them."""
        self._trait = trait
        self._reader = reader
        questions = [sample.question for sample in samples]
        conditions = [sample.condition for sample in samples]
        distinct = list(dict.fromkeys(questions))
        self._folds = {question: number % FOLDS for number, question in enumerate(distinct)}
        states = np.stack([reading.state for reading in readings])
        fold = np.array([self._folds[question] for question in questions])
        self._directions = [
            find_directions(states[fold != k], [c for c, own in zip(conditions, fold, strict=True) if own != k])
            for k in range(FOLDS)
        ]
        self._directions.append(find_directions(states, conditions))
        along = np.stack([self._along(question, state) for question, state in zip(questions, states, strict=True)])
        asked = np.array(conditions)
        self._sides: Mapping[Side, Logistic] = {
            side: fit_logistic(
                side_values(along, side)[asked == side].astype(np.float64),
                side_values(along, side)[asked != side].astype(np.float64),
            )
            for side in SIDES
        }
        self._coherence: Coherence = usual_coherence([reading.evidence for reading in readings])

    def score(self, answers: Sequence[Answer]) -> list[Score | None]:
        """One score for each answer, in order. Blocks. ValueError for an answer to be judged for another trait."""
        if any(answer.trait.id != self._trait.id for answer in answers):
            raise ValueError(f"a judge that was calibrated for {self._trait.id!r} can't judge another trait")
        readings = self._reader.read([(answer.question, answer.text) for answer in answers])
        return [self._score(answer, reading) for answer, reading in zip(answers, readings, strict=True)]

    def _score(self, answer: Answer, reading: Reading) -> Score:
        if not reading.evidence.n_tokens:
            return Score(0.0, 0.0)
        values = side_values(self._along(answer.question, reading.state)[None], answer.side)[0]
        return Score(100 * self._sides[answer.side](values.tolist()), self._coherence(reading.evidence))

    def _along(self, question: str, state: FloatArray) -> FloatArray:
        along: FloatArray = self._directions[self._folds.get(question, FOLDS)].along(state[None])[0]
        return along


class _Stored(msgspec.Struct):
    state: bytes
    evidence: AnswerEvidence


_STORED: Codec[list[_Stored]] = packed(list[_Stored])


def _encode(readings: Sequence[Reading]) -> bytes:
    return _STORED.encode(
        [_Stored(reading.state.astype(np.float32).tobytes(), reading.evidence) for reading in readings]
    )


def _decode(content: bytes) -> list[Reading]:
    return [Reading(np.frombuffer(one.state, np.float32), one.evidence) for one in _STORED.decode(content)]


READINGS: Codec[list[Reading]] = Codec(_encode, _decode)
