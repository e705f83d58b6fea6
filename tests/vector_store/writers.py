"""Processes that write and read one folder at once, for tests: `python writers.py kill FOLDER N` forks a writer N times
and kills each at a random moment; `python writers.py crowd FOLDER` has eight writing and reading together.

Their own process, since forking one that has threads is no good. Vectors are told apart by their numbers.
"""

import dataclasses
import os
import random
import signal
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent.parent))

from tests.vector_store.vectors import assert_same_arrays, make_vector
from vector_store import PersonaVector, VectorStore

BASES = [make_vector(seed=trait, trait=f"trait-{trait}", n_layers=20, hidden_size=200) for trait in range(3)]  # 100 kB


def made(number: int, **changes: Any) -> PersonaVector:
    return dataclasses.replace(BASES[number % 3], method=f"number {number}", **changes)


def forked(work: Callable[[], None]) -> int:
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        work()
        code = 0
    finally:
        os._exit(code)


def kill_writers(folder: Path, times: int) -> None:
    """Prints the number and the id of every vector whose `save` has returned. The moments are counted in calls, of
    Python's or of the system's, so that they fall into the midst of writing on however busy a machine."""
    rng = random.Random(1)
    calls = 0

    def count(*event: object) -> None:
        nonlocal calls
        calls += 1

    sys.setprofile(count)
    VectorStore([folder]).save(made(0, id="0"))
    sys.setprofile(None)
    for number in range(1, times + 1):
        left = rng.randrange(3 * calls)

        def die_in_time(*event: object) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

        def write(start: int = number * 1000) -> None:
            store = VectorStore([folder])
            sys.setprofile(die_in_time)
            for number in range(start, start + 1000):
                # Named, so that what is already there need not be read: the moments are to fall into the writing.
                os.write(1, f"{number} {store.save(made(number, id=str(number)))}\n".encode())

        os.waitpid(forked(write), 0)


def crowd(folder: Path, processes: int = 8, each: int = 6) -> None:
    """Every process writes its own vectors, fights for one id with the others, and checks whatever it can see."""

    def work(first: int) -> None:
        store = VectorStore([folder])
        for number in range(first, first + each):
            store.save(made(number))
            try:
                won = store.save(made(number - number % 3, id=f"shared-{number % 100}"))
                os.write(1, f"{number} {won}\n".encode())
            except FileExistsError:
                pass
            for header in store.list()[:10]:
                store.get(header.id)  # whole, or BadVectorFile's warning and VectorNotFound
        assert len(store.list()) >= each
        for number in range(first, first + each):
            latest = store.get(store.save(made(number)))  # the same again is no other version
            assert_same_arrays(latest, made(number))

    children = [forked(partial(work, first)) for first in range(0, 100 * processes, 100)]
    if any(os.waitpid(child, 0)[1] for child in children):
        sys.exit(1)


if __name__ == "__main__":
    if sys.argv[1] == "kill":
        kill_writers(Path(sys.argv[2]), int(sys.argv[3]))
    else:
        crowd(Path(sys.argv[2]))
