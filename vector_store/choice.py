"""Which of several versions of a trait's vector requests are steered by, and why. Knows headers, no files.

A version that was asked for stays in use until another is. Where none was, a newer version takes over from the one in
use, unless it is rougher: then it is kept beside it, and whoever wants it asks for it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from vector_store.judged import JudgedBy
from vector_store.sweep import Sweep
from vector_store.vector import SIDES, VectorHeader

STEP = timedelta(seconds=1)  # between a version and one that is made after it, whatever the clock says
_NEVER = datetime.min.replace(tzinfo=UTC)
_LAST_YEAR = 9000  # no clock is so far ahead, and later times can't be added to


@dataclass(frozen=True)
class Standing:
    """Whether a version is in use, and in words why, and how to change it."""

    in_use: bool
    note: str


def made_at(header: VectorHeader) -> datetime:
    """When it was made. What is no time, or none of this age of the world, is before all others."""
    try:
        made = datetime.fromisoformat(header.created)
        made = made.replace(tzinfo=UTC) if made.tzinfo is None else made.astimezone(UTC)
    except (ValueError, OverflowError):
        return _NEVER
    return made if made.year < _LAST_YEAR else _NEVER


def age(header: VectorHeader) -> tuple[datetime, str]:
    """What versions are sorted by, oldest first."""
    return made_at(header), header.id


def choose(versions: Iterable[VectorHeader], asked_for: str | None) -> VectorHeader | None:
    """The version in use of those given, all of one trait and one model's weights: the one of the id that was
    `asked_for`, where it is among them; else, from the oldest on, each that is not rougher than the one before it."""
    found: VectorHeader | None = None
    for header in sorted(versions, key=age):
        if header.id == asked_for:
            return header
        if found is None or rougher(header, found) is None:
            found = header
    return found


def standing(header: VectorHeader, versions: Sequence[VectorHeader], asked_for: str | None) -> Standing:
    """The standing of one of the versions that `choose` is given."""
    used = choose(versions, asked_for)
    if not header.fingerprint and header.poles:
        return Standing(False, "kept, not in use, because nobody knows which weights it is for")
    if not header.poles:
        return Standing(False, "kept, not in use, because where and how strongly it steers was never measured")
    if used is None or used.id == header.id:
        before = choose([other for other in versions if other.id != header.id], asked_for)
        back = f"; go back with: persona-proxy vectors use {before.id}" if before and before.poles else ""
        return Standing(True, f"now in use{back}")
    asked = f"{used.id} was asked for" if used.id == asked_for else None
    reason = asked or rougher(header, used) or f"{used.id} is newer"
    return Standing(False, f"kept, not in use, because {reason}; use it with: persona-proxy vectors use {header.id}")


def rougher(new: VectorHeader, old: VectorHeader) -> str | None:
    """Why the new version should not take the old one's place unasked, None where it may.

    In this order: it lacks a pole's place that the old one has; it was imported or carried over where the old one is
    of the model's own answers; it was made of fewer answers; its judge can't score, is another than the old one's, or
    unknown where the old one's is known; a pole that both were swept for has fewer answers at each strength, or a judge
    as before. One of the model's own answers takes the place of one that is not, whoever judged it, and one whose judge
    can score the place of one whose judge can't.
    """
    for side in SIDES:
        if side in old.poles and side not in new.poles:
            return f"where and how strongly it steers to {new.pole(side)} was never measured, as it was for {old.id}"
    own = f"while {old.id} is of the model's own answers"
    if old.origin == "native" and new.origin != "native":
        return f"it was {'imported' if new.origin == 'imported' else 'carried over from another model'}, {own}"
    if new.origin == "native" and old.origin != "native":
        return None
    if _answers(new) < _answers(old):
        return f"it was made of {_answers(new)} answers, {old.id} of {_answers(old)}"
    return _judged_worse(new.judge, old.judge, old.id) or next(
        (
            reason
            for side, sweep in new.sweeps.items()
            if side in old.sweeps and (reason := _swept_worse(sweep, old.sweeps[side], old.id))
        ),
        None,
    )


def _answers(header: VectorHeader) -> int:
    return sum(count.made for count in header.counts.values())


def _swept_worse(new: Sweep, old: Sweep, old_id: str) -> str | None:
    fewer, more = _per_strength(new), _per_strength(old)
    if fewer < more:
        return f"it was swept by {fewer} answers at each strength, {old_id} by {more}"
    return _judged_worse(new.judge, old.judge, old_id)


def _per_strength(sweep: Sweep) -> int:
    return min((point.n for point in sweep.points if point.kind == "steered"), default=0)


def _judged_worse(new: JudgedBy | None, old: JudgedBy | None, old_id: str) -> str | None:
    if new is not None and not new.scored and (old is None or old.scored):
        return f"its judge, {new.name}, told the poles apart too rarely to score by"
    if old is None or not old.scored:
        return None
    if new is None:
        return f"nobody knows who judged it, and {old_id} was judged by {old.name}"
    return None if new.name == old.name else f"it was judged by {new.name}, {old_id} by {old.name}"
