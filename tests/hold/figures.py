"""What a check saw beside what is promised, and the table of all of them."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """`seen` and `promised` in words, with their units; `kept`: whether the promise is."""

    check: str
    what: str
    seen: str
    promised: str
    kept: bool


def at_most(check: str, what: str, seen: float, most: float, unit: str = "") -> Figure:
    """A number that must not exceed another."""
    return Figure(check, what, f"{seen:.4g}{unit}", f"at most {most:g}{unit}", seen <= most)


def none_of(check: str, what: str, found: Sequence[object]) -> Figure:
    """Things there must be none of; the first is shown."""
    shown = f"{len(found)}" + (f", first: {str(found[0])[:200]}" if found else "")
    return Figure(check, what, shown, "0", not found)


def table(figures: Sequence[Figure]) -> str:
    """In Markdown, a line for each, with what is broken in capitals."""
    lines = ["| check | what | seen | promised | |", "| --- | --- | --- | --- | --- |"]
    for each in figures:
        seen = each.seen.replace("|", "\\|").replace("\n", " ")
        verdict = "kept" if each.kept else "BROKEN"
        lines.append(f"| {each.check} | {each.what} | {seen} | {each.promised} | {verdict} |")
    return "\n".join(lines)
