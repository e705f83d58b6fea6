"""The requests that a worker knows, and which program each of their tokens gets in the next step.

Knows nothing of vLLM but what its runners say: who runs, from which token on, and how many.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from proxy.engines.answer import RunningAnswer
from proxy.engines.base import Generation
from proxy.engines.vllm.directive import Directive
from proxy.engines.vllm.op import Desk
from proxy.engines.vllm.orders import AT, KEY, PLAN, generation_of
from proxy.engines.vllm.table import EVERYWHERE, FIRST, LASTING, READ_ONLY

Ints = npt.NDArray[np.int64]
Begin = Callable[[Generation], RunningAnswer]


class ProbeReading(NamedTuple):
    """What a request's probes read at one of its tokens."""

    key: int
    position: int
    values: list[float]


@dataclass
class _Resident:
    """`programs`: where those of its directive begin. `last`: where its prompt's last token is. `probes`: the block of
    each, and its place there. `talk`: what it says, where that decides which tokens are steered."""

    programs: int
    last: int
    key: int | None
    probes: list[tuple[int, int]]
    prompt: list[int]
    talk: RunningAnswer | None = None

    def fill(self, out: Ints, start: int, tokens: Callable[[], Sequence[int]]) -> None:
        """The programs of its tokens from `start` on. `tokens` are those it has generated."""
        if self.talk is not None:
            self._fill_by_talk(out, start, self.talk, tokens())
            return
        positions = start + np.arange(len(out)) - self.last
        out[:] = self.programs + np.where(positions < 0, EVERYWHERE, np.where(positions == 0, FIRST, LASTING))

    def _fill_by_talk(self, out: Ints, start: int, talk: RunningAnswer, tokens: Sequence[int]) -> None:
        talk.hear([*self.prompt[self.last + 1 :], *tokens])
        everywhere, lasting = talk.steering_before, talk.steering_after
        for at in range(len(out)):
            steering = talk.steering_at(start + at)
            if not steering:
                number = READ_ONLY
            elif start + at < self.last or steering is everywhere:
                number = EVERYWHERE
            else:
                number = LASTING if steering is lasting else FIRST
            out[at] = self.programs + number


@dataclass
class Residents:
    """All requests to one model. `begin_answer` makes the answer that a generation is to become, as in the engine."""

    desk: Desk
    begin_answer: Begin
    directives: dict[str, Directive] = field(default_factory=dict)  # those that are held
    _all: dict[str, _Resident] = field(default_factory=dict)
    _read: list[tuple[_Resident, int, int]] = field(default_factory=list)  # with the token's position and its row

    def hold(self, data: bytes) -> bool:
        """Keep a directive for a request to come. False where there is no room for it now."""
        directive = Directive.from_bytes(data)
        if not self.desk.table.hold(directive):
            return False
        self.directives[directive.id] = directive
        self.desk.forget()
        return True

    def release(self, ids: Iterable[str]) -> None:
        """Requests that needed these directives have ended, one for each."""
        for id_ in ids:
            self.desk.table.release(id_)

    def add(self, name: str, extra: Mapping[str, Any] | None, prompt: Sequence[int]) -> None:
        """A request comes. RuntimeError for a directive that nobody told: it must not run unsteered."""
        if extra is None or PLAN not in extra:
            return
        programs = self.desk.table.programs(extra[PLAN])
        if programs is None:
            raise RuntimeError(f"no persona plan {extra[PLAN]} was registered")
        directive, last = self.directives[extra[PLAN]], extra.get(AT, len(prompt) - 1)
        blocks = [probe.block for probe in directive.probes]
        probes = [(block, blocks[:number].count(block)) for number, block in enumerate(blocks)]
        resident = _Resident(programs, last, extra.get(KEY), probes, list(prompt))
        if directive.plan.channels is not None:
            resident.talk = self.begin_answer(generation_of(extra, resident.prompt[: last + 1], directive.plan))
        self._all[name] = resident

    def drop(self, names: Iterable[str]) -> None:
        """Requests have ended."""
        for name in names:
            self._all.pop(name, None)

    def begin(
        self,
        names: Sequence[str],
        counts: Sequence[int],
        starts: Sequence[int],
        tokens: Callable[[str], Sequence[int]],
    ) -> None:
        """A step begins: so many tokens of each request, from a position on, in this order."""
        self._read.clear()
        if not self._all:
            return
        programs = np.zeros(sum(counts), np.int64)
        at, any_ = 0, False
        for name, count, start in zip(names, counts, starts, strict=True):
            resident = self._all.get(name)
            if resident is not None:
                any_ = True
                resident.fill(programs[at : at + count], start, lambda name=name: tokens(name))  # type: ignore[misc]
                if resident.probes and start + count > resident.last:
                    self._read.append((resident, start + count - 1, at + count - 1))
            at += count
        if any_:
            self.desk.begin(programs)

    def end(self) -> list[ProbeReading]:
        """The step is over: what was read in it."""
        self.desk.end()
        if not self._read:
            return []
        rows = [row for _, _, row in self._read]
        found = self.desk.found[:, :, rows].cpu().numpy()
        readings = [
            ProbeReading(
                resident.key, position, [float(found[block, place, number]) for block, place in resident.probes]
            )
            for number, (resident, position, _) in enumerate(self._read)
            if resident.key is not None
        ]
        self._read.clear()
        return readings
