"""Whether a field that nobody knows is one of this server's own, misspelt. Pure.

Clients of OpenAI's rely on unknown fields being ignored, but a persona that is asked for must never be lost in silence:
so what is nearly one of our fields is no unknown field.
"""

import unicodedata

OURS = ("persona", "coefficient", "steering")
LETTERS_PER_EDIT = 5  # one edit in "steering", two in "coefficient": "string" is another word
MIN_BEGINNING = 4  # letters that are enough for a short form, as in "coeff"
MAX_LENGTH = 32  # characters; longer ones are something else


def meant(field: str) -> str | None:
    """Which of our fields an unknown one is meant to be, None where it is far from all. What distinguishes them may be
    case, accents, signs and digits, a letter or two more, fewer, changed or swapped, or an end that is missing."""
    if len(field) > MAX_LENGTH:
        return None
    plain = unicodedata.normalize("NFKD", field).casefold()
    letters = "".join(letter for letter in plain if "a" <= letter <= "z")
    for ours in OURS:
        if ours.startswith(letters) and len(letters) >= MIN_BEGINNING:
            return ours
        if edits(letters, ours) <= len(ours) // LETTERS_PER_EDIT:
            return ours
    return None


def edits(one: str, other: str) -> int:
    """How many letters must be put in, left out, changed or swapped with their neighbour to make one of the other."""
    before: list[int] = []
    row = list(range(len(other) + 1))
    for i, letter in enumerate(one, start=1):
        above, before, row = before, row, [i]
        for j, wanted in enumerate(other, start=1):
            least = min(before[j] + 1, row[j - 1] + 1, before[j - 1] + (letter != wanted))
            if i > 1 and j > 1 and letter == other[j - 2] and one[i - 2] == wanted:
                least = min(least, above[j - 2] + 1)
            row.append(least)
    return row[-1]
