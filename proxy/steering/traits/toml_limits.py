"""What a trait's TOML may be, found out by one look along its text: a parser needs gigabytes for some short files.

Knows nothing of traits but how large and how nested their files never are.
"""

import re

MAX_BYTES = 256 * 1024  # a trait's file has some ten thousand
MAX_DEPTH = 16  # of brackets
MAX_DOTS = 16  # on one line, outside its texts

_TEXTS = re.compile(
    r'#[^\n]*|"""(?:\\.|[^\\])*?"""|\'\'\'.*?\'\'\'|"(?:\\.|[^"\\\n])*"|\'[^\'\n]*\'',
    re.DOTALL,
)


def problem(content: bytes) -> str | None:
    """Why this is no file to be parsed, in words; None where it may be."""
    if len(content) > MAX_BYTES:
        return f"is larger than {MAX_BYTES} bytes"
    bare = _TEXTS.sub("_", content.decode("utf-8", "replace"))
    depth = 0
    for bracket in re.findall(r"[\[\]{}]", bare):
        depth += 1 if bracket in "[{" else -1
        if depth > MAX_DEPTH:
            return f"is nested deeper than {MAX_DEPTH} brackets"
    if any(line.count(".") > MAX_DOTS for line in bare.splitlines()):
        return f"has a key of more than {MAX_DOTS} dots"
    return None
