"""A sweep's answers, judged strength by strength while the next ones are still asked for.

Knows nothing of how answers are made, and nothing of what is to become of the curves.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from proxy.engines.base import ModelInfo
from proxy.engines.blocking import Completion
from proxy.steering.judge import SCORES, Answer, Validated
from proxy.steering.sweep.asked import Arm, SweepCell, asked_questions, listed, strengths
from proxy.steering.sweep.calibration import Level
from proxy.steering.sweep.curve import Judged, PolePoint, levels_of, points_so_far
from proxy.steering.sweep.options import SweepOptions
from proxy.steering.sweep.unfinished import loops, unfinished
from proxy.steering.traits.trait import Trait
from proxy.steering.work import Work
from proxy.steering.world import world_of
from vector_store import PersonaVector, Side


class Curves:
    """What is known of a vector's curves so far. `wrong_trait`: other traits' directions are among the controls."""

    def __init__(
        self,
        info: ModelInfo,
        trait: Trait,
        vector: PersonaVector,
        judged: Validated,
        options: SweepOptions,
        work: Work,
        wrong_trait: bool,
    ) -> None:
        self._trait, self._vector, self._judged, self._options, self._work = trait, vector, judged, options, work
        self._questions = trait.questions_for(info.world).evaluate
        self._world = world_of(info.world)
        self._answers: dict[Side, list[Judged]] = {side: [] for side in options.sides}
        self._strengths = strengths(options, wrong_trait=wrong_trait)
        self._n_strengths = 0  # that were judged
        self._n_asked, self._n_judged = 0, 0  # answers of those, and the times they were judged
        self.asked = [cell for arms in self._strengths for cell in listed(arms, options)]
        self._total = n_judged(self.asked, options)

    def judge(self, found: Mapping[int, Completion]) -> None:
        """Judge every strength whose answers are all there, by their index in `asked`, and tell of its points."""
        while self._n_strengths < len(self._strengths):
            arms = self._strengths[self._n_strengths]
            cells = listed(arms, self._options)
            indices = range(self._n_asked, self._n_asked + len(cells))
            if not all(index in found for index in indices):
                return
            self._take(cells, [found[index] for index in indices])
            self._tell(arms)
            self._n_strengths += 1
            self._n_asked += len(cells)

    def levels(self, side: Side) -> dict[Arm, Level]:
        """One pole's answers that were judged, by arm."""
        return levels_of(self._answers[side], asked_questions(self._options), self._options.samples)

    def _take(self, cells: Sequence[SweepCell], completions: Sequence[Completion]) -> None:
        trait, options, before = self._trait, self._options, self._n_judged
        # The unsteered answers are judged for every pole that is swept.
        wanted = [
            (side, cell, completion)
            for cell, completion in zip(cells, completions, strict=True)
            for side in _sides_of(cell, options)
        ]
        answers = [Answer(self._questions[cell.question], made.text, trait, side) for side, cell, made in wanted]
        work = dataclasses.replace(
            self._work, progress=lambda what, done, _: self._work.progress(what, before + done, self._total)
        )
        name = f"sweep-scores-{self._n_strengths:03}"
        parts = work.in_parts(name, judging_label(trait), answers, SCORES, self._judged.judge.score)
        scores = [score for part in parts for score in part]
        for (side, cell, made), score in zip(wanted, scores, strict=True):
            right = self._world.fact_right(self._questions[cell.question], made.text) if self._world else None
            self._answers[side].append(Judged(cell, score, right, unfinished(made), loops(made.token_ids)))
        self._n_judged += len(wanted)

    def _tell(self, arms: Sequence[Arm]) -> None:
        for side in self._options.sides:
            mine = [arm for arm in arms if arm.side in (side, None)]
            dose = self._vector.poles[side].relative_dose
            for point in points_so_far(self.levels(side), mine, dose, self._judged.record.scored):
                self._work.tell(PolePoint(side, point))


def n_judged(asked: Sequence[SweepCell], options: SweepOptions) -> int:
    """How often an answer of those asked is judged."""
    return sum(len(_sides_of(cell, options)) for cell in asked)


def judging_label(trait: Trait) -> str:
    """What the work is told while answers are judged."""
    return f"{trait.id}: sweeping, judging"


def _sides_of(cell: SweepCell, options: SweepOptions) -> Sequence[Side]:
    return [cell.arm.side] if cell.arm.side else options.sides
