"""What is done to one request's tokens, and read of them, on its way to the processes that run the model.

Told once, as bytes, under the hash of its content; requests then name the hash. Knows nothing of vLLM.
"""

import hashlib
from dataclasses import dataclass
from functools import cached_property

import msgspec
import numpy as np

from proxy.engines.base import FloatArray, Intervention, Plan, Probe


@dataclass(frozen=True)
class Directive:
    """A plan, and the probes that read what it does."""

    plan: Plan
    probes: tuple[Probe, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether there is nothing to do and nothing to read."""
        return not self.plan.interventions and not self.probes

    @cached_property
    def id(self) -> str:
        """Equal exactly for directives that do and read the same."""
        digest = hashlib.sha256(self.plan.fingerprint.encode())
        for probe in self.probes:
            digest.update(f"{probe.block}/{probe.offset!r}".encode() + probe.direction.tobytes())
        return digest.hexdigest()

    @property
    def salt(self) -> str | None:
        """What keeps apart that which is kept of prompts; None where nothing is done to them before their last token,
        so that all share it."""
        return self.plan.prompt_key if any(item.positions == "all" for item in self.plan.interventions) else None

    def to_bytes(self) -> bytes:
        """For another process."""
        return msgspec.msgpack.encode(
            _Told(
                [_ToldIntervention.of(item) for item in self.plan.interventions],
                None if self.plan.channels is None else sorted(self.plan.channels),
                [_ToldProbe(it.block, it.direction.astype("<f4").tobytes(), it.offset) for it in self.probes],
            )
        )

    @classmethod
    def from_bytes(cls, data: bytes) -> "Directive":
        """What another process told. msgspec.MsgspecError for anything else."""
        told = msgspec.msgpack.decode(data, type=_Told)
        channels = None if told.channels is None else frozenset(told.channels)
        plan = Plan(tuple(item.intervention() for item in told.interventions), channels)  # type: ignore[arg-type]
        return cls(plan, tuple(Probe(it.block, _floats(it.direction), it.offset) for it in told.probes))


class _ToldIntervention(msgspec.Struct, array_like=True):
    block: int
    positions: str
    mode: str
    vector: bytes | None
    basis: bytes | None
    levels: bytes | None

    @classmethod
    def of(cls, item: Intervention) -> "_ToldIntervention":
        vector, basis, levels = (
            None if array is None else array.astype("<f4").tobytes() for array in (item.vector, item.basis, item.levels)
        )
        return cls(item.block, item.positions, item.mode, vector, basis, levels)

    def intervention(self) -> Intervention:
        levels = None if self.levels is None else _floats(self.levels)
        basis = None if self.basis is None or levels is None else _floats(self.basis).reshape(len(levels), -1)
        vector = None if self.vector is None else _floats(self.vector)
        return Intervention(self.block, self.positions, self.mode, vector, basis, levels)  # type: ignore[arg-type]


class _ToldProbe(msgspec.Struct, array_like=True):
    block: int
    direction: bytes
    offset: float


class _Told(msgspec.Struct, array_like=True):
    interventions: list[_ToldIntervention]
    channels: list[str] | None
    probes: list[_ToldProbe]


def _floats(data: bytes) -> FloatArray:
    return np.frombuffer(data, "<f4").astype(np.float32)
