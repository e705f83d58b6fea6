"""What may be done to a token, as rows of fixed tensors: vectors in a bank, and programs that name their rows.

A program is all that is done to one token at every block, and read of it. A directive has four of them. What a step
needs to know of its tokens is then one number each: the number of their program. Nothing here moves once it is made, so
that CUDA graphs may refer to it. Knows nothing of requests, and nothing of vLLM.
"""

import hashlib
from collections import Counter, OrderedDict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch

from proxy.engines.base import FloatArray, Intervention
from proxy.engines.interventions import added, by_block, held, padded
from proxy.engines.vllm.directive import Directive

ROUNDS = 3  # of adding and then holding, one after another, that a block may do to a token
MOST_HELD = 8  # directions that one hold has
MOST_READ = 8  # probes of a directive at one block
EVERYWHERE, FIRST, LASTING, READ_ONLY = range(4)  # a directive's programs
_PROGRAMS = 4


class TooMuch(Exception):
    """A directive that has no room even where it is alone; in a sentence for whoever asked for it."""


class _Pool:
    """Places by what lies there, each with the number of its users. Place 0 is nobody's: nothing lies there."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._free = list(range(size - 1, 0, -1))
        self._places: dict[Hashable, int] = {}
        self._users: Counter[Hashable] = Counter()

    def has_room(self, keys: Iterable[Hashable]) -> bool:
        return len({key for key in keys if key not in self._places}) <= len(self._free)

    def take(self, key: Hashable) -> tuple[int, bool]:
        """A place, and whether nothing lies there yet."""
        self._users[key] += 1
        if key in self._places:
            return self._places[key], False
        self._places[key] = self._free.pop()
        return self._places[key], True

    def give(self, key: Hashable) -> None:
        self._users[key] -= 1
        if not self._users[key]:
            del self._users[key]
            self._free.append(self._places.pop(key))


@dataclass
class _Entry:
    """A directive in the table: where its programs begin, what it takes, and how many requests need it."""

    programs: int
    vectors: list[Hashable]
    holds: list[Hashable]
    pins: int = 0


@dataclass
class _Needed:
    """What a directive takes, by what it is."""

    vectors: dict[Hashable, FloatArray] = field(default_factory=dict)
    holds: dict[Hashable, Intervention] = field(default_factory=dict)

    def vector(self, values: FloatArray) -> None:
        self.vectors[_key(values)] = values

    def hold(self, item: Intervention) -> None:
        key = _hold_key(item)
        self.holds[key] = item
        rows, inverse, _ = padded(item, len(held(item)[1]))
        for row in (*rows, *inverse.T):
            self.vector(np.ascontiguousarray(row))


class ProgramTable:
    """For a model of `n_blocks` blocks. `n_slots` vectors have room, and `n_directives` directives."""

    def __init__(self, n_blocks: int, hidden: int, n_slots: int, n_directives: int, device: torch.device) -> None:
        n_programs = 1 + _PROGRAMS * n_directives

        def places(*shape: int) -> torch.Tensor:
            return torch.zeros(shape, dtype=torch.int64, device=device)

        # -0.0 keeps every bit of what it is added to.
        self.bank = torch.full((n_slots, hidden), -0.0, dtype=torch.float32, device=device)
        self.adds = places(n_blocks, ROUNDS, n_programs)
        self.holds = places(n_blocks, ROUNDS, n_programs)
        self.reads = places(n_blocks, MOST_READ, n_programs)
        self.hold_basis, self.hold_inverse = places(n_slots, MOST_HELD), places(n_slots, MOST_HELD)
        self.hold_levels = torch.zeros((n_slots, MOST_HELD), dtype=torch.float32, device=device)
        self.hold_caps = torch.zeros(n_slots, dtype=torch.bool, device=device)
        # Of each program at each block: additions by round, directions held by round, probes.
        self.needs = np.zeros((n_programs, n_blocks, 2 * ROUNDS + 1), np.int8)
        self._vectors = _Pool(n_slots)
        self._holds = _Pool(n_slots)
        self._programs = list(range(1, n_programs, _PROGRAMS))[::-1]
        self._entries: OrderedDict[str, _Entry] = OrderedDict()  # the one that was asked for last comes last
        self._device = device

    def programs(self, id_: str) -> int | None:
        """Where a directive's programs begin; None for one that is not here."""
        return self._entries[id_].programs if id_ in self._entries else None

    def hold(self, directive: Directive) -> bool:
        """Keep a directive for one more request. False where there is no room beside those that others need; TooMuch
        where there never is."""
        entry = self._entries.get(directive.id)
        if entry is None:
            needed = _needed(directive)
            self._check(needed)
            if not self._make_room(needed):
                return False
            entry = self._entries[directive.id] = self._write(directive, needed)
        entry.pins += 1
        self._entries.move_to_end(directive.id)
        return True

    def release(self, id_: str) -> None:
        """One request less needs it. It stays until its room is needed."""
        self._entries[id_].pins -= 1

    def _check(self, needed: _Needed) -> None:
        if len(needed.vectors) >= self._vectors.size or len(needed.holds) >= self._holds.size:
            raise TooMuch(
                f"steering takes {len(needed.vectors)} vectors, and there is room for {self._vectors.size - 1}"
            )

    def _make_room(self, needed: _Needed) -> bool:
        while not (self._vectors.has_room(needed.vectors) and self._holds.has_room(needed.holds) and self._programs):
            unneeded = next((id_ for id_, entry in self._entries.items() if not entry.pins), None)
            if unneeded is None:
                return False
            self._forget(self._entries.pop(unneeded))
        return True

    def _forget(self, entry: _Entry) -> None:
        for key in entry.vectors:
            self._vectors.give(key)
        for key in entry.holds:
            self._holds.give(key)
        self._programs.append(entry.programs)
        mine = slice(entry.programs, entry.programs + _PROGRAMS)
        for places in (self.adds, self.holds, self.reads):
            places[:, :, mine] = 0
        self.needs[mine] = 0

    def _write(self, directive: Directive, needed: _Needed) -> _Entry:
        vectors: dict[Hashable, int] = {}
        for key, values in needed.vectors.items():
            vectors[key], fresh = self._vectors.take(key)
            if fresh:
                self.bank[vectors[key]] = torch.from_numpy(values).to(self._device)
        holds: dict[Hashable, int] = {}
        for key, item in needed.holds.items():
            holds[key], fresh = self._holds.take(key)
            if fresh:
                self._write_hold(holds[key], item, vectors)
        entry = _Entry(self._programs.pop(), list(vectors), list(holds))
        items = directive.plan.interventions
        everywhere = [item for item in items if item.positions == "all"]
        lasting = [item for item in items if item.positions != "last_prompt"]
        for number, each in ((EVERYWHERE, everywhere), (FIRST, items), (LASTING, lasting), (READ_ONLY, ())):
            self._write_program(entry.programs + number, each, vectors, holds)
            if number != EVERYWHERE:
                self._write_reads(entry.programs + number, directive, vectors)
        return entry

    def _write_hold(self, at: int, item: Intervention, vectors: Mapping[Hashable, int]) -> None:
        size = len(held(item)[1])
        basis, inverse, levels = padded(item, size)
        for places, rows in ((self.hold_basis, basis), (self.hold_inverse, inverse.T)):
            places[at] = 0
            places[at, :size] = torch.tensor([vectors[_key(row)] for row in rows])
        self.hold_levels[at] = 0
        self.hold_levels[at, :size] = torch.from_numpy(levels[:, 0])
        self.hold_caps[at] = item.mode == "cap"

    def _write_program(
        self,
        program: int,
        items: Sequence[Intervention],
        vectors: Mapping[Hashable, int],
        holds: Mapping[Hashable, int],
    ) -> None:
        for block, steps in by_block(items).items():
            for round_, step in _rounds(steps):
                if step.mode == "add":
                    self.adds[block, round_, program] = vectors[_key(added(step))]
                    self.needs[program, block, round_] = 1
                else:
                    self.holds[block, round_, program] = holds[_hold_key(step)]
                    self.needs[program, block, ROUNDS + round_] = len(held(step)[1])

    def _write_reads(self, program: int, directive: Directive, vectors: Mapping[Hashable, int]) -> None:
        count: Counter[int] = Counter()
        for probe in directive.probes:
            self.reads[probe.block, count[probe.block], program] = vectors[_key(probe.direction)]
            count[probe.block] += 1
        for block, n_probes in count.items():
            self.needs[program, block, 2 * ROUNDS] = n_probes


