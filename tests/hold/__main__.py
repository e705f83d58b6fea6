"""`python -m tests.hold`: every check on real servers, a table at the end, exit code 1 for a broken promise.

HOLD_MINUTES   of mixed traffic (10)
HOLD_KILLS     servers that are killed (30)
"""

import os
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.hold.cancelling import storm
from tests.hold.described import described
from tests.hold.figures import Figure, table
from tests.hold.kills import kills
from tests.hold.malformed import malformed
from tests.hold.memory import bad_requests, good_schemas, huge_prompts, uploads
from tests.hold.mixed import mixed
from tests.hold.server import serving
from tests.hold.stopping import stopping

MINUTES = float(os.environ.get("HOLD_MINUTES", "10"))
KILLS = int(os.environ.get("HOLD_KILLS", "30"))
SCHEMATHESIS = Path(os.environ.get("HOLD_SCHEMATHESIS", ".venv-hold/bin/schemathesis")).absolute()


def _memory(folder: Path) -> list[Figure]:
    with serving(folder) as server:
        return [
            *huge_prompts(server, at_once=16, rounds=3),
            *bad_requests(server, 100),
            *good_schemas(server, 40),
            *uploads(server, 16),
        ]


def _described(folder: Path) -> list[Figure]:
    with serving(folder) as server:
        return described(server, SCHEMATHESIS, 60, folder)


def _malformed(folder: Path) -> list[Figure]:
    with serving(folder) as server:
        return malformed(server, 2000)


def _storm(folder: Path) -> list[Figure]:
    with serving(folder) as server:
        return storm(server, clients=200, next_s=5)


def _mixed(folder: Path) -> list[Figure]:
    with serving(folder) as server:
        return mixed(server, 60 * MINUTES)


def _kills(folder: Path) -> list[Figure]:
    folder.mkdir(parents=True)
    return kills(folder, KILLS)


def _stopping(folder: Path) -> list[Figure]:
    return stopping(folder, 3)


CHECKS: dict[str, Callable[[Path], list[Figure]]] = {
    "memory": _memory,
    "storm": _storm,
    "malformed": _malformed,
    "stopping": _stopping,
    "kills": _kills,
    "mixed": _mixed,
    "described": _described,
}


def main(names: Sequence[str]) -> int:
    """Run the named checks, or all. 0, 1 for a broken promise, 2 for a name that is none."""
    if unknown := [name for name in names if name not in CHECKS]:
        print(f"hold: there is no check {unknown[0]}; possible: {', '.join(CHECKS)}", file=sys.stderr)
        return 2
    figures: list[Figure] = []
    folder = Path(tempfile.mkdtemp(prefix="hold-"))
    for name in names or CHECKS:
        started = time.monotonic()
        print(f"{name} ...", end=" ", flush=True)
        try:
            figures += CHECKS[name](folder / name)
        except Exception as error:  # a check that ends so has found something too
            figures.append(Figure(name, "the check itself", repr(error), "no error", False))
        print(f"{time.monotonic() - started:.0f} s", flush=True)
    print(f"\n{table(figures)}\n\nThe servers' logs are in {folder}.")
    return 0 if all(figure.kept for figure in figures) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