def _key(vector: FloatArray) -> Hashable:
    return hashlib.sha256(vector.tobytes()).digest()


def _hold_key(item: Intervention) -> Hashable:
    basis, levels = held(item)
    return hashlib.sha256(f"{item.mode}/{len(levels)}".encode() + basis.tobytes() + levels.tobytes()).digest()


def _rounds(steps: Sequence[Intervention]) -> list[tuple[int, Intervention]]:
    """Each step of a block with its round: a round adds, and then holds."""
    found: list[tuple[int, Intervention]] = []
    round_ = 0
    for at, step in enumerate(steps):
        if at and (step.mode == "add" or steps[at - 1].mode != "add"):
            round_ += 1
        found.append((round_, step))
    if round_ >= ROUNDS:
        raise TooMuch(f"steering does more than {ROUNDS} things in turn at block {steps[0].block}")
    return found


def _needed(directive: Directive) -> _Needed:
    """TooMuch for what no program has room for."""
    needed = _Needed()
    items = directive.plan.interventions
    for chosen in (
        [item for item in items if item.positions == "all"],
        items,
        [item for item in items if item.positions != "last_prompt"],
    ):
        for steps in by_block(chosen).values():
            for _, step in _rounds(steps):
                if step.mode == "add":
                    needed.vector(added(step))
                elif len(held(step)[1]) > MOST_HELD:
                    raise TooMuch(f"steering holds more than {MOST_HELD} directions at block {step.block}")
                else:
                    needed.hold(step)
    for probe in directive.probes:
        needed.vector(probe.direction)
    if max(Counter(probe.block for probe in directive.probes).values(), default=0) > MOST_READ:
        raise TooMuch(f"more than {MOST_READ} probes read one block")
    return needed
